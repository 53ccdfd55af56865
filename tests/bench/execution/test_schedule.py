"""Who gets which job: cells of one model stay where its weights are, long jobs are not left for the end, slow ones are pointed out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from bench.execution import schedule
from bench.execution.executors.interface import Executor, WorkerSight
from bench.execution.heartbeat import Heartbeat, StageSight
from bench.execution.jobs import FitJob, Job, JobOutcome
from bench.execution.planning.systems import System
from bench.execution.progress import Reporter
from bench.execution.schedule import Step, run_steps
from bench.execution.vllm_server import Serving
from tests.perf_scale import SimulatedExecutor


def fit_job(model: str, name: str = "s") -> FitJob:
    card = SimpleNamespace(name=name)
    system = System.__new__(System)
    for key, value in {
        "card": card,
        "feature_key": None,
        "weights": SimpleNamespace(content_hash=model),
    }.items():
        object.__setattr__(system, key, value)
    group = SimpleNamespace(system=system, cells=(SimpleNamespace(fit="f", fold_name="0", seed=0),), task=SimpleNamespace(name="t"), data=range(10))  # fmt: skip
    return FitJob(group, Path(), Path(), Path(), {})  # type: ignore[arg-type]


@dataclass
class Cluster(Executor):
    """Workers on machines, on a clock of their own; each job ends after its seconds."""

    nodes: list[str]
    lengths: dict[int, float]
    now: float = 0.0
    jobs: dict[int, tuple[float, Job]] = field(default_factory=dict)
    had: list[tuple[int, str]] = field(default_factory=list)

    def __exit__(self, *exc: object) -> None: ...

    @property
    def workers(self) -> int:
        return len(self.nodes)

    @property
    def idle(self) -> list[int]:
        return [i for i in range(len(self.nodes)) if i not in self.jobs]

    @property
    def running(self) -> dict[int, Job]:
        return {slot: job for slot, (_, job) in self.jobs.items()}

    def node(self, slot: int) -> str:
        return self.nodes[slot]

    def submit(self, slot: int, job: Job) -> None:
        self.jobs[slot] = (self.now + self.lengths[id(job)], job)
        self.had.append((slot, schedule.model_of(job)))

    def finished(self, timeout: float) -> Iterator[tuple[Job, JobOutcome]]:
        if self.jobs:
            slot = min(self.jobs, key=lambda s: (self.jobs[s][0], s))
            self.now, job = self.jobs.pop(slot)
            yield job, JobOutcome(seconds=self.lengths[id(job)], work_seconds=0.0, started=0.0, clips=10)

    def progress(self) -> Iterator[tuple[int, float, float]]:
        yield from ()

    def sights(self) -> list[WorkerSight]:
        return []

    def serve(self, serving: Serving, log: Path) -> AbstractContextManager[str]:
        raise NotImplementedError


def run(
    nodes: list[str],
    work: list[tuple[str, float]],
    needs: Mapping[int, frozenset[int]] = MappingProxyType({}),
    **given: Any,
) -> Cluster:
    steps = [
        Step(fit_job(model), seconds, needs.get(i, frozenset())) for i, (model, seconds) in enumerate(work)
    ]
    cluster = Cluster(nodes, {id(s.job): s.seconds for s in steps})
    run_steps(steps, cluster, Reporter(), title="", on_done=lambda job, outcome: None, **given)
    assert len(cluster.had) == len(work)
    return cluster


def test_cells_of_one_model_are_kept_on_the_machine_that_has_its_weights() -> None:
    models = [f"m{i}" for i in range(12)]
    work = [(model, 10.0 + ((7 * i + k) % 13)) for i in range(9) for k, model in enumerate(models)]
    cluster = run(["a", "a", "a", "b", "b", "b"], work)
    places = {model: {cluster.nodes[slot] for slot, m in cluster.had if m == model} for model in models}
    # All but what is dealt out at the end, where nobody may wait for his own.
    assert sum(len(nodes) for nodes in places.values()) <= len(models) + 2, places
    assert cluster.now <= 1.1 * sum(seconds for _, seconds in work) / 6, "and nobody is idle for it"
    by_slot = [[m for s, m in cluster.had if s == slot] for slot in range(6)]
    changes = sum(a != b for had in by_slot for a, b in pairwise(had))
    assert changes <= len(models), "a worker stays with the model that it holds"


def test_a_long_job_is_not_left_for_the_end_for_the_sake_of_its_machine() -> None:
    work = [("short", 1.0)] * 41 + [("long", 30.0)]
    cluster = run(
        ["a", "b"], work, needs={41: frozenset({0})}
    )  # ready when both workers hold the other model
    assert cluster.now <= 37.0, "35.5 is the best that two workers can do"


def test_work_without_a_model_goes_by_its_length() -> None:
    cluster = run(["a", "b"], [("", 1.0), ("", 5.0), ("", 3.0)])
    assert [slot for slot, _ in cluster.had] == [0, 1, 1]


@dataclass
class Seen:
    expected: list[dict[int, float]] = field(default_factory=list)

    def beat(self, executor: Executor, stage: StageSight, expected: Any) -> None:
        self.expected.append(expected())


def test_what_a_job_should_take_is_known_from_others_of_its_kind() -> None:
    seen = Seen()
    run(["a", "a"], [("m", 9.0), ("m", 8.0), ("m", 7.0), ("m", 6.0), ("m", 5.0)], heartbeat=seen)
    assert seen.expected[0] == {}, "nobody knows yet"
    assert [pytest.approx(8.0)] in [list(e.values()) for e in seen.expected]


class Told(Reporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_straggler_is_named_once_with_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.execution.heartbeat.FILE_SECONDS", 0.0)
    sight = WorkerSight(3, "big · t.en · 5 cells", "fit", 400.0, 1.0, node="node-b", pid=7)
    executor = SimulatedExecutor(1, {})
    monkeypatch.setattr(executor, "sights", lambda: [sight])
    told = Told()
    beating = Heartbeat(tmp_path / "status.json", told)
    for known in ({}, {3: 200.0}, {3: 100.0}, {3: 100.0}):
        beating.beat(executor, StageSight(), lambda known=known: known)
    assert told.notes == [
        "slow: big · t.en · 5 cells (worker 3 on node-b) has taken 7 min, others of its kind 2 min"
    ]
    assert replace(sight, expected=1.0, seconds=59.0).straggles is False, "what ends soon is not worth a word"
