"""All figures of a run or of published records, written to a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.storage.hashing import digest
from reports.figures.averages import critical_differences, parameters_and_quality, speed_and_quality
from reports.figures.curves import calibration_curves, robustness_curves
from reports.figures.maps import confusion_pairs, language_maps
from reports.figures.material import Material
from reports.figures.paper import FORMATS, WIDTHS, PaperFigure, marked, write_figure
from reports.figures.rows import forests, rank_intervals

KINDS: Mapping[str, Callable[[Material], list[PaperFigure] | str]] = {
    "forest": forests,
    "ranks": rank_intervals,
    "critical-difference": critical_differences,
    "languages": language_maps,
    "confusions": confusion_pairs,
    "robustness": robustness_curves,
    "cost": parameters_and_quality,
    "speed": speed_and_quality,
    "calibration": calibration_curves,
}
"""Kinds of figure: each gives its figures, or says in words why the records hold none."""


@dataclass(frozen=True)
class FigureChoice:
    """Which figures are written and how: kinds among ``KINDS``, formats among ``FORMATS``, columns of a page 1, 2 or both."""

    kinds: tuple[str, ...] = tuple(KINDS)
    formats: tuple[str, ...] = FORMATS
    columns: tuple[int, ...] = tuple(WIDTHS)

    @classmethod
    def parse(cls, kinds: str, formats: str, columns: str) -> FigureChoice:
        """Read what a user asked for, names with commas between them; blank is everything.

        Args:
            kinds: names of ``KINDS``.
            formats: names of ``FORMATS``.
            columns: 1, 2 or 1,2.

        Raises:
            UsageError: something else, or nothing at all between the commas.
        """
        wide = _chosen(columns, tuple(map(str, WIDTHS)), "--columns", "number of columns")
        return cls(
            _chosen(kinds, tuple(KINDS), "--kind", "kind of figure"),
            _chosen(formats, FORMATS, "--format", "format"),
            tuple(map(int, wide)),
        )


def _chosen(text: str, known: tuple[str, ...], option: str, noun: str) -> tuple[str, ...]:
    if not text.strip():
        return known
    asked = [word.strip().lower() for word in text.split(",") if word.strip()]
    wrong = next((word for word in asked if word not in known), None)
    if wrong is not None or not asked:
        found = f"{wrong!r} is no {noun}" if wrong else f"{text!r} names no {noun}"
        raise UsageError(f"{option}: {found}; choose among {', '.join(known)}, with commas between them")
    return tuple(word for word in known if word in asked)


@dataclass(frozen=True)
class FiguresWritten:
    """What was written, and a sentence for each kind that the records hold nothing for or that lacks a sign."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]
    kinds: tuple[tuple[str, int], ...]
    """Kinds that were drawn, with how many figures of each."""


def write_figures(material: Material, out: Path, choice: FigureChoice | None = None) -> FiguresWritten:
    """Write figures; the same records give the same bytes with one version of matplotlib.

    Args:
        material: the records, compared.
        out: a folder, made where it is missing; not even that where there is nothing to draw.
        choice: which; None: all kinds, formats and widths.

    Returns:
        The files in the order of the kinds, and what is to be said.

    Raises:
        BenchError: ``out`` cannot be written.
    """
    choice = choice or FigureChoice()
    files: list[Path] = []
    notes: list[str] = []
    taken: set[str] = set()
    counts: list[tuple[str, int]] = []
    for kind in choice.kinds:
        found = KINDS[kind](material)
        if isinstance(found, str):
            notes.append(f"no figure {kind}: {found}")
            continue
        counts.append((kind, len(found)))
        for figure in found:
            stem = _free(figure, taken)
            paths, lacking = write_figure(
                marked(figure, material.mark), stem, out, choice.formats, choice.columns
            )
            files += paths
            notes += [lacking] if lacking else []
    return FiguresWritten(tuple(files), tuple(notes), tuple(counts))


def _free(figure: PaperFigure, taken: set[str]) -> str:
    """A name that no other figure has, on file systems too that take A and a for one: else with a hash of what it is of."""
    stem = figure.stem
    if stem.lower() in taken:
        stem = f"{stem}-{digest(figure.subject, length=4)}"
    taken.add(stem.lower())
    return stem
