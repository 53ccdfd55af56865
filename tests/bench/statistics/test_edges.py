"""Intervals near the ends of the range: never a point, never NaN, and as wide as so few errors can prove."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta, binomtest

from bench.errors import CannotSeparate
from bench.metrics import value
from bench.significance import bootstrap_ci, paired_test
from bench.statistics.additive import METRICS
from bench.statistics.edges import edge_of
from bench.statistics.intervals import interval

Array = NDArray[np.float64]


def table(hits: Array, clips: Array) -> Array:
    """Confusions (clusters, K, K + 1) with these hits (clusters, K), the rest answered with no class of the view."""
    classes = hits.shape[1]
    counts = np.zeros((len(hits), classes, classes + 1))
    counts[:, range(classes), range(classes)] = hits
    counts[:, :, -1] = clips - hits
    return counts


@pytest.mark.parametrize("method", ["jackknife-t", "bootstrap-t", "percentile"])
@pytest.mark.parametrize("metric", ["ua", "wa", "macro_f1"])
def test_a_perfect_score_and_its_opposite_have_an_interval(metric: str, method: str) -> None:
    clips = np.full((10, 4), 6.0)
    perfect = interval(metric, table(clips, clips), method=method, n_resamples=100)  # type: ignore[arg-type]
    hopeless = interval(metric, table(0 * clips, clips), method=method, n_resamples=100)  # type: ignore[arg-type]
    assert (perfect.estimate, perfect.high) == (1.0, 1.0)
    # 24 clips of a speaker count as 24 / (1 + 0.1 · 23) ones: no error in so many proves as much at 95 %.
    assert perfect.low == pytest.approx(0.025 ** (3.3 / 240))
    assert (hopeless.low, hopeless.estimate, hopeless.high) == pytest.approx((0, 0, 1 - perfect.low))
    assert "so few clips" in perfect.notes[-1]


def test_wa_is_clopper_and_pearsons_interval_of_fewer_clips() -> None:
    """Errors that spread as independent ones do: the design effect is 1 + 1/(1 + errors), nearly none with 40."""
    for errors in (1, 3, 40):
        clips = np.ones((400, 1))
        hits = clips.copy()
        hits[:errors] = 0
        share = errors / 400
        error = np.sqrt((1 - share) * share / 399)
        found = edge_of(METRICS["wa"], table(hits, clips), 1 - share, error, 0.95)
        effect = max(1 + 1 / (1 + errors), 400 / 399)
        low = beta.ppf(0.025, (400 - errors) / effect, errors / effect + 1)
        high = beta.ppf(0.975, (400 - errors) / effect + 1, errors / effect)
        assert (found.low, found.high) == pytest.approx((low, high))
        exact = binomtest(400 - errors, 400).proportion_ci(0.95, method="exact")
        assert found.low < exact.low < exact.high < found.high


def test_an_error_in_a_rare_class_counts_for_what_it_weighs() -> None:
    clips = np.full((10, 3), 20.0)
    clips[:, 2] = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    found = interval("ua", table(clips, clips))
    even = interval("ua", table(np.full((10, 3), 20.0), np.full((10, 3), 20.0)))
    assert found.low < even.low - 0.05


def test_a_class_of_one_clip_leaves_its_own_recall_open_and_no_other() -> None:
    clips = np.full((10, 3), 10.0)
    hits = np.full((10, 3), 9.0)
    hits[::2, :2] -= 1
    clips[:, 2], hits[:, 2] = 0, 0
    clips[0, 2] = 1
    found = interval("ua", table(hits, clips))
    assert found.estimate == pytest.approx(0.85 * 2 / 3)
    # The one clip was missed: right always, it would bring a third.
    assert found.estimate - 0.09 < found.low
    assert found.estimate + 0.3 < found.high < found.estimate + 1 / 3 + 0.08


@pytest.mark.parametrize(("speakers", "clips_per_class"), [(10, 6.0), (10, 1.5), (40, 1.5)])
@pytest.mark.parametrize("true_ua", [0.97, 0.992, 0.997])
def test_near_the_edge_intervals_hold_the_truth(
    speakers: int, clips_per_class: float, true_ua: float
) -> None:
    rng = np.random.default_rng(7)
    inside = []
    for _ in range(120):
        clips = rng.poisson(clips_per_class, (speakers, 7)).astype(float)
        clips[0] = np.maximum(clips[0], 1)
        # Speakers of unequal ability whose mean is the truth.
        ability = np.clip(1 - (1 - true_ua) * rng.gamma(1.0, 1.0, (speakers, 1)), 0, 1)
        found = interval("ua", table(rng.binomial(clips.astype(int), ability), clips))
        inside.append(found.low <= true_ua <= found.high)
        assert found.low < found.high
    # 93 % less 1.3 Monte-Carlo errors.
    assert np.mean(inside) >= 0.90


def crowded(speakers: int, true_ua: float, correlation: float, seed: int) -> Array:
    """One corpus of 7 classes, some 6 clips each, whose speakers' shares of errors are beta-distributed with an intraclass correlation."""
    rng = np.random.default_rng(seed)
    clips = rng.poisson(6, (speakers, 7))
    size = (1 - correlation) / correlation
    wrong = rng.beta((1 - true_ua) * size, true_ua * size, (speakers, 1))
    return table(clips - rng.binomial(clips, np.broadcast_to(wrong, clips.shape)), clips.astype(float))


@pytest.mark.parametrize(
    ("speakers", "true_ua", "correlation"),
    [(10, 0.97, 0.2), (10, 0.97, 0.1), (40, 0.985, 0.2), (40, 0.992, 0.2)],
)
def test_where_errors_crowd_in_few_speakers_intervals_hold_the_truth(
    speakers: int, true_ua: float, correlation: float
) -> None:
    found = [interval("ua", crowded(speakers, true_ua, correlation, s)) for s in range(250)]
    # Before: 84.3, 91.7, 88.2 and 82.5 %. 91 %, the least of these four with 1,000 corpora, less 1.8 Monte-Carlo errors.
    assert np.mean([f.low <= true_ua <= f.high for f in found]) >= 0.875


def test_errors_that_lie_where_chance_puts_them_widen_nothing() -> None:
    even = np.full((10, 3), 20.0)
    spread, crowd = even.copy(), even.copy()
    spread[:6, 0] -= 1
    crowd[0, :] -= 2
    ends = [interval("ua", table(hits, even)) for hits in (spread, crowd)]
    assert ends[0].estimate == ends[1].estimate
    assert ends[1].low < ends[0].low - 0.02


def test_away_from_the_edge_nothing_is_widened_by_much() -> None:
    rng = np.random.default_rng(3)
    clips = np.full((12, 4), 30.0)
    hits = rng.binomial(30, np.clip(0.6 + 0.1 * rng.normal(size=(12, 1)), 0, 1), (12, 4))
    found = interval("ua", table(hits, clips))
    edge = edge_of(METRICS["ua"], table(hits, clips), found.estimate, found.standard_error, 0.95)
    assert edge.high - edge.low <= found.high - found.low


def test_other_metrics_have_an_interval_where_their_answers_are_perfect() -> None:
    ratings = np.linspace(0.1, 0.9, 40)
    groups = [f"s{i % 8}" for i in range(40)]
    found = bootstrap_ci("ccc", ratings, ratings, groups=groups)
    # At most a share 1 − 0.025^(2/40) of clips is otherwise, and each moves CCC by 2 at most.
    assert (found.low, found.high) == pytest.approx((1 - 2 * (1 - 0.025 ** (1 / 20)), 1.0))
    sure = [[1.0, 0.0] if i % 2 else [0.0, 1.0] for i in range(40)]
    truth = [0 if i % 2 else 1 for i in range(40)]
    for metric, widest in (("brier", 2.0), ("ece", 1.0)):
        own = bootstrap_ci(metric, truth, sure, groups=groups, labels=[0, 1])
        assert (own.low, own.estimate, own.high) == pytest.approx((0, 0, widest * (1 - 0.025 ** (1 / 20))))
    with pytest.raises(CannotSeparate, match="what one would cost has no bound"):
        bootstrap_ci("rmse", ratings, ratings, groups=groups)
    with pytest.raises(CannotSeparate, match="constant by construction"):
        bootstrap_ci("brier", truth, [[0.5, 0.5]] * 40, groups=groups, labels=[0, 1])


def test_a_slice_of_one_class_that_is_answered_perfectly_is_no_constant() -> None:
    assert interval("ua", np.array([[[6.0, 0]]] * 8)).low < 1


def test_a_few_discordant_clips_do_not_make_a_sure_difference() -> None:
    truth = ["a", "b"] * 60
    groups = [i // 12 for i in range(120)]
    one_wrong = ["b", *truth[1:]]
    found = paired_test("ua", truth, truth, one_wrong, groups=groups)
    assert found.simultaneous_low < 0 < found.difference < found.simultaneous_high
    assert found.simultaneous_high > 2.5 * found.difference
    assert value("ua", [[60, 0, 0], [0, 60, 0]]) == 1
