"""Which layers of a frozen encoder carry emotion: weights that probes learnt, and the score of each layer alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.protocols import DIMENSIONS
from bench.scoring.record_schema import LayerPoint
from bench.scoring.records import Record
from reports.charts.chart import Chart, count_scale, value_scale
from reports.formatting import METRIC_TITLES, counted, number

WEIGHTS, CURVE = "layer_weights", "layer_curve"
"""Names under which they are found: a list of numbers in the notes of a fit; points in a record."""
CURVES = {CURVE: "ua", **{f"{CURVE}_{d}": "ccc" for d in DIMENSIONS}}
"""Curves of a record, and what each is scored in."""
DRAWN = 8


@dataclass(frozen=True)
class LayerRow:
    """One layer: its value, and the ends of its interval (curve) or of its range over fits (weights)."""

    layer: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Layers:
    """The layers of one record's encoder. ``what`` is ``weights``, ``ua`` or ``ccc``; ``ends`` says what low and high are."""

    record: Record
    what: str
    head: str
    ends: str
    rows: tuple[LayerRow, ...]
    chart: Chart | None


def layer_figures(records: Sequence[Record]) -> list[Layers]:
    """Lay out layer weights and layer curves of every record that has them."""
    found: list[Layers] = []
    for record in records:
        for head, lists in _noted(record, WEIGHTS).items():
            if rows := _over_fits([_numbers(x) for x in lists]):
                found.append(
                    _figure(record, "weights", head, f"range over {counted(len(lists), 'fit')}", rows)
                )
        for name, metric in CURVES.items():
            if rows := _curve_rows(getattr(record.facts, name), metric):
                head = name.removeprefix(CURVE).removeprefix("_")
                found.append(_figure(record, metric, head, "interval", rows))
    return [f if i < DRAWN else _undrawn(f) for i, f in enumerate(found)]


def _undrawn(figure: Layers) -> Layers:
    return Layers(figure.record, figure.what, figure.head, figure.ends, figure.rows, None)


def _noted(record: Record, name: str) -> dict[str, list[Any]]:
    """Values noted under a name in every fit, by the path of the notes they stand in."""
    found: dict[str, list[Any]] = {}
    for notes in record.facts.notes.values():
        for path, value in _named(notes, name, ()):
            found.setdefault(" · ".join(path), []).append(value)
    return found


def _named(notes: Any, name: str, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(notes, Mapping):
        for key, value in notes.items():
            if key == name:
                yield path, value
            else:
                yield from _named(value, name, (*path, str(key)))


def _numbers(values: Any) -> list[float]:
    plain = isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )
    return [float(v) for v in values] if plain else []


def _over_fits(fits: Sequence[Sequence[float]]) -> tuple[LayerRow, ...]:
    """Mean, lowest and highest of each layer; nothing where fits differ in their layers."""
    if not fits or not fits[0] or len({len(f) for f in fits}) != 1:
        return ()
    table = np.array(fits)
    rows = zip(
        table.mean(axis=0).tolist(), table.min(axis=0).tolist(), table.max(axis=0).tolist(), strict=True
    )
    return tuple(LayerRow(i, *row) for i, row in enumerate(rows))


def _curve_rows(points: Sequence[LayerPoint], metric: str) -> tuple[LayerRow, ...]:
    """The layers of a curve that have a value, in order."""
    values = [(p, p.ua if metric == "ua" else p.ccc) for p in points]
    rows = [LayerRow(p.layer, value, p.low, p.high) for p, value in values if value is not None]
    return tuple(sorted(rows, key=lambda r: r.layer))


def _figure(record: Record, what: str, head: str, ends: str, rows: tuple[LayerRow, ...]) -> Layers:
    best = max(rows, key=lambda r: r.value)
    values = [v for r in rows for v in (r.value, r.low, r.high) if v is not None]
    first, count = rows[0].layer, rows[-1].layer - rows[0].layer + 1
    across = count_scale(count, "layer, 0 nearest to the audio" if first == 0 else "layer", first)
    if what == "weights":
        alt = f"Weights of {counted(len(rows), 'layer')} on {record.task}: layer {best.layer} has most, {number(best.value)} %."
        chart = Chart(alt, across, value_scale(values, "weight, %", percent=True, floor=0.0), width=320)
        for r in rows:
            chart.bar("bar", r.layer - 0.36, r.layer + 0.36, r.value)
    else:
        name, percent = METRIC_TITLES[what], what == "ua"
        alt = (
            f"{name} of each of {counted(len(rows), 'layer')} alone on {record.task}: highest on layer {best.layer}, "
            f"{number(best.value, percent=percent)}{' %' if percent else ''}."
        )
        title = f"{name}, %" if percent else name
        chart = Chart(alt, across, value_scale(values, title, percent=percent), width=320)
        band = [(r.layer, r.low, r.high) for r in rows if r.low is not None and r.high is not None]
        chart.area("band", [(x, lo) for x, lo, _ in band], [(x, hi) for x, _, hi in band])
        chart.line("curve", [(r.layer, r.value) for r in rows])
        chart.dots("dots", [(r.layer, r.value) for r in rows])
    if what == "weights":
        for r in rows:
            if r.low is not None and r.high is not None and r.low < r.high:
                chart.line("reach", [(r.layer, r.low), (r.layer, r.high)])
    return Layers(record, what, head, ends, rows, chart)
