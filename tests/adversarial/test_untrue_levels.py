"""What guessing scores follows from what was offered and learnt: nobody is above or below it by another count of classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import DataError
from bench.scoring.record_schema import ListenerScore, TrainingLabels
from bench.scoring.records import Record, read_record, write_record
from bench.scoring.reference_levels import level_of, reference_levels
from bench.scoring.rescoring import from_record
from bench.scoring.subject import Subject
from bench.statistics.guessing import blind_scores
from reports.data.comparisons import compare_systems
from reports.data.reference_lines import guess_line, human_line
from reports.sections.cross_lingual import cross_lingual
from reports.sections.forest_boards import BoardRow, task_board
from reports.sections.reference_levels import absent_listeners
from reports.sections.reference_levels import reference_levels as held_against
from reports.sections.system_table import system_table
from reports.sections.task_columns import main_columns, task_columns
from tests.adversarial.forged import SEVEN, answered, changed, published

UA = Subject("seven", "wrong", "ua")


def hits(share: float, true: int, offered: int = 7, clusters: int = 8, clips: int = 20) -> np.ndarray:
    """Counts (clusters, 7, 8) of a system that is right on a share of the clips of the first ``true`` classes."""
    table = np.zeros((clusters, offered, offered + 1))
    for c in range(clusters):
        for k in range(true):
            right = round(share * clips) + (c % 3 - 1)
            table[c, k, k] = right
            table[c, k, offered - 1] += clips - right
    return table


def transferred(table: np.ndarray, **facts: Any) -> Record:
    return answered(
        table, SEVEN, view="seven", protocol="transfer", training="other-pools", learnt_view="seven", **facts
    )


def row_of(record: Record) -> BoardRow:
    (comparison,) = compare_systems([record])
    (row,) = task_board(comparison, comparison.subjects[0]).rows
    return row


@pytest.mark.parametrize("true", [2, 4, 7])
def test_chance_after_a_transfer_counts_the_labels_on_offer(true: int) -> None:
    record = transferred(hits(0.3, true))
    line = guess_line(UA, record)
    assert line
    assert line.value == pytest.approx(1 / 7), "seven were on offer, whatever is true"
    assert row_of(record).standing == "above", (
        "30 % of seven labels is no guess, though two true classes make it look so"
    )


def test_an_old_record_that_says_chance_is_a_half_is_read_by_its_offer() -> None:
    """Schema 2 wrote 1/K of the two true classes; the labels on offer are in it as well."""
    old = transferred(hits(0.3, 2))
    silent = {"schema_version": 2, "reference_levels": (), "training_labels": ()}
    fields = old.facts.model_fields_set - {"reference_levels", "training_labels"}
    facts = old.facts.model_copy(update=silent)
    facts.__pydantic_fields_set__.intersection_update(fields)
    line = guess_line(UA, Record(facts, old.blocks))
    assert line
    assert (round(line.value, 4), line.words) == (0.1429, "a uniform guess over the labels on offer")


def test_a_guess_is_simulated_to_what_the_level_says() -> None:
    rng = np.random.default_rng(0)
    offered, views = SEVEN, {"neutral": 0, "happy": 1, "sad": 2, "angry": 3}
    truth = rng.integers(0, 4, size=200_000)
    said = np.array([views.get(offered[i], 4) for i in rng.integers(0, 7, size=len(truth))])
    recalls = [(said[truth == k] == k).mean() for k in range(4)]
    assert blind_scores([[1, 1, 1, 1]], [[1 / 7] * 4])[0] == pytest.approx(np.mean(recalls), abs=0.005)


def test_where_one_label_is_on_offer_nothing_is_divided_by_zero() -> None:
    table = np.zeros((4, 1, 2))
    table[:, 0, 0] = 5
    record = answered(table, ("happy",), protocol="zero-shot")
    level = level_of(record, "native", "wrong", "uniform")
    assert level
    assert level.ua == 1.0
    comparisons = compare_systems([record])
    columns = task_columns(comparisons)
    (row,) = system_table(columns, main_columns(columns), columns, {}).rows
    (cell,) = row.cells
    assert cell
    assert cell.depth == 0.0, "who must answer rightly shows nothing"
    alone = changed(record, protocol="transfer", training="x.de", learnt_view="native")
    assert all(
        c.depth == 0.0
        for m in cross_lingual(compare_systems([alone]))
        for s in m.systems
        for r in s.rows
        for c in r.cells
        if c
    )


def test_priors_that_run_against_the_test_side_are_named() -> None:
    """The design of URDU: the class that is common among the others is rare among those tested."""
    tables, learnt = np.zeros((4, 4, 5)), []
    classes = ("neutral", "happy", "sad", "angry")
    for fold in range(4):
        tables[fold, fold, (fold + 1) % 4] = 40  # tested on one class, and answered with another
        tables[fold, (fold + 1) % 4, (fold + 1) % 4] = 2
        learnt.append({c: 2 if k == fold else 40 for k, c in enumerate(classes)})
    record = answered(tables, classes, system="majority", track="reference", learnt=learnt)
    row = row_of(record)
    assert row.standing == "below"
    assert row.against_priors
    bare = tuple(s.model_copy(update={"low": None, "high": None}) for s in record.scores)
    assert row_of(changed(record, scores=bare)).standing == "below", (
        "a rule is below also where it has no interval"
    )
    assert (
        row_of(changed(record, scores=tuple(s.model_copy(update={"track": "probed"}) for s in bare))).standing
        is None
    )
    learnt_line, blind = row.against_priors
    assert learnt_line.value < 0.1 < blind.value == pytest.approx(0.25)


def test_above_a_uniform_guess_and_not_above_the_commonest_label() -> None:
    """In a view, answering one label throughout can be worth more than a uniform guess over labels that lie outside it."""
    learnt = [{label: (90 if label == "neutral" else 1) for label in SEVEN}] * 8
    record = transferred(hits(0.3, 2), learnt=learnt)
    row = row_of(record)
    assert row.standing == "above"
    assert row.only_above_uniform
    assert row.best_guess
    assert row.best_guess.value == pytest.approx(0.5)
    (comparison,) = compare_systems([record])
    told = {x.truth: x.score.estimate for x in held_against(comparison, comparison.subjects[0])}
    assert told["always the label most often learnt from"] == "50.0"


def test_systems_that_were_offered_different_labels_have_no_one_line() -> None:
    wide, narrow = transferred(hits(0.5, 4)), transferred(hits(0.5, 4), system="other")
    narrow = changed(narrow, labels_offered=SEVEN[:4], reference_levels=())
    narrow.facts.__pydantic_fields_set__.discard("reference_levels")
    (comparison,) = compare_systems([wide, narrow])
    board = task_board(comparison, comparison.subjects[0])
    assert board.chance is None
    assert {round(r.line.value, 4) for r in board.rows if r.line} == {0.1429, 0.25}


def test_a_human_line_is_like_for_like() -> None:
    listener = ListenerScore(
        truth="perceived", view="seven", metric="ua", dimension=None, estimate=0.4, low=None, high=None, method="none",
        notes=(), clips=9, clusters=3,
    )  # fmt: skip
    record = transferred(hits(0.5, 4), human=(listener,))
    record = changed(record, human=(listener,))
    truth = {
        t: changed(record, corpus_card=record.facts.corpus_card.model_copy(update={"truth": t}))
        for t in ("intended", "perceived", "unknown")
    }
    assert {t: human_line(UA, r) for t, r in truth.items()} == {
        "intended": None,
        "perceived": 0.4,
        "unknown": None,
    }
    (comparison,) = compare_systems([truth["intended"]])
    assert "held against something else" in absent_listeners(comparison, UA)


def forge(tmp_path: Path, record: Record, change: Callable[[dict[str, Any]], object]) -> Path:
    path = tmp_path / "r.json"
    write_record(path, record.facts, record.blocks)
    facts = json.loads(path.read_text(encoding="utf-8"))
    change(facts)
    path.write_text(json.dumps(facts), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f["reference_levels"][0].update(ua=0.01), r"the level of uniform guessing in view native \(wrong\) is 0.01"),
        (lambda f: f["reference_levels"].pop(0), "the level of uniform guessing in view native .* is missing"),
        (lambda f: f["reference_levels"].append({**f["reference_levels"][0], "view": "eight"}), "does not follow from what it holds"),
        (lambda f: f.update(labels_offered=[*f["labels_offered"], "bored", "excited"]), "the level of uniform guessing"),
        (lambda f: f["training_labels"][0]["clips"].update(happy=999), "fold 0 is said to learn from"),
    ],
)  # fmt: skip
def test_a_forged_level_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    published_ = published("quick", "majority__indowave.id__within__clean")
    learnt = tuple(
        TrainingLabels(fold=str(f), clips=dict.fromkeys(published_.facts.labels_offered, 48))
        for f in range(5)
    )
    facts = {"schema_version": 3, "chance": (), "training_labels": learnt, "figures_code": None}
    record = changed(published_, **facts)
    record = changed(record, reference_levels=tuple(reference_levels(record.facts, record.blocks)))
    record = Record(record.facts, (*record.blocks, *record.slices))
    honest = forge(tmp_path, record, lambda f: None)
    assert read_record(honest).facts.reference_levels
    from_record(honest)
    with pytest.raises(DataError, match=words):
        from_record(forge(tmp_path, record, change))
