"""What runs on a node of a Ray cluster: a worker process under its warden, as on one machine; or a server.

The actor does nothing but pass on: an adapter that crashes, hangs or prints without end meets the same walls as with the
local executor, and takes neither the actor nor the node's Ray with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.execution.executors.carriers import Carrier
from bench.execution.executors.interface import WorkerLimits, WorkerSight
from bench.execution.executors.local import LocalExecutor
from bench.execution.executors.parcels import FileMark, MadeFile, Mirror
from bench.execution.jobs import Job, JobOutcome
from bench.execution.vllm_server import Server, Serving

LOG_CHARACTERS = 400_000
"""Of what a job printed that go to the driver; the warden keeps no more than this."""


@dataclass(frozen=True)
class HostOrder:
    """How a host is set up."""

    slot: int
    device: str
    batch_seconds: float | None
    limits: WorkerLimits
    path: tuple[str, ...]
    """The driver's module search path."""
    environment: Mapping[str, str]
    carrier: Carrier | None
    """Brings the driver's files, where they are not seen here."""
    run: str
    """Names the driver's session, for what the workers of a node share."""
    folder: str
    """The driver's working folder: relative paths among settings of systems start there."""


@dataclass(frozen=True)
class Parcel:
    """A job on its way: as it is, or packed with what it reads."""

    job: Job | None = None
    packed: bytes = b""
    files: tuple[FileMark, ...] = ()
    references: tuple[Any, ...] = ()
    """To the files: what the carrier fetches them by."""


@dataclass(frozen=True)
class Delivery:
    """What came of a job, and the files that it wrote where the driver does not see them."""

    outcome: JobOutcome
    made: tuple[MadeFile, ...] = ()


@dataclass(frozen=True)
class Whereabouts:
    """Where an actor runs."""

    node: str
    """Ray's id of the node."""
    name: str
    address: str = ""
    """Of a server."""


class Host:
    """An actor that holds one worker process; one job at a time."""

    def __init__(self, order: HostOrder) -> None:
        _work_in(order.folder)
        sys.path[:] = list(dict.fromkeys([*(p for p in order.path if not p or Path(p).exists()), *sys.path]))
        self._folder = Path(tempfile.mkdtemp(prefix="serbench-host-"))
        self._shared = Path(tempfile.gettempdir()) / f"serbench-node-{order.run}"
        self._mirror = None
        if order.carrier is not None:
            self._mirror = Mirror(self._folder, order.carrier, self._shared)
        os.environ.update(order.environment)
        if self._mirror is not None:
            os.environ["SERBENCH_CACHE"] = str(self._mirror.roots.folders[1])
        self._log = self._folder / "host.log"
        self._slot = order.slot
        self._executor = LocalExecutor([order.device], self._log, order.batch_seconds, order.limits)
        self._working = threading.Lock()

    def where(self) -> Whereabouts:
        """Where it runs."""
        return _here()

    def do(self, parcel: Parcel) -> Delivery:
        """Do a job."""
        with self._working:
            job = parcel.job
            if self._mirror is not None:
                job = self._received(self._mirror, parcel)
            assert job is not None
            self._log.unlink(missing_ok=True)
            self._executor.submit(0, job)
            outcome: JobOutcome | None = None
            while outcome is None:
                outcome = next((o for _, o in self._executor.finished(timeout=1.0)), None)
            made = self._mirror.made() if self._mirror is not None and outcome.error is None else []
            return Delivery(replace(outcome, log=self._printed()), tuple(made))

    def sight(self) -> WorkerSight | None:
        """What its worker does; None without a job."""
        seen = self._executor.sights()
        return replace(seen[0], slot=self._slot, node=socket.gethostname()) if seen else None

    def end(self) -> None:
        """End the worker and remove what was kept here."""
        self._executor.__exit__()
        # What another worker of the node has in use it has under its own name; what it still wants it fetches anew.
        for folder in (self._folder, self._shared):
            shutil.rmtree(folder, ignore_errors=True)

    def _received(self, mirror: Mirror, parcel: Parcel) -> Job:
        """Fetch what a job reads and is not here yet; the job, with this machine's paths."""
        mirror.receive(parcel.files, parcel.references)
        mirror.begin()
        return mirror.roots.unpack(parcel.packed)

    def _printed(self) -> str:
        if not self._log.exists():
            return ""
        return self._log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS:]


class ServerHost:
    """An actor that holds one vLLM server, on the node whose GPUs Ray reserved for it."""

    def __init__(self, environment: Mapping[str, str], folder: str) -> None:
        _work_in(folder)
        os.environ.update(environment)
        self._folder = Path(tempfile.mkdtemp(prefix="serbench-server-"))
        self._log = self._folder / "server.log"
        self._server: Server | None = None

    def start(self, serving: Serving) -> Whereabouts:
        """Start it; where it is, and its address on that node's loopback."""
        self._server = Server.start(serving, self._log)
        return replace(_here(), address=self._server.address)

    def stop(self) -> str:
        """Stop it. Returns what it logged."""
        if self._server is not None:
            self._server.stop()
        said = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        shutil.rmtree(self._folder, ignore_errors=True)
        return said[-LOG_CHARACTERS:]


def _work_in(folder: str) -> None:
    """Have the driver's working folder, where it is seen; the cluster may have been started anywhere."""
    with contextlib.suppress(OSError):
        os.chdir(folder)


def _here() -> Whereabouts:
    import ray

    return Whereabouts(ray.get_runtime_context().get_node_id(), socket.gethostname())


def forwarded_environment() -> dict[str, str]:
    """The driver's variables that decide what a worker finds; keys of paid services are set on the nodes, and not sent."""
    return {
        k: v
        for k, v in os.environ.items()
        if k.startswith(("SERBENCH_", "HF_HUB_", "HF_HOME", "PYTHONPATH")) and not k.endswith("_API_KEY")
    }
