"""Peak memory of this process, counted from a moment of one's choice.

``getrusage`` will not do on Linux: its peak never falls, and a program inherits that of the process that started it.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_mebibytes() -> float:
    """Largest resident memory since the program began, or since :func:`forget_peak`."""
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def forget_peak() -> None:
    """Let the peak be what is resident now (Linux, see proc(5); elsewhere it stays)."""
    if _FORGET.exists():
        _FORGET.write_text("5")


def largest_child_mebibytes() -> float:
    """The same of the processes that this one waited for, and not less than what this one took as it started them."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
