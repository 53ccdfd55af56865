"""Dimensions: six sums per cluster, and CCC, Pearson and RMSE as functions of them; their means over dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import InputError
from bench.protocols import Array
from bench.statistics.metric import Metric, StatisticsKind
from bench.statistics.validation import (
    codes,
    finite_numbers,
    is_real,
    ratio,
    real_array,
    require_equal_lengths,
    shown,
    usable,
)

CENTRE = 0.5
"""The middle of the 0..1 scale of the dimensions: where moments are centred."""
ROUNDING = 1e-13
"""A variance below this share of the second moment is rounding, and counts as zero."""

_TRUTH_SUMS = [0, 1, 3]

MOMENTS = StatisticsKind(
    "moments",
    axes=1,
    wanted="(…, 6) moments",
    fits=lambda shape: shape == (6,),
    truth=lambda moments: moments[..., _TRUTH_SUMS],
)
DIMENSION_MOMENTS = StatisticsKind(
    "dimensions",
    axes=2,
    wanted="(…, dimensions, 6) moments",
    fits=lambda shape: len(shape) == 2 and shape[0] >= 1 and shape[1] == 6,
    truth=lambda moments: moments[..., _TRUTH_SUMS].reshape(*moments.shape[:-2], -1),
)


def moment_statistics(
    truth: ArrayLike, prediction: ArrayLike, clusters: ArrayLike, *, n_clusters: int, centre: float = CENTRE
) -> Array:
    """Six sums per cluster, (clusters, 6): n, Σx, Σy, Σx², Σy², Σxy with x = truth − centre, y = prediction − centre.

    Statistics to be added or compared must share their centre. Missing values are refused: what a missing answer
    counts as (the middle of the scale, in this suite) is the scorer's decision and is not hidden here.

    Args:
        truth: (clips,) ratings.
        prediction: (clips,) predicted numbers, same unit.
        clusters: (clips,) codes below ``n_clusters``.
        n_clusters: how many clusters there are.
        centre: subtracted from both before summing, in the ratings' unit; the middle of the scale keeps most digits.

    Returns:
        float64 (n_clusters, 6).

    Raises:
        InputError: unequal lengths, cluster codes out of range, values that are missing or not finite.
    """
    cluster = codes("clusters", clusters, n_clusters)
    if not is_real(centre) or not usable(np.asarray(centre, dtype=np.float64)):
        raise InputError(
            f"centre is {shown(centre)}; it must be one finite number, in the unit of the ratings."
        )
    x, y = finite_numbers("truth", truth) - centre, finite_numbers("prediction", prediction) - centre
    require_equal_lengths(truth=len(x), prediction=len(y), clusters=len(cluster))
    columns = (np.ones_like(x), x, y, x * x, y * y, x * y)
    return np.stack([np.bincount(cluster, weights=c, minlength=n_clusters) for c in columns], axis=-1)


def dimension_statistics(
    truth: ArrayLike, prediction: ArrayLike, clusters: ArrayLike, *, n_clusters: int, centre: float = CENTRE
) -> Array:
    """Moments of each dimension, (clusters, dimensions, 6), from truth and prediction (clips, dimensions).

    A truth of NaN means that the clip was not rated on that dimension: it is left out there, and there alone.

    Args:
        truth: (clips, dimensions) ratings, NaN where a clip was not rated.
        prediction: (clips, dimensions) predicted numbers, same unit.
        clusters: (clips,) codes below ``n_clusters``.
        n_clusters: how many clusters there are.
        centre: subtracted from both before summing, in the ratings' unit; the middle of the scale keeps most digits.

    Returns:
        float64 (n_clusters, dimensions, 6).

    Raises:
        InputError: unequal lengths, cluster codes out of range, values that are missing or not finite, a
            dimension without any rated clip.
    """
    x, y = real_array("truth", truth), real_array("prediction", prediction)
    if x.ndim != 2 or x.shape != y.shape:
        raise InputError(
            f"truth and prediction must both be (clips, dimensions); found {x.shape} and {y.shape}."
        )
    cluster = codes("clusters", clusters, n_clusters)
    require_equal_lengths(truth=len(x), prediction=len(y), clusters=len(cluster))
    rated = ~np.isnan(x)
    for name, array in (("truth", x), ("prediction", y)):
        wrong = np.argwhere(rated & ~usable(array))
        if wrong.size:
            clip, dimension = wrong[0].tolist()
            raise InputError(
                f"{name}[{clip}, {dimension}] is {array[clip, dimension]:g} ({len(wrong)} such entries), but every rated clip"
                " needs finite numbers. Give NaN as the truth of what was not rated."
            )
    for dimension in np.flatnonzero(~rated.any(axis=0)):
        raise InputError(f"truth has no rated clip in dimension {dimension}: leave that dimension out.")
    kept = [(x[own, d], y[own, d], cluster[own]) for d, own in enumerate(rated.T)]
    return np.stack([moment_statistics(*rows, n_clusters=n_clusters, centre=centre) for rows in kept], axis=1)


def _unchanged(moments: Array) -> Array:
    return moments


def _sums(moments: Array) -> tuple[Array, ...]:
    return tuple(moments[..., place] for place in range(moments.shape[-1]))


def _last(rows: Sequence[Array]) -> Array:
    """Stack (6, …) and view it as (…, 6): each row stays in one piece, for arithmetic along the patterns."""
    stacked = np.stack(rows)
    return stacked.transpose(*range(1, stacked.ndim), 0)


def _variances(moments: Array) -> tuple[Array, Array, Array]:
    """n² times the covariance and the two variances, with rounding taken as zero."""
    n, x, y, xx, yy, xy = _sums(moments)
    u, v = n * xx - x * x, n * yy - y * y
    return n * xy - x * y, np.where(u > ROUNDING * n * xx, u, 0.0), np.where(v > ROUNDING * n * yy, v, 0.0)


def _ccc_parts(moments: Array) -> Array:
    n, x, y, xx, yy, _ = _sums(moments)
    p, u, v = _variances(moments)
    below = u + v + (x - y) ** 2
    # A constant truth or prediction has no covariance: exactly 0, not the rounding of the sums.
    above = np.where((u > 0) & (v > 0), 2 * p, 0.0)
    return ratio(above, np.where(below > ROUNDING * n * (xx + yy), below, 0.0))[..., np.newaxis]


def _ccc_gradient(moments: Array) -> Array:
    n, x, y, xx, yy, xy = _sums(moments)
    # n²(u + v) + (Σx − Σy)² = n Σx² + n Σy² − 2 Σx Σy: the squares of the means cancel.
    q = n * xx + n * yy - 2 * x * y
    ccc = 2 * (n * xy - x * y) / q
    rows = (2 * xy - ccc * (xx + yy), 2 * y * (ccc - 1), 2 * x * (ccc - 1), -ccc * n, -ccc * n, 2 * n)
    return _last([row / q for row in rows])


def _pearson_parts(moments: Array) -> Array:
    p, u, v = _variances(moments)
    return ratio(p, np.sqrt(u * v))[..., np.newaxis]


def _pearson_gradient(moments: Array) -> Array:
    n, x, y, xx, yy, xy = _sums(moments)
    p, u, v = _variances(moments)
    scale = np.sqrt(u * v)
    half = p / scale / 2
    rows = (
        xy / scale - half * (xx / u + yy / v),
        -y / scale + 2 * half * x / u,
        -x / scale + 2 * half * y / v,
        -half * n / u,
        -half * n / v,
        n / scale,
    )
    return _last(rows)


def _rmse_parts(moments: Array) -> Array:
    return np.sqrt(_mean_square(moments))[..., np.newaxis]


def _mean_square(moments: Array) -> Array:
    n, _, _, xx, yy, xy = _sums(moments)
    squares = xx + yy - 2 * xy
    return ratio(np.where(squares > ROUNDING * (xx + yy), squares, 0.0), n)


def _rmse_gradient(moments: Array) -> Array:
    n, zero, square = moments[..., 0], np.zeros(moments.shape[:-1]), _mean_square(moments)
    # An error of zero has a kink there; no cluster moves it in first order.
    slope = np.where(square > 0, 1 / (2 * n * np.sqrt(np.where(square > 0, square, 1.0))), 0.0)
    return _last([-slope * square, zero, zero, slope, slope, -2 * slope])


def _n(moments: Array) -> Array:
    return moments[..., :1]


def _flat(moments: Array) -> Array:
    return moments.reshape(*moments.shape[:-2], -1)


def _by_dimension(flat: Array) -> Array:
    return flat.reshape(*flat.shape[:-1], -1, 6)


def _mean_over_dimensions(metric: Metric) -> Metric:
    """The same metric of each dimension, averaged: one part per dimension."""

    def parts(flat: Array) -> Array:
        return metric.parts(_by_dimension(flat))[..., 0]

    def gradient(flat: Array) -> Array:
        by_dimension = _by_dimension(flat)
        return _flat(metric.gradient(by_dimension) / by_dimension.shape[-2])

    return Metric(
        f"mean_{metric.name}", f"mean {metric.title}", DIMENSION_MOMENTS, metric.minimum, metric.maximum,
        _flat, parts, gradient, lambda moments: moments[..., 0], metric.higher_is_better,
    )  # fmt: skip


def _of_one_dimension(
    name: str, title: str, parts: Callable[[Array], Array], gradient: Callable[[Array], Array]
) -> Metric:
    return Metric(name, title, MOMENTS, -1.0, 1.0, _unchanged, parts, gradient, _n)


_CCC = _of_one_dimension("ccc", "concordance correlation", _ccc_parts, _ccc_gradient)
_PEARSON = _of_one_dimension("pearson", "Pearson correlation", _pearson_parts, _pearson_gradient)
_RMSE = Metric(
    "rmse",
    "root mean square error",
    MOMENTS,
    0.0,
    float("inf"),
    _unchanged,
    _rmse_parts,
    _rmse_gradient,
    _n,
    False,
)

RATING_METRICS = (_CCC, _PEARSON, _RMSE, *(_mean_over_dimensions(m) for m in (_CCC, _PEARSON, _RMSE)))
