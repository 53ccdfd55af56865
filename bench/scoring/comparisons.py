"""Which systems are compared with which, as the plan has it, and what the tests say, in words."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from bench.cards.analysis_plan import AnalysisPlan
from bench.errors import CannotSeparate, DataError, UsageError, nearest
from bench.scoring.figures import COMPARED_METRICS, metrics_of
from bench.scoring.records import Counts, CountsKey, Record, thin_classes
from bench.scoring.wider_verdicts import WiderVerdict, wider_verdict
from bench.statistics.additive import metric_named, value
from bench.statistics.degrees import t_degrees
from bench.statistics.families import CANNOT_SEPARATE, OPPOSITE, Comparison
from bench.statistics.intervals import difference_interval, occupied
from bench.statistics.paired_tests import compare_family
from bench.statistics.populations import SPEAKERS, population_words
from bench.statistics.resampling import jackknife
from bench.statistics.seed_variance import SeedVariance, redrawn_interval, seed_variance
from bench.statistics.sign_flips import least_variance

SUPERVISION = {
    "reference": "no learning",
    "released": "weights as released",
    "probed": "a frozen encoder with a probe trained on the corpus",
    "adapted": "weights trained on the corpus",
}
NO_VERDICT = "no verdict"
"""What is said where a system may have been trained on the speakers it is tested on."""
ACROSS_TRACKS, ACROSS_PROTOCOLS = "across tracks", "across tracks and protocols"
"""Families of the pairs that the plan names: systems that met under one protocol, and those that did not."""


@dataclass(frozen=True)
class PairResult:
    """Two systems on one task, view and metric, with the test's outcome; ``difference`` is A − B.

    ``simultaneous_low`` to ``simultaneous_high`` decides better and worse, ``equivalence_low`` to ``equivalence_high`` equivalence within
    ``margin`` (None: not asked for), as ``decided_by`` says in words; ``low`` to ``high`` is of the pair alone and decides
    nothing (:mod:`bench.statistics.families`).

    All but ``redrawn_low`` and ``redrawn_high`` takes the trained weights as they are; these two are the interval with seeds
    drawn anew (:mod:`bench.statistics.seed_variance`), None where neither system has two seeds. ``one_seed`` names the systems of which nothing is
    known but one seed, although another would answer differently; the interval takes them as they are.

    ``drawn`` says what clusters are (speakers, sessions, dialogues), ``population`` is what ``verdict`` speaks of. Where the plan asks for more than speakers, ``population_low`` and ``population_high`` are
    the simultaneous interval over as much of that as is known (``population_lacking`` says what is not): it decides the verdict there.
    """

    system_a: str
    system_b: str
    task: str
    protocol: str
    training: str
    condition: str
    track_a: str
    track_b: str
    protocol_a: str
    protocol_b: str
    view: str
    outside: str
    rows: str
    metric: str
    dimension: str | None
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    p_adjusted: float
    smallest_p: float
    verdict: str
    sentence: str
    family: str
    family_size: int
    clusters: int
    level: float
    equivalence_low: float
    equivalence_high: float
    detectable_difference: float | None
    seeds_a: int
    seeds_b: int
    redrawn_low: float | None
    redrawn_high: float | None
    one_seed: tuple[str, ...]
    unit: str
    notes: tuple[str, ...]
    standard_error: float = math.nan
    drawn: str = "clusters"
    population: str = SPEAKERS
    population_low: float | None = None
    population_high: float | None = None
    population_lacking: tuple[str, ...] = ()
    simultaneous_low: float = math.nan
    simultaneous_high: float = math.nan
    margin: float | None = None
    decided_by: str = ""

    def __post_init__(self) -> None:
        """Take the pair's own interval for the simultaneous one where none is given: of one pair they are of one kind."""
        if math.isnan(self.simultaneous_low):
            object.__setattr__(self, "simultaneous_low", self.low)
            object.__setattr__(self, "simultaneous_high", self.high)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        listed = ("one_seed", "notes", "population_lacking")
        return {**asdict(self), **{n: list(getattr(self, n)) for n in listed}}

    def turned(self) -> PairResult:
        """The same pairing seen from B."""
        swapped: dict[str, Any] = {
            "system_a": self.system_b, "system_b": self.system_a, "track_a": self.track_b, "track_b": self.track_a,
            "protocol_a": self.protocol_b, "protocol_b": self.protocol_a,
            "difference": -self.difference, "low": -self.high, "high": -self.low,
            "simultaneous_low": -self.simultaneous_high, "simultaneous_high": -self.simultaneous_low,
            "equivalence_low": -self.equivalence_high, "equivalence_high": -self.equivalence_low,
            "verdict": OPPOSITE.get(self.verdict, self.verdict),
            "seeds_a": self.seeds_b, "seeds_b": self.seeds_a,
            "redrawn_low": _negative(self.redrawn_high), "redrawn_high": _negative(self.redrawn_low),
            "population_low": _negative(self.population_high), "population_high": _negative(self.population_low),
        }  # fmt: skip
        result = replace(self, **swapped)
        return replace(result, sentence=sentence(result))

    @property
    def kind(self) -> str:
        """The verdict without its size: better, worse, equivalent, cannot-separate or no-verdict."""
        if self.verdict == CANNOT_SEPARATE:
            return "cannot-separate"
        return self.verdict.partition(",")[0].replace(" ", "-")

    @property
    def rests_on_seeds(self) -> bool:
        """Whether a verdict of better or worse, and its interval, hold with these seeds and not with any drawn anew."""
        if self.kind not in {"better", "worse"} or self.redrawn_low is None or self.redrawn_high is None:
            return False
        return self.redrawn_low <= 0 <= self.redrawn_high and not self.low <= 0 <= self.high


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


def sentence(p: PairResult) -> str:
    """Say a pairing's outcome in plain words, its difference in supervision included."""
    percent = p.metric != "ccc"
    unit = "points of " + p.metric.upper().replace("_", "-") if percent else f"of CCC ({p.dimension})"
    ahead, behind = (p.system_a, p.system_b) if p.difference >= 0 else (p.system_b, p.system_a)
    size = f"{difference_figure(abs(p.difference), percent)} {unit}"
    spread = _deciding(p, percent)
    test = f"adjusted p = {p.p_adjusted:.2g}"
    if p.kind in {"better", "worse"}:
        within = f", less than the margin of {_margin(p, percent)}" if "margin" in p.verdict else ""
        outcome = f"{ahead} beats {behind} by {size}{within}, {spread}, {test}"
        if p.rests_on_seeds:
            outcome += f", for these seeds only: were {_whose_seeds(p)} drawn anew, the interval would be {_redrawn(p, percent)}"
    elif p.kind == "equivalent":
        outcome = f"{ahead} and {behind} are equivalent: they differ by {size}, {spread}, inside the margin of {_margin(p, percent)}"
    elif p.verdict == NO_VERDICT:
        outcome = f"{p.notes[-1]} on {ahead} and {behind}, which differ by {size}, {spread}"
    else:
        outcome = f"this corpus cannot separate {ahead} and {behind}: the first is ahead by {size}, {spread}, {test}"
        if p.smallest_p > round(1 - p.level, 12):
            outcome += f", and with {p.clusters} {p.unit} no p is below {p.smallest_p:.2g}"
    if p.one_seed and p.kind in {"better", "worse", "equivalent"}:
        outcome += f". Of {' and '.join(p.one_seed)} one seed is known, and not what others would give"
    if p.track_a != p.track_b:
        a, b = (
            SUPERVISION[track].replace("the corpus", "other corpora")
            if protocol == "transfer"
            else SUPERVISION[track]
            for track, protocol in ((p.track_a, p.protocol_a), (p.track_b, p.protocol_b))
        )
        outcome += f". They differ in supervision: {p.system_a} has {a}, {p.system_b} {b}"
    if p.protocol_a != p.protocol_b:
        outcome += f". They differ in protocol: {p.system_a} ran {p.protocol_a}, {p.system_b} {p.protocol_b}"
    kind = "clips taken as independent, which overstates certainty" if p.unit == "clips" else "clusters"
    usual = {"", "within", "clean"}
    setting = ", ".join(x for x in (p.protocol, p.training, p.condition) if x not in usual)
    if p.population_low is not None and p.population_high is not None:
        low, high = (
            (p.population_low, p.population_high)
            if p.difference >= 0
            else (-p.population_high, -p.population_low)
        )
        outcome += f". Over this population the interval that decides is {difference_figure(low, percent)} to {difference_figure(high, percent)}"
    spoken = population_words(p.population, clusters=p.drawn)
    outcome += "".join(f". Not known: {text}" for text in p.population_lacking)
    return f"On {p.task} ({setting + '; ' if setting else ''}{p.clusters} {kind}; {spoken}), {outcome}."


def _whose_seeds(p: PairResult) -> str:
    """Seeds of which system are drawn anew: one of a single seed is taken as it is."""
    several = [s for s in (p.system_a, p.system_b) if s not in p.one_seed]
    return f"those of {' and '.join(several)}" if p.one_seed and several else "they"


def _deciding(p: PairResult, percent: bool) -> str:
    """Write the interval that the verdict rests on, seen from the system that is ahead."""
    low, high, level = p.simultaneous_low, p.simultaneous_high, p.level
    if p.kind == "equivalent" and p.family_size == 1:
        low, high, level = p.equivalence_low, p.equivalence_high, 2 * p.level - 1
    if p.difference < 0:
        low, high = -high, -low
    simultaneous = "" if p.family_size == 1 else "simultaneous "
    return f"{simultaneous}{100 * level:g} % interval {difference_figure(low, percent)} to {difference_figure(high, percent)}"


def _margin(p: PairResult, percent: bool) -> str:
    margin = p.margin or 0.0
    return f"{100 * margin:g}" if percent else f"{margin:g}"


def _redrawn(p: PairResult, percent: bool) -> str:
    assert p.redrawn_low is not None
    assert p.redrawn_high is not None
    low, high = (p.redrawn_low, p.redrawn_high) if p.difference >= 0 else (-p.redrawn_high, -p.redrawn_low)
    return f"{difference_figure(low, percent)} to {difference_figure(high, percent)}"


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def difference_figure(value: float, percent: bool) -> str:
    """Write a difference in points or in CCC, with a true minus sign."""
    return (f"{100 * value:.1f}" if percent else f"{value:.2f}").replace("-", "−")


@dataclass(frozen=True)
class PairedDifference:
    """A value less another, in the metric's own unit; without ends where ``method`` says why."""

    difference: float
    low: float | None
    high: float | None
    method: str

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired_difference(metric: str, a: Counts, b: Counts, level: float) -> PairedDifference | None:
    """Return ``a`` less ``b``, which share their clusters; None where either has no value.

    Args:
        metric: its name.
        a: statistics; averaged over seeds first, so the two may have other numbers of seeds.
        b: statistics that are subtracted.
        level: coverage of the interval, 0..1.

    Returns:
        The difference with its jackknife interval over clusters, in the metric's own unit; or None.
    """
    chosen = metric_named(metric)
    first, second = a.averaged, b.averaged
    values = [float(value(chosen, x.sum(axis=0))) for x in (first, second)]
    if not np.isfinite(values).all() or a.labels != b.labels:
        return None
    try:
        table = occupied(chosen, np.stack([first, second]))
        components = chosen.components(table)
        jackknifed = jackknife(chosen, components[0], components[1])
    except CannotSeparate as error:
        return PairedDifference(values[0] - values[1], None, None, f"none: {error}")
    least = least_variance(chosen, components[0])
    widened = replace(jackknifed, standard_error=math.hypot(jackknifed.standard_error, math.sqrt(least)))
    low, high = difference_interval(chosen, widened, level, t_degrees(chosen, table[0]))
    return PairedDifference(
        jackknifed.estimate, low, high, f"jackknife-t over {len(table[0])} clusters, paired"
    )
