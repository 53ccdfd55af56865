"""Figures over tasks: average ranks with the critical difference, and mean scores against what they cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from bench.scoring.aggregates import ALL_LANGUAGES, Macro, by_language, rankings
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from bench.statistics.ranking import AcrossPools
from reports import formatting
from reports.figures.material import Material
from reports.figures.paper import OKABE_ITO, ROW, TRACK_STYLE, PaperFigure, interval_line, sheet, short_names
from reports.figures.rows import key_of_tracks, name_rows
from reports.sections.costs import hours_of_audio, seconds_per_hour, short


def critical_differences(material: Material) -> list[PaperFigure] | str:
    """Critical-difference diagrams of the tracks that were scored on enough pools of recordings, on clean audio."""
    made, why = [], ""
    for found in rankings(material.clean):
        if isinstance(found.ranks, str):
            why = why or f"{found.title}: {found.ranks}"
        else:
            made.append(_difference_figure(found.title, found.ranks))
    return made or why or "no system that competes was scored on clean audio in categories"


def _difference_figure(title: str, ranks: AcrossPools) -> PaperFigure:
    left_out = f" Not on every task, and left out: {', '.join(ranks.left_out)}." if ranks.left_out else ""
    caption = (
        f"Average ranks over {len(ranks.pools)} pools of recordings (1 is best), {title}. Bars join systems whose average ranks are closer than the"
        f" critical difference {formatting.number(ranks.critical_difference, percent=False)} (Nemenyi, {formatting.level_words(ranks.level)});"
        f" Friedman's test, p = {formatting.p_value(ranks.p_value)}.{left_out}"
    )
    rows = tuple(
        (system, rank, ranks.critical_difference, " ".join(str(g + 1) for g, (a, b) in enumerate(ranks.groups) if a <= i <= b))
        for i, (system, rank) in enumerate(zip(ranks.systems, ranks.average_ranks, strict=True))
    )  # fmt: skip
    columns = ("system", "average rank", "critical difference", "bars that join it")
    return PaperFigure(
        "critical-difference", title, caption, columns, rows, partial(_draw_differences, ranks)
    )


def _draw_differences(ranks: AcrossPools, width: float) -> Figure:
    """Demšar's diagram (JMLR 7, 2006) over two columns; in one, where its names would not fit, a row per system."""
    return _ruled(ranks, width) if width > 5 else _in_rows(ranks, width)


def _ruled(ranks: AcrossPools, width: float) -> Figure:
    n, ends = len(ranks.systems), 1 + ranks.critical_difference
    left = (n + 1) // 2
    bars = 0.28 * len(ranks.groups)
    figure, axes = sheet(width, 0.75 + ROW * (left + bars))
    reach = max(n, ends)
    room = (reach - 1) * 0.55
    axes.set(xlim=(1 - room, reach + room), ylim=(-(left + bars + 0.8), 2.0))
    axes.set_axis_off()
    axes.plot([1, n], [0, 0], color="black", linewidth=0.8, gid="axis")
    every = 1 + (n - 1) // 12
    for rank in range(1, n + 1):
        axes.plot([rank, rank], [0, 0.2], color="black", linewidth=0.6)
        if (rank - 1) % every == 0:
            axes.text(rank, 0.3, str(rank), ha="center", va="bottom", fontsize=6.5)
    _ruler(axes, ranks, 1.5)
    for g, (first, last) in enumerate(ranks.groups):
        y = -0.35 - 0.28 * g
        ends_of = [ranks.average_ranks[first], ranks.average_ranks[last]]
        axes.plot(ends_of, [y, y], color="black", linewidth=2.4, solid_capstyle="round", gid="not apart")
    _name_ranks(axes, ranks, left, bars, (1 - 0.04 * room, reach + 0.04 * room))
    return figure


def _ruler(axes: Axes, ranks: AcrossPools, y: float) -> None:
    """The critical difference as a length, above the best end of the axis."""
    ends = 1 + ranks.critical_difference
    axes.plot(
        [1, ends], [y, y], color="black", linewidth=1.0, marker="|", gid="critical difference", clip_on=False
    )
    words = f"  CD {formatting.number(ranks.critical_difference, percent=False)}"
    axes.text(ends, y, words, va="center", fontsize=6.5)


def _in_rows(ranks: AcrossPools, width: float) -> Figure:
    n = len(ranks.systems)
    figure, axes = sheet(width, 0.75 + ROW * n)
    reach = max(n, 1 + ranks.critical_difference)
    step = (reach - 1) * 0.045
    for y, rank in enumerate(ranks.average_ranks):
        axes.plot([rank], [y], marker="o", color=OKABE_ITO[0], linestyle="", gid="rank", zorder=3)
    for g, (first, last) in enumerate(ranks.groups):
        x = reach + step * (g + 1.5)
        axes.plot(
            [x, x],
            [first - 0.25, last + 0.25],
            color="black",
            linewidth=2.0,
            solid_capstyle="butt",
            gid="not apart",
        )
    name_rows(axes, ranks.systems)
    axes.set_ylim(n - 0.4, -1.6)
    _ruler(axes, ranks, -1.0)
    axes.set_xlim(1 - step, reach + step * (len(ranks.groups) + 2))
    axes.xaxis.set_major_locator(FixedLocator(list(range(1, n + 1, 1 + (n - 1) // 8))))
    axes.set_xlabel("average rank, 1 is best")
    return figure


def _name_ranks(axes: Axes, ranks: AcrossPools, left: int, bars: float, edges: tuple[float, float]) -> None:
    names = short_names(ranks.systems)
    for i, (name, rank) in enumerate(zip(names, ranks.average_ranks, strict=True)):
        near = i < left
        row = i if near else len(names) - 1 - i
        y, edge = -(bars + 0.8 + row), edges[0 if near else 1]
        figure = formatting.number(rank, percent=False)
        text = f"{name}  {figure} " if near else f" {figure}  {name}"
        axes.plot([rank, rank, edge], [0, y, y], color="0.3", linewidth=0.6, gid="rank")
        axes.text(edge, y, text, ha="right" if near else "left", va="center", fontsize=6.5)


@dataclass(frozen=True)
class Priced:
    """A system's mean score with its interval, 0..1, and what it costs; None where that is not known."""

    system: str
    track: str
    estimate: float
    low: float | None
    high: float | None
    cost: float | None


def parameters_and_quality(material: Material) -> list[PaperFigure] | str:
    """Mean score against the number of parameters."""
    parameters = {r.system: r.facts.card.parameters for r in material.clean}
    found = _means(material)
    priced = [replace(p, cost=parameters.get(p.system)) for p in found.means] if found else []
    return _cost_figures("cost", "parameters", priced, found, "a card need not state them")


def speed_and_quality(material: Material) -> list[PaperFigure] | str:
    """Mean score against seconds of encoding and fitting for an hour of audio, as a run measured them."""
    rates = seconds_per_hour(material.records, material.work, hours_of_audio(material.records))
    found = _means(material)
    priced = [replace(p, cost=rates.get(p.system)) for p in found.means] if found else []
    return _cost_figures(
        "speed", "seconds per hour of audio", priced, found,
        "published records carry no times, a run none of features that were made before it, and a card need not state its hours",
    )  # fmt: skip


@dataclass(frozen=True)
class _Means:
    means: list[Priced]
    metric: str
    view: str
    level: float
    tasks: int


def _means(material: Material) -> _Means | None:
    """Mean scores with intervals over the tasks that all systems shown have: those scored on most plain tasks.

    The mean is that of :func:`bench.scoring.aggregates.by_language`: over tasks that share recordings, then in a language, then over languages.
    """
    plan = material.records[0].facts.plan
    metric = plan.primary_metric if plan.primary_metric != "ccc" else "ua"
    of: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for r in material.clean:
        facts = r.facts
        competes = facts.track != "reference" and facts.protocol != "transfer" and "@" not in r.task
        if competes and Subject(facts.main_view, "wrong", metric).row(r) is not None:
            of[r.system, r.regime].append(r)
    if not of:
        return None
    most = max(len(own) for own in of.values())
    complete = {key: own for key, own in of.items() if len(own) == most}
    tasks = set.intersection(*({r.task for r in own} for own in complete.values()))
    kept = [r for own in complete.values() for r in own if r.task in tasks]
    if not kept:
        return None
    view = kept[0].facts.main_view
    macros, _ = by_language(kept)
    best: dict[str, Priced] = {}
    for m in _whole(macros, view, metric):
        # A system under two protocols has two means on the same tasks: the better one is shown.
        if m.system not in best or best[m.system].estimate < m.estimate:
            best[m.system] = Priced(m.system, m.track, m.estimate, m.low, m.high, None)
    means = sorted(best.values(), key=lambda p: (-p.estimate, p.system))
    return _Means(means, metric, view, plan.level, len(tasks))


def _whole(macros: Sequence[Macro], view: str, metric: str) -> list[Macro]:
    """Of each system the mean over everything: over its languages, or of its only one."""
    own = [m for m in macros if (m.view, m.metric) == (view, metric)]
    several = {(m.system, m.protocol, m.training) for m in own if m.language == ALL_LANGUAGES}
    return [
        m for m in own if m.language == ALL_LANGUAGES or (m.system, m.protocol, m.training) not in several
    ]


def _cost_figures(
    kind: str, title: str, priced: Sequence[Priced], found: _Means | None, unknown: str
) -> list[PaperFigure] | str:
    if found is None:
        return "no task was scored on clean audio by all systems that were scored on most tasks"
    known = [p for p in priced if p.cost is not None]
    if len(known) < 2:
        return f"of {formatting.counted(len(priced), 'system')} {len(known)} can be placed by {title}, and two are needed: {unknown}"
    if not any(p.cost for p in known):
        return f"{title}: 0 for every system"
    unplaced = [p.system for p in priced if p.cost is None]
    subject = Subject(found.view, "wrong", found.metric)
    parts = [
        f"Mean {formatting.subject_title(subject)}, view {found.view}, on clean audio over {formatting.counted(found.tasks, 'task')} that all"
        f" systems shown have, with {formatting.level_words(found.level)} intervals about other speakers of these corpora, against {title}"
        " (logarithmic; 0 stands apart at the left). The figure tests no difference."
    ]
    if unplaced:
        parts.append(f"Not placed, since the figure is not known: {', '.join(unplaced)}.")
    rows = tuple((p.system, p.track, p.estimate, p.low, p.high, p.cost) for p in priced)
    columns = ("system", "track", "estimate", "low", "high", title)
    draw = partial(_draw_costs, known, title, formatting.subject_title(subject))
    return [PaperFigure(kind, f"{found.view} {found.metric}", " ".join(parts), columns, rows, draw)]


def _draw_costs(known: Sequence[Priced], title: str, metric: str, width: float) -> Figure:
    wide = width > 5
    figure, axes = sheet(width, 3.0 if wide else 2.6 + ROW * len(known))
    above = sorted(p.cost for p in known if p.cost)
    none = above[0] / 10
    names = short_names([p.system for p in known])
    at_zero = [p for p in known if not p.cost]
    for i, p in enumerate(known):
        colour, marker = TRACK_STYLE[p.track]
        # Systems without parameters share one place: they stand side by side so that intervals can be told apart.
        x = p.cost or none * 1.12 ** (at_zero.index(p) - (len(at_zero) - 1) / 2)
        low, high = (None if v is None else 100 * v for v in (p.low, p.high))
        interval_line(axes, (low, high), x, colour, upright=True)
        axes.plot(
            [x], [100 * p.estimate], marker=marker, color=colour, linestyle="", gid="estimate", zorder=3
        )
        # Beside a neighbour of about the same cost the number goes to the other side.
        left = bool(p.cost) and any((p.cost or 0) < (q.cost or 0) < 1.5 * (p.cost or 0) for q in known)
        axes.annotate(
            str(i + 1), (x, 100 * p.estimate), xytext=(-3 if left else 3, 2), textcoords="offset points", fontsize=6,
            ha="right" if left else "left",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(none / 2 if at_zero else above[0] / 2, above[-1] * 2)
    ticks = [10.0**e for e in range(-6, 16) if above[0] * 0.7 <= 10.0**e <= above[-1] * 1.5] or [above[0]]
    places = [none, *ticks] if at_zero else ticks
    axes.set_xticks(places, ["0", *map(short, ticks)] if at_zero else [short(t) for t in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel=title, ylabel=f"mean {metric}")
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    handles = [
        Line2D([], [], linestyle="", color=TRACK_STYLE[p.track][0], marker=TRACK_STYLE[p.track][1], label=f"{i + 1}  {name}")
        for i, (p, name) in enumerate(zip(known, names, strict=True))
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside right center" if wide else "outside lower left", frameon=False, handletextpad=0.2
    )  # fmt: skip
    key_of_tracks(figure, list(dict.fromkeys(p.track for p in known)))
    return figure
