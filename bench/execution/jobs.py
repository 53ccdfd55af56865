"""The kinds of work, and what comes of them: what a driver hands to a worker process, and gets back.

A job carries all it needs and runs anywhere (:mod:`bench.execution.worker`); only the driver writes the journal.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.audio.conditioned import ConditionShard
from bench.audio.store import AudioShard, DecodedClip
from bench.execution.planning.plan import Cell, Group
from bench.execution.planning.systems import System
from bench.tasks.training_data import ConditionedClips


@dataclass(frozen=True)
class DecodeJob:
    """Decode one shard of a corpus."""

    corpus: str
    shard: AudioShard
    kind = "decode"

    @property
    def name(self) -> str:
        """What the progress bar calls it."""
        return f"decode {self.corpus}"

    @property
    def clips(self) -> int:
        """How many clips it touches."""
        return len(self.shard.clip_ids)


@dataclass(frozen=True)
class ConditionJob:
    """Put some clips of a task through a condition."""

    task: str
    shard: ConditionShard
    kind = "condition"

    @property
    def name(self) -> str:
        """What the progress bar calls it."""
        return f"{self.shard.condition} · {self.task}"

    @property
    def clips(self) -> int:
        """How many clips it touches."""
        return len(self.shard.clips)


@dataclass(frozen=True)
class EncodeJob:
    """Put some clips through one frozen encoder and store what comes out."""

    system: System
    decoded: tuple[DecodedClip, ...]
    language: str
    cache: Path
    also_pooled: bool = False
    """Of frames: keep their means too, for the systems that read those."""
    kind = "encode"

    @property
    def name(self) -> str:
        """What the progress bar calls it."""
        return f"encode {self.system.name}"

    @property
    def clips(self) -> int:
        """How many clips it touches."""
        return len(self.decoded)


@dataclass(frozen=True)
class FitJob:
    """Compute one group of cells: fit, predict, write the prediction tables."""

    group: Group
    tables: Path
    work: Path
    cache: Path
    identity: dict[str, Any]
    """What goes into every table's metadata beside the cell's own facts."""
    server: str | None = None
    """Address of the server that the suite started for this job's system; the card's own comes first."""
    max_cost: float | None = None
    conditioned: ConditionedClips = field(default_factory=dict)
    """The clips as they sound under the group's conditions."""
    kind = "fit"

    @property
    def name(self) -> str:
        """What the progress bar calls it."""
        cells = self.group.cells
        one_fit = len({c.fit for c in cells}) == 1
        part = f"fold {cells[0].fold_name} seed {cells[0].seed}" if one_fit else f"{len(cells)} cells"
        return f"{self.group.system.name} · {self.group.task.name} · {part}"

    @property
    def clips(self) -> int:
        """How many clips it touches."""
        return len(self.group.data)


Job = DecodeJob | ConditionJob | EncodeJob | FitJob


def cells_of(job: Job) -> int:
    """How many cells a job computes."""
    return len(job.group.cells) if isinstance(job, FitJob) else 0


def rate_key(job: Job) -> str:
    """Key under which a job's seconds per clip are kept; see :class:`bench.execution.planning.estimates.Rates`."""
    if isinstance(job, ConditionJob):
        return f"condition {job.shard.condition}"
    if isinstance(job, EncodeJob):
        return f"encode {job.system.name}"
    return f"fit {job.group.system.name}" if isinstance(job, FitJob) else "decode"


def model_of(job: Job) -> str:
    """What a worker has in memory after a job, and its machine on its disk: the encoder or the weights of its system.

    Returns:
        A hash; blank where there is nothing to be had again.
    """
    if not isinstance(job, EncodeJob | FitJob):
        return ""
    system = job.system if isinstance(job, EncodeJob) else job.group.system
    return system.feature_key or (system.weights.content_hash if system.weights is not None else "")


@dataclass(frozen=True)
class CellOutcome:
    """A finished cell: its table's hash and what the adapter had to say of the fit."""

    cell: Cell
    table_hash: str
    notes: str
    """JSON."""


@dataclass(frozen=True)
class JobUse:
    """What a job took beside time, as far as it could be measured where it ran; None: unknown."""

    memory_bytes: int | None = None
    """Most resident memory of the worker's process during the job."""
    gpu_memory_bytes: int | None = None
    """Most memory of the GPU that its tensors took."""
    joules: float | None = None
    """What the GPU used from the job's start to its end, whoever else computed on it."""


@dataclass(frozen=True)
class JobOutcome:
    """What came of a job. ``error`` is one sentence; ``trace`` its traceback, for the log."""

    seconds: float
    work_seconds: float
    started: float
    clips: int = 0
    cells: tuple[CellOutcome, ...] = ()
    error: str | None = None
    trace: str | None = None
    needs_server: bool = False
    """The answers that are missing need a server, and the job had none."""
    transient: bool = False
    """Of a failure: its cause lies outside the job (a server, a machine, memory, the disk), so another time may do."""
    lost: bool = False
    """The machine that had the job went away; nothing is known against the job itself."""
    use: JobUse = JobUse()
    log: str = ""
    """What the job printed on a machine that does not write into the run's log itself."""


@dataclass
class Stopwatch:
    """Adds up the time spent in decoders and models, as against the harness around them."""

    seconds: float = field(default=0.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start
