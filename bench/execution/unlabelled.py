"""Audio that nobody labelled, as a task that systems can be asked about; and any tasks as training data for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.audio.store import decode_shard, plan_shards, read_shard
from bench.cards.corpus import CorpusCard, Protocol
from bench.cards.labels import View, label_table
from bench.errors import DataError, UsageError
from bench.execution.in_process import load_task
from bench.execution.planning.cells import make_plan
from bench.execution.planning.expansion import MatrixRow
from bench.execution.planning.matrix import Entry, Matrix
from bench.execution.planning.plan import Group
from bench.execution.planning.systems import System
from bench.tasks.folds import Fold
from bench.tasks.task import Task
from bench.tasks.transfer import Candidate

TASK = "audio.und"
"""Name of the task that unlabelled files make."""


@dataclass(frozen=True)
class TrainOn:
    """What to learn from: tasks by name, the view their labels are learnt in, where their corpora lie."""

    tasks: tuple[str, ...]
    view: View = "seven"
    data: tuple[Path, ...] = ()

    def candidates(self) -> dict[str, Task]:
        """Build the tasks, without folds: whatever speakers they name."""
        return {name: load_task(name, data=self.data, protocol="zero-shot") for name in self.tasks}


def unlabelled_task(files: Sequence[Path], cache: Path, protocol: Protocol, view: View) -> Task:
    """Decode files (any format the suite reads, any length) into a task without labels, all of it to be answered.

    Args:
        files: audio files; one that cannot be decoded stays, as a clip without audio.
        cache: where decoded audio is kept.
        protocol: ``zero-shot`` or ``transfer``.
        view: whose labels are on offer.

    Raises:
        UsageError: a file is given twice.
    """
    names = [str(f) for f in files]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise UsageError(f"{twice} is named twice; name each file once")
    decoded = []
    for shard in plan_shards(Path(), names, cache / "audio"):
        found = read_shard(shard)
        if found is None or any(c.message is None and c.examined is None for c in found):
            decode_shard(shard)
            found = read_shard(shard)
        decoded += found or []
    n, blank = len(decoded), ("",) * len(decoded)
    none = np.empty(0, dtype=np.intp)
    labels = label_table().views[view]
    return Task(
        name=TASK,
        card=CorpusCard(name="audio", languages=("und",)),
        language="und",
        protocol=protocol,
        labels=labels,
        emotions=(None,) * n,
        dimensions=np.full((n, 3), np.nan),
        speakers=blank,
        clusters=tuple(names),
        genders=blank,
        transcripts=blank,
        decoded=tuple(decoded),
        folds=(Fold("audio", none, none, np.arange(n, dtype=np.intp)),),
        folds_hash="",
        content_hash="",
        warnings=(),
        languages=("und",) * n,
        sessions=blank,
        dialogues=blank,
        scripts=blank,
        splits=blank,
        votes=(None,) * n,
        ratings=(None,) * n,
    )


def group_of(
    system: System, files: Sequence[Path], *, cache: Path, training: TrainOn | None, seed: int
) -> Group:
    """Lay out one system's answers to some files: zero-shot, or learnt from other tasks first.

    Args:
        system: what answers.
        files: audio files; none, where only the training is of interest.
        cache: where decoded audio is kept.
        training: what to learn from first; None for a system that answers as it stands.
        seed: of the fit.

    Returns:
        One group of one cell; its task is named :data:`TASK`.

    Raises:
        DataError: nothing to learn from, or too few speakers to choose on.
    """
    view: View = "seven" if training is None else training.view
    protocol: Protocol = "zero-shot" if training is None else "transfer"
    target = unlabelled_task(files, cache, protocol, view)
    sources = {} if training is None else training.candidates()
    name = system.name
    matrix = Matrix(name="audio", entries=(Entry(systems=(name,), tasks=(TASK,)),))
    rule = next(iter(sources)) if len(sources) == 1 else "other-pools"
    transfer = {"training": rule, "view": view} if training else {}
    row = MatrixRow(system, TASK, protocol, (seed,), **transfer)  # type: ignore[arg-type]
    try:
        plan = make_plan(
            matrix,
            [row],
            lambda task, _protocol: target if task == TASK else sources[task],
            [Candidate(n, t.card) for n, t in sources.items()],
        )
    except DataError as error:
        # Said of the task that was made of the files; the user named those to learn from.
        raise DataError(str(error).replace(TASK, ", ".join(sources) or TASK, 1)) from error
    if not plan.groups:
        raise DataError(next(iter(plan.refused.values()), f"{name}: cannot run here ({system.blocked})"))
    return plan.groups[0]
