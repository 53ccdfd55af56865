"""One joint inference of a family of comparisons, from which verdict, interval, rank and equivalence all follow.

Every pair of the family has the simultaneous interval

    difference ± c · se

with se its infinitesimal jackknife error and c the family's max-T critical value over shared sign flips
(:mod:`bench.statistics.swap_tests`). Together the intervals of a family hold all their true differences with the stated
probability, so whatever is read off them is right with that probability, however many pairs there are:

* A is better than B exactly where their interval excludes 0, which is exactly where the adjusted p is 1 − level or less;
* a system's rank lies between 1 + (systems better than it) and N − (systems worse);
* A and B are equivalent where the interval lies inside ±margin: a family of true differences at the margin gives a false
  equivalence with probability 1 − level at most. A family of one pair takes the interval of level 1 − 2(1 − level), which is two
  one-sided tests at 1 − level (Schuirmann 1987): with several pairs the sides on which they may err are unknown.

A pair's own interval (jackknife, Student's t) stands beside it: right for one pair chosen beforehand, and too narrow for
the pairs that a family puts forward.

Sources: Hsu, Multiple Comparisons, 1996, for the joint reading; Westfall and Young, 1993; Schuirmann, Journal of
Pharmacokinetics and Biopharmaceutics 15, 1987, 657–680; Mogstad, Romano, Shaikh and Wilhelm, Review of Economic Studies 91,
2024, 476–518, for ranks from simultaneous intervals of differences.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bench.statistics.ranking import RankInterval, rank_interval

Verdict = Literal[
    "better",
    "worse",
    "better, by less than the margin",
    "worse, by less than the margin",
    "equivalent",
    "this corpus cannot separate them",
]
CANNOT_SEPARATE: Verdict = "this corpus cannot separate them"
OPPOSITE: dict[str, Verdict] = {
    "better": "worse",
    "worse": "better",
    "better, by less than the margin": "worse, by less than the margin",
    "worse, by less than the margin": "better, by less than the margin",
}
"""Verdicts that tell two systems apart, and each seen from the other system."""


def better_or_worse(verdict: str) -> int:
    """1 where the verdict says that its subject is better, −1 where worse, 0 where it tells no two apart.

    >>> [better_or_worse(v) for v in ("better, by less than the margin", "worse", "equivalent")]
    [1, -1, 0]
    """
    return {"better": 1, "worse": -1}.get(verdict.partition(",")[0], 0)


@dataclass(frozen=True)
class JointIntervals:
    """What turns a pair's difference and error into its simultaneous interval and the interval that decides equivalence.

    ``widest`` is the metric's range, which no difference exceeds.
    """

    level: float
    pairs: int
    widest: float

    @property
    def equivalence_level(self) -> float:
        """Coverage of the interval that decides equivalence: two one-sided tests for one pair, else that of the family."""
        alone = self.pairs == 1 and self.level > 0.5
        return round(2 * self.level - 1, 12) if alone else self.level

    def around(self, difference: float, error: float, critical: float) -> tuple[float, float]:
        """Ends of the interval from a studentised difference that is critical; infinite where so few clusters separate nothing.

        Args:
            difference: of the pair, in the metric's unit.
            error: its infinitesimal jackknife error, in the metric's unit.
            critical: how many errors an end lies away.

        Returns:
            Low and high, in the metric's unit, at most the metric's range from 0.
        """
        if difference == 0.0 and error == 0.0:
            return 0.0, 0.0  # equal sums in every cluster
        if math.isinf(critical):
            return -self.widest, self.widest
        half = critical * error
        return max(difference - half, -self.widest), min(difference + half, self.widest)


@dataclass(frozen=True)
class Comparison:
    """System A against system B: ``difference`` is A − B in the metric's own unit.

    ``simultaneous_low`` to ``simultaneous_high`` is the interval that decides ``verdict`` (A is its subject): better or worse exactly
    where it excludes 0, which is where ``p_adjusted`` (max-T over the family of ``family`` pairs) is 1 − level or less.
    ``equivalence_low`` to ``equivalence_high`` decides ``equivalent`` (None without a margin): the same interval, and in a family of
    one pair that of two one-sided tests. ``low`` to ``high`` and ``low_90`` to ``high_90`` are of this pair alone, and
    decide nothing; ``p_value`` likewise, ``smallest_p`` is the least it could have been here, and ``p_holm`` is Holm's correction of it.
    ``detectable_difference`` is the smallest true difference that the verdict would have been about 80 % sure to see here
    (:mod:`bench.statistics.intervals`); None where no difference could have been seen: even the smallest p is too large.
    """

    difference: float
    low: float
    high: float
    simultaneous_low: float
    simultaneous_high: float
    p_value: float
    smallest_p: float
    p_holm: float
    p_adjusted: float
    verdict: Verdict
    decided_by: str
    metric: str
    a: int
    b: int
    level: float
    low_90: float
    high_90: float
    margin: float | None
    equivalent: bool | None
    equivalence_low: float
    equivalence_high: float
    standard_error: float
    joint_error: float
    clusters: int
    effective_clusters: float
    family: int
    detectable_difference: float | None
    method: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FamilyInference:
    """Everything that one family of comparisons says, jointly; iterating gives its comparisons, in the order asked for."""

    metric: str
    systems: int
    joint: JointIntervals
    margin: float | None
    smallest_p: float
    patterns: str
    comparisons: tuple[Comparison, ...]

    def __iter__(self) -> Iterator[Comparison]:
        """Go through the comparisons."""
        return iter(self.comparisons)

    def __len__(self) -> int:
        """Count the comparisons."""
        return len(self.comparisons)

    def rank(self, system: int) -> RankInterval:
        """Interval of a system's rank among those it was compared with and itself: 1 + (better ones) to N − (worse ones)."""
        seen = [better_or_worse(c.verdict) for c in self.comparisons if c.a == system]
        seen += [-better_or_worse(c.verdict) for c in self.comparisons if c.b == system]
        return rank_interval(
            systems=1 + len(seen), significantly_better=seen.count(-1), significantly_worse=seen.count(1)
        )


def verdict_of(
    *, higher_is_better: bool, simultaneous: tuple[float, float], equivalent: bool | None
) -> Verdict:
    """What a pair's intervals say of A.

    Args:
        higher_is_better: of the metric.
        simultaneous: ends of the interval that excludes 0 where the two differ.
        equivalent: whether the equivalence interval lies inside the margin; None without a margin.

    Returns:
        The verdict, whose subject is A.
    """
    low, high = simultaneous
    if low <= 0.0 <= high:
        return "equivalent" if equivalent else CANNOT_SEPARATE
    better = (low > 0.0) == higher_is_better
    if equivalent:
        return "better, by less than the margin" if better else "worse, by less than the margin"
    return "better" if better else "worse"
