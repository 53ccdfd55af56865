"""Clips rated on a scale: how far each system's answer lies from the rating of one dimension, and which clips it misses most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.protocols import DIMENSIONS
from bench.scoring.clip_answers import ClipAnswers, TaskAnswers
from bench.tasks import Task
from reports.data.shared_features import same_hearing
from reports.formatting import listed


@dataclass(frozen=True)
class RatedClips:
    """The clips of a comparison that carry one dimension, with what each system answered.

    Args:
        answered: the task's clips and what systems answered.
        dimension: valence, arousal or dominance.
    """

    answered: TaskAnswers
    dimension: str

    @property
    def task(self) -> Task:
        """Their task."""
        return self.answered.task

    @property
    def systems(self) -> tuple[ClipAnswers, ...]:
        """Who answered."""
        return self.answered.systems

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """Rows of the task that carry the dimension, (clips,)."""
        return np.flatnonzero(np.isfinite(self.task.dimensions[:, self._place]))

    @cached_property
    def truth(self) -> NDArray[np.float64]:
        """Each clip's rating, (clips,), 0..1."""
        return np.asarray(self.task.dimensions[self.rows, self._place])

    @cached_property
    def given(self) -> NDArray[np.float64]:
        """What was answered, (systems, clips), 0..1; NaN for no answer."""
        return np.stack([s.dimensions[self.rows, self._place] for s in self.systems])

    @cached_property
    def error(self) -> NDArray[np.float64]:
        """Mean distance of the answers from each clip's rating, (clips,): systems that hear alike count as one; NaN where none answered."""
        groups = np.stack([_mean(np.abs(self.given[list(own)] - self.truth)) for own in self.groups])
        return _mean(groups).round(9)

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Systems that hear through one frozen network, by place."""
        return same_hearing([s.record for s in self.systems])

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Clips, the largest error first, equals by name; those that nobody answered last."""
        far = np.where(np.isfinite(self.error), self.error, -1.0)
        return tuple(sorted(range(len(self.rows)), key=lambda j: (-far[j], self.task.clip_ids[self.rows[j]])))

    @property
    def together(self) -> tuple[str, ...]:
        """Systems that count as one, in words."""
        return tuple(
            listed([self.systems[k].record.system for k in own]) for own in self.groups if len(own) > 1
        )

    @property
    def _place(self) -> int:
        return DIMENSIONS.index(self.dimension)


def rated_clips(answered: TaskAnswers) -> Iterator[RatedClips]:
    """Put answers beside the ratings, a dimension at a time; none that no clip carries, and no system that never answers it.

    Args:
        answered: the task's clips and what systems answered.
    """
    for k, dimension in enumerate(DIMENSIONS):
        carried = np.isfinite(answered.task.dimensions[:, k])
        able = tuple(s for s in answered.systems if np.isfinite(s.dimensions[carried, k]).any())
        if able:
            yield RatedClips(replace(answered, systems=able), dimension)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the first axis of what is there; NaN where nothing is."""
    known = np.isfinite(values)
    sums, counts = np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0)
    found: NDArray[np.float64] = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return found
