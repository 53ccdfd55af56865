"""How training went: every series of numbers that a fit left, one line per fit in one chart per series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.scoring.records import Record
from reports.charts.chart import Chart, Scale, count_scale, value_scale
from reports.formatting import counted
from reports.sections.fits import fit_order
from reports.sections.layers import WEIGHTS

NOT_TRAINING = frozenset({WEIGHTS, "dev_loss_by_layer", "position_shares", "epochs_averaged"})
"""Lists that a fit leaves and that no training goes along."""
FEWEST_STEPS = 3
LARGEST = 1e12
DRAWN = 8
LINES = 15
"""Fits drawn in one chart."""


@dataclass(frozen=True)
class Curve:
    """One series of one record: (fit, values by epoch or step); the chart holds the first fits."""

    record: Record
    name: str
    fits: tuple[tuple[str, tuple[float, ...]], ...]
    chart: Chart | None

    @property
    def left_out(self) -> int:
        """Fits that the chart has no line for."""
        return max(0, len(self.fits) - LINES)


def training_curves(records: Sequence[Record]) -> list[Curve]:
    """Find the series in the notes of every record: lists of numbers, and lists of {name: number}."""
    found: list[Curve] = []
    for record in records:
        series: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
        for fit, notes in sorted(record.facts.notes.items(), key=lambda item: fit_order(str(item[0]))):
            for name, values in _series(notes, ""):
                series.setdefault(name, []).append((str(fit), values))
        for name, fits in series.items():
            chart = _chart(record, name, fits) if len(found) < DRAWN else None
            found.append(Curve(record, name, tuple(fits), chart))
    return found


def _series(notes: Any, path: str) -> Iterator[tuple[str, tuple[float, ...]]]:
    if isinstance(notes, Mapping):
        for key, value in notes.items():
            if key not in NOT_TRAINING:
                yield from _series(value, f"{path} · {key}" if path else str(key))
    elif isinstance(notes, list) and len(notes) >= FEWEST_STEPS:
        if all(_is_number(v) for v in notes):
            yield path.replace("_", " "), tuple(float(v) for v in notes)
        elif all(isinstance(v, Mapping) for v in notes):
            for key in notes[0]:
                if key not in ("epoch", "step") and all(_is_number(v.get(key)) for v in notes):
                    yield f"{path} · {key}".replace("_", " "), tuple(float(v[key]) for v in notes)


def _is_number(value: Any) -> bool:
    """Whether a noted value can be drawn; what exceeds the limit is no loss and no score."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _chart(record: Record, name: str, fits: Sequence[tuple[str, tuple[float, ...]]]) -> Chart:
    longest = max(len(values) for _, values in fits)
    across = count_scale(longest, "epoch or step", 1)
    across = Scale(1.0, float(longest), across.ticks, across.title)
    alt = f"{name} on {record.task} along the training of {counted(len(fits), 'fit')}."
    chart = Chart(alt, across, value_scale([v for _, values in fits for v in values], name[-40:]), width=320)
    for _, values in fits[:LINES]:
        chart.line("thin", list(enumerate(values, start=1)))
    return chart
