"""Degrees of freedom where few speakers hold a class: against Student's t, against draws, and what intervals then hold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t

from bench.statistics.additive import METRICS
from bench.statistics.degrees import t_degrees, tail_probability
from bench.statistics.paired_tests import compare_family
from tests.bench.statistics.validity.worlds import World, simulate

Array = NDArray[np.float64]
UA = METRICS["ua"]


def held_by(speakers: int, holders: int, *, classes: int = 7, few: int = 1) -> Array:
    """Confusions of 6 right clips per speaker and class, of which the first ``few`` classes are held by ``holders`` speakers."""
    clips = np.full((speakers, classes), 6.0)
    clips[holders:, :few] = 0
    tables = np.zeros((speakers, classes, classes + 1))
    tables[:, range(classes), range(classes)] = clips
    return tables


@pytest.mark.parametrize("degrees", [1.0, 1.5, 3.0, 9.0, 39.0, 400.0])
def test_one_term_is_students_t(degrees: float) -> None:
    for critical in (0.5, 2.0, 5.0):
        found = tail_probability(critical, np.array([1.0]), np.array([degrees]))
        assert found == pytest.approx(2 * t.sf(critical, degrees), abs=1e-8)


def test_several_terms_are_what_draws_say() -> None:
    rng = np.random.default_rng(0)
    shares, degrees = np.array([1.5, 0.2, 0.05]), np.array([1.0, 39.0, 3.0])
    drawn = (shares * rng.chisquare(degrees, (200_000, 3)) / degrees).sum(axis=1)
    seen = np.abs(rng.normal(size=200_000)) > 2.5 * np.sqrt(drawn)
    assert tail_probability(2.5, shares, degrees) == pytest.approx(
        seen.mean(), abs=3 * seen.std() / 200_000**0.5
    )


def test_speakers_who_all_hold_every_class_have_one_degree_less_than_there_are() -> None:
    assert t_degrees(UA, held_by(40, 40)) == pytest.approx(39)
    assert t_degrees(UA, held_by(2, 2)) == pytest.approx(1)
    # Plain accuracy knows no classes, and half of the speakers is not few.
    assert t_degrees(METRICS["wa"], held_by(40, 2)) > 38
    assert t_degrees(UA, held_by(40, 20)) > 30


def test_the_fewer_hold_a_class_the_fewer_degrees_there_are() -> None:
    degrees = [t_degrees(UA, held_by(40, n)) for n in (1, 2, 3, 4, 8, 40)]
    assert degrees == sorted(degrees)
    assert degrees[0] < 2 < degrees[1] < 6 < degrees[2] < 12
    # Four equal classes: the one that two hold weighs more.
    assert t_degrees(UA, held_by(40, 2, classes=4)) < degrees[1]
    # Two classes that the same two hold tell no more than one of them.
    assert t_degrees(UA, held_by(40, 2, few=2)) < degrees[1]


@pytest.mark.parametrize(("speakers", "least"), [(10, 0.90), (40, 0.90)])
def test_an_interval_of_a_difference_holds_the_truth_where_two_speakers_hold_a_class(
    speakers: int, least: float
) -> None:
    world = World("ua", "a class held by two speakers", held=8, offsets=(0.0, 0.0))
    inside = []
    for block in simulate(world, speakers, 200, (11,), clips=False):
        for statistics in block.statistics:
            (pair,) = compare_family("ua", statistics, n_resamples=64)
            inside.append(pair.low <= 0 <= pair.high)
    # 88.0 % before with 40 speakers, 93.8 % now (1,000 corpora); two Monte-Carlo errors are 3.4 points.
    assert np.mean(inside) >= least
