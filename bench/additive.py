"""Metrics as smooth functions of additive statistics per cluster.

Everything the suite scores is computed in two steps: clips are counted into a small array per cluster (a speaker, a
session, a dialogue), and the metric is a function of the *sum* of those arrays. So partial results merge by
addition, a bootstrap replicate is one row of a matrix product, and leaving a speaker out is a subtraction.

Two kinds of statistics, K classes:

* ``confusion``, (K, K + 1): ``[t, p]`` counts clips of class t answered p; column K holds "another name, or no answer".
* ``moments``, (6,): n, Σx, Σy, Σx², Σy², Σxy of truth x and prediction y, both shifted by a constant (0.5, the
  middle of the scale, unless said otherwise). CCC and Pearson do not change under a shift of both, and sums
  of numbers around 0 keep their digits: with clips crowded around 0.9 the raw sums lose two.

A metric sees a linear image of the statistics, its ``components``, and is a ratio of them, homogeneous of degree 0:
its gradient times a cluster's components is that cluster's influence (:mod:`bench.resampling` lives on this).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import DataError, UsageError, nearest

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

CENTRE = 0.5
"""The middle of the 0..1 scale of the dimensions: where moments are centred."""
ROUNDING = 1e-13
"""A variance below this share of the second moment is rounding, and counts as zero."""


class InputError(DataError, ValueError):
    """Arguments that contradict each other; also a ValueError, for callers who know only Python."""


@dataclass(frozen=True)
class Metric:
    """A metric as a function of additive statistics.

    ``components`` maps statistics (…, K, K + 1) or (…, 6) linearly to (…, D). ``parts`` maps components to (…, P), NaN
    where undefined: one part per class for UA and macro-F1, else one. The metric is the mean of its parts.
    ``gradient`` (…, D) is that mean's derivative where all parts are defined. ``sizes`` maps statistics to the clips
    behind each part, (…, P).
    """

    name: str
    title: str
    kind: Literal["confusion", "moments"]
    minimum: float
    maximum: float
    components: Callable[[Array], Array]
    parts: Callable[[Array], Array]
    gradient: Callable[[Array], Array]
    sizes: Callable[[Array], Array]
    higher_is_better: bool = True

    @property
    def axes(self) -> int:
        """How many trailing axes of an array of statistics belong to one cluster."""
        return 2 if self.kind == "confusion" else 1

    def strict(self, components: Array) -> Array:
        """Value (…) from components (…, D); NaN where any part is undefined (a resample that lacks a class)."""
        return np.asarray(self.parts(components).mean(axis=-1))


def metric_named(name: str | Metric) -> Metric:
    """Look a metric up in :data:`METRICS`; an unknown name is a :class:`~bench.errors.UsageError`."""
    if isinstance(name, Metric):
        return name
    if name not in METRICS:
        raise UsageError(f"There is no metric {name!r}: {nearest(name, METRICS)}.")
    return METRICS[name]


def value(metric: str | Metric, statistics: ArrayLike) -> Array:
    """Metric values (…) of statistics (…, K, K + 1) or (…, 6).

    Each table is scored on the classes that have a true clip in it; a table without any, or moments for which
    the metric is undefined (see :func:`bench.metrics.concordance_cc`), give NaN. A resample must not be scored
    this way when it lacks a class that the corpus has: :mod:`bench.resampling` redraws it.

    >>> value("ua", [[8, 2, 0], [1, 3, 1]])
    array(0.7)
    """
    chosen = metric_named(metric)
    parts = chosen.parts(chosen.components(checked_statistics(chosen, statistics)))
    defined = ~np.isnan(parts)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, parts, 0.0).sum(axis=-1) / defined.sum(axis=-1))


def confusion_statistics(
    truth: ArrayLike, prediction: ArrayLike, clusters: ArrayLike, *, n_labels: int, n_clusters: int
) -> Codes:
    """Confusion counts per cluster, int64 (clusters, n_labels, n_labels + 1), from integer codes (clips,).

    A prediction code of −1, or of ``n_labels`` and above, counts in the last column: a wrong answer of no class.
    Raises :class:`InputError` for unequal lengths and for truth or cluster codes out of range.
    """
    true, cluster = _codes("truth", truth, n_labels), _codes("clusters", clusters, n_clusters)
    given = np.asarray(prediction, dtype=np.int64)
    require_equal_lengths(truth=len(true), prediction=len(given), clusters=len(cluster))
    column = np.where((given < 0) | (given >= n_labels), n_labels, given)
    cell = (cluster * n_labels + true) * (n_labels + 1) + column
    counts = np.bincount(cell, minlength=n_clusters * n_labels * (n_labels + 1))
    return counts.astype(np.int64).reshape(n_clusters, n_labels, n_labels + 1)


def moment_statistics(
    truth: ArrayLike, prediction: ArrayLike, clusters: ArrayLike, *, n_clusters: int, centre: float = CENTRE
) -> Array:
    """Six sums per cluster, (clusters, 6): n, Σx, Σy, Σx², Σy², Σxy with x = truth − centre, y = prediction − centre.

    Statistics to be added or compared must share their centre. Raises :class:`InputError` for unequal lengths,
    cluster codes out of range, and values that are missing or not finite: what a missing answer counts as (the
    middle of the scale, in this suite) is the scorer's decision and is not hidden here.
    """
    cluster = _codes("clusters", clusters, n_clusters)
    x, y = finite_numbers("truth", truth) - centre, finite_numbers("prediction", prediction) - centre
    require_equal_lengths(truth=len(x), prediction=len(y), clusters=len(cluster))
    columns = (np.ones_like(x), x, y, x * x, y * y, x * y)
    return np.stack([np.bincount(cluster, weights=c, minlength=n_clusters) for c in columns], axis=-1)


def recalls(confusion: ArrayLike) -> Array:
    """Recall per class, (…, K): correct clips of a class among its true clips; NaN for a class without any.

    >>> recalls([[8, 2, 0], [1, 3, 1]])
    array([0.8, 0.6])
    """
    table = np.asarray(confusion, dtype=np.float64)
    return _ratio(_hits(table), table.sum(axis=-1))


def precisions(confusion: ArrayLike) -> Array:
    """Precision per class, (…, K): correct clips among those answered with the class; NaN when it was never answered.

    >>> precisions([[8, 2, 0], [2, 3, 1]])
    array([0.8, 0.6])
    """
    table = np.asarray(confusion, dtype=np.float64)
    return _ratio(_hits(table), table.sum(axis=-2)[..., :-1])


def only_present_classes(confusion: Array) -> Array:
    """Drop the classes without a true clip anywhere in (…, K, K + 1): answers naming them move to the last column."""
    present = confusion.reshape(-1, *confusion.shape[-2:]).sum(axis=(0, 2)) > 0
    if present.all():
        return confusion
    kept = confusion[..., present, :]
    columns = np.append(present, False)
    other = kept[..., ~columns].sum(axis=-1, keepdims=True)
    return np.concatenate([kept[..., columns], other], axis=-1)


def checked_statistics(metric: Metric, statistics: ArrayLike) -> Array:
    """Give the statistics as float64, or raise :class:`InputError` when their trailing axes do not fit the metric."""
    array = np.asarray(statistics, dtype=np.float64)
    shape = array.shape[-metric.axes :]
    if metric.kind == "confusion":
        fits = len(shape) == 2 and shape[0] >= 1 and shape[1] == shape[0] + 1
        wanted = "(…, K, K + 1) confusion counts"
    else:
        fits, wanted = shape == (6,), "(…, 6) moments"
    if not fits:
        raise InputError(f"{metric.title} is computed from {wanted}; found an array of shape {array.shape}.")
    if not np.isfinite(array).all():
        raise InputError(f"The statistics for {metric.title} hold values that are not finite.")
    return array


def require_equal_lengths(**lengths: int) -> None:
    """Raise :class:`InputError` unless all named lengths are equal and positive."""
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"Arguments must have one entry per clip, in the same order: {listed}.")
    if not next(iter(lengths.values())):
        raise InputError(f"There is nothing to score: {' and '.join(lengths)} are empty.")


def finite_numbers(name: str, values: ArrayLike) -> Array:
    """Give ``values`` as a flat float64 array, or raise :class:`InputError`: text, None, NaN or infinity among them."""
    found = np.asarray(values)
    if found.ndim != 1 or found.dtype.kind not in "iufbO":
        raise InputError(f"{name} must be a flat sequence of numbers; found {found.dtype} {found.shape}.")
    try:
        array = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a flat sequence of numbers: {error}.") from error
    wrong = np.flatnonzero(~np.isfinite(array))
    if wrong.size:
        raise InputError(
            f"{name}[{wrong[0]}] is {found[wrong[0]]} ({wrong.size} such clips), but every clip needs a finite number."
        )
    return array


def _codes(name: str, codes: ArrayLike, size: int) -> Codes:
    array = np.asarray(codes)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(
            f"{name} must be a flat sequence of integer codes; found {array.dtype} {array.shape}."
        )
    wrong = np.flatnonzero((array < 0) | (array >= size))
    if wrong.size:
        raise InputError(
            f"{name}[{wrong[0]}] is {array[wrong[0]]}, but codes run from 0 to {size - 1}"
            f" ({wrong.size} such clips)."
        )
    return array.astype(np.int64)


def _hits(table: Array) -> Array:
    return np.diagonal(table, axis1=-2, axis2=-1)


def _ratio(above: Array, below: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(below > 0, above / below, np.nan))


# Each metric: its components, its parts, its gradient. Per class: h hits, n true clips, both = n + answers.


def _ua_components(table: Array) -> Array:
    return np.concatenate([_hits(table), table.sum(axis=-1)], axis=-1)


def _ua_parts(c: Array) -> Array:
    h, n = np.split(c, 2, axis=-1)
    return _ratio(h, n)


def _ua_gradient(c: Array) -> Array:
    h, n = np.split(c, 2, axis=-1)
    per_hit = 1 / (n.shape[-1] * n)
    return np.concatenate([per_hit, -per_hit * h / n], axis=-1)


def _wa_components(table: Array) -> Array:
    return np.stack([_hits(table).sum(axis=-1), table.sum(axis=(-2, -1))], axis=-1)


def _f1_components(table: Array) -> Array:
    hits, true, said = _hits(table), table.sum(axis=-1), table.sum(axis=-2)[..., :-1]
    return np.concatenate([hits, true + said, true], axis=-1)


def _f1_parts(c: Array) -> Array:
    h, both, n = np.split(c, 3, axis=-1)
    return np.where(n > 0, _ratio(2 * h, both), np.nan)


def _f1_gradient(c: Array) -> Array:
    h, both, n = np.split(c, 3, axis=-1)
    per_hit = 2 / (n.shape[-1] * both)
    return np.concatenate([per_hit, -per_hit * h / both, np.zeros_like(n)], axis=-1)


def _unchanged(moments: Array) -> Array:
    return moments


def _sums(moments: Array) -> tuple[Array, ...]:
    return tuple(np.moveaxis(moments, -1, 0))


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
    return _ratio(above, np.where(below > ROUNDING * n * (xx + yy), below, 0.0))[..., np.newaxis]


def _ccc_gradient(moments: Array) -> Array:
    n, x, y, xx, yy, xy = _sums(moments)
    # n²(u + v) + (Σx − Σy)² = n Σx² + n Σy² − 2 Σx Σy: the squares of the means cancel.
    q = n * xx + n * yy - 2 * x * y
    ccc = 2 * (n * xy - x * y) / q
    rows = (2 * xy - ccc * (xx + yy), 2 * y * (ccc - 1), 2 * x * (ccc - 1), -ccc * n, -ccc * n, 2 * n)
    return np.stack([row / q for row in rows], axis=-1)


def _pearson_parts(moments: Array) -> Array:
    p, u, v = _variances(moments)
    return _ratio(p, np.sqrt(u * v))[..., np.newaxis]


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
    return np.stack(rows, axis=-1)


def _true_clips(table: Array) -> Array:
    return np.asarray(table.sum(axis=-1))


def _all_clips(table: Array) -> Array:
    return np.asarray(table.sum(axis=(-2, -1)))[..., np.newaxis]


def _n(moments: Array) -> Array:
    return moments[..., :1]


_CONFUSION: tuple[Literal["confusion"], float, float] = ("confusion", 0.0, 1.0)
_MOMENTS: tuple[Literal["moments"], float, float] = ("moments", -1.0, 1.0)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "ua", "unweighted accuracy", *_CONFUSION, _ua_components, _ua_parts, _ua_gradient, _true_clips
        ),
        # Plain accuracy is the unweighted accuracy of one class that holds every clip.
        Metric("wa", "weighted accuracy", *_CONFUSION, _wa_components, _ua_parts, _ua_gradient, _all_clips),
        Metric("macro_f1", "macro-F1", *_CONFUSION, _f1_components, _f1_parts, _f1_gradient, _true_clips),
        Metric("ccc", "concordance correlation", *_MOMENTS, _unchanged, _ccc_parts, _ccc_gradient, _n),
        Metric(
            "pearson", "Pearson correlation", *_MOMENTS, _unchanged, _pearson_parts, _pearson_gradient, _n
        ),
    )
}
"""Every metric by name."""
