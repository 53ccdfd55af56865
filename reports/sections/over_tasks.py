"""The board's layer over all tasks: mean differences over pools of recordings, and which verdicts stand over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.scoring.across_tasks import ClaimsOverTasks, PairOverPools, claims_over_tasks, over_pools, pools_of
from bench.scoring.subject import Subject
from bench.statistics.synthesis import Synthesis
from reports.data.comparisons import TaskComparison

PAIRS_SHOWN = 20
"""Pairs in the table; the surest come first."""


@dataclass(frozen=True)
class CombinedPair:
    """A pair that was combined over pools."""

    pair: PairOverPools
    found: Synthesis


@dataclass(frozen=True)
class OverTasks:
    """What the tests of the subjects shown say over all tasks."""

    combined: tuple[CombinedPair, ...]
    left_out: int
    """Pairs combined and not shown."""
    too_few: int
    """Pairs that met on too few pools to be combined."""
    claims: ClaimsOverTasks | None


def over_all_tasks(shown: Sequence[tuple[TaskComparison, Subject]]) -> OverTasks | None:
    """Combine the pairs of the subjects shown over their pools, and correct their verdicts over all tasks.

    Args:
        shown: comparisons of an overview with the subject that the plan puts first in each.

    Returns:
        The layer; None where all that was tested lies on one task.
    """
    pairs = [p for c, s in shown for p in c.tested(s)]
    if len({p.task for p in pairs}) < 2:
        return None
    pools = pools_of([r for c, _ in shown for r in c.records])
    rows = over_pools(pairs, pools)
    combined = [CombinedPair(r, r.found) for r in rows if isinstance(r.found, Synthesis)]
    combined.sort(key=lambda row: (row.found.p_value, row.pair.system_a, row.pair.system_b))
    return OverTasks(
        tuple(combined[:PAIRS_SHOWN]),
        max(0, len(combined) - PAIRS_SHOWN),
        len(rows) - len(combined),
        claims_over_tasks(pairs, pools),
    )
