"""Additive statistics of every kind for speakers who differ: what the tests of metrics, intervals and swaps run on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.statistics.additive import METRICS, calibration_statistics, soft_label_statistics

Array = NDArray[np.float64]


def confusions(
    seed: int, *, systems: int = 1, clusters: int = 9, classes: int = 4, skill: tuple[float, ...] = ()
) -> Array:
    """Confusion counts (systems, clusters, K, K + 1); one truth for all systems."""
    rng = np.random.default_rng(seed)
    clips = rng.poisson(6, (clusters, classes)) + 1
    shared = rng.normal(0, 0.5, (clusters, 1))
    found = []
    for system in range(systems):
        logit = (skill[system] if skill else 0.4) + shared + rng.normal(0, 0.4, (clusters, classes))
        right = 1 / (1 + np.exp(-logit))
        chances = np.repeat(((1 - right) / classes)[..., np.newaxis], classes + 1, axis=-1)
        chances[:, range(classes), range(classes)] = right
        found.append(rng.multinomial(clips, chances))
    return np.array(found, dtype=float)


def moments(seed: int, *, systems: int = 1, clusters: int = 9) -> Array:
    """Six sums (systems, clusters, 6) of 25 ratings per speaker."""
    rng = np.random.default_rng(seed)
    x = 0.1 * rng.normal(size=(clusters, 1)) + 0.15 * rng.normal(size=(clusters, 25))
    y = (
        0.6 * x
        + 0.1 * rng.normal(size=(systems, clusters, 25))
        + 0.05 * rng.normal(size=(systems, clusters, 1))
    )
    x = np.broadcast_to(x, y.shape)
    return np.stack([np.full(y.shape[:2], 25.0), *(v.sum(-1) for v in (x, y, x * x, y * y, x * y))], -1)


def probabilities(seed: int, *, systems: int = 1, clips: int = 360, classes: int = 4) -> tuple[Array, Array]:
    """True codes (clips,) and over-confident probabilities (systems, clips, K)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=clips)
    logits = 1.5 * rng.normal(size=(systems, clips, classes))
    logits[:, range(clips), truth] += 2.0
    q = np.exp(2 * logits)
    return truth.astype(float), q / q.sum(axis=-1, keepdims=True)


def example(metric: str, seed: int, systems: int, clusters: int = 9) -> Array:
    """Statistics (systems, clusters, …) of the kind the metric needs; all systems share one truth."""
    kind = METRICS[metric].kind
    if kind == "confusion":
        return confusions(seed, systems=systems, clusters=clusters)
    if kind == "moments":
        return moments(seed, systems=systems, clusters=clusters)
    if kind == "dimensions":
        return np.stack(
            [moments(seed + 100 * d, systems=systems, clusters=clusters) for d in range(3)], axis=2
        )
    clips = 40 * clusters
    truth, q = probabilities(seed, systems=systems, clips=clips)
    speakers = np.arange(clips) % clusters
    if kind == "calibration":
        codes = truth.astype(int)
        return np.stack([calibration_statistics(codes, own, speakers, n_clusters=clusters) for own in q])
    votes = np.random.default_rng(seed).multinomial(5, np.full(4, 0.1) + 0.6 * np.eye(4)[truth.astype(int)])
    return np.stack([soft_label_statistics(votes, own, speakers, n_clusters=clusters) for own in q])
