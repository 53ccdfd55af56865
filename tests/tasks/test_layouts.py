"""Every card with a layout prepares a small tree of its published file names rightly, and its task builds."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cards.registry import corpus_cards
from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.metadata import read_metadata
from bench.corpora.preparation.preparing import Preparation, prepare
from bench.corpora.prepared import PreparedCorpus
from bench.errors import DataError, UsageError
from bench.tasks import build_task
from tests.tasks.fixture_trees import build, cases

CASES = cases()
EXPECTED_ANYWAY = {"promise", "hours", "uneven speaker", "channels", "name", "sample rates", "silent"}
"""A tree of twelve clips is smaller than the card promises; the rest are notes."""


def test_every_card_with_a_layout_has_a_fixture_tree() -> None:
    cards = corpus_cards()
    assert set(CASES) == {name for name, card in cards.items() if card.layout is not None}
    assert all(card.layout is not None for card in cards.values() if card.verification == "layout")


def test_a_layout_that_was_only_described_must_be_asked_for(tmp_path: Path) -> None:
    source = build(CASES["oreau"], tmp_path / "download")
    with pytest.raises(UsageError, match="--unverified"):
        prepare(Preparation(corpus_cards()["oreau"], source, tmp_path / "oreau", workers=1))


@pytest.mark.parametrize("name", sorted(CASES))
def test_published_file_names_become_the_right_clips(name: str, tmp_path: Path, cache: Path) -> None:
    case, card = CASES[name], corpus_cards()[name]
    expect: dict[str, Any] = case["expect"]
    source = build(case, tmp_path / "download")
    out = tmp_path / "prepared" / name
    described = card.verification == "described"
    report = prepare(Preparation(card, source, out, workers=1, unverified=described))

    rows = list(csv.DictReader((out / "metadata.csv").open(encoding="utf-8", newline="")))
    by_source = {row["source_path"]: row for row in rows}
    assert len(rows) == expect["clips"]
    assert sorted({row["speaker"] for row in rows} - {""}) == expect["speakers"]
    for path, columns in expect.get("columns", {}).items():
        assert {k: by_source[path][k] for k in columns} == columns, path

    found = [(p.kind, p.where) for p in report.problems if p.kind not in EXPECTED_ANYWAY]
    found = [p for p in found if p[0] not in expect.get("problem_kinds", [])]
    assert sorted(found) == sorted(tuple(p) for p in expect.get("problems", []))
    if "faults" in expect:
        assert sum(p.fault and p.kind not in EXPECTED_ANYWAY for p in report.problems) == expect["faults"]
    if "segments" in expect:
        seconds = defaultdict(list)
        for row in rows:
            seconds[row["parent"]].append(round(float(row["seconds"]), 1))
        assert seconds == expect["segments"]

    corpus = PreparedCorpus(card, out)
    metadata = read_metadata(corpus)
    assert Counter(e for e in metadata.emotions if e) == expect["labels"]
    for path, dimensions in expect.get("dimensions", {}).items():
        place = metadata.clip_ids.index(by_source[path]["file_name"])
        np.testing.assert_allclose(metadata.dimensions[place], dimensions, atol=1e-6)

    table = open_table(corpus, cache)
    decode_missing(table)
    assert set(expect["task"]) == set(table.task_names)
    for task_name, folds in expect["task"].items():
        if folds is None:
            continue  # no labels of its own in so small a tree
        if isinstance(folds, int):
            task = build_task(table, task_name, "within")
            assert len(task.folds) == folds
            assert set(task.labels) <= set(expect["labels"])
        else:
            with pytest.raises(DataError, match=folds):
                build_task(table, task_name, "within")
            assert len(build_task(table, task_name, "zero-shot")) == expect["clips"]
