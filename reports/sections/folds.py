"""Who is tested in which fold, with how many clips of each class; and what splits may hold against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.protocols import Array
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports.data.comparisons import TaskComparison

NAMED = 60
"""Clusters named in one fold."""


@dataclass(frozen=True)
class FoldRow:
    """The test side of a fold: its clusters by the names they have in the records, and its clips by class."""

    name: str
    clusters: tuple[str, ...]
    count: int
    clips: int | None
    by_class: tuple[int, ...]


@dataclass(frozen=True)
class FoldTable:
    """All folds; ``labels`` are the classes of the view counted (none where the task has no categories)."""

    labels: tuple[str, ...]
    rows: tuple[FoldRow, ...]


VARIANT_WORDS = {
    "loso": "leave one speaker out",
    "script-disjoint": "test clips share neither speaker nor sentence with training",
    "official": "the split the corpus was published with, leaks and all",
    "clips": "segments scored as the clips they were cut from",
    "": "the default split",
}


def fold_table(comparison: TaskComparison) -> FoldTable:
    """Count the true clips of every fold from the statistics of the first record that has categories."""
    first = comparison.records[0]
    names = [c.name for c in first.facts.clusters]
    fold_of = [c.fold for c in first.facts.clusters]
    labels, counts = _true_clips(comparison.records)
    rows = []
    for fold in sorted(set(fold_of), key=lambda f: (len(f), f)):
        own = [i for i, f in enumerate(fold_of) if f == fold]
        by_class = tuple(round(float(n)) for n in counts[own].sum(axis=0)) if labels else ()
        rows.append(
            FoldRow(
                fold,
                tuple(names[i] for i in own[:NAMED]),
                len(own),
                sum(by_class) if labels else None,
                by_class,
            )
        )
    return FoldTable(labels, tuple(rows))


def _true_clips(records: Sequence[Record]) -> tuple[tuple[str, ...], Array]:
    """Classes and true clips per cluster and class, in the finest view."""
    for record in records:
        for view in ("native", "seven", "four"):
            block = Subject(view, "wrong", "ua").block(record)
            if block is not None:
                return block.labels, block.averaged.sum(axis=2)
    return (), np.zeros((len(records[0].facts.clusters), 0))


def siblings(task: str, tasks: Sequence[str]) -> list[tuple[str, str]]:
    """Other splits of the same clips among the tasks of a run, with what they are.

    >>> siblings("a.en", ["a.en", "a.en@loso", "b.en"])
    [('a.en@loso', 'leave one speaker out')]
    """
    base = task.partition("@")[0]
    return [(t, split_words(t)) for t in tasks if t != task and t.partition("@")[0] == base]


def split_words(task: str) -> str:
    """Say how a task's clips are split, by the variant in its name.

    >>> split_words("indowave.id@loso"), split_words("indowave.id")
    ('leave one speaker out', 'the default split')
    """
    return VARIANT_WORDS.get(task.partition("@")[2], "another split")
