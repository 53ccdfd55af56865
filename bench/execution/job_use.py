"""How much memory and energy a job takes in the process that does it, where the machine can tell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.execution.gpus import gpu_joules
from bench.execution.jobs import JobUse

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Taking:
    """Counts from where it is made to :meth:`end`. What cannot be counted here is left unknown, and costs nothing.

    Args:
        device: ``cpu`` or ``cuda:N``.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._resets = _forget_peak()
        if (torch := _cuda(device)) is not None:
            torch.cuda.reset_peak_memory_stats(device)
        self._joules = gpu_joules(device)

    def end(self) -> JobUse:
        """What was taken since."""
        torch, now = _cuda(self._device), gpu_joules(self._device)
        return JobUse(
            memory_bytes=_peak() if self._resets else None,
            gpu_memory_bytes=None if torch is None else int(torch.cuda.max_memory_allocated(self._device)),
            joules=None if now is None or self._joules is None else max(now - self._joules, 0.0),
        )


def _forget_peak() -> bool:
    """Let the kernel count this process's peak from its present size on (5: ``man 5 proc_pid_clear_refs``)."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak() -> int | None:
    """Most resident bytes of this process since :func:`_forget_peak`."""
    try:
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _cuda(device: str) -> Any:
    """Torch, where this process computes on a GPU with it already."""
    torch = sys.modules.get("torch") if device.startswith("cuda") else None
    return torch if torch is not None and torch.cuda.is_initialized() else None
