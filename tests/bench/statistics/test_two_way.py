"""Errors over wider populations: against an analysis of variance, a mixed model, and corpora of which the truth is known."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from bench.errors import CannotSeparate, InputError
from bench.statistics.additive import metric_named
from bench.statistics.intervals import difference_interval, score_interval
from bench.statistics.populations import Population, factors_of, population_of, population_words
from bench.statistics.seed_variance import seed_variance
from bench.statistics.two_way import CrossedTable, population_error
from tests.bench.statistics.validity.crossed import crossed_corpora


def grid(values: np.ndarray, seeds: int = 1) -> CrossedTable:
    """A balanced table (speakers, sentences) of one binary class pair, hits of 1000 clips per cell."""
    speakers, sentences = values.shape
    hits = np.round(values * 1000)
    table = np.zeros((seeds, speakers * sentences, 1, 2))
    table[..., 0, 0], table[..., 0, 1] = hits.ravel(), 1000 - hits.ravel()
    return CrossedTable(
        table, np.repeat(np.arange(speakers), sentences), np.tile(np.arange(sentences), speakers)
    )


def test_a_balanced_table_gives_the_analysis_of_variance() -> None:
    """Written out again: mean squares of rows, columns and residual; V = (MS_P + MS_Q − MS_PQ) / PQ."""
    rng = np.random.default_rng(0)
    p, q = 12, 7
    values = 0.6 + rng.normal(0, 0.05, (p, 1)) + rng.normal(0, 0.04, (1, q)) + rng.normal(0, 0.03, (p, q))
    values = np.round(values * 1000) / 1000
    found = population_error("wa", "speakers x sentences", [grid(values)])
    rows, columns, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    of_rows = q * ((rows - mean) ** 2).sum() / (p - 1)
    of_columns = p * ((columns - mean) ** 2).sum() / (q - 1)
    rest = values - rows[:, None] - columns[None, :] + mean
    of_rest = (rest**2).sum() / ((p - 1) * (q - 1))
    assert found.estimate == pytest.approx(mean)
    # The residual's factor is N/(N − P − Q + 1) on the sum over N² clips: PQ · MS_PQ/(PQ)².
    assert found.standard_error**2 == pytest.approx((of_rows + of_columns - of_rest) / (p * q), rel=1e-9)
    below = of_rows**2 / (p - 1) + of_columns**2 / (q - 1) + of_rest**2 / ((p - 1) * (q - 1))
    assert found.degrees == pytest.approx((of_rows + of_columns - of_rest) ** 2 / below, rel=1e-9)


def test_a_mixed_model_over_speakers_and_sentences_finds_the_same_error() -> None:
    from statsmodels.regression.mixed_linear_model import MixedLM

    rng = np.random.default_rng(3)
    p, q = 16, 8
    values = 0.6 + rng.normal(0, 0.06, (p, 1)) + rng.normal(0, 0.05, (1, q)) + rng.normal(0, 0.05, (p, q))
    table = grid(np.round(values * 1000) / 1000)
    ours = population_error("wa", "speakers x sentences", [table])
    speaker, sentence = table.speaker, table.sentence
    assert sentence is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _crossed_model(MixedLM, np.round(values * 1000).ravel() / 1000, speaker, sentence)
        theirs = model.fit(reml=True)
    assert float(theirs.params.iloc[0]) == pytest.approx(ours.estimate, abs=1e-3)
    assert float(theirs.bse.iloc[0]) == pytest.approx(ours.standard_error, rel=0.05)


def _crossed_model(mixed: type, y: np.ndarray, speaker: np.ndarray, sentence: np.ndarray) -> Any:
    import pandas as pd

    data = pd.DataFrame({"y": y, "speaker": speaker, "sentence": sentence, "all": 1})
    return mixed.from_formula(  # type: ignore[attr-defined]
        "y ~ 1",
        groups="all",
        re_formula="0",
        vc_formula={"p": "0 + C(speaker)", "q": "0 + C(sentence)"},
        data=data,
    )


@pytest.mark.parametrize("systems", [1, 2])
def test_the_interval_over_sentences_holds_the_truth_where_that_over_speakers_does_not(systems: int) -> None:
    """Six sentences, 24 speakers, 200 corpora: 95 % within four Monte-Carlo errors; the narrow one is far off."""
    held = {"speakers": 0, "speakers x sentences": 0}
    corpora = list(crossed_corpora(24, 6, 200, seed=5, systems=systems))
    for tables, truth in corpora:
        for population in held:
            found = population_error("ua", population, tables)  # type: ignore[arg-type]
            if systems == 2:
                low, high = difference_interval(metric_named("ua"), found.jackknifed, 0.95, found.degrees)
            else:
                low, high = score_interval(metric_named("ua"), found.jackknifed, 0.95, found.degrees)
            held[population] += low <= truth <= high
    assert held["speakers x sentences"] >= 0.89 * len(corpora)
    assert held["speakers"] < 0.85 * len(corpora)


def test_what_is_drawn_beside_speakers_never_narrows() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = np.clip(0.6 + rng.normal(0, 0.1, (8, 5)), 0, 1)
        one = population_error("wa", "speakers", [grid(values)])
        both = population_error("wa", "speakers x sentences", [grid(values)])
        assert both.standard_error >= one.standard_error
        assert both.parts["sentences"] >= 0
        assert both.degrees >= 4 - 1e-9


def with_seeds(
    rng: np.random.Generator, speakers: int, seeds: int, spread: float, folds: int = 1
) -> CrossedTable:
    fit = np.arange(speakers) % folds
    trained = rng.normal(0, spread, (seeds, folds))[:, fit]
    p = np.clip(0.6 + rng.normal(0, 0.05, speakers) + trained, 0.01, 0.99)
    hits = rng.binomial(40, p)
    table = np.stack([hits, 40 - hits], axis=-1)[:, :, np.newaxis, :].astype(float)
    return CrossedTable(table, np.arange(speakers), fit=fit if folds > 1 else None)


def test_seeds_add_what_the_suite_adds_for_them() -> None:
    table = with_seeds(np.random.default_rng(2), 20, 4, 0.05)
    found = population_error("wa", "speakers x seeds", [table])
    alone = seed_variance("wa", table.values)
    assert alone is not None
    assert found.parts["seeds"] == pytest.approx(alone.variance)
    assert found.population == "speakers x seeds"


def test_whole_fits_are_clusters_where_trainings_are_drawn() -> None:
    """Five folds whose fits differ by 4 points, one seed: 95 % of 400 corpora, where speakers alone cover far less."""
    rng = np.random.default_rng(4)
    held = {"speakers": 0, "speakers x trainings": 0}
    for _ in range(400):
        table = with_seeds(rng, 50, 1, 0.04, folds=5)
        for population in held:
            found = population_error("wa", population, [table])  # type: ignore[arg-type]
            low, high = score_interval(metric_named("wa"), found.jackknifed, 0.95, found.degrees)
            held[population] += low <= 0.6 <= high
    assert held["speakers x trainings"] >= 0.92 * 400
    assert held["speakers"] <= 0.86 * 400


def test_what_is_not_known_is_said_and_not_claimed() -> None:
    rng = np.random.default_rng(5)
    one_seed = with_seeds(rng, 10, 1, 0.0)
    found = population_error("wa", "speakers x sentences x seeds", [one_seed])
    assert found.population == "speakers"
    assert [text.split(":")[0] for text in found.lacking] == [
        "what is said is not known clip by clip",
        "of a system whose seeds matter one is known",
    ]
    fixed = CrossedTable(one_seed.values, one_seed.speaker, seeded=False)
    assert population_error("wa", "speakers x seeds", [fixed]).population == "speakers x seeds"
    released = CrossedTable(one_seed.values, one_seed.speaker, seeded=False, released=True)
    assert "released" in population_error("wa", "speakers x trainings", [released]).lacking[0]
    # Each sentence said by one speaker: nothing is crossed.
    nested = grid(rng.uniform(0.4, 0.8, (6, 2)))
    nested = CrossedTable(nested.values, nested.speaker, np.arange(12))
    assert population_error("wa", "speakers x sentences", [nested]).population == "speakers"


def test_odd_tables_are_refused() -> None:
    rng = np.random.default_rng(6)
    first, second = grid(rng.uniform(0.4, 0.8, (6, 3))), grid(rng.uniform(0.4, 0.8, (3, 6)))
    with pytest.raises(InputError, match="not counted over the same cells"):
        population_error("wa", "speakers", [first, second])
    with pytest.raises(CannotSeparate):
        population_error("wa", "speakers", [grid(rng.uniform(0.4, 0.8, (1, 3)))])


@pytest.mark.parametrize(
    "population",
    ["speakers", "speakers x sentences", "speakers x sentences x seeds", "speakers x trainings"],
)
def test_a_population_says_what_is_drawn_and_what_is_held(population: Population) -> None:
    assert population_of(factors_of(population)) == population
    words = population_words(population, clusters="sessions")
    assert words.startswith("more such sessions, ")
    assert ("these sentences" in words) == ("sentences" not in population)
    assert ("these weights" in words) == (not population.endswith(("seeds", "trainings")))
