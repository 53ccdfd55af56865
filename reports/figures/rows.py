"""Figures with a row per system: forest plots, and rank intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.scoring.subject import Subject
from bench.statistics.ranking import RankInterval
from reports import formatting
from reports.data.comparisons import TaskComparison
from reports.data.reference_lines import guess_line, human_line
from reports.figures.material import Material
from reports.figures.paper import ROW, TRACK_STYLE, PaperFigure, interval_line, sheet, short_names


@dataclass(frozen=True)
class ForestRow:
    """One system: its score, interval and what a guess scores, in the record's own unit."""

    system: str
    track: str
    estimate: float
    low: float | None
    high: float | None
    guess: float | None
    imported: bool


def setting_words(comparison: TaskComparison) -> str:
    """Name a task, how it was learnt, and the condition."""
    return f"{comparison.task}, {comparison.protocol}, {comparison.condition}"


def file_words(comparison: TaskComparison, subject: Subject) -> str:
    """Name a comparison and what it is compared in, for a file."""
    compared = subject.dimension or subject.view
    return f"{comparison.task} {comparison.protocol} {comparison.condition} {compared} {subject.metric}"


def forests(material: Material) -> list[PaperFigure] | str:
    """A forest plot of every task on clean audio, in each of its subjects."""
    made = [forest(c, s, rows) for c in material.overview for s in c.subjects if (rows := _forest_rows(c, s))]
    return made or "no record has a score"


def _forest_rows(comparison: TaskComparison, subject: Subject) -> tuple[ForestRow, ...]:
    rows = []
    for track in comparison.tracks:
        for record in comparison.members(subject, track):
            line = guess_line(subject, record)
            if (score := subject.row(record)) is not None:
                rows.append(
                    ForestRow(
                        record.system, track, score.estimate, score.low, score.high,
                        line.value if line else None, record.facts.imported is not None,
                    )
                )  # fmt: skip
    return tuple(rows)


def forest(comparison: TaskComparison, subject: Subject, rows: Sequence[ForestRow]) -> PaperFigure:
    """Lay out a forest plot.

    Args:
        comparison: a task under one protocol and condition.
        subject: view, metric and dimension.
        rows: systems from top to bottom.
    """
    human = next((h for r in comparison.records if (h := human_line(subject, r)) is not None), None)
    parts = [setting_words(comparison) + ".", formatting.board_caption(comparison, subject)]
    if any(r.guess is not None for r in rows):
        parts.append("Grey ticks: a guess over the labels that were on offer.")
    if human is not None:
        value = formatting.number(human, percent=formatting.is_percent(subject))
        parts.append(f"Dotted: one human listener against the same truth ({value}).")
    if any(r.low is None for r in rows):
        parts.append("A marker without a line has no interval.")
    if any(r.imported for r in rows):
        parts.append("An asterisk marks predictions made elsewhere.")
    columns = ("system", "track", "estimate", "low", "high", "guess")
    return PaperFigure(
        "forest",
        file_words(comparison, subject),
        " ".join(parts),
        (*columns, "human"),
        tuple((r.system, r.track, r.estimate, r.low, r.high, r.guess, human) for r in rows),
        partial(_draw_forest, subject, rows, human),
    )


def _draw_forest(subject: Subject, rows: Sequence[ForestRow], human: float | None, width: float) -> Figure:
    unit = 100 if formatting.is_percent(subject) else 1
    tracks = list(dict.fromkeys(r.track for r in rows))
    figure, axes = sheet(width, 0.62 + ROW * len(rows) + (0.12 if len(tracks) > 1 else 0))
    for y, row in enumerate(rows):
        colour, marker = TRACK_STYLE[row.track]
        interval_line(axes, (_times(row.low, unit), _times(row.high, unit)), y, colour)
        axes.plot(
            [unit * row.estimate], [y], marker=marker, color=colour, linestyle="", gid="estimate", zorder=3
        )
        if row.guess is not None:
            axes.plot(
                [unit * row.guess] * 2,
                [y - 0.38, y + 0.38],
                color="0.6",
                linewidth=0.8,
                gid="guess",
                zorder=1,
            )
    if human is not None:
        axes.axvline(unit * human, color="0.3", linestyle=":", linewidth=0.8, gid="human")
    name_rows(axes, [r.system for r in rows], [r.imported for r in rows])
    axes.set_xlabel(formatting.subject_title(subject))
    if width > 5:
        _write_beside(axes, [_figures(r, percent=unit == 100) for r in rows])
    key_of_tracks(figure, tracks)
    return figure


def _times(value: float | None, unit: int) -> float | None:
    return None if value is None else unit * value


def _figures(row: ForestRow, *, percent: bool) -> str:
    interval = formatting.span(row.low, row.high, percent=percent)
    return f"{formatting.number(row.estimate, percent=percent)}  ({interval})"


def _write_beside(axes: Axes, texts: Sequence[str]) -> None:
    for y, text in enumerate(texts):
        axes.annotate(
            text, (1.0, y), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
            va="center", fontsize=6.5, annotation_clip=False,
        )  # fmt: skip


def name_rows(axes: Axes, systems: Sequence[str], starred: Sequence[bool] = ()) -> None:
    """Name rows at the left, the first on top.

    Args:
        axes: where, a row at each whole number from 0.
        systems: names from top to bottom.
        starred: which of them get an asterisk; blank for none.
    """
    stars = [*starred, *[False] * (len(systems) - len(starred))]
    names = [n + ("*" if s else "") for n, s in zip(short_names(systems), stars, strict=True)]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)


def key_of_tracks(figure: Figure, tracks: Sequence[str]) -> None:
    """Say above the plot which marker is which track, where there are several."""
    if len(tracks) < 2:
        return
    marks = []
    for track in tracks:
        colour, marker = TRACK_STYLE[track]
        marks.append(Line2D([], [], color=colour, marker=marker, linestyle="", label=track))
    figure.legend(
        handles=marks, loc="outside upper center", ncols=len(marks), frameon=False, handletextpad=0.2,
        columnspacing=1.0, borderpad=0.1,
    )  # fmt: skip


def rank_intervals(material: Material) -> list[PaperFigure] | str:
    """Rank intervals of every task on clean audio in the subject shown first."""
    made = []
    for comparison, subject in material.shown:
        rows = [
            (r.system, track, rank)
            for track in comparison.tracks
            if track != "reference"
            for r in comparison.members(subject, track)
            if (rank := comparison.rank(subject, track, r.system)) is not None and rank.of > 1
        ]
        if rows:
            made.append(_rank_figure(comparison, subject, rows))
    return made or "no track has two systems that were tested against each other"


def _rank_figure(
    comparison: TaskComparison, subject: Subject, rows: Sequence[tuple[str, str, RankInterval]]
) -> PaperFigure:
    level = formatting.level_words(comparison.plan.level)
    caption = (
        f"{setting_words(comparison)}. Rank intervals in {formatting.subject_title(subject)} inside each track: from the number of"
        f" significantly better systems plus one to the number of systems less the significantly worse ones, at {level} jointly over"
        " all pairs of a track. Systems whose bars overlap may still differ, and do where a test of the pair says so."
    )
    return PaperFigure(
        "ranks",
        file_words(comparison, subject),
        caption,
        ("system", "track", "best", "worst", "of"),
        tuple((s, t, r.best, r.worst, r.of) for s, t, r in rows),
        partial(_draw_ranks, rows),
    )


def _draw_ranks(rows: Sequence[tuple[str, str, RankInterval]], width: float) -> Figure:
    tracks = list(dict.fromkeys(t for _, t, _ in rows))
    figure, axes = sheet(width, 0.62 + ROW * len(rows) + (0.12 if len(tracks) > 1 else 0))
    for y, (_, track, rank) in enumerate(rows):
        colour, marker = TRACK_STYLE[track]
        axes.plot(
            [rank.best, rank.worst], [y, y], color=colour, linewidth=2.4, marker=marker, markersize=3.5,
            solid_capstyle="round", gid="rank",
        )  # fmt: skip
    name_rows(axes, [s for s, _, _ in rows])
    axes.set_xlim(0.5, max(r.of for _, _, r in rows) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("rank inside the track, 1 is best")
    key_of_tracks(figure, tracks)
    return figure
