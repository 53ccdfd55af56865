"""Worker processes, each alone with its queue: when one dies, exactly its job is known to have failed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.execution.jobs import Job, JobOutcome
from bench.execution.worker import Runner, quiet_single_thread

_runner: Runner
_progress_queue: Any
_slot: int


def _start_worker(
    slot: int, device: str, batch_seconds: float | None, log: str, queue: Any, driver: int
) -> None:
    """Prepare a worker process: quiet, deaf to Ctrl-C (the driver decides), and gone when the driver is."""
    global _runner, _progress_queue, _slot
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, sys.stdout.fileno())
    os.dup2(stream, sys.stderr.fileno())
    threading.Thread(target=_die_with_parent, args=(driver,), daemon=True).start()
    _runner, _progress_queue, _slot = Runner(device, batch_seconds), queue, slot


def _die_with_parent(driver: int) -> None:
    # A driver that is killed cannot tell its workers; a spawned worker would wait for work forever.
    while os.getppid() == driver:
        time.sleep(0.5)
    os._exit(1)


def _work(job: Job) -> JobOutcome:
    last = 0.0

    def progress(done: float, total: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 0.2 or done >= total:
            last = now
            _progress_queue.put((_slot, done, total))

    return _runner.run(job, progress)


class Pool:
    """A fixed number of single-process executors. Use as a context manager; leaving it ends the workers.

    Args:
        devices: of each worker: ``cpu`` or ``cuda:N``.
        log: file that their output goes to.
        batch_seconds: audio that an encoder gets at a time; None: by the device's free memory.
    """

    def __init__(self, devices: Sequence[str], log: Path, batch_seconds: float | None = None) -> None:
        quiet_single_thread()
        self._batch_seconds = batch_seconds
        self._devices, self._log = tuple(devices), log
        self._context = multiprocessing.get_context("spawn")
        self._queue = self._context.SimpleQueue()
        self._executors: dict[int, ProcessPoolExecutor] = {}
        self._running: dict[Future[JobOutcome], tuple[int, Job, float]] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        # A second Ctrl-C must not interrupt the ending of the workers, or some would be left behind.
        main = threading.current_thread() is threading.main_thread()
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
        try:
            for executor in self._executors.values():
                _end(executor)
        finally:
            if main:
                signal.signal(signal.SIGINT, previous)

    @property
    def idle(self) -> list[int]:
        """Slots without a job."""
        busy = {slot for slot, _, _ in self._running.values()}
        return [slot for slot in range(len(self._devices)) if slot not in busy]

    @property
    def running(self) -> dict[int, Job]:
        """Jobs in work, by slot."""
        return {slot: job for slot, job, _ in self._running.values()}

    def submit(self, slot: int, job: Job) -> None:
        """Give an idle slot a job."""
        if slot not in self._executors:
            self._executors[slot] = ProcessPoolExecutor(
                max_workers=1,
                mp_context=self._context,
                initializer=_start_worker,
                initargs=(
                    slot,
                    self._devices[slot],
                    self._batch_seconds,
                    str(self._log),
                    self._queue,
                    os.getpid(),
                ),
            )
        self._running[self._executors[slot].submit(_work, job)] = (slot, job, time.time())

    def finished(self, timeout: float) -> Iterator[tuple[Job, JobOutcome]]:
        """Wait up to ``timeout`` seconds; yield the jobs that ended, those whose worker died included."""
        done, _ = wait(self._running, timeout=timeout, return_when=FIRST_COMPLETED)
        for future in done:
            slot, job, started = self._running.pop(future)
            try:
                yield job, future.result()
            except BrokenProcessPool:
                _end(self._executors.pop(slot))
                sentence = (
                    "the worker process died (killed, out of memory, or crashed in native code); see run.log"
                )
                yield (
                    job,
                    JobOutcome(
                        seconds=time.time() - started, work_seconds=0.0, started=started, error=sentence
                    ),
                )

    def progress(self) -> Iterator[tuple[int, float, float]]:
        """Yield (slot, done, total) reports that have come in."""
        while not self._queue.empty():
            yield self._queue.get()


def _end(executor: ProcessPoolExecutor) -> None:
    processes = list((executor._processes or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with suppress(ValueError, OSError):
            process.kill()
    for process in processes:
        with suppress(ValueError, OSError, AssertionError):
            process.join(timeout=5)
