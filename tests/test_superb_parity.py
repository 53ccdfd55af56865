"""The committed comparison with s3prl's frame-wise training says what was measured, and that both ends agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.superb_parity import Parity, difference, report

FOLDER = Path(__file__).resolve().parent.parent / "results" / "superb_parity"


@pytest.fixture
def found() -> Parity:
    facts = json.loads((FOLDER / "figures.json").read_text(encoding="utf-8"))
    facts.pop("machine")
    return Parity(**facts)


def test_the_report_is_written_from_its_figures(found: Parity) -> None:
    assert (FOLDER / "report.md").read_text(encoding="utf-8") == report(found)


def test_both_ways_end_within_the_noise_of_seeds(found: Parity) -> None:
    assert len(found.ours_last) == len(found.s3prl_last) >= 5
    for theirs, ours in (
        (found.s3prl_last, found.ours_last),
        (found.s3prl_chosen, found.ours_chosen),
    ):
        gap, error = difference(theirs, ours)
        assert abs(gap) < 2.5 * error
