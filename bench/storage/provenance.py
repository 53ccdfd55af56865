"""Facts about this machine and its packages, for the sidecar: they explain times, they decide nothing."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.storage.journal import CellRow, JobRow
from bench.version import __version__

PACKAGES = (
    "ser-bench", "torch", "torchaudio", "transformers", "s3prl", "datasets", "peft", "opensmile", "scikit-learn",
    "scipy", "numpy", "numba", "pyarrow", "soundfile", "soxr", "av",
)  # fmt: skip


COST_COLUMNS = ("seconds", "memory_bytes", "gpu_memory_bytes", "joules")
"""What the sidecar says of a cell; see :class:`bench.storage.journal.CellRow`."""


def machine_facts(devices: Sequence[str]) -> dict[str, Any]:
    """Return hardware, operating system and package versions as JSON values."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": psutil.cpu_count(logical=True),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "devices": list(devices),
        "packages": package_versions(),
    }


def sidecar(
    sessions: Sequence[Mapping[str, Any]], jobs: Sequence[JobRow], cells: Sequence[CellRow] = ()
) -> dict[str, Any]:
    """Return what a run took: every session with its machine, per kind of work the passes, clips and seconds, and what each cell took.

    Records stay free of all this, so that two runs can be equal byte for byte.

    Args:
        sessions: of the journal.
        jobs: of the journal.
        cells: of the journal; those that are done and whose cost was measured are told, by their keys.

    Returns:
        JSON values. What a cell took leaves out decoding, conditions and encoding, which cells share: those are under ``work``.
    """
    work: dict[str, dict[str, float]] = {}
    for job in jobs:
        sums = work.setdefault(
            job.key, {"jobs": 0, "clips": 0, "seconds": 0.0, "work_seconds": 0.0, "failed": 0}
        )
        sums["jobs"] += 1
        sums["clips"] += job.clips
        sums["seconds"] = round(sums["seconds"] + job.seconds, 3)
        sums["work_seconds"] = round(sums["work_seconds"] + job.work_seconds, 3)
        sums["failed"] += job.error is not None
    return {
        "sessions": [
            {
                "wall_seconds": s["wall_seconds"],
                "workers": s["workers"],
                "harness_share": harness_share(
                    [j for j in jobs if j.session == s["session"]], s["wall_seconds"], s["workers"]
                ),
                **json.loads(s["facts"]),
            }
            for s in sessions
        ],
        "work": work,
        **({"cells": costs} if (costs := _costs(cells)) else {}),
    }


def _costs(cells: Sequence[CellRow]) -> dict[str, Any]:
    """What finished cells took, as a table by key: 100,000 cells must stay a file that can be published. None: not measured."""
    rows = {
        cell.cell: [
            round(cell.seconds, 4),
            cell.memory_bytes,
            cell.gpu_memory_bytes,
            None if cell.joules is None else round(cell.joules, 3),
        ]
        for cell in cells
        if cell.state == "done" and cell.seconds is not None
    }
    return {"columns": list(COST_COLUMNS), "rows": rows} if rows else {}


def harness_share(jobs: Sequence[JobRow], wall: float | None, workers: int) -> float | None:
    """Return the share of a session's worker time that went neither into decoders nor into models.

    The harness's part is what jobs spend around their decoder or model, and all workers' time while no job runs at
    all (planning, scoring). That one worker waits at the end for another's last long fit is not counted.

    Args:
        jobs: of the session.
        wall: seconds that the session took; None where it ended without saying.
        workers: processes it had.

    Returns:
        The share, 0..1; None if unknown.
    """
    if wall is None or not jobs:
        return None
    covered, end = 0.0, 0.0
    for start, stop in sorted((j.started, j.started + j.seconds) for j in jobs):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    idle = max(0.0, wall - covered) * workers
    around = sum(j.seconds - j.work_seconds for j in jobs)
    return round((idle + around) / (idle + sum(j.seconds for j in jobs)), 4)


def processor_name() -> str:
    """Return the processor's name as the kernel gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:  # noqa: PTH123 - a kernel file
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def package_versions() -> dict[str, str]:
    """Return the versions of the packages whose arithmetic or file formats matter."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def code_version() -> str:
    """Package version, with the git revision where the package runs from a checkout: ``0.1.0+g1a2b3c4`` (``.dirty``)."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return __version__
    try:
        revision = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=.dirty", "--abbrev=10", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+g{revision}"
