"""Forest boards and the heat map as typed values: the templates only place them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from bench.statistics.additive import METRICS
from bench.statistics.ranking import RankInterval
from reports import formatting
from reports.charts.geometry import Bar, PlotAxis, axis_around, bar
from reports.data.comparisons import TaskComparison
from reports.data.reference_lines import (
    GuessLine,
    Standing,
    against_priors,
    best_guess,
    guess_line,
    human_line,
    shared_line,
    standing,
)


@dataclass(frozen=True)
class ScoreCell:
    """A figure and its interval, written out."""

    estimate: str
    interval: str


@dataclass(frozen=True)
class BoardRow:
    """One system (or, on a system's page, one task) of a forest plot."""

    record: Record
    track: str
    score: ScoreCell
    bar: Bar
    rank: RankInterval | None
    others: tuple[ScoreCell, ...]
    low: float | None
    line: GuessLine | None
    """What a guess scores, by what this system was offered."""
    standing: Standing | None
    """Where the interval lies against that; None where there is no such line or no interval."""
    best_guess: GuessLine | None
    """The most that any rule scores that hears nothing."""
    against_priors: tuple[GuessLine, GuessLine] | None
    """What going by the training side's frequencies scores, and a uniform guess, where the first is clearly less."""

    @property
    def only_above_uniform(self) -> bool:
        """Whether it is above a uniform guess, and not shown above the best rule that hears nothing."""
        row, best = self.low, self.best_guess
        return self.standing == "above" and row is not None and best is not None and row <= best.value


@dataclass(frozen=True)
class ForestBoard:
    """A forest plot in the form of a table, rows in groups."""

    subject: Subject
    axis: PlotAxis
    groups: tuple[tuple[str, tuple[BoardRow, ...]], ...]
    other_titles: tuple[str, ...]
    chance: float | None
    """What a guess scores, where all systems were offered the same labels."""
    human: float | None = None
    """What one listener scores against the same truth, where votes or ratings are known."""
    rule: str = ""
    """How is guessed, in words."""

    @property
    def rows(self) -> list[BoardRow]:
        """All rows."""
        return [row for _, rows in self.groups for row in rows]


def task_board(comparison: TaskComparison, subject: Subject) -> ForestBoard:
    """All systems of a comparison, by track, best first."""
    members = {t: comparison.members(subject, t) for t in comparison.tracks}
    everyone = [r for group in members.values() for r in group]
    human = human_line(subject, everyone[0]) if everyone else None
    axis = _axis(subject, everyone, *([human] if human is not None else []))
    groups = tuple(
        (t, tuple(_board_row(subject, r, axis, comparison.rank(subject, t, r.system)) for r in group))
        for t, group in members.items()
        if group
    )
    line = shared_line(subject, everyone)
    return ForestBoard(
        subject,
        axis,
        groups,
        tuple(_other_titles(subject)),
        line.value if line else None,
        human,
        line.words if line else "",
    )


def system_boards(
    comparisons: Sequence[TaskComparison], system: str, subject_of: Mapping[int, Subject]
) -> list[ForestBoard]:
    """One system on all its tasks, a board per metric, each row with its own chance line.

    Args:
        comparisons: every comparison of the run.
        system: a system's name.
        subject_of: position of a comparison → the subject shown first there.

    Returns:
        The boards, those of metrics met first in front.
    """
    by_metric: dict[tuple[str, str | None], list[tuple[TaskComparison, Subject, Record]]] = {}
    for i, c in enumerate(comparisons):
        if (s := subject_of.get(i)) is None:
            continue
        found = [(c, s, r) for r in c.records if r.system == system and s.row(r) is not None]
        by_metric.setdefault((s.metric, s.dimension), []).extend(found)
    return [_board_of_tasks(found, system) for found in by_metric.values() if found]


def _board_of_tasks(found: Sequence[tuple[TaskComparison, Subject, Record]], system: str) -> ForestBoard:
    subject = found[0][1]
    axis = _axis(subject, [r for _, _, r in found])
    rows = tuple(_board_row(s, r, axis, c.rank(s, r.facts.track, system)) for c, s, r in found)
    return ForestBoard(subject, axis, (("", rows),), tuple(_other_titles(subject)), None)


def _axis(subject: Subject, records: Iterable[Record], *also: float) -> PlotAxis:
    values: list[float] = list(also)
    for record in records:
        row = subject.row(record)
        if row is not None:
            values += [v for v in (row.estimate, row.low, row.high) if v is not None]
            values += [line.value for line in (guess_line(subject, record),) if line is not None]
    metric = METRICS[subject.metric]
    return axis_around(values, minimum=metric.minimum, maximum=metric.maximum)


def _board_row(subject: Subject, record: Record, axis: PlotAxis, rank: RankInterval | None) -> BoardRow:
    row = subject.row(record)
    assert row is not None
    track = record.facts.track
    line = guess_line(subject, record)
    low, high = row.low, row.high
    return BoardRow(
        record=record,
        track=track,
        score=score_of(row),
        bar=bar(axis, row.estimate, low, high, track=track, chance=line.value if line else None),
        rank=None if track == "reference" else rank,
        others=tuple(score_of(_beside(subject, m).row(record)) for m in _others(subject)),
        low=low,
        line=line,
        standing=standing(row, line),
        best_guess=best_guess(subject, record),
        against_priors=against_priors(subject, record),
    )


def _others(subject: Subject) -> list[str]:
    """Metrics that stand beside the primary one."""
    if subject.metric == "ccc":
        return ["pearson"]
    return [m for m in ("ua", "wa", "macro_f1") if m != subject.metric]


def _other_titles(subject: Subject) -> list[str]:
    return [
        formatting.METRIC_TITLES[m] + (", %" if formatting.is_percent(subject) else "")
        for m in _others(subject)
    ]


def _beside(subject: Subject, metric: str) -> Subject:
    return Subject(subject.view, subject.outside, metric, subject.dimension)


def score_of(row: ScoreRow | None) -> ScoreCell:
    """Write a score row; dashes where there is none."""
    if row is None:
        return ScoreCell("–", "")
    percent = row.dimension is None
    return ScoreCell(
        formatting.number(row.estimate, percent=percent),
        formatting.span(row.low, row.high, percent=percent),
    )
