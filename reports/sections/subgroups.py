"""Scores of groups of clips on a task page: gender, length, speakers; who is served worst, and how far apart groups are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.scoring.record_schema import AxisDescription, Gap, SubgroupScore
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports.charts.geometry import PlotAxis, axis_around
from reports.formatting import number, span
from reports.sections.forest_boards import ScoreCell

Row = TypeVar("Row", SubgroupScore, Gap)
_NOT_CARRIED = re.compile("^the corpus names no (gender|speakers)$")
_CARRIES = r"the card and its manifest carry no \1"
"""Earlier versions said of the corpus what they knew of its card."""
TITLES = {"gender": "Gender", "duration": "Length of the clip", "emotion": "Emotion", "speaker": "Speaker"}


@dataclass(frozen=True)
class GroupCell:
    """A group's score; ``x`` is its place in the figure, px."""

    group: str
    score: ScoreCell
    clips: int
    x: float


@dataclass(frozen=True)
class GapCell:
    """Best − worst group with its interval; ``shown`` when the interval leaves out zero."""

    best: str
    worst: str
    score: ScoreCell
    shown: bool
    low_x: float
    high_x: float


@dataclass(frozen=True)
class SliceRow:
    """One system: a cell per group (None: not scored), and the gap (None: fewer than two comparable groups)."""

    record: Record
    cells: tuple[GroupCell | None, ...]
    gap: GapCell | None


@dataclass(frozen=True)
class SliceTable:
    """One axis of one subject. ``groups`` are (name, words); none for speakers, of whom only best and worst are told."""

    axis: str
    title: str
    subject: Subject
    scale: PlotAxis
    groups: tuple[tuple[str, str], ...]
    rows: tuple[SliceRow, ...]
    notes: tuple[str, ...]


def slice_tables(records: Sequence[Record], subject: Subject) -> tuple[list[SliceTable], list[str]]:
    """Lay out every axis that some record has, and say why the others are absent.

    Emotion is left to the table of recalls: a slice by emotion is a recall. Reference systems are left out.
    """
    tables, absent = [], []
    records = [r for r in records if r.facts.track != "reference"]
    if not records:
        return [], []
    for axis in records[0].facts.axes:
        name = axis.axis
        if name == "emotion":
            continue
        if axis.absent:
            absent.append(f"{TITLES.get(name, name.capitalize())}: {_NOT_CARRIED.sub(_CARRIES, axis.absent)}")
            continue
        if (table := _table(records, subject, axis)) is not None:
            tables.append(table)
    return tables, absent


def _table(records: Sequence[Record], subject: Subject, axis: AxisDescription) -> SliceTable | None:
    name = axis.axis
    own = [(r, _of(subject, name, r.facts.slices), _of(subject, name, r.facts.gaps)) for r in records]
    own = [(r, s, g) for r, s, g in own if s or g]
    if not own:
        return None
    values = [s.estimate for _, slices, _ in own for s in slices]
    values += [v for _, _, gaps in own for g in gaps for v in (g.best_estimate, g.worst_estimate)]
    scale = axis_around(values, minimum=0.0 if subject.metric != "ccc" else -1.0, maximum=1.0)
    groups = _groups(axis)
    rows = tuple(
        SliceRow(
            r,
            tuple(_cell(subject, scale, slices, g) for g, _ in groups),
            _gap(subject, scale, gaps[0]) if gaps else None,
        )
        for r, slices, gaps in own
    )
    return SliceTable(name, TITLES.get(name, name.capitalize()), subject, scale, groups, rows, _notes(own))


def _of(subject: Subject, axis: str, rows: Sequence[Row]) -> list[Row]:
    """Those rows of a record that are about a subject and an axis."""
    wanted = (axis, subject.view, subject.metric, subject.dimension)
    return [s for s in rows if (s.axis, s.view, s.metric, s.dimension) == wanted]


def _groups(axis: AxisDescription) -> tuple[tuple[str, str], ...]:
    names, edges = axis.groups, axis.edges_seconds
    if len(edges) != len(names) + 1:
        return tuple((n, n) for n in names)
    return tuple((n, f"{n}, {edges[i]:.1f}–{edges[i + 1]:.1f} s") for i, n in enumerate(names))


def _cell(subject: Subject, scale: PlotAxis, slices: Sequence[SubgroupScore], group: str) -> GroupCell | None:
    row = next((s for s in slices if s.group == group), None)
    if row is None:
        return None
    percent = subject.metric != "ccc"
    score = ScoreCell(number(row.estimate, percent=percent), span(row.low, row.high, percent=percent))
    return GroupCell(group, score, row.clips, scale.x(row.estimate))


def _gap(subject: Subject, scale: PlotAxis, gap: Gap) -> GapCell:
    percent = subject.metric != "ccc"
    return GapCell(
        gap.best,
        gap.worst,
        ScoreCell(number(gap.gap, percent=percent), span(gap.low, gap.high, percent=percent)),
        gap.low is not None and gap.low > 0,
        scale.x(gap.worst_estimate),
        scale.x(gap.best_estimate),
    )


def _notes(own: Sequence[tuple[Record, object, Sequence[Gap]]]) -> tuple[str, ...]:
    """Say once what holds for the gaps: groups left out, and why there is no interval."""
    left_out = max((g.left_out for _, _, gaps in own for g in gaps), default=0)
    methods = {g.method for _, _, gaps in own for g in gaps if g.method.startswith("none: ")}
    remarks = (
        [
            f"{f'Up to {left_out} groups' if left_out > 1 else 'A group'} that {'lack' if left_out > 1 else 'lacks'} a class, or cannot be named, take{'' if left_out > 1 else 's'} no part in the gap."
        ]
        if left_out
        else []
    )
    return (
        *remarks,
        *(f"No interval of the gap: {m.removeprefix('none: ')}." for m in sorted(methods)),
    )
