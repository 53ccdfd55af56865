"""Which systems are compared with which, as the plan has it, and the tests of each family."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from bench.cards.analysis_plan import AnalysisPlan
from bench.errors import CannotSeparate, DataError, UsageError, nearest
from bench.scoring.figures import COMPARED_METRICS, metrics_of
from bench.scoring.pair_results import NO_VERDICT, PairResult, sentence
from bench.scoring.records import Counts, CountsKey, Record, thin_classes
from bench.scoring.wider_verdicts import WiderVerdict, wider_verdict
from bench.statistics.families import Comparison
from bench.statistics.paired_tests import compare_family
from bench.statistics.populations import population_words
from bench.statistics.seed_variance import SeedVariance, redrawn_interval, seed_variance

ACROSS_TRACKS, ACROSS_PROTOCOLS = "across tracks", "across tracks and protocols"
"""Families of the pairs that the plan names: systems that met under one protocol, and those that did not."""


def compare_pair(records: Sequence[Record], a: str, b: str, task: str | None = None) -> list[PairResult]:
    """Compare two systems wherever both were run, each pair inside the family the plan puts it in.

    A pair outside every family of the plan is a family of its own, and its pairings say so.

    Args:
        records: all of a run.
        a: name of one system.
        b: name of the other.
        task: the only task to compare on; None for all that both were run on.

    Returns:
        A result per task, condition, view, outside rule and metric; differences are ``a`` − ``b``.

    Raises:
        UsageError: a system or task that the run has not.
        DataError: the two were never run on the same task.
    """
    names = {r.system for r in records}
    for name in (a, b):
        if name not in names:
            raise UsageError(f"no record of the system {name!r} in this run; {nearest(name, names)}")
    tasks = {r.task for r in records}
    if task is not None and task not in tasks:
        raise UsageError(f"no record of the task {task!r} in this run; {nearest(task, tasks)}")
    if a == b:
        raise UsageError(f"{a!r} cannot be compared with itself")
    results = []
    for group in comparable(records):
        if task in (None, group[0].task) and {a, b} <= {r.system for r in group}:
            tested = [p for family in families(group, (a, b)) for p in run_family(*family)]
            results += [
                p if p.system_a == a else p.turned() for p in tested if {p.system_a, p.system_b} == {a, b}
            ]
    for name, members, pairs in families_across_protocols(records, (a, b)):
        if task in (None, members[0].task) and {frozenset(p) for p in pairs} >= {frozenset((a, b))}:
            tested = run_family(name, members, pairs)
            results += [
                p if p.system_a == a else p.turned() for p in tested if {p.system_a, p.system_b} == {a, b}
            ]
    if not results:
        raise DataError(f"{a} and {b} have no task and condition in common in this run")
    return results


def comparable(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Group records by task, protocol, training set and condition: the same clips, the same supervision."""
    for key in sorted({_setting(r) for r in records}):
        yield [r for r in records if _setting(r) == key]


def _setting(record: Record) -> tuple[str, str, str, str]:
    facts = record.facts
    return (record.task, facts.protocol, facts.training, facts.condition)


def families_across_protocols(
    records: Sequence[Record], asked: tuple[str, str] | None = None
) -> list[tuple[str, list[Record], list[tuple[str, str]]]]:
    """Pairs on the same clips whose systems have no protocol in common: one was trained on them, say, the other is zero-shot.

    The plan's pairs across tracks that meet only so are a family per task and condition; ``asked`` alone is one, too.
    """
    found: list[tuple[str, list[Record], list[tuple[str, str]]]] = []
    clip_sets = sorted({(r.task, r.facts.condition, r.facts.content_hash) for r in records})
    for clip_set in clip_sets:
        members = [r for r in records if (r.task, r.facts.condition, r.facts.content_hash) == clip_set]
        settings: dict[str, set[tuple[str, str, str, str]]] = defaultdict(set)
        for r in members:
            settings[r.system].add(_setting(r))
        planned = members[0].facts.plan.across_tracks
        pairs = [
            p
            for p in dict.fromkeys(planned if asked is None else (*planned, asked))
            if set(p) <= set(settings) and not settings[p[0]] & settings[p[1]]
        ]
        present = {r.system: r for r in reversed(members)}
        in_plan = [p for p in pairs if frozenset(p) in {frozenset(q) for q in planned}]
        for name, chosen in (
            (ACROSS_PROTOCOLS, in_plan),
            ("not in the plan", [p for p in pairs if p not in in_plan]),
        ):
            if chosen:
                found.append(
                    (name, [present[n] for n in dict.fromkeys(n for p in chosen for n in p)], chosen)
                )
    return found


def families(
    group: Sequence[Record], asked: tuple[str, str] | None = None
) -> list[tuple[str, list[Record], list[tuple[str, str]]]]:
    """Return the comparison families of one task: name, records, pairs. ``asked`` adds a pair that is in none."""
    plan = group[0].facts.plan
    found: list[tuple[str, list[Record], list[tuple[str, str]]]] = []
    for track in sorted({r.facts.track for r in group}):
        members = [r for r in group if r.facts.track == track]
        if len(members) > 1:
            found.append((f"track {track}", members, list(combinations([r.system for r in members], 2))))
    present = {r.system: r for r in group}
    across = [p for p in plan.across_tracks if set(p) <= set(present)]
    if across:
        involved = list(dict.fromkeys(name for pair in across for name in pair))
        found.append((ACROSS_TRACKS, [present[n] for n in involved], across))
    planned = {frozenset(p) for _, _, pairs in found for p in pairs}
    if asked is not None and frozenset(asked) not in planned:
        found.append(("not in the plan", [present[n] for n in asked], [asked]))
    return found


def run_family(
    name: str,
    records: Sequence[Record],
    pairs: Sequence[tuple[str, str]],
    metrics: Sequence[str] = COMPARED_METRICS,
    keys: Collection[CountsKey] | None = None,
) -> list[PairResult]:
    """Test a family on every view and outside rule that its members share, in the metrics asked for.

    Args:
        name: of the family, as its results say it.
        records: its members, one per system, on the same clips and folds.
        pairs: names of the two systems of each comparison; p-values are adjusted over all of them.
        metrics: which to test, where the target has them.
        keys: the statistics to test on; None for all.

    Returns:
        A result per pair, statistics and metric; none where a metric cannot be tested.

    Raises:
        DataError: the members were scored on different clips or folds.
    """
    plan = records[0].facts.plan
    if len({r.clusters for r in records}) > 1 or len({r.facts.content_hash for r in records}) > 1:
        raise DataError(
            f"{records[0].task}: the records of {', '.join(r.system for r in records)} were made on different clips or folds; run the matrix again"
        )
    require_equal_offers(name, records)
    shared = [b.key for b in records[0].blocks if b.rows == "all" and all(r.block(*b.key) for r in records)]
    partial = [b.key for r in records for b in r.blocks if b.rows == "all" and b.key not in shared]
    results = []
    for key in dict.fromkeys([*shared, *partial]):
        if keys is not None and key not in keys:
            continue
        members = [r for r in records if r.block(*key)]
        names = {r.system for r in members}
        member_pairs = [p for p in pairs if set(p) <= names]
        if member_pairs:
            results += _run_block(name, members, member_pairs, key, plan, metrics)
    return results


def require_equal_offers(name: str, records: Sequence[Record]) -> None:
    """Refuse to compare systems of one setting that were offered other labels: theirs are not the same questions.

    Pairs across protocols are left alone, whose sentence names the protocols: a transfer offers what was learnt.

    Raises:
        DataError: with what each was offered.
    """
    offers = {r.facts.labels_offered: r.system for r in reversed(records)}
    if len(offers) > 1 and len({_setting(r) for r in records}) == 1:
        told = "; ".join(f"{system} {', '.join(labels) or 'none'}" for labels, system in offers.items())
        raise DataError(
            f"{records[0].task}: the systems of {name} were offered other labels ({told}), so their scores do not answer one question; run the matrix again"
        )


def _run_block(
    name: str,
    records: Sequence[Record],
    pairs: Sequence[tuple[str, str]],
    key: CountsKey,
    plan: AnalysisPlan,
    asked: Sequence[str],
) -> list[PairResult]:
    blocks = [b for r in records if (b := r.block(*key)) is not None]
    row_of = {r.system: i for i, r in enumerate(records)}
    possible = [m for m in metrics_of(blocks[0].target) if m in COMPARED_METRICS]
    pair_results = []
    for metric in (m for m in possible if m in asked):
        statistics = np.stack([b.averaged for b in blocks])
        try:
            tested = compare_family(
                metric,
                statistics,
                [(row_of[a], row_of[b]) for a, b in pairs],
                n_resamples=plan.permutations,
                seed=plan.seed,
                level=plan.level,
                margin=plan.margin,
                unit=records[0].unit,
            )
        except CannotSeparate:
            continue
        seeds = [seed_variance(metric, b.values) for b in blocks]
        pair_results += [_pairing(name, records, blocks, seeds, metric, c, len(pairs)) for c in tested]
    return pair_results


def _pairing(
    name: str,
    records: Sequence[Record],
    blocks: Sequence[Counts],
    seeds: Sequence[SeedVariance | None],
    metric: str,
    c: Comparison,
    size: int,
) -> PairResult:
    a, b, block = records[c.a], records[c.b], blocks[c.a]
    wider = wider_verdict(c, size, (a, blocks[c.a]), (b, blocks[c.b]))
    redrawn = redrawn_interval(c, seeds[c.a], seeds[c.b]) or (None, None)
    thin = (
        thin_classes(block, f"{a.facts.cluster}s")
        if metric in ("ua", "macro_f1") and a.unit != "clips"
        else ()
    )
    notes = (*wider.notes, *thin)
    leaking = ", ".join(dict.fromkeys(f"{x.kind}s" for r in (a, b) for x in r.facts.leaks))
    result = PairResult(
        system_a=a.system,
        system_b=b.system,
        task=a.task,
        protocol=" / ".join(dict.fromkeys(r.facts.protocol for r in (a, b))),
        training=" / ".join(dict.fromkeys(r.facts.training for r in (a, b))),
        condition=a.facts.condition,
        track_a=a.facts.track,
        track_b=b.facts.track,
        protocol_a=a.facts.protocol,
        protocol_b=b.facts.protocol,
        view=block.view,
        outside=block.outside,
        rows=block.rows,
        metric=metric,
        dimension=None if block.target == "category" else block.target,
        difference=c.difference,
        low=c.low,
        high=c.high,
        simultaneous_low=c.simultaneous_low,
        simultaneous_high=c.simultaneous_high,
        p_value=c.p_value,
        p_holm=c.p_holm,
        p_adjusted=c.p_adjusted,
        smallest_p=c.smallest_p,
        verdict=NO_VERDICT if leaking else wider.verdict,
        decided_by=_decided_by(c, wider, leaking),
        sentence="",
        family=name,
        family_size=size,
        clusters=c.clusters,
        level=c.level,
        margin=c.margin,
        equivalence_low=c.equivalence_low,
        equivalence_high=c.equivalence_high,
        detectable_difference=c.detectable_difference,
        seeds_a=len(blocks[c.a].values),
        seeds_b=len(blocks[c.b].values),
        redrawn_low=redrawn[0],
        redrawn_high=redrawn[1],
        standard_error=c.standard_error,
        drawn=f"{a.facts.cluster}s",
        population=wider.population,
        population_low=wider.low,
        population_high=wider.high,
        population_lacking=wider.lacking,
        one_seed=tuple(r.system for r in (a, b) if r.has_one_seed_of_many),
        unit=a.unit,
        notes=(*notes, f"official split leaks {leaking}: {NO_VERDICT}") if leaking else notes,
    )
    return replace(result, sentence=sentence(result))


def _decided_by(c: Comparison, wider: WiderVerdict, leaking: str) -> str:
    if leaking:
        return f"the official split: it leaks {leaking}"
    if wider.verdict != c.verdict:
        return f"the interval over {population_words(wider.population, clusters='clusters')}"
    return c.decided_by
