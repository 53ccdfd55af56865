"""Figures across records: by language, so that a big corpus does not drown a small language, and by condition.

A language's score is the mean over its pools of recordings, a pool's the mean over its tasks; the macro score is the mean
over languages. Corpora that share recordings thus count once, and a language with ten corpora weighs as much as one with
one. Only tasks in their default split take part: ``@loso`` is the same clips again.

With c_p the weight of a pool's value and se_p its standard error (jackknife over clusters; the mean of its tasks' errors,
which is exact if they are fully correlated and too large otherwise; the same for a pool in several languages),

    se² = Σ_p c_p² se_p²,    t with se⁴ / Σ_p (c_p se_p)⁴ / df_p degrees of freedom (Welch–Satterthwaite).

The interval is about other speakers of these corpora, not about other corpora: those were chosen, not drawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from bench.audio.conditions import CLEAN
from bench.errors import CannotSeparate
from bench.scoring.equal_fits import what_differs
from bench.scoring.figures import COMPARED_METRICS, metrics_of
from bench.scoring.record_schema import Gap
from bench.scoring.records import Record
from bench.scoring.subgroups import gap_interval, gap_of
from bench.scoring.subject import Subject
from bench.statistics.additive import metric_named, value
from bench.statistics.degrees import satterthwaite_degrees, student_quantile
from bench.statistics.intervals import difference_interval, interval
from bench.statistics.ranking import AcrossPools, TaskScore, rank_across_pools
from bench.statistics.resampling import Jackknifed

ALL_LANGUAGES = "all"


@dataclass(frozen=True)
class Macro:
    """A system's score in one language, or over all (``language`` is ``all``), each pool of recordings counted once."""

    system: str
    track: str
    protocol: str
    training: str
    condition: str
    language: str
    view: str
    metric: str
    dimension: str | None
    estimate: float
    low: float | None
    high: float | None
    method: str
    languages: int
    pools: int
    tasks: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "tasks": list(self.tasks)}


@dataclass(frozen=True)
class AcrossGap:
    """The gap between a system's best and worst language (``task`` is empty) or condition (``condition`` is empty)."""

    system: str
    track: str
    protocol: str
    training: str
    condition: str
    task: str
    gap: Gap

    def as_json(self) -> dict[str, Any]:
        """Return JSON values, the gap's fields beside the others."""
        return {**{k: v for k, v in vars(self).items() if k != "gap"}, **self.gap.as_json()}


@dataclass(frozen=True)
class _Term:
    """What one task adds to a mean: its weighted value and error (None: undefined), and the error's degrees of freedom."""

    task: str
    pool: str
    estimate: float
    error: float | None
    degrees: float

    def times(self, weight: float) -> _Term:
        error = None if self.error is None else weight * self.error
        return replace(self, estimate=weight * self.estimate, error=error)


def by_language(records: Iterable[Record]) -> tuple[list[Macro], list[AcrossGap]]:
    """Average every system's scores by language and over languages, per protocol, training, condition, view, metric."""
    macros: list[Macro] = []
    gaps: list[AcrossGap] = []
    for key, members in _grouped(records, ("system", "track", "protocol", "training", "condition")).items():
        level = members[0].facts.plan.level
        for subject in _subjects(members):
            spoken = _languages(members, subject)
            macros += [_macro(key, name, subject, terms, level, 1) for name, terms in spoken.items()]
            if len(spoken) > 1:
                terms = [t.times(1 / len(spoken)) for tasks in spoken.values() for t in tasks]
                macros.append(_macro(key, ALL_LANGUAGES, subject, terms, level, len(spoken)))
                system, track, protocol, training, condition = key
                gap = _language_gap(subject, spoken, level)
                gaps.append(AcrossGap(system, track, protocol, training, condition, "", gap))
    return macros, gaps


def by_condition(records: Iterable[Record]) -> list[AcrossGap]:
    """How far apart a system's conditions of one task lie: the same fits on the same clips, so their error is a paired one.

    Conditions that were answered by other fits are left out, and counted.
    """
    gaps = []
    for key, members in _grouped(records, ("system", "track", "protocol", "training", "task")).items():
        level = members[0].facts.plan.level
        # The clean score is what the others are held against; without one, whichever stands first.
        first = next((r for r in members if r.facts.condition == CLEAN), members[0])
        same = [r for r in members if not what_differs(r, first)]
        for subject in _subjects(same) if len(same) > 1 else ():
            blocks = {r.facts.condition: b for r in same if (b := subject.block(r)) is not None}
            metric = metric_named(subject.metric)
            values = {c: float(value(metric, b.averaged.sum(axis=0))) for c, b in blocks.items()}
            values = {c: v for c, v in values.items() if np.isfinite(v)}
            if len(values) < 2:
                continue
            low: float | None = None
            high: float | None = None
            try:
                low, high, method = gap_interval(metric, [blocks[c].averaged for c in values], level)
            except CannotSeparate as error:
                method = f"none: {error}"
            others = len(members) - len(same)
            gap = gap_of("condition", _named(subject), values, (low, high, method), others)
            system, track, protocol, training, task = key
            gaps.append(AcrossGap(system, track, protocol, training, "", task, gap))
    return gaps


@dataclass(frozen=True)
class Ranking:
    """Average ranks of a track's systems over pools in the plan's primary metric and view, or why there are none."""

    track: str
    protocol: str
    training: str
    condition: str
    view: str
    metric: str
    pools: int
    ranks: AcrossPools | str

    @property
    def title(self) -> str:
        """What is ranked, in words."""
        setting = " ".join(filter(None, (self.protocol, self.training, self.condition)))
        return f"track {self.track}, {setting}, {self.metric.upper()}, view {self.view}"

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        fields = {k: v for k, v in asdict(self).items() if k != "ranks"}
        if isinstance(self.ranks, str):
            return {**fields, "none": self.ranks}
        return {
            **fields,
            **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.ranks).items()},
        }


def rankings(records: Iterable[Record]) -> list[Ranking]:
    """Rank systems across tasks within each track and setting (Friedman, Nemenyi); reference levels do not compete."""
    ranked = []
    for key, members in _grouped(records, ("track", "protocol", "training", "condition")).items():
        plan = members[0].facts.plan
        if key[0] == "reference" or plan.primary_metric == "ccc":
            continue
        subject = Subject(members[0].facts.main_view, "wrong", plan.primary_metric)
        scores = [
            TaskScore(r.facts.pool, r.task, r.system, term.estimate)
            for r in members
            if (term := _term(r, subject)) is not None
        ]
        try:
            ranks: AcrossPools | str = rank_across_pools(scores, level=plan.level)
        except CannotSeparate as error:
            ranks = str(error)
        track, protocol, training, condition = key
        pools = len({s.pool for s in scores})
        ranked.append(
            Ranking(track, protocol, training, condition, subject.view, subject.metric, pools, ranks)
        )
    return ranked


def _grouped(records: Iterable[Record], names: Sequence[str]) -> dict[tuple[str, ...], list[Record]]:
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        if "@" not in record.task:
            groups[tuple(str(getattr(record.facts, n)) for n in names)].append(record)
    return dict(sorted(groups.items()))


def _subjects(records: Sequence[Record]) -> list[Subject]:
    """Everything that at least one of the records can be scored in."""
    subjects: dict[Subject, None] = {}
    for record in records:
        for b in record.blocks:
            if b.rows == "all" and b.outside == "wrong":
                dimension = None if b.categorical else b.target
                metrics = [m for m in metrics_of(b.target) if m in COMPARED_METRICS]
                subjects |= dict.fromkeys(Subject(b.view, "wrong", m, dimension) for m in metrics)
    return list(subjects)


def _languages(records: Sequence[Record], subject: Subject) -> dict[str, list[_Term]]:
    """The weighted tasks behind each language's mean, by primary language subtag (``en-SG`` is ``en``)."""
    spoken: dict[str, dict[str, list[_Term]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if (term := _term(record, subject)) is not None:
            spoken[record.facts.language.split("-")[0].lower()][term.pool].append(term)
    return {
        language: [t.times(1 / (len(pools) * len(tasks))) for tasks in pools.values() for t in tasks]
        for language, pools in sorted(spoken.items())
    }


def _term(record: Record, subject: Subject) -> _Term | None:
    block = subject.block(record)
    if block is None or block.clips == 0:
        return None
    estimate = float(value(subject.metric, block.averaged.sum(axis=0)))
    if not np.isfinite(estimate):
        return None
    pool = record.facts.pool
    try:
        made = interval(subject.metric, block.averaged)
    except CannotSeparate:
        return _Term(record.task, pool, estimate, None, 1.0)
    degrees = max(made.effective_clusters - 1, 1.0)
    # A perfect score has no jackknife error, and still an interval: half of it is what the error would have been.
    least = (made.high - made.low) / 2 / student_quantile((1 + made.level) / 2, degrees)
    return _Term(record.task, pool, estimate, made.standard_error or least, degrees)


def _mean(terms: Sequence[_Term]) -> tuple[Jackknifed, float] | str:
    """Sum of weighted tasks with its error and degrees of freedom, or the sentence that says why it has no error."""
    if lacking := [t.task for t in terms if t.error is None]:
        return f"none: {lacking[0]} has no interval of its own"
    errors: dict[str, float] = defaultdict(float)
    degrees: dict[str, float] = {}
    for t in terms:
        errors[t.pool] += abs(t.error or 0.0)
        degrees[t.pool] = min(t.degrees, degrees.get(t.pool, np.inf))
    variances = [e**2 for e in errors.values()]
    df = satterthwaite_degrees(variances, [degrees[p] for p in errors])
    return Jackknifed(sum(t.estimate for t in terms), float(np.sqrt(sum(variances))), 0), df


def _macro(
    key: tuple[str, ...],
    language: str,
    subject: Subject,
    terms: Sequence[_Term],
    level: float,
    languages: int,
) -> Macro:
    metric = metric_named(subject.metric)
    mean = _mean(terms)
    low: float | None = None
    high: float | None = None
    if isinstance(mean, str):
        method = mean
    else:
        ends = difference_interval(metric, mean[0], level, mean[1])
        low, high = max(ends[0], metric.minimum), min(ends[1], metric.maximum)
        method = "jackknife-t over clusters, pools independent"
    system, track, protocol, training, condition = key
    return Macro(
        system, track, protocol, training, condition, language, subject.view, subject.metric, subject.dimension,
        sum(t.estimate for t in terms), low, high, method, languages, len({t.pool for t in terms}),
        tuple(sorted(t.task for t in terms)),
    )  # fmt: skip


def _named(subject: Subject) -> tuple[str, str, str | None]:
    return subject.view, subject.metric, subject.dimension


def _language_gap(subject: Subject, spoken: Mapping[str, Sequence[_Term]], level: float) -> Gap:
    values = {name: sum(t.estimate for t in terms) for name, terms in spoken.items()}
    pairs = list(combinations(spoken, 2))
    ends = []
    for a, b in pairs:
        difference = _mean([*spoken[a], *(t.times(-1) for t in spoken[b])])
        if isinstance(difference, str):
            return gap_of("language", _named(subject), values, (None, None, difference))
        narrowed = 1 - (1 - level) / len(pairs)
        ends.append(difference_interval(metric_named(subject.metric), difference[0], narrowed, difference[1]))
    low = max(0.0, *(max(first, -second) for first, second in ends))
    high = max(max(second, -first) for first, second in ends)
    method = f"jackknife-t of {len(pairs)} pair(s) of languages, pools independent, Bonferroni"
    return gap_of("language", _named(subject), values, (low, high, method))
