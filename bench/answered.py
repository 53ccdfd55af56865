"""What systems answered to single clips, beside the truth: from a run's prediction tables and its corpora's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.cards.labels import label_table
from bench.errors import DataError
from bench.predictions import PredictionTable, read_table
from bench.protocols import Array
from bench.records import Record
from bench.scoring import whole_table
from bench.storage.hashing import hash_file
from bench.storage.run_folder import RunFolder
from bench.tasks import Task
from bench.tasks.rebuilding import LabelledTasks
from bench.tasks.segments import scored

NOWHERE = -1
"""Code of a label outside the view, of another answer, and of none."""


@dataclass(frozen=True)
class Answered:
    """One system's answers to the clips of a task, of its first seed, in the task's row order."""

    record: Record
    table: PredictionTable

    def codes(self, view: str, labels: Sequence[str]) -> NDArray[np.intp]:
        """Return the place in ``labels`` of the answer to each clip, (clips,); −1 where it is none of these."""
        said = [
            a if s == "ok" else None for s, a in zip(self.table.statuses, self.table.answers, strict=True)
        ]
        return label_codes(said, view, labels)

    @property
    def dimensions(self) -> Array:
        """Valence, arousal and dominance as answered, (clips, 3) in 0..1, NaN for none."""
        return self.table.dimensions


@dataclass(frozen=True)
class AnsweredTask:
    """The clips of a task with their labels, and what systems answered.

    ``folder`` is where its audio lies on this machine.
    """

    task: Task
    folder: Path
    systems: tuple[Answered, ...]


def label_codes(names: Sequence[str | None], view: str, labels: Sequence[str]) -> NDArray[np.intp]:
    """Return each name's place in the labels of a view; −1 for one outside it, and for none.

    >>> label_codes(["happy", "excited", "bored", None], "seven", ["neutral", "happy"]).tolist()
    [1, 1, -1, -1]
    """
    table, code = label_table(), {label: i for i, label in enumerate(labels)}
    places = {n: code.get(table.place(view, n) or "", NOWHERE) if n else NOWHERE for n in set(names)}
    return np.array([places[n] for n in names], dtype=np.intp)


def answered_task(run: Path, records: Sequence[Record], tasks: LabelledTasks) -> AnsweredTask:
    """Read what the systems of some records, which share their task and protocol, answered to each clip.

    Raises:
        DataError: the labels or a prediction table are not at hand, or are not what was scored.
    """
    folder = RunFolder(run)
    first = records[0].facts
    task = tasks.of(folder.records, first)
    where = tasks.folder(str(first["corpus"]))
    assert where is not None
    return AnsweredTask(scored(task), where, tuple(Answered(r, _table(folder, r, task)) for r in records))


def _table(folder: RunFolder, record: Record, task: Task) -> PredictionTable:
    seed, parts = int(record.facts["seeds"][0]), []
    for cell, noted in record.facts.get("tables", {}).items():
        path = folder.tables / f"{cell}.parquet"
        if not path.is_file() or hash_file(path) != noted:
            raise DataError(
                f"{path}: {'changed since' if path.is_file() else 'missing, though'} {record.system} was scored from it"
            )
        read = read_table(path)
        if int(read.identity["seed"]) == seed:
            parts.append(read)
    return whole_table(task, str(record.facts["protocol"]), seed, parts)
