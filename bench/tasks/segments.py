"""Clips that were cut into segments: the segments of one clip as one row again, for scoring clip by clip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.audio.store import DecodedClip
from bench.errors import DataError
from bench.protocols import SAMPLE_RATE
from bench.storage.hashing import digest
from bench.tasks.folds import Fold
from bench.tasks.task import Task

_Value = TypeVar("_Value", bound=Hashable)


def scored(task: Task) -> Task:
    """Return what is scored of a task: the rows that some fold tests, put together to clips where the task says so."""
    return clips_of_segments(task.tested) if task.by_clip else task.tested


def segment_groups(task: Task) -> list[NDArray[np.intp]]:
    """Return the rows of each clip that was cut, clips in the order of their first segment; a row without a parent is alone."""
    found: dict[str, list[int]] = defaultdict(list)
    for i, parent in enumerate(task.parents):
        found[parent or f"clip/{task.clip_ids[i]}"].append(i)
    return [np.array(rows, dtype=np.intp) for rows in found.values()]


def weights_of(task: Task, rows: NDArray[np.intp]) -> list[float]:
    """Return the seconds of some segments, which is how much each counts; a segment without audio counts a little."""
    return [max(task.decoded[i].samples / SAMPLE_RATE, 1e-3) for i in rows]


def heaviest(values: Sequence[_Value], weights: Sequence[float]) -> _Value:
    """Return the value with the largest summed weight; of equals the one seen first.

    >>> heaviest(["sad", "angry", "sad"], [1.0, 2.5, 2.0])
    'sad'
    """
    total: dict[_Value, float] = defaultdict(float)
    for value, weight in zip(values, weights, strict=True):
        total[value] += weight
    return max(total, key=lambda v: total[v])


def clips_of_segments(task: Task) -> Task:
    """Return the task with a row per clip in place of one per segment.

    A clip's category is the one most of its labelled seconds carry; its dimensions are the mean of its segments',
    weighted by their seconds; its votes are theirs added up. Speaker, cluster and the like are its segments' own where they
    agree; a clip of several speakers is a cluster of its own. Hashes stay those of the segments.

    Raises:
        DataError: a clip's segments lie in several folds.
    """
    groups = segment_groups(task)
    fold_of = np.full(len(task), -1, dtype=np.intp)
    for f, fold in enumerate(task.folds):
        fold_of[fold.test] = f
    for rows in groups:
        if len(set(fold_of[rows].tolist())) > 1:
            raise DataError(
                f"{task.name}: segments of the clip {task.parents[rows[0]]!r} are tested in several folds, so there is no one answer "
                "to it; give the corpus a dialogue column that holds the clip's name, which keeps them together"
            )
    none = np.empty(0, dtype=np.intp)
    folds = tuple(
        Fold(
            f.name,
            none,
            none,
            np.array([g for g, rows in enumerate(groups) if fold_of[rows[0]] == k], np.intp),
        )
        for k, f in enumerate(task.folds)
    )

    def common(values: Sequence[str], otherwise: str = "") -> tuple[str, ...]:
        found = ({values[i] for i in rows} for rows in groups)
        return tuple(next(iter(same)) if len(same) == 1 else otherwise for same in found)

    names = [task.parents[rows[0]] or task.clip_ids[rows[0]] for rows in groups]
    clusters = [c or f"clip/{n}" for c, n in zip(common(task.clusters), names, strict=True)]
    return replace(
        task,
        emotions=tuple(_category(task, rows) for rows in groups),
        dimensions=np.stack([_mean(task.dimensions[rows], weights_of(task, rows)) for rows in groups]),
        speakers=common(task.speakers),
        clusters=tuple(clusters),
        genders=common(task.genders),
        transcripts=tuple(" ".join(t for i in rows if (t := task.transcripts[i])) for rows in groups),
        decoded=tuple(_joined(task, rows, name) for rows, name in zip(groups, names, strict=True)),
        folds=folds,
        languages=common(task.languages, task.language),
        sessions=common(task.sessions),
        dialogues=common(task.dialogues),
        scripts=common(task.scripts),
        splits=common(task.splits),
        votes=tuple(_votes([task.votes[i] for i in rows]) for rows in groups),
        ratings=(None,) * len(groups),
        parents=tuple(names),
        sliced=tuple(zip(*map(common, zip(*task.sliced, strict=True)), strict=True)) or ((),) * len(groups),
    )


def _category(task: Task, rows: NDArray[np.intp]) -> str | None:
    seconds = weights_of(task, rows)
    labelled = [(e, w) for i, w in zip(rows, seconds, strict=True) if (e := task.emotions[i]) is not None]
    return heaviest([e for e, _ in labelled], [w for _, w in labelled]) if labelled else None


def _mean(values: NDArray[np.float64], weights: Sequence[float]) -> NDArray[np.float64]:
    """Weighted mean of what is known in each column (n, 3); NaN where nothing is."""
    share = np.isfinite(values) * np.array(weights)[:, np.newaxis]
    total = share.sum(axis=0)
    mean = (np.nan_to_num(values) * share).sum(axis=0) / np.where(total > 0, total, 1)
    return np.where(total > 0, mean, np.nan)


def _joined(task: Task, rows: NDArray[np.intp], name: str) -> DecodedClip:
    """One clip as long as its segments; nobody reads its samples, scoring looks at its name and length alone."""
    parts: list[DecodedClip] = [task.decoded[i] for i in rows]
    silent = next((p.message for p in parts if p.message is None), parts[0].message)
    return replace(
        parts[0],
        clip_id=name,
        pcm_hash=digest(*(p.pcm_hash for p in parts)),
        samples=sum(p.samples for p in parts),
        message=silent,
    )


def _votes(parts: Sequence[Mapping[str, float] | None]) -> Mapping[str, float] | None:
    given = [p for p in parts if p is not None]
    if not given:
        return None
    total: dict[str, float] = defaultdict(float)
    for part in given:
        for name, count in part.items():
            total[name] += count
    return dict(total)
