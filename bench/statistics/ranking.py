"""Ranks that the evidence supports: intervals of ranks inside a family of tests, and average ranks over pools of corpora.

Over tasks, systems are ranked within each pool of recordings and the ranks averaged: Friedman's test asks whether all
are equal, and Nemenyi's critical difference which average ranks differ (Demšar, JMLR 7, 2006, 1–30). A pool is one
vote: two tasks cut from the same recordings are not two pieces of evidence, so their scores are averaged first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import CannotSeparate, InputError
from bench.protocols import Array

FEWEST_POOLS = 6
"""Below six pools the approximations behind both tests are poor, and no two of several systems could be told apart."""
FEWEST_SYSTEMS = 3


@dataclass(frozen=True)
class RankInterval:
    """Best and worst rank that the tests leave open, among ``of`` systems."""

    best: int
    worst: int
    of: int


def rank_interval(*, systems: int, significantly_better: int, significantly_worse: int) -> RankInterval:
    """From 1 + (significantly better systems) to N − (significantly worse ones).

    No strict order and no tie groups: of three neighbours the outer two may differ while neither differs from the middle.

    Args:
        systems: N, how many were compared.
        significantly_better: systems that are significantly better than this one.
        significantly_worse: systems that are significantly worse.

    Returns:
        Best and worst rank, 1..N.

    Raises:
        InputError: negative counts, or more systems than there are beside one's own.

    >>> rank_interval(systems=5, significantly_better=1, significantly_worse=2)
    RankInterval(best=2, worst=3, of=5)
    """
    if (
        min(significantly_better, significantly_worse) < 0
        or significantly_better + significantly_worse >= systems
    ):
        raise InputError(
            f"{significantly_better} better and {significantly_worse} worse systems beside one's own are more than"
            f" {systems} systems."
        )
    return RankInterval(1 + significantly_better, systems - significantly_worse, systems)


@dataclass(frozen=True)
class TaskScore:
    """A system's score on one task, and the pool of recordings that the task is cut from."""

    pool: str
    task: str
    system: str
    score: float


@dataclass(frozen=True)
class AcrossPools:
    """Friedman's test and Nemenyi's critical difference over pools.

    ``systems`` from best to worst average rank (1 is best), ``average_ranks`` beside them. ``statistic`` is Friedman's χ²,
    corrected for ties, and ``p_value`` that of Iman and Davenport's F made from it, which keeps its level with few pools
    where χ² is too timid. Average ranks further apart than ``critical_difference`` differ at ``level``; ``groups`` are the
    longest runs of systems, as positions (first, last), inside which none do.
    """

    systems: tuple[str, ...]
    average_ranks: tuple[float, ...]
    pools: tuple[str, ...]
    statistic: float
    p_value: float
    critical_difference: float
    level: float
    groups: tuple[tuple[int, int], ...]
    left_out: tuple[str, ...]
    """Systems not scored on every task, which have no rank in some pool."""

    def p_of_pair(self, a: str, b: str) -> float:
        """Nemenyi's p-value of two systems: family-wise over all pairs."""
        from scipy.stats import studentized_range

        rank = dict(zip(self.systems, self.average_ranks, strict=True))
        k = len(self.systems)
        q = abs(rank[a] - rank[b]) / _rank_error(k, len(self.pools)) * np.sqrt(2)
        return float(studentized_range.sf(q, k, np.inf))


def rank_across_pools(
    scores: Iterable[TaskScore], *, level: float = 0.95, higher_is_better: bool = True
) -> AcrossPools:
    """Average ranks over pools, with Friedman's test and Nemenyi's critical difference.

    A system's scores on the tasks of a pool are averaged before it is ranked there; equal scores share their mean rank.
    Systems that lack a task are left out, and named.

    Args:
        scores: one per system and task, in the metric's own unit.
        level: of Nemenyi's critical difference, 0..1.
        higher_is_better: False for errors.

    Returns:
        Average ranks, tests and groups.

    Raises:
        InputError: a system scored twice on a task, a task in two pools, or a score that is not finite.
        CannotSeparate: fewer than six pools, or fewer than three systems scored on every task.

    Source: Demšar, Journal of Machine Learning Research 7, 2006, 1–30; Iman and Davenport, Communications in Statistics
    A9, 1980, 571–595.
    """
    table, tasks = _by_system(scores)
    pools = tuple(sorted(set(tasks.values())))
    whole = sorted(system for system, own in table.items() if set(own) == set(tasks))
    left_out = tuple(sorted(set(table) - set(whole)))
    if len(pools) < FEWEST_POOLS:
        raise CannotSeparate(
            f"There are {len(pools)} pool(s) of recordings ({', '.join(pools) or 'none'}); ranks are compared across"
            f" tasks from {FEWEST_POOLS} on."
        )
    if len(whole) < FEWEST_SYSTEMS:
        without = f" ({', '.join(left_out)} lack some)" if left_out else ""
        raise CannotSeparate(
            f"{len(whole)} system(s) were scored on all {len(tasks)} tasks{without}; Friedman's test needs"
            f" {FEWEST_SYSTEMS}."
        )
    means = np.array(
        [[np.mean([table[s][t] for t in tasks if tasks[t] == pool]) for s in whole] for pool in pools]
    )
    return _ranked(whole, pools, means if higher_is_better else -means, level, left_out)


def nemenyi_critical_difference(systems: int, pools: int, level: float = 0.95) -> float:
    """q √(k(k + 1)/6N), q the quantile of the studentised range of k over infinite degrees of freedom, over √2.

    Args:
        systems: k, how many are ranked.
        pools: N, over how many pools ranks are averaged.
        level: 0..1.

    Returns:
        Difference of average ranks, in ranks.

    Source: Nemenyi, 1963, after Demšar, Journal of Machine Learning Research 7, 2006, 1–30.

    >>> round(nemenyi_critical_difference(4, 14), 3)
    1.254
    """
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(level, systems, np.inf) / np.sqrt(2) * _rank_error(systems, pools))


def _rank_error(systems: int, pools: int) -> float:
    return float(np.sqrt(systems * (systems + 1) / (6 * pools)))


def _by_system(scores: Iterable[TaskScore]) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    table: dict[str, dict[str, float]] = defaultdict(dict)
    tasks: dict[str, str] = {}
    for s in scores:
        if tasks.setdefault(s.task, s.pool) != s.pool:
            raise InputError(f"The task {s.task} is in two pools, {tasks[s.task]} and {s.pool}.")
        if s.task in table[s.system]:
            raise InputError(f"{s.system} has two scores on {s.task}: give one per system and task.")
        if not np.isfinite(s.score):
            raise InputError(f"The score of {s.system} on {s.task} is {s.score}.")
        table[s.system][s.task] = s.score
    return table, tasks


def _ranked(
    systems: Sequence[str], pools: tuple[str, ...], scores: Array, level: float, left_out: tuple[str, ...]
) -> AcrossPools:
    """Rank systems within pools, scores (pools, systems)."""
    # Imported here: listing systems must not wait for scipy.stats.
    from scipy.stats import f, friedmanchisquare, rankdata

    n, k = scores.shape
    # Equal scores that were averaged along different paths are still equal.
    average = rankdata(-np.round(scores, 12), axis=1).mean(axis=0)
    order = sorted(range(k), key=lambda i: (average[i], systems[i]))
    difference = nemenyi_critical_difference(k, n, level)
    if np.ptp(average) == 0:
        statistic, p = 0.0, 1.0
    else:
        statistic = float(friedmanchisquare(*np.round(scores, 12).T).statistic)
        # All pools agree entirely: F is infinite.
        spare = n * (k - 1) - statistic
        p = float(f.sf((n - 1) * statistic / spare, k - 1, (k - 1) * (n - 1))) if spare > 1e-9 else 0.0
    return AcrossPools(
        systems=tuple(systems[i] for i in order),
        average_ranks=tuple(float(average[i]) for i in order),
        pools=pools,
        statistic=statistic,
        p_value=p,
        critical_difference=difference,
        level=level,
        groups=_runs([float(average[i]) for i in order], difference),
        left_out=left_out,
    )


def _runs(ranks: Sequence[float], width: float) -> tuple[tuple[int, int], ...]:
    """Longest runs (first, last) of sorted ranks no further apart than ``width``; single systems are no run."""
    runs: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(i for i in range(first, len(ranks)) if ranks[i] - ranks[first] <= width)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return tuple(runs)
