"""Pairs of systems tested as one family: swaps within clusters, shared by all pairs, and step-down max-T.

With 10 speakers the smallest p of one pair is 2/1024, so Holm's correction over 28 pairs can never reject; the
maximum over the pairs, taken pattern by pattern, knows how the pairs hang together and can.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import UsageError
from bench.protocols import Array
from bench.statistics.additive import InputError, Metric, metric_named
from bench.statistics.intervals import (
    Unit,
    detectable_difference,
    difference_interval,
    notes_on,
    notes_on_sizes,
    occupied,
    per_cluster,
    require_defined,
    require_level,
    t_degrees,
)
from bench.statistics.resampling import effective_clusters, jackknife, one_blas_thread
from bench.statistics.sign_flips import EXACT_CLUSTERS, SwappedPairs, sign_patterns
from bench.statistics.validation import is_real, real_array, require_sequence, require_whole_number, shown

Verdict = Literal["better", "worse", "equivalent", "this corpus cannot separate them"]
CANNOT_SEPARATE: Verdict = "this corpus cannot separate them"

EQUIVALENCE_LEVEL = 0.90
"""Two one-sided 5 % tests are one 90 % interval (Schuirmann 1987)."""
_TIE = 1 - 1e-9
"""Studentised differences this close are one value, computed along two paths."""


@dataclass(frozen=True)
class Comparison:
    """System A against system B: ``difference`` is A − B in the metric's own unit.

    ``p_value`` is of this pair alone; ``p_adjusted`` (max-T) and ``p_holm`` of the whole family of ``family``
    pairs; ``smallest_p`` is the least that ``p_value`` could have been here. ``low_90``, ``high_90`` is the interval that
    decides ``equivalent`` (None without a margin). The verdict follows ``p_adjusted``, and A is its subject.
    ``detectable_difference`` is the smallest true difference that the verdict would have been about 80 % sure to see here
    (:mod:`bench.statistics.intervals`); None where no difference could have been seen: even the smallest p is too large.
    """

    difference: float
    low: float
    high: float
    p_value: float
    smallest_p: float
    p_holm: float
    p_adjusted: float
    verdict: Verdict
    metric: str
    a: int
    b: int
    level: float
    low_90: float
    high_90: float
    margin: float | None
    equivalent: bool | None
    standard_error: float
    clusters: int
    effective_clusters: float
    family: int
    detectable_difference: float | None
    method: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SwapPValues:
    """Two-sided p-values of a family of pairs, (pairs,), raw and max-T; the least possible; how many patterns, in words.

    ``largest`` (patterns,) is the largest studentised difference of all pairs, pattern by pattern.
    """

    raw: Array
    adjusted: Array
    smallest: float
    patterns: str
    largest: Array

    def critical(self, level: float) -> float:
        """The studentised difference that a pair must reach for an adjusted p of 1 − level or less."""
        if self.smallest > round(1 - level, 12):
            return math.inf
        return float(np.quantile(self.largest, level, method="higher"))


@dataclass(frozen=True)
class _Family:
    """What the pairs of one family share. ``components`` is (systems, clusters, D)."""

    metric: Metric
    components: Array
    pairs: tuple[tuple[int, int], ...]
    degrees: float
    effective_clusters: float
    level: float
    margin: float | None
    unit: Unit


def compare_family(
    metric: str | Metric,
    statistics: ArrayLike,
    pairs: Sequence[tuple[int, int]] | None = None,
    *,
    n_resamples: int = 100_000,
    seed: int = 0,
    level: float = 0.95,
    margin: float | None = None,
    unit: Unit = "clusters",
) -> list[Comparison]:
    """Compare systems on the same clips, all ``pairs`` (default: every two) as one family.

    Each pair's two systems are swapped within whole clusters, the difference studentised under every pattern
    (:class:`bench.statistics.sign_flips.SwappedPairs`), and two-sided p-values are shares of patterns at least as extreme.
    ``p_adjusted`` is step-down max-T: the largest of all the pairs' values under one shared pattern, then of the
    pairs that are left (Westfall & Young 1993). Two identical systems have difference 0 and p 1.

    Args:
        metric: a name, or a metric.
        statistics: (systems, clusters, …), or (systems, seeds, clusters, …) averaged over seeds.
        pairs: (a, b) numbers of systems; None takes every two.
        n_resamples: random sign patterns, where there are too many clusters (above 17) to take all.
        seed: of the random sign patterns.
        level: of the interval (low, high); a verdict needs ``p_adjusted`` ≤ 1 − level.
        margin: differences inside ±margin (in the metric's unit) are of no practical interest; None gives no verdict of
            equivalence.
        unit: what a cluster is, for the notes.

    Returns:
        One comparison per pair, in the order of ``pairs``.

    Raises:
        UsageError: an unknown metric, one without a test (ECE), or a level outside 0..1.
        InputError: systems scored on different clips, or a pair that names no system.
        CannotSeparate: fewer than two clusters with clips, or a metric that is undefined for a system.

    Source: Westfall and Young, Resampling-Based Multiple Testing, 1993; Chung and Romano, Annals of Statistics 41, 2013,
    484–507; Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987, 657–680.
    """
    chosen = metric_named(metric)
    require_level(level)
    require_whole_number("n_resamples", n_resamples, least=1)
    require_whole_number("seed", seed, least=0)
    if margin is not None and not (is_real(margin) and 0 <= margin < math.inf):
        raise UsageError(
            f"margin is {shown(margin)}; it must be a finite number of 0 or more in the metric's unit, or None."
        )
    if not chosen.smooth:
        raise UsageError(
            f"The {chosen.title} has kinks that no swap test here is valid for: compare the Brier score."
        )
    table = occupied(chosen, per_cluster(chosen, statistics, leading=1))
    _require_same_clips(chosen, table)
    components = chosen.components(table)
    for system, own in enumerate(components):
        require_defined(chosen, jackknife(chosen, own), f"system {system}")
    family = _Family(
        metric=chosen,
        components=components,
        pairs=_checked_pairs(pairs, len(table)),
        degrees=t_degrees(chosen, table[0]),
        effective_clusters=effective_clusters(chosen.sizes(table[0])),
        level=level,
        margin=margin,
        unit=unit,
    )
    p = swap_p_values(chosen, components, family.pairs, n_resamples=n_resamples, seed=seed)
    p_holm = holm(p.raw.tolist())
    critical = p.critical(level)
    return [_comparison(family, index, p, p_holm[index], critical) for index in range(len(family.pairs))]


def swap_p_values(
    metric: Metric,
    components: Array,
    pairs: Sequence[tuple[int, int]],
    *,
    n_resamples: int,
    seed: int,
) -> SwapPValues:
    """Studentised swap test of all pairs over one shared set of sign patterns; components (systems, clusters, D).

    Args:
        metric: whose difference is tested.
        components: (systems, clusters, D).
        pairs: (a, b) numbers of systems.
        n_resamples: random sign patterns above 17 clusters.
        seed: of these patterns.

    Returns:
        Raw and max-T adjusted p-values, in the order of ``pairs``.
    """
    clusters = components.shape[1]
    unswapped = np.ones((1, clusters))
    unsorted = SwappedPairs(metric, components, pairs)
    observed = np.abs(unsorted.studentised(unswapped)[:, 0])
    order = np.argsort(-observed, kind="stable")
    swapped = unsorted.taken(order.tolist())
    bar = observed[order] * _TIE
    at_least, largest_at_least = np.zeros(len(pairs), dtype=np.int64), np.zeros(len(pairs), dtype=np.int64)
    patterns, strongest = 0, list[Array]()
    with one_blas_thread():
        for signs in sign_patterns(clusters, n_resamples, seed, pairs=len(pairs)):
            t = swapped.studentised(signs)
            np.abs(t, out=t)
            at_least += (t >= bar[:, np.newaxis]).sum(axis=1)
            # From the weakest pair up: row i becomes the maximum over the pairs not stronger than the i-th.
            largest = np.maximum.accumulate(t[::-1], axis=0)[::-1]
            largest_at_least += (largest >= bar[:, np.newaxis]).sum(axis=1)
            strongest.append(largest[0])
            patterns += len(signs)
    exact = clusters <= EXACT_CLUSTERS
    # Random draws do not hold the unswapped pattern by design: count it in, so that p is never 0.
    extra = 0 if exact else 1
    raw, adjusted = np.empty(len(pairs)), np.empty(len(pairs))
    raw[order] = (at_least + extra) / (patterns + extra)
    adjusted[order] = np.maximum.accumulate((largest_at_least + extra) / (patterns + extra))
    smallest = 1 / patterns if exact else max(1 / (patterns + 1), 2.0 ** (1 - clusters))
    words = f"all 2^{clusters} patterns" if exact else f"{patterns:,} random patterns, seed {seed}"
    return SwapPValues(raw, adjusted, smallest, words, np.concatenate(strongest))


def _comparison(family: _Family, index: int, p: SwapPValues, p_holm: float, critical: float) -> Comparison:
    a, b = family.pairs[index]
    first, second = family.components[a], family.components[b]
    found = jackknife(family.metric, first, second)
    low, high = difference_interval(family.metric, found, family.level, family.degrees)
    low_90, high_90 = difference_interval(family.metric, found, EQUIVALENCE_LEVEL, family.degrees)
    margin = family.margin
    equivalent = None if margin is None else -margin <= low_90 and high_90 <= margin
    clusters = len(first)
    return Comparison(
        difference=found.estimate,
        low=low,
        high=high,
        p_value=float(p.raw[index]),
        smallest_p=p.smallest,
        p_holm=p_holm,
        p_adjusted=float(p.adjusted[index]),
        verdict=_verdict(family, found.estimate, float(p.adjusted[index]), equivalent),
        metric=family.metric.name,
        a=a,
        b=b,
        level=family.level,
        low_90=low_90,
        high_90=high_90,
        margin=margin,
        equivalent=equivalent,
        standard_error=found.standard_error,
        clusters=clusters,
        effective_clusters=family.effective_clusters,
        family=len(family.pairs),
        detectable_difference=detectable_difference(found.standard_error, critical, family.degrees),
        method=f"studentised swaps of whole {family.unit}, {p.patterns}; interval: jackknife-t",
        notes=notes_on(clusters, found.undefined, found.standard_error, family.unit)
        + notes_on_sizes(clusters, family.effective_clusters, family.unit),
    )


def _verdict(family: _Family, difference: float, p_adjusted: float, equivalent: bool | None) -> Verdict:
    # 1 − 0.95 is 0.05000000000000004: without rounding, p = 0.05 would be judged by that.
    if p_adjusted <= round(1 - family.level, 12):
        return "better" if (difference > 0) == family.metric.higher_is_better else "worse"
    return "equivalent" if equivalent else CANNOT_SEPARATE


def _checked_pairs(pairs: Sequence[tuple[int, int]] | None, systems: int) -> tuple[tuple[int, int], ...]:
    chosen = tuple(combinations(range(systems), 2)) if pairs is None else _listed_pairs(pairs)
    for a, b in chosen:
        if a == b or not (0 <= a < systems and 0 <= b < systems):
            raise InputError(
                f"The pair ({a}, {b}) does not name two of the {systems} systems: give two different numbers from 0 to"
                f" {systems - 1}."
            )
    if not chosen:
        raise InputError(f"There is no pair to compare among {systems} system(s): give at least two systems.")
    return chosen


def _listed_pairs(pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    require_sequence("pairs", pairs)
    for place, pair in enumerate(pairs):
        require_sequence(f"pairs[{place}]", pair)
        if len(pair) != 2 or not all(
            isinstance(n, int | np.integer) and not isinstance(n, bool) for n in pair
        ):
            raise InputError(f"pairs[{place}] is {shown(pair)}; it must be the numbers of two systems.")
    return tuple((int(a), int(b)) for a, b in pairs)


def _require_same_clips(metric: Metric, table: Array) -> None:
    """Swapping makes sense between answers to the same questions: equal true clips, cluster by cluster."""
    seen = metric.statistics.truth(table)
    differs = ~np.isclose(seen, seen[:1], rtol=1e-9, atol=1e-9).all(axis=-1)
    if differs.any():
        system, cluster = (int(i) for i in np.argwhere(differs)[0])
        raise InputError(
            f"Systems 0 and {system} were not scored on the same clips: their truth differs in cluster {cluster}"
            f" ({int(differs.sum())} such cases). Compare systems on the clips that all of them have answered."
        )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order (Scandinavian Journal of Statistics 6, 1979, 65–70).

    Args:
        p_values: (tests,) in 0..1.

    Returns:
        Adjusted p-values, (tests,) in 0..1.

    Raises:
        InputError: not flat, or outside 0..1.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = real_array("p_values", p_values)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p_values must be a flat sequence of numbers in 0..1; found {shown(p_values)}.")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]
