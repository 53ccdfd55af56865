"""The joint inference of a family: verdict, interval, rank and equivalence agree, and are what a plain loop gives."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from bench.statistics.additive import METRICS, value
from bench.statistics.families import FamilyInference, better_or_worse
from bench.statistics.paired_tests import compare_family, infer_family
from bench.statistics.screened_swaps import ScreenedSwaps
from bench.statistics.shared_swaps import SharedSwaps
from bench.statistics.sign_flips import SwappedPairs, least_variance, sign_patterns
from bench.statistics.swap_tests import TIE, swap_tests
from tests.bench.statistics.example_statistics import confusions, example, moments

Array = NDArray[np.float64]


def drawn(seed: int, systems: int, clusters: int, spread: float, clips: int) -> Array:
    """Confusions (systems, clusters, 3, 4) of systems whose skills spread, of any difficulty, over unequal clusters."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(clips * rng.exponential(size=(clusters, 1)) + 1, size=(clusters, 3)) + 1
    base = rng.uniform(-0.5, 4.0)
    skill = base + rng.normal(0, spread, (systems, 1, 1)) + rng.normal(0, 0.5, (systems, clusters, 1))
    hits = rng.binomial(n, 1 / (1 + np.exp(-skill)), size=(systems, clusters, 3))
    tables = np.zeros((systems, clusters, 3, 4))
    tables[..., range(3), range(3)] = hits
    tables[..., 3] = n - hits
    return tables


def agrees_with_itself(family: FamilyInference) -> None:
    """Everything that the family says follows from its simultaneous intervals."""
    for c in family:
        told_apart = not c.simultaneous_low <= 0 <= c.simultaneous_high
        assert told_apart == (c.p_adjusted <= round(1 - c.level, 12))
        assert told_apart == (better_or_worse(c.verdict) != 0)
        if told_apart:
            assert (c.simultaneous_low > 0) == (better_or_worse(c.verdict) == 1)
            assert c.detectable_difference is not None
        assert c.simultaneous_low <= c.difference <= c.simultaneous_high
        assert c.equivalent == (-c.margin <= c.equivalence_low and c.equivalence_high <= c.margin)
        assert c.equivalent == (c.verdict == "equivalent" or "margin" in c.verdict)
        if family.joint.pairs > 1:
            assert (c.equivalence_low, c.equivalence_high) == (c.simultaneous_low, c.simultaneous_high)
        assert "interval" in c.decided_by
        if math.isinf(c.simultaneous_high) or c.smallest_p > 1 - c.level:
            assert c.verdict in {"this corpus cannot separate them", "equivalent"}
    for system in range(family.systems):
        rank = family.rank(system)
        better = sum(
            (c.simultaneous_high < 0 and c.a == system) or (c.simultaneous_low > 0 and c.b == system)
            for c in family
        )
        worse = sum(
            (c.simultaneous_low > 0 and c.a == system) or (c.simultaneous_high < 0 and c.b == system)
            for c in family
        )
        assert (rank.best, rank.worst, rank.of) == (1 + better, family.systems - worse, family.systems)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    systems=st.integers(2, 6),
    clusters=st.integers(2, 24),
    spread=st.sampled_from([0.0, 0.2, 1.0, 3.0]),
    clips=st.sampled_from([1, 6, 60]),
    metric=st.sampled_from(["ua", "wa", "macro_f1"]),
    margin=st.sampled_from([0.0, 0.02, 0.1, 0.5]),
    level=st.sampled_from([0.8, 0.9, 0.95, 0.99]),
)
def test_verdict_interval_rank_and_equivalence_never_contradict_each_other(
    seed: int,
    systems: int,
    clusters: int,
    spread: float,
    clips: int,
    metric: str,
    margin: float,
    level: float,
) -> None:
    statistics = drawn(seed, systems, clusters, spread, clips)
    agrees_with_itself(infer_family(metric, statistics, n_resamples=199, seed=1, margin=margin, level=level))


@pytest.mark.parametrize("metric", ["ccc", "brier", "jensen_shannon", "mean_ccc"])
@pytest.mark.parametrize("clusters", [4, 9, 19])
def test_it_agrees_with_itself_in_continuous_metrics_too(metric: str, clusters: int) -> None:
    agrees_with_itself(infer_family(metric, example(metric, 3, 4, clusters), n_resamples=199, margin=0.1))


def plain_family(statistics: Array, level: float) -> tuple[Array, Array, Array, Array]:
    """UA by loops over all patterns: differences, errors, max-T p-values and the critical value, pair by pair."""
    systems, clusters, classes = statistics.shape[:3]
    pairs = [(a, b) for a in range(systems) for b in range(a + 1, systems)]
    clips = statistics[0].sum(axis=(0, 2))
    floor = 2 * np.mean(1 / (classes * clips) ** 2)

    def studentised(first: Array, second: Array) -> tuple[float, float]:
        difference = float(value("ua", first.sum(0)) - value("ua", second.sum(0)))
        influence = np.zeros(clusters)
        for sign, table in ((1, first), (-1, second)):
            recall = np.diagonal(table.sum(0), axis1=-2, axis2=-1) / clips
            hits = np.diagonal(table, axis1=-2, axis2=-1)
            influence += sign * ((hits - recall * table.sum(-1)) / clips).mean(-1)
        return difference, math.sqrt(clusters / (clusters - 1) * (influence**2).sum() + floor)

    found = np.array([studentised(statistics[a], statistics[b]) for a, b in pairs])
    largest = []
    for pattern in product([True, False], repeat=clusters):
        kept = np.array(pattern)[:, np.newaxis, np.newaxis]
        values = []
        for a, b in pairs:
            d, e = studentised(
                np.where(kept, statistics[a], statistics[b]), np.where(kept, statistics[b], statistics[a])
            )
            values.append(abs(d) / e)
        largest.append(max(values))
    t = np.abs(found[:, 0]) / found[:, 1]
    p = np.array([np.mean(np.array(largest) >= own * (1 - 1e-9)) for own in t])
    allowed = math.floor(round(1 - level, 12) * len(largest) + 1e-9)
    critical = np.full(len(pairs), np.sort(largest)[::-1][allowed])
    # Two systems that differ for fewer than six speakers are judged by the normal distribution too.
    alike = [(statistics[a] != statistics[b]).any(axis=(1, 2)).sum() < 6 for a, b in pairs]
    p = np.where(alike, np.maximum(p, 2 * norm.sf(t)), p)
    return (
        found[:, 0],
        found[:, 1],
        p,
        np.where(alike, np.maximum(critical, norm.ppf((1 + level) / 2)), critical),
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_joint_object_is_what_plain_loops_give(seed: int) -> None:
    statistics = drawn(seed, 3, 7, 1.5, 12)
    difference, error, p, critical = plain_family(statistics, 0.9)
    family = infer_family("ua", statistics, level=0.9, margin=0.02)
    assert [c.difference for c in family] == pytest.approx(difference)
    assert [c.joint_error for c in family] == pytest.approx(error)
    assert np.array([c.p_adjusted for c in family]) == pytest.approx(p)
    for c, d, half in zip(family, difference, critical * error, strict=True):
        assert (c.simultaneous_low, c.simultaneous_high) == pytest.approx(
            (max(d - half, -1), min(d + half, 1)), rel=1e-6
        )


def test_a_pair_beats_another_by_less_than_the_margin_and_says_so() -> None:
    statistics = drawn(0, 2, 14, 0.0, 400)
    # One class hit two clips in a hundred more often, by every speaker alike.
    statistics[1] = statistics[0]
    lost = np.minimum(np.round(statistics[0, :, 0].sum(-1) * 0.03), statistics[0, :, 0, 0])
    statistics[1, :, 0, 0] -= lost
    statistics[1, :, 0, 3] += lost
    ahead, behind = (
        infer_family("ua", s, margin=0.05).comparisons[0] for s in (statistics, statistics[::-1])
    )
    assert ahead.verdict == "better, by less than the margin"
    assert behind.verdict == "worse, by less than the margin"
    assert 0 < ahead.simultaneous_low < ahead.equivalence_high < 0.05
    assert compare_family("ua", statistics, margin=0.001)[0].verdict == "better"


@pytest.mark.parametrize("clusters", [5, 6, 7, 8, 12])
def test_the_critical_value_is_reached_by_no_more_patterns_than_the_level_allows(clusters: int) -> None:
    for metric in ("ua", "ccc"):
        statistics = example(metric, clusters, 3, clusters)
        chosen = METRICS[metric]
        tests = swap_tests(
            chosen, chosen.components(statistics), [(0, 1), (0, 2), (1, 2)], n_resamples=100, seed=0
        )
        critical = tests.critical(0.95)
        if clusters == 5:
            assert math.isinf(critical)
            assert "no p is below 0.062" in compare_family(metric, statistics)[0].decided_by
            continue
        assert np.mean(tests.largest >= critical) <= 0.05
        # One pattern more would be too many.
        assert np.mean(tests.largest >= critical * (1 - 3e-9)) > 0.05


def test_one_pair_is_equivalent_by_two_one_sided_tests_and_a_family_by_its_simultaneous_interval() -> None:
    statistics = drawn(5, 4, 20, 0.1, 60)
    (pair,) = infer_family("ua", statistics, [(0, 1)], n_resamples=2000, margin=0.1)
    assert pair.simultaneous_low < pair.equivalence_low < pair.equivalence_high < pair.simultaneous_high
    family = infer_family("ua", statistics, n_resamples=2000, margin=0.1)
    together = family.comparisons[0]
    assert together.simultaneous_low < pair.simultaneous_low
    assert (together.equivalence_low, together.equivalence_high) == (
        together.simultaneous_low,
        together.simultaneous_high,
    )


def test_ranks_follow_from_the_same_intervals_where_only_some_pairs_were_asked_for() -> None:
    statistics = confusions(15, systems=4, clusters=12, skill=(3, 0, 0, 0))
    family = infer_family("ua", statistics, [(0, 1), (2, 0)])
    assert [c.verdict for c in family] == ["better", "worse"]
    assert (family.rank(0).best, family.rank(0).worst, family.rank(0).of) == (1, 1, 3)
    assert (family.rank(1).best, family.rank(1).worst, family.rank(1).of) == (2, 2, 2)


@pytest.mark.parametrize("metric", ["ua", "wa"])
@pytest.mark.parametrize("clusters", [3, 11, 150])
def test_the_shared_products_give_what_each_pair_gives_alone(metric: str, clusters: int) -> None:
    """Unequal clusters, classes that some lack, seeds averaged to fractions; threads change no bit."""
    chosen = METRICS[metric]
    statistics = drawn(clusters, 5, clusters, 1.0, 3)
    statistics[:, 0, 1] = 0
    statistics = (2 * statistics + statistics[::-1]) / 3
    components = chosen.components(statistics)
    pairs = [(0, 1), (4, 2), (1, 3), (3, 0)]
    least = least_variance(chosen, components[0])
    signs = next(sign_patterns(clusters, 300, 3))
    alone = SwappedPairs(chosen, components, pairs, least_variance=least).studentised(signs)
    shared = SharedSwaps(chosen, components, pairs, least_variance=least)
    assert shared.studentised(signs, threads=1) == pytest.approx(alone, rel=1e-9, abs=1e-12)
    assert np.array_equal(shared.studentised(signs, threads=1), shared.studentised(signs, threads=3))


@pytest.mark.parametrize("metric", [name for name, m in METRICS.items() if m.smooth])
@pytest.mark.parametrize("clusters", [11, 60, 300])
def test_screened_swaps_tally_what_each_pair_gives_alone(metric: str, clusters: int) -> None:
    """Bars that hardly any, some and nearly all patterns reach; a pair of equal systems; threads change no bit."""
    chosen = METRICS[metric]
    statistics = example(metric, 8, 4, clusters)
    components = chosen.components(np.concatenate([statistics, statistics[:1]]))
    pairs = [(0, 1), (3, 2), (1, 3), (0, 4), (4, 1)]
    least = least_variance(chosen, components[0])
    signs = next(sign_patterns(clusters, 200, 3))
    alone = SwappedPairs(chosen, components, pairs, least_variance=least)
    screened = ScreenedSwaps(chosen, components, pairs, least_variance=least)
    each = np.abs(alone.studentised(signs))
    for share in (0.05, 0.5, 0.99):
        # A bar that is one of the values, but for what counts as a tie.
        bars = np.quantile(each, share, axis=1, method="nearest") * TIE
        found = screened.tally(signs, bars, threads=1)
        assert found.at_least.tolist() == alone.tally(signs, bars).at_least.tolist()
        assert found.largest == pytest.approx(each.max(axis=0), rel=1e-9, abs=1e-11)
        other = screened.tally(signs, bars, threads=3)
        assert np.array_equal(found.largest, other.largest)
        assert np.array_equal(found.at_least, other.at_least)


@pytest.mark.parametrize("metric", ["macro_f1", "ccc"])
def test_with_many_clusters_bounds_leave_little_to_sum_in_full(metric: str) -> None:
    chosen = METRICS[metric]
    components = chosen.components(example(metric, 9, 6, 600))
    pairs = list(combinations(range(6), 2))
    signs = next(sign_patterns(600, 256, 3))
    screened = ScreenedSwaps(chosen, components, pairs)
    asked = []
    exactly = SwappedPairs.exactly

    def counted(self: SwappedPairs, index: int, rows: Array, swapped: Array) -> Array:
        asked.append(len(rows))
        return exactly(self, index, rows, swapped)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SwappedPairs, "exactly", counted)
        screened.tally(signs, np.full(len(pairs), 2.0), threads=1)
    # One pair per pattern is the largest; few others are near it, or near the bar.
    assert len(signs) <= sum(asked) <= 1.3 * len(signs)


def test_a_family_of_identical_and_of_hopeless_systems_stays_finite() -> None:
    one = confusions(12)[0]
    for metric in ("ua", "wa", "macro_f1"):
        for clusters in (3, 9):
            family = infer_family(metric, np.stack([one[:clusters]] * 3), margin=0.02)
            agrees_with_itself(family)
            assert all(np.isfinite([c.simultaneous_low, c.simultaneous_high]).all() for c in family)
    same = moments(71, systems=1)
    (pair,) = infer_family("ccc", np.concatenate([same, same]), margin=0.1)
    assert (pair.simultaneous_low, pair.simultaneous_high, pair.verdict) == (0.0, 0.0, "equivalent")
