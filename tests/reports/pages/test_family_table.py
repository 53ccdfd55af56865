"""The table of families names the highest score of each, from how many, and says so where there is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bench.scoring.records import Record, read_records
from reports.exports.markdown import native_ua
from reports.pages.family_table import ELSEWHERE, NOTHING, family_table

RECORDS = Path(__file__).resolve().parents[3] / "results/quick/records"


def cells(records: list[Record]) -> dict[str, list[str]]:
    """Cells of each row, by what it begins with."""
    lines = family_table(records).splitlines()[2:]
    return {line.split("**")[1]: [c.strip() for c in line.split("|")[2:-1]] for line in lines}


def test_each_family_shows_its_highest_score_and_from_how_many_it_was_picked() -> None:
    records = [r for r in read_records(RECORDS) if r.task == "indowave.id"]
    table = cells(records)
    encoders = [r for r in records if r.facts.card.family == "encoder"]
    highest = max(encoders, key=lambda r: native_ua(r).estimate)  # type: ignore[union-attr]
    row = native_ua(highest)
    assert row is not None
    assert row.low is not None
    (cell,) = table["Frozen encoders"]
    assert cell.startswith(f"`{highest.system}` {100 * row.estimate:.1f} ({100 * row.low:.1f}–")
    assert cell.endswith(f", of {len(encoders)}")
    assert table["Audio-LLMs"] == [NOTHING]


def test_a_task_without_a_family_says_so() -> None:
    records = [r for r in read_records(RECORDS) if r.system == "egemaps-svm"]
    table = cells(records)
    assert all(c.startswith("`egemaps-svm`") and c.endswith(", of 1") for c in table["Acoustic features"])
    assert {*table["Trained here"], *table["Frozen encoders"]} == {NOTHING}


def test_where_the_publication_has_none_another_on_the_same_clips_is_shown_and_marked() -> None:
    records = [r for r in read_records(RECORDS) if r.task in ("indowave.id", "emodb.de")]
    own = [r for r in records if r.facts.card.family != "acoustic"]
    studied = [r for r in records if r.facts.card.family == "acoustic" and r.task == "indowave.id"]
    moved = [
        dataclasses.replace(r, facts=r.facts.model_copy(update={"folds_hash": "0" * 32}))
        for r in records
        if r.facts.card.family == "acoustic" and r.task == "emodb.de"
    ]
    lines = family_table(own, [*studied, *moved]).splitlines()
    (row,) = (line for line in lines if "Acoustic features" in line)
    emodb, indowave = (c.strip() for c in row.split("|")[2:-1])
    assert emodb == NOTHING
    assert indowave.startswith("`egemaps-linear` ")
    assert indowave.endswith(f", of {len(studied)}, {ELSEWHERE}")
    assert not any(ELSEWHERE in line for line in family_table(records, records).splitlines())
