"""The committed results: written cell by cell, read back as typed figures."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.atomic import write_json
from bench.provenance import machine_facts
from tests.bench.validity.measure import Figure, Measured, measure
from tests.bench.validity.plan import CELLS, DRAWS, SEED, Cell, bound_of

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "results" / "validity"
FILE = "figures.json"
PACKAGES = ("numpy", "scipy")


@dataclass(frozen=True)
class Results:
    """When and with what the figures were made, and the figures by the cell's key."""

    about: dict[str, Any]
    cells: dict[str, Measured]


def fill(folder: Path, cells: Iterable[Cell], simulations: int) -> Results:
    """Measure what the file does not hold yet; every finished cell is on disk before the next one starts."""
    path = folder / FILE
    about = {"seed": SEED, "simulations": simulations, "draws": DRAWS}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = found.get("about", {})
    if {name: kept.get(name) for name in about} != about:
        found = {"about": about | _origin(), "cells": {}}
    for cell in cells:
        if cell.key in found["cells"]:
            continue
        done = measure(cell, simulations)
        found["cells"][cell.key] = _written(cell, done)
        write_json(path, found)
        shares = ", ".join(f"{f.method} {100 * f.share:.1f} %" for f in done.figures)
        print(f"{cell.key}: {shares} ({done.seconds:.0f} s)", flush=True)
    return read(folder)


def read(folder: Path = FOLDER) -> Results:
    """Give the figures of a folder."""
    found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    by_key = {cell.key: cell for cell in CELLS}
    cells = {
        key: Measured(
            key=key,
            question=by_key[key].question,
            metric=by_key[key].world.metric,
            world=by_key[key].world.name,
            speakers=by_key[key].speakers,
            figures=tuple(
                Figure(method, **{name: entry for name, entry in figure.items() if name != "bound"})
                for method, figure in written["figures"].items()
            ),
            seconds=written["seconds"],
        )
        for key, written in found["cells"].items()
    }
    return Results(found["about"], cells)


def bounds_when_measured(folder: Path = FOLDER) -> dict[tuple[str, str], list[float] | None]:
    """Give the bound that each figure was measured under, by cell and method."""
    found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return {
        (key, method): figure["bound"]
        for key, written in found["cells"].items()
        for method, figure in written["figures"].items()
    }


def _written(cell: Cell, done: Measured) -> dict[str, Any]:
    figures = {}
    for figure in done.figures:
        bound = bound_of(cell, figure.method)
        entry = asdict(figure) | {"bound": None if bound is None else [bound.low, bound.high]}
        del entry["method"]
        figures[figure.method] = entry
    return {"figures": figures, "seconds": done.seconds}


def _origin() -> dict[str, Any]:
    facts = machine_facts([])
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "revision": _revision(),
        "python": facts["python"],
        "processor": facts["processor"],
        "packages": {name: facts["packages"][name] for name in PACKAGES},
    }


def _revision() -> str:
    """The commit that was checked out, marked where files had been changed since."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else "unknown"
