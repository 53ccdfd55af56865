"""Metrics as smooth functions of additive statistics per cluster.

Everything the suite scores is computed in two steps: clips are counted into a small array per cluster (a speaker, a
session, a dialogue), and the metric is a function of the *sum* of those arrays. So partial results merge by
addition, a bootstrap replicate is one row of a matrix product, and leaving a speaker out is a subtraction.

Kinds of statistics, K classes:

* ``confusion``, (K, K + 1): ``[t, p]`` counts clips of class t answered p; column K holds "another name, or no answer"
  (:mod:`bench.statistics.categorical`).
* ``moments``, (6,): n, Σx, Σy, Σx², Σy², Σxy of truth x and prediction y, both shifted by a constant (0.5, the
  middle of the scale, unless said otherwise). CCC, Pearson and RMSE do not change under a shift of both, and sums
  of numbers around 0 keep their digits: with clips crowded around 0.9 the raw sums lose two (:mod:`bench.statistics.dimensional`).
* ``dimensions``, (dimensions, 6): the moments of each dimension, for means over dimensions.
* ``soft``, (4,): n and the summed entropy of the votes, Kullback–Leibler and Jensen–Shannon divergence
  (:mod:`bench.statistics.soft_labels`).
* ``calibration``, (bins, 4): per fine bin of confidence n, Σ confidence, clips answered correctly, Σ Brier
  (:mod:`bench.statistics.calibration`).

A metric sees a linear image of the statistics, its ``components``, and is a ratio of them, homogeneous of degree 0:
its gradient times a cluster's components is that cluster's influence (:mod:`bench.statistics.resampling` lives on this).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import InputError, UsageError, nearest
from bench.protocols import Array
from bench.statistics.calibration import CALIBRATION_METRICS, calibration_statistics
from bench.statistics.categorical import (
    CONFUSION_METRICS,
    confusion_statistics,
    only_present_classes,
    precisions,
    recalls,
)
from bench.statistics.dimensional import CENTRE, RATING_METRICS, dimension_statistics, moment_statistics
from bench.statistics.metric import Metric
from bench.statistics.soft_labels import SOFT_METRICS, soft_label_statistics
from bench.statistics.validation import (
    Codes,
    finite_numbers,
    real_array,
    require_equal_lengths,
    shown,
)

__all__ = [
    "CENTRE",
    "METRICS",
    "Codes",
    "InputError",
    "Metric",
    "calibration_statistics",
    "checked_statistics",
    "confusion_statistics",
    "dimension_statistics",
    "finite_numbers",
    "metric_named",
    "moment_statistics",
    "only_present_classes",
    "precisions",
    "recalls",
    "require_equal_lengths",
    "soft_label_statistics",
    "value",
]

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (*CONFUSION_METRICS, *RATING_METRICS, *SOFT_METRICS, *CALIBRATION_METRICS)
}
"""Every metric by name."""


def metric_named(name: str | Metric) -> Metric:
    """Look a metric up in :data:`METRICS`; an unknown name is a :class:`~bench.errors.UsageError`."""
    if isinstance(name, Metric):
        return name
    if not isinstance(name, str):
        raise UsageError(
            f"metric is {shown(name)} ({type(name).__name__}); it must be a name: {', '.join(METRICS)}."
        )
    if name not in METRICS:
        raise UsageError(f"There is no metric {shown(name)}: {nearest(name.lower(), METRICS)}.")
    return METRICS[name]


def value(metric: str | Metric, statistics: ArrayLike) -> Array:
    """Metric values (…) of statistics of the kind that the metric needs: (…, K, K + 1), (…, 6), ….

    Each table is scored on the classes that have a true clip in it; a table without any, or moments for which
    the metric is undefined (see :func:`bench.metrics.concordance_cc`), give NaN. A resample must not be scored
    this way when it lacks a class that the corpus has: :mod:`bench.statistics.resampling` redraws it.

    >>> value("ua", [[8, 2, 0], [1, 3, 1]])
    array(0.7)
    """
    chosen = metric_named(metric)
    parts = chosen.parts(chosen.components(checked_statistics(chosen, statistics)))
    defined = ~np.isnan(parts)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, parts, 0.0).sum(axis=-1) / defined.sum(axis=-1))


def checked_statistics(metric: Metric, statistics: ArrayLike) -> Array:
    """Give the statistics as float64, or raise :class:`InputError` when their trailing axes do not fit the metric."""
    array = real_array("statistics", statistics)
    if array.ndim < metric.axes or not metric.statistics.fits(array.shape[-metric.axes :]):
        raise InputError(
            f"{metric.title} is computed from {metric.statistics.wanted}; found an array of shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise InputError(f"The statistics for {metric.title} hold values that are not finite.")
    return array
