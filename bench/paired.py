"""The difference of two records of the same clips and clusters: another condition, or another run of one system.

No test and no family: one paired interval each, jackknife over clusters with Student's t, as the intervals of planned
differences are made (:mod:`bench.statistics.paired_tests`). Whoever reads many of them should expect one in twenty to miss zero by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.errors import CannotSeparate
from bench.records import Block, Record
from bench.statistics.additive import metric_named, value
from bench.statistics.intervals import difference_interval, occupied, t_degrees
from bench.statistics.resampling import jackknife


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


def same_clips(a: Record, b: Record) -> bool:
    """Whether two records were scored on the same clips in the same clusters, so that their sums pair up."""
    return a.clusters == b.clusters and a.facts["content_hash"] == b.facts["content_hash"]


def paired_difference(metric: str, a: Block, b: Block, level: float) -> PairedDifference | None:
    """Return ``a`` less ``b``, which share their clusters; None where either has no value.

    Statistics are averaged over seeds first, so the two may have other numbers of seeds.
    """
    chosen = metric_named(metric)
    first, second = a.averaged, b.averaged
    values = [float(value(chosen, x.sum(axis=0))) for x in (first, second)]
    if not np.isfinite(values).all() or a.labels != b.labels:
        return None
    try:
        table = occupied(chosen, np.stack([first, second]))
        found = jackknife(chosen, chosen.components(table[0]), chosen.components(table[1]))
    except CannotSeparate as error:
        return PairedDifference(values[0] - values[1], None, None, f"none: {error}")
    low, high = difference_interval(chosen, found, level, t_degrees(chosen, table[0]))
    return PairedDifference(found.estimate, low, high, f"jackknife-t over {len(table[0])} clusters, paired")
