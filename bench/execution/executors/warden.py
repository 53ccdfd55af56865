"""The warden of a worker: a bare process that leads the worker's group, bounds its log, and ends with all of it.

A worker runs strangers' code: it may print without end, leave processes behind, or be killed together with its driver.
The driver starts the warden in a session of its own; the warden forks the worker before anything is imported, copies what it
prints into the log, and kills the whole group when the worker or the driver is gone. Nothing but the standard library is
imported here, so that a warden costs a few megabytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any, Final

from bench.execution.keeper import stay_on_signals

HEAD_BYTES: Final = 256 * 1024
"""What a job prints is kept up to here."""
TAIL_BYTES: Final = 64 * 1024
"""Of what it prints beyond that, the end is kept: an error's last words stand there."""
LOG_BYTES: Final = 64 * 1024 * 1024
"""A log that is longer becomes ``run.log.1``, in the place of the one before, and begins anew."""
POLL_SECONDS: Final = 0.5


class BoundedLog:
    """Copies output into a log file: of each job the beginning and the end.

    Args:
        path: the log, which several wardens add to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written, self._left_out = 0, 0
        self._tail = b""

    def write(self, data: bytes) -> None:
        """Take what was printed."""
        head = data[: max(HEAD_BYTES - self._written, 0)]
        if head:
            self._append(head)
            self._written += len(head)
        if rest := data[len(head) :]:
            kept = self._tail + rest
            self._tail = kept[-TAIL_BYTES:]
            self._left_out += len(kept) - len(self._tail)

    def begin_job(self) -> None:
        """Write the end of the job before, and count anew."""
        if self._left_out:
            self._append(f"\n[… {self._left_out} bytes of output left out …]\n".encode())
        if self._tail:
            self._append(self._tail)
        self._written, self._left_out, self._tail = 0, 0, b""

    def _append(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk is told by whoever writes results
            if self._path.exists() and self._path.stat().st_size > LOG_BYTES:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            with self._path.open("ab") as stream:
                stream.write(data)


def main() -> None:
    """Start the worker that the first argument describes (JSON), and watch over it until it ends."""
    order: dict[str, Any] = json.loads(sys.argv[1])
    stay_on_signals()
    printed, worker_prints = os.pipe()
    marks, worker_marks = os.pipe()
    warden = os.getpid()
    worker = os.fork()
    if worker == 0:
        os.close(printed)
        os.close(marks)
        _become_worker(order, warden, worker_prints, worker_marks)
    for descriptor in (worker_prints, worker_marks, order["connection"]):
        os.close(descriptor)
    status = _watch(worker, order["driver"], printed, marks, BoundedLog(Path(order["log"])))
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), str(status).encode())
    os.killpg(0, signal.SIGKILL)


def _become_worker(order: dict[str, Any], warden: int, prints: int, marks: int) -> None:
    os.dup2(prints, 1)
    os.dup2(prints, 2)
    os.close(prints)
    with contextlib.suppress(OSError):
        # Where the machine runs out of memory, the kernel ends a worker and not the driver.
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    code = 1
    try:
        from bench.execution.executors.worker_process import serve

        serve(
            order["connection"], marks, warden, device=order["device"], batch_seconds=order["batch_seconds"]
        )
        code = 0
    except BaseException:  # noqa: BLE001 - a forked process must not return into its parent's code
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _watch(worker: int, driver: int, printed: int, marks: int, log: BoundedLog) -> int:
    """Copy what the worker prints until it ends. Returns its status as ``waitpid`` has it."""
    streams = [printed, marks]
    while True:
        ready, _, _ = select.select(streams, [], [], POLL_SECONDS)
        if printed in ready and not _copy(printed, log):
            streams.remove(printed)
        if marks in ready:
            if os.read(marks, 64):
                _drain(printed, log)
                log.begin_job()
            else:
                streams.remove(marks)
        if os.getppid() != driver:
            log.begin_job()
            os.killpg(0, signal.SIGKILL)
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            _drain(printed, log)
            log.begin_job()
            return status
        if not streams:  # it closed them all: only its end is waited for
            select.select([], [], [], POLL_SECONDS)


def _copy(stream: int, log: BoundedLog) -> bool:
    data = os.read(stream, 1 << 16)
    log.write(data)
    return bool(data)


def _drain(stream: int, log: BoundedLog) -> None:
    """Copy what lies in the pipe already; what is still being printed must not hold up whoever waits."""
    for _ in range(64):
        if not select.select([stream], [], [], 0)[0] or not _copy(stream, log):
            return
