"""Differences over pools, and claims over all tasks: against formulas written out, Holm's method, and simulated families."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from bench.errors import CannotSeparate, InputError
from bench.statistics.paired_tests import holm
from bench.statistics.synthesis import (
    Hypothesis,
    TaskDifference,
    adjusted_over_pools,
    chance_of_a_false_claim,
    synthesise,
)


def differences(values: list[float], errors: list[float]) -> list[TaskDifference]:
    return [
        TaskDifference(f"p{i}", f"t{i}", d, e) for i, (d, e) in enumerate(zip(values, errors, strict=True))
    ]


def test_paule_and_mandel_with_hartung_and_knapps_interval_written_out() -> None:
    d, e = np.array([0.10, 0.20, 0.15, 0.30, 0.05]), np.array([0.02, 0.03, 0.02, 0.04, 0.03])
    found = synthesise(differences(d.tolist(), e.tolist()))
    low, high = 0.0, 1.0
    for _ in range(200):  # Σ w (d − mean)² = k − 1, by bisection
        tau2 = (low + high) / 2
        w = 1 / (e**2 + tau2)
        mean = (w * d).sum() / w.sum()
        low, high = (tau2, high) if (w * (d - mean) ** 2).sum() > len(d) - 1 else (low, tau2)
    half = student.ppf(0.975, 4) * math.sqrt((w * (d - mean) ** 2).sum() / 4 / w.sum())
    assert found.tau == pytest.approx(math.sqrt(tau2), abs=1e-4)
    assert found.difference == pytest.approx(mean, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half), abs=1e-4)
    spread = student.ppf(0.975, 3) * math.sqrt(tau2 + (half / student.ppf(0.975, 4)) ** 2)
    assert found.predicted_high == pytest.approx(mean + spread, abs=1e-3)
    fixed = (d / e**2).sum() / (1 / e**2).sum()
    q = ((d - fixed) ** 2 / e**2).sum()
    assert found.i_squared == pytest.approx(1 - 4 / q)


def test_pools_that_agree_by_chance_give_no_surer_mean_than_their_errors() -> None:
    found = synthesise(differences([0.1, 0.1, 0.1, 0.1], [0.04] * 4))
    assert (found.tau, found.i_squared) == (0.0, 0.0)
    half = student.ppf(0.975, 3) * 0.04 / 2
    assert (found.low, found.high) == pytest.approx((0.1 - half, 0.1 + half))


def test_tasks_of_a_pool_count_once() -> None:
    one = [*differences([0.10, 0.20], [0.02, 0.03]), TaskDifference("q", "a", 0.3, 0.02)]
    two = [*one[:2], TaskDifference("q", "a", 0.35, 0.01), TaskDifference("q", "b", 0.25, 0.03)]
    first, second = synthesise(one), synthesise(two)
    assert (first.difference, first.low) == pytest.approx((second.difference, second.low))
    assert [p.task for p in second.pools] == ["t0", "t1", "a, b"]


def test_the_interval_covers_the_mean_and_the_prediction_a_new_pool() -> None:
    """Six pools that differ by 4 points, 500 times: 95 % within Monte-Carlo error."""
    rng = np.random.default_rng(0)
    held = predicted = 0
    for _ in range(500):
        errors = rng.uniform(0.01, 0.05, 6)
        values = rng.normal(0.02, 0.04, 6) + rng.normal(0, errors)
        found = synthesise(differences(values.tolist(), errors.tolist()))
        held += found.low <= 0.02 <= found.high
        predicted += found.predicted_low <= rng.normal(0.02, 0.04) <= found.predicted_high
    assert 0.92 * 500 <= held <= 0.985 * 500
    assert 0.84 * 500 <= predicted <= 0.97 * 500, "too sure by some: six pools tell little of their spread"


def test_odd_differences_are_refused_or_left_out_by_name() -> None:
    with pytest.raises(CannotSeparate, match=r"2 pool\(s\) .* from 3 on"):
        synthesise(differences([0.1, 0.2], [0.1, 0.1]))
    with pytest.raises(InputError, match="two differences"):
        synthesise([TaskDifference("p", "t", 0.1, 0.1), TaskDifference("q", "t", 0.1, 0.1)])
    with pytest.raises(InputError, match="standard error of nan"):
        synthesise(differences([0.1, 0.2, 0.1], [0.1, math.nan, 0.1]))
    found = synthesise([*differences([0.1, 0.2, 0.1], [0.1] * 3), TaskDifference("z", "same answers", 0, 0)])
    assert (found.left_out, len(found.pools)) == (("same answers",), 3)


def test_with_one_test_per_pool_claims_are_holms() -> None:
    p = [0.001, 0.02, 0.012, 0.3, 0.04]
    found = adjusted_over_pools({f"p{i}": {(f"t{i}", "a−b"): x} for i, x in enumerate(p)})
    assert list(found.values()) == pytest.approx(holm(p))
    assert list(found.values()) == pytest.approx(multipletests(p, method="holm")[1])


def brute(pools: dict[str, dict[Hypothesis, float]], alpha: float) -> set[Hypothesis]:
    """Claims at a level by the steps themselves: share it among pools that hold something unclaimed, until nothing is added."""
    own = {
        pool: {h: p * len({f for f, _ in tests}) for h, p in tests.items()} for pool, tests in pools.items()
    }
    claimed: set[Hypothesis] = set()
    while True:
        left = [pool for pool, tests in own.items() if set(tests) - claimed]
        more = {h for pool in left for h, p in own[pool].items() if p <= alpha / len(left) + 1e-15} - claimed
        if not more:
            return claimed
        claimed |= more


def test_adjusted_p_values_are_the_levels_at_which_the_steps_claim() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        pools = {
            f"pool{i}": {
                (f"task{i}{j}", f"pair{k}"): float(rng.uniform() ** 4)
                for j in range(rng.integers(1, 3))
                for k in range(rng.integers(1, 4))
            }
            for i in range(rng.integers(1, 5))
        }
        adjusted = adjusted_over_pools(pools)
        for alpha in (0.01, 0.05, 0.2):
            assert {h for h, p in adjusted.items() if p <= alpha} == brute(pools, alpha)


def test_forty_true_nulls_err_in_87_percent_alone_and_in_5_over_all() -> None:
    rng = np.random.default_rng(2)
    alone = together = 0
    for _ in range(1000):
        p = rng.uniform(size=40)
        alone += p.min() <= 0.05
        found = adjusted_over_pools({f"p{i}": {(f"t{i}", "a−b"): float(x)} for i, x in enumerate(p)})
        together += min(found.values()) <= 0.05
    assert alone / 1000 == pytest.approx(chance_of_a_false_claim(40), abs=0.04)
    assert together / 1000 <= 0.05 + 0.02


@pytest.mark.parametrize(
    ("pools", "words"),
    [
        ({"p": {("t", "a"): 1.2}}, "must lie in 0..1"),
        ({"p": {}}, "has no hypothesis"),
        ({"p": {("t", "a"): 0.1}, "q": {("t", "a"): 0.1}}, "belongs to one"),
    ],
)
def test_odd_claims_are_refused(pools: dict[str, dict[Hypothesis, float]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        adjusted_over_pools(pools)
