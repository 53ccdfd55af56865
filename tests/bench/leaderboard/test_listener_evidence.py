"""Statistics of listeners on a board: shares may be left out, and none can be added."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import DataError
from bench.leaderboard.own_evidence import require_possible
from bench.scoring.records import LISTENER, read_record

RECORD = (
    Path(__file__).resolve().parents[3]
    / "results/quick/records/majority__crema-d-perceived.en__within__clean.json"
)


def test_listeners_share_no_more_clips_than_the_task_has() -> None:
    record = read_record(RECORD)
    require_possible(RECORD, record)
    slices = tuple(
        replace(b, values=2 * b.values) if b.axis == LISTENER and b.categorical else b for b in record.slices
    )
    assert any(a is not b for a, b in zip(slices, record.slices, strict=True))
    with pytest.raises(DataError, match=r"share [\d.e+]+ clips among listeners, the task has 1463"):
        require_possible(RECORD, replace(record, slices=slices))
