"""Cells that ask of more than one corpus's speakers: sentences, trainings, power, and all tasks at once."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator

import numpy as np

from bench.statistics.additive import metric_named, value
from bench.statistics.intervals import difference_interval, score_interval
from bench.statistics.paired_tests import compare_family
from bench.statistics.populations import Population
from bench.statistics.power import Design, power_of, spread_of
from bench.statistics.synthesis import TaskDifference, adjusted_over_pools, synthesise
from bench.statistics.two_way import CrossedTable, population_error
from tests.bench.statistics.validity.crossed import crossed_corpora, retrained_corpora
from tests.bench.statistics.validity.plan import DRAWS, LEVEL, TASKS, Cell
from tests.bench.statistics.validity.worlds import Array, simulate

PILOT = 20_000
"""Speakers of the corpus from which a power is predicted: its own error is half a point then, and was 1.1 points with 4,000."""
POOLS = 6
POOL_MEAN, POOL_SPREAD = 0.02, 0.04
"""Mean and standard deviation of true differences over pools."""
Answer = tuple[float, float]
Answers = Iterator[tuple[str, Answer | None]]


def population_answers(cell: Cell, corpora: int) -> Answers:
    """Whether intervals over a population, and over speakers alone, hold the truth."""
    world, systems = cell.world, len(cell.world.offsets)
    if world.folds > 1:
        drawn = retrained_corpora(
            cell.speakers, corpora, seed=cell.seed, folds=world.folds, training=world.training
        )
    else:
        drawn = crossed_corpora(
            cell.speakers, world.sentences, corpora, seed=cell.seed, systems=systems, said=world.said,
            seeds=world.seeds, training=world.training,
        )  # fmt: skip
    for tables, truth in drawn:
        for method in cell.methods:
            if method == MIXED:
                yield method, _mixed_model(tables[0], truth)
            else:
                yield method, _held(cell, method, tables, truth)


MIXED = "mixed model"


def _held(cell: Cell, population: str, tables: list[CrossedTable], truth: float) -> Answer:
    metric = metric_named(cell.world.metric)
    found = population_error(metric, _population(population), tables)
    ends = difference_interval if len(tables) > 1 else score_interval
    low, high = ends(metric, found.jackknifed, LEVEL, found.degrees)
    return float(low <= truth <= high), high - low


def _population(name: str) -> Population:
    return name  # type: ignore[return-value]  # the plan names none but these


def _mixed_model(table: CrossedTable, truth: float) -> Answer:
    """Wald's interval of statsmodels' MixedLM: the mean over emotions per cell, speakers and sentences random and crossed."""
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    data = pd.DataFrame(
        {"y": value("ua", table.values[0]), "speaker": table.speaker, "sentence": table.sentence, "all": 1}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = {"speaker": "0 + C(speaker)", "sentence": "0 + C(sentence)"}
        fitted = MixedLM.from_formula(
            "y ~ 1", groups="all", re_formula="0", vc_formula=parts, data=data
        ).fit()
    low, high = fitted.params.iloc[0] + 1.96 * fitted.bse.iloc[0] * np.array([-1, 1])
    return float(low <= truth <= high), float(high - low)


@functools.cache
def predicted_power(cell: Cell) -> float:
    """What arithmetic says of a cell's power, from the spread in one large corpus of the same world."""
    pilot = next(simulate(cell.world, PILOT, 1, (*cell.seed, 1), clips=False)).statistics[0]
    tables = [CrossedTable(s[np.newaxis], np.arange(PILOT), seeded=False) for s in pilot]
    clips = float(metric_named(cell.world.metric).sizes(pilot[0]).sum()) / PILOT
    difference = abs(cell.world.offsets[0] - cell.world.offsets[1])
    spread = spread_of(cell.world.metric, *tables)
    return power_of(spread, Design(cell.speakers, clips, 1, 1, LEVEL), difference)


def task_answers(cell: Cell, corpora: int) -> Answers:
    """Whether anything is claimed on 40 tasks without a difference; or whether a synthesis holds its mean and a new pool."""
    if cell.question == "pools":
        yield from _pool_answers(cell, corpora)
        return
    blocks = (
        own
        for block in simulate(cell.world, cell.speakers, corpora * TASKS, cell.seed, clips=False)
        for own in block.statistics
    )
    for run in range(corpora):
        p = [_p_of(cell, next(blocks), run * TASKS + i) for i in range(TASKS)]
        yield "claims task by task", (float(min(p) <= 1 - LEVEL + 1e-12), np.nan)
        over = adjusted_over_pools({f"{i}": {(f"{i}", "pair"): x} for i, x in enumerate(p)})
        yield "claims over all tasks", (float(min(over.values()) <= 1 - LEVEL + 1e-12), np.nan)


def _p_of(cell: Cell, statistics: Array, run: int) -> float:
    (pair,) = compare_family(cell.world.metric, statistics, n_resamples=DRAWS, seed=run, level=LEVEL)
    return pair.p_adjusted


def _pool_answers(cell: Cell, corpora: int) -> Answers:
    """Pools of ``speakers`` each, whose differences have errors of 1 to 5 points, estimated with that many less one degrees."""
    rng = np.random.default_rng(cell.seed)
    free = cell.speakers - 1
    for _ in range(corpora):
        errors = rng.uniform(0.01, 0.05, POOLS)
        values = rng.normal(POOL_MEAN, POOL_SPREAD, POOLS) + rng.normal(0, errors)
        seen = errors * np.sqrt(rng.chisquare(free, POOLS) / free)
        found = synthesise(
            [
                TaskDifference(f"p{i}", f"t{i}", float(v), float(e))
                for i, (v, e) in enumerate(zip(values, seen, strict=True))
            ],
            level=LEVEL,
        )
        yield "mean over pools", (float(found.low <= POOL_MEAN <= found.high), found.high - found.low)
        new = rng.normal(POOL_MEAN, POOL_SPREAD)
        spread = found.predicted_high - found.predicted_low
        yield "one more pool", (float(found.predicted_low <= new <= found.predicted_high), spread)
