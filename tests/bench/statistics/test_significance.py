"""Intervals and tests: equal to plain loops over the same resamples, right by hand, and sane under a true null."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import statsmodels.stats.multitest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.errors import CannotSeparate, UsageError
from bench.metrics import macro_f1, unweighted_accuracy, value, weighted_accuracy
from bench.significance import Comparison, Method, bootstrap_ci, compare_family, holm, interval, paired_test
from bench.statistics.additive import METRICS, InputError, Metric
from bench.statistics.resampling import bootstrap, bootstrap_weights, effective_clusters, jackknife
from bench.statistics.sign_flips import SwappedPairs, least_variance, sign_patterns
from tests.bench.statistics.example_statistics import confusions, example, moments

Array = NDArray[np.float64]
TESTED = [name for name, metric in METRICS.items() if metric.smooth]
NAMES = ["neutral", "happy", "sad", "angry"]


def _clips(tables: Array) -> tuple[list[str], list[list[str | None]], list[str]]:
    """Write confusion counts (systems, clusters, K, K + 1) out as clips: truth, answers per system, speakers."""
    truth, said, speakers = [], [[] for _ in tables], []
    for speaker, label in product(range(tables.shape[1]), range(tables.shape[2])):
        for system, table in enumerate(tables):
            for column, count in enumerate(table[speaker, label].astype(int)):
                said[system] += [NAMES[column] if column < len(NAMES) else None] * count
        clips = int(tables[0, speaker, label].sum())
        truth += [NAMES[label]] * clips
        speakers += [f"speaker {speaker}"] * clips
    return truth, said, speakers


# Intervals


@pytest.mark.parametrize("metric", METRICS)
def test_the_vectorised_bootstrap_is_the_plain_loop_on_the_same_resamples(metric: str) -> None:
    statistics = example(metric, 1, 1)[0]
    chosen = METRICS[metric]
    found = bootstrap(chosen, chosen.components(statistics), n_resamples=200, seed=5)

    drawn = bootstrap_weights(9, 2**17 // 9, np.random.default_rng(5))[:200]
    for replicate, counts in enumerate(drawn):
        rows = np.repeat(np.arange(9), counts.astype(int))
        assert found.values[replicate] == pytest.approx(
            float(value(metric, statistics[rows].sum(axis=0))), abs=1e-12
        )
    assert drawn.sum(axis=1) == pytest.approx(9)


def test_the_plain_loop_over_clips_agrees_too() -> None:
    table = confusions(2)
    truth, (said,), speakers = _clips(table)
    chosen = METRICS["macro_f1"]
    found = bootstrap(chosen, chosen.components(table[0]), n_resamples=20, seed=0).values
    by_speaker = {name: [i for i, s in enumerate(speakers) if s == name] for name in dict.fromkeys(speakers)}
    weights = bootstrap_weights(9, 2**17 // 9, np.random.default_rng(0))[:20]
    for replicate, counts in enumerate(weights):
        rows = [i for own, n in zip(by_speaker.values(), counts, strict=True) for i in own * int(n)]
        assert found[replicate] == pytest.approx(
            macro_f1([truth[i] for i in rows], [said[i] for i in rows]), abs=1e-12
        )


def test_the_interval_is_the_jackknife_worked_out_over_clips() -> None:
    table = confusions(3)
    truth, (said,), speakers = _clips(table)
    found = bootstrap_ci("ua", truth, said, groups=speakers)

    without = []
    for left_out in dict.fromkeys(speakers):
        rows = [i for i, s in enumerate(speakers) if s != left_out]
        without.append(unweighted_accuracy([truth[i] for i in rows], [said[i] for i in rows]))
    error = np.sqrt(8 / 9 * ((np.array(without) - np.mean(without)) ** 2).sum())
    estimate = unweighted_accuracy(truth, said)
    assert found.estimate == pytest.approx(estimate, abs=1e-12)
    assert found.standard_error == pytest.approx(error, abs=1e-12)
    logit, slope = np.log(estimate / (1 - estimate)), 1 / (estimate * (1 - estimate))
    shares = (table[0].sum(-1) / table[0].sum((0, 2))).mean(-1)
    from scipy.stats import t

    half = t.ppf(0.975, 1 / (shares**2).sum() - 1) * slope * error
    ends = 1 / (1 + np.exp(-(logit + np.array([-half, half]))))
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=1e-12)
    assert found.clusters == 9
    assert found.method == "jackknife-t over clusters"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", ["jackknife-t", "bootstrap-t", "percentile"])
def test_every_interval_holds_its_estimate_and_repeats_itself(metric: str, method: str) -> None:
    statistics = example(metric, 4, 1, clusters=12)[0]
    first = interval(metric, statistics, n_resamples=500, seed=3, method=method)  # type: ignore[arg-type]
    again = interval(metric, statistics, n_resamples=500, seed=3, method=method)  # type: ignore[arg-type]

    assert first == again
    assert METRICS[metric].minimum <= first.low < first.estimate < first.high <= METRICS[metric].maximum
    assert first.estimate == pytest.approx(float(value(metric, statistics.sum(axis=0))), abs=1e-12)


def test_an_interval_stays_inside_the_range_of_the_metric() -> None:
    nearly_perfect = np.array([[[9, 0, 0], [0, 9, 0]]] * 3 + [[[2, 7, 0], [0, 9, 0]]], dtype=float)
    found = interval("ua", nearly_perfect)
    assert 0 <= found.low < found.estimate < found.high <= 1


def test_clips_of_one_speaker_are_not_independent_evidence() -> None:
    truth, (said,), speakers = _clips(confusions(5, clusters=20))
    by_speaker = bootstrap_ci("ua", truth, said, groups=speakers)
    by_clip = bootstrap_ci("ua", truth, said)

    assert by_clip.high - by_clip.low < by_speaker.high - by_speaker.low
    assert by_clip.method == "jackknife-t over clips"
    assert "independent" in by_clip.notes[0]
    assert by_speaker.notes == ()


def test_seeds_are_averaged_within_each_speaker() -> None:
    seeds = confusions(6, systems=3)
    assert interval("ua", seeds) == interval("ua", seeds.mean(axis=0))
    two = np.stack([seeds, seeds[::-1] * 0 + confusions(6, systems=3)[[1, 1, 2]]])
    assert compare_family("ua", two) == compare_family("ua", two.mean(axis=1))


def test_a_speaker_without_clips_and_a_class_without_clips_change_nothing() -> None:
    table = confusions(7, classes=3)[0]
    wider = np.zeros((11, 5, 6))
    wider[:9, :3, :3], wider[:9, :3, 5] = table[..., :3], table[..., 3]
    for metric in ("ua", "wa", "macro_f1"):
        narrow, wide = interval(metric, table), interval(metric, wider)
        assert (wide.low, wide.high, wide.clusters) == pytest.approx((narrow.low, narrow.high, 9), abs=1e-12)


def test_a_class_held_by_few_speakers_is_redrawn_then_refused() -> None:
    table = confusions(8, clusters=10)[0]
    table[4:, 3] = 0
    chosen = METRICS["ua"]
    four_of_ten = bootstrap(chosen, chosen.components(table), n_resamples=3000, seed=0)
    assert np.isfinite(four_of_ten.values).all()
    assert four_of_ten.redrawn == pytest.approx(0.6**10, abs=0.004)

    table[2:, 3] = 0
    with pytest.raises(CannotSeparate, match="lack a class"):
        interval("macro_f1", table, method="percentile")
    assert interval("macro_f1", table).notes == ()
    table[1:, 3] = 0
    assert "a class has true clips in one" in interval("macro_f1", table).notes[0]


def test_effective_clusters_count_equal_speakers_in_full() -> None:
    assert effective_clusters(np.full((10, 4), 7.0)) == pytest.approx(10)
    forty = np.ones((40, 1))
    forty[0] = 26
    assert effective_clusters(forty) == pytest.approx(1 / (0.4**2 + 39 * (0.6 / 39) ** 2))


def test_one_answer_throughout_is_constant_by_construction_and_has_no_interval() -> None:
    majority = np.zeros((8, 2, 3))
    majority[:, :, 0] = 5
    for metric in ("ua", "wa", "macro_f1"):
        with pytest.raises(CannotSeparate, match="constant by construction"):
            interval(metric, majority)
    # The share of the class said differs between speakers: WA varies, UA does not.
    majority[0, 1, 0] = 9
    with pytest.raises(CannotSeparate, match=r"unweighted accuracy of 0\.5 is constant"):
        interval("ua", majority)
    varying = interval("wa", majority)
    assert varying.low < varying.estimate < varying.high


def test_a_system_that_always_says_the_middle_has_no_concordance_and_can_still_be_compared() -> None:
    statistics = moments(71, systems=2)
    statistics[1][:, [2, 4, 5]] = 0
    with pytest.raises(CannotSeparate, match="of 0 is constant by construction"):
        interval("ccc", statistics[1])
    assert compare_family("ccc", statistics)[0].verdict == "better"
    with pytest.raises(CannotSeparate, match="system 1 is undefined"):
        compare_family("pearson", statistics)


def test_few_speakers_are_flagged_and_one_is_refused() -> None:
    table = confusions(9, clusters=2)[0]
    assert "2 clusters only" in interval("ua", table).notes[0]
    with pytest.raises(CannotSeparate, match="from two on"):
        interval("ua", table[:1])
    with pytest.raises(CannotSeparate, match="from two on"):
        bootstrap_ci("wa", ["sad", "happy"], ["sad", "sad"], groups=["03", "03"])
    with pytest.raises(CannotSeparate, match="undefined"):
        interval("pearson", np.array([[3, 0.6, 0, 1, 0, 0], [3, 0.6, 0, 1, 0, 0]], dtype=float))


# Swaps


def _plain_swap_test(metric: Metric, a: Array, b: Array) -> tuple[float, Array, Array]:
    """All patterns, one at a time, each with its exact delete-one jackknife: p, t, and jackknife errors."""
    clusters = len(a)
    t, errors = [], []
    for pattern in product([1, -1], repeat=clusters):
        keep = np.array(pattern)[:, np.newaxis] == 1
        first, second = np.where(keep, a, b), np.where(keep, b, a)
        found = jackknife(metric, first, second)
        errors.append(found.standard_error)
        t.append(found.estimate / found.standard_error if found.standard_error else 0.0)
    size = np.abs(np.array(t))
    return float((size >= size[0] * (1 - 1e-9)).mean()), np.array(t), np.array(errors)


@pytest.mark.parametrize("metric", TESTED)
@pytest.mark.parametrize("seed", range(3))
def test_the_linear_jackknife_stands_for_the_exact_one(metric: str, seed: int) -> None:
    chosen = METRICS[metric]
    a, b = chosen.components(example(metric, 20 + seed, 2))
    p, t, errors = _plain_swap_test(chosen, a, b)

    fast = np.concatenate(
        [SwappedPairs(chosen, np.stack([a, b]), [(0, 1)]).studentised(s)[0] for s in sign_patterns(9, 0, 0)]
    )
    # product() counts from + to − with the last speaker fastest, sign_patterns with the second speaker fastest.
    codes = np.arange(2**8)
    reversed_bits = sum((codes >> bit & 1) << (7 - bit) for bit in range(8))
    assert np.corrcoef(fast, t[reversed_bits])[0, 1] > 0.99
    # The linear error is a little short, by nearly one factor in all patterns, which no p-value notices.
    assert fast[0] == pytest.approx(t[0], rel=0.25)
    found = compare_family(metric, example(metric, 20 + seed, 2))[0]
    assert found.p_value == pytest.approx(p, abs=0.03)
    assert found.standard_error == pytest.approx(errors[0], abs=1e-12)


@pytest.mark.parametrize("metric", TESTED)
def test_the_swap_statistic_is_the_influence_formula_clip_by_clip(metric: str) -> None:
    chosen = METRICS[metric]
    a, b = chosen.components(example(metric, 30, 2))
    signs = np.where(np.random.default_rng(0).random((20, 9)) < 0.5, 1.0, -1.0)
    fast = SwappedPairs(chosen, np.stack([a, b]), [(0, 1)]).studentised(signs)[0]
    for row, pattern in enumerate(signs):
        first, second = (np.where((s * pattern)[:, None] > 0, a, b) for s in (1, -1))
        influence = first @ chosen.gradient(first.sum(0)) - second @ chosen.gradient(second.sum(0))
        error = np.sqrt(9 / 8 * (influence**2).sum())
        difference = chosen.strict(first.sum(0)) - chosen.strict(second.sum(0))
        assert fast[row] == pytest.approx(float(difference / error), rel=1e-9)


def test_sign_patterns_are_all_there_once_and_the_first_swaps_nothing() -> None:
    every = np.concatenate(list(sign_patterns(5, 0, 0)))
    assert np.array_equal(every[0], np.ones(5))
    assert len({tuple(row) for row in np.concatenate([every, -every])}) == 2**5
    assert sum(len(block) for block in sign_patterns(17, 10, 0)) == 2**16
    drawn = np.concatenate(list(sign_patterns(40, 20_000, 1)))
    assert drawn.shape == (20_000, 40)
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    assert np.abs(drawn.mean(axis=0)).max() < 0.04


def test_three_speakers_by_hand() -> None:
    # A is right on 3, 2 and 4 of 4 clips, B on 1, 1 and 1. Every speaker prefers A: of the 8 patterns only the one that
    # swaps nobody and the one that swaps everybody are as extreme, so p = 2/8.
    truth = ["sad"] * 12
    speakers = ["1"] * 4 + ["2"] * 4 + ["3"] * 4

    def right(*counts: int) -> list[str]:
        return [word for n in counts for word in ["sad"] * n + ["happy"] * (4 - n)]

    found = paired_test("wa", truth, right(3, 2, 4), right(1, 1, 1), groups=speakers)
    assert found.difference == pytest.approx(6 / 12)
    assert found.p_value == found.smallest_p == 0.25
    assert "all 2^3 patterns" in found.method
    assert "3 clusters only" in found.notes[0]
    # One speaker prefers B by 1 of 4, the others A by 2 and 1: |Σ| = 2, 6 of 8 patterns reach it (equal speakers, so
    # studentising keeps the order).
    mixed = paired_test("wa", truth, right(3, 2, 1), right(1, 1, 2), groups=speakers)
    assert mixed.p_value == 0.75


@pytest.mark.parametrize("metric", TESTED)
def test_swapping_the_names_of_the_systems_turns_the_difference_round(metric: str) -> None:
    statistics = example(metric, 11, 2, clusters=30)
    ab, ba = (
        compare_family(metric, s, n_resamples=2000, margin=0.02)[0] for s in (statistics, statistics[::-1])
    )
    assert ab.difference == pytest.approx(-ba.difference, abs=1e-12)
    assert (ab.low, ab.high) == pytest.approx((-ba.high, -ba.low), abs=1e-12)
    assert ab.p_value == ba.p_value
    assert ab.p_adjusted == ab.p_value == ab.p_holm


def test_identical_systems_differ_by_nothing_with_p_1() -> None:
    one = confusions(12)[0]
    for metric in ("ua", "macro_f1"):
        found = compare_family(metric, np.stack([one, one]), margin=0.02)[0]
        assert (found.difference, found.p_value, found.p_adjusted) == (0, 1, 1)
        assert found.verdict == "equivalent"
        # That no clip tells them apart does not prove that none could.
        for low, high in ((found.low, found.high), (found.simultaneous_low, found.simultaneous_high)):
            assert low == -high < 0


def test_a_difference_without_any_variation_is_as_significant_as_can_be() -> None:
    a = np.zeros((6, 2, 3))
    a[:, [0, 1], [0, 1]] = 10
    b = a.copy()
    b[:, 0, 0], b[:, 0, 1] = 8, 2
    found = compare_family("ua", np.stack([a, b]))[0]
    assert found.difference == pytest.approx(0.1)
    assert found.p_value == found.smallest_p == 2 / 2**6
    assert found.verdict == "better"


def test_smallest_p_is_two_patterns_of_all_or_one_draw() -> None:
    assert compare_family("ua", confusions(1, systems=2, clusters=10))[0].smallest_p == 2 / 1024
    many = compare_family("ua", confusions(1, systems=2, clusters=25), n_resamples=999)[0]
    assert many.smallest_p == 1 / 1000
    assert "999 random patterns, seed 0" in many.method
    # No random pattern comes near so plain a difference, and still p is not 0: the unswapped pattern counts.
    plain = compare_family("ua", confusions(1, systems=2, clusters=25, skill=(3, -1)), n_resamples=999)[0]
    assert plain.p_value == plain.p_adjusted == 1 / 1000


def test_verdicts_follow_the_adjusted_p_and_the_margin() -> None:
    tables = confusions(13, systems=3, clusters=14, skill=(1.6, 1.6, -0.6))
    close, better, _ = compare_family("ua", tables)
    assert (better.a, better.b, better.verdict) == (0, 2, "better")
    assert better.low > 0
    assert compare_family("ua", tables, pairs=[(2, 0)])[0].verdict == "worse"
    assert close.verdict == "this corpus cannot separate them"
    assert close.equivalent is None
    generous = compare_family("ua", tables, margin=0.3)[0]
    assert generous.verdict == "equivalent"
    assert -0.3 <= generous.low_90 <= generous.high_90 <= 0.3
    assert generous.low < generous.low_90 < generous.high_90 < generous.high


# Families


def test_max_t_is_the_plain_share_of_shared_patterns() -> None:
    metric = METRICS["macro_f1"]
    tables = confusions(14, systems=4, clusters=8, skill=(0.3, 0.5, 0.9, 1.2))
    found = compare_family("macro_f1", tables)
    components = metric.components(tables)
    least = least_variance(metric, components[0])
    t = np.abs(
        [
            np.concatenate(
                [
                    SwappedPairs(metric, components, [(c.a, c.b)], least_variance=least).studentised(s)[0]
                    for s in sign_patterns(8, 0, 0)
                ]
            )
            for c in found
        ]
    )
    expected = [float((t.max(axis=0) >= t[i, 0] * (1 - 1e-9)).mean()) for i in range(len(found))]
    assert [c.p_adjusted for c in found] == pytest.approx(expected)
    assert all(c.family == 6 for c in found)


@pytest.mark.parametrize("seed", range(4))
def test_adjusted_p_is_above_raw_and_its_least_below_holm(seed: int) -> None:
    tables = confusions(40 + seed, systems=5, clusters=12, skill=(0.2, 0.3, 0.4, 0.9, 1.2))
    found = compare_family("ua", tables)
    for c in found:
        assert c.p_value <= c.p_adjusted <= 1
        assert c.p_value <= c.p_holm
    # With 10 pairs Holm pays for each, max-T only for what is not shared.
    assert min(c.p_adjusted for c in found) < min(c.p_holm for c in found)


def test_with_ten_speakers_and_28_pairs_holm_cannot_reject_and_max_t_can() -> None:
    tables = confusions(15, systems=8, clusters=10, skill=(3, 0, 0, 0, 0, 0, 0, 0))
    found = compare_family("ua", tables)
    assert len(found) == 28
    assert min(c.p_holm for c in found) >= 28 * 2 / 1024 > 0.05
    assert all(c.verdict == "better" for c in found if c.a == 0)


def test_a_pair_does_not_depend_on_its_family_but_for_the_adjustment() -> None:
    tables = confusions(16, systems=4, clusters=30)
    alone = compare_family("ua", tables, pairs=[(1, 3)], n_resamples=3000, seed=7)[0]
    together = next(c for c in compare_family("ua", tables, n_resamples=3000, seed=7) if (c.a, c.b) == (1, 3))
    assert (alone.p_value, alone.low, alone.high) == (together.p_value, together.low, together.high)
    assert alone == compare_family("ua", tables, pairs=[(1, 3)], n_resamples=3000, seed=7)[0]


def test_the_detectable_difference_is_found_four_times_in_five() -> None:
    # 12 speakers with 40 clips each; A answers rightly more often by what the first comparison calls detectable.
    rng = np.random.default_rng(3)

    def compared(gain: float, seed: int) -> Comparison:
        own = np.random.default_rng(seed)
        right = np.clip(0.5 + 0.06 * own.normal(size=(2, 12)), 0, 1)
        right[0] += gain
        hits = own.binomial(40, right)
        counts = np.zeros((2, 12, 2, 3))
        counts[:, :, 0, 0], counts[:, :, 0, 1], counts[:, :, 1, 1] = hits, 40 - hits, 1
        return compare_family("wa", counts)[0]

    sizes = [d for s in range(60) if (d := compared(0.0, int(rng.integers(10**9))).detectable_difference)]
    assert len(sizes) == 60
    # Of 42 clips per speaker 40 have the gain.
    typical = float(np.median(sizes)) * 42 / 40
    found = np.mean([compared(typical, 10_000 + s).verdict == "better" for s in range(300)])
    assert 0.70 <= found <= 0.90


def test_a_larger_family_can_detect_less_and_five_speakers_nothing() -> None:
    tables = confusions(50, systems=6, clusters=14)
    alone = compare_family("ua", tables, pairs=[(0, 1)])[0].detectable_difference
    together = compare_family("ua", tables)[0].detectable_difference
    assert alone is not None
    assert together is not None
    assert 0 < alone < together
    few = compare_family("ua", confusions(50, systems=2, clusters=5, skill=(5, -5)))[0]
    assert few.smallest_p == 2 / 2**5 > 0.05
    assert few.detectable_difference is None
    assert few.verdict == "this corpus cannot separate them"


@pytest.mark.parametrize("metric", TESTED)
@pytest.mark.parametrize("clusters", [30, 240])
def test_both_ways_to_add_up_influences_agree_and_threads_change_no_bit(metric: str, clusters: int) -> None:
    chosen = METRICS[metric]
    components = chosen.components(example(metric, 60, 3, clusters=clusters))
    pairs = [(0, 1), (0, 2), (2, 1)]
    signs = next(sign_patterns(clusters, 300, 4))
    swapped = SwappedPairs(chosen, components, pairs)
    alone, shared = (swapped.studentised(signs, threads=n) for n in (1, 3))
    assert np.array_equal(alone, shared)
    for row, (a, b) in enumerate(pairs):
        for column in range(0, 300, 50):
            pattern = signs[column]
            first, second = (
                np.where((s * pattern)[:, None] > 0, components[a], components[b]) for s in (1, -1)
            )
            influence = first @ chosen.gradient(first.sum(0)) - second @ chosen.gradient(second.sum(0))
            error = np.sqrt(clusters / (clusters - 1) * (influence**2).sum())
            difference = chosen.strict(first.sum(0)) - chosen.strict(second.sum(0))
            assert alone[row, column] == pytest.approx(float(difference / error), rel=1e-8)


@pytest.mark.parametrize("metric", TESTED)
def test_the_threads_of_blas_change_no_bit_of_an_interval_or_a_test(metric: str) -> None:
    """A product on two threads adds up in other blocks: intervals and tests keep theirs on one."""
    statistics = example(metric, 61, 2, clusters=240)

    def found(threads: int) -> tuple[object, ...]:
        with threadpool_limits(limits=threads, user_api="blas"):
            methods: tuple[Method, ...] = ("jackknife-t", "bootstrap-t", "percentile")
            intervals = [interval(metric, statistics[0], n_resamples=500, method=m) for m in methods]
            return *intervals, compare_family(metric, statistics, n_resamples=500)

    assert found(1) == found(2) == found(3)


def test_many_clusters_without_any_variation_are_seen_as_such() -> None:
    a = np.zeros((40, 2, 3))
    a[:, [0, 1], [0, 1]] = 10
    b = a.copy()
    b[:, 0, 0], b[:, 0, 1] = 7, 3
    for metric in ("ua", "wa", "macro_f1"):
        found = compare_family(metric, np.stack([a, b, b]), n_resamples=2000)
        assert found[0].p_value == found[0].p_adjusted == found[0].smallest_p
        assert (found[2].difference, found[2].p_value) == (0.0, 1.0)
    # Speakers of many sizes, a third of whose clips A alone gets right: the influences cancel but for rounding.
    thirds = np.arange(1, 41)
    a, b = np.zeros((2, 40, 2, 3))
    a[:, 0, 0], a[:, 0, 1] = 2 * thirds, thirds
    b[:, 0, 0], b[:, 0, 1] = thirds, 2 * thirds
    a[:, 1, 1] = b[:, 1, 1] = 7 * thirds
    for metric in ("ua", "wa"):
        components = METRICS[metric].components(np.stack([a, b]))
        unswapped = SwappedPairs(METRICS[metric], components, [(0, 1)]).studentised(np.ones((1, 40)))
        assert unswapped[0, 0] == np.inf


def test_the_size_of_blocks_changes_no_pattern() -> None:
    for clusters in (18, 91):
        one = np.concatenate(list(sign_patterns(clusters, 70_000, 3)))
        many = np.concatenate(list(sign_patterns(clusters, 70_000, 3, pairs=40_000)))
        assert np.array_equal(one, many)
    assert len(next(sign_patterns(91, 70_000, 3, pairs=40_000))) < 200


def test_systems_bootstrapped_together_share_their_resamples() -> None:
    metric = METRICS["macro_f1"]
    components = metric.components(confusions(70, systems=3, clusters=20))
    together = bootstrap(metric, components, n_resamples=500, seed=2)
    plain = bootstrap(metric, components, n_resamples=500, seed=2, errors=False)
    for system, own in enumerate(components):
        alone = bootstrap(metric, own, n_resamples=500, seed=2)
        assert together.values[system] == pytest.approx(alone.values, abs=1e-14)
        assert together.standard_errors[system] == pytest.approx(alone.standard_errors, abs=1e-14)
    assert np.array_equal(plain.values, together.values)
    assert plain.standard_errors.shape == (3, 0)


def test_holm_equals_statsmodels() -> None:
    p = np.random.default_rng(0).random(25) ** 3
    theirs = statsmodels.stats.multitest.multipletests(p, method="holm")[1]
    assert holm(list(p)) == pytest.approx(list(theirs), abs=1e-15)
    assert holm([]) == []
    with pytest.raises(InputError, match=r"0\.\.1"):
        holm([0.5, float("nan")])


def _null_rejections(metric: str, clusters: int, simulations: int) -> float:
    rejected = 0
    for seed in range(simulations):
        rejected += compare_family(metric, example(metric, 1000 + seed, 2, clusters))[0].p_value <= 0.05
    return rejected / simulations


@pytest.mark.parametrize("metric", ["ua", "ccc"])
def test_a_true_null_is_rejected_about_one_time_in_twenty(metric: str) -> None:
    # 500 simulations: a rate of 0.05 strays from 0.02..0.085 about once in a thousand runs; the seeds are fixed.
    assert 0.02 <= _null_rejections(metric, clusters=8, simulations=500) <= 0.085


def test_paired_test_reads_clips_as_compare_family_readsexample() -> None:
    tables = confusions(17, systems=2)
    truth, (a, b), speakers = _clips(tables)
    from_clips = paired_test("macro_f1", truth, a, b, groups=speakers)
    assert from_clips.difference == pytest.approx(macro_f1(truth, a) - macro_f1(truth, b), abs=1e-12)
    from_tables = compare_family("macro_f1", tables)[0]
    for name in ("difference", "low", "high", "p_value", "standard_error"):
        assert getattr(from_clips, name) == pytest.approx(getattr(from_tables, name), abs=1e-12)

    turned = paired_test("macro_f1", truth[::-1], a[::-1], b[::-1], groups=speakers[::-1])
    assert turned.p_value == from_clips.p_value
    by_clip = paired_test("wa", truth, a, b, n_resamples=500)
    assert by_clip.difference == pytest.approx(weighted_accuracy(truth, a) - weighted_accuracy(truth, b))
    assert "whole clips" in by_clip.method
    assert isinstance(by_clip, Comparison)


def test_bad_input_is_named() -> None:
    truth, said = ["sad", "happy"] * 4, ["sad", "sad"] * 4
    with pytest.raises(InputError, match="truth has 8, groups has 3"):
        bootstrap_ci("ua", truth, said, groups=["1", "2", "3"])
    with pytest.raises(InputError, match=r"groups\[2\] is None"):
        bootstrap_ci("ua", truth, said, groups=["1", "2", None, "1", "1", "2", "2", "2"])
    with pytest.raises(InputError, match="prediction has 7"):
        paired_test("ua", truth, said, said[:7], groups=["1", "2"] * 4)
    with pytest.raises(InputError, match="empty"):
        bootstrap_ci("ua", [], [])
    with pytest.raises(UsageError, match="Known: brier, ccc"):
        bootstrap_ci("uar2", truth, said)
    with pytest.raises(UsageError, match="between 0 and 1"):
        bootstrap_ci("ua", truth, said, level=95)
    with pytest.raises(UsageError, match="bca"):
        bootstrap_ci("ua", truth, said, method="bca")  # type: ignore[arg-type]
    tables = confusions(18, systems=2)
    with pytest.raises(InputError, match=r"axes"):
        compare_family("ua", tables[0, 0])
    with pytest.raises(InputError, match=r"pair \(0, 2\)"):
        compare_family("ua", tables, pairs=[(0, 2)])
    with pytest.raises(InputError, match="at least two systems"):
        compare_family("ua", tables[:1])
    with pytest.raises(UsageError, match="compare the Brier score"):
        compare_family("ece", example("ece", 1, 2))
    tables[1, 4, 2, 0] += 1
    with pytest.raises(InputError, match=r"not scored on the same clips.*cluster 4"):
        compare_family("ua", tables)
