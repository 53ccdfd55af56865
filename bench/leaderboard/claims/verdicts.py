"""Verdicts of one publication on the pairs it planned, each in its records' main view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.leaderboard.evidence import Cell, Evidence
from bench.leaderboard.history import spread_of
from bench.scoring.comparisons import comparable, families, families_across_protocols, run_family
from bench.scoring.pair_results import PairResult
from bench.scoring.records import Record


def planned_verdicts(
    records: Sequence[Record], pairs: Sequence[tuple[str, str]] | None = None
) -> list[PairResult]:
    """Test pairs inside the families that the plan puts them in, pair by pair, task by task.

    Args:
        records: of one publication, under one plan.
        pairs: names of two systems; None takes the pairs that the plan names across tracks.

    Returns:
        Results in the plan's primary metric (UA where that is CCC) and the records' main view, the first system less the second. A
        pair that stands in two families, since the plan names two systems of one track across tracks, is said once, by the
        family that adjusts its p more.
    """
    plan = records[0].facts.plan
    metric = plan.primary_metric if plan.primary_metric != "ccc" else "ua"
    asked = plan.across_tracks if pairs is None else pairs
    tested = [p for family in _families(records, asked) for p in _run(family, metric)]
    by_pair: dict[frozenset[str], dict[tuple[str, ...], PairResult]] = {}
    for p in tested:
        setting = (p.task, p.protocol_a, p.protocol_b, p.training, p.condition)
        found = by_pair.setdefault(frozenset((p.system_a, p.system_b)), {})
        if setting not in found or p.p_adjusted > found[setting].p_adjusted:
            found[setting] = p
    return [
        p if p.system_a == a else p.turned()
        for a, b in asked
        for p in by_pair.get(frozenset((a, b)), {}).values()
    ]


Family = tuple[str, list[Record], list[tuple[str, str]]]


def _families(records: Sequence[Record], asked: Sequence[tuple[str, str]]) -> Iterator[Family]:
    """Families that hold a pair that was asked for, each once."""
    wanted = {frozenset(p) for p in asked}
    for group in comparable(records):
        found: dict[str, Family] = {}
        for pair in asked:
            if set(pair) <= {r.system for r in group}:
                for family in families(group, pair):
                    own = {frozenset(p) for p in family[2]}
                    if own & wanted:
                        found.setdefault(f"{family[0]} {sorted(map(sorted, own))}", family)
        yield from found.values()
    yield from families_across_protocols(records)


def _run(family: Family, metric: str) -> list[PairResult]:
    name, members, pairs = family
    key = (members[0].facts.main_view, "wrong", "all", "category")
    return run_family(name, members, pairs, (metric,), {key})


def verdict_line(p: PairResult, cells: Mapping[Cell, Sequence[Evidence]]) -> str:
    """A verdict's sentence; where its sign is another one by other published versions, it says so.

    Args:
        p: the verdict.
        cells: everything published, by what it measured.
    """
    spread = spread_of(p, cells)
    moves = f" {spread.words(p.system_a, p.system_b)}" if spread.pairs and spread.sign_depends else ""
    return f"{p.sentence}{moves}"
