"""Sign flips of a family of pairs counted: raw and family-wise p-values, and the critical value behind simultaneous intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.protocols import Array
from bench.statistics.metric import Metric
from bench.statistics.resampling import one_blas_thread
from bench.statistics.screened_swaps import WORTH_SCREENING, ScreenedSwaps
from bench.statistics.shared_swaps import WORTH_SHARING, SharedSwaps
from bench.statistics.sign_flips import EXACT_CLUSTERS, SwappedPairs, divided, least_variance, sign_patterns

TIE = 1 - 1e-9
"""Studentised differences this close are one value, computed along two paths."""

FEWEST_DIFFERING = 6
"""From this many clusters in which two systems differ, their patterns alone can reach p = 0.05: 2 of 2^6."""


@dataclass(frozen=True)
class SwapTests:
    """A family of pairs under one shared set of sign patterns; arrays (pairs,).

    ``difference`` and ``error`` are as the systems answered, ``raw`` two-sided p-values of each pair alone and ``adjusted`` those
    of single-step max-T: the share of patterns under which *any* pair of the family is as extreme. ``alike`` marks pairs whose
    sums differ in fewer than 6 clusters: the patterns of two systems that differ in one or two clips hold hardly any other
    value, and their quantile would prove too much, so neither p is below the normal tail of the studentised difference.
    ``largest`` (patterns,) is the largest studentised difference of all pairs, pattern by pattern, in descending order;
    ``drawn`` says that the patterns are random draws, to which the unswapped one is added, so that p is never 0.
    """

    difference: Array
    error: Array
    alike: NDArray[np.bool_]
    raw: Array
    adjusted: Array
    largest: Array
    drawn: bool
    smallest: float
    patterns: str

    def critical(self, level: float) -> float:
        """The studentised difference above which a pair's adjusted p is 1 − level or less; infinite where none is.

        The adjusted p counts the patterns that reach a pair's own value: it is small enough exactly where no more than
        k = (1 − level) · patterns do, so where the value lies above the (k + 1)-th largest.
        """
        extra = int(self.drawn)
        # 1 − 0.95 is 0.05000000000000004: without rounding, a p of 0.05 would be judged by that.
        allowed = math.floor(round(1 - level, 12) * (len(self.largest) + extra) - extra + 1e-9)
        if allowed < 1 - extra:
            return math.inf
        return float(self.largest[allowed]) / TIE if allowed < len(self.largest) else 0.0

    def critical_of(self, pair: int, level: float) -> float:
        """The same for one pair of the family: at least the normal quantile where the two systems are ``alike``."""
        # Imported here: listing systems must not wait for scipy.
        from scipy.special import ndtri

        critical = self.critical(level)
        return max(critical, float(ndtri((1 + level) / 2))) if self.alike[pair] else critical


def swap_tests(
    metric: Metric,
    components: Array,
    pairs: Sequence[tuple[int, int]],
    *,
    n_resamples: int,
    seed: int,
) -> SwapTests:
    """Studentised swap test of all pairs over one shared set of sign patterns; components (systems, clusters, D).

    Args:
        metric: whose difference is tested.
        components: (systems, clusters, D).
        pairs: (a, b) numbers of systems.
        n_resamples: random sign patterns above 17 clusters.
        seed: of these patterns.

    Returns:
        Differences, errors, p-values in the order of ``pairs``, and the distribution of the family's largest value.

    Source: Westfall and Young, Resampling-Based Multiple Testing, 1993; Romano and Wolf, Journal of the American
    Statistical Association 100, 2005, 94–108, for the studentised maximum.
    """
    # Imported here: listing systems must not wait for scipy.
    from scipy.special import ndtr

    clusters = components.shape[1]
    least = least_variance(metric, components[0])
    alone = SwappedPairs(metric, components, pairs, least_variance=least)
    kind = _kind(metric, components, pairs)
    swapped = alone if kind is SwappedPairs else kind(metric, components, pairs, least_variance=least)
    largest = list[Array]()
    with one_blas_thread():
        difference, error = alone.observed()
        observed = np.abs(divided(difference, error))
        bars = observed * TIE
        at_least = np.zeros(len(pairs), dtype=np.int64)
        for signs in sign_patterns(clusters, n_resamples, seed, pairs=len(pairs)):
            found = swapped.tally(signs, bars)
            at_least += found.at_least
            largest.append(found.largest)
    ordered = np.sort(np.concatenate(largest))
    patterns, drawn = len(ordered), clusters > EXACT_CLUSTERS
    extra = int(drawn)
    any_at_least = patterns - np.searchsorted(ordered, observed * TIE, side="left")
    alike = alone.differing() < FEWEST_DIFFERING
    tail = np.where(alike, 2 * ndtr(-observed), 0.0)
    words = f"{patterns:,} random patterns, seed {seed}" if drawn else f"all 2^{clusters} patterns"
    return SwapTests(
        difference=difference,
        error=error,
        alike=alike,
        raw=np.maximum((at_least + extra) / (patterns + extra), tail),
        adjusted=np.maximum((any_at_least + extra) / (patterns + extra), tail),
        largest=ordered[::-1],
        drawn=drawn,
        smallest=max(1 / (patterns + 1), 2.0 ** (1 - clusters)) if drawn else 1 / patterns,
        patterns=words,
    )


def _kind(
    metric: Metric, components: Array, pairs: Sequence[tuple[int, int]]
) -> type[SwappedPairs | SharedSwaps | ScreenedSwaps]:
    """The shortest way to all pairs' studentised differences; each gives the same but for rounding."""
    if len(pairs) < WORTH_SHARING:
        return SwappedPairs
    if metric.linear:
        return SharedSwaps
    return ScreenedSwaps if components.shape[1] >= WORTH_SCREENING else SwappedPairs
