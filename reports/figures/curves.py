"""Figures with a curve per system: scores under degraded audio, and whether a system is right as often as it says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby

from matplotlib.figure import Figure

from bench.audio.conditions import CLEAN, parse_condition
from bench.scoring.record_schema import ScoreRow
from reports import formatting
from reports.figures.material import Material
from reports.figures.paper import (
    DRAWN,
    MARKERS,
    OKABE_ITO,
    PaperFigure,
    interval_line,
    plain,
    sheet,
    short_names,
)
from reports.figures.rows import file_words
from reports.sections.reliability import Reliability, reliabilities
from reports.sections.robustness import Degraded, RobustTask, Sturdiness, robust_tasks

_SPREAD = 0.5
"""Share of a condition's width over which its systems stand side by side."""


def robustness_curves(material: Material) -> list[PaperFigure] | str:
    """Scores by condition of every task that was run in more than one."""
    made = [_robustness(t) for t in robust_tasks(material.comparisons) if t.systems]
    return made or "no task was run in more than one condition of its audio"


def _robustness(task: RobustTask) -> PaperFigure:
    subject, drawn = task.subject, task.systems[:DRAWN]
    level = formatting.level_words(task.comparison.plan.level)
    parts = [
        f"{task.comparison.task}, {task.comparison.protocol}: {formatting.subject_title(subject)} by what was done to the test audio, with"
        f" {level} intervals of each score; lines join degrees of one kind.",
        "Intervals that overlap say nothing of a difference: losses against clean audio are tested on paired clusters, and stand in the report.",
    ]
    if not task.same_fits:
        parts.append("Not every score has one on clean audio of the same fits.")
    if left := len(task.systems) - len(drawn):
        parts.append(f"The best {len(drawn)} systems; {left} more are not drawn and stand in the CSV.")
    rows = tuple(
        (s.record.system, d.condition, d.estimate, d.low, d.high, i < DRAWN)
        for i, s in enumerate(task.systems)
        for d in s.conditions
    )
    return PaperFigure(
        "robustness",
        file_words(task.comparison, subject).replace(f" {task.comparison.condition} ", " ", 1),
        " ".join(parts),
        ("system", "condition", "estimate", "low", "high", "drawn"),
        rows,
        partial(_draw_robustness, task, drawn),
    )


def _draw_robustness(task: RobustTask, drawn: Sequence[Sturdiness], width: float) -> Figure:
    unit = 100 if formatting.is_percent(task.subject) else 1
    figure, axes = sheet(width, 2.5 + 0.12 * len(drawn) / (3 if width > 5 else 1))
    place = {c: i for i, c in enumerate(task.conditions)}
    names = short_names([s.record.system for s in drawn])
    for i, (system, name) in enumerate(zip(drawn, names, strict=True)):
        aside = _SPREAD * ((i + 0.5) / len(drawn) - 0.5)
        colour, marker = OKABE_ITO[i], MARKERS[i]
        for d in system.conditions:
            low, high = (None if v is None else unit * v for v in (d.low, d.high))
            interval_line(axes, (low, high), place[d.condition] + aside, colour, upright=True)
        for j, (_, degrees) in enumerate(groupby(system.conditions, key=_kind)):
            own = list(degrees)
            axes.plot(
                [place[d.condition] + aside for d in own], [unit * d.estimate for d in own], color=colour, marker=marker,
                linewidth=0.8, label="_" if j else name, gid="estimate", zorder=3,
            )  # fmt: skip
    axes.set_xticks(
        range(len(place)), [plain(c) for c in place], rotation=45, ha="right", rotation_mode="anchor"
    )
    axes.set_ylabel(formatting.subject_title(task.subject))
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=3 if width > 5 else 1, frameon=False)
    return figure


def _kind(found: Degraded) -> str:
    if found.condition == CLEAN:
        return CLEAN
    try:
        return parse_condition(found.condition).kind
    except ValueError:
        return found.condition


def calibration_curves(material: Material) -> list[PaperFigure] | str:
    """Reliability curves of every task on clean audio, of its systems with probabilities."""
    made = []
    for comparison, subject in material.shown:
        members = [r for t in comparison.tracks if t != "reference" for r in comparison.members(subject, t)]
        if found := reliabilities(members):
            level = comparison.plan.level
            setting = f"{comparison.task} {comparison.protocol} {comparison.condition}"
            made.append(_calibration(setting, found, level))
    return made or "no system that competes gave probabilities"


def _calibration(setting: str, found: Sequence[Reliability], level: float) -> PaperFigure:
    drawn = found[:DRAWN]
    parts = [
        f"{setting.replace(' ', ', ')}: the share answered rightly against the mean confidence, in bins of equally many clips; on the"
        f" dashed line a system is right as often as it says. In brackets the expected calibration error (lower is better) with its"
        f" {formatting.level_words(level)} interval; points have no intervals.",
    ]
    if left := len(found) - len(drawn):
        parts.append(f"{left} more systems gave probabilities; they stand in the CSV.")
    rows = []
    for i, system in enumerate(found):
        ece = ece_of(system)
        rows += [
            (system.record.system, p.confidence, p.accuracy, p.clips, *((ece.estimate, ece.low, ece.high) if ece else (None,) * 3), i < DRAWN)
            for p in system.points
        ]  # fmt: skip
    return PaperFigure(
        "calibration",
        setting,
        " ".join(parts),
        ("system", "confidence", "accuracy", "clips", "ece", "ece low", "ece high", "drawn"),
        tuple(rows),
        partial(_draw_calibration, drawn),
    )


def ece_of(found: Reliability) -> ScoreRow | None:
    """The record's expected calibration error over all clips."""
    return next((s for s in found.record.scores if s.metric == "ece" and s.rows == "all"), None)


def _draw_calibration(drawn: Sequence[Reliability], width: float) -> Figure:
    wide = width > 5
    figure = Figure(figsize=(width, 2.7 if wide else 2.9 + 0.13 * len(drawn)))
    axes = figure.add_subplot()
    axes.plot([0, 100], [0, 100], color="0.5", linestyle="--", linewidth=0.7, gid="guide")
    names = short_names([r.record.system for r in drawn])
    for i, (system, name) in enumerate(zip(drawn, names, strict=True)):
        axes.plot(
            [100 * p.confidence for p in system.points], [100 * p.accuracy for p in system.points], color=OKABE_ITO[i],
            marker=MARKERS[i], linewidth=0.8, label=f"{name} ({_ece_words(system)})", gid="estimate", clip_on=False, zorder=3,
        )  # fmt: skip
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="mean confidence, %", ylabel="answered rightly, %")
    axes.set_aspect("equal")
    axes.grid(color="0.9", linewidth=0.5)
    figure.legend(loc="outside right center" if wide else "outside upper center", frameon=False, ncols=1)
    return figure


def _ece_words(found: Reliability) -> str:
    return found.ece.estimate + (f"; {found.ece.interval}" if found.ece.interval else "")
