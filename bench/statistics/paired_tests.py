"""Pairs of systems tested as one family: swaps within clusters, shared by all pairs, and max-T.

With 10 speakers the smallest p of one pair is 2/1024, so Holm's correction over 28 pairs can never reject; the
maximum over the pairs, taken pattern by pattern, knows how the pairs hang together and can. It is taken in one step, not
step-down: only so do p-values and simultaneous intervals say the same (:mod:`bench.statistics.families`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import UsageError
from bench.protocols import Array
from bench.statistics.additive import InputError, Metric, metric_named
from bench.statistics.degrees import t_degrees
from bench.statistics.families import (
    CANNOT_SEPARATE,
    Comparison,
    FamilyInference,
    JointIntervals,
    verdict_of,
)
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
)
from bench.statistics.resampling import LeftOut, effective_clusters, jackknifed, left_out
from bench.statistics.sign_flips import least_variance
from bench.statistics.swap_tests import SwapTests, swap_tests
from bench.statistics.validation import is_real, real_array, require_sequence, require_whole_number, shown

OWN_EQUIVALENCE_LEVEL = 0.90
"""Two one-sided 5 % tests of one pair are one 90 % interval (Schuirmann 1987)."""


@dataclass(frozen=True)
class _Family:
    """What the pairs of one family share. ``components`` is (systems, clusters, D)."""

    metric: Metric
    components: Array
    systems: Sequence[LeftOut]
    pairs: tuple[tuple[int, int], ...]
    degrees: float
    effective_clusters: float
    level: float
    margin: float | None
    unit: Unit


def infer_family(
    metric: str | Metric,
    statistics: ArrayLike,
    pairs: Sequence[tuple[int, int]] | None = None,
    *,
    n_resamples: int = 100_000,
    seed: int = 0,
    level: float = 0.95,
    margin: float | None = None,
    unit: Unit = "clusters",
) -> FamilyInference:
    """Compare systems on the same clips, all ``pairs`` (default: every two) as one family, jointly.

    Each pair's two systems are swapped within whole clusters, the difference studentised under every pattern
    (:class:`bench.statistics.sign_flips.SwappedPairs`), and two-sided p-values are shares of patterns at least as extreme.
    ``p_adjusted`` is single-step max-T: the share of shared patterns under which any pair of the family is as extreme. Its
    critical value gives the simultaneous intervals, and these every verdict, rank and equivalence
    (:mod:`bench.statistics.families`). Two identical systems have difference 0 and p 1.

    Args:
        metric: a name, or a metric.
        statistics: (systems, clusters, …), or (systems, seeds, clusters, …) averaged over seeds.
        pairs: (a, b) numbers of systems; None takes every two.
        n_resamples: random sign patterns, where there are too many clusters (above 17) to take all.
        seed: of the random sign patterns.
        level: of the intervals; a verdict needs a simultaneous one without 0, which is ``p_adjusted`` ≤ 1 − level.
        margin: differences inside ±margin (in the metric's unit) are of no practical interest; None gives no verdict of
            equivalence.
        unit: what a cluster is, for the notes.

    Returns:
        The family's joint inference, with one comparison per pair, in the order of ``pairs``.

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
    systems = [left_out(chosen, own) for own in components]
    for system, own in enumerate(systems):
        require_defined(chosen, jackknifed(own), f"system {system}")
    family = _Family(
        metric=chosen,
        components=components,
        systems=systems,
        pairs=_checked_pairs(pairs, len(table)),
        degrees=t_degrees(chosen, table[0]),
        effective_clusters=effective_clusters(chosen.sizes(table[0])),
        level=level,
        margin=margin,
        unit=unit,
    )
    tests = swap_tests(chosen, components, family.pairs, n_resamples=n_resamples, seed=seed)
    joint = JointIntervals(level=level, pairs=len(family.pairs), widest=chosen.maximum - chosen.minimum)
    p_holm = holm(tests.raw.tolist())
    return FamilyInference(
        metric=chosen.name,
        systems=len(table),
        joint=joint,
        margin=margin,
        smallest_p=tests.smallest,
        patterns=tests.patterns,
        comparisons=tuple(
            _comparison(family, joint, tests, index, p_holm[index]) for index in range(len(family.pairs))
        ),
    )


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
    """Compare systems as :func:`infer_family` does, and give its comparisons alone.

    Args:
        metric: a name, or a metric.
        statistics: (systems, [seeds,] clusters, …).
        pairs: (a, b) numbers of systems; None takes every two.
        n_resamples: random sign patterns above 17 clusters.
        seed: of the random sign patterns.
        level: of the intervals.
        margin: of equivalence, in the metric's unit, or None.
        unit: what a cluster is, for the notes.

    Returns:
        One comparison per pair, in the order of ``pairs``.

    Raises:
        UsageError, InputError, CannotSeparate: as :func:`infer_family`.
    """
    return list(
        infer_family(
            metric,
            statistics,
            pairs,
            n_resamples=n_resamples,
            seed=seed,
            level=level,
            margin=margin,
            unit=unit,
        )
    )


def _comparison(
    family: _Family, joint: JointIntervals, tests: SwapTests, index: int, p_holm: float
) -> Comparison:
    a, b = family.pairs[index]
    metric, margin = family.metric, family.margin
    found = jackknifed(family.systems[a], family.systems[b])
    difference, joint_error = float(tests.difference[index]), float(tests.error[index])
    own = replace(
        found,
        standard_error=math.hypot(
            found.standard_error, math.sqrt(least_variance(metric, family.components[a]))
        ),
    )
    low, high = difference_interval(metric, own, family.level, family.degrees)
    low_90, high_90 = difference_interval(metric, own, OWN_EQUIVALENCE_LEVEL, family.degrees)
    critical = tests.critical_of(index, joint.level)
    simultaneous = joint.around(difference, joint_error, critical)
    equivalence = joint.around(difference, joint_error, tests.critical_of(index, joint.equivalence_level))
    equivalent = None if margin is None else -margin <= equivalence[0] and equivalence[1] <= margin
    verdict = verdict_of(
        higher_is_better=metric.higher_is_better, simultaneous=simultaneous, equivalent=equivalent
    )
    clusters = family.components.shape[1]
    return Comparison(
        difference=found.estimate,
        low=low,
        high=high,
        simultaneous_low=simultaneous[0],
        simultaneous_high=simultaneous[1],
        p_value=float(tests.raw[index]),
        smallest_p=tests.smallest,
        p_holm=p_holm,
        p_adjusted=float(tests.adjusted[index]),
        verdict=verdict,
        decided_by=_decided_by(family, joint, critical, verdict, tests.smallest),
        metric=metric.name,
        a=a,
        b=b,
        level=family.level,
        low_90=low_90,
        high_90=high_90,
        margin=margin,
        equivalent=equivalent,
        equivalence_low=equivalence[0],
        equivalence_high=equivalence[1],
        standard_error=found.standard_error,
        joint_error=joint_error,
        clusters=clusters,
        effective_clusters=family.effective_clusters,
        family=len(family.pairs),
        detectable_difference=detectable_difference(joint_error, critical, family.degrees),
        method=f"studentised swaps of whole {family.unit}, {tests.patterns}; interval: jackknife-t",
        notes=notes_on(clusters, found.undefined, found.standard_error, family.unit)
        + notes_on_sizes(clusters, family.effective_clusters, family.unit),
    )


def _decided_by(
    family: _Family, joint: JointIntervals, critical: float, verdict: str, smallest: float
) -> str:
    """Name the interval that a verdict rests on."""
    whole = "of one pair" if joint.pairs == 1 else f"over {joint.pairs} pairs"
    if math.isinf(critical) and verdict == CANNOT_SEPARATE:
        return f"no interval: with {family.components.shape[1]} {family.unit} no p is below {smallest:.2g}"
    if verdict == "equivalent" and joint.pairs == 1:
        return f"{100 * joint.equivalence_level:g} % interval {whole} (two one-sided tests)"
    return f"{100 * joint.level:g} % simultaneous interval {whole}"


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
