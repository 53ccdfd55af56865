"""The report of the figures: tables, plots, verdicts."""

from __future__ import annotations

from pathlib import Path

from bench.atomic import write_text
from tests.bench.validity.results import Results


def write_report(folder: Path, found: Results) -> Path:
    """Write README.md into the folder."""
    lines = [
        f"| {cell.key} | {figure.method} | {100 * figure.share:.1f} |"
        for cell in found.cells.values()
        for figure in cell.figures
    ]
    path = folder / "README.md"
    write_text(path, "\n".join(["| cell | method | % |", "|---|---|---|", *lines]) + "\n")
    return path
