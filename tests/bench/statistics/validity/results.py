"""The committed results: written cell by cell, read back as typed figures."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.storage.atomic import write_json
from bench.storage.hashing import hash_json
from bench.storage.provenance import machine_facts
from tests.bench.statistics.validity.measure import Measured, measure
from tests.bench.statistics.validity.plan import CELLS, DRAWS, FEW, SEED, Cell, bound_of

ROOT = Path(__file__).resolve().parents[4]
FOLDER = ROOT / "results" / "validity"
FILE = "figures.json"
PACKAGES = ("numpy", "scipy")
PROBED = 6
"""Corpora that tell whether a cell's figures are still those of the code."""


@dataclass(frozen=True)
class Entry:
    """One figure with the cell it belongs to, and the bound it was measured under (None: none was set)."""

    question: str
    metric: str
    world: str
    speakers: int
    method: str
    share: float
    monte_carlo_error: float
    width: float | None
    simulations: int
    refused: int
    bound: tuple[float, float] | None
    key: str

    @property
    def holds(self) -> bool:
        """Whether the share keeps its bound; True without one."""
        return self.bound is None or self.bound[0] <= self.share <= self.bound[1]


@dataclass(frozen=True)
class Results:
    """When and with what the figures were made, the figures in the order of the plan, and the seconds they took."""

    about: dict[str, Any]
    entries: tuple[Entry, ...]
    seconds: float

    def of(self, question: str, *methods: str, world: str | None = None) -> list[Entry]:
        """Give the figures of a question, of some methods (default: all), of one world (default: all)."""
        return [
            e
            for e in self.entries
            if e.question == question and (not methods or e.method in methods) and world in (None, e.world)
        ]


def fill(folder: Path, cells: Iterable[Cell], simulations: int) -> Results:
    """Measure what the file does not hold yet, and what a first few corpora show that today's code answers otherwise.

    Every finished cell is on disk before the next one starts. ``simulations`` is the most corpora per cell.
    """
    path = folder / FILE
    about = {"seed": SEED, "draws": DRAWS}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = found.get("about", {})
    if {name: kept.get(name) for name in about} != about:
        found = {"about": about | _origin(), "cells": {}}
    origin = (
        _origin()
    )  # Asked before the first figure is written: a file that this run changes is no change of the code.
    for cell in cells:
        probe = probe_of(cell)
        if found["cells"].get(cell.key, {}).get("probe") == probe:
            continue
        done = measure(cell, planned(cell, simulations))
        _note_addition(found["about"], origin)
        older = found["about"].get("older", {}).get("cells", [])
        if cell.key in older:
            older.remove(cell.key)
        found["cells"][cell.key] = _written(cell, done) | {"probe": probe}
        write_json(path, found)
        shares = ", ".join(f"{f.method} {100 * f.share:.1f} %" for f in done.figures)
        print(f"{cell.key}: {shares} ({done.seconds:.0f} s)", flush=True)
    return read(folder)


def planned(cell: Cell, simulations: int) -> int:
    """Corpora of a cell when at most so many are asked for: where each is dear, a tenth."""
    if cell.simulations == FEW and simulations < FEW:
        return max(1, simulations // 10)
    return min(cell.simulations, simulations)


def probe_of(cell: Cell) -> str:
    """What today's code answers on a first few corpora of a cell: equal code, equal probe; rounded, for other processors."""
    found = measure(cell, 1 if cell.simulations == FEW else PROBED).figures
    return hash_json(
        [
            [f.method, round(f.share, 9), f.refused, None if f.width is None else round(f.width, 9)]
            for f in found
        ]
    )


def read(folder: Path = FOLDER) -> Results:
    """Give the figures of a folder."""
    found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    entries = [
        Entry(
            question=cell.question,
            metric=cell.world.metric,
            world=cell.world.name,
            speakers=cell.speakers,
            method=method,
            key=cell.key,
            **figure | {"bound": figure["bound"] and tuple(figure["bound"])},
        )
        for cell in CELLS
        if cell.key in found["cells"]
        for method, figure in ((m, found["cells"][cell.key]["figures"][m]) for m in cell.methods)
    ]
    return Results(found["about"], tuple(entries), sum(cell["seconds"] for cell in found["cells"].values()))


def _written(cell: Cell, done: Measured) -> dict[str, Any]:
    figures = {}
    for figure in done.figures:
        bound = bound_of(cell, figure.method)
        entry = asdict(figure) | {"bound": None if bound is None else [bound.low, bound.high]}
        del entry["method"]
        figures[figure.method] = entry
    return {"figures": figures, "seconds": done.seconds}


def _note_addition(about: dict[str, Any], origin: dict[str, Any]) -> None:
    """Note what made a cell, where it is not what made the first ones."""
    if origin["revision"] == about["revision"]:
        return
    added = about.setdefault("added", [])
    if not added or added[-1]["revision"] != origin["revision"]:
        added.append({"date": origin["date"], "revision": origin["revision"], "cells": 0})
    added[-1]["cells"] += 1


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
