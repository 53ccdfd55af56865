"""One set of answers less another on the same clusters, with its interval: a score under a condition less the clean one, say."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from bench.errors import CannotSeparate
from bench.scoring.records import Counts
from bench.statistics.additive import metric_named, value
from bench.statistics.degrees import t_degrees
from bench.statistics.intervals import difference_interval, occupied
from bench.statistics.resampling import jackknife
from bench.statistics.sign_flips import least_variance


@dataclass(frozen=True)
class PairedDifference:
    """A value less another, in the metric's own unit; without ends where ``method`` says why."""

    difference: float
    low: float | None
    high: float | None
    method: str

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired_difference(metric: str, a: Counts, b: Counts, level: float) -> PairedDifference | None:
    """Return ``a`` less ``b``, which share their clusters; None where either has no value.

    Args:
        metric: its name.
        a: statistics; averaged over seeds first, so the two may have other numbers of seeds.
        b: statistics that are subtracted.
        level: coverage of the interval, 0..1.

    Returns:
        The difference with its jackknife interval over clusters, in the metric's own unit; or None.
    """
    chosen = metric_named(metric)
    first, second = a.averaged, b.averaged
    values = [float(value(chosen, x.sum(axis=0))) for x in (first, second)]
    if not np.isfinite(values).all() or a.labels != b.labels:
        return None
    try:
        table = occupied(chosen, np.stack([first, second]))
        components = chosen.components(table)
        jackknifed = jackknife(chosen, components[0], components[1])
    except CannotSeparate as error:
        return PairedDifference(values[0] - values[1], None, None, f"none: {error}")
    least = least_variance(chosen, components[0])
    widened = replace(jackknifed, standard_error=math.hypot(jackknifed.standard_error, math.sqrt(least)))
    low, high = difference_interval(chosen, widened, level, t_degrees(chosen, table[0]))
    return PairedDifference(
        jackknifed.estimate, low, high, f"jackknife-t over {len(table[0])} clusters, paired"
    )
