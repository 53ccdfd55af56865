"""Probes: small learners on frozen, pooled features.

A probe gets the features of all clips of a task at once, with the labels of the training and validation rows, and
answers every fold × seed together: what is shared (matrices, batched training) is paid for once. Labels of test rows
are withheld by the caller (−1 and NaN), and a probe reads labels through ``fold.train`` and ``fold.dev`` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.cards.probe_names import PROBES
from bench.errors import DataError, UsageError, nearest
from bench.protocols import Progress

LAYER_VARIANT = "layer/"
"""What the variants of a cell that answer from one layer alone are called, before the layer's index."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class ProbeFold:
    """Row indices of one fold: training, validation (other speakers) and test (yet others)."""

    train: IntArray
    dev: IntArray
    test: IntArray

    @property
    def fitted(self) -> IntArray:
        """Training and validation rows: what a probe is fitted to once its settings are chosen."""
        return np.concatenate([self.train, self.dev])


@dataclass(frozen=True)
class ProbeTask:
    """Everything a probe may know.

    ``features`` (clips, layers, dims) float32; ``labels`` (clips,) codes 0 … n_labels − 1, −1 for none (test rows
    are all −1); ``n_labels`` 0 when the task has no categories; ``dimensions`` (clips, 3) in 0..1, NaN for unknown;
    ``speakers`` one per clip. One row of ``features`` may serve in all folds; a row's labels may be hidden in one fold
    only by being in that fold's ``test``.
    """

    features: NDArray[np.float32]
    labels: IntArray
    n_labels: int
    dimensions: NDArray[np.float64]
    speakers: tuple[str, ...]
    folds: tuple[ProbeFold, ...]
    seeds: tuple[int, ...]
    frames: Sequence[NDArray[np.float32]] | None = None
    """(layers, frames, dims) per clip, where the card keeps frames; ``features`` are their means."""

    def __post_init__(self) -> None:
        n = len(self.features)
        if self.features.ndim != 3 or not np.isfinite(self.features).all():
            raise DataError(
                f"Probes need finite features (clips, layers, dims); found shape {self.features.shape} with "
                f"{int((~np.isfinite(self.features)).sum())} values that are not finite. Leave failed clips out."
            )
        if not len(self.labels) == len(self.dimensions) == len(self.speakers) == n:
            raise DataError(
                f"{n} feature rows, {len(self.labels)} labels, {len(self.dimensions)} dimension rows and "
                f"{len(self.speakers)} speakers: all must be one per clip."
            )
        for number, fold in enumerate(self.folds):
            if not len(fold.train) or not len(fold.dev):
                raise DataError(
                    f"Fold {number} has {len(fold.train)} training and {len(fold.dev)} validation clips: a probe "
                    "needs both, from different speakers. Use a task with at least three speakers."
                )
            parts = (set(fold.train.tolist()), set(fold.dev.tolist()), set(fold.test.tolist()))
            if parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2]:
                raise DataError(
                    f"Fold {number} uses a clip in more than one of training, validation and test."
                )

    def labelled(self, rows: IntArray) -> IntArray:
        """Those of the rows that carry a category."""
        return rows[self.labels[rows] >= 0]


@dataclass(frozen=True)
class ProbeOutcome:
    """One fold × seed on its test clips, in the order of ``fold.test``.

    ``probabilities`` (test clips, n_labels) float64, rows sum to one, the answer is the largest; None without
    categories. ``dimensions`` (test clips, 3) in 0..1, NaN for a dimension without training labels; None when there
    are none at all. ``notes`` holds what was chosen on validation (JSON values). ``variants`` are further answers on the
    same clips, by name, that are kept and scored beside the outcome's own.
    """

    probabilities: NDArray[np.float64] | None
    dimensions: NDArray[np.float64] | None
    notes: dict[str, Any] = field(default_factory=dict)
    variants: Mapping[str, ProbeOutcome] = field(default_factory=dict)


class Probe(Protocol):
    """A learner on pooled features."""

    def run(self, task: ProbeTask, progress: Progress) -> dict[tuple[int, int], ProbeOutcome]:
        """Answer every (fold index, seed) of the task."""
        ...


def build_probe(name: str, params: Mapping[str, Any] | None = None) -> Probe:
    """Build a probe by its name on a system card.

    Raises:
        UsageError: no probe of that name, or a parameter it does not have.
    """
    if name not in PROBES:
        raise UsageError(f"There is no probe {name!r}: {nearest(name, PROBES)}")
    module, _, attribute = PROBES[name].partition(":")
    try:
        probe: Probe = getattr(import_module(module), attribute)(**dict(params or {}))
    except TypeError as error:
        raise UsageError(
            f"Probe {name!r} does not take these parameters ({dict(params or {})}): {error}"
        ) from error
    return probe


def softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Row-wise softmax in float64: the rows sum to one to the last bits, whatever the scores' precision."""
    # Imported here: commands that only list things must not wait for scipy.
    from scipy.special import softmax as softmax_of

    return np.asarray(softmax_of(np.asarray(scores, dtype=np.float64), axis=-1))
