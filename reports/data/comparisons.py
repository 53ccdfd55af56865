"""Systems that met on the same clips: what is compared, which differences stand, and what follows for ranks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.audio.conditions import CLEAN
from bench.cards.analysis_plan import AnalysisPlan
from bench.cards.labels import VIEWS
from bench.errors import DataError
from bench.protocols import DIMENSIONS
from bench.scoring.comparisons import (
    ACROSS_PROTOCOLS,
    ACROSS_TRACKS,
    comparable,
    families,
    families_across_protocols,
    run_family,
)
from bench.scoring.pair_results import PairResult
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import CountsKey, Record
from bench.scoring.subject import Subject
from bench.statistics.ranking import RankInterval, rank_interval
from reports.data.conditions import severity

TRACKS = ("adapted", "probed", "released", "reference")
"""In the order of a board: most supervision first, reference systems last."""


@dataclass(frozen=True)
class TaskComparison:
    """The records of one task, protocol and condition, with every planned test of the subjects shown.

    ``untested`` says why a family could not be tested, by family name.
    """

    task: str
    protocol: str
    condition: str
    plan: AnalysisPlan
    records: tuple[Record, ...]
    subjects: tuple[Subject, ...]
    pairings: tuple[PairResult, ...]
    untested: tuple[str, ...]
    _seen: dict[tuple[Subject, str], dict[str, dict[str, PairResult]]] = field(
        default_factory=dict, repr=False, compare=False
    )
    """Pairings by system, kept: with 60 systems a track has 1,770 of them, asked for again and again."""
    _kept: dict[tuple[object, ...], Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What else is asked for again and again: members of a track, tests of a subject, standings."""

    @property
    def facts(self) -> RecordFacts:
        """Facts that all its records share: corpus, clips, folds."""
        return self.records[0].facts

    @property
    def tracks(self) -> list[str]:
        """Tracks present, in the board's order."""
        present = {r.facts.track for r in self.records}
        return [t for t in TRACKS if t in present]

    def members(self, subject: Subject, track: str) -> list[Record]:
        """Records of a track that have the subject's score, best first (the name decides equal scores)."""
        key = ("members", subject, track)
        if key not in self._kept:
            scored = [
                (row.estimate, r)
                for r in self.records
                if r.facts.track == track and (row := subject.row(r)) is not None
            ]
            self._kept[key] = [r for _, r in sorted(scored, key=lambda pair: (-pair[0], pair[1].system))]
        return list(self._kept[key])

    def estimates(self, subject: Subject, track: str) -> list[float]:
        """Scores of a track's members, best first."""
        key = ("estimates", subject, track)
        if key not in self._kept:
            members = self.members(subject, track)
            self._kept[key] = [row.estimate for m in members if (row := subject.row(m)) is not None]
        return list(self._kept[key])

    def tested(self, subject: Subject) -> list[PairResult]:
        """Pairings of the subject, in every family of the plan."""
        if ("tested", subject) not in self._kept:
            wanted = (subject.view, subject.outside, subject.metric, subject.dimension)
            self._kept["tested", subject] = [
                p for p in self.pairings if (p.view, p.outside, p.metric, p.dimension) == wanted
            ]
        return list(self._kept["tested", subject])

    def within(self, subject: Subject, track: str) -> list[PairResult]:
        """Pairings of one track's family."""
        return [p for p in self.tested(subject) if p.family == f"track {track}"]

    def across(self, subject: Subject) -> list[PairResult]:
        """Pairings that the plan names across tracks; where the two ran under different protocols, it is the first one's comparison."""
        return [p for p in self.tested(subject) if p.family in (ACROSS_TRACKS, ACROSS_PROTOCOLS)]

    def against(self, subject: Subject, track: str, system: str) -> dict[str, PairResult]:
        """A system's pairings inside its track, by the other's name, seen from the system.

        Args:
            subject: view, metric and dimension.
            track: the track whose family was tested.
            system: a system's name.

        Returns:
            Other system's name → result, differences being ``system`` less the other; blank where nothing was tested.
        """
        if (subject, track) not in self._seen:
            seen: dict[str, dict[str, PairResult]] = defaultdict(dict)
            for p in self.within(subject, track):
                seen[p.system_a][p.system_b] = p
                seen[p.system_b][p.system_a] = p.turned()
            self._seen[subject, track] = dict(seen)
        return self._seen[subject, track].get(system, {})

    def rank(self, subject: Subject, track: str, system: str) -> RankInterval | None:
        """From 1 + (significantly better systems) to N − (significantly worse ones).

        Args:
            subject: view, metric and dimension.
            track: the track that the system is ranked in.
            system: a system's name.

        Returns:
            None where nothing was tested, and where the split leaks: no verdict may rest on such scores.
        """
        if self.facts.leaks:
            return None
        n = len(self.members(subject, track))
        met, ahead, behind = self._standings(subject, track).get(system, (set(), 0, 0))
        if len(met) != n - 1:
            return None
        return rank_interval(systems=n, significantly_better=ahead, significantly_worse=behind)

    def _standings(self, subject: Subject, track: str) -> dict[str, tuple[set[str], int, int]]:
        """System → those it was tested against inside the track, how many are better, how many worse."""
        key = ("standings", subject, track)
        if key not in self._kept:
            met: dict[str, set[str]] = defaultdict(set)
            ahead: dict[str, int] = defaultdict(int)
            behind: dict[str, int] = defaultdict(int)
            last = {frozenset((p.system_a, p.system_b)): p for p in self.within(subject, track)}
            for p in last.values():
                met[p.system_a].add(p.system_b)
                met[p.system_b].add(p.system_a)
                if p.kind in ("better", "worse"):
                    won, lost = (p.system_a, p.system_b) if p.kind == "better" else (p.system_b, p.system_a)
                    behind[won] += 1
                    ahead[lost] += 1
            self._kept[key] = {s: (own, ahead[s], behind[s]) for s, own in met.items()}
        found: dict[str, tuple[set[str], int, int]] = self._kept[key]
        return found


def overview_comparisons(comparisons: Sequence[TaskComparison]) -> list[TaskComparison]:
    """Comparisons of an overview: of a task and protocol that was run on clean audio, that one alone."""
    clean = {(c.task, c.protocol) for c in comparisons if c.condition == CLEAN}
    return [c for c in comparisons if c.condition == CLEAN or (c.task, c.protocol) not in clean]


TestFamily = Callable[
    [str, Sequence[Record], Sequence[tuple[str, str]], Sequence[str], Collection[CountsKey]], list[PairResult]
]
"""Tests a comparison family: :func:`bench.scoring.comparisons.run_family`, or the same with a memory."""


def compare_systems(records: Sequence[Record], test: TestFamily = run_family) -> list[TaskComparison]:
    """Group records by task, protocol and condition, and run each planned family once.

    Of a task, what is ``within`` comes first, and of each protocol clean audio, then conditions kind by kind.
    """
    groups = list(comparable(records))
    tasks = list(dict.fromkeys(group[0].task for group in groups))
    regimes = list(dict.fromkeys(group[0].regime for group in groups))

    def place(group: Sequence[Record]) -> tuple[object, ...]:
        first = group[0]
        trained = first.facts.protocol != "within", regimes.index(first.regime)
        return tasks.index(first.task), *trained, severity(first.facts.condition)

    groups = sorted(groups, key=place)
    return _with_pairs_across_protocols([_comparison(group, test) for group in groups], records, test)


def _with_pairs_across_protocols(
    comparisons: Sequence[TaskComparison], records: Sequence[Record], test: TestFamily
) -> list[TaskComparison]:
    """Add the pairs that the plan names and that met under different protocols only, to the comparison of the first of each."""
    place = {id(r): i for i, c in enumerate(comparisons) for r in c.records}
    added: dict[int, list[PairResult]] = defaultdict(list)
    untested: dict[int, list[str]] = defaultdict(list)
    for name, members, pairs in families_across_protocols(records):
        at = {r.system: place[id(r)] for r in members}
        subjects = [s for i in dict.fromkeys(at.values()) for s in comparisons[i].subjects]
        keys = {(s.view, s.outside, "all", s.target) for s in subjects}
        try:
            for p in test(name, members, pairs, list(dict.fromkeys(s.metric for s in subjects)), keys):
                added[at[p.system_a]].append(p)
        except DataError as error:
            untested[at[pairs[0][0]]].append(f"{name}: {error}")
    return [
        replace(c, pairings=(*c.pairings, *added[i]), untested=(*c.untested, *untested[i]))
        for i, c in enumerate(comparisons)
    ]


def _comparison(group: Sequence[Record], test: TestFamily) -> TaskComparison:
    plan = group[0].facts.plan
    subjects = _subjects(group, plan)
    # Other views are tested by serbench compare.
    keys = {(s.view, s.outside, "all", s.target) for s in subjects}
    pairings: list[PairResult] = []
    untested: list[str] = []
    for name, members, pairs in families(group):
        if name == "track reference":
            continue  # reference systems do not compete
        try:
            pairings += test(name, members, pairs, [s.metric for s in subjects], keys)
        except DataError as error:
            untested.append(f"{name}: {error}")
    facts = group[0].facts
    return TaskComparison(
        facts.task,
        group[0].regime,
        facts.condition,
        plan,
        tuple(group),
        tuple(subjects),
        tuple(pairings),
        tuple(untested),
    )


def _subjects(group: Sequence[Record], plan: AnalysisPlan) -> list[Subject]:
    """The primary view and metric (the corpus's own classes where the view has none), then CCC by dimension."""
    scores = [s for r in group for s in r.scores if s.rows == "all"]
    metric = plan.primary_metric if plan.primary_metric != "ccc" else "ua"
    views = {s.view for s in scores if s.metric == metric}
    chosen = [v for v in (plan.primary_view, *VIEWS) if v in views][:1]
    dimensions = {s.dimension for s in scores if s.metric == "ccc"}
    categories = [Subject(v, "wrong", metric) for v in chosen]
    agreement = [Subject("dimensions", "wrong", "ccc", d) for d in DIMENSIONS if d in dimensions]
    return agreement + categories if plan.primary_metric == "ccc" else categories + agreement
