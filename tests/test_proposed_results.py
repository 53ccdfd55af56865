"""What the page of the proposed model says of the committed studies is what their records hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.cards.registry import system_names
from bench.execution.planning.matrix import load_matrix
from bench.scoring.comparisons import PairResult, compare_pair
from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record, read_records
from tests import study_tables

ROOT = Path(__file__).resolve().parent.parent
PAGE = study_tables.PAGE.read_text(encoding="utf-8")
SMALL, PROBE = "meralion-ser-small", "whisper-tiny.en-superb"
RIVALS = (PROBE, "egemaps-svm", "egemaps-linear", "meralion-ser-logmel")
STUDIES = {"proposed": tuple((SMALL, rival) for rival in RIVALS), "seeds": ((SMALL, PROBE),)}


def between(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", PAGE, re.DOTALL)
    assert found is not None, name
    return found[1].strip()


def records_of(study: str) -> list[Record]:
    return read_records(ROOT / "results" / "studies" / study / "records")


def decisive(p: PairResult) -> bool:
    """UA in the classes that were learnt, with answers outside them counted as wrong."""
    view = "seven" if p.protocol == "transfer" else "native"
    return (p.metric, p.outside, p.view) == ("ua", "wrong", view)


def line(p: PairResult) -> str:
    return f"- {'Trained on the other languages: ' if p.protocol == 'transfer' else ''}{p.sentence}"


def seeds_table(records: list[Record]) -> str:
    """One row per task: each system's mean over seeds, and its least and most."""
    rows = {(r.task, r.system): s for r in records for s in r.scores if decisive_score(s)}
    lines = [
        "| trained on the other languages, tested on | "
        + " | ".join(f"`{s}`" for s in (SMALL, PROBE))
        + " |",
        "|---|---|---|",
    ]
    for task in sorted({r.task for r in records}):
        cells = []
        for system in (SMALL, PROBE):
            s = rows[task, system]
            cells.append(f"{100 * s.estimate:.1f} ({100 * s.seed_low:.1f} to {100 * s.seed_high:.1f})")
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def decisive_score(s: ScoreRow) -> bool:
    return (s.metric, s.view, s.outside, s.rows) == ("ua", "seven", "wrong", "all")


@pytest.mark.parametrize("study", list(STUDIES))
def test_the_verdicts_are_what_the_tests_say(study: str) -> None:
    records = records_of(study)
    wanted = [line(p) for pair in STUDIES[study] for p in compare_pair(records, *pair) if decisive(p)]
    assert len(wanted) >= 3
    assert between(f"verdicts:{study}") == "\n".join(wanted)


@pytest.mark.parametrize("study", [*STUDIES, study_tables.DATA_AND_LOSS])
def test_the_records_belong_to_the_shipped_matrix(study: str) -> None:
    matrix = "ablation" if study == study_tables.DATA_AND_LOSS else study
    assert {r.facts.matrix_hash for r in records_of(study)} == {load_matrix(matrix)[0].hash}


def test_the_table_of_seeds_is_what_the_records_hold() -> None:
    records = records_of("seeds")
    assert all(len(r.facts.seeds) == 10 for r in records)
    assert between("results:seeds") == seeds_table(records)


def test_the_tables_of_the_studies_are_what_the_records_hold() -> None:
    """After a study was run again: ``python -m tests.study_tables``."""
    assert set(re.findall(r"<!-- results:([\w-]+) -->", PAGE)) == {*study_tables.TABLES, "seeds"}
    assert study_tables.written(PAGE) == PAGE
    emptied = re.sub(
        r"(<!-- results:ablations -->\n).*?(<!-- /results:ablations)", r"\1\2", PAGE, flags=re.DOTALL
    )
    assert emptied != PAGE
    assert study_tables.written(emptied) == PAGE


def test_the_ablation_changes_every_part_that_is_asked_after() -> None:
    matrix, _ = load_matrix("ablation")
    within, transfer, loss = matrix.entries
    modes = {name for name in system_names() if name.startswith(study_tables.ABLATION)}
    assert {s for s in within.systems if s != SMALL} == modes
    assert {name.removeprefix(study_tables.ABLATION) for name in modes} == set(study_tables.CHANGED)
    assert transfer.systems == (SMALL,)
    assert transfer.training == ("*", "other-pools")  # each corpus alone, and all that may be
    assert set(loss.systems) <= set(study_tables.LOSSES)
    assert loss.tasks == ("synthetic.*",)
    assert matrix.synthetic == "always"
    assert not within.synthetic
    assert not transfer.synthetic
