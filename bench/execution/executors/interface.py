"""What the driver asks of whoever runs its jobs, and what it is told of the workers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.execution.jobs import Job, JobOutcome
from bench.execution.vllm_server import Serving

STRAGGLES = 3.0
"""A job that takes so many times as long as others of its kind is pointed out."""
STRAGGLE_SECONDS = 60.0
"""But none that ends sooner."""


@dataclass(frozen=True)
class WorkerLimits:
    """How much a worker may take before it is stopped; None: as much as it likes."""

    job_seconds: float | None = None
    """Of one job, from its start."""
    worker_bytes: float | None = None
    """Resident memory of a worker with everything it started."""


@dataclass(frozen=True)
class WorkerSight:
    """A worker with a job in hand, as the driver sees it."""

    slot: int
    job: str
    kind: str
    seconds: float
    """Since the job began."""
    silent_seconds: float
    """Since it last said how far it is, or since it began."""
    node: str = ""
    """Blank on the driver's own machine."""
    pid: int | None = None
    """None while the worker starts."""
    memory_bytes: int | None = None
    done: float | None = None
    total: float | None = None
    cells: int = 0
    """Of a fit: how many cells it computes."""
    expected: float | None = None
    """Seconds that others of its kind took, by clips; None while too few of them have ended."""

    @property
    def straggles(self) -> bool:
        """Whether it has taken far longer than others of its kind."""
        return self.expected is not None and self.seconds > max(STRAGGLES * self.expected, STRAGGLE_SECONDS)


class Executor(ABC):
    """Runs jobs in slots, one job per slot at a time. Use as a context manager; leaving it ends every worker.

    A job that ends, in whatever way, is handed back once by :meth:`finished`. One whose machine went away is handed back
    with ``lost`` set, and may be submitted again to another slot.
    """

    def __enter__(self) -> Executor:
        return self

    @abstractmethod
    def __exit__(self, *exc: object) -> None:
        """End every worker."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many jobs run at a time when nothing is amiss; at least 1."""

    @property
    @abstractmethod
    def idle(self) -> list[int]:
        """Slots that would take a job now."""

    @property
    @abstractmethod
    def running(self) -> dict[int, Job]:
        """Jobs in work, by slot."""

    def node(self, slot: int) -> str:
        """The machine that a slot is on; blank where it is not known, or there is but one."""
        return ""

    @abstractmethod
    def submit(self, slot: int, job: Job) -> None:
        """Give an idle slot a job."""

    @abstractmethod
    def finished(self, timeout: float) -> Iterator[tuple[Job, JobOutcome]]:
        """Wait up to ``timeout`` seconds for jobs to end, and yield those that did, of whatever cause."""

    @abstractmethod
    def progress(self) -> Iterator[tuple[int, float, float]]:
        """Yield (slot, done, total) reports that have come in."""

    @abstractmethod
    def sights(self) -> list[WorkerSight]:
        """Every worker with a job in hand."""

    @abstractmethod
    def serve(self, serving: Serving, log: Path) -> AbstractContextManager[str]:
        """Start a server and give its address; leaving the context stops it.

        Raises:
            CannotRun: it cannot be started.
        """
