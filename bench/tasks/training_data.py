"""What a fit learns from and answers on: rows of the task itself, and in transfer the rows of other tasks behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bench.audio.conditions import CLEAN
from bench.audio.store import DecodedClip
from bench.errors import DataError
from bench.protocols import SAMPLE_RATE, Array, Clips, Examples
from bench.tasks.folds import Fold
from bench.tasks.task import Task

ConditionedClips = Mapping[str, Mapping[str, DecodedClip]]
"""Condition → PCM hash of a clip as it is → the clip as it sounds under that condition. Clean needs no entry."""
AS_IT_IS: ConditionedClips = MappingProxyType({})


@dataclass(frozen=True)
class TrainingSource:
    """A task that a transfer learns from, and how much of it."""

    task: str
    clips: int
    speakers: int
    left_out: int
    """Clips that cannot be learnt from: no label in the view and no dimension, or heard already in the target or in another source."""
    labels: tuple[tuple[str, int], ...] = ()
    """Label of the view that is learnt → clips that carry it."""


@dataclass(frozen=True)
class TrainingData:
    """Rows in a fixed order: the task's clips first, then (in transfer) those of the sources.

    ``emotions`` are what is learnt, in the offered labels, None where a clip carries none of them; ``dimensions`` is
    (rows, 3) in 0..1 with NaN. Folds number these rows; their test rows are the task's own.
    """

    decoded: tuple[DecodedClip, ...]
    languages: tuple[str, ...]
    transcripts: tuple[str, ...]
    emotions: tuple[str | None, ...]
    dimensions: Array
    speakers: tuple[str, ...]
    folds: tuple[Fold, ...]
    labels: tuple[str, ...]
    sources: tuple[TrainingSource, ...] = ()
    soft_labels: Array | None = None
    """Shares of listeners' votes (rows, labels), NaN where nobody voted; None where no row has votes."""
    hash: str = ""
    """Hash of what is learnt in transfer; blank where the task's own hashes say it all."""

    def __len__(self) -> int:
        return len(self.decoded)

    @property
    def audible(self) -> NDArray[np.bool_]:
        """Which rows have audio."""
        return np.array([d.message is None for d in self.decoded])

    def clip_under(self, row: int, condition: str, conditioned: ConditionedClips) -> DecodedClip:
        """Return a row's clip as it sounds under a condition.

        Args:
            row: its number.
            condition: name of the condition.
            conditioned: the clips under conditions other than clean.

        Raises:
            DataError: its audio under the condition is not there.
        """
        clip = self.decoded[row]
        if condition == CLEAN or clip.message is not None:
            return clip
        try:
            return conditioned[condition][clip.pcm_hash]
        except KeyError:
            raise DataError(
                f"{clip.clip_id}: its audio under {condition!r} is not in the cache, or was removed meanwhile; run again"
            ) from None

    def clips(
        self, rows: NDArray[np.intp], condition: str = CLEAN, conditioned: ConditionedClips = AS_IT_IS
    ) -> Clips:
        """What an adapter may see of these rows: audio under a condition, and no labels.

        Args:
            rows: their numbers (clips,).
            condition: name of the condition that their audio is taken under.
            conditioned: the clips under conditions other than clean.

        Raises:
            DataError: audio under the condition is not there.
        """
        decoded = [self.clip_under(int(i), condition, conditioned) for i in rows]
        return Clips(
            ids=tuple(d.clip_id for d in decoded),
            pcm_hashes=tuple(d.pcm_hash for d in decoded),
            seconds=np.array([d.samples / SAMPLE_RATE for d in decoded]),
            languages=tuple(self.languages[i] for i in rows),
            read=lambda i: decoded[i].read(),
            transcripts=tuple(self.transcripts[i] for i in rows),
        )

    def examples(
        self, rows: NDArray[np.intp], condition: str = CLEAN, conditioned: ConditionedClips = AS_IT_IS
    ) -> Examples:
        """What a learner may see of these rows; rows without audio are left out.

        Args:
            rows: their numbers (clips,).
            condition: name of the condition that their audio is taken under.
            conditioned: the clips under conditions other than clean.

        Raises:
            DataError: audio under the condition is not there.
        """
        rows = rows[self.audible[rows]]
        return Examples(
            clips=self.clips(rows, condition, conditioned),
            labels=tuple(self.emotions[i] for i in rows),
            dimensions=self.dimensions[rows].copy(),
            speakers=tuple(self.speakers[i] for i in rows),
            soft_labels=None if self.soft_labels is None else self.soft_labels[rows].copy(),
        )

    def has_dimensions(self, rows: Sequence[NDArray[np.intp]]) -> bool:
        """Whether any of these rows carries a dimension."""
        return any(bool(np.isfinite(self.dimensions[r]).any()) for r in rows)


def own_training_data(task: Task) -> TrainingData:
    """Return the rows of a task that learns from its own clips, or from none."""
    return TrainingData(
        decoded=task.decoded,
        languages=task.languages,
        transcripts=task.transcripts,
        emotions=task.emotions,
        dimensions=task.dimensions,
        speakers=task.speakers,
        folds=task.folds,
        labels=task.labels,
        soft_labels=task.soft_labels,
    )
