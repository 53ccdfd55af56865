"""The worker's side of a worker process: take a job, do it, say what came of it, until nobody asks any more."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from bench.execution.jobs import Job, JobOutcome
from bench.execution.worker import Runner, failure


@dataclass(frozen=True)
class Ready:
    """The worker has started."""

    pid: int


@dataclass(frozen=True)
class Moved:
    """How far the job is, in units of its own."""

    done: float
    total: float


Message = Ready | Moved | JobOutcome


def serve(
    connection: int, marks: int, warden: int, *, device: str, batch_seconds: float | None = None
) -> None:
    """Do jobs until the driver hangs up.

    Args:
        connection: file descriptor over which jobs come and outcomes go.
        marks: file descriptor that tells the warden where a job's output ends.
        warden: its process id; the worker ends when that is no longer its parent.
        device: ``cpu`` or ``cuda:N``.
        batch_seconds: audio that an encoder gets at a time; None: by the device's free memory.
    """
    threading.Thread(target=_end_with, args=(warden,), daemon=True).start()
    line: Connection[Message, Job] = Connection(connection)
    sending = threading.Lock()
    last = 0.0

    def progress(done: float, total: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 0.2 or done >= total:
            last = now
            with sending:
                line.send(Moved(float(done), float(total)))

    runner = Runner(device, batch_seconds)
    line.send(Ready(os.getpid()))
    while True:
        started = time.time()
        try:
            job = line.recv()
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001 - a job that cannot be read fails, its worker stays
            outcome = failure(error, started=started)
        else:
            outcome = runner.run(job, progress)
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os.write(marks, b"\n")
        with sending:
            line.send(outcome)


def _end_with(warden: int) -> None:
    # A warden that is killed cannot end its worker.
    while os.getppid() == warden:
        time.sleep(0.5)
    with suppress(OSError):
        os.killpg(0, 9)
    os._exit(1)
