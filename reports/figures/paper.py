"""How a figure for a paper looks and is written: widths, fonts, colours, the same bytes for the same records.

Colours are those of Okabe and Ito (2008), which people with any colour vision can tell apart; tracks and systems differ by marker as
well. Text is set in DejaVu Sans, which comes with matplotlib: embedded in a PDF as TrueType (type 42, which publishers ask for), drawn as
outlines in an SVG, so that it looks the same where the font is missing.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.storage.atomic import replacing, write_text
from bench.storage.hashing import digest
from bench.storage.scrubbing import Scrubber
from reports.exports.latex import tex

WIDTHS = {1: 3.3, 2: 7.0}
"""Inches, by the number of columns of a page."""
FORMATS = ("pdf", "svg", "png")
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<")
DRAWN = len(OKABE_ITO)
"""Systems drawn as curves in one figure: more could not be told apart."""
TRACK_STYLE = {
    "adapted": (OKABE_ITO[1], "D"),
    "probed": (OKABE_ITO[0], "o"),
    "released": (OKABE_ITO[2], "s"),
    "reference": ("#666666", "x"),
}
"""Colour and marker of a track."""
LONGEST_NAME = 28
ROW = 0.16
"""Height of a row, inches."""
_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "ser-bench",
    # A name is a name: with this on, a dollar sign in it would begin a formula.
    "text.parse_math": False,
    "text.usetex": False,
    "savefig.dpi": 300,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
}
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"Creator": "ser-bench", "Producer": None, "CreationDate": None},
    "svg": {"Creator": "ser-bench", "Date": None},
    "png": {"Software": "ser-bench"},
}
"""No date and no version of a library: the same records give the same bytes."""
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


@dataclass(frozen=True)
class PaperFigure:
    """One figure: its caption, the numbers it shows, and how it is drawn at a width in inches.

    ``rows`` are the figures of the records as they stand there, 0..1 or −1..1, in the order in which they are drawn.
    """

    kind: str
    subject: str
    """What it is of, in a few words: the rest of its file's name."""
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    draw: Callable[[float], Figure]

    @property
    def stem(self) -> str:
        """The name of its files, without their ends; of a long subject the beginning and a few letters of its hash."""
        words = re.sub(r"[^A-Za-z0-9.@]+", "-", plain(self.subject)).strip("-.")
        if len(words) > 90:
            words = f"{words[:80]}-{digest(self.subject, length=4)}"
        return f"{self.kind}-{words}" if words else self.kind


def marked(figure: PaperFigure, mark: str) -> PaperFigure:
    """The figure with a word across it and before its caption; the same one where there is no word."""
    if not mark:
        return figure

    def draw(width: float) -> Figure:
        made = figure.draw(width)
        look: Any = {"color": "0.3", "alpha": 0.18, "ha": "center", "va": "center"}
        made.text(0.5, 0.5, mark, fontsize=5 * width, rotation=12, gid="mark", **look)
        return made

    return replace(figure, caption=f"{mark}: {figure.caption}", draw=draw)


def drawn(figure: PaperFigure, width: float) -> Figure:
    """Draw a figure in the style of all, ``width`` inches wide."""
    with rc_context(_STYLE):
        return figure.draw(width)


def write_figure(
    figure: PaperFigure, stem: str, out: Path, formats: Sequence[str], columns: Sequence[int]
) -> tuple[list[Path], str]:
    """Write a figure in each format and width, its numbers as CSV, and a snippet of LaTeX with its caption.

    Args:
        figure: what to write.
        stem: the name of its files, without their ends.
        out: a folder, made where it is missing.
        formats: among ``FORMATS``.
        columns: columns of a page that it is to fill: 1, 2 or both.

    Returns:
        The files, and which signs the font lacks, in a sentence; blank where it has them all.

    Raises:
        BenchError: ``out`` cannot be written.
    """
    paths, lacking = [], ""
    for wide in columns:
        for kind in formats:
            path = out / f"{stem}-{wide}col.{kind}"
            lacking = _save(figure, WIDTHS[wide], path, kind) or lacking
            paths.append(path)
    paths += [out / f"{stem}.csv", out / f"{stem}.tex"]
    write_text(paths[-2], numbers_csv(figure))
    write_text(paths[-1], latex(figure, stem, formats, columns))
    return paths, lacking


def _save(figure: PaperFigure, width: float, path: Path, kind: str) -> str:
    with rc_context(_STYLE), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        made = figure.draw(width)
        metadata = {**_METADATA[kind], "Title": plain(f"{figure.kind}: {figure.subject}")}
        with replacing(path) as temporary:
            made.savefig(temporary, format=kind, metadata=metadata)
    if any("missing from font" in str(w.message) for w in told):
        return f"{path.name}: its font (DejaVu Sans) lacks signs of a name, which stand as boxes; the CSV beside it has the names"
    return ""


def numbers_csv(figure: PaperFigure) -> str:
    """What a figure shows, as CSV; text that a spreadsheet would run as a formula gets an apostrophe in front."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(plain, figure.columns))
    for row in figure.rows:
        writer.writerow(
            f"'{plain(v)}" if isinstance(v, str) and v.startswith(("=", "+", "-", "@", "\t", "\r"))
            else plain(v) if isinstance(v, str) else v
            for v in row
        )  # fmt: skip
    return stream.getvalue()


def latex(figure: PaperFigure, stem: str, formats: Sequence[str], columns: Sequence[int]) -> str:
    """A ``figure`` with caption and label for each width; SVG alone needs the package svg.

    Args:
        figure: what the caption belongs to.
        stem: the name of its files, without their ends.
        formats: the formats that were written.
        columns: the widths that were written, in columns of a page.

    Returns:
        The snippet; of two widths the second is a comment.
    """
    package, command = (
        ("graphicx", "includegraphics") if {"pdf", "png"} & set(formats) else ("svg", "includesvg")
    )
    made = [f"% Made by ser-bench; needs \\usepackage{{{package}}}.\n"]
    for place, wide in enumerate(columns):
        star, length = ("", "\\columnwidth") if wide == 1 else ("*", "\\textwidth")
        lines = [
            f"\\begin{{figure{star}}}[t]",
            "  \\centering",
            f"  \\{command}[width={length}]{{{stem}-{wide}col}}",
            f"  \\caption{{{tex(plain(figure.caption))}}}",
            f"  \\label{{fig:{stem}}}",
            f"\\end{{figure{star}}}",
        ]
        made += [f"{'% ' if place else ''}{line}\n" for line in lines]
    return "".join(made)


def plain(text: str) -> str:
    """Text as it is drawn: characters that reorder or hide text become blanks, and what this machine is known by stays here.

    >>> plain("a" + chr(0x202E) + "b")
    'a b'
    """
    return _UNSEEN.sub(" ", Scrubber.of_this_machine().page(text))


def short_names(names: Sequence[str]) -> list[str]:
    """Names that fit: long ones lose their middle, and are numbered where that makes them the same.

    >>> short_names(["mfcc", "a" * 40, "a" * 41])
    ['mfcc', 'aaaaaaaaaaaaa…aaaaaaaaaaaaa', 'aaaaaaaaaaaaa…aaaaaaaaaaaaa (2)']
    """
    half = LONGEST_NAME // 2 - 1
    cut = [s if len(s) <= LONGEST_NAME else f"{s[:half]}…{s[-half:]}" for s in map(plain, names)]
    met: Counter[str] = Counter()
    made = []
    for name in cut:
        met[name] += 1
        made.append(name if met[name] == 1 else f"{name} ({met[name]})")
    return made


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes, inches."""
    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()


def interval_line(
    axes: Axes, ends: tuple[float | None, float | None], at: float, colour: str, *, upright: bool = False
) -> None:
    """Draw an interval where there is one.

    Args:
        axes: where.
        ends: lower and upper end, in the axis's unit.
        at: its place on the other axis.
        colour: of the line.
        upright: along the vertical axis.
    """
    low, high = ends
    if low is None or high is None:
        return
    x, y = ([at, at], [low, high]) if upright else ([low, high], [at, at])
    axes.plot(x, y, color=colour, linewidth=1.0, solid_capstyle="butt", gid="interval", zorder=2)
