"""Printing: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def console() -> Console:
    """Return the console of standard output; wide enough in a pipe that no table is cut."""
    return Console(markup=False, width=None if sys.stdout.isatty() else 160, highlight=False)


def print_json(value: Any) -> None:
    """Print a JSON value to standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()
) -> None:
    """Print a table.

    Args:
        title: stands above it; none where it is blank.
        columns: heads, from left to right.
        rows: cells as they are to be read, one per column; None is a blank.
        right: heads of the columns that are set flush right.
    """
    table = Table(
        title=title or None,
        title_justify="left",
        box=None,
        header_style="bold",
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console().print(table)


def warn(sentences: Iterable[str]) -> None:
    """Print warnings to standard error, where they are in nobody's way who reads the output."""
    for sentence in dict.fromkeys(sentences):
        print(f"warning: {sentence}", file=sys.stderr)


def span(low: float | None, high: float | None) -> str:
    """Write an interval.

    >>> span(0.25, 0.5), span(None, None)
    ('0.250 – 0.500', 'no interval')
    """
    return "no interval" if low is None or high is None else f"{figure(low)} – {figure(high)}"


def figure(value: float | None, digits: int = 3) -> str:
    """Write a score; a dash where there is none.

    >>> figure(0.7634), figure(None)
    ('0.763', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}"
