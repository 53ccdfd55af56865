"""Corpora in which everybody says the same few sentences, cell by cell, with the truth over all speakers and all sentences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bench.statistics.two_way import CrossedTable
from tests.bench.statistics.validity.worlds import OWN, OWN_PER_CLASS, SCRIPT, SHARED

Array = NDArray[np.float64]
DIFFICULTY = np.linspace(-0.3, 1.9, 7)
"""Logits of being right, per emotion, as in the base case of the other worlds."""


def true_score() -> float:
    """UA over all speakers and sentences: a Gauss–Hermite sum over their joint effect."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    spread = np.sqrt(SHARED**2 + OWN**2 + OWN_PER_CLASS**2 + SCRIPT**2)
    right = expit(DIFFICULTY[:, np.newaxis] + spread * nodes) @ (weights / weights.sum())
    return float(right.mean())


def crossed_corpora(
    speakers: int,
    sentences: int,
    corpora: int,
    *,
    seed: int | tuple[int, ...],
    systems: int = 1,
    said: float = 1.0,
    seeds: int = 1,
    training: float = 0.0,
) -> Iterator[tuple[list[CrossedTable], float]]:
    """Draw corpora: each speaker says each sentence once in each of seven emotions.

    Args:
        speakers: how many.
        sentences: how many, drawn anew for every corpus; hard for one system and easy for another.
        corpora: how many.
        seed: of everything.
        systems: one, whose score is the truth, or two, whose scores are equal over the population.
        said: share of cells (speaker and sentence) that were recorded.
        seeds: trainings of each system.
        training: standard deviation of what one training brings, logits.

    Returns:
        Tables of the systems, and the true score or difference.
    """
    rng = np.random.default_rng(seed)
    truth = true_score() if systems == 1 else 0.0
    for _ in range(corpora):
        kept = rng.random((speakers, sentences)) < said
        speaker, sentence = np.nonzero(kept)
        shared = rng.normal(0, SHARED, (speakers, 1))
        tables = []
        for _ in range(systems):
            ability = DIFFICULTY + shared + rng.normal(0, OWN, (speakers, 1))
            ability = ability + rng.normal(0, OWN_PER_CLASS, (speakers, len(DIFFICULTY)))
            hard = rng.normal(0, SCRIPT, sentences)
            trained = rng.normal(0, training, (seeds, 1, 1)) if training else np.zeros((seeds, 1, 1))
            right = rng.random((seeds, len(speaker), len(DIFFICULTY))) < expit(
                ability[speaker] + hard[sentence, np.newaxis] + trained
            )
            tables.append(CrossedTable(_confusions(rng, right), speaker, sentence))
        yield tables, truth


def _confusions(rng: np.random.Generator, right: NDArray[np.bool_]) -> Array:
    """Counts (seeds, cells, 7, 8) of one clip per emotion; a wrong answer is any other, or none."""
    seeds, cells, k = right.shape
    answer = (np.arange(k) + rng.integers(1, k + 1, right.shape)) % (k + 1)
    answer = np.where(right, np.arange(k), answer)
    counts = np.zeros((seeds, cells, k, k + 1))
    s, c, t = np.indices(right.shape)
    counts[s, c, t, answer] = 1
    return counts


def retrained_corpora(
    speakers: int, corpora: int, *, seed: int | tuple[int, ...], folds: int, training: float
) -> Iterator[tuple[list[CrossedTable], float]]:
    """Draw corpora answered in folds, each by a fit of its own whose training makes everything easier or harder.

    Args:
        speakers: how many, dealt to the folds in turn; six clips of each of seven emotions.
        corpora: how many.
        seed: of everything.
        folds: fits.
        training: standard deviation of what one training brings, logits.

    Returns:
        The table of one system, and its true UA over speakers and trainings.
    """
    rng = np.random.default_rng(seed)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    spread = np.sqrt(SHARED**2 + OWN**2 + OWN_PER_CLASS**2 + training**2)
    truth = float((expit(DIFFICULTY[:, np.newaxis] + spread * nodes) @ (weights / weights.sum())).mean())
    fit = np.arange(speakers) % folds
    for _ in range(corpora):
        ability = (
            rng.normal(0, np.hypot(SHARED, OWN), (speakers, 1)) + rng.normal(0, training, folds)[fit, None]
        )
        ability = DIFFICULTY + ability + rng.normal(0, OWN_PER_CLASS, (speakers, len(DIFFICULTY)))
        right = rng.random((6, speakers, len(DIFFICULTY))) < expit(ability)
        counts = _confusions(rng, right).sum(axis=0, keepdims=True)
        yield [CrossedTable(counts, np.arange(speakers), fit=fit)], truth
