"""``serbench status``: how far a run is, what its workers do and what keeps the rest from being done."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bench.cli.printing import console, print_table
from bench.errors import printable
from bench.execution.executors.interface import WorkerSight
from bench.execution.heartbeat import straggler_words
from bench.execution.planning.estimates import human_bytes, human_time
from bench.execution.planning.reasons import group_reasons
from bench.execution.status import RunStatus, read_status


def show_status(run: Path, *, every: float | None, as_json: bool) -> None:
    """Print how far a run is; again and again while it runs, where that is asked.

    Args:
        run: the run's folder.
        every: seconds after which it is looked at again, until no driver works; None: once.
        as_json: print one line of JSON each time.
    """
    out = console()
    while True:
        found = read_status(run)
        if as_json:
            print(json.dumps(found.as_json(), ensure_ascii=False), flush=True)
        else:
            if every is not None and out.is_terminal:
                out.clear()
            _print_status(found, out)
        if every is None or found.state not in ("running", "unknown"):
            return
        time.sleep(every)


def _print_status(found: RunStatus, out: Console) -> None:
    for line in _head(found):
        out.print(printable(line), soft_wrap=True)
    if found.workers:
        print_table(
            "",
            ("worker", "does", "since", "others took", "how far", "last sign", "memory", "process"),
            [_worker(w) for w in found.workers],
            right=("worker", "since", "others took", "last sign", "memory"),
        )
    for sight in found.workers:
        if sight.straggles:
            out.print(printable(straggler_words(sight)), soft_wrap=True)
    for line in _reasons(found):
        out.print(printable(line), soft_wrap=True)


def _head(found: RunStatus) -> Iterator[str]:
    yield f"{found.run}: {found.state}; {found.why}"
    # Every driver says what it does when it begins, so that a blank stage was written by no driver of this version.
    if found.stage is not None and found.stage.title:
        yield _stage(found)
    yield _cells(found)
    pace = found.pace
    if pace is not None and pace.jobs:
        yield (
            f"{pace.cells} cells in {human_time(pace.seconds)} ({pace.cells_per_hour:.0f} an hour), by {pace.jobs} jobs over "
            f"{pace.clips} clips, since the last start"
        )
    for gpu in found.gpus:
        yield (
            f"GPU {gpu.number}, {gpu.name}: {gpu.use_percent} % in use, {human_bytes(gpu.used_bytes)} of {human_bytes(gpu.bytes)}"
        )


def _stage(found: RunStatus) -> str:
    assert found.stage is not None
    stage, words = found.stage, found.stage.title
    if found.state == "killed":
        words = f"was at: {words}"
    if stage.jobs:
        words += f": {stage.jobs - stage.jobs_left} of {stage.jobs} jobs ended"
    if stage.seconds_left is not None and found.state == "running":
        words += f", about {human_time(stage.seconds_left)} left of this stage"
    return words


def _cells(found: RunStatus) -> str:
    parts = [f"{found.done} done", f"{found.running} running"]
    if found.waiting is not None:
        parts.append(f"{found.waiting} waiting")
    parts.append(f"{sum(found.failed.values())} failed")
    if found.blocked_cells:
        parts.append(f"{found.blocked_cells} blocked")
    if found.left_out:
        parts.append(f"{found.left_out} left out by --only or --shard")
    return f"cells: {', '.join(parts)}; {found.records} records"


def _worker(sight: WorkerSight) -> tuple[object, ...]:
    far = f"{sight.done:.0f} of {sight.total:.0f}" if sight.done is not None and sight.total else ""
    process = "starting" if sight.pid is None else str(sight.pid)
    return (
        sight.slot,
        printable(sight.job),
        human_time(sight.seconds),
        "" if sight.expected is None else human_time(sight.expected),
        far,
        f"{human_time(sight.silent_seconds)} ago",
        human_bytes(sight.memory_bytes) if sight.memory_bytes else "",
        f"{process} on {sight.node}" if sight.node else process,
    )


def _reasons(found: RunStatus) -> Iterator[str]:
    for reason, cells in found.failed.items():
        yield f"failed: {cells} cell{'s' * (cells > 1)}: {reason}"
    for group in group_reasons(found.blocked):
        yield f"blocked: {group.words('system')}"
    for group in group_reasons(found.refused):
        yield f"cannot be run: {group.words('record')}"
    for note in found.notes:
        yield f"note: {note}"
