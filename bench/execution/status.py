"""How far a run is and what its workers do, whether it runs, was killed, or has ended: read only, whoever works on it."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import TypeAdapter, ValidationError

from bench.errors import DataError
from bench.execution.executors.interface import WorkerSight
from bench.execution.gpus import GpuSight, gpu_sights
from bench.execution.heartbeat import DriverSign, StageSight, read_sign
from bench.execution.planned_cells import PlannedCells, read_planned
from bench.storage.bounded_files import bounded_json
from bench.storage.journal import CellRow, JobRow, reading
from bench.storage.run_folder import RunFolder, open_run

RunState = Literal["running", "killed", "stopped", "finished", "unknown"]
QUIET_SECONDS = 60.0
"""A driver on another machine that has said nothing for so long may be gone; nobody here can tell."""
_WORDS = TypeAdapter(dict[str, str])


@dataclass(frozen=True)
class Pace:
    """What the last driver finished, from its start until now or until its last cell."""

    seconds: float
    cells: int
    clips: int
    """That went through decoders, conditions, encoders and fits together, each time they did."""
    jobs: int

    @property
    def cells_per_hour(self) -> float:
        """Finished cells by hours; 0 where no time went by."""
        return 3600 * self.cells / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class RunStatus:
    """A run as it is now. ``None`` counts are unknown."""

    run: str
    state: RunState
    why: str
    """What the state rests on, in words."""
    done: int
    running: int
    """Cells of the fits that workers have in hand."""
    waiting: int | None
    """To do, and in nobody's hand."""
    failed: Mapping[str, int]
    """Cells that failed, by reason; tried again or not."""
    blocked: Mapping[str, str]
    """Systems that cannot be run here, with the reason."""
    blocked_cells: int | None
    refused: Mapping[str, str]
    """Records whose task cannot be built, with the reason."""
    left_out: int | None
    """Cells that ``--only`` or ``--shard`` left out."""
    records: int
    """Scored records in the folder."""
    pace: Pace | None
    stage: StageSight | None
    """Of a driver that works, or was killed."""
    workers: tuple[WorkerSight, ...]
    gpus: tuple[GpuSight, ...]
    driver: int | None
    node: str | None
    seen: float | None
    """When the driver wrote last, in seconds since the epoch."""
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        described = asdict(self)
        if self.pace is not None:
            described["pace"]["cells_per_hour"] = round(self.pace.cells_per_hour, 1)
        return described


def read_status(path: Path) -> RunStatus:
    """Look at a run without writing anything into its folder.

    Args:
        path: the run's folder.

    Returns:
        How far it is.

    Raises:
        UsageError: the folder is no run.
        DataError: a file of it is damaged.
        BenchError: its journal is damaged.
    """
    folder = open_run(path)
    sign, notes = _sign(folder)
    planned = read_planned(folder)
    with reading(folder.journal) as journal:
        cells, jobs, sessions = journal.cells(), journal.jobs(), journal.sessions()
    # Read after the journal: a driver that ended meanwhile has removed it, and the journal says less than all.
    state, why = _state(sign, sessions)
    described = _matrix(folder.matrix)
    tables = _names(folder.tables)
    counts = _count(cells, planned, tables)
    alive = state in ("running", "unknown") and sign is not None
    workers = tuple(_as_of_now(w, sign) for w in sign.workers) if sign is not None and alive else ()
    running = sum(w.cells for w in workers)
    if planned is None and sign is None:
        notes.append("which cells were planned is not noted; only what the journal has is counted")
    session = sessions[-1] if sessions else None
    return RunStatus(
        run=str(path),
        state=state,
        why=why,
        done=counts.done,
        running=running,
        waiting=None if planned is None else max(counts.undone - running, 0),
        failed=counts.failed,
        blocked=described["blocked"],
        blocked_cells=None if planned is None else sum(r.blocked for r in planned.records.values()),
        refused=described["refused"],
        left_out=None if planned is None else sum(r.left_out for r in planned.records.values()),
        records=sum(name.endswith(".json") for name in _names(folder.records)),
        pace=None
        if session is None
        else _pace(session, cells, [j for j in jobs if j.session == session["session"]], alive=alive),
        stage=None if sign is None else sign.stage,
        workers=workers,
        gpus=tuple(gpu_sights()) if alive and sign is not None and sign.node == socket.gethostname() else (),
        driver=None if sign is None else sign.driver,
        node=None if sign is None else sign.node,
        seen=None if sign is None else sign.written,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Counts:
    done: int
    undone: int
    """Neither done nor failed."""
    failed: Mapping[str, int]


def _count(cells: Mapping[str, CellRow], planned: PlannedCells | None, tables: Collection[str]) -> _Counts:
    """Count what was asked for; of a run that noted no plan, whatever its journal has. A cell whose table is gone is not done."""
    asked = set(cells) if planned is None else {k for r in planned.records.values() for k in r.cells}
    rows = [cells[key] for key in asked if key in cells]
    done = sum(row.state == "done" and f"{row.cell}.parquet" in tables for row in rows)
    failed = Counter(row.error or "no reason noted" for row in rows if row.state == "failed")
    return _Counts(done, len(asked) - done - failed.total(), dict(failed.most_common()))


def _as_of_now(sight: WorkerSight, sign: DriverSign) -> WorkerSight:
    """What was written a moment ago, or by a driver that has hung since; other machines' clocks may differ."""
    since = max(time.time() - sign.written, 0.0) if sign.node == socket.gethostname() else 0.0
    return replace(sight, seconds=sight.seconds + since, silent_seconds=sight.silent_seconds + since)


def _sign(folder: RunFolder) -> tuple[DriverSign | None, list[str]]:
    try:
        return read_sign(folder.status), []
    except DataError as error:
        return None, [str(error)]


def _state(sign: DriverSign | None, sessions: Sequence[Mapping[str, Any]]) -> tuple[RunState, str]:
    """What became of the last driver, and how that is known."""
    if sign is None:
        if not sessions:
            return "finished", "no driver worked on it; what it has was imported"
        if sessions[-1]["wall_seconds"] is None:
            return "stopped", "the last driver was stopped before it had finished; the same command goes on"
        return "finished", "the last driver ended in order"
    silent = max(time.time() - sign.written, 0.0)
    if sign.node != socket.gethostname():
        if silent <= QUIET_SECONDS:
            return "running", f"its driver on {sign.node} wrote {silent:.0f} s ago"
        return "unknown", (
            f"its driver is on {sign.node} and has written nothing for {silent:.0f} s: it plans, scores or hangs, or is gone; "
            "look there"
        )
    if _lives(sign):
        return "running", f"its driver is process {sign.driver} of this machine"
    return "killed", f"its driver, process {sign.driver}, is gone; the same command goes on"


def _lives(sign: DriverSign) -> bool:
    """Whether the driver's process is there, and not another that has its number now."""
    try:
        process = psutil.Process(sign.driver)
        # Times that are reckoned from the boot may be off where the clock was set.
        own = process.create_time() <= sign.started + 2 or abs(time.time() - sign.written) < 10
        return own and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it is there, and somebody else's
        return True


def _pace(
    session: Mapping[str, Any], cells: Mapping[str, CellRow], jobs: Sequence[JobRow], *, alive: bool
) -> Pace:
    started = float(session["started"])
    ends = [j.started + j.seconds for j in jobs]
    until = time.time() if alive else max(ends, default=started)
    mine = [c for c in cells.values() if c.state == "done" and c.ended is not None and c.ended >= started]
    return Pace(
        seconds=max(until - started, 0.0), cells=len(mine), clips=sum(j.clips for j in jobs), jobs=len(jobs)
    )


def _matrix(path: Path) -> dict[str, dict[str, str]]:
    """Who is blocked and refused, by ``matrix.json``; nobody where it is not written yet.

    Raises:
        DataError: the file is damaged.
    """
    if not path.exists():
        return {"blocked": {}, "refused": {}}
    stored = bounded_json(path)
    try:
        return {part: _WORDS.validate_python(stored.get(part, {})) for part in ("blocked", "refused")}
    except (AttributeError, ValidationError):
        raise DataError(
            f"{path}: blocked and refused are not as a run writes them; run the matrix again"
        ) from None


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - a hundred thousand names; as paths they take a second
    except FileNotFoundError:
        return set()
