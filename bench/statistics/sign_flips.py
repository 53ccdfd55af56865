"""Two systems exchanged within whole clusters, for many sign patterns and pairs at once: the test under :mod:`bench.statistics.paired_tests`.

With M = (A + B)/2 and H = (A − B)/2 per cluster, a pattern s of signs gives the systems Σ M_g + s_g H_g and Σ M_g − s_g H_g.
The difference of the metric is divided by its infinitesimal jackknife standard error *under that pattern*, which makes
the test one of equal metrics rather than of exchangeable systems (Janssen 1997; Chung & Romano, Annals of Statistics 41,
2013, 484–507). With a the sum and b the difference of the metric's gradients at the two systems, the cluster's influence
is s_g a·H_g + b·M_g, and the squares under the error can be summed in two ways:

* cluster by cluster: two products of patterns × clusters, then a pass over each;
* multiplied out, Σ (a·H_g)² + Σ (b·M_g)² + 2 Σ s_g (a·H_g)(b·M_g): quadratic forms whose matrices do not depend on the
  pattern, and one product of the signs with a column for every a_i b_j (for UA and WA, where a is the same in every
  pattern, for every b_j).

The second is taken where it has fewer columns than there are clusters. Threads share the pairs out between them;
each pair is computed alone, so their number changes no bit of the result. Many pairs of systems whose metric is linear
(UA, WA) share all of it: :mod:`bench.statistics.shared_swaps`.

To the squared error of a share of clips the tests add what one more discordant clip on either side would bring
(:func:`least_variance`), the same under every pattern: two systems that differ nowhere in 60 clips are not thereby known
to be equal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.protocols import Array
from bench.statistics.metric import Metric

EXACT_CLUSTERS = 17
"""Up to this many clusters all 2^G sign patterns are taken."""
MOST_THREADS = 4
_BLOCK = 2**20
"""Half the signs in a block, which is 16 MB of float64."""
_STRIP = 2**16
"""Entries of patterns × clusters that are worked on at a time: half a megabyte, which stays in the processor's cache."""
WORTH_THREADS = 10**7
"""Pairs × patterns × clusters above which threads are started."""
_FEW_PATTERNS = 32
"""Below so many patterns, building the columns of a product takes longer than going through the clusters."""
ROUNDING = 1e-12


def sign_patterns(n_clusters: int, n_draws: int, seed: int, *, pairs: int = 1) -> Iterator[Array]:
    """Blocks (patterns, clusters) of ±1: all patterns up to 17 clusters, else ``n_draws`` at random.

    Turning every sign round only turns the difference round, so of all patterns those with a first sign of + are
    given: 2^(G−1), the first of which swaps nothing. Many ``pairs`` to be tested make the blocks smaller, not others.

    Args:
        n_clusters: signs of a pattern.
        n_draws: random patterns, above 17 clusters.
        seed: of the draws.
        pairs: how many pairs a block is tested on.

    Yields:
        float64 (patterns, n_clusters) of ±1.
    """
    # A multiple of 32 patterns uses up whole words of the random stream, whatever the number of clusters.
    rows = max(64, min(2 * _BLOCK // n_clusters, 4 * _BLOCK // pairs) // 32 * 32)
    if n_clusters <= EXACT_CLUSTERS:
        for start in range(0, 2 ** (n_clusters - 1), rows):
            code = np.arange(start, min(start + rows, 2 ** (n_clusters - 1)))[:, np.newaxis]
            bits = np.concatenate([np.zeros_like(code), code >> np.arange(n_clusters - 1) & 1], axis=1)
            yield np.where(bits == 1, -1.0, 1.0)
        return
    rng = np.random.default_rng(seed)
    for start in range(0, n_draws, rows):
        size = min(rows, n_draws - start) * n_clusters
        bits = np.unpackbits(np.frombuffer(rng.bytes(-(-size // 8)), dtype=np.uint8), count=size)
        yield np.where(bits.reshape(-1, n_clusters) == 1, -1.0, 1.0)


@dataclass(frozen=True)
class Tally:
    """What a test asks of a block of patterns: how many reach each pair's bar, (pairs,), and the largest value of each, (patterns,)."""

    at_least: NDArray[np.intp]
    largest: Array


def tallied(studentised: Array, bars: Array) -> Tally:
    """Tally studentised differences (pairs, patterns), taken absolute in place, against bars (pairs,)."""
    np.abs(studentised, out=studentised)
    reached = np.count_nonzero(studentised >= bars[:, np.newaxis], axis=1)
    return Tally(np.asarray(reached, dtype=np.intp), studentised.max(axis=0))


class SwappedPairs:
    """Pairs of systems whose statistics are exchanged within whole clusters; components (systems, clusters, D).

    Args:
        metric: whose difference is studentised.
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
        self._metric = metric
        self._least = least_variance
        self._components = components
        self._systems = list(pairs)

    def observed(self) -> tuple[Array, Array]:
        """Differences and their infinitesimal jackknife errors as the systems answered, (pairs,) each.

        Without a swap a cluster's influence on a difference is the difference of its influences on the two systems.
        """
        systems, clusters, _ = self._components.shape
        totals = self._components.sum(axis=1)
        slopes = self._metric.gradient(totals)
        scores = self._metric.strict(totals)
        rounding = ROUNDING * np.abs(slopes * totals).sum(axis=-1)
        influence = [self._components[i] @ slopes[i] for i in range(systems)]
        difference, error = np.empty(len(self._systems)), np.empty(len(self._systems))
        for index, (a, b) in enumerate(self._systems):
            apart = influence[a] - influence[b]
            own = float(np.sqrt(clusters / (clusters - 1) * (apart @ apart)))
            least = rounding[a] + rounding[b]
            between = float(scores[a] - scores[b])
            difference[index] = between if abs(between) > least else 0.0
            error[index] = np.sqrt((own if own > least else 0.0) ** 2 + self._least)
        return difference, error

    def differing(self) -> Array:
        """Clusters in which the components of a pair's systems differ, (pairs,)."""
        return np.array(
            [int((self._components[a] != self._components[b]).any(axis=-1).sum()) for a, b in self._systems]
        )

    def studentised(self, signs: Array, *, threads: int | None = None) -> Array:
        """Differences over their standard errors, (pairs, patterns), for signs (patterns, clusters).

        No difference gives 0, even when nothing varies; a difference that does not vary at all gives ±infinity.
        ``threads`` None takes the processor's cores, four at most.
        """
        systems, clusters, width = self._components.shape
        columns = self._components.transpose(0, 2, 1).reshape(systems * width, clusters)
        # (systems, D, patterns): what each system's components add up to with the pattern's signs.
        signed = (columns @ signs.T).reshape(systems, width, len(signs))
        found = np.empty((len(self._systems), len(signs)))

        def fill(index: int) -> None:
            a, b = self._systems[index]
            found[index] = divided(*self._pair(a, b).difference_and_error(signs, (signed[a] - signed[b]) / 2))

        # Below some ten milliseconds of work, handing it out costs more than it saves.
        wanted = 1 if found.size * clusters < WORTH_THREADS else most_threads()
        shared_out(fill, len(self._systems), threads or wanted)
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

    def exactly(self, index: int, signs: Array, swapped: Array) -> Array:
        """Studentised differences of one pair, (patterns,), under a few patterns.

        Args:
            index: of the pair.
            signs: (patterns, clusters).
            swapped: (D, patterns), the signed sum of half the difference of the two systems' components.
        """
        return divided(*self._pair(*self._systems[index]).difference_and_error(signs, swapped))

    def _pair(self, a: int, b: int) -> _Pair:
        # Made anew for every block of patterns: those of 1,770 pairs and 2,000 clusters would take 700 MB together.
        return _Pair(self._metric, self._components[a], self._components[b], self._least)


def divided(difference: Array, error: Array) -> Array:
    """Studentised differences: 0 without a difference, ±infinity where one does not vary."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0.0, 0.0, difference / error)


def shared_out(fill: Callable[[int], None], pieces: int, threads: int) -> None:
    """Call ``fill`` with 0..pieces − 1. Each piece is computed alone, so the number of threads changes no bit.

    Args:
        fill: computes a piece and keeps it.
        pieces: how many there are.
        threads: how many may work at once.
    """
    workers = min(threads, pieces)
    if workers <= 1:
        for index in range(pieces):
            fill(index)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(fill, range(pieces)))


def most_threads() -> int:
    """Return the processor's cores, four at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def least_variance(metric: Metric, components: Array) -> float:
    """What tests add to the variance of every difference of the metric, from components (clusters, D) of either system."""
    return 0.0 if metric.least_variance is None else metric.least_variance(components.sum(axis=0))


class _Pair:
    """One pair; components (clusters, D)."""

    def __init__(self, metric: Metric, a: Array, b: Array, least: float) -> None:
        self._metric = metric
        self._mean, self._half = (a + b) / 2, (a - b) / 2
        self._total = self._mean.sum(axis=0)
        differs = self._half.any(axis=0)
        self._differing, self._equal = np.flatnonzero(differs), np.flatnonzero(~differs)
        size = sum(np.abs(metric.gradient(c.sum(axis=0)) * c.sum(axis=0)).sum() for c in (a, b))
        self._rounding = ROUNDING * float(size)
        self._least = least

    def difference_and_error(self, signs: Array, swapped: Array) -> tuple[Array, Array]:
        """Difference and its error under each pattern, (patterns,); ``swapped`` (D, patterns): the signed sum of H."""
        # Transposed, not copied: arithmetic on a component then runs along the patterns.
        swapped[self._equal] = 0.0
        first, second = self._total + swapped.T, self._total - swapped.T
        difference = self._metric.strict(first) - self._metric.strict(second)
        slope_first, slope_second = self._metric.gradient(first), self._metric.gradient(second)
        both = np.ascontiguousarray((slope_first + slope_second).T[self._differing])
        apart = np.ascontiguousarray((slope_first - slope_second).T)
        moving = np.flatnonzero(apart.any(axis=1) & self._mean.any(axis=0))
        squares = self._squares(signs, both, apart[moving], self._mean[:, moving])
        clusters = signs.shape[1]
        error = np.sqrt(clusters / (clusters - 1) * squares)
        difference[np.abs(difference) <= self._rounding] = 0.0
        error[error <= self._rounding] = 0.0
        return difference, np.sqrt(error**2 + self._least) if self._least else error

    def _squares(self, signs: Array, both: Array, apart: Array, mean: Array) -> Array:
        """Σ_g of the squared influences, (patterns,); ``both`` and ``apart`` (components, patterns)."""
        half = self._half[:, self._differing]
        fixed = bool((both == both[:, :1]).all())
        if len(signs) < _FEW_PATTERNS or (1 if fixed else len(both)) * len(apart) >= signs.shape[1]:
            return _by_cluster(signs, both, half, apart, mean)
        if fixed:
            own = half @ both[:, 0]
            first = np.full(len(signs), own @ own)
            cross = _dots((mean.T * own) @ signs.T, apart)
        else:
            first = _quadratic(both, half)
            columns = half[:, :, np.newaxis] * mean[:, np.newaxis, :]
            mixed = columns.reshape(len(half), -1).T @ signs.T
            mixed *= (both[:, np.newaxis] * apart).reshape(len(mixed), -1)
            cross = mixed.sum(axis=0)
        last = _quadratic(apart, mean)
        squares = first + last + 2 * cross
        # What is left when the terms cancel is their rounding.
        return np.where(squares > ROUNDING * (first + last), squares, 0.0)


def _dots(left: Array, right: Array) -> Array:
    return np.asarray(np.einsum("ib,ib->b", left, right))


def _quadratic(slopes: Array, components: Array) -> Array:
    """Σ_g (slopes·components_g)² for slopes (D, patterns) and components (clusters, D)."""
    return _dots((components.T @ components) @ slopes, slopes)


def _by_cluster(signs: Array, both: Array, half: Array, apart: Array, mean: Array) -> Array:
    squares = np.empty(len(signs))
    rows = max(64, _STRIP // signs.shape[1])
    influence, other = (np.empty((rows, signs.shape[1])) for _ in range(2))
    for start in range(0, len(signs), rows):
        part = slice(start, start + rows)
        kept = slice(0, len(signs[part]))
        np.matmul(both[:, part].T, half.T, out=influence[kept])
        influence[kept] *= signs[part]
        np.matmul(apart[:, part].T, mean.T, out=other[kept])
        influence[kept] += other[kept]
        squares[part] = np.einsum("bg,bg->b", influence[kept], influence[kept])
    return squares
