"""What the workers are doing, for whoever watches: a small file for other processes, a line for jobs that say nothing."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bench.cards.typed_yaml import Strict
from bench.errors import DataError
from bench.execution.executors.interface import Executor, WorkerSight
from bench.execution.planning.estimates import human_bytes, human_time
from bench.execution.progress import Reporter

FILE_SECONDS = 2.0
"""How often the file is written."""
SILENT_SECONDS = 60.0
"""A job that has not said how far it is for so long is named; then after twice as long, and so on."""


@dataclass(frozen=True)
class StageSight:
    """What the driver works at: a title, how many jobs that takes, and how many have not ended."""

    title: str = ""
    jobs: int = 0
    jobs_left: int = 0
    seconds_left: float | None = None
    """Until this stage ends, about; others may follow. None where no jobs are counted."""


class DriverSign(Strict):
    """What a driver says of itself and its workers, about every two seconds while they have jobs."""

    driver: int
    """Its process id."""
    node: str
    started: float
    """Seconds since the epoch, as all times here."""
    written: float
    workers: tuple[WorkerSight, ...] = ()
    stage: StageSight = StageSight()


def read_sign(path: Path) -> DriverSign | None:
    """Read what a driver said last; None where none works, or the last one ended in order.

    Args:
        path: ``RUN/status.json``.

    Raises:
        DataError: the file is no such thing.
    """
    try:
        return DriverSign.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: is not what a driver of this version writes ({said}); it goes when the run's command is given again"
        ) from None


class Heartbeat:
    """Looks at the workers now and then.

    Args:
        path: the status file, ``RUN/status.json``: a :class:`DriverSign`. It is there while a driver works, and after one that
            was killed.
        reporter: told of silent jobs.
    """

    def __init__(self, path: Path, reporter: Reporter) -> None:
        self._path, self._reporter = path, reporter
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._started = time.time()
        self._last = float("-inf")
        self._named: dict[int, tuple[str, float]] = {}
        self._slow: dict[int, str] = {}

    def phase(self, title: str) -> None:
        """Say what the driver does while no worker has a job."""
        self._write([], StageSight(title))

    def beat(
        self,
        executor: Executor,
        stage: StageSight,
        expected: Callable[[], Mapping[int, float]] = dict,
    ) -> None:
        """Write the file and name silent jobs and stragglers, when it is time.

        Args:
            executor: the workers.
            stage: what they work at.
            expected: gives the seconds that the job in each slot should take, where that is known.
        """
        now = time.monotonic()
        if now - self._last < FILE_SECONDS:
            return
        self._last = now
        known = expected()
        sights = [replace(sight, expected=known.get(sight.slot)) for sight in executor.sights()]
        self._write(sights, stage)
        for sight in sights:
            self._name_if_silent(sight)
            self._name_if_straggling(sight)

    def __enter__(self) -> Heartbeat:
        self.phase("preparing")
        return self

    def __exit__(self, *exc: object) -> None:
        # The run has ended in good order, or was stopped: nobody works any more.
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._temporary.unlink(missing_ok=True)

    def _write(self, sights: list[WorkerSight], stage: StageSight) -> None:
        sign = DriverSign(
            driver=os.getpid(),
            node=socket.gethostname(),
            started=self._started,
            written=time.time(),
            workers=tuple(sights),
            stage=stage,
        )
        with suppress(OSError):  # a full disk is told by whoever writes results
            self._temporary.write_text(sign.model_dump_json(), encoding="utf-8")
            self._temporary.replace(
                self._path
            )  # whole or not there; not synced: it is out of date in seconds

    def _name_if_silent(self, sight: WorkerSight) -> None:
        job, patience = self._named.get(sight.slot, ("", SILENT_SECONDS))
        if job != sight.job:
            job, patience = sight.job, SILENT_SECONDS
        if sight.silent_seconds >= patience:
            self._reporter.note(silent_words(sight))
            patience = 2 * sight.silent_seconds
        elif sight.silent_seconds < SILENT_SECONDS:
            patience = SILENT_SECONDS
        self._named[sight.slot] = (job, patience)

    def _name_if_straggling(self, sight: WorkerSight) -> None:
        if sight.straggles and self._slow.get(sight.slot) != sight.job:
            self._slow[sight.slot] = sight.job
            self._reporter.note(straggler_words(sight))
        elif not sight.straggles:
            self._slow.pop(sight.slot, None)


def straggler_words(sight: WorkerSight) -> str:
    """Say of a job that it takes far longer than others of its kind, and where it runs."""
    where = f" on {sight.node}" if sight.node else ""
    return (
        f"slow: {sight.job} (worker {sight.slot}{where}) has taken {human_time(sight.seconds)}, others of its kind "
        f"{human_time(sight.expected or 0.0)}"
    )


def silent_words(sight: WorkerSight) -> str:
    """Say of a job that it has said nothing for long, and where it runs."""
    where = f"process {sight.pid}" if sight.pid is not None else "its worker has not started"
    where += f" on {sight.node}" if sight.node else ""
    memory = f", {human_bytes(sight.memory_bytes)}" if sight.memory_bytes else ""
    return (
        f"no sign of progress for {human_time(sight.silent_seconds)}: {sight.job} ({where}{memory}; begun {human_time(sight.seconds)} "
        "ago); --job-timeout SECONDS stops such jobs"
    )
