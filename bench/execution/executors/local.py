"""Worker processes of this machine, each alone with its connection: when one dies, exactly its job is known to have failed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path

from bench.execution.executors.interface import Executor, WorkerLimits, WorkerSight
from bench.execution.executors.processes import WorkerProcess
from bench.execution.executors.worker_process import Moved
from bench.execution.jobs import Job, JobOutcome
from bench.execution.vllm_server import Server, Serving
from bench.execution.worker import quiet_single_thread


class LocalExecutor(Executor):
    """A fixed number of worker processes, each started when it gets its first job, and again after it died.

    Args:
        devices: of each worker: ``cpu`` or ``cuda:N``.
        log: file that their output goes to.
        batch_seconds: audio that an encoder gets at a time; None: by the device's free memory.
        limits: beyond which a worker is stopped.
    """

    def __init__(
        self,
        devices: Sequence[str],
        log: Path,
        batch_seconds: float | None = None,
        limits: WorkerLimits | None = None,
    ) -> None:
        quiet_single_thread()
        self._devices, self._log, self._batch_seconds = tuple(devices), log, batch_seconds
        self._limits = limits or WorkerLimits()
        self._workers: dict[int, WorkerProcess] = {}
        self._moved: list[tuple[int, float, float]] = []

    def __exit__(self, *exc: object) -> None:
        # A second Ctrl-C must not interrupt the ending of the workers, or some would be left behind.
        main = threading.current_thread() is threading.main_thread()
        previous = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM) if main}
        try:
            for worker in self._workers.values():
                worker.kill()
            self._workers.clear()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self._devices)

    @property
    def idle(self) -> list[int]:
        """Slots without a job."""
        busy = self.running
        return [slot for slot in range(len(self._devices)) if slot not in busy]

    @property
    def running(self) -> dict[int, Job]:
        """Jobs in work, by slot."""
        return {slot: worker.job for slot, worker in self._workers.items() if worker.job is not None}

    def submit(self, slot: int, job: Job) -> None:
        """Give an idle slot a job."""
        if slot not in self._workers:
            self._workers[slot] = WorkerProcess(slot, self._devices[slot], self._log, self._batch_seconds)
        self._workers[slot].give(job)

    def finished(self, timeout: float) -> Iterator[tuple[Job, JobOutcome]]:
        """Wait up to ``timeout`` seconds; yield the jobs that ended, those whose worker died or was stopped included."""
        lines = {w.line: w for w in self._workers.values()}
        for line in wait(list(lines), timeout) if lines else ():
            worker = lines[line]  # type: ignore[index]
            job = worker.job
            heard = worker.hear()
            if isinstance(heard, Moved):
                self._moved.append((worker.slot, heard.done, heard.total))
            elif heard is not None:
                if worker.line.closed:
                    del self._workers[worker.slot]
                if job is not None:  # one that dies without a job is started again for its next
                    yield job, heard
        for worker in [w for w in self._workers.values() if w.job is not None]:
            job = worker.job
            if job is not None and (outcome := worker.over(self._limits)) is not None:
                del self._workers[worker.slot]
                yield job, outcome

    def progress(self) -> Iterator[tuple[int, float, float]]:
        """Yield (slot, done, total) reports that have come in."""
        moved, self._moved = self._moved, []
        yield from moved

    def sights(self) -> list[WorkerSight]:
        """Every worker with a job in hand."""
        return [worker.sight() for worker in self._workers.values() if worker.job is not None]

    @contextmanager
    def serve(self, serving: Serving, log: Path) -> Iterator[str]:
        """Start a server on this machine and give its address; leaving the context stops it."""
        with Server.start(serving, log) as server:
            yield server.address
