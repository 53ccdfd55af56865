"""What a comparison would be worth if the systems were trained anew: seeds as a second source of chance, beside clusters.

Intervals and tests take the trained weights as they are. Where a system's score moves between seeds, that is only half of
the doubt; the interval here holds both halves, and a verdict that it does not bear is said to rest on the seeds at hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import CannotSeparate
from bench.statistics.additive import Metric, checked_statistics, metric_named
from bench.statistics.degrees import satterthwaite_degrees, student_quantile
from bench.statistics.families import Comparison
from bench.statistics.intervals import occupied


@dataclass(frozen=True)
class SeedVariance:
    """What drawing the seeds anew adds to the variance of a system's mean over ``seeds`` of them (NaN: undefined for one)."""

    variance: float
    seeds: int


def seed_variance(metric: str | Metric, statistics: ArrayLike) -> SeedVariance | None:
    """Variance of a system's score between trainings, from statistics (seeds, clusters, …); None for a single seed.

    max(0, V_s − V_cs): V_s = s²/n of the n seeds' values, and V_cs the part of it that single clusters bring, seed by seed, which
    an interval over clusters holds already (two-way variance: Cameron, Gelbach & Miller, Journal of Business & Economic
    Statistics 29, 2011, 238–249).
    """
    chosen = metric_named(metric)
    table = checked_statistics(chosen, statistics)
    seeds = len(table)
    if seeds < 2:
        return None
    try:
        components = chosen.components(occupied(chosen, table))
    except CannotSeparate:
        return SeedVariance(math.nan, seeds)
    with np.errstate(divide="ignore", invalid="ignore"):
        totals = components.sum(axis=1)
        values = np.array([float(chosen.strict(total)) for total in totals])
        influence = np.stack(
            [own @ chosen.gradient(total) for own, total in zip(components, totals, strict=True)]
        )
    between = values.var(ddof=1) / seeds
    by_cluster = influence.var(axis=0, ddof=1).sum() / seeds
    return SeedVariance(float(np.maximum(between - by_cluster, 0.0)), seeds)


def redrawn_interval(
    found: Comparison, first: SeedVariance | None, second: SeedVariance | None
) -> tuple[float, float] | None:
    """Interval of a comparison's difference over clusters and seeds alike, at the comparison's level.

    A system with one seed counts as fixed. None where neither has two seeds, or
    where the metric is undefined for one of them.

    The variances of clusters (the jackknife's, of the seeds' means) and of both systems' seeds add. Student's t has
    Satterthwaite's degrees of freedom: with three seeds that disagree they are few, and the interval is wide.

    Args:
        found: the comparison.
        first: what system A's seeds add; None for one seed.
        second: the same of system B.

    Returns:
        Low and high in the metric's unit, or None.

    Source: Satterthwaite, Biometrics Bulletin 2, 1946, 110–114.
    """
    drawn = [s for s in (first, second) if s is not None]
    parts = [(found.standard_error**2, max(found.effective_clusters - 1.0, 1.0))]
    parts += [(s.variance, s.seeds - 1.0) for s in drawn]
    variance = sum(v for v, _ in parts)
    if not drawn or math.isnan(variance):
        return None
    if variance == 0.0:
        return found.low, found.high
    degrees = satterthwaite_degrees(*zip(*parts, strict=True))
    half = student_quantile((1 + found.level) / 2, degrees) * math.sqrt(variance)
    metric = metric_named(found.metric)
    widest = metric.maximum - metric.minimum
    return max(found.difference - half, -widest), min(found.difference + half, widest)
