"""Swaps of a linear metric (UA, WA), where matrix products over systems serve every pair.

Whole clusters are swapped, so the true clips of class k never move: n_k in all, n_gk in cluster g. With the hits h_igk of
system i and r_gk = n_gk / (K n_k²), everything about a pair (i, j) under the signs s is a difference of columns of two systems:

    x_i,k = Σ_g s_g h_igk                 the difference is Σ_k (x_i − x_j)_k / (K n_k)
    u_ig  = Σ_k h_igk / (K n_k)           what cluster g adds to system i's score
    w_i,k = Σ_g s_g u_ig r_gk

and the cluster's influence on the difference, s_g (u_ig − u_jg) − Σ_k (x_i − x_j)_k r_gk, has the sum of squares

    Σ_g (u_ig − u_jg)² + q(i, i) + q(j, j) − 2 q(i, j),    q(i, j) = x_i·R x_j − x_i·w_j − w_i·x_j,    R = Σ_g r_g r_gᵀ.

The columns cost 2 K · systems · clusters multiplications a pattern, instead of that for every pair; q is one product of systems
× K matrices a pattern. Hits are taken less the systems' mean, which no difference sees and which keeps digits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.protocols import Array
from bench.statistics.metric import Metric
from bench.statistics.sign_flips import (
    ROUNDING,
    WORTH_THREADS,
    Tally,
    divided,
    most_threads,
    shared_out,
    tallied,
)

_SLICE = 128
"""Patterns that one thread works on at a time: with 60 systems the products of a slice stay near the cache."""
WORTH_SHARING = 3
"""From this many pairs on; one or two are sooner computed alone."""


class SharedSwaps:
    """All pairs at once of systems scored by a linear metric; the same as :class:`~bench.statistics.sign_flips.SwappedPairs`.

    Args:
        metric: a linear one.
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
        systems, clusters, width = components.shape
        classes = width // 2
        hits, clips = components[..., :classes], components[0, :, classes:]
        self._per_hit = 1 / (classes * clips.sum(axis=0))
        own = (hits - hits.mean(axis=0)) @ self._per_hit
        pull = clips * self._per_hit / clips.sum(axis=0)
        centred = (hits - hits.mean(axis=0)).transpose(1, 0, 2)
        pulled = own.T[:, :, np.newaxis] * pull[:, np.newaxis]
        self._columns = np.ascontiguousarray(
            np.concatenate([centred, pulled], axis=2).reshape(clusters, systems * width)
        )
        self._shape = (systems, classes)
        self._pull = pull.T @ pull
        self._first, self._second = np.array(pairs).T
        gram = own @ own.T
        norms = np.diagonal(gram)
        self._own = norms[self._first] + norms[self._second] - 2 * gram[self._first, self._second]
        self._factor = clusters / (clusters - 1)
        self._least = least_variance
        sizes = np.abs(metric.gradient(components.sum(axis=1)) * components.sum(axis=1)).sum(axis=-1)
        self._rounding = ROUNDING * (sizes[self._first] + sizes[self._second])

    def studentised(self, signs: Array, *, threads: int | None = None) -> Array:
        """Differences over their standard errors, (pairs, patterns), for signs (patterns, clusters)."""
        found = np.empty((len(self._first), len(signs)))

        def fill(index: int) -> None:
            rows = slice(index * _SLICE, (index + 1) * _SLICE)
            found[:, rows] = self._slice(signs[rows]).T

        wanted = 1 if found.size * signs.shape[1] < WORTH_THREADS else most_threads()
        shared_out(fill, -(-len(signs) // _SLICE), threads or wanted)
        return found

    def tally(self, signs: Array, bars: Array, *, threads: int | None = None) -> Tally:
        """Count the patterns in which each pair reaches its bar, and find each pattern's largest value.

        Args:
            signs: (patterns, clusters) of ±1.
            bars: (pairs,) absolute studentised differences.
            threads: None takes the processor's cores, four at most.

        Returns:
            Counts (pairs,) and largest values (patterns,).
        """
        return tallied(self.studentised(signs, threads=threads), bars)

    def _slice(self, signs: Array) -> Array:
        """The same, (patterns, pairs)."""
        systems, classes = self._shape
        signed = (signs @ self._columns).reshape(len(signs), systems, 2 * classes)
        x, w = signed[..., :classes], signed[..., classes:]
        scores = x @ self._per_hit
        difference = scores[:, self._first] - scores[:, self._second]
        # q(i, j) is the symmetric half of x_i·(R x_j − 2 w_j), so twice q is this plus its transpose.
        product = x @ (x @ self._pull - 2 * w).transpose(0, 2, 1)
        squared = np.diagonal(product, axis1=1, axis2=2)
        flat = product.reshape(len(signs), systems * systems)
        squares = squared[:, self._first] + squared[:, self._second]
        squares -= flat[:, self._first * systems + self._second]
        squares -= flat[:, self._second * systems + self._first]
        squares += self._own
        np.maximum(squares, 0.0, out=squares)
        squares *= self._factor
        squares[squares <= self._rounding**2] = 0.0
        squares += self._least
        difference[np.abs(difference) <= self._rounding] = 0.0
        return divided(difference, np.sqrt(squares))
