"""What a comparison would be worth if the systems were trained anew: seeds as a second source of chance, beside clusters.

Intervals and tests take the trained weights as they are. Where a system's score moves between seeds, that is only half of
the doubt; the interval here holds both halves, and a verdict that it does not bear is said to rest on the seeds at hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.additive import Array, Metric, checked_statistics, metric_named
from bench.errors import CannotSeparate
from bench.intervals import occupied, require_level, t_degrees
from bench.power import student_quantile
from bench.resampling import jackknife


def redrawn_interval(
    metric: str | Metric, first: ArrayLike, second: ArrayLike, *, level: float = 0.95
) -> tuple[float, float] | None:
    """Interval of the difference first − second over clusters and seeds alike.

    :param first: statistics (seeds, clusters, …) of one system; of a system with one seed, that seed counts as fixed
    :returns: None where neither system has two seeds, or where the metric is undefined for one of them

    The variance is V = V_c + Σ max(0, V_s − V_cs), summed over the two systems: V_c is the jackknife over clusters
    of the seeds' mean, V_s = s²/n of the n seeds' values, and V_cs the part of V_s that single clusters bring, which V_c holds
    already (two-way variance: Cameron, Gelbach & Miller, Journal of Business & Economic Statistics 29, 2011, 238–249). Student's t
    has Satterthwaite's degrees of freedom: with three seeds that disagree they are few, and the interval is wide.
    """
    chosen = metric_named(metric)
    require_level(level)
    tables = [checked_statistics(chosen, x) for x in (first, second)]
    counts = [len(x) for x in tables]
    if max(counts) < 2:
        return None
    try:
        table = occupied(chosen, np.concatenate(tables))
    except CannotSeparate:
        return None
    systems = np.split(chosen.components(table), [counts[0]])
    found = jackknife(chosen, *(x.mean(axis=0) for x in systems))
    parts = [(found.standard_error**2, t_degrees(chosen, table[0]))]
    parts += [(_between_seeds(chosen, x), len(x) - 1.0) for x in systems if len(x) > 1]
    variance = sum(v for v, _ in parts)
    if not np.isfinite([found.estimate, variance]).all():
        return None
    if variance == 0.0:
        return found.estimate, found.estimate
    degrees = variance**2 / sum(v**2 / df for v, df in parts)
    half = student_quantile((1 + level) / 2, degrees) * float(np.sqrt(variance))
    widest = chosen.maximum - chosen.minimum
    return max(found.estimate - half, -widest), min(found.estimate + half, widest)


def _between_seeds(metric: Metric, components: Array) -> float:
    """Variance that drawing seeds anew adds to the mean over seeds, beyond what clusters show; components (seeds, clusters, D)."""
    seeds = len(components)
    with np.errstate(divide="ignore", invalid="ignore"):
        totals = components.sum(axis=1)
        values = np.array([float(metric.strict(total)) for total in totals])
        influence = np.stack(
            [own @ metric.gradient(total) for own, total in zip(components, totals, strict=True)]
        )
    between = values.var(ddof=1) / seeds
    by_cluster = influence.var(axis=0, ddof=1).sum() / seeds
    return float(np.maximum(between - by_cluster, 0.0))
