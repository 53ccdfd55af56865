"""Soft labels: how far a system's probabilities are from the votes of the listeners.

For a clip with shares of votes p and probabilities q over the K classes of the view, in nats (natural logarithm):

* cross-entropy −Σ p ln q*, 0..∞, and Kullback–Leibler divergence KL(p‖q*) = cross-entropy − entropy of the votes, 0..∞;
* Jensen–Shannon divergence ½ KL(p‖m) + ½ KL(q‖m) with m = (p + q)/2, 0..ln 2 (Lin, IEEE Trans. Inf. Theory 37, 1991).

q* = (1 − ε) q + ε/K with ε = 0.001 gives a probability of zero a finite price (9 nats at K = 7) where somebody voted;
nothing else is smoothed, and 0 ln 0 is 0. Each is the mean over clips, so its sum is additive.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import InputError
from bench.protocols import Array
from bench.statistics.metric import Metric, StatisticsKind
from bench.statistics.validation import (
    codes,
    distributions,
    is_real,
    ratio,
    require_equal_lengths,
    shown,
    vote_shares,
)

SMOOTHING = 1e-3
"""The share ε of the uniform distribution that is mixed into the probabilities under a logarithm."""

SOFT = StatisticsKind(
    "soft",
    axes=1,
    wanted="(…, 4) soft-label sums",
    fits=lambda shape: shape == (4,),
    truth=lambda sums: sums[..., :2],
)


def soft_label_statistics(
    votes: Any, probabilities: Any, clusters: ArrayLike, *, n_clusters: int, smoothing: float = SMOOTHING
) -> Array:
    """Sums per cluster, (clusters, 4): clips, entropy of the votes, KL(votes‖smoothed probabilities), Jensen–Shannon.

    Args:
        votes: (clips, K) counts or shares in the view's classes; a clip without votes there must be left out.
        probabilities: (clips, K), the same classes in the same order; a row that is None or all NaN is a clip without an
            answer, and counts as the uniform distribution: it knows nothing.
        clusters: (clips,) codes below ``n_clusters``.
        n_clusters: how many clusters there are.
        smoothing: share of the uniform distribution mixed into the probabilities under a logarithm, 0..1.

    Returns:
        float64 (n_clusters, 4), nats.

    Raises:
        InputError: unequal shapes, negative votes, a clip without votes, probabilities that do not sum to one.
    """
    if not is_real(smoothing) or not 0 <= smoothing < 1:
        raise InputError(
            f"smoothing is {shown(smoothing)}; it is a share of the uniform distribution, from 0 to below 1."
        )
    p, q = vote_shares("votes", votes), distributions("probabilities", probabilities, silent=True)
    cluster = codes("clusters", clusters, n_clusters)
    require_equal_lengths(votes=len(p), probabilities=len(q), clusters=len(cluster))
    if p.shape != q.shape:
        raise InputError(
            f"votes name {p.shape[1]} classes, probabilities {q.shape[1]}: give both on the same classes."
        )
    smoothed, middle = (1 - smoothing) * q + smoothing / q.shape[1], (p + q) / 2
    columns = (
        np.ones(len(p)),
        -_plogp(p).sum(axis=1),
        divergence(p, smoothed),
        (divergence(p, middle) + divergence(q, middle)) / 2,
    )
    sums: Array = np.stack([np.bincount(cluster, weights=c, minlength=n_clusters) for c in columns], axis=-1)
    if not np.isfinite(sums).all():
        raise InputError(
            "A class with votes has probability 0, which costs infinitely much: set smoothing above 0."
        )
    return sums


def divergence(p: Array, q: Array) -> Array:
    """Kullback–Leibler divergence Σ p ln(p/q) of each row, nats; infinite where q is 0 and p is not.

    >>> float(divergence(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))[0])
    0.0
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / q), 0.0)
    # Equal distributions may miss zero by rounding, and a divergence is never negative.
    return np.asarray(np.maximum(terms.sum(axis=1), 0.0))


def _plogp(p: Array) -> Array:
    return p * np.log(np.where(p > 0, p, 1.0))


def _mean_metric(name: str, title: str, maximum: float, total: Callable[[Array], Array]) -> Metric:
    """A metric that is a sum over the number of clips."""

    def components(sums: Array) -> Array:
        return np.stack([total(sums), sums[..., 0]], axis=-1)

    def parts(c: Array) -> Array:
        return ratio(c[..., :1], c[..., 1:])

    def gradient(c: Array) -> Array:
        return np.concatenate([1 / c[..., 1:], -c[..., :1] / c[..., 1:] ** 2], axis=-1)

    return Metric(
        name, title, SOFT, 0.0, maximum, components, parts, gradient, lambda sums: sums[..., :1], False
    )


SOFT_METRICS = (
    _mean_metric("cross_entropy", "cross-entropy", math.inf, lambda sums: sums[..., 1] + sums[..., 2]),
    _mean_metric("kullback_leibler", "Kullback–Leibler divergence", math.inf, lambda sums: sums[..., 2]),
    _mean_metric("jensen_shannon", "Jensen–Shannon divergence", math.log(2), lambda sums: sums[..., 3]),
)
