"""The plots of the report, as SVG: the same figures give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.statistics.additive import METRICS
from tests.bench.statistics.validity.plan import AT_MOST_5, COVERS, REJECTS, Bound
from tests.bench.statistics.validity.results import Entry, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

BLUE, ORANGE, GREEN, RED = "#0b5fa5", "#c05a00", "#2b7a3f", "#a61c3c"
METHOD_COLOURS = {"jackknife-t": BLUE, "bootstrap-t": GREEN, "percentile": ORANGE, "clips": RED}
METHOD_NAMES = {
    "jackknife-t": "jackknife-t (the suite's)",
    "bootstrap-t": "bootstrap-t",
    "percentile": "percentile bootstrap",
    "clips": "clips taken as independent",
}
METRIC_MARKS = {"ua": ("o", BLUE), "wa": ("s", GREEN), "macro_f1": ("^", ORANGE), "ccc": ("D", RED)}
BAND = "#e4eef7"


def draw_all(folder: Path, found: Results) -> tuple[str, ...]:
    """Draw every plot that has figures; gives the names of the files."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "validity", "svg.fonttype": "none", "font.size": 9})
    plots: tuple[tuple[str, Callable[[Results], Drawing | None]], ...] = (
        ("coverage.svg", _coverage),
        ("coverage_by_factor.svg", _coverage_by_factor),
        ("rejections.svg", _rejections),
        ("families.svg", _families),
    )
    written = []
    for name, draw in plots:
        drawing = draw(found)
        if drawing is not None:
            drawing.savefig(folder / name, metadata={"Date": None}, bbox_inches="tight")
            written.append(name)
    return tuple(written)


def _coverage(found: Results) -> Drawing | None:
    """Coverage against speakers in the base case, a panel per metric."""
    chosen = found.of("interval", world="base")
    if not chosen:
        return None
    drawing, axes = _panels(1, len(METRIC_MARKS), (11, 3.2))
    for panel, metric in zip(axes, METRIC_MARKS, strict=True):
        for method, colour in METHOD_COLOURS.items():
            own = [e for e in chosen if e.metric == metric and e.method == method]
            _line(panel, own, colour, METHOD_NAMES[method])
        _band(panel, COVERS, across=False)
        panel.axhline(95, color="#444", linewidth=0.6)
        panel.set_title(METRICS[metric].title)
        panel.set_xlabel("speakers")
        panel.set_ylim(60, 100)
        _speaker_axis(panel, chosen)
    axes[0].set_ylabel("95 % intervals that hold the truth, %")
    _legend(drawing, axes[0])
    return drawing


def _coverage_by_factor(found: Results) -> Drawing | None:
    chosen = [e for e in found.of("interval", "jackknife-t") if e.bound is not None]
    return _dots(chosen, COVERS, 95, "95 % jackknife-t intervals that hold the truth, %", (91.5, 99))


def _rejections(found: Results) -> Drawing | None:
    chosen = [e for e in found.of("test", "swap test") if e.bound is not None]
    return _dots(chosen, REJECTS, 5, "true nulls that the swap test rejects at 5 %, %", (2.5, 8.5))


def _families(found: Results) -> Drawing | None:
    """Family-wise error (left) and power (right) against speakers, max-T and Holm."""
    chosen = found.of("family", world="one of five better")
    shown = [m for m in ("ua", "ccc") if any(e.metric == m for e in chosen)]
    if not shown:
        return None
    drawing, axes = _panels(1, 2 * len(shown), (5.5 * len(shown), 3.2))
    for position, (metric, what) in enumerate((m, w) for m in shown for w in ("error", "power")):
        panel = axes[position]
        for method, colour in (("max-T", BLUE), ("Holm", ORANGE)):
            own = [e for e in chosen if e.metric == metric and e.method == f"{method} {what}"]
            _line(panel, own, colour, method)
        words = "family-wise error" if what == "error" else "true differences found"
        panel.set_title(f"{METRICS[metric].title}\n{words}, %")
        panel.set_xlabel("speakers")
        panel.set_ylim(0, 10 if what == "error" else 100)
        if what == "error":
            _band(panel, AT_MOST_5, across=False)
        _speaker_axis(panel, chosen)
    _legend(drawing, axes[0])
    return drawing


def _dots(
    entries: list[Entry], bound: Bound, goal: float, label: str, limits: tuple[float, float]
) -> Drawing | None:
    """Draw a row per world and number of speakers, a mark per metric, the bound as a band."""
    if not entries:
        return None
    rows = list(dict.fromkeys((e.world, e.speakers) for e in entries))
    drawing, axes = _panels(1, 1, (7.5, 0.9 + 0.2 * len(rows)))
    panel = axes[0]
    for metric, (mark, colour) in METRIC_MARKS.items():
        own = [e for e in entries if e.metric == metric]
        panel.errorbar(
            [100 * e.share for e in own],
            [rows.index((e.world, e.speakers)) for e in own],
            xerr=[200 * e.monte_carlo_error for e in own],
            fmt=mark,
            color=colour,
            markersize=4,
            elinewidth=0.8,
            label=METRICS[metric].title,
        )
    _band(panel, bound, across=True)
    panel.axvline(goal, color="#444", linewidth=0.6)
    panel.set_yticks(range(len(rows)), [f"{world}, {speakers} speakers" for world, speakers in rows])
    panel.invert_yaxis()
    panel.set_xlim(*limits)
    panel.grid(axis="y", color="#eee")
    panel.set_axisbelow(True)
    panel.set_xlabel(f"{label} (bars: two Monte-Carlo errors; band: the bound)")
    _legend(drawing, panel)
    return drawing


def _panels(rows: int, columns: int, size: tuple[float, float]) -> tuple[Drawing, list[Axes]]:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=size, layout="constrained")
    axes: Any = drawing.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
    return drawing, list(axes.flat)


def _line(panel: Axes, entries: Iterable[Entry], colour: str, label: str) -> None:
    own = sorted(entries, key=lambda e: e.speakers)
    if own:
        panel.errorbar(
            [e.speakers for e in own],
            [100 * e.share for e in own],
            yerr=[200 * e.monte_carlo_error for e in own],
            color=colour,
            marker="o",
            markersize=3,
            linewidth=1.2,
            label=label,
        )


def _band(panel: Axes, bound: Bound, *, across: bool) -> None:
    span = panel.axvspan if across else panel.axhspan
    span(100 * bound.low, 100 * bound.high, color=BAND, zorder=0, linewidth=0)


def _speaker_axis(panel: Axes, entries: Sequence[Entry]) -> None:
    counts = sorted({e.speakers for e in entries})
    panel.set_xscale("log")
    panel.set_xticks(counts, [str(g) for g in counts])
    panel.minorticks_off()


def _legend(drawing: Drawing, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
