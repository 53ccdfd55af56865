"""Swaps of a metric with a moving gradient (macro-F1, CCC) on many clusters: what a pair needs of its own is an antisymmetric part.

With both and apart the sum and the difference of the gradients at the swapped systems, H = (A − B)/2 and M = (A + B)/2 per
cluster (:mod:`bench.statistics.sign_flips`), the squared error is

    both·(Σ H Hᵀ)·both + apart·(Σ M Mᵀ)·apart + 2 both·R·apart,    R = Σ_g s_g H_g M_gᵀ.

The first two matrices are of the pair and not of the pattern. With E_A = Σ_g s_g A_g A_gᵀ,

    4 R = E_A − E_B + N,    N = Σ_g s_g (A_g B_gᵀ − B_g A_gᵀ),

E_A and E_B belong to one system each and are summed once for all its pairs. N is antisymmetric: v (v − 1)/2 products of
signs and clusters for v components that the systems do not share (CCC: 3 of them for Σy, Σy², Σxy; macro-F1: 66 for six
classes), and none where one of the two follows from the truth.

Of many components most of both·N·apart is left to fewer columns. both is the sum of two gradients on either side of M, so it
moves from its value both₀ without any swap in second order only, and apart in first:

    both·N·apart = Σ_w apart_w Σ_g s_g ((both₀·A_g) B_g,w − (both₀·B_g) A_g,w) + (both − both₀)·N·apart.

The first sum has v columns, in double precision. The rest is of third order, a thousandth or less of the squared error, and
its v (v − 1)/2 columns are summed in single precision: studentised differences move by 1e-10 of themselves at most
(:data:`~bench.statistics.swap_tests.TIE` takes 1e-9 for a tie; a test holds it).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.protocols import Array
from bench.statistics.metric import Metric
from bench.statistics.sign_flips import ROUNDING, WORTH_THREADS, divided, most_threads, shared_out

WORTH_CLUSTERS = 3
"""Clusters per product of a pair's own from which on this is the shorter way."""

WORTH_SPLITTING = 6
"""Own components from which on N has more columns than both₀·N and half as many again."""
_COLUMNS = 256
"""Columns of a product from which on the processor computes rather than waits."""


@dataclass(frozen=True)
class _Products:
    """Sums over the signed clusters that a pair needs, each (columns, patterns)."""

    inside: Array
    """E_A − E_B among own components, on and above the diagonal."""
    mixed: Array
    """The same of own components (rows) and shared ones."""
    turned: NDArray[Any]
    """N above its diagonal."""
    straight: Array | None
    """both₀·N, where it is taken out."""


class QuadraticSwaps:
    """Many pairs of systems; the same as :class:`~bench.statistics.sign_flips.SwappedPairs`.

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
        totals = components.sum(axis=1)
        self._totals = totals
        self._own, self._shared = split_components(metric, components)
        self._components = components
        self._moving = np.ascontiguousarray(components[..., self._own].transpose(0, 2, 1))
        self._splits = len(self._own) >= WORTH_SPLITTING
        self._turning: NDArray[Any] = self._moving.astype(np.float32) if self._splits else self._moving
        rows, columns = np.triu_indices(len(self._own))
        self._upper = rows, columns
        self._above = np.triu_indices(len(self._own), 1)
        self._gram = np.einsum("agd,bge->abde", components, components, optimize=True)
        self._rounding = ROUNDING * np.abs(metric.gradient(totals) * totals).sum(axis=-1)

    def studentised(self, signs: Array, *, threads: int | None = None) -> Array:
        """Differences over their standard errors, (pairs, patterns), for signs (patterns, clusters)."""
        systems, clusters, width = self._components.shape
        columns = self._components.transpose(0, 2, 1).reshape(systems * width, clusters)
        sums = (columns @ signs.T).reshape(systems, width, len(signs))
        products = [self._products(own, signs) for own in self._components]
        found = np.empty((len(self._pairs), len(signs)))
        narrow = signs.astype(self._turning.dtype, copy=False)
        # Of several pairs at once: a product of few columns waits for the signs to be read.
        together = max(1, _COLUMNS // max(1, len(self._above[0])))

        def fill(piece: int) -> None:
            chosen = range(piece * together, min((piece + 1) * together, len(self._pairs)))
            pairs = [self._pairs[index] for index in chosen]
            turned = self._turned(narrow, pairs)
            straight = self._straight(signs, pairs) if self._splits else itertools.repeat(None)
            for index, (a, b), rest, main in zip(chosen, pairs, turned, straight, strict=False):
                inside, mixed = (one - other for one, other in zip(products[a], products[b], strict=True))
                found[index] = self._pair((a, b), sums, _Products(inside, mixed, rest, main), clusters)

        wanted = 1 if found.size * clusters < WORTH_THREADS else most_threads()
        shared_out(fill, -(-len(self._pairs) // together), threads or wanted)
        return found

    def _turned(self, signs: NDArray[Any], pairs: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """N above its diagonal, (pairs, above, patterns)."""
        above, _ = self._above
        columns = np.empty((len(pairs), len(above), signs.shape[1]), dtype=signs.dtype)
        own = len(self._own)
        for place, (a, b) in enumerate(pairs):
            one, other = self._turning[a], self._turning[b]
            start = 0
            for v in range(own - 1):
                rows = columns[place, start : start + own - 1 - v]
                np.multiply(other[v + 1 :], one[v], out=rows)
                rows -= one[v + 1 :] * other[v]
                start += own - 1 - v
        return np.asarray(columns.reshape(-1, signs.shape[1]) @ signs.T).reshape(
            len(pairs), len(above), len(signs)
        )

    def _straight(self, signs: Array, pairs: Sequence[tuple[int, int]]) -> Array:
        """both₀·N, (pairs, own, patterns)."""
        columns = np.empty((len(pairs), len(self._own), signs.shape[1]))
        for place, (a, b) in enumerate(pairs):
            one, other = self._moving[a], self._moving[b]
            still = self._still(a, b)
            columns[place] = (still @ one) * other - (still @ other) * one
        return np.asarray(columns.reshape(-1, signs.shape[1]) @ signs.T).reshape(
            len(pairs), len(self._own), len(signs)
        )

    def _still(self, a: int, b: int) -> Array:
        """both₀, (own,): twice the gradient half-way between two systems."""
        return np.asarray(2 * self._metric.gradient((self._totals[a] + self._totals[b]) / 2)[self._own])

    def _products(self, own: Array, signs: Array) -> tuple[Array, Array]:
        """One system's Σ_g s_g over products of two own components, (upper triangle, patterns), and of own and shared ones."""
        left, right = self._upper
        moving = own[:, self._own]
        inside = (moving[:, left] * moving[:, right]).T @ signs.T
        mixed = moving[:, :, np.newaxis] * own[:, np.newaxis, self._shared]
        return inside, mixed.reshape(len(own), len(self._own) * len(self._shared)).T @ signs.T

    def _pair(self, pair: tuple[int, int], sums: Array, products: _Products, clusters: int) -> Array:
        a, b = pair
        mean, half = (self._totals[a] + self._totals[b]) / 2, (sums[a] - sums[b]) / 2
        first, second = mean + half.T, mean - half.T
        difference = self._metric.strict(first) - self._metric.strict(second)
        slopes = self._metric.gradient(first), self._metric.gradient(second)
        both = np.ascontiguousarray((slopes[0] + slopes[1]).T[self._own])
        apart = np.ascontiguousarray((slopes[0] - slopes[1]).T)
        error = np.sqrt(clusters / (clusters - 1) * self._squares(pair, both, apart, products))
        rounding = self._rounding[a] + self._rounding[b]
        difference[np.abs(difference) <= rounding] = 0.0
        error[error <= rounding] = 0.0
        return divided(difference, np.sqrt(error**2 + self._least) if self._least else error)

    def _squares(self, pair: tuple[int, int], both: Array, apart: Array, products: _Products) -> Array:
        """Σ_g of the squared influences, (patterns,); ``both`` (own, patterns), ``apart`` (D, patterns)."""
        a, b = pair
        crossed = self._gram[a, b] + self._gram[a, b].T
        alike = self._gram[a, a] + self._gram[b, b]
        first = _quadratic((alike - crossed)[np.ix_(self._own, self._own)] / 4, both)
        last = _quadratic((alike + crossed) / 4, apart)
        moved = apart[self._own]
        left, right = self._upper
        diagonal = left == right
        weights = both[left] * moved[right]
        weights += both[right] * moved[left]
        weights[diagonal] /= 2
        cross = _dots(weights, products.inside)
        above, below = self._above
        turning: NDArray[Any] = both
        if products.straight is not None:
            cross += _dots(moved, products.straight)
            turning = both - self._still(a, b)[:, np.newaxis]
        turning, moving = (x.astype(products.turned.dtype, copy=False) for x in (turning, moved))
        weights = turning[above] * moving[below]
        weights -= turning[below] * moving[above]
        cross += _dots(weights, products.turned)
        cross /= 4
        weights = both[:, np.newaxis] * apart[self._shared][np.newaxis]
        cross += _dots(weights.reshape(len(products.mixed), both.shape[1]), products.mixed) / 2
        squares = first + last + 2 * cross
        # What is left when the terms cancel is their rounding.
        return np.where(squares > ROUNDING * (first + last), squares, 0.0)


def split_components(metric: Metric, components: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of the components that differ between systems, and of those that all share and the gradient weighs.

    A gradient that is 0 for all clusters and for every other one is so always: the true clips of macro-F1.
    """
    points = (components.sum(axis=1), components[:, ::2].sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        weighed = np.any([(metric.gradient(point) != 0).any(axis=0) for point in points], axis=0)
    shared = (components == components[:1]).all(axis=(0, 1))
    return np.flatnonzero(~shared), np.flatnonzero(shared & weighed)


def is_worth(metric: Metric, components: Array) -> bool:
    """Whether so many clusters, of components (systems, clusters, D), are shorter summed this way."""
    own = len(split_components(metric, components)[0])
    return bool(components.shape[1] >= WORTH_CLUSTERS * max(1, own * (own - 1) // 2))


def _dots(left: Array, right: Array) -> Array:
    return np.asarray(np.einsum("ib,ib->b", left, right))


def _quadratic(matrix: Array, slopes: Array) -> Array:
    return _dots(matrix @ slopes, slopes)
