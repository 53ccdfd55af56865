"""``python -m tests.bench.statistics.validity``: simulate, and write figures, plots and the report.

Goes on where an interrupted run stopped; ``--fresh`` starts again, ``--report`` only draws, ``--quick`` takes a few
cells with 20 corpora each, into a folder of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.bench.statistics.validity.plan import BELOW, CELLS, SIMULATIONS, Cell
from tests.bench.statistics.validity.report import write_report
from tests.bench.statistics.validity.results import FILE, FOLDER, fill, read

QUICK_SIMULATIONS = 20


def quick_cells() -> list[Cell]:
    """One small cell of every question and metric, and of every kind of method."""
    seen: dict[tuple[object, ...], Cell] = {}
    for cell in CELLS:
        if cell.speakers <= 20 and cell.speakers not in BELOW:
            seen.setdefault((cell.question, cell.world.metric, cell.methods), cell)
    return list(seen.values())


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of figures and report")
    parser.add_argument("--quick", action="store_true", help=f"a few cells, {QUICK_SIMULATIONS} corpora each")
    parser.add_argument("--fresh", action="store_true", help="forget the figures that are there")
    parser.add_argument(
        "--report", action="store_true", help="draw the report from the figures that are there"
    )
    asked = parser.parse_args()
    if asked.quick and asked.out == FOLDER:
        parser.error("--quick needs a folder of its own: give --out")
    if asked.fresh:
        (asked.out / FILE).unlink(missing_ok=True)
    if asked.report:
        found = read(asked.out)
    elif asked.quick:
        found = fill(asked.out, quick_cells(), QUICK_SIMULATIONS)
    else:
        found = fill(asked.out, CELLS, SIMULATIONS)
    print(f"The report is {write_report(asked.out, found)}.")


if __name__ == "__main__":
    main()
