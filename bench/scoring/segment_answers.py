"""Answers to segments put together to one answer per clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.protocols import DIMENSIONS, Array
from bench.scoring.predictions import PredictionTable
from bench.tasks import Task
from bench.tasks.segments import heaviest, segment_groups, weights_of


def put_together(task: Task, table: PredictionTable) -> PredictionTable:
    """Return a table with a row per clip from one with a row per segment of ``task``.

    A clip is answered (``ok``) when the segments answered hold at least half of its seconds. Where they all gave
    probabilities, these are averaged, weighted by seconds, and the most probable label is the answer; else the label with most
    seconds is. Dimensions are averaged likewise. Otherwise the clip takes the status with most seconds.
    """
    groups = segment_groups(task)
    merged = [_merged(task, table, rows) for rows in groups]
    probabilities = None
    if table.probabilities is not None:
        probabilities = np.stack([m[2] for m in merged])
    return replace(
        table,
        clip_ids=tuple(task.parents[rows[0]] or task.clip_ids[rows[0]] for rows in groups),
        statuses=tuple(m[0] for m in merged),
        answers=tuple(m[1] for m in merged),
        probabilities=probabilities,
        dimensions=np.stack([m[3] for m in merged]),
        replies=tuple(
            "\n".join(r for i in rows if (r := table.replies[i]) is not None) or None for rows in groups
        ),
    )


def _merged(
    task: Task, table: PredictionTable, rows: NDArray[np.intp]
) -> tuple[str, str | None, Array, Array]:
    seconds = dict(zip(rows.tolist(), weights_of(task, rows), strict=True))
    ok = [i for i in seconds if table.statuses[i] == "ok"]
    empty = np.full(len(table.labels), np.nan)
    if not ok or 2 * sum(seconds[i] for i in ok) < sum(seconds.values()):
        silent = [i for i in seconds if table.statuses[i] != "ok"]
        status = heaviest([table.statuses[i] for i in silent], [seconds[i] for i in silent])
        return status, None, empty, np.full(len(DIMENSIONS), np.nan)
    weights = np.array([seconds[i] for i in ok])
    rated = table.dimensions[ok]
    share = np.isfinite(rated) * weights[:, np.newaxis]
    total = share.sum(axis=0)
    dimensions = np.where(
        total > 0, (np.nan_to_num(rated) * share).sum(axis=0) / np.where(total > 0, total, 1), np.nan
    )
    probabilities = None if table.probabilities is None else table.probabilities[ok]
    if probabilities is not None and np.isfinite(probabilities).all():
        mean = np.average(probabilities, axis=0, weights=weights)
        return "ok", table.labels[int(mean.argmax())], mean, dimensions
    weighted = [(a, seconds[i]) for i in ok if (a := table.answers[i]) is not None]
    answer = heaviest([a for a, _ in weighted], [w for _, w in weighted]) if weighted else None
    return "ok", answer, empty, dimensions
