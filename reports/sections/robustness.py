"""What degraded audio costs: every condition of a system on a task beside clean audio, subtracted where the fits are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.audio.conditions import CLEAN
from bench.scoring.equal_fits import less
from bench.scoring.paired_differences import PairedDifference
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports import formatting
from reports.charts.chart import Chart, Scale, value_scale
from reports.data.comparisons import TaskComparison
from reports.data.conditions import severity
from reports.data.reference_lines import guess_line
from reports.sections.forest_boards import ScoreCell, score_of

UNCHANGED = "changes no clip"
"""What is said of a condition under which every clip keeps its samples: a cut to 2 s of clips that are no longer."""
CHARTS = 12
"""Systems drawn for a task, the best on clean audio first; the table has them all."""
ROW = 20


@dataclass(frozen=True)
class Degraded:
    """One system under one condition. ``loss`` is its score less that on clean audio, from the same fits; None elsewhere.

    ``apart`` says why there is none: another fit, or a condition that changes no clip.
    """

    condition: str
    score: ScoreCell
    estimate: float
    low: float | None
    high: float | None
    loss: PairedDifference | None
    apart: str = ""


@dataclass(frozen=True)
class Sturdiness:
    """One system on one task under every condition it was run in, by condition, clean first."""

    record: Record
    subject: Subject
    conditions: tuple[Degraded, ...]
    chart: Chart | None

    def under(self, condition: str) -> Degraded | None:
        """Return what was measured under a condition."""
        return next((d for d in self.conditions if d.condition == condition), None)

    @property
    def worst(self) -> Degraded | None:
        """The condition that costs most."""
        return min(
            (d for d in self.conditions if d.loss is not None),
            key=lambda d: d.loss.difference if d.loss else 0.0,
            default=None,
        )


@dataclass(frozen=True)
class RobustTask:
    """A task under one protocol: its conditions and its systems, the best on clean audio first."""

    comparison: TaskComparison
    subject: Subject
    conditions: tuple[str, ...]
    systems: tuple[Sturdiness, ...]
    not_drawn: int

    @property
    def subtracted(self) -> bool:
        """Whether any score under a condition could be set against a clean one."""
        return any(d.loss is not None for s in self.systems for d in s.conditions)

    @property
    def reasons(self) -> list[tuple[str, list[str]]]:
        """Why scores are not subtracted from clean audio, each reason once, with the systems it holds for."""
        told: dict[str, list[str]] = {}
        for s in self.systems:
            for words in dict.fromkeys(d.apart for d in s.conditions if d.apart not in ("", UNCHANGED)):
                told.setdefault(words, []).append(s.record.system)
        return list(told.items())

    @property
    def same_fits(self) -> bool:
        """Whether every score under a condition stands beside a clean one of the same fits."""
        return all(
            d.loss is not None or d.apart == UNCHANGED
            for s in self.systems
            for d in s.conditions
            if d.condition != CLEAN
        )


def robust_tasks(comparisons: Sequence[TaskComparison]) -> list[RobustTask]:
    """Lay out every task that was run in more than one condition."""
    found = []
    for task, protocol in dict.fromkeys((c.task, c.protocol) for c in comparisons):
        own = sorted(
            (c for c in comparisons if (c.task, c.protocol) == (task, protocol)),
            key=lambda c: severity(c.condition),
        )
        if len(own) > 1 and own[0].subjects:
            found.append(_robust_task(own, own[0].subjects[0]))
    return found


def _robust_task(own: Sequence[TaskComparison], subject: Subject) -> RobustTask:
    records = {(r.system, c.condition): r for c in own for r in c.records}
    first = own[0]
    best = [r.system for t in first.tracks for r in first.members(subject, t)]
    systems = list(dict.fromkeys([*best, *(s for s, _ in records)]))
    conditions = tuple(c.condition for c in own)
    measured = [
        (s, found)
        for s in systems
        if (sum((s, c) in records for c in conditions) > 1)
        and (found := _measured(s, conditions, records, subject, first.plan.level))
    ]
    values = [v for _, ds in measured for d in ds for v in (d.estimate, d.low, d.high) if v is not None]
    scale = (
        value_scale(values, formatting.subject_title(subject), percent=subject.metric != "ccc")
        if values
        else None
    )
    made = []
    for i, (system, ds) in enumerate(measured):
        record = records[system, ds[0].condition]
        drawn = _chart(record, subject, ds, scale) if scale is not None and i < CHARTS else None
        made.append(Sturdiness(record, subject, tuple(ds), drawn))
    return RobustTask(first, subject, conditions, tuple(made), max(0, len(made) - CHARTS))


def _measured(
    system: str,
    conditions: Sequence[str],
    records: dict[tuple[str, str], Record],
    subject: Subject,
    level: float,
) -> list[Degraded]:
    clean = records.get((system, CLEAN))
    found = []
    for condition in conditions:
        record = records.get((system, condition))
        row = subject.row(record) if record is not None else None
        if record is None or row is None:
            continue
        loss, apart = _loss(subject, record, clean, level) if condition != CLEAN else (None, "")
        found.append(Degraded(condition, score_of(row), row.estimate, row.low, row.high, loss, apart))
    return found


def _loss(
    subject: Subject, record: Record, clean: Record | None, level: float
) -> tuple[PairedDifference | None, str]:
    if record.facts.changed_clips == 0:
        return None, UNCHANGED
    if clean is None:
        return None, "no score on clean audio"
    found = less(subject, record, clean, level)
    return found.difference, found.words


def _chart(record: Record, subject: Subject, ds: Sequence[Degraded], scale: Scale) -> Chart:
    ticks = tuple((float(-i), d.condition) for i, d in enumerate(ds))
    alt = f"{record.system} on {record.task}: {formatting.subject_title(subject)} by condition. " + "; ".join(
        f"{d.condition} {d.score.estimate} ({d.score.interval})" for d in ds
    )
    chart = Chart(
        alt, scale, Scale(-len(ds) + 0.5, 0.5, ticks, ""), width=320, height=ROW * len(ds) + 46, left=92
    )
    clean = ds[0]
    if clean.condition == CLEAN and any(d.loss is not None for d in ds):
        chart.line("guide", [(clean.estimate, 0.5), (clean.estimate, -len(ds) + 0.5)])
    line = guess_line(subject, record)
    if line is not None and scale.low <= line.value <= scale.high:
        chart.line("chance", [(line.value, 0.5), (line.value, -len(ds) + 0.5)])
    for i, d in enumerate(ds):
        if d.low is not None and d.high is not None:
            chart.line("reach", [(d.low, -i), (d.high, -i)])
        worse = d.loss is not None and d.loss.shown and d.loss.difference < 0
        chart.dots("dots lost" if worse else "dots", [(d.estimate, -i)])
    return chart
