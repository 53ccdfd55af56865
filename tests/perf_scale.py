"""How the plan, the driver and the executors scale: ``python -m tests.perf_scale [--cells N] [--ray]``.

Matrices are generated: tiny tone corpora, as many systems and seeds as it takes. Jobs of simulated workers only pass time.
"""

from __future__ import annotations

import argparse
import heapq
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from bench.audio.store import AudioShard
from bench.execution.driver import finished_cells, run_matrix
from bench.execution.executors.interface import Executor, WorkerSight
from bench.execution.jobs import DecodeJob, Job, JobOutcome
from bench.execution.planning.shards import Shard, cells_of_shard
from bench.execution.prepared_run import PreparedRun, RunSettings
from bench.execution.progress import Reporter
from bench.execution.schedule import Step, run_steps
from bench.execution.vllm_server import Serving
from bench.storage.hashing import hash_file
from bench.storage.journal import CellRow, JobRow, Journal
from bench.storage.run_folder import RunFolder
from tests.conftest import write_tone_corpus
from tests.slow_runs import records, settings, write_card, write_slow_bench

Row = tuple[str, tuple[float, ...], str, str]
CORPORA = 10
FOLDS = 5
WORKERS = 64


class SimulatedExecutor(Executor):
    """Workers that do nothing for as long as each job says, on the real clock."""

    def __init__(self, workers: int, lengths: dict[int, float]) -> None:
        self._workers, self._lengths = workers, lengths
        self._jobs: dict[int, Job] = {}
        self._ends: list[tuple[float, int]] = []
        self.busy = 0.0

    def __exit__(self, *exc: object) -> None:
        pass

    @property
    def workers(self) -> int:
        return self._workers

    @property
    def idle(self) -> list[int]:
        return [slot for slot in range(self._workers) if slot not in self._jobs]

    @property
    def running(self) -> dict[int, Job]:
        return dict(self._jobs)

    def submit(self, slot: int, job: Job) -> None:
        self._jobs[slot] = job
        self.busy += self._lengths[id(job)]
        heapq.heappush(self._ends, (time.monotonic() + self._lengths[id(job)], slot))

    def finished(self, timeout: float) -> Iterator[tuple[Job, JobOutcome]]:
        if not self._ends:
            return
        time.sleep(min(max(self._ends[0][0] - time.monotonic(), 0.0), timeout))
        while self._ends and self._ends[0][0] <= time.monotonic():
            _, slot = heapq.heappop(self._ends)
            yield self._jobs.pop(slot), JobOutcome(seconds=0.0, work_seconds=0.0, started=time.time())

    def progress(self) -> Iterator[tuple[int, float, float]]:
        yield from ()

    def sights(self) -> list[WorkerSight]:
        return []

    def serve(self, serving: Serving, log: Path) -> AbstractContextManager[str]:
        raise NotImplementedError


def lengths_and_estimates(jobs: int) -> list[tuple[float, float]]:
    """Seconds that simulated jobs take, 0.5 to 1.5, and what they are estimated to take: up to a third less or more."""
    return [(0.5 + (i % 11) / 10, (0.5 + (i % 11) / 10) * (1 + (i % 7 - 3) / 9)) for i in range(jobs)]


def ideal_share(jobs: Sequence[tuple[float, float]], workers: int) -> float:
    """Share of the workers' time that a driver would use which hands out by the same estimates and takes no time itself, 0..1.

    Args:
        jobs: seconds that each takes, and is estimated to take.
        workers: how many there are.
    """
    free = [0.0] * workers
    for length, _ in sorted(jobs, key=lambda job: -job[1]):
        heapq.heappush(free, heapq.heappop(free) + length)
    return sum(length for length, _ in jobs) / (workers * max(free))


def driver_figures(folder: Path, jobs: int = 2000, rounds: int = 15) -> list[Row]:
    """What the driver takes per job, its journal on this disk included; how busy 64 workers are kept.

    At the end of a stage some workers have nothing left to do, however fast the driver: with jobs of which nothing is known, and 15 for each
    worker, that alone is 5.8 %. A driver knows about how long each takes, and begins with the longest.
    """
    rows: list[Row] = []
    simulated = lengths_and_estimates(WORKERS * rounds)
    ideal = f"{100 * ideal_share(simulated, WORKERS):.1f} % with a driver that takes no time"
    what = "64 simulated workers, jobs of 0.5 to 1.5 s, known to a third: share of their time that is used"
    for workers, todo, target, said in (
        (
            1,
            [(0.0, 1.0)] * jobs,
            "under 10 ms",
            f"driver: handing out and recording {jobs} empty jobs, per job",
        ),
        (WORKERS, simulated, f"at least 95 %; {ideal}", what),
    ):
        steps = [
            Step(DecodeJob("none", AudioShard(folder, (str(i),), folder / str(i))), estimate)
            for i, (_, estimate) in enumerate(todo)
        ]
        lengths = {id(step.job): length for step, (length, _) in zip(steps, todo, strict=True)}
        executor = SimulatedExecutor(workers, lengths)
        with Journal(folder / f"journal-{workers}.sqlite") as journal:
            began, cpu = time.monotonic(), time.process_time()
            numbers = iter(range(len(steps)))

            def on_done(
                job: Job, outcome: JobOutcome, journal: Journal = journal, numbers: Iterator[int] = numbers
            ) -> None:
                journal.record([_cell(str(next(numbers)), "0")], _job(outcome))

            run_steps(steps, executor, Reporter(), title="", on_done=on_done, together=journal.together)
            wall, cpu = time.monotonic() - began, time.process_time() - cpu
        if workers == 1:
            rows.append((said, (1000 * wall / len(steps),), "ms", target))
            rows.append(("of that, time on the processor", (1000 * cpu / len(steps),), "ms", ""))
        else:
            rows.append((said, (100 * executor.busy / (wall * workers),), "%", target))
    return rows


def _job(outcome: JobOutcome) -> JobRow:
    return JobRow("s", "fit", "n", "k", 1, outcome.seconds, 0.0, outcome.started)


def _cell(key: str, table_hash: str) -> CellRow:
    return CellRow(key, "s", "t", "within", "clean", "0", 0, "done", table_hash, None, None)


def plan_figures(folder: Path, cells: int) -> list[Row]:
    """Planning a generated matrix, dealing it to shards, and finding it finished."""
    seeds = 10
    systems = max(1, round(cells / (CORPORA * FOLDS * seeds)))
    for i in range(CORPORA):
        write_tone_corpus(folder / "data" / f"tones{i}", seed=i)
    names = []
    for i in range(systems):
        names.append(f"./s{i}.yaml")
        (folder / f"s{i}.yaml").write_text(
            f"name: s{i}\nfamily: reference\ntrack: reference\nadapter: adapters.baselines:Chance\n"
        )
    (folder / "m.yaml").write_text(
        f"name: m\nentries:\n  - systems: [{', '.join(names)}]\n    seeds: [{', '.join(map(str, range(seeds)))}]\n"
    )
    asked = RunSettings(str(folder / "m.yaml"), data=(folder / "data",), out=folder / "run", workers=1)
    first = replace(asked, only={"system": ["s0"], "task": ["tones0.ms"]})
    run_matrix(first, Reporter())  # decodes
    began = time.process_time()
    prepared = PreparedRun(asked)
    rows, _ = prepared.matrix_rows(fetch=False)
    plan = prepared.plan(rows)
    planned = time.process_time() - began
    keys = [c.key for r in plan.records for c in r.cells]
    began = time.process_time()
    cells_of_shard(plan.records, Shard(1, 100))
    dealt = time.process_time() - began
    run = RunFolder(folder / "full")
    pattern = next((folder / "run" / "tables").glob("*.parquet"))
    run.tables.mkdir(parents=True)
    content, digest = pattern.read_bytes(), hash_file(pattern)
    for key in keys:
        (run.tables / f"{key}.parquet").write_bytes(content)
    with Journal(run.journal) as journal:
        journal.adopt([_cell(key, digest) for key in keys], [], [])
        began = time.process_time()
        done = finished_cells(journal, run, plan)
        found = time.process_time() - began
    assert len(done) == len(keys)
    size = sum(len(content) for _ in keys) + run.journal.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        (
            f"plan of {len(keys):,} cells ({len(plan.records):,} records)",
            (planned,),
            "s",
            "under 5 s for 10,000",
        ),
        (f"dealing {len(keys):,} cells to 100 shards", (dealt,), "CPU s", ""),
        (
            f"finding {len(keys):,} cells finished, every table hashed",
            (found,),
            "CPU s",
            "under 5 s for 10,000",
        ),
        (f"tables and journal of {len(keys):,} cells", (size / 2**20,), "MiB", ""),
        ("most memory of this process", (peak,), "MiB", "500 MiB for 10,000"),
    ]


def ray_figures(folder: Path) -> list[Row]:
    """The same small matrix by local workers and by a Ray cluster on the same cores, from the first job's beginning to the last one's end.

    Starting the hosts of a cluster takes seconds, once for a run of days, so that is a figure of its own.
    """
    import ray

    write_slow_bench(folder)
    write_card(folder, wait=1.0)
    matrix = folder / "kill.yaml"
    matrix.write_text(matrix.read_text(encoding="utf-8").replace("[0, 1]", "[0, 1, 2, 3]"), encoding="utf-8")
    os.environ["PYTHONPATH"] = str(folder)
    at_work, whole = {}, {}
    for executor in ("local", "ray"):
        asked = replace(settings(folder, executor), executor=executor)
        if executor == "ray":
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
            asked = replace(asked, ray_address=ray.get_runtime_context().gcs_address)
        began = time.monotonic()
        run_matrix(asked, Reporter())
        whole[executor] = time.monotonic() - began
        with Journal(RunFolder(folder / executor).journal) as journal:
            jobs = [j for j in journal.jobs() if j.kind == "fit"]
        at_work[executor] = max(j.started + j.seconds for j in jobs) - min(j.started for j in jobs)
    ray.shutdown()
    same = records(folder / "local") == records(folder / "ray")
    return [
        (
            "Ray against local on the same 2 cores, 20 fits of 1 s, from the first job to the last",
            (at_work["local"] / at_work["ray"],),
            "×",
            "at least 0.9",
        ),
        ("the whole run by local workers", (whole["local"],), "s", ""),
        ("the whole run on a Ray cluster that is there", (whole["ray"],), "s", ""),
        ("records of the two, the same bytes", (float(same),), "", "1"),
    ]


def scale_figures(cells: int = 10_000) -> list[Row]:
    """What ``make perf`` prints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SERBENCH_CACHE"] = str(folder / "cache")
        return [*driver_figures(folder), *plan_figures(folder, cells)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--ray", action="store_true")
    asked = parser.parse_args(arguments)
    rows = scale_figures(asked.cells)
    if asked.ray:
        with tempfile.TemporaryDirectory() as name:
            os.environ["SERBENCH_CACHE"] = str(Path(name) / "cache")
            rows += ray_figures(Path(name))
    for what, values, unit, target in rows:
        print(f"{what}: {values[0]:.3g} {unit}" + (f" (target: {target})" if target else ""))


if __name__ == "__main__":
    main()
