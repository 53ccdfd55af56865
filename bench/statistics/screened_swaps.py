"""Swaps of a metric with a moving gradient (macro-F1, CCC): bounds for every pair and pattern, and the value itself where it decides.

A test asks two things of a pattern's studentised differences: which of them reach what was observed, and which one is largest. Both
are known of nearly every pair once its value lies between two bounds, so that only the few that decide are summed cluster by cluster.

With both and apart the sum and the difference of the gradients at the swapped systems, H = (A − B)/2 and M = (A + B)/2 per
cluster (:mod:`bench.statistics.sign_flips`), the squared error is

    both·(Σ H Hᵀ)·both + apart·(Σ M Mᵀ)·apart + 2 both·R·apart,    R = Σ_g s_g H_g M_gᵀ.

The first two matrices are of the pair and not of the pattern. both is the sum of two gradients on either side of the mean of the two
systems, so it moves from its value both₀ without any swap in second order only, and apart in first. Hence

    both·R·apart = Σ_w apart_w Σ_g s_g (both₀·H_g) M_gw + (both − both₀)·R·apart,

a product of the signs with one column per component w, and a rest of third order which by Cauchy and Schwarz is at most

    √((both − both₀)·(Σ H Hᵀ)·(both − both₀) · apart·(Σ M Mᵀ)·apart).

The product is summed in single precision, whose rounding is at most (G + 2) 2⁻²⁴ of the sum of the magnitudes (Higham), and is part of
the bounds. With 2,000 clusters they lie some 1e-4 apart, and one pattern in a pair of a thousand is summed in full. What
comes out is what summing all of them gives; a test holds it.

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1, for the rounding of a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.protocols import Array
from bench.statistics.metric import Metric
from bench.statistics.sign_flips import (
    ROUNDING,
    WORTH_THREADS,
    SwappedPairs,
    Tally,
    most_threads,
    shared_out,
)

WORTH_SCREENING = 250
"""Clusters from which on this is the shorter way: 11 times for macro-F1 with 2,000, 4 times for CCC, and as long as each pair alone with 100."""
_COLUMNS = 256
"""Columns of a product from which on the processor computes rather than waits."""
_SINGLE = 2.0**-24
"""Relative rounding of single precision."""
_SLACK = 1e-9
"""Share of the squared error by which bounds are widened for the rounding of double precision."""


@dataclass(frozen=True)
class _Screened:
    """What a pair keeps under every pattern: numbers, both₀ (own,), Σ H Hᵀ (own, own), Σ M Mᵀ (weighed, weighed), and the summed
    magnitudes of its columns (weighed,)."""

    a: int
    b: int
    still: Array
    apart: Array
    mean: Array
    magnitudes: Array


class ScreenedSwaps:
    """Many pairs of systems; the same tally as :class:`~bench.statistics.sign_flips.SwappedPairs`.

    Args:
        metric: any whose components include all that its gradient weighs.
        components: (systems, clusters, D).
        pairs: (a, b) numbers of systems.
        least_variance: added to the squared error of every difference, in the metric's squared unit.
    """

    def __init__(
        self,
        metric: Metric,
        components: Array,
        pairs: Sequence[tuple[int, int]],
        *,
        least_variance: float = 0.0,
    ) -> None:
        self._metric, self._pairs, self._least = metric, list(pairs), least_variance
        self._one_by_one = SwappedPairs(metric, components, pairs, least_variance=least_variance)
        self._totals = components.sum(axis=1)
        self._clusters = components.shape[1]
        self._own, self._weighed = weighed_components(metric, components)
        self._all = np.ascontiguousarray(components.transpose(0, 2, 1))
        moving = components[..., self._weighed]
        self._moving = np.ascontiguousarray(moving.transpose(0, 2, 1))
        self._gram = np.einsum("agd,bge->abde", moving, moving, optimize=True)
        self._inner = np.flatnonzero(np.isin(self._weighed, self._own))
        self._rounding = ROUNDING * np.abs(metric.gradient(self._totals) * self._totals).sum(axis=-1)

    def tally(self, signs: Array, bars: Array, *, threads: int | None = None) -> Tally:
        """Count the patterns in which each pair reaches its bar, and find each pattern's largest value.

        Args:
            signs: (patterns, clusters) of ±1.
            bars: (pairs,) absolute studentised differences.
            threads: None takes the processor's cores, four at most.

        Returns:
            Counts (pairs,) and largest values (patterns,).
        """
        systems, width, clusters = self._all.shape
        sums = (self._all.reshape(-1, clusters) @ signs.T).reshape(systems, width, len(signs))
        low, high = (np.empty((len(self._pairs), len(signs))) for _ in range(2))
        narrow = np.ascontiguousarray(signs.T, dtype=np.float32)
        # Of several pairs at once: a product of few columns waits for the signs to be read.
        together = max(1, _COLUMNS // len(self._weighed))

        def fill(piece: int) -> None:
            rows = slice(piece * together, (piece + 1) * together)
            for index, own, product in self._products(rows, narrow):
                low[index], high[index] = self._bounds(own, sums, product)

        wanted = threads or (1 if low.size * clusters < WORTH_THREADS else most_threads())
        shared_out(fill, -(-len(self._pairs) // together), wanted)
        return self._settled(signs, sums, bars[:, np.newaxis], (low, high), wanted)

    def _settled(
        self, signs: Array, sums: Array, bars: Array, bounds: tuple[Array, Array], threads: int
    ) -> Tally:
        """Sum in full what bounds leave open."""
        low, high = bounds
        largest = low.max(axis=0)
        sure = low >= bars
        counts = np.count_nonzero(sure, axis=1)
        open_ones = high >= bars
        open_ones ^= sure
        open_ones |= high >= largest
        asked = np.flatnonzero(open_ones.any(axis=1))
        found: list[tuple[NDArray[np.intp], Array]] = [(np.empty(0, dtype=np.intp), np.empty(0))] * len(asked)

        def fill(piece: int) -> None:
            index = asked[piece]
            patterns = np.flatnonzero(open_ones[index])
            a, b = self._pairs[index]
            swapped = (sums[a][:, patterns] - sums[b][:, patterns]) / 2
            found[piece] = patterns, np.abs(self._one_by_one.exactly(index, signs[patterns], swapped))

        shared_out(fill, len(asked), threads)
        for index, (patterns, values) in zip(asked, found, strict=True):
            counts[index] += np.count_nonzero((values >= bars[index]) & ~sure[index, patterns])
            largest[patterns] = np.maximum(largest[patterns], values)
        return Tally(counts, largest)

    def _products(
        self, rows: slice, narrow: NDArray[np.float32]
    ) -> list[tuple[int, _Screened, NDArray[np.float32]]]:
        """Pairs of some rows with their signed columns Σ_g s_g (both₀·H_g) M_gw, (weighed, patterns)."""
        chosen = range(*rows.indices(len(self._pairs)))
        columns = np.empty((len(chosen), len(self._weighed), self._clusters), dtype=np.float32)
        pairs = []
        for place, index in enumerate(chosen):
            a, b = self._pairs[index]
            one, other = self._moving[a], self._moving[b]
            still = 2 * self._metric.gradient((self._totals[a] + self._totals[b]) / 2)[self._own]
            exact = still @ (one - other)[self._inner] / 4 * (one + other)
            columns[place] = exact
            pairs.append(self._kept(a, b, still, np.abs(exact).sum(axis=1)))
        signed = (columns.reshape(-1, self._clusters) @ narrow).reshape(len(chosen), len(self._weighed), -1)
        return list(zip(chosen, pairs, signed, strict=True))

    def _kept(self, a: int, b: int, still: Array, magnitudes: Array) -> _Screened:
        crossed = self._gram[a, b] + self._gram[a, b].T
        alike = self._gram[a, a] + self._gram[b, b]
        inner = np.ix_(self._inner, self._inner)
        return _Screened(a, b, still, (alike - crossed)[inner] / 4, (alike + crossed) / 4, magnitudes)

    def _bounds(self, pair: _Screened, sums: Array, product: NDArray[np.float32]) -> tuple[Array, Array]:
        """Least and largest absolute studentised difference, (patterns,) each; 0 and infinity where nothing is known."""
        mean, half = (
            (self._totals[pair.a] + self._totals[pair.b]) / 2,
            (sums[pair.a] - sums[pair.b]) / 2,
        )
        first, second = mean + half.T, mean - half.T
        difference = np.abs(self._metric.strict(first) - self._metric.strict(second))
        slopes = self._metric.gradient(first).T, self._metric.gradient(second).T
        both = slopes[0][self._own] + slopes[1][self._own]
        apart = slopes[0][self._weighed] - slopes[1][self._weighed]
        pushed = pair.apart @ both
        steady, moved = _dots(pushed, both), _dots(pair.mean @ apart, apart)
        turned = steady - 2 * (pair.still @ pushed) + pair.still @ pair.apart @ pair.still
        sure = steady + moved
        doubt = np.sqrt(np.maximum(turned, ROUNDING * steady) * moved)
        doubt += (self._clusters + 2) * _SINGLE * (pair.magnitudes @ np.abs(apart))
        doubt = 2 * doubt + _SLACK * sure
        squares = sure + 2 * _dots(product, apart)
        factor = self._clusters / (self._clusters - 1)
        rounding = self._rounding[pair.a] + self._rounding[pair.b]
        difference[difference <= rounding] = 0.0
        least, most = factor * (squares - doubt), factor * (squares + doubt)
        known = least > np.maximum(4 * ROUNDING * sure, (2 * rounding) ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            low = np.where(known, difference / np.sqrt(most + self._least), 0.0)
            high = np.where(known, difference / np.sqrt(least + self._least), np.inf)
        return low, high


def weighed_components(metric: Metric, components: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of the components that differ between systems, and of these and all others that the gradient weighs.

    A gradient that is 0 for all clusters and for every other one is so always: the true clips of macro-F1.
    """
    points = (components.sum(axis=1), components[:, ::2].sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        weighed = np.any([(metric.gradient(point) != 0).any(axis=0) for point in points], axis=0)
    differ = ~(components == components[:1]).all(axis=(0, 1))
    return np.flatnonzero(differ), np.flatnonzero(differ | weighed)


def _dots(left: NDArray[np.floating], right: Array) -> Array:
    return np.asarray(np.einsum("ib,ib->b", left, right))
