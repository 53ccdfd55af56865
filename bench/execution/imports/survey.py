"""What a table from elsewhere answers: which kinds of answers it has, and which task has its clips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cards.corpus import Protocol
from bench.corpora.decoded import CorpusTable, decode_missing, open_table
from bench.errors import DataError, UsageError, nearest
from bench.execution.imports.clip_names import ClipNames
from bench.execution.imports.rows import ReadingRules, read_rows
from bench.protocols import DIMENSIONS
from bench.storage.run_folder import cache_folder
from bench.tasks import Task, build_task
from bench.tasks.rebuilding import corpora_at_hand, limit_of

MOST_SEEDS = 100
CLIPS_SURVEYED = 1000
"""Clips by which the task of a table is recognised."""


@dataclass(frozen=True)
class TableSurvey:
    """What is known of a table after one pass: how many rows, which seeds, some of its clips, which kinds of answers."""

    rows: int
    seeds: tuple[int, ...]
    some_clips: tuple[str, ...]
    labels: bool
    probabilities: bool
    dimensions: frozenset[str]
    statuses: bool


def survey_table(table: Path, rules: ReadingRules) -> TableSurvey:
    """Read a table once, before it is known which corpus it answers.

    Raises:
        UsageError: no file, or a format that is not read.
        DataError: no row, too many seeds, or a row that cannot be an answer whatever the corpus.
    """
    rows, seeds, clips = 0, set[int](), dict[str, None]()
    labels, probabilities, statuses, dimensions = False, False, False, set[str]()
    for row in read_rows(table, None, rules):
        rows += 1
        seeds.add(row.seed)
        if len(seeds) > MOST_SEEDS:
            raise DataError(
                f"{row.place}: more than {MOST_SEEDS} seeds; is the column seed what it should be?"
            )
        if len(clips) < CLIPS_SURVEYED:
            clips[row.clip_id] = None
        labels |= row.label is not None
        probabilities |= row.probabilities is not None
        statuses |= row.status not in ("ok", "failed")
        dimensions |= {d for d, v in zip(DIMENSIONS, row.dimensions, strict=True) if not math.isnan(v)}
    if not rows:
        raise DataError(f"{table}: holds no row")
    return TableSurvey(
        rows, tuple(sorted(seeds)), tuple(clips), labels, probabilities, frozenset(dimensions), statuses
    )


def require_something_to_score(survey: TableSurvey, task: Task, table: Path) -> None:
    """See that something which the table answers is asked by the task.

    Args:
        survey: which kinds of answers the table has.
        task: what is asked.
        table: for the sentences.

    Raises:
        DataError: the table answers nothing, or only what the task does not ask.
    """
    labelled = survey.labels or survey.probabilities
    if not labelled and not survey.dimensions and not survey.statuses:
        raise DataError(
            f"{table}: answers nothing: no row has a label, a probability, a dimension or a status that says why"
        )
    rated = {d for i, d in enumerate(DIMENSIONS) if np.isfinite(task.dimensions[:, i]).any()}
    if not survey.statuses and not (labelled and task.offered_labels) and not survey.dimensions & rated:
        asked = " and ".join([*(["categories"] if task.offered_labels else []), *sorted(rated)])
        given = " and ".join([*(["categories"] if labelled else []), *sorted(survey.dimensions)])
        raise DataError(f"{table}: answers {given}, but {task.name} is scored in {asked}")


def open_task(
    run: Path,
    data: Sequence[Path],
    name: str | None,
    survey: TableSurvey,
    table: Path,
    protocol: Protocol,
) -> tuple[Task, ClipNames]:
    """Open the task that a table answers.

    Args:
        run: the run whose corpora and limit are used.
        data: folders of prepared corpora; SERBENCH_DATA when empty, else where the run found them.
        name: the task; None for the one that has the table's clips.
        survey: what is known of the table.
        table: for the sentences.
        protocol: under which it is scored.

    Returns:
        The task, and the clips of its whole corpus.

    Raises:
        UsageError: no corpora, or no such task.
        DataError: clips of no task, or of several.
    """
    corpora = corpora_at_hand(run, data)
    if not corpora:
        raise UsageError(
            "the labels of the task are needed: name prepared corpora with --data or SERBENCH_DATA"
        )
    tables = [open_table(c, cache_folder()) for c in corpora]
    opened = {name: t for t in tables for name in t.task_names}
    if name is None:
        name = _task_of(opened, survey.some_clips, table)
    if (base := name.partition("@")[0]) not in opened:
        raise UsageError(f"no task {name!r} at hand; {nearest(base, opened)}")
    found = opened[base]
    decode_missing(found)
    task = build_task(found, name, protocol, limit=limit_of(run))
    if not task.offered_labels and not task.has_dimensions:
        raise DataError(f"{name}: has neither categories nor dimensions to score")
    return task, ClipNames((*found.metadata.clip_ids, *task.clip_ids))


def _task_of(opened: Mapping[str, CorpusTable], clips: Sequence[str], table: Path) -> str:
    """The one task that has these clips, by their whole names; else the one that they can mean."""
    having = [name for name, own in opened.items() if not _clips_of_task(own, name).isdisjoint(clips)]
    if not having:
        found = {name: _meant(own, name, clips) for name, own in opened.items()}
        most = max(found.values(), default=0)
        having = [name for name, n in found.items() if n and n == most]
    if len(having) != 1:
        said = f"those of {', '.join(having)}" if having else "of no task at hand"
        raise DataError(f"{table}: its clips ({min(clips)[:80]!r}, …) are {said}; say which with --task")
    return having[0]


def _clips_of_task(table: CorpusTable, task: str) -> frozenset[str]:
    """The clips of a corpus in a task's language."""
    metadata, language = table.metadata, task.rpartition(".")[2]
    return frozenset(c for c, x in zip(metadata.clip_ids, metadata.languages, strict=True) if x == language)


def _meant(table: CorpusTable, task: str, clips: Sequence[str]) -> int:
    """How many of some names can mean a clip of the task."""
    names, own = ClipNames(table.metadata.clip_ids), _clips_of_task(table, task)
    meant = 0
    for name in clips:
        try:
            meant += names.find(name)[0] in own
        except DataError:  # it may mean several: it is of this corpus all the same
            meant += 1
    return meant
