"""One cell of the plan, through the suite's own functions: shares with their Monte-Carlo errors."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from bench.errors import CannotSeparate
from bench.statistics.additive import metric_named
from bench.statistics.degrees import t_degrees
from bench.statistics.families import Comparison, FamilyInference
from bench.statistics.intervals import Method, interval, occupied, score_interval
from bench.statistics.paired_tests import compare_family, infer_family
from bench.statistics.resampling import bootstrap, jackknife
from bench.statistics.seed_variance import redrawn_interval, seed_variance
from tests.bench.statistics.validity.plan import DRAWS, LEVEL, MARGIN, Cell
from tests.bench.statistics.validity.wider import population_answers, task_answers
from tests.bench.statistics.validity.worlds import Array, Corpora, simulate

ALPHA = 1 - LEVEL + 1e-12
"""p = 0.05 rejects, as in the suite, also when 1 − 0.95 is written in binary."""


@dataclass(frozen=True)
class Figure:
    """A share of simulated corpora, its Monte-Carlo error, and the mean width of the intervals (None for tests)."""

    method: str
    share: float
    monte_carlo_error: float
    width: float | None
    simulations: int
    refused: int
    """Corpora for which the method gave no answer (too few speakers hold a class); the share is over the others."""


@dataclass(frozen=True)
class Measured:
    """All figures of a cell."""

    figures: tuple[Figure, ...]
    seconds: float


Answer = tuple[float, float]
"""Yes or no (or a share) for one corpus, and the interval's width; NaN where there is none."""


def measure(cell: Cell, simulations: int) -> Measured:
    """Simulate a cell's corpora and ask its question of each."""
    started = time.perf_counter()
    answers: dict[str, list[Answer | None]] = {method: [] for method in cell.methods}
    by_clip = any(method.startswith("clips") for method in cell.methods)
    run = 0
    if cell.question in ("population", "tasks", "pools"):
        asked = population_answers if cell.question == "population" else task_answers
        for method, answer in asked(cell, simulations):
            answers[method].append(answer)
        figures = tuple(_figure(method, given) for method, given in answers.items())
        return Measured(figures, round(time.perf_counter() - started, 1))
    for block in simulate(cell.world, cell.speakers, simulations, cell.seed, clips=by_clip):
        for corpus in range(len(block.truth)):
            for method, answer in _answers(cell, block, corpus, run):
                answers[method].append(answer)
            run += 1
    figures = tuple(_figure(method, given) for method, given in answers.items())
    return Measured(figures, round(time.perf_counter() - started, 1))


def _answers(cell: Cell, block: Corpora, corpus: int, run: int) -> Iterator[tuple[str, Answer | None]]:
    statistics = block.statistics[corpus]
    if cell.question == "interval":
        truth = float(block.truth[corpus])
        for method in cell.methods:
            own = block.clips[corpus][0] if method == "clips" else statistics[0]
            yield method, _or_none(functools.partial(_covers, cell, method, own, truth, run))
    elif cell.question == "test":
        if "clips swap test" in cell.methods:
            (pair,) = compare_family(
                cell.world.metric, block.clips[corpus], n_resamples=DRAWS, seed=run, level=LEVEL, unit="clips"
            )
            yield "clips swap test", (float(pair.p_value <= ALPHA), np.nan)
            return
        (pair,) = compare_family(cell.world.metric, statistics, n_resamples=DRAWS, seed=run, level=LEVEL)
        yield "swap test", (float(pair.p_value <= ALPHA), np.nan)
        yield "difference", (float(pair.low <= 0 <= pair.high), pair.high - pair.low)
    elif cell.question == "power":
        (pair,) = compare_family(cell.world.metric, statistics, n_resamples=DRAWS, seed=run, level=LEVEL)
        yield "swap test", (float(pair.p_value <= ALPHA), np.nan)
    elif cell.question == "joint":
        family = infer_family(
            cell.world.metric, statistics, n_resamples=DRAWS, seed=run, level=LEVEL, margin=MARGIN
        )
        yield from _jointly(family, cell.world.offsets)
    elif cell.question == "seeds":
        yield from _with_seeds(cell, statistics, run)
    elif cell.question == "equivalence":
        (pair,) = compare_family(cell.world.metric, statistics, n_resamples=DRAWS, seed=run, margin=MARGIN)
        yield "equivalent", (float(bool(pair.equivalent)), np.nan)
    else:
        family = compare_family(cell.world.metric, statistics, n_resamples=DRAWS, seed=run, level=LEVEL)
        for method in cell.methods:
            yield method, (_found(family, method, cell.world.offsets), np.nan)


def _jointly(family: FamilyInference, offsets: tuple[float, ...]) -> Iterator[tuple[str, Answer]]:
    """Whether all simultaneous intervals hold, with their mean width, and whether a pair that differs by the margin is equivalent."""
    true = [offsets[c.a] - offsets[c.b] for c in family]
    held = all(c.simultaneous_low <= t <= c.simultaneous_high for c, t in zip(family, true, strict=True))
    width = float(np.mean([c.simultaneous_high - c.simultaneous_low for c in family]))
    yield "joint intervals", (float(held), width)
    wrong = any(c.equivalent for c, t in zip(family, true, strict=True) if abs(t) >= MARGIN - 1e-12)
    yield "false equivalence", (float(wrong), np.nan)


def _with_seeds(cell: Cell, statistics: Array, run: int) -> Iterator[tuple[str, Answer | None]]:
    (pair,) = compare_family(cell.world.metric, statistics, n_resamples=DRAWS, seed=run, level=LEVEL)
    redrawn = redrawn_interval(pair, *(seed_variance(cell.world.metric, s) for s in statistics))
    yield "seeds redrawn", redrawn and (float(redrawn[0] <= 0 <= redrawn[1]), redrawn[1] - redrawn[0])
    yield "seeds held fixed", (float(pair.low <= 0 <= pair.high), pair.high - pair.low)
    yield "swap test", (float(pair.p_value <= ALPHA), np.nan)


def _or_none(answer: Callable[[], Answer]) -> Answer | None:
    try:
        return answer()
    except CannotSeparate:
        return None


def _covers(cell: Cell, method: str, statistics: Array, truth: float, run: int) -> Answer:
    if method in ("clips", "percentile"):
        low, high = _usual_elsewhere(cell, method, statistics, run)
        return float(low <= truth <= high), high - low
    found = interval(
        cell.world.metric,
        statistics,
        level=LEVEL,
        n_resamples=DRAWS,
        seed=run,
        method=cast(Method, method),
    )
    return float(found.low <= truth <= found.high), found.high - found.low


def _usual_elsewhere(cell: Cell, method: str, statistics: Array, run: int) -> tuple[float, float]:
    """What others report, without what the suite adds near the ends of a range (:mod:`bench.statistics.edges`)."""
    metric = metric_named(cell.world.metric)
    table = occupied(metric, statistics)
    components = metric.components(table)
    if method == "clips":
        return score_interval(metric, jackknife(metric, components), LEVEL, t_degrees(metric, table))
    drawn = bootstrap(metric, components, n_resamples=DRAWS, seed=run)
    low, high = np.quantile(drawn.values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _found(family: list[Comparison], method: str, offsets: tuple[float, ...]) -> float:
    """Whether any pair of equal systems was told apart, or the share of unequal pairs that were."""
    p = {c: c.p_adjusted if method.startswith("max-T") else c.p_holm for c in family}
    equal = [p[c] <= ALPHA for c in family if offsets[c.a] == offsets[c.b]]
    unequal = [p[c] <= ALPHA for c in family if offsets[c.a] != offsets[c.b]]
    return float(any(equal)) if method.endswith("error") else float(np.mean(unequal))


def _figure(method: str, answers: list[Answer | None]) -> Figure:
    given = np.array([answer for answer in answers if answer is not None])
    refused = len(answers) - len(given)
    if not len(given):
        return Figure(method, float("nan"), float("nan"), None, 0, refused)
    shares, widths = given[:, 0], given[:, 1]
    width = None if np.isnan(widths).all() else float(widths.mean())
    error = float(shares.std() / np.sqrt(len(shares)))
    return Figure(method, float(shares.mean()), error, width, len(shares), refused)
