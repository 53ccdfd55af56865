"""Confidence intervals over clusters, from additive statistics.

The default is the exact jackknife over clusters on a variance-stabilising scale (logit for 0..1, Fisher's z for −1..1: the
same function, stretched; logarithm for 0..∞), with Student's t on Kish's effective number of clusters less one (fewer where few hold a class: :mod:`bench.statistics.degrees`). What it and its rivals covered
on simulated corpora is in ``results/validity/README.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import CannotSeparate, UsageError
from bench.protocols import Array
from bench.statistics.additive import (
    InputError,
    Metric,
    checked_statistics,
    metric_named,
    only_present_classes,
)
from bench.statistics.degrees import student_quantile, t_degrees
from bench.statistics.edges import edge_of
from bench.statistics.resampling import (
    Jackknifed,
    Replicates,
    bootstrap,
    effective_clusters,
    jackknife,
    one_blas_thread,
)
from bench.statistics.validation import is_real, require_whole_number, shown

Method = Literal["jackknife-t", "bootstrap-t", "percentile"]
Unit = Literal["clusters", "clips"]

FEWEST_CHECKED = 8
"""From this many clusters on, tests and intervals of differences kept their bounds (``make validity``)."""
HOLDS_FROM: dict[Method, int] = {"jackknife-t": 8, "bootstrap-t": 10, "percentile": 40}
"""From this many clusters on, 95 % intervals held the truth 93–97 % of the time (``make validity``, base case)."""


@dataclass(frozen=True)
class Interval:
    """A score with its confidence interval, never wider than the metric's range and never a point."""

    estimate: float
    low: float
    high: float
    level: float
    metric: str
    clusters: int
    effective_clusters: float
    standard_error: float
    method: str
    notes: tuple[str, ...] = ()


def interval(
    metric: str | Metric,
    statistics: ArrayLike,
    *,
    level: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
    method: Method = "jackknife-t",
    unit: Unit = "clusters",
) -> Interval:
    """Confidence interval of a metric from statistics (clusters, …), or (seeds, clusters, …) averaged over seeds.

    ``"jackknife-t"`` (the default) draws nothing, so it needs neither ``n_resamples`` nor
    ``seed``. ``"bootstrap-t"`` is the symmetric studentised cluster bootstrap on the same scale, 12 to 43 %
    wider with 8 clusters; ``"percentile"`` is what others report, and too narrow below 40 clusters. Each is at least as
    wide as the number of errors allows (:mod:`bench.statistics.edges`), so that a perfect score has an interval. Answers
    that are one class throughout have UA 1/K for every speaker, and no interval: the error says that they are constant.

    Args:
        metric: a name, or a metric.
        statistics: (clusters, …) or (seeds, clusters, …), the trailing axes as the metric's kind has them: (K, K + 1) for
            confusions, (6,) for moments.
        level: coverage, 0..1.
        n_resamples: bootstrap resamples, for the two bootstrap methods.
        seed: of the bootstrap's draws.
        method: "jackknife-t", "bootstrap-t" or "percentile".
        unit: what a cluster is, for the notes: "clips" where every clip was taken for itself.

    Returns:
        Estimate, low and high in the metric's own unit, never outside its range.

    Raises:
        CannotSeparate: fewer than two clusters with clips, an undefined metric, or answers that make the score a constant.
        InputError: statistics of another shape, or not finite.
        UsageError: an unknown metric or method, or a level outside 0..1.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 11 to 14; Kish, Survey Sampling, 1965.
    """
    chosen = metric_named(metric)
    require_level(level)
    require_whole_number("n_resamples", n_resamples, least=1)
    require_whole_number("seed", seed, least=0)
    if not isinstance(method, str) or method not in HOLDS_FROM:
        raise UsageError(
            f"There is no interval method {shown(method)}: jackknife-t, bootstrap-t or percentile."
        )
    table = occupied(chosen, per_cluster(chosen, statistics, leading=0))
    components = chosen.components(table)
    found = jackknife(chosen, components)
    require_defined(chosen, found, "the system")
    if method == "jackknife-t":
        low, high = _jackknife_t(chosen, found, level, t_degrees(chosen, table))
    elif method == "bootstrap-t":
        with one_blas_thread():
            replicates = bootstrap(chosen, components, n_resamples=n_resamples, seed=seed)
        low, high = _bootstrap_t(chosen, found, replicates, level)
    else:
        with one_blas_thread():
            replicates = bootstrap(chosen, components, n_resamples=n_resamples, seed=seed)
        low, high = np.quantile(replicates.values, [(1 - level) / 2, (1 + level) / 2])
    even = effective_clusters(chosen.sizes(table))
    edge = edge_of(chosen, table, found.estimate, found.standard_error, level)
    return Interval(
        estimate=found.estimate,
        low=min(float(low), edge.low),
        high=max(float(high), edge.high),
        level=level,
        metric=chosen.name,
        clusters=len(table),
        effective_clusters=even,
        standard_error=found.standard_error,
        method=f"{method} over {unit}",
        notes=notes_on(len(table), found.undefined, found.standard_error, unit, holds_from=HOLDS_FROM[method])
        + notes_on_sizes(len(table), even, unit)
        + (() if chosen.smooth else ("biased upwards where a bin holds few clips, and so is the interval",)),
    )


def difference_interval(metric: Metric, found: Jackknifed, level: float, df: float) -> tuple[float, float]:
    """Interval of a jackknifed difference of two values of the metric: Student's t, no transform.

    Args:
        metric: whose range bounds the difference.
        found: difference and standard error, in the metric's unit.
        level: coverage, 0..1.
        df: degrees of freedom of the standard error.

    Returns:
        Low and high, in the metric's unit, at most the metric's range apart from 0.
    """
    widest = metric.maximum - metric.minimum
    # At a level next to 1 the quantile is infinite, and infinity times nothing is NaN.
    half = student_quantile((1 + level) / 2, df) * found.standard_error if found.standard_error else 0.0
    return max(found.estimate - half, -widest), min(found.estimate + half, widest)


def score_interval(metric: Metric, found: Jackknifed, level: float, df: float) -> tuple[float, float]:
    """Interval of a value of the metric from its standard error: Student's t on the stretched scale.

    Args:
        metric: whose range bounds the interval.
        found: value and standard error, in the metric's unit.
        level: coverage, 0..1.
        df: degrees of freedom of the standard error.

    Returns:
        Low and high, in the metric's unit, inside its range.
    """
    return _jackknife_t(metric, found, level, df)


def mean_interval(values: ArrayLike, level: float) -> tuple[float, float | None, float | None]:
    """Mean of independent values with Student's t interval, kept inside 0..1; no interval of fewer than two.

    Args:
        values: (clusters,), each in 0..1.
        level: coverage, 0..1.

    Returns:
        Mean, low, high, in the values' unit.

    >>> tuple(round(x, 3) for x in mean_interval([0.5, 0.7, 0.6], 0.95))
    (0.6, 0.352, 0.848)
    """
    own = np.asarray(values, dtype=np.float64)
    mean = float(own.mean())
    if len(own) < 2:
        return mean, None, None
    half = student_quantile((1 + level) / 2, len(own) - 1) * float(own.std(ddof=1)) / math.sqrt(len(own))
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def per_cluster(metric: Metric, statistics: ArrayLike, *, leading: int) -> Array:
    """Check statistics and average them over seeds: ``leading`` axes, an optional seeds axis, clusters, and the rest.

    Args:
        metric: decides the trailing axes.
        statistics: (systems, [seeds,] clusters, …) with ``leading`` 1, ([seeds,] clusters, …) with 0.
        leading: axes before that of the seeds.

    Returns:
        float64 (systems, clusters, …) or (clusters, …).

    Raises:
        InputError: other axes, or values that are not finite.
    """
    array = checked_statistics(metric, statistics)
    plain = leading + 1 + metric.axes
    if array.ndim == plain + 1:
        array = array.mean(axis=leading)
    if array.ndim != plain:
        wanted = "(systems, [seeds,] clusters, …)" if leading else "([seeds,] clusters, …)"
        raise InputError(f"Statistics for {metric.title} must have the axes {wanted}; found {array.shape}.")
    return array


def occupied(metric: Metric, statistics: Array) -> Array:
    """Leave out clusters without a clip and classes without a true clip, from statistics (…, clusters, …).

    Args:
        metric: decides what a clip is to the statistics.
        statistics: (…, clusters, …).

    Returns:
        The same without clusters that hold no clip and, for confusions, without classes that have no true clip.

    Raises:
        CannotSeparate: fewer than two clusters are left.
    """
    clips = metric.sizes(statistics).sum(axis=-1)
    kept = clips.reshape(-1, clips.shape[-1]).sum(axis=0) > 0
    if kept.sum() < 2:
        raise CannotSeparate(
            f"The {metric.title} of {int(kept.sum())} cluster(s) with clips has no interval and no test: how much clusters"
            " (speakers, sessions) differ can only be seen from two on, and is worth trusting from eight."
        )
    table = np.compress(kept, statistics, axis=statistics.ndim - 1 - metric.axes)
    return only_present_classes(table) if metric.kind == "confusion" else table


def require_level(level: float) -> None:
    """Raise :class:`~bench.errors.UsageError` unless 0 < level < 1."""
    if not is_real(level) or not 0 < level < 1:
        raise UsageError(
            f"level is {shown(level)}; a confidence level lies between 0 and 1, for example 0.95."
        )


def require_defined(metric: Metric, found: Jackknifed, whose: str) -> None:
    """Raise :class:`~bench.errors.CannotSeparate` when the metric, or its standard error, does not exist.

    Args:
        metric: named in the message.
        found: estimate and standard error.
        whose: named in the message, such as "system 0".

    Raises:
        CannotSeparate: one of the two is not finite.
    """
    if not np.isfinite([found.estimate, found.standard_error]).all():
        raise CannotSeparate(
            f"The {metric.title} of {whose} is undefined (0/0): its answers, or the truth, do not vary. Leave it out."
        )


def notes_on(
    clusters: int, undefined: int, standard_error: float, unit: Unit, *, holds_from: int = FEWEST_CHECKED
) -> tuple[str, ...]:
    """Say in sentences what a reader of an interval or a comparison should know.

    Args:
        clusters: clusters with clips.
        undefined: clusters without which the metric is undefined.
        standard_error: in the metric's unit.
        unit: what a cluster is.
        holds_from: clusters from which on the method kept its level.

    Returns:
        Sentences, none where there is nothing to know.
    """
    notes = []
    if unit == "clips":
        notes.append(
            "clips were taken as independent, which understates the uncertainty when speakers have several"
        )
    if clusters < holds_from:
        notes.append(
            f"{clusters} {unit} only: with this method, error rates were right in the usual simulated worlds from {holds_from} on"
        )
    if undefined:
        notes.append(
            f"a class has true clips in one of the {unit} only: how it varies between them is unknown"
        )
    if standard_error == 0.0:
        notes.append(f"nothing varies between {unit}: the interval is what so few clips can prove")
    return tuple(notes)


def notes_on_sizes(clusters: int, effective: float, unit: Unit) -> tuple[str, ...]:
    """Say where few clusters hold most of the clips: intervals are then cautious, and tests a little eager or cautious.

    Args:
        clusters: clusters with clips.
        effective: Kish's effective number of them.
        unit: what a cluster is.

    Returns:
        One sentence or none.
    """
    if clusters < FEWEST_CHECKED or effective >= min(FEWEST_CHECKED, clusters * 2 / 3):
        return ()
    return (f"few {unit} hold most clips: {clusters} count as {effective:.1f} equal ones",)


def _jackknife_t(metric: Metric, found: Jackknifed, level: float, df: float) -> tuple[float, float]:
    return _symmetric(metric, found, student_quantile((1 + level) / 2, df))


def _bootstrap_t(
    metric: Metric, found: Jackknifed, replicates: Replicates, level: float
) -> tuple[float, float]:
    centre = _stretched(metric, np.asarray(found.estimate))
    with np.errstate(divide="ignore", invalid="ignore"):
        error = replicates.standard_errors * _slope(metric, replicates.values)
        t = np.abs(_stretched(metric, replicates.values) - centre) / error
    # 0/0: a replicate that equals the estimate and does not vary; x/0: one at the edge of the metric's range.
    t = np.where(np.isnan(t), 0.0, t)
    return _symmetric(metric, found, float(np.quantile(t, level, method="higher")))


def _symmetric(metric: Metric, found: Jackknifed, quantile: float) -> tuple[float, float]:
    """Estimate ± quantile standard errors on the stretched scale, mapped back.

    An estimate on the very edge of the range (an ECE of exactly 0) lies infinitely far out on that scale, where the
    sum is NaN: there the interval is taken on the metric's own scale and ends at the edge.
    """
    if found.standard_error == 0.0:
        return found.estimate, found.estimate
    estimate = np.asarray(found.estimate)
    with np.errstate(over="ignore", invalid="ignore"):
        centre, half = (
            _stretched(metric, estimate),
            quantile * found.standard_error * _slope(metric, estimate),
        )
        low, high = _unstretched(metric, np.array([centre - half, centre + half]))
    if np.isnan(low) or np.isnan(high):
        wide = quantile * found.standard_error
        low, high = np.clip([found.estimate - wide, found.estimate + wide], metric.minimum, metric.maximum)
    return float(low), float(high)


def _stretched(metric: Metric, values: Array) -> Array:
    """atanh of the value mapped to −1..1: half the logit for 0..1, Fisher's z for a correlation; log where unbounded."""
    radius = (metric.maximum - metric.minimum) / 2
    with np.errstate(divide="ignore"):
        if np.isinf(radius):
            return np.asarray(np.log(values - metric.minimum))
        return np.asarray(np.arctanh((values - metric.minimum) / radius - 1))


def _unstretched(metric: Metric, values: Array) -> Array:
    middle, radius = (metric.maximum + metric.minimum) / 2, (metric.maximum - metric.minimum) / 2
    if np.isinf(radius):
        return np.asarray(metric.minimum + np.exp(values))
    return np.asarray(middle + radius * np.tanh(values))


def _slope(metric: Metric, values: Array) -> Array:
    """Derivative of the stretched scale."""
    radius = (metric.maximum - metric.minimum) / 2
    with np.errstate(divide="ignore"):
        if np.isinf(radius):
            return np.asarray(1 / (values - metric.minimum))
        return np.asarray(1 / radius / (1 - ((values - metric.minimum) / radius - 1) ** 2))


POWER = 0.80


def detectable_difference(
    standard_error: float, critical: float, degrees: float, *, power: float = POWER
) -> float | None:
    """Smallest true difference found with probability ``power``, in the metric's unit: (c + t_power) · se.

    c is the studentised difference from which the test rejects (for a family, the max-T one), t_power the quantile of
    Student's t on ``degrees`` of freedom. An approximation: the standard
    error is that of the pair at hand. None when nothing can be found: c is infinite, or nothing varies.

    Args:
        standard_error: of the difference, in the metric's unit.
        critical: studentised difference from which the test rejects; may be infinite.
        degrees: degrees of freedom.
        power: probability of finding it, 0..1.

    Returns:
        The difference in the metric's unit, or None.

    Source: Bloom, Evaluation Review 19, 1995, 547–556.

    >>> round(detectable_difference(0.02, 2.262, 9), 4)
    0.0629
    """
    if not math.isfinite(critical) or standard_error == 0.0:
        return None
    return (critical + student_quantile(power, degrees)) * standard_error
