"""A worker process as its driver holds it: started, spoken to, measured, ended with everything it started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from bench.errors import BenchError
from bench.execution.executors.interface import WorkerLimits, WorkerSight
from bench.execution.executors.worker_process import Message, Moved, Ready
from bench.execution.jobs import Job, JobOutcome, cells_of
from bench.execution.planning.estimates import human_bytes, human_time

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path']; "
    "from bench.execution.executors.warden import main; main()"
)
MEASURE_SECONDS = 1.0
"""How often a worker's memory is looked at."""
TIMED = ("encode", "fit")
"""Kinds of job that run adapters' code; what the suite itself does to audio ends."""
DIED = "the worker process died (killed, out of memory, or crashed in native code{how}); see run.log"


class WorkerProcess:
    """One worker with its warden. The worker starts while the driver goes on; its first job waits for it.

    Args:
        slot: number of the worker.
        device: ``cpu`` or ``cuda:N``.
        log: file that its output is added to.
        batch_seconds: audio that an encoder gets at a time; None: by the device's free memory.
    """

    def __init__(self, slot: int, device: str, log: Path, batch_seconds: float | None) -> None:
        self.slot = slot
        ours, theirs = Pipe()
        self.line: Connection[Job, Message] = ours
        order = {
            "path": sys.path,
            "connection": theirs.fileno(),
            "log": str(log.resolve()),
            "driver": os.getpid(),
            "device": device,
            "batch_seconds": batch_seconds,
        }
        try:
            self._warden = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(order)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise BenchError(
                f"no worker process can be started ({error}); run with fewer workers: --workers 1"
            ) from None
        finally:
            theirs.close()
        self.pid: int | None = None
        self.job: Job | None = None
        self._unsent: Job | None = None
        self._began = self._sign = time.monotonic()
        self._began_clock = time.time()
        self._moved: Moved | None = None
        self._measured, self._memory = 0.0, 0

    def give(self, job: Job) -> None:
        """Hand over a job, as soon as the worker is ready."""
        self.job, self._moved = job, None
        self._began = self._sign = time.monotonic()
        self._began_clock = time.time()
        if self.pid is None:
            self._unsent = job
        else:
            self._send(job)

    def _send(self, job: Job) -> None:
        with contextlib.suppress(OSError):  # its end is seen when it is listened to
            self.line.send(job)

    def hear(self) -> Moved | JobOutcome | None:
        """Take one message that has come in: progress, or the outcome of its job; None for what concerns nobody else."""
        try:
            message = self.line.recv()
        except (EOFError, OSError):
            return self.ended(DIED.format(how=self._how_it_ended()), transient=True)
        self._sign = time.monotonic()
        if isinstance(message, Ready):
            self.pid = message.pid
            if self._unsent is not None:
                self._began, self._began_clock = self._sign, time.time()  # starting is no part of the job
                self._send(self._unsent)
                self._unsent = None
            return None
        if isinstance(message, Moved):
            self._moved = message
        else:
            self.job = None
        return message

    def ended(self, sentence: str, *, transient: bool) -> JobOutcome:
        """Kill it; the outcome of the job it had."""
        self.kill()
        return JobOutcome(
            seconds=time.monotonic() - self._began,
            work_seconds=0.0,
            started=self._began_clock,
            error=sentence,
            transient=transient,
        )

    def over(self, limits: WorkerLimits) -> JobOutcome | None:
        """Kill a worker that takes more than it may; the outcome of its job, or None."""
        taken = time.monotonic() - self._began
        timed = self.job is not None and self.job.kind in TIMED and self._unsent is None
        if timed and limits.job_seconds is not None and taken > limits.job_seconds:
            return self.ended(
                f"took longer than --job-timeout allows ({human_time(limits.job_seconds)}) and was stopped; give it more time, and "
                "--retry-failed",
                transient=False,
            )
        if limits.worker_bytes is not None and (used := self.memory(everything=True)) > limits.worker_bytes:
            return self.ended(
                f"its worker used {human_bytes(used)}, more than --worker-memory allows ({human_bytes(limits.worker_bytes)}), and was "
                "stopped; allow more, or run with fewer workers",
                transient=True,
            )
        return None

    def memory(self, *, everything: bool = False) -> int:
        """Resident bytes of the worker, as of a second ago at most; with everything it started where that is asked."""
        now = time.monotonic()
        if self.pid is not None and now - self._measured > MEASURE_SECONDS:
            self._measured = now
            with contextlib.suppress(psutil.Error):
                worker = psutil.Process(self.pid)
                family = [worker, *(worker.children(recursive=True) if everything else ())]
                self._memory = sum(_resident(p) for p in family)
        return self._memory

    def sight(self) -> WorkerSight:
        """What is seen of it."""
        assert self.job is not None
        now = time.monotonic()
        return WorkerSight(
            slot=self.slot,
            job=self.job.name,
            kind=self.job.kind,
            seconds=now - self._began,
            silent_seconds=now - self._sign,
            pid=self.pid,
            memory_bytes=self.memory() or None,
            done=None if self._moved is None else self._moved.done,
            total=None if self._moved is None else self._moved.total,
            cells=cells_of(self.job),
        )

    def kill(self) -> None:
        """End it, with everything it started."""
        strays = _descendants(self._warden.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._warden.pid, signal.SIGKILL)
        for stray in strays:  # those that left the group
            with contextlib.suppress(psutil.Error):
                stray.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._warden.wait(timeout=5)
        if self._warden.stdout is not None:
            self._warden.stdout.close()
        self.line.close()

    def _how_it_ended(self) -> str:
        """In words, as far as its warden could tell: ``: SIGSEGV``."""
        assert self._warden.stdout is not None
        with contextlib.suppress(subprocess.TimeoutExpired, OSError, ValueError):
            self._warden.wait(timeout=5)
            status = int(self._warden.stdout.read() or b"0")
            if os.WIFSIGNALED(status):
                return f": {signal.Signals(os.WTERMSIG(status)).name}"
            if os.WIFEXITED(status) and os.WEXITSTATUS(status):
                return f": exit code {os.WEXITSTATUS(status)}"
        return ""


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
