"""What systems said of their own fits (chosen learning rate, epochs, …), laid out as one table per task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.scoring.records import Record
from reports.charts.geometry import sparkline
from reports.formatting import cut

SHOWN_NUMBERS = 6
"""A longer list of numbers is drawn as a line."""
SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class Note:
    """A value in words, or a series as the points of a polyline with its ends in words."""

    text: str
    points: str | None = None


@dataclass(frozen=True)
class FitTable:
    """One row per fit; what was the same in every fit stands apart."""

    task: str
    protocol: str
    condition: str
    constants: tuple[tuple[str, Note], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Note, ...]], ...]


def fit_table(record: Record) -> FitTable | None:
    """Lay out a record's notes; None where the system left none."""
    fits = {str(fit): dict(_flat(notes)) for fit, notes in record.facts.notes.items()}
    names = list(dict.fromkeys(name for fit in fits.values() for name in fit))
    if not names:
        return None
    same = [n for n in names if len(fits) > 1 and len({repr(fit.get(n)) for fit in fits.values()}) == 1]
    varying = [n for n in names if n not in same]
    first = next(iter(fits.values()))
    return FitTable(
        record.task,
        record.regime,
        record.facts.condition,
        tuple((_title(n), note(first[n])) for n in same),
        tuple(_title(n) for n in varying),
        tuple(
            (fit, tuple(note(fits[fit][n]) if n in fits[fit] else Note("–") for n in varying))
            for fit in sorted(fits, key=fit_order)
        )
        if varying
        else (),
    )


def _flat(notes: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(notes, Mapping):
        return [(prefix or "note", notes)]
    found: list[tuple[str, Any]] = []
    for key, value in notes.items():
        found += _flat(value, f"{prefix} · {key}" if prefix else str(key))
    return found


def _title(name: str) -> str:
    return name.replace("_", " ")


def fit_order(fit: str) -> list[tuple[int, str]]:
    """Sort ``fold 10`` after ``fold 9``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", fit)]


def note(value: Any) -> Note:
    """Write one noted value.

    >>> note(0.001), note([0.25, 0.75]), note(True)
    (Note(text='0.001', points=None), Note(text='0.25, 0.75', points=None), Note(text='yes', points=None))
    """
    if value is None:
        return Note("–")
    if isinstance(value, bool):
        return Note("yes" if value else "no")
    if isinstance(value, float):
        return Note(f"{value:.4g}")
    if isinstance(value, list):
        return _series(value)
    return Note(cut(f"{value:,}" if isinstance(value, int) else str(value), SHOWN_CHARACTERS))


def _series(values: list[Any]) -> Note:
    if values and all(isinstance(v, Mapping) for v in values):
        return Note(f"{len(values)} entries")
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if numeric and len(values) > SHOWN_NUMBERS:
        return Note(
            f"{len(values)} values, {note(values[0]).text} to {note(values[-1]).text}", sparkline(values)
        )
    return Note(cut(", ".join(note(v).text for v in values), SHOWN_CHARACTERS) or "none")
