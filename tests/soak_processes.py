"""Processes of a run that the soak kills: which is which, and what they took."""

from __future__ import annotations

import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil


def wait_for_handlers(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until a run has told the system what a signal means to it (before, Python itself is still starting), or has ended."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
            caught = next((int(x.split()[1], 16) for x in lines if x.startswith("SigCgt")), 0)
            if caught >> (signal.SIGTERM - 1) & 1:
                return
        time.sleep(0.05)


def children_seconds() -> float:
    """Of the processor, by the children of this process that have ended, and by theirs that they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def workers_seconds(family: Sequence[psutil.Process]) -> float:
    """Of the processor, by workers: their wardens end before they could wait for them."""
    total = 0.0
    for process in family:
        with suppress(psutil.Error):
            if _parent_is_warden(process):
                used = process.cpu_times()
                total += used.user + used.system
    return total


def is_warden(process: psutil.Process) -> bool:
    """Whether a process watches over a worker."""
    with suppress(psutil.Error):
        line = process.cmdline()
        return (
            len(line) > 3
            and line[1] == "-c"
            and "executors.warden" in line[2]
            and process.ppid() != 0
            and not _parent_is_warden(process)
        )
    return False


def _parent_is_warden(process: psutil.Process) -> bool:
    """A worker is forked from its warden and has its command line."""
    with suppress(psutil.Error):
        parent = process.parent()
        return parent is not None and "executors.warden" in " ".join(parent.cmdline()[1:3])
    return False


def children(process: psutil.Process) -> list[psutil.Process]:
    """Those that a process has started; none where it is gone."""
    with suppress(psutil.Error):
        return process.children()
    return []
