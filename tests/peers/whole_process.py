"""A command from its start to its end: seconds on the clock, processor seconds, and memory, of it and all that it starts."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.errors import BenchError

SAMPLED_EVERY = 0.2
"""Seconds between two looks at memory and processor time."""


class PeerFailed(BenchError):
    """A suite ended with an error, or gave what cannot be read."""


@dataclass(frozen=True)
class Taken:
    """What a command took.

    ``cpu_seconds`` counts user and system time of the process and of every descendant, as last seen (workers that are ended by a signal
    are waited for by nobody), and at least what those that were waited for took;
    ``peak_mib`` is the largest sum of proportional set sizes (a shared page is counted once) seen over all of them,
    of resident sizes where the system knows no others. ``load`` is the machine's one-minute average before the start.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    load: float


def measure(
    commands: Sequence[Sequence[str]], *, folder: Path, log: Path, environment: Mapping[str, str]
) -> Taken:
    """Run commands one after the other in a folder and add up what they took.

    Args:
        commands: program and arguments of each.
        folder: working directory.
        log: gets all that they print.
        environment: their whole environment.

    Raises:
        PeerFailed: a command ended with another status than 0; the message has the end of the log.
    """
    load = os.getloadavg()[0]
    parts = [_one(command, folder, log, environment) for command in commands]
    return Taken(
        sum(p[0] for p in parts),
        sum(p[1] for p in parts),
        max((p[2] for p in parts), default=0.0),
        round(load, 2),
    )


def _one(
    command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]
) -> tuple[float, float, float]:
    peak, ended = [0.0], threading.Event()
    spent: dict[tuple[int, float], float] = {}
    started = time.perf_counter()
    with log.open("ab") as stream:
        child = subprocess.Popen(
            list(command), cwd=folder, env=dict(environment), stdout=stream, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        watcher = threading.Thread(target=_watch, args=(child.pid, peak, spent, ended), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        watcher.join()
    if child.returncode:
        raise PeerFailed(f"{' '.join(command)} ended with {child.returncode}; its last words: {_tail(log)}")
    return wall, max(usage.ru_utime + usage.ru_stime, sum(spent.values())), peak[0]


def _watch(
    pid: int, peak: list[float], spent: dict[tuple[int, float], float], ended: threading.Event
) -> None:
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        while not ended.is_set():
            total = 0.0
            for process in (top, *top.children(recursive=True)):
                with suppress(psutil.Error):
                    times = process.cpu_times()
                    spent[process.pid, process.create_time()] = times.user + times.system
                    total += _mebibytes(process)
            peak[0] = max(peak[0], total)
            ended.wait(SAMPLED_EVERY)


def _mebibytes(process: psutil.Process) -> float:
    memory = process.memory_full_info()
    return float(getattr(memory, "pss", memory.rss)) / 2**20


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " / ".join(lines[-8:])[-1500:]
