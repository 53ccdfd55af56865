"""Ranks over pools: Friedman and Nemenyi as Demšar's paper prints them, one vote per pool, and no rank without evidence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.errors import CannotSeparate, InputError
from bench.statistics.ranking import (
    AcrossPools,
    RankInterval,
    TaskScore,
    nemenyi_critical_difference,
    rank_across_pools,
    rank_interval,
)

# Table 5 of Demšar (2006), two-tailed Nemenyi test, α = 0.05, for 2 to 10 classifiers.
PRINTED = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]


def _scores(table: np.ndarray, *, pools: list[str] | None = None) -> list[TaskScore]:
    return [
        TaskScore(pools[row] if pools else f"pool {row}", f"task {row}", f"system {column}", float(score))
        for row, line in enumerate(table)
        for column, score in enumerate(line)
    ]


def _random(seed: int, pools: int = 8, systems: int = 5, spread: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.5 + spread * np.arange(systems) + 0.1 * rng.random((pools, systems))


def test_the_critical_difference_is_the_printed_one() -> None:
    for systems, q in enumerate(PRINTED, start=2):
        expected = q * np.sqrt(systems * (systems + 1) / (6 * 14))
        assert nemenyi_critical_difference(systems, 14) == pytest.approx(expected, abs=1e-3)
    # The paper's example: four classifiers on 14 data sets, CD = 1.25 at 5 % and 1.12 at 10 %.
    assert nemenyi_critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert nemenyi_critical_difference(4, 14, level=0.90) == pytest.approx(1.12, abs=0.005)


@pytest.mark.parametrize("seed", range(4))
def test_average_ranks_and_friedman_by_the_formulas_of_the_paper(seed: int) -> None:
    table = _random(seed)
    n, k = table.shape
    found = rank_across_pools(_scores(table))

    ranks = np.array([[1 + sum(other > own for other in line) for own in line] for line in table]).mean(
        axis=0
    )
    chi = 12 * n / (k * (k + 1)) * ((ranks**2).sum() - k * (k + 1) ** 2 / 4)
    f = (n - 1) * chi / (n * (k - 1) - chi)
    by_name = dict(zip(found.systems, found.average_ranks, strict=True))
    assert [by_name[f"system {i}"] for i in range(k)] == pytest.approx(list(ranks))
    assert list(found.average_ranks) == sorted(ranks)
    assert found.statistic == pytest.approx(chi)
    assert found.p_value == pytest.approx(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
    # A pair is told apart by its p exactly when its ranks are further apart than the critical difference.
    for a in found.systems:
        for b in found.systems:
            apart = abs(by_name[a] - by_name[b]) > found.critical_difference
            assert (found.p_of_pair(a, b) < 0.05) == apart


def test_two_tasks_of_one_pool_are_one_vote() -> None:
    table = _random(5, pools=9)
    pools = ["a", "b", "c", "d", "e", "f", "f", "f", "f"]
    found = rank_across_pools(_scores(table, pools=pools))
    averaged = np.vstack([table[:5], table[5:].mean(axis=0)])
    alone = rank_across_pools(_scores(averaged))

    assert found.pools == ("a", "b", "c", "d", "e", "f")
    assert found.average_ranks == pytest.approx(alone.average_ranks)
    assert found.p_value == pytest.approx(alone.p_value)


def test_groups_are_runs_within_the_critical_difference_and_overlap() -> None:
    found = rank_across_pools(_scores(_random(6, pools=30, systems=6, spread=0.03)))
    inside = {
        (i, j)
        for i in range(6)
        for j in range(i + 1, 6)
        if found.average_ranks[j] - found.average_ranks[i] <= found.critical_difference
    }
    assert found.groups
    assert inside == {
        (i, j) for first, last in found.groups for i in range(first, last) for j in range(i + 1, last + 1)
    }
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in zip(found.groups, found.groups[1:], strict=False))


def test_equal_scores_share_a_rank_and_less_can_be_better() -> None:
    table = np.tile([0.5, 0.5, 0.9, 0.1], (7, 1))
    found = rank_across_pools(_scores(table))
    assert found.systems[0] == "system 2"
    assert found.average_ranks == (1.0, 2.5, 2.5, 4.0)
    assert found.p_value == 0.0
    assert rank_across_pools(_scores(table), higher_is_better=False).systems[0] == "system 3"
    same = rank_across_pools(_scores(np.full((6, 3), 0.5)))
    assert (same.statistic, same.p_value, same.groups) == (0.0, 1.0, ((0, 2),))


def test_a_true_null_is_rejected_at_the_level() -> None:
    rng = np.random.default_rng(1)
    rejected = np.mean([rank_across_pools(_scores(rng.random((7, 5)))).p_value <= 0.05 for _ in range(400)])
    assert 0.02 <= rejected <= 0.085


def test_systems_without_a_task_are_left_out_by_name_and_too_little_is_refused() -> None:
    scores = _scores(_random(7))
    missing = [s for s in scores if (s.task, s.system) != ("task 3", "system 4")]
    found = rank_across_pools(missing)
    assert isinstance(found, AcrossPools)
    assert found.left_out == ("system 4",)
    assert "system 4" not in found.systems
    with pytest.raises(CannotSeparate, match=r"5 pool\(s\).*from 6 on"):
        rank_across_pools(_scores(_random(8, pools=5)))
    with pytest.raises(CannotSeparate, match="needs 3"):
        rank_across_pools(_scores(_random(8, systems=2)))
    with pytest.raises(CannotSeparate, match="none"):
        rank_across_pools([])
    with pytest.raises(InputError, match="two scores"):
        rank_across_pools([*scores, scores[0]])
    with pytest.raises(InputError, match="two pools"):
        rank_across_pools([*scores, TaskScore("elsewhere", "task 0", "new", 0.5)])
    with pytest.raises(InputError, match="nan"):
        rank_across_pools([*scores, TaskScore("pool 0", "task 0", "new", float("nan"))])


def test_rank_intervals_leave_open_what_was_not_decided() -> None:
    assert rank_interval(systems=4, significantly_better=0, significantly_worse=0) == RankInterval(1, 4, 4)
    assert rank_interval(systems=4, significantly_better=3, significantly_worse=0) == RankInterval(4, 4, 4)
    with pytest.raises(InputError, match="more than 4"):
        rank_interval(systems=4, significantly_better=2, significantly_worse=2)
