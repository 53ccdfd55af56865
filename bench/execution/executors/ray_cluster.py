"""The nodes of a Ray cluster: one host per core or GPU, found and lost while the run goes on."""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError, CannotRun, UsageError
from bench.execution.devices import WORKER_MEMORY
from bench.execution.executors.carriers import Exchange
from bench.execution.executors.interface import Executor, WorkerLimits, WorkerSight
from bench.execution.executors.parcels import FileMark, Roots, files_of, mark, take_in
from bench.execution.executors.ray_host import (
    Delivery,
    Host,
    HostOrder,
    Parcel,
    ServerHost,
    Whereabouts,
    forwarded_environment,
)
from bench.execution.executors.ray_place import RayPlace, own_signals, require_listening
from bench.execution.jobs import Job, JobOutcome, cells_of
from bench.execution.vllm_server import Serving
from bench.execution.worker import failure, quiet_single_thread

LOOK_SECONDS = 1.0
"""How often nodes are counted, and hosts asked what they do."""


@dataclass
class _Seat:
    """A host as the driver holds it."""

    actor: Any
    where: Any
    """Reference to its whereabouts; ready once it runs somewhere."""
    placed: Whereabouts | None = None
    job: Job | None = None
    outcome: Any = None
    """Reference to what comes of the job."""
    began: float = 0.0
    began_clock: float = 0.0
    asked: Any = None
    """Reference to the answer that it was last asked for."""
    seen: WorkerSight | None = None
    told: tuple[float, float] | None = None


@dataclass
class _Capacity:
    """What the living nodes offer, as of the last look."""

    looked: float = float("-inf")
    hosts: int = 1
    nodes: dict[str, int] = field(default_factory=dict)
    """Hosts that a node has room for, by Ray's id of it."""


class RayExecutor(Executor):
    """Jobs on a Ray cluster. Nodes may come and go; jobs of a lost node are handed back as ``lost``.

    Args:
        place: which cluster.
        device: ``auto`` (one host per GPU where there are some), ``cpu`` or ``cuda``.
        workers: at most so many hosts; None: as many as fit.
        batch_seconds: audio that an encoder gets at a time; None: by the device's free memory.
        limits: beyond which a worker is stopped.
        note: gets a line for what a user should know.
    """

    def __init__(
        self,
        place: RayPlace,
        *,
        device: str = "auto",
        workers: int | None = None,
        batch_seconds: float | None = None,
        limits: WorkerLimits | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(
                f"--device {device}: on a Ray cluster expected auto, cpu or cuda; Ray deals out the GPUs"
            )
        quiet_single_thread()
        self._place, self._device, self._most = place, device, workers
        self._batch_seconds, self._limits, self._note = batch_seconds, limits or WorkerLimits(), note
        self._roots = Roots([*place.roots, Path("/")])
        self._seats: dict[int, _Seat] = {}
        self._sent: dict[FileMark, Any] = {}
        self._run = uuid.uuid4().hex
        self._capacity = _Capacity()
        self._leaves = True
        self._pinned: str | None = None
        """The node of the server that is running: it listens on that node's loopback alone."""

    def __enter__(self) -> RayExecutor:
        try:
            import ray
        except ImportError:
            raise UsageError("--executor ray needs Ray: pip install 'ser-bench[ray]'") from None
        self._ray = ray
        if self._place.carrier is not None:
            self._place.carrier.require()
        self._leaves = not ray.is_initialized()  # a program that uses Ray itself goes on with it
        try:
            if not self._leaves:
                return self._entered()
            require_listening(self._place.address)
            with own_signals():
                ray.init(
                    address=self._place.address,
                    log_to_driver=False,
                    logging_level="error",
                    include_dashboard=False,
                )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            said = " ".join(str(error).split())[:300]
            raise BenchError(
                f"no Ray cluster answers at {self._place.address or 'this machine'} ({said}); start one with 'ray start --head', and name "
                "it with --ray-address HOST:6379"
            ) from None
        return self._entered()

    def _entered(self) -> RayExecutor:
        self._look()
        nodes = len(self._capacity.nodes)
        self._note(f"Ray: {self._capacity.hosts} worker(s) on {nodes} node(s)")
        return self

    def __exit__(self, *exc: object) -> None:
        self._leave_seats()
        self._sent.clear()
        if self._leaves:
            self._ray.shutdown()

    @property
    def workers(self) -> int:
        """How many hosts fit now."""
        return max(1, self._capacity.hosts)

    @property
    def idle(self) -> list[int]:
        """Hosts without a job, and numbers for those that there is still room for."""
        self._look()
        free = [slot for slot, seat in self._seats.items() if seat.job is None]
        new = iter(s for s in range(len(self._seats) + self._capacity.hosts) if s not in self._seats)
        room = self._capacity.hosts - len(self._seats)
        return sorted(free) + [next(new) for _ in range(room)]

    @property
    def running(self) -> dict[int, Job]:
        """Jobs in work, by slot."""
        return {slot: seat.job for slot, seat in self._seats.items() if seat.job is not None}

    def node(self, slot: int) -> str:
        """Ray's id of the node that a host is on; blank while it has none."""
        seat = self._seats.get(slot)
        return seat.placed.node if seat is not None and seat.placed is not None else ""

    def submit(self, slot: int, job: Job) -> None:
        """Give an idle slot a job."""
        if slot not in self._seats:
            self._seats[slot] = self._take_seat(slot)
        seat = self._seats[slot]
        seat.job, seat.seen, seat.told = job, None, None
        seat.began, seat.began_clock = time.monotonic(), time.time()
        seat.outcome = seat.actor.do.remote(self._parcel(job))

    def finished(self, timeout: float) -> Iterator[tuple[Job, JobOutcome]]:
        """Wait up to ``timeout`` seconds; yield the jobs that ended, those of lost nodes included."""
        by_ref = {seat.outcome: slot for slot, seat in self._seats.items() if seat.job is not None}
        if not by_ref:
            self._look()
            if not self._capacity.hosts:
                time.sleep(timeout)
            return
        with self._clear_errors():
            ready, _ = self._ray.wait(list(by_ref), num_returns=1, timeout=timeout)
            if ready:
                ready, _ = self._ray.wait(list(by_ref), num_returns=len(by_ref), timeout=0)
        for ref in ready:
            slot = by_ref[ref]
            seat = self._seats[slot]
            job = seat.job
            assert job is not None
            outcome = self._outcome(slot, seat, job)
            seat.job, seat.outcome = None, None
            yield job, outcome
        self._look()
        yield from self._unplaced()

    def progress(self) -> Iterator[tuple[int, float, float]]:
        """Yield (slot, done, total) reports that have come in."""
        for slot, seat in self._seats.items():
            seen = seat.seen
            if seat.job is not None and seen is not None and seen.done is not None and seen.total is not None:
                told = (seen.done, seen.total)
                if told != seat.told:
                    seat.told = told
                    yield slot, *told

    def sights(self) -> list[WorkerSight]:
        """Every worker with a job in hand, as it answered last."""
        now = time.monotonic()
        return [
            seat.seen
            if seat.seen is not None
            else WorkerSight(
                slot=slot,
                job=seat.job.name,
                kind=seat.job.kind,
                seconds=now - seat.began,
                silent_seconds=now - seat.began,
                node=seat.placed.name if seat.placed else "no node yet",
                cells=cells_of(seat.job),
            )
            for slot, seat in self._seats.items()
            if seat.job is not None
        ]

    @contextmanager
    def serve(self, serving: Serving, log: Path) -> Iterator[str]:
        """Start a server on a node with enough GPUs; while it runs, jobs go to that node alone."""
        gpus = serving.gpus if any("GPU" in n["Resources"] for n in self._nodes()) else 0
        with self._clear_errors():
            actor = (
                self._ray.remote(ServerHost)
                .options(num_cpus=1, num_gpus=gpus)
                .remote(forwarded_environment(), str(Path.cwd()))
            )
        try:
            self._leave_seats()
            where: Whereabouts = self._answer(actor.start.remote(serving), serving)
            self._pinned = where.node
            self._capacity.looked = float("-inf")
            self._look()
            yield where.address
        finally:
            self._leave_seats()
            self._pinned = None
            self._capacity.looked = float("-inf")
            with contextlib.suppress(Exception):
                said = self._ray.get(actor.stop.remote(), timeout=60)
                log.parent.mkdir(parents=True, exist_ok=True)
                with log.open("a", encoding="utf-8") as stream:
                    stream.write(said)
            with contextlib.suppress(Exception):
                self._ray.kill(actor)

    def _answer(self, ref: Any, serving: Serving) -> Whereabouts:
        try:
            where: Whereabouts = self._ray.get(ref, timeout=60 * (serving.spec.ready_minutes + 5))
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, CannotRun):
                raise error.cause from None
            raise CannotRun(
                f"the server for {serving.served_name} cannot be started: {error.cause}"
            ) from None
        except self._ray.exceptions.RayError as error:
            said = str(error).splitlines()[0]
            raise CannotRun(
                f"no node of the Ray cluster took the server for {serving.served_name} (it asks for {serving.gpus} GPU): {said}"
            ) from None
        return where

    def _take_seat(self, slot: int) -> _Seat:
        gpu = self._on_gpus()
        order = HostOrder(
            slot=slot,
            device="cuda:0" if gpu else "cpu",  # Ray shows a host its own GPU alone
            batch_seconds=self._batch_seconds,
            limits=self._limits,
            path=tuple(sys.path),
            environment=forwarded_environment(),
            carrier=self._place.carrier,
            run=self._run,
            folder=str(Path.cwd()),
        )
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": int(gpu), "memory": self._memory()}
        if self._pinned is not None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            near = NodeAffinitySchedulingStrategy(self._pinned, soft=False)
            options = {"num_cpus": 0, "scheduling_strategy": near}
            order = replace(order, device="cpu")
        with self._clear_errors():
            actor = self._ray.remote(Host).options(max_concurrency=3, max_restarts=0, **options).remote(order)
            return _Seat(actor, actor.where.remote())

    def _leave_seats(self, *slots: int) -> None:
        """End hosts: these, or all."""
        for slot in slots or tuple(self._seats):
            seat = self._seats.pop(slot)
            ending = None
            with contextlib.suppress(Exception):
                if seat.placed is not None:
                    ending = seat.actor.end.remote()
                    self._ray.wait([ending], timeout=5)
            with contextlib.suppress(Exception):
                self._ray.kill(seat.actor)

    def _parcel(self, job: Job) -> Parcel:
        carrier = self._place.carrier
        if carrier is None:
            return Parcel(job)
        files = [(path, mark(path, self._roots)) for path in files_of(job)]
        for path, known in files:
            if known not in self._sent:
                self._sent[known] = carrier.send(path)
        return Parcel(
            packed=self._roots.pack(job),
            files=tuple(known for _, known in files),
            references=tuple(self._sent[known] for _, known in files),
        )

    def _outcome(self, slot: int, seat: _Seat, job: Job) -> JobOutcome:
        """Fetch what came of a job; a host whose node is gone is given up."""
        try:
            delivery: Delivery = self._ray.get(seat.outcome)
            self._take_in(delivery, job)
        except self._ray.exceptions.RayTaskError as error:
            return failure(
                error.cause if isinstance(error.cause, BaseException) else error, started=seat.began_clock
            )
        except self._ray.exceptions.RayError as error:
            node = seat.placed.name if seat.placed else "a node"
            self._leave_seats(slot)
            return _lost(seat, f"the Ray node that had it is gone ({node}: {type(error).__name__})")
        return delivery.outcome

    def _take_in(self, delivery: Delivery, job: Job) -> None:
        carrier = self._place.carrier
        if carrier is None:
            return
        for path, reference in take_in(delivery.made, job, self._roots, carrier):
            if isinstance(carrier, Exchange):  # it is there already, for whoever reads it next
                self._sent[mark(path, self._roots)] = reference

    def _unplaced(self) -> Iterator[tuple[Job, JobOutcome]]:
        """Hand back jobs of hosts that found no node while there are more hosts than the nodes have room for."""
        surplus = len(self._seats) - self._capacity.hosts
        for slot, seat in [(n, s) for n, s in self._seats.items() if s.placed is None and s.job is not None]:
            if surplus > 0 and seat.job is not None and self._capacity.hosts:
                surplus -= 1
                job = seat.job
                self._leave_seats(slot)
                yield job, _lost(seat, "no node had room for it any more")

    def _look(self) -> None:
        """Count the nodes and ask the hosts what they do, when it is time."""
        now = time.monotonic()
        if now - self._capacity.looked < LOOK_SECONDS:
            return
        self._capacity.looked = now
        gpu = self._on_gpus()
        rooms = {}
        for node in self._nodes():
            offered = node["Resources"]
            room = int(offered.get("GPU", 0)) if gpu else int(offered.get("CPU", 0))
            if self._pinned is None or node["NodeID"] == self._pinned:
                rooms[node["NodeID"]] = min(room, max(1, int(offered.get("memory", 0) // self._memory())))
        hosts = sum(rooms.values())
        if self._pinned is not None:
            hosts = max(hosts, 1)
        before = self._capacity.hosts if self._capacity.nodes else hosts
        self._capacity.nodes, self._capacity.hosts = rooms, min(hosts, self._most or hosts)
        if not hosts and before:
            self._note("no node of the Ray cluster is left that could work: waiting for one")
        self._ask()

    def _ask(self) -> None:
        for seat in self._seats.values():
            with contextlib.suppress(self._ray.exceptions.RayError):
                if seat.placed is None and self._ray.wait([seat.where], timeout=0)[0]:
                    seat.placed = self._ray.get(seat.where)
                if seat.placed is None or seat.job is None:
                    continue
                if seat.asked is not None and self._ray.wait([seat.asked], timeout=0)[0]:
                    seat.seen, seat.asked = self._ray.get(seat.asked), None
                if seat.asked is None:
                    seat.asked = seat.actor.sight.remote()

    def _nodes(self) -> list[dict[str, Any]]:
        with self._clear_errors():
            return [n for n in self._ray.nodes() if n["Alive"]]

    def _on_gpus(self) -> bool:
        if self._device == "cpu":
            return False
        there = any(n["Resources"].get("GPU", 0) >= 1 for n in self._nodes())
        if self._device == "cuda" and not there:
            raise UsageError("--device cuda: no node of the Ray cluster has a GPU; use --device cpu")
        return there

    def _memory(self) -> int:
        """Bytes that a host asks for: what a worker may need, or less where the smallest node has less."""
        smallest = min(
            (n["Resources"].get("memory", WORKER_MEMORY) for n in self._nodes()), default=WORKER_MEMORY
        )
        return int(min(WORKER_MEMORY, smallest))

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Turn the loss of the whole cluster into a sentence."""
        try:
            yield
        except (self._ray.exceptions.RaySystemError, ConnectionError, self._ray.exceptions.RpcError) as error:
            said = " ".join(str(error).split())[:200]
            raise BenchError(
                f"the Ray cluster is gone ({said}). What is finished is kept; run the same command again when it is back"
            ) from None


def _lost(seat: _Seat, why: str) -> JobOutcome:
    return JobOutcome(
        seconds=time.monotonic() - seat.began,
        work_seconds=0.0,
        started=seat.began_clock,
        error=why,
        transient=True,
        lost=True,
    )
