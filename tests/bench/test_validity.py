"""The simulations behind the intervals and tests: the simulated truth is the truth, and the command runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.intervals import interval
from tests.bench.validity.plan import CELLS
from tests.bench.validity.worlds import World, simulate

# Over all sentences the truth is not that of one corpus, whose six sentences are hard or easy: seen below.
WORLDS = sorted({cell.world for cell in CELLS if cell.world.scripts not in ("population", "own")}, key=repr)


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: f"{w.metric} {w.name} {len(w.offsets)}")
def test_the_truth_of_a_simulated_corpus_is_what_thousands_of_its_speakers_show(world: World) -> None:
    # Who says how much changes nothing about the truth, but with one speaker of 40 % it could hardly be seen.
    world = replace(world, rare=world.rare * 100, sizes="equal" if world.sizes == "one40" else world.sizes)
    corpora = next(simulate(world, 2000, 1, (5,), clips=False))
    for system, offset in enumerate(world.offsets):
        found = interval(world.metric, corpora.statistics[0, system])
        assert found.standard_error < 0.02
        assert found.estimate == pytest.approx(corpora.truth[0] + offset, abs=4.5 * found.standard_error)


@pytest.mark.parametrize("metric", ["ua", "ccc"])
def test_over_all_sentences_the_truth_is_the_mean_over_many_corpora(metric: str) -> None:
    world = World(metric, "all", scripts="population")
    found = [
        float(interval(metric, statistics[0]).estimate)
        for corpora in simulate(world, 300, 300, (6,), clips=False)
        for statistics in corpora.statistics
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(corpora_truth(world), abs=4 * error + 0.003)


def corpora_truth(world: World) -> float:
    return float(next(simulate(world, 2, 1, (0,), clips=False)).truth[0])


@pytest.mark.parametrize("metric", ["ua", "ccc"])
def test_clips_one_by_one_are_the_same_corpus(metric: str) -> None:
    corpora = next(simulate(World(metric, offsets=(0.0, 0.0)), 6, 3, (1,), clips=True))
    for statistics, clips in zip(corpora.statistics, corpora.clips, strict=True):
        assert clips.sum(axis=1) == pytest.approx(statistics.sum(axis=1))
        assert clips.shape[1] > 6
