"""Degrees of freedom of a jackknife error, and quantiles of Student's t on them.

A jackknife over G equal clusters has G − 1 degrees of freedom, over unequal ones Kish's effective number less one. Of UA and macro-F1
that is not all: a class that two of forty speakers hold brings most of the error, and tells with one degree of freedom how much. Taken
as one of 39, the interval of a difference held the truth 88 % of the time.

So classes are looked at one by one. Let class k hold a share p_gk of its clips in cluster g, and recalls of single clusters vary alike in
all classes. Then class k brings v_k = Σ_g p_gk² to the variance, known with d_k = 1/v_k − 1 degrees of freedom, and leaving clusters out
overstates it by

    b_k = (G − 1)/G · Σ_g (p_gk / (1 − p_gk))² (1 − 2 p_gk + v_k) / v_k        (2 for two of many, 0 for one, whose part is not seen)

Classes that the same clusters hold in the same proportions count as one term. With a_k = v_k b_k / Σ v the estimate's variance, over the true one, is distributed as W = Σ_k a_k χ²_(d_k) / d_k, and a normal value over its root has
(Craig 1991)

    P(|Z| > c √W) = 2/π ∫_0^{π/2} Π_k (1 + c² a_k / (d_k sin² θ))^(−d_k/2) dθ

which is Student's t where there is one term. The degrees of freedom are those of the t whose 95 % quantile is that c, and never more than Kish's.
What that covered: ``results/validity/README.md``.

Sources: Kish, Survey Sampling, 1965; Satterthwaite, Biometrics Bulletin 2, 1946, 110–114; Bell and McCaffrey, Survey Methodology
28, 2002, 169–181, for degrees from the design rather than from the estimates; Craig, IEEE MILCOM 1991, 571–575, for the integral.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.protocols import Array
from bench.statistics.metric import Metric
from bench.statistics.resampling import effective_clusters

_LEVEL = 0.95
"""Where the mixture is matched by a Student's t."""
_NODES = 64
"""Of the integral: 1e-9 from exact values of Student's t from one degree of freedom on, a test holds."""
_HALVINGS = 30
_ROUNDING = 1e-9
_SAME = 0.9
"""Cosine from which on two parts count as held by the same clusters in the same proportions."""


def t_degrees(metric: Metric, table: Array) -> float:
    """Degrees of freedom of a jackknife error over clusters, at least 1.

    Args:
        metric: whose parts (classes) may be held by few clusters.
        table: statistics (clusters, …) of clusters with clips and classes with true clips.

    Returns:
        The effective number of clusters less one, or fewer where few of them hold a class.
    """
    sizes = metric.sizes(table)
    most = max(effective_clusters(sizes) - 1, 1.0)
    if sizes.shape[-1] == 1:
        return most
    shares, degrees = _by_part(sizes / sizes.sum(axis=0))
    if tail_probability(student_quantile((1 + _LEVEL) / 2, most), shares, degrees) <= 1 - _LEVEL + _ROUNDING:
        return most
    least = 1.0
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        quantile = student_quantile((1 + _LEVEL) / 2, middle)
        enough = tail_probability(quantile, shares, degrees) <= 1 - _LEVEL
        least, most = (middle, most) if enough else (least, middle)
    return least


def tail_probability(critical: float, shares: Array, degrees: Array) -> float:
    """P(|Z| > c √W) for a standard normal Z and W = Σ_k a_k χ²_(d_k) / d_k.

    Args:
        critical: c.
        shares: a_k, (terms,), 0 or more.
        degrees: d_k, (terms,), above 0.

    Returns:
        The probability, 0..1.

    >>> round(tail_probability(2.262157, np.array([1.0]), np.array([9.0])), 6)
    0.05
    """
    squares, weights = _nodes()
    terms = np.log1p(critical**2 * shares[:, np.newaxis] / (degrees[:, np.newaxis] * squares))
    return float(weights @ np.exp(-(degrees / 2) @ terms))


def _by_part(held: Array) -> tuple[Array, Array]:
    """a_k and d_k of each part, from the share of its clips that each cluster holds, (clusters, parts)."""
    clusters = len(held)
    squares = (held**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.where(held < 1 - _ROUNDING, held / (1 - held), 0.0)
    seen = (clusters - 1) / clusters * (odds**2 * (1 - 2 * held + squares)).sum(axis=0)
    # A part that one cluster holds brings nothing to the estimate: any number of degrees will do.
    degrees = np.maximum(1 / squares - 1, _ROUNDING)
    alike = _alike(held / np.sqrt(squares))
    shares = np.bincount(alike, weights=seen) / squares.sum()
    return shares, np.bincount(alike, weights=degrees) / np.bincount(alike)


def _alike(directions: Array) -> NDArray[np.intp]:
    """Number each part by the first one that the same clusters hold: what a speaker does in the two hangs together.

    Args:
        directions: (clusters, parts), columns of length 1.

    Returns:
        (parts,) numbers, from 0 on without gaps.
    """
    first = (directions.T @ directions > _SAME).argmax(axis=0)
    return np.unique(first, return_inverse=True)[1]


@cache
def _nodes() -> tuple[Array, Array]:
    """Squared sines at the nodes of the integral over 0..π/2, and their weights, which sum to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return np.sin((nodes + 1) * np.pi / 4) ** 2, weights / 2


def satterthwaite_degrees(variances: Sequence[float], degrees: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variances: (Σ v)² / Σ v²/df.

    Args:
        variances: estimated variances of the independent terms, (terms,), in one squared unit.
        degrees: degrees of freedom of each estimate, (terms,), above 0.

    Returns:
        The approximate degrees of freedom of the sum, never below the smallest of the terms; that smallest where all
        variances are 0.

    Source: Satterthwaite, Biometrics Bulletin 2, 1946, 110–114; Welch, Biometrika 34, 1947, 28–35, for two terms.

    >>> round(satterthwaite_degrees([4.0, 1.0], [9, 4]), 2)
    12.33
    """
    below = sum(v**2 / df for v, df in zip(variances, degrees, strict=True))
    return float(sum(variances) ** 2 / below) if below > 0 else min(degrees)


@lru_cache(maxsize=1024)
def student_quantile(probability: float, degrees: float) -> float:
    """Quantile of Student's t. A family of pairs asks for the same few again and again.

    >>> round(student_quantile(0.975, 9), 3)
    2.262
    """
    # Imported here: listing systems must not wait for scipy. Its special functions take a fifth of the time of scipy.stats.
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))
