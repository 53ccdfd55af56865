"""What systems answered to single clips: beside the truth, and on how many clips two of them say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.cards.labels import label_table
from bench.errors import DataError
from bench.protocols import Array
from bench.scoring.counting import whole_table
from bench.scoring.predictions import PredictionTable, read_table
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import Record
from bench.scoring.rescoring import rebuilt
from bench.storage.hashing import hash_file
from bench.storage.run_folder import RunFolder
from bench.tasks import Task
from bench.tasks.rebuilding import RebuiltTasks
from bench.tasks.segments import scored

NOWHERE = -1
"""Code of a label outside the view, of another answer, and of none."""


@dataclass(frozen=True)
class ClipAnswers:
    """One system's answers to the clips of a task, of its first seed, in the task's row order."""

    record: Record
    table: PredictionTable

    def codes(self, view: str, labels: Sequence[str]) -> NDArray[np.intp]:
        """Return the place in ``labels`` of the answer to each clip, (clips,); −1 where it is none of these."""
        answers = [
            a if s == "ok" else None for s, a in zip(self.table.statuses, self.table.answers, strict=True)
        ]
        return label_codes(answers, view, labels)

    @property
    def dimensions(self) -> Array:
        """Valence, arousal and dominance as answered, (clips, 3) in 0..1, NaN for none."""
        return self.table.dimensions


@dataclass(frozen=True)
class TaskAnswers:
    """The clips of a task with their labels, and what systems answered.

    ``folder`` is where its audio lies on this machine.
    """

    task: Task
    folder: Path
    systems: tuple[ClipAnswers, ...]


def label_codes(names: Sequence[str | None], view: str, labels: Sequence[str]) -> NDArray[np.intp]:
    """Return each name's place in the labels of a view; −1 for one outside it, and for none.

    Args:
        names: one label per clip as the corpus or a system has it; None for none.
        view: ``native``, ``seven`` or ``four``.
        labels: classes of the view.

    Returns:
        Places in ``labels``, (clips,).

    >>> label_codes(["happy", "excited", "bored", None], "seven", ["neutral", "happy"]).tolist()
    [1, 1, -1, -1]
    """
    table, code = label_table(), {label: i for i, label in enumerate(labels)}
    places = {n: code.get(table.place(view, n) or "", NOWHERE) if n else NOWHERE for n in set(names)}
    return np.array([places[n] for n in names], dtype=np.intp)


def task_answers(run: Path, records: Sequence[Record], tasks: RebuiltTasks) -> TaskAnswers:
    """Read what the systems of some records, which share their task and protocol, answered to each clip.

    Args:
        run: folder of the run.
        records: of one task and protocol, one per system.
        tasks: the tasks whose labels are at hand.

    Returns:
        The task's clips with their labels, and a :class:`ClipAnswers` per record, in the order of ``records``.

    Raises:
        DataError: the labels or a prediction table are not at hand, or are not what was scored.
    """
    folder = RunFolder(run)
    first = records[0].facts
    task = rebuilt(folder.records, first, tasks)
    where = tasks.folder(first.corpus)
    assert where is not None
    return TaskAnswers(scored(task), where, tuple(ClipAnswers(r, _table(folder, r, task)) for r in records))


def _table(folder: RunFolder, record: Record, task: Task) -> PredictionTable:
    seed, parts = record.facts.seeds[0], []
    for cell, table_hash in record.facts.tables.items():
        path = folder.tables / f"{cell}.parquet"
        if not path.is_file() or hash_file(path) != table_hash:
            raise DataError(
                f"{path}: {'changed since' if path.is_file() else 'missing, though'} {record.system} was scored from it"
            )
        table = read_table(path)
        if int(table.identity["seed"]) == seed:
            parts.append(table)
    return whole_table(task, record.facts.protocol, seed, parts)


@dataclass(frozen=True)
class Agreement:
    """Two systems on the clips of one task that both answered (first seed of each), and those with one label."""

    task: str
    regime: str
    condition: str
    answered: int
    same: int

    @property
    def share(self) -> float | None:
        """Share of the clips answered by both on which they say the same; None when there are none."""
        return self.same / self.answered if self.answered else None

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "task": self.task,
            "regime": self.regime,
            "condition": self.condition,
            "answered_by_both": self.answered,
            "same_label": self.same,
            "share": self.share,
        }


def agreements(run: Path, records: Sequence[Record], a: str, b: str) -> Iterator[Agreement]:
    """Compare two systems' answers clip by clip, wherever a run holds the tables of both; nothing where it does not.

    Free replies and constrained choice of one Audio-LLM are the pair this was made for: where they disagree, the way
    of asking decides the answer.

    Args:
        run: folder of the run.
        records: all of the run.
        a: name of one system.
        b: name of the other.

    Yields:
        An agreement per task, regime and condition that both were run on.

    Raises:
        DataError: a table is there and cannot be read.
    """
    tables = RunFolder(run).tables
    of_system = {s: {_place(r): r for r in records if r.system == s} for s in (a, b)}
    for place, first in of_system[a].items():
        second = of_system[b].get(place)
        if second is None:
            continue
        answers = [_labels(tables, r.facts) for r in (first, second)]
        if answers[0] is None or answers[1] is None:
            continue
        both = answers[0].keys() & answers[1].keys()
        yield Agreement(*place, len(both), sum(answers[0][clip] == answers[1][clip] for clip in both))


def between(run: Path, record: Record, other_run: Path, other: Record) -> Agreement | None:
    """Compare the answers behind two records of one task, of one run or of two; None where a table is not at hand.

    Args:
        run: folder of the run that ``record`` is of.
        record: one system on the task.
        other_run: folder of the run that ``other`` is of.
        other: the other system on the task.

    Returns:
        On how many clips both answered and said the same, of the first seed of each; or None.

    Raises:
        DataError: a table is there and cannot be read.
    """
    answers = [
        _labels(RunFolder(folder).tables, r.facts) for folder, r in ((run, record), (other_run, other))
    ]
    if answers[0] is None or answers[1] is None:
        return None
    both = answers[0].keys() & answers[1].keys()
    return Agreement(*_place(record), len(both), sum(answers[0][clip] == answers[1][clip] for clip in both))


def _place(record: Record) -> tuple[str, str, str]:
    return record.task, record.regime, record.facts.condition


def _labels(tables: Path, facts: RecordFacts) -> dict[str, str] | None:
    """Map clip ids to the label answered, of the record's first seed; None when a table is not at hand."""
    label_of: dict[str, str] = {}
    for cell in facts.tables:
        path = tables / f"{cell}.parquet"
        if not path.is_file():
            return None
        table = read_table(path)
        if table.identity["seed"] == facts.seeds[0]:
            rows = zip(table.clip_ids, table.statuses, table.answers, strict=True)
            label_of |= {clip: label for clip, status, label in rows if status == "ok" and label is not None}
    return label_of
