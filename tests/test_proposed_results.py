"""The committed studies of the proposed model: whose records they are, and that the pages show every part of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cards.registry import system_names
from bench.execution.planning.matrix import load_matrix
from bench.leaderboard.claims.rules import ChangesTable, DimensionsTable, read_rules
from bench.scoring.records import Record, read_records

ROOT = Path(__file__).resolve().parent.parent
RULES = read_rules(ROOT / "results")
SMALL, ABLATION = "meralion-ser-small", "meralion-ser-ablation-"
DATA_AND_LOSS = "ablation_data_and_loss"


def records_of(study: str) -> list[Record]:
    return read_records(ROOT / "results" / "studies" / study / "records")


def test_the_records_belong_to_the_shipped_matrix() -> None:
    assert {r.facts.matrix_hash for r in records_of(DATA_AND_LOSS)} == {load_matrix("ablation")[0].hash}


@pytest.mark.parametrize("study", ["proposed", "seeds"])
def test_a_study_of_earlier_corpora_asked_what_its_matrix_asks_now(study: str) -> None:
    """Both were run when EmoDB was at hand in four classes alone; the matrices name it whole now."""
    records = records_of(study)
    assert len({r.facts.matrix_hash for r in records}) == 1
    cards = {r.system: r.facts.card for r in records}
    asked = {
        (s, e.protocol, e.seeds if cards[s].seeds else e.seeds[:1])
        for e in load_matrix(study)[0].entries
        for s in e.systems
    }
    assert {(r.system, r.facts.protocol, r.facts.seeds) for r in records} == asked


def test_ten_trainings_are_ten() -> None:
    assert all(len(r.facts.seeds) == 10 for r in records_of("seeds"))


def test_the_ablation_changes_every_part_that_is_asked_after() -> None:
    matrix, _ = load_matrix("ablation")
    within, transfer, loss = matrix.entries
    modes = {name for name in system_names() if name.startswith(ABLATION)}
    assert {s for s in within.systems if s != SMALL} == modes
    changes, losses = RULES.tables["ablations"], RULES.tables["losses"]
    assert isinstance(changes, ChangesTable)
    assert isinstance(losses, DimensionsTable)
    assert {row.system for row in changes.rows} == modes
    assert transfer.systems == (SMALL,)
    assert transfer.training == ("*", "other-pools")  # each corpus alone, and all that may be
    assert set(loss.systems) <= {row.system for row in losses.rows}
    assert loss.tasks == ("synthetic.*",)
    assert matrix.synthetic == "always"
    assert not within.synthetic
    assert not transfer.synthetic
