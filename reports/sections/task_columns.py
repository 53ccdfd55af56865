"""What systems were scored on, as columns of one table: a task under one condition in one metric."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.audio.conditions import CLEAN
from bench.scoring.pair_results import PairResult
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports import formatting
from reports.data.comparisons import TaskComparison, overview_comparisons

PLAIN = ("within", "zero-shot")
"""Protocols that share a column: the same clips, answered by systems that learnt on other speakers or nothing."""
SHOWN = 6
"""Columns of a first look."""
ASKED_FIRST = ("en", "zh", "ms", "ta", "id", "th", "vi", "fil")
"""The languages that this suite is about, in its order."""


def primary_tag(tag: str) -> str:
    """The language of a tag alone; Tagalog counts as Filipino.

    >>> primary_tag("en-SG"), primary_tag("tl")
    ('en', 'fil')
    """
    language = tag.partition("-")[0].lower()
    return "fil" if language == "tl" else language


@dataclass(frozen=True)
class TaskColumn:
    """One column; where two protocols share it, that of systems trained here comes first."""

    task: str
    setting: str
    """How it was learnt, where that was not on other speakers of the task or nothing."""
    condition: str
    subject: Subject
    comparisons: tuple[TaskComparison, ...]

    @property
    def facts(self) -> RecordFacts:
        """What its records say alike: corpus, clips, speakers."""
        return self.comparisons[0].facts

    @property
    def language(self) -> str:
        """Primary language tag."""
        return primary_tag(self.facts.language)

    @property
    def plain(self) -> bool:
        """Whether it is the task in its default split, not learnt elsewhere."""
        return not self.setting and "@" not in self.task

    @cached_property
    def records(self) -> dict[str, Record]:
        """System → record that has the score."""
        found: dict[str, Record] = {}
        for c in self.comparisons:
            for r in c.records:
                if self.subject.row(r) is not None:
                    found.setdefault(r.system, r)
        return found

    def comparison_of(self, system: str) -> TaskComparison:
        """Where a system of the column was compared."""
        return next(c for c in self.comparisons if any(r is self.records[system] for r in c.records))

    @cached_property
    def tested(self) -> list[PairResult]:
        """Every planned test of the subject."""
        return [p for c in self.comparisons for p in c.tested(self.subject)]

    @property
    def unit(self) -> str:
        """What stands in its cells."""
        return formatting.subject_title(self.subject)


def task_columns(comparisons: Sequence[TaskComparison]) -> list[TaskColumn]:
    """Columns of all comparisons, in their order."""
    groups: dict[tuple[str, str, str, Subject], list[TaskComparison]] = defaultdict(list)
    for c in comparisons:
        setting = "" if c.protocol in PLAIN else c.protocol
        for s in c.subjects:
            groups[c.task, setting, c.condition, s].append(c)
    made = [TaskColumn(*key, tuple(own)) for key, own in groups.items()]
    return [c for c in made if c.records]


def main_columns(columns: Sequence[TaskColumn]) -> list[TaskColumn]:
    """The columns that averages are taken over: plain tasks, clean audio where there is any, in the commonest metric.

    A category's metric goes before a dimension's.
    """
    first = {id(c) for c in overview_comparisons([c for column in columns for c in column.comparisons])}
    plain = [c for c in columns if c.plain and any(id(x) in first for x in c.comparisons)]
    counted = Counter(c.subject for c in plain)
    if not counted:
        return []
    subject = max(counted, key=lambda s: (s.metric != "ccc", counted[s], -list(counted).index(s)))
    return sorted((c for c in plain if c.subject == subject), key=_asked_first)


def _asked_first(column: TaskColumn) -> tuple[int, str, str]:
    tag = column.language
    place = ASKED_FIRST.index(tag) if tag in ASKED_FIRST else len(ASKED_FIRST)
    return place, formatting.language_name(tag), column.task


def shown_first(main: Sequence[TaskColumn]) -> list[TaskColumn]:
    """Columns of a first look: one of each language in turn, until there are enough."""

    def in_turn() -> Iterator[TaskColumn]:
        by_language: dict[str, list[TaskColumn]] = defaultdict(list)
        for c in main:
            by_language[c.language].append(c)
        while any(by_language.values()):
            for own in by_language.values():
                if own:
                    yield own.pop(0)

    chosen = [c for c, _ in zip(in_turn(), range(SHOWN), strict=False)]
    return [c for c in main if c in chosen]


def is_clean(column: TaskColumn) -> bool:
    """Whether its test audio was left as it is."""
    return column.condition == CLEAN
