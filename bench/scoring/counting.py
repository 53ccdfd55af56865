"""From prediction tables and true labels to additive statistics: every clip is counted once, in its cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.additive import confusion_statistics, moment_statistics
from bench.errors import DataError
from bench.folds import check_disjoint
from bench.labels import VIEWS, label_table
from bench.plan import RecordPlan
from bench.predictions import PredictionTable
from bench.protocols import DIMENSIONS
from bench.records import MOMENTS, Block
from bench.task import Task

MID_SCALE = 0.5
"""What a missing answer to a dimension counts as."""


def whole_table(record: RecordPlan, tables: Sequence[PredictionTable], seed: int) -> PredictionTable:
    """Put the folds of one seed together, in the task's row order; checks that every clip is answered once."""
    task = record.task
    check_disjoint(
        task.folds, {"speaker": task.speakers}, what=task.name
    ) if record.protocol == "within" else None
    parts = [t for c, t in zip(record.cells, tables, strict=True) if c.seed == seed]
    row = {clip: (p, j) for p, part in enumerate(parts) for j, clip in enumerate(part.clip_ids)}
    missing = [c for c in task.clip_ids if c not in row]
    if missing or sum(len(p.clip_ids) for p in parts) != len(task):
        raise DataError(
            f"{record.stem}: the prediction tables do not answer each test clip once ({len(missing)} missing, first {missing[:1]})"
        )
    places = [row[c] for c in task.clip_ids]
    given = all(p.probabilities is not None for p in parts)
    probabilities = np.stack([parts[p].probabilities[j] for p, j in places]) if given else None  # type: ignore[index]
    return PredictionTable(
        clip_ids=task.clip_ids,
        statuses=tuple(parts[p].statuses[j] for p, j in places),
        answers=tuple(parts[p].answers[j] for p, j in places),
        labels=parts[0].labels,
        probabilities=probabilities,
        dimensions=np.stack([parts[p].dimensions[j] for p, j in places]),
        replies=tuple(parts[p].replies[j] for p, j in places),
        identity={},
    )


def fold_of_cluster(task: Task, cluster_of: NDArray[np.intp], n_clusters: int) -> list[int]:
    """Return the number of the fold that each cluster is tested in."""
    fold = np.zeros(n_clusters, dtype=int)
    for f, part in enumerate(task.folds):
        fold[cluster_of[part.test]] = f
    return [int(f) for f in fold]


def count(
    task: Task, seeds: Sequence[PredictionTable], cluster_of: NDArray[np.intp], n_clusters: int
) -> list[Block]:
    """Count everything that scores are made of."""
    blocks: list[Block] = []
    for view in VIEWS:
        labels = label_table().view_labels(view, task.labels)
        if len(labels) >= 2:
            for outside in ("wrong", "masked"):
                if outside == "masked" and (view == "native" or any(s.probabilities is None for s in seeds)):
                    continue
                blocks += [
                    _count_view(task, seeds, view, labels, outside, rows, cluster_of, n_clusters)
                    for rows in ("all", "ok")
                ]
    answered = any(np.isfinite(s.dimensions).any() for s in seeds)
    for d, dimension in enumerate(DIMENSIONS):
        if (
            answered
            and np.isfinite(task.dimensions[:, d]).any()
            and all(np.isfinite(s.dimensions[:, d]).any() for s in seeds)
        ):
            blocks += [
                _count_dimension(task, seeds, d, dimension, rows, cluster_of, n_clusters)
                for rows in ("all", "ok")
            ]
    return blocks


def _count_view(
    task: Task, seeds: Sequence[PredictionTable], view: str, labels: tuple[str, ...], outside: str, rows: str,
    cluster_of: NDArray[np.intp], n_clusters: int,
) -> Block:  # fmt: skip
    table = label_table()
    code = {label: i for i, label in enumerate(labels)}

    def coded(label: str | None) -> int:
        return code.get(table.place(view, label) or "", -1) if label is not None else -1

    truth = np.array([coded(e) for e in task.emotions])
    values = []
    for seed in seeds:
        kept = truth >= 0
        if rows == "ok":
            kept &= np.array([s == "ok" for s in seed.statuses])
        answers = (
            _masked(seed, coded, len(labels))
            if outside == "masked"
            else np.array([coded(a) for a in seed.answers])
        )
        counts = np.zeros((n_clusters, len(labels), len(labels) + 1))
        if kept.any():
            counts += confusion_statistics(
                truth[kept], answers[kept], cluster_of[kept], n_labels=len(labels), n_clusters=n_clusters
            )
        values.append(counts)
    return Block(view, outside, rows, "category", labels, np.stack(values))


def _masked(table: PredictionTable, coded: Callable[[str | None], int], k: int) -> NDArray[np.intp]:
    """Answer with the class of the view that holds the most probability; −1 where there is none."""
    assert table.probabilities is not None
    mass = np.zeros((len(table.clip_ids), k))
    for column, label in enumerate(table.labels):
        if (place := coded(label)) >= 0:
            mass[:, place] += table.probabilities[:, column]
    answered = np.array([s == "ok" for s in table.statuses]) & np.isfinite(mass).all(axis=1)
    return np.where(answered, np.nan_to_num(mass).argmax(axis=1), -1)


def _count_dimension(
    task: Task,
    seeds: Sequence[PredictionTable],
    d: int,
    dimension: str,
    rows: str,
    cluster_of: NDArray[np.intp],
    n_clusters: int,
) -> Block:
    truth = task.dimensions[:, d]
    values = []
    for seed in seeds:
        kept = np.isfinite(truth)
        if rows == "ok":
            kept &= np.array([s == "ok" for s in seed.statuses])
        said = np.where(np.isfinite(seed.dimensions[:, d]), seed.dimensions[:, d], MID_SCALE)
        sums = np.zeros((n_clusters, len(MOMENTS)))
        if kept.any():
            sums += moment_statistics(truth[kept], said[kept], cluster_of[kept], n_clusters=n_clusters)
        values.append(sums)
    return Block("dimensions", "wrong", rows, dimension, (), np.stack(values))
