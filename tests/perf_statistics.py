"""The statistics part of ``make perf``: 20 systems and all 190 pairs on a corpus of CREMA-D's size, 7,442 clips, 91 speakers.

``python -m tests.perf_statistics`` prints this part alone. The loop over scikit-learn, which scores clips resampled by
speaker with scikit-learn's own functions, is timed on a few resamples and multiplied up; the suite's figures are not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.statistics.additive import METRICS, confusion_statistics, moment_statistics
from bench.statistics.paired_tests import compare_family
from bench.statistics.resampling import bootstrap
from bench.statistics.screened_swaps import ScreenedSwaps, weighed_components
from bench.statistics.shared_swaps import SharedSwaps
from bench.statistics.sign_flips import SwappedPairs, least_variance, sign_patterns
from tests.peak_memory import forget_peak, peak_mebibytes

LARGE_TIMED = 1_024
"""Sign patterns that are timed where all would take too long."""
LARGE = (60, 2_000, 6, 100_000)
"""Systems, speakers, classes and sign flips of the large family: 1,770 pairs."""
CLIPS, SPEAKERS, CLASSES, SYSTEMS, RESAMPLES, FLIPS = 7_442, 91, 6, 20, 10_000, 100_000
CATEGORIES = ("ua", "wa", "macro_f1")
LOOPED = 6
"""Resamples that the scikit-learn loop is timed on."""


@dataclass(frozen=True)
class Timed:
    """A figure with its repeats and its target, as printed."""

    what: str
    values: tuple[float, ...]
    unit: str
    target: str


@dataclass(frozen=True)
class Corpus:
    """A simulated corpus: truth and answers per clip, and what they add up to per speaker."""

    truth: NDArray[np.int64]
    answers: NDArray[np.int64]
    speakers: NDArray[np.int64]
    ratings: NDArray[np.float64]
    said: NDArray[np.float64]
    confusions: NDArray[np.float64]
    moments: NDArray[np.float64]


def simulate(seed: int = 0) -> Corpus:
    """Draw a corpus; ``said`` and ``moments`` have a leading axis of three dimensions."""
    rng = np.random.default_rng(seed)
    truth, speakers = rng.integers(CLASSES, size=CLIPS), rng.integers(SPEAKERS, size=CLIPS)
    skill = np.linspace(0.40, 0.60, SYSTEMS)[:, np.newaxis] + 0.1 * rng.normal(size=SPEAKERS)[speakers]
    answers = np.where(
        rng.random((SYSTEMS, CLIPS)) < skill, truth, rng.integers(CLASSES, size=(SYSTEMS, CLIPS))
    )
    ratings = np.clip(0.5 + 0.2 * rng.normal(size=(3, CLIPS)), 0, 1)
    noise = 0.1 + 0.003 * np.arange(SYSTEMS)[:, np.newaxis]
    said = np.clip(0.2 + 0.6 * ratings[:, np.newaxis] + noise * rng.normal(size=(3, SYSTEMS, CLIPS)), 0, 1)
    confusions = [
        confusion_statistics(truth, a, speakers, n_labels=CLASSES, n_clusters=SPEAKERS) for a in answers
    ]
    moments = [
        [moment_statistics(x, y, speakers, n_clusters=SPEAKERS) for y in own]
        for x, own in zip(ratings, said, strict=True)
    ]
    return Corpus(
        truth, answers, speakers, ratings, said, np.array(confusions, dtype=float), np.array(moments)
    )


def compare_categories(corpus: Corpus, flips: int) -> None:
    """All 190 pairs in UA, WA and macro-F1: intervals, studentised swaps, max-T."""
    for metric in CATEGORIES:
        compare_family(metric, corpus.confusions, n_resamples=flips)


def compare_dimensions(corpus: Corpus, flips: int) -> None:
    """All 190 pairs in the CCC of three dimensions."""
    for moments in corpus.moments:
        compare_family("ccc", moments, n_resamples=flips)


def bootstrap_pairs(corpus: Corpus, metrics: tuple[str, ...], statistics: NDArray[np.float64]) -> None:
    """Percentile intervals of all systems and 190 differences by the cluster bootstrap, 10,000 resamples."""
    first, second = np.array(list(combinations(range(SYSTEMS), 2))).T
    with threadpool_limits(limits=1, user_api="blas"):
        for metric in metrics:
            chosen = METRICS[metric]
            found = bootstrap(
                chosen, chosen.components(statistics), n_resamples=RESAMPLES, seed=0, errors=False
            )
            np.quantile(found.values, (0.025, 0.975), axis=1)
            np.quantile(found.values[first] - found.values[second], (0.025, 0.975), axis=1)


def resampled_clips(corpus: Corpus, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Rows of clips of speakers drawn with replacement: a bootstrap with speakers as its conditions."""
    rng = np.random.default_rng(1)
    own = [np.flatnonzero(corpus.speakers == s) for s in range(SPEAKERS)]
    for _ in range(resamples):
        yield np.concatenate([own[s] for s in rng.integers(SPEAKERS, size=SPEAKERS)])


def loop_over_scikit_learn(corpus: Corpus, resamples: int) -> float:
    """CPU seconds a loop takes over all resamples, from a few: 20 systems, three metrics (differences are then free)."""
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

    start = time.process_time()
    for rows in resampled_clips(corpus, resamples):
        for answers in corpus.answers:
            truth, said = corpus.truth[rows], answers[rows]
            balanced_accuracy_score(truth, said)
            accuracy_score(truth, said)
            f1_score(truth, said, average="macro")
    return (time.process_time() - start) * RESAMPLES / resamples


def loop_over_ratings(corpus: Corpus, resamples: int) -> float:
    """CPU seconds a loop over resampled clips takes for the CCC of 20 systems on three dimensions, from a few resamples."""
    from audmetric import concordance_cc

    start = time.process_time()
    for rows in resampled_clips(corpus, resamples):
        for ratings, own in zip(corpus.ratings, corpus.said, strict=True):
            for said in own:
                concordance_cc(ratings[rows], said[rows])
    return (time.process_time() - start) * RESAMPLES / resamples


@contextmanager
def one_thread() -> Iterator[None]:
    """Pairs on one thread, for the figure beside that of all cores."""
    from bench.statistics import sign_flips

    kept = sign_flips.MOST_THREADS
    sign_flips.MOST_THREADS = 1
    try:
        yield
    finally:
        sign_flips.MOST_THREADS = kept


def timed(
    action: Callable[[], object], repeats: int = 3, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, ...]:
    """Seconds of several runs; by ``time.process_time`` CPU seconds, which other work on the machine hardly changes."""
    taken = []
    for _ in range(repeats):
        start = clock()
        action()
        taken.append(clock() - start)
    return tuple(taken)


def large_family(seed: int = 0) -> NDArray[np.float64]:
    """Confusions (60, 2000, 6, 7) of systems of graded skill, some 1.3 clips per speaker and class."""
    systems, speakers, classes, _ = LARGE
    rng = np.random.default_rng(seed)
    clips = rng.poisson(1.3, (speakers, classes))
    skill = np.linspace(0.4, 0.7, systems)[:, np.newaxis, np.newaxis]
    skill = np.clip(skill + 0.1 * rng.normal(size=(systems, speakers, 1)), 0, 1)
    tables = np.zeros((systems, speakers, classes, classes + 1))
    hits = rng.binomial(np.broadcast_to(clips, (systems, speakers, classes)), skill)
    tables[..., range(classes), range(classes)] = hits
    # Wrong answers name the next class, so that macro-F1 is no function of the hits.
    tables[..., range(classes), np.roll(range(classes), -1)] = clips - hits
    return tables


def large_ratings(seed: int = 0) -> NDArray[np.float64]:
    """Six sums (60, 2000, 6) of systems of graded error, eight rated clips per speaker."""
    systems, speakers, *_ = LARGE
    rng = np.random.default_rng(seed)
    truth = np.clip(0.5 + 0.2 * rng.normal(size=(speakers, 8)), 0, 1) - 0.5
    noise = 0.1 + 0.003 * np.arange(systems)[:, np.newaxis, np.newaxis]
    said = 0.6 * truth + noise * rng.normal(size=(systems, speakers, 8))
    said += 0.05 * rng.normal(size=(systems, speakers, 1))
    x = np.broadcast_to(truth, said.shape)
    return np.stack([np.ones_like(x), x, said, x * x, said * said, x * said], axis=-1).sum(axis=2)


def matrix_products_per_second(columns: int, kind: type[np.floating]) -> float:
    """The floor: GFLOP/s of a plain product of a block of sign patterns of the large family with so many columns, one thread."""
    speakers = LARGE[1]
    signs, right = np.ones((LARGE_TIMED, speakers), dtype=kind), np.ones((speakers, columns), dtype=kind)
    with threadpool_limits(limits=1, user_api="blas"):
        best = min(timed(lambda: signs @ right, 5, time.process_time))
    return 2 * signs.size * columns / best / 1e9


def large_figures() -> list[Timed]:
    """1,770 pairs of 60 systems over 2,000 speakers: how long each metric takes, and what each pair alone would."""
    tables, ratings = large_family(), large_ratings()
    forget_peak()
    before = peak_mebibytes()
    figures = []
    for name in ("ua", "wa"):
        wall = timed(lambda n=name: compare_family(n, tables, n_resamples=LARGE[3]), 1)  # type: ignore[misc]
        figures.append(Timed(f"{_LARGE}, {name}", wall, "s", "under 60 s on 2 cores"))
    figures += [
        *_large_metric("ua", tables, SharedSwaps),
        *_large_metric("macro_f1", tables, ScreenedSwaps),
        *_large_metric("ccc", ratings, ScreenedSwaps),
    ]
    memory = peak_mebibytes() - before
    return [
        *figures,
        Timed("memory that the large family added at its peak", (memory,), "MiB", "under 400 MB"),
        Timed(
            "20 systems, 190 pairs, 10 speakers, all 512 patterns: UA, macro-F1, CCC each",
            tuple(timed(lambda m=m, s=s: compare_family(m, s), 1)[0] for m, s in _few_speakers()),  # type: ignore[misc]
            "s", "under 1 s",
        ),
    ]  # fmt: skip


_LARGE = "1,770 pairs, 2,000 speakers, 100,000 sign flips"


def _few_speakers() -> list[tuple[str, NDArray[np.float64]]]:
    tables, ratings = large_family()[:SYSTEMS, :10], large_ratings()[:SYSTEMS, :10]
    return [("ua", tables), ("macro_f1", tables), ("ccc", ratings)]


def _large_metric(
    name: str, statistics: NDArray[np.float64], kind: type[SharedSwaps | ScreenedSwaps]
) -> list[Timed]:
    """Time one block of sign patterns of one metric, multiplied up, beside each pair on its own and a plain product."""
    chosen = METRICS[name]
    components = chosen.components(statistics)
    pairs = list(combinations(range(len(statistics)), 2))
    least = least_variance(chosen, components[0])
    signs = next(sign_patterns(components.shape[1], LARGE_TIMED, 0, pairs=len(pairs)))
    blocks = LARGE[3] / len(signs)
    few = pairs[:: len(pairs) // 20]
    alone, together = (
        SwappedPairs(chosen, components, few, least_variance=least),
        kind(chosen, components, pairs, least_variance=least),
    )
    with threadpool_limits(limits=1, user_api="blas"):
        difference, error = SwappedPairs(chosen, components, pairs, least_variance=least).observed()
        bars = np.abs(difference / error)
        own = timed(lambda: alone.tally(signs, bars[: len(few)], threads=1), 3, time.process_time)
        shared = timed(lambda: together.tally(signs, bars, threads=1), 3, time.process_time)
        wall = timed(lambda: together.tally(signs, bars), 3)
    ratios = tuple(a * len(pairs) / len(few) / t for a, t in zip(own, shared, strict=True))
    # The one product that no way around is known to: of the signs with the columns of all pairs, or of all systems.
    columns, precision = (
        (components.shape[0] * components.shape[2], np.float64)
        if kind is SharedSwaps
        else (len(pairs) * len(weighed_components(chosen, components)[1]), np.float32)
    )
    floor = 2 * signs.size * columns / 1e9 / matrix_products_per_second(min(columns, 720), precision)
    return [
        Timed(f"{_LARGE}, {name}: one thread, CPU time ({len(signs):,} timed, multiplied up)", tuple(t * blocks for t in shared), "s", "under 600 s on 2 cores"),
        Timed(f"… all cores, wall time ({len(signs):,} timed, multiplied up)", tuple(t * blocks for t in wall), "s", "under 600 s on 2 cores"),
        Timed("… each pair on its own (20 timed, multiplied up) / this, CPU time", ratios, "×", ""),
        Timed("… this / its floor, a plain matrix product of the columns that it sums", tuple(t / floor for t in shared), "×", ""),
    ]  # fmt: skip


def statistics_figures() -> list[Timed]:
    """Measure everything of this page."""
    forget_peak()
    before = peak_mebibytes()
    corpus = simulate()
    # The first call loads scipy.stats, half a second that a run pays once.
    compare_family("ua", corpus.confusions[:2, :8], n_resamples=100)
    sign_flips = timed(lambda: compare_categories(corpus, RESAMPLES))
    with one_thread():
        alone = timed(lambda: compare_categories(corpus, RESAMPLES), clock=time.process_time)
        dimensions_alone = timed(lambda: compare_dimensions(corpus, RESAMPLES), clock=time.process_time)
    dimensions = timed(lambda: compare_dimensions(corpus, RESAMPLES))
    categories = timed(
        lambda: bootstrap_pairs(corpus, CATEGORIES, corpus.confusions), clock=time.process_time
    )
    concordance = timed(
        lambda: [bootstrap_pairs(corpus, ("ccc",), m) for m in corpus.moments], clock=time.process_time
    )
    flips = [
        timed(lambda m=m: compare_family(m, corpus.confusions, n_resamples=FLIPS), 1)[0] for m in CATEGORIES
    ]  # type: ignore[misc]
    flips += timed(lambda: compare_family("ccc", corpus.moments[0], n_resamples=FLIPS), 1)
    memory = peak_mebibytes() - before
    loop, ratings = loop_over_scikit_learn(corpus, LOOPED), loop_over_ratings(corpus, LOOPED)
    return [
        Timed("190 pairs, UA + WA + macro-F1, 10,000 swaps, all cores", sign_flips, "s", "under 2 s on 2 cores"),
        Timed("the same on one thread, CPU time", alone, "s", ""),
        Timed("190 pairs, CCC of three dimensions, 10,000 swaps", dimensions, "s", "under 2 s on 2 cores"),
        Timed("the same on one thread, CPU time", dimensions_alone, "s", ""),
        Timed("20 systems and 190 differences, three metrics, 10,000 bootstrap resamples, CPU time", categories, "s", "under 2 s on 2 cores"),
        Timed("the same by CCC of three dimensions, CPU time", concordance, "s", "under 2 s on 2 cores"),
        Timed(f"loop over scikit-learn, same resamples, CPU time ({LOOPED} timed, multiplied up)", (loop,), "s", ""),
        Timed("that loop / bootstrap", tuple(loop / s for s in categories), "×", "at least 1,000"),
        Timed("the usual loop, each pair on its own (19 × as long) / bootstrap", tuple((SYSTEMS - 1) * loop / s for s in categories), "×", "at least 1,000"),
        Timed("CCC of three dimensions: loop over audmetric / bootstrap", tuple(ratings / s for s in concordance), "×", "at least 1,000"),
        Timed("CCC: the usual loop, each pair on its own / bootstrap", tuple((SYSTEMS - 1) * ratings / s for s in concordance), "×", "at least 1,000"),
        Timed("max-T, 100,000 sign flips, 190 pairs: UA, WA, macro-F1, CCC each", tuple(flips), "s", "under 20 s"),
        Timed("memory that the statistics added at their peak", (memory,), "MiB", "under 500 MB"),
        *large_figures(),
    ]  # fmt: skip


if __name__ == "__main__":
    for figure in statistics_figures():
        middle = sorted(figure.values)[len(figure.values) // 2]
        spread = f"{min(figure.values):.3g} – {max(figure.values):.3g}" if len(figure.values) > 1 else ""
        print(f"{figure.what:80s} {middle:9.4g} {figure.unit:4s} {spread:18s} {figure.target}")
