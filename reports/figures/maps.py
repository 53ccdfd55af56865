"""Figures that are maps: language by system, and confusion matrices of two systems with their difference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from bench.scoring.aggregates import ALL_LANGUAGES, Macro, by_language
from bench.scoring.subject import Subject
from reports import formatting
from reports.data.comparisons import TaskComparison
from reports.figures.material import Material
from reports.figures.paper import PaperFigure, plain, sheet, short_names
from reports.figures.rows import setting_words
from reports.sections.tables import Confusion, ConfusionDifference, confusion, differences

MOST_NUMBERED = 9
"""Labels up to which the cells of a matrix hold their numbers: more do not fit."""
Shares = Sequence[Sequence[float | None]]


def language_maps(material: Material) -> list[PaperFigure] | str:
    """A map of languages by systems on clean audio for each way of learning, where two languages or more were scored."""
    macros, _ = by_language(material.clean)
    main = {(str(r.facts.protocol), r.facts.training): (r.facts.main_view, r.facts.plan.primary_metric, r.facts.plan.level) for r in material.clean}  # fmt: skip
    made = []
    for (protocol, training), (view, metric, level) in main.items():
        wanted = (protocol, training, view, metric)
        own = [m for m in macros if (m.protocol, m.training, m.view, m.metric) == wanted]
        if len({m.language for m in own} - {ALL_LANGUAGES}) > 1:
            made.append(_language_map(own, protocol, training, level))
    return made or "no protocol was scored on clean audio in two languages in the plan's metric"


def _language_map(own: Sequence[Macro], protocol: str, training: str, level: float) -> PaperFigure:
    of = {(m.system, m.language): m for m in own}
    languages = sorted({m.language for m in own} - {ALL_LANGUAGES})

    def place(system: str) -> tuple[float, ...]:
        over_all = of.get((system, ALL_LANGUAGES))
        spoken = [m.estimate for m in own if m.system == system and m.language != ALL_LANGUAGES]
        # Means over other numbers of languages are no order: who has more languages stands above.
        return -len(spoken), -(over_all.estimate if over_all else max(spoken))

    systems = sorted({m.system for m in own}, key=lambda s: (*place(s), s))
    view, metric = own[0].view, own[0].metric
    subject = Subject(view, "wrong", metric)
    setting = " ".join(filter(None, (protocol, training)))
    caption = (
        f"{formatting.subject_title(subject)}, view {view}, by language on clean audio ({setting}): the mean over pools of recordings in a language,"
        f" and at the right over languages, for systems scored in several. {formatting.level_words(level)} intervals stand in the figure over two columns and in the CSV. Languages are different"
        " corpora with different classes and levels of chance: columns do not compare with each other."
    )
    columns = [*languages, ALL_LANGUAGES]
    shown = [m for s in systems for c in columns if (m := of.get((s, c)))]
    return PaperFigure(
        "languages",
        f"{setting} {view} {metric}",
        caption,
        ("system", "language", "estimate", "low", "high", "pools"),
        tuple((m.system, m.language, m.estimate, m.low, m.high, m.pools) for m in shown),
        partial(_draw_languages, systems, columns, of, subject),
    )


def _draw_languages(
    systems: Sequence[str], columns: Sequence[str], of: dict[tuple[str, str], Macro], subject: Subject, width: float
) -> Figure:  # fmt: skip
    wide = width > 5
    figure, axes = sheet(width, 0.75 + (0.27 if wide else 0.19) * len(systems))
    unit = 100 if formatting.is_percent(subject) else 1
    cells = [[_scaled(of.get((s, c)), unit) for c in columns] for s in systems]
    image = shade(axes, cells, "cividis", (None, None))
    for y, s in enumerate(systems):
        for x, c in enumerate(columns):
            if (m := of.get((s, c))) is None:
                axes.text(x, y, "–", ha="center", va="center", color="0.4")
                continue
            text = formatting.number(m.estimate, percent=unit == 100)
            if wide:
                text += f"\n{formatting.span(m.low, m.high, percent=unit == 100)}"
            dark = _height(image, unit * m.estimate) < 0.5
            axes.text(
                x, y, text, ha="center", va="center", fontsize=6, color="white" if dark else "black", linespacing=0.95,
            )  # fmt: skip
    names = [
        "all languages" if c == ALL_LANGUAGES else formatting.language_name(c) if wide else c for c in columns
    ]
    axes.set_xticks(range(len(columns)), [plain(n) if wide else n.partition(" ")[0] for n in names])
    axes.set_yticks(range(len(systems)), short_names(systems))
    axes.axvline(len(columns) - 1.5, color="white", linewidth=2)
    bar = figure.colorbar(image, ax=axes, label=formatting.subject_title(subject), shrink=0.8, aspect=30)
    bar.outline.set_visible(False)
    return figure


def _height(image: QuadMesh, value: float) -> float:
    """Where a value stands between the ends of the colours, 0..1: dark cells get light numbers."""
    low, high = image.get_clim()
    return 0.5 if low is None or high is None or low == high else (value - low) / (high - low)


def _scaled(found: Macro | None, unit: int) -> float | None:
    return None if found is None else unit * found.estimate


def confusion_pairs(material: Material) -> list[PaperFigure] | str:
    """Two confusion matrices and their difference: the two best of each track of a task, and the pairs that the plan names."""
    made = []
    for comparison in material.overview:
        subject = next((s for s in comparison.subjects if s.dimension is None), None)
        if subject is None:
            continue
        matrices = [
            confusion(r, block) for r in comparison.records if (block := subject.block(r)) is not None
        ]
        of = {m.system: m for m in matrices}
        made += [
            _pair_figure(comparison, subject, (of[d.first], of[d.second]), d)
            for d in differences(comparison, subject, matrices)
        ]
    return made or "no task has two systems of a track with categories, nor a planned pair, on the same clips"


def _pair_figure(
    comparison: TaskComparison, subject: Subject, pair: tuple[Confusion, Confusion], less: ConfusionDifference
) -> PaperFigure:
    a, b = pair
    caption = (
        f"{setting_words(comparison)}, view {subject.view}. What is taken for what: answers (columns) to the clips of each true class (rows) as"
        f" percentages of the row, averaged over seeds, for {a.system} and {b.system}, and the first less the second in points. Clips of a"
        " class answered by another label or not at all are in no column: rows need not add up to 100. Differences of single cells are not tested."
    )
    rows = tuple(
        (x.label, answer, x.clips, x.shares[k], y.shares[k], z.shares[k])
        for x, y, z in zip(a.rows, b.rows, less.rows, strict=True)
        for k, answer in enumerate(a.labels)
    )
    return PaperFigure(
        "confusions",
        f"{comparison.task} {comparison.protocol} {comparison.condition} {subject.view} {a.system} {b.system}",
        caption,
        ("true", "answered", "clips", f"share of {a.system}", f"share of {b.system}", "difference"),
        rows,
        partial(_draw_pair, a, b, less),
    )


def _draw_pair(a: Confusion, b: Confusion, less: ConfusionDifference, width: float) -> Figure:
    n, wide = len(a.labels), width > 5
    side = (1.75 if wide else 2.0) if n <= MOST_NUMBERED else 2.3
    figure = Figure(figsize=(width, side + 0.75 if wide else 3 * side + 1.2))
    panels = figure.subplots(*((1, 3) if wide else (3, 1)), sharex=not wide, sharey=wide)
    first, second = short_names([a.system, b.system])
    titles = (first, second, "first less second, points")
    matrices: tuple[Confusion | ConfusionDifference, ...] = (a, b, less)
    for place, (axes, matrix, title) in enumerate(zip(panels, matrices, titles, strict=True)):
        compared = place == 2
        cells = [[None if s is None else 100 * s for s in row.shares[:n]] for row in matrix.rows]
        most = max((abs(v) for row in cells for v in row if v is not None), default=0.0) or 1.0
        image = shade(axes, cells, "PuOr" if compared else "Blues", (-most, most) if compared else (0, 100))
        if n <= MOST_NUMBERED:
            _number_cells(axes, cells, image, signed=compared)
        axes.set_title(title)
        axes.set_xticks(
            range(n), [plain(x) for x in a.labels], rotation=60, ha="right", rotation_mode="anchor"
        )
        axes.set_yticks(range(n), [plain(x) for x in a.labels])
        axes.set_aspect("equal")
        if not wide or place == 0:
            axes.set_ylabel("true class")
        if wide or compared:
            axes.set_xlabel("answered")
    return figure


def _number_cells(axes: Axes, cells: Shares, image: QuadMesh, *, signed: bool) -> None:
    for y, row in enumerate(cells):
        for x, value in enumerate(row):
            if value is None:
                continue
            share = _height(image, value)
            pale = (share < 0.15 or share > 0.85) if signed else share > 0.55
            text = formatting.number(value / 100, digits=0, signed=signed)
            axes.text(x, y, text, ha="center", va="center", fontsize=5.5, color="white" if pale else "black")


def shade(axes: Axes, cells: Shares, colours: str, limits: tuple[float | None, float | None]) -> QuadMesh:
    """Colour a map's cells, the first row on top; what is None is left blank.

    Args:
        axes: where; cells are centred on whole numbers.
        cells: rows of values in the unit that is shown.
        colours: a colour map of matplotlib.
        limits: values of its ends; None: the smallest and largest.

    Returns:
        The cells as drawn, as outlines and not as an image, so that they stay sharp at any size.
    """
    values = np.array([[np.nan if v is None else v for v in row] for row in cells], dtype=float)
    edges = [np.arange(n + 1) - 0.5 for n in values.shape]
    mesh = axes.pcolormesh(
        edges[1], edges[0], np.ma.masked_invalid(values), cmap=colours, vmin=limits[0], vmax=limits[1], edgecolors="white", linewidth=0.4
    )  # fmt: skip
    mesh.set_gid("map")
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return mesh
