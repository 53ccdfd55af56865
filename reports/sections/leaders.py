"""Task by task, the best of each family on one scale: the picture of a first page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.scoring.records import Record
from bench.statistics.ranking import RankInterval
from reports import formatting
from reports.charts.geometry import PlotAxis, marker_path
from reports.data.caution_badges import CautionBadge, caution_badges
from reports.data.reference_lines import shared_line
from reports.sections.family_answers import FAMILIES
from reports.sections.folds import split_words
from reports.sections.forest_boards import ScoreCell, score_of
from reports.sections.task_columns import TaskColumn, is_clean

LANE = 13
"""Height of one system in a picture, px."""
PERCENT = PlotAxis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
AGREEMENT = PlotAxis(-0.25, 1.0, (-0.25, 0.0, 0.25, 0.5, 0.75, 1.0))
"""For CCC, which seldom falls further below 0; what does stands at the end."""


@dataclass(frozen=True)
class Leader:
    """The best of a family on a task: its figure, and where its interval and marker stand, as SVG paths."""

    family: str
    record: Record
    score: ScoreCell
    rank: RankInterval | None
    whisker: str
    marker: str


@dataclass(frozen=True)
class LeaderRow:
    """One task."""

    column: TaskColumn
    number: int
    """Place of the column among all."""
    leaders: tuple[Leader, ...]
    chance: float | None
    height: int
    left: float
    right: float
    """Ends of the scale, px."""
    badges: tuple[CautionBadge, ...]
    split: str
    """How its clips were split, where not as usual."""


def axis_of(column: TaskColumn) -> PlotAxis:
    """The scale that all tasks of a unit share."""
    return PERCENT if formatting.is_percent(column.subject) else AGREEMENT


def leader_rows(columns: Sequence[TaskColumn]) -> list[LeaderRow]:
    """Lay out the best of each family, on clean audio where there is any; other conditions have their own page.

    Args:
        columns: everything that was scored.

    Returns:
        A row per task, setting and subject, in the order of the columns.
    """
    clean = {(c.task, c.setting) for c in columns if is_clean(c)}
    shown = [(k, c) for k, c in enumerate(columns) if is_clean(c) or (c.task, c.setting) not in clean]
    return [_row(c, k) for k, c in shown]


def _row(column: TaskColumn, number: int) -> LeaderRow:
    best: dict[str, Record] = {}
    for record in column.records.values():
        if record.facts.track == "reference":
            continue
        family = record.facts.family
        if family not in best or _place(column, record) < _place(column, best[family]):
            best[family] = record
    ordered = {f: best[f] for f in (*FAMILIES, *sorted(set(best) - set(FAMILIES))) if f in best}
    line = shared_line(column.subject, list(column.records.values()))
    axis = axis_of(column)
    return LeaderRow(
        column,
        number,
        tuple(_leader(column, axis, lane, family, r) for lane, (family, r) in enumerate(ordered.items())),
        axis.x(line.value) if line else None,
        LANE * max(len(ordered), 1) + 4,
        round(axis.x(axis.low)),
        round(axis.x(axis.high)),
        tuple(caution_badges(column.facts)),
        split_words(column.task) if "@" in column.task else "",
    )


def _place(column: TaskColumn, record: Record) -> tuple[float, str]:
    row = column.subject.row(record)
    assert row is not None
    return -row.estimate, record.system


def _leader(column: TaskColumn, axis: PlotAxis, lane: int, family: str, record: Record) -> Leader:
    row = column.subject.row(record)
    assert row is not None
    y = LANE * lane + LANE / 2 + 2
    whisker = ""
    if row.low is not None and row.high is not None:
        whisker = f"M{axis.x(row.low):g} {y:g}H{axis.x(row.high):g}"
    comparison = column.comparison_of(record.system)
    return Leader(
        family,
        record,
        score_of(row),
        comparison.rank(column.subject, record.facts.track, record.system),
        whisker,
        marker_path(record.facts.track, axis.x(row.estimate), y),
    )
