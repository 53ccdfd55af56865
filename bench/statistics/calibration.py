"""Calibration: whether a system is right as often as its probabilities say.

Top-label calibration: a clip's confidence is its largest probability, and it is right when that class (the first of
equal ones) is the true one. The expected calibration error with adaptive bins puts equally many clips into each of 15
bins ordered by confidence and averages |share right − mean confidence| over them (Nguyen & O'Connor, EMNLP 2015;
Nixon et al., CVPR workshops 2019). Equal-width bins would leave most bins of a sure network empty.

Equal-mass bins depend on all clips together, so they are not additive; a fine, fixed histogram of confidence is. Its
bins are filled per cluster, summed, and only then cut into 15 equal masses, a fine bin that a cut falls into being
shared out in proportion. The fine bins are 0.02 wide up to 0.9 and shrink in proportion to 1 − confidence above (eight
per decade, down to 0.000001), where networks crowd. What this costs against sorting the clips: at most 0.003, tested.

ECE is biased upwards when a bin holds few clips (noise does not cancel inside the bars), and has a kink wherever a bin
crosses the diagonal: it gets an interval with a note, and no test. Compare systems by the Brier score, a proper score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import InputError
from bench.protocols import Array
from bench.statistics.metric import Metric, StatisticsKind
from bench.statistics.validation import (
    codes,
    distributions,
    ratio,
    real_array,
    require_equal_lengths,
    require_whole_number,
    without_answer,
)

BINS = 15
"""Equal-mass bins of the expected calibration error and the reliability curve."""
FINE_EDGES = np.concatenate([np.linspace(0.0, 0.9, 46), 1 - 10 ** -(1 + np.arange(1, 41) / 8)])
"""Lower edges of the fine bins of confidence, (86,)."""

CALIBRATION = StatisticsKind(
    "calibration",
    axes=2,
    wanted=f"(…, {len(FINE_EDGES)}, 4) sums per fine bin of confidence",
    fits=lambda shape: shape == (len(FINE_EDGES), 4),
    truth=lambda sums: sums[..., 0].sum(axis=-1, keepdims=True),
)


@dataclass(frozen=True)
class ReliabilityPoint:
    """One of the equal-mass bins: mean confidence, share answered correctly, and how many clips it holds (a fraction:
    a fine bin that a cut falls into is shared out)."""

    confidence: float
    accuracy: float
    clips: float


def calibration_statistics(
    truth: ArrayLike, probabilities: Any, clusters: ArrayLike, *, n_clusters: int
) -> Array:
    """Sums per cluster and fine bin of confidence, (clusters, 86, 4): clips, confidence, right answers, Brier.

    Args:
        truth: (clips,) code of the true class, its column in ``probabilities``.
        probabilities: (clips, K); a row that is None or all NaN is a clip without an answer: uniform, and wrong.
        clusters: (clips,) codes below ``n_clusters``.
        n_clusters: how many clusters there are.

    Returns:
        float64 (n_clusters, 86, 4).

    Raises:
        InputError: unequal lengths, codes out of range, probabilities that do not sum to one.
    """
    q, silent = distributions("probabilities", probabilities, silent=True), without_answer(probabilities)
    true, cluster = codes("truth", truth, q.shape[1]), codes("clusters", clusters, n_clusters)
    require_equal_lengths(truth=len(true), probabilities=len(q), clusters=len(cluster))
    confidence = np.minimum(q.max(axis=1), 1.0)
    right = (q.argmax(axis=1) == true) & ~silent
    brier = ((q - np.eye(q.shape[1])[true]) ** 2).sum(axis=1)
    bins = len(FINE_EDGES)
    place = cluster * bins + np.searchsorted(FINE_EDGES, confidence, side="right") - 1
    columns = (np.ones(len(true)), confidence, right.astype(np.float64), brier)
    sums = [np.bincount(place, weights=c, minlength=n_clusters * bins) for c in columns]
    stacked: Array = np.stack(sums, axis=-1)
    return stacked.reshape(n_clusters, bins, 4)


def reliability_points(sums: ArrayLike, *, bins: int = BINS) -> tuple[ReliabilityPoint, ...]:
    """Reliability curve from statistics (86, 4): equal-mass bins from least to most confident; none without clips."""
    require_whole_number("bins", bins, least=1)
    array = real_array("sums", sums)
    if not CALIBRATION.fits(array.shape):
        raise InputError(f"sums must be {CALIBRATION.wanted}, of one cluster; found the shape {array.shape}.")
    n = array[:, 0]
    if not n.sum():
        return ()
    cut = _Cut(n, bins)
    clips, confidence, right = (np.diff(cut.cumulated(column)) for column in array[:, :3].T)
    points = zip(confidence / clips, right / clips, clips, strict=True)
    return tuple(ReliabilityPoint(float(c), float(r), float(m)) for c, r, m in points)


class _Cut:
    """Where the cuts between equal masses fall, for counts (…, B): fine bin ``place`` and ``share`` of it below the cut.

    Both are (…, bins − 1). ``cumulated`` sums a column up to every cut, (…, bins + 1): piecewise linear in the mass.
    """

    def __init__(self, n: Array, bins: int) -> None:
        self._n, self.bins = n, bins
        upto = np.cumsum(n, axis=-1)
        mass = upto[..., -1:] * (np.arange(1, bins) / bins)
        # The last fine bin that holds clips is the last a cut can fall into, whatever rounding says.
        last = n.shape[-1] - 1 - np.argmax(n[..., ::-1] > 0, axis=-1)[..., np.newaxis]
        self.place = np.minimum((upto[..., np.newaxis, :] <= mass[..., np.newaxis]).sum(axis=-1), last)
        inside = np.take_along_axis(n, self.place, axis=-1)
        below = np.take_along_axis(upto, self.place, axis=-1) - inside
        with np.errstate(divide="ignore", invalid="ignore"):
            self.share = np.clip((mass - below) / inside, 0.0, 1.0)

    def cumulated(self, column: Array) -> Array:
        """Sum of a column (…, B) below each cut, the two ends included."""
        upto = np.cumsum(column, axis=-1)
        inside = np.take_along_axis(column, self.place, axis=-1)
        at_cuts = np.take_along_axis(upto, self.place, axis=-1) - inside * (1 - self.share)
        return np.concatenate([np.zeros_like(upto[..., :1]), at_cuts, upto[..., -1:]], axis=-1)

    def below(self) -> Array:
        """Share of each fine bin that lies below each cut, (…, bins + 1, B)."""
        bins = self._n.shape[-1]
        whole = (np.arange(bins) < self.place[..., np.newaxis]).astype(np.float64)
        cut = np.arange(bins) == self.place[..., np.newaxis]
        inner = np.where(cut, self.share[..., np.newaxis], whole)
        ends = np.zeros_like(inner[..., :1, :])
        return np.concatenate([ends, inner, ends + 1], axis=-2)


def _ece_components(sums: Array) -> Array:
    return np.concatenate([sums[..., 0], sums[..., 2] - sums[..., 1]], axis=-1)


def _ece_parts(c: Array) -> Array:
    n, gap = c[..., : c.shape[-1] // 2], c[..., c.shape[-1] // 2 :]
    gaps = np.abs(np.diff(_Cut(n, BINS).cumulated(gap), axis=-1)).sum(axis=-1, keepdims=True)
    return ratio(gaps, n.sum(axis=-1, keepdims=True))


def _ece_gradient(c: Array) -> Array:
    """Away from the kinks (a bin exactly on the diagonal): a gap moves its bin, a count moves the cuts above it."""
    n, gap = c[..., : c.shape[-1] // 2], c[..., c.shape[-1] // 2 :]
    cut, total = _Cut(n, BINS), n.sum(axis=-1, keepdims=True)
    cumulated, below = cut.cumulated(gap), cut.below()
    sign = np.sign(np.diff(cumulated, axis=-1))
    per_gap = (sign[..., np.newaxis] * np.diff(below, axis=-2)).sum(axis=-2) / total
    slope = np.take_along_axis(gap, cut.place, axis=-1) / np.take_along_axis(n, cut.place, axis=-1)
    level = np.arange(1, BINS) / BINS
    moved = slope[..., np.newaxis] * (level[:, np.newaxis] - below[..., 1:-1, :])
    # Cut m ends bin m with its sign and begins bin m + 1 with that one's.
    turn = sign[..., :-1] - sign[..., 1:]
    value = (sign * np.diff(cumulated, axis=-1)).sum(axis=-1, keepdims=True) / total
    per_clip = ((turn[..., np.newaxis] * moved).sum(axis=-2) - value) / total
    return np.concatenate([per_clip, per_gap], axis=-1)


def _brier_components(sums: Array) -> Array:
    return np.stack([sums[..., 3].sum(axis=-1), sums[..., 0].sum(axis=-1)], axis=-1)


def _brier_parts(c: Array) -> Array:
    return ratio(c[..., :1], c[..., 1:])


def _brier_gradient(c: Array) -> Array:
    return np.concatenate([1 / c[..., 1:], -c[..., :1] / c[..., 1:] ** 2], axis=-1)


def _clips(sums: Array) -> Array:
    return np.asarray(sums[..., 0].sum(axis=-1, keepdims=True))


CALIBRATION_METRICS = (
    Metric(
        "ece", "expected calibration error", CALIBRATION, 0.0, 1.0,
        _ece_components, _ece_parts, _ece_gradient, _clips, False, False,
    ),
    Metric(
        "brier", "Brier score", CALIBRATION, 0.0, 2.0,
        _brier_components, _brier_parts, _brier_gradient, _clips, False,
    ),
)  # fmt: skip
