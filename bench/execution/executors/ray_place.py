"""Which Ray cluster, and joining it without losing this program's own manners."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.execution.executors.carriers import Carrier


@dataclass(frozen=True)
class RayPlace:
    """Which cluster, and what its nodes see of the driver's files."""

    address: str | None
    carrier: Carrier | None
    """Takes files along; None where the nodes see the driver's under its own paths."""
    roots: tuple[Path, Path]
    """The run's folder and the cache."""


@contextmanager
def own_signals() -> Iterator[None]:
    """Keep this program's answer to SIGTERM and SIGINT: Ray puts its own there, which ends the process with a trace."""
    main = threading.current_thread() is threading.main_thread()
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT) if main}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def require_listening(address: str | None) -> None:
    """Raise :class:`ConnectionError` or :class:`OSError` at once where Ray itself would try for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if colon and "/" not in host and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
            pass
