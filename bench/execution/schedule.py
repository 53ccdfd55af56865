"""Handing out jobs: encoder passes before the fits that need them, long jobs first, one failure at a time."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from bench.execution.executors.interface import Executor
from bench.execution.heartbeat import Heartbeat, StageSight
from bench.execution.jobs import EncodeJob, FitJob, Job, JobOutcome, JobUse
from bench.execution.progress import Reporter

PRIOR_SECONDS = 30.0
"""How long a run must go on before its own pace outweighs the estimates."""
TRIES = 3
"""How often a job is begun whose machine goes away; a job that takes its machine with it must not go on for ever."""
NEAR = 8
"""Among so many jobs of highest priority, a worker takes one of the system whose model it holds."""


@dataclass(frozen=True)
class Step:
    """A job in the queue: what it is estimated to take, and the numbers of the steps it must wait for."""

    job: Job
    seconds: float
    needs: frozenset[int] = frozenset()


OnDone = Callable[[Job, JobOutcome], None]
"""Is called in the driver with every job that ended, and what came of it."""
Together = Callable[[], AbstractContextManager[None]]


def run_steps(
    steps: Sequence[Step],
    executor: Executor,
    reporter: Reporter,
    *,
    title: str,
    on_done: OnDone,
    heartbeat: Heartbeat | None = None,
    together: Together = nullcontext,
) -> None:
    """Run steps to the end. A step whose needed step failed is not run: it ends with that step's error.

    Args:
        steps: what is to be done; ``needs`` are positions in this sequence.
        executor: the workers, all idle.
        reporter: told of every job.
        title: of the stage, for the reporter.
        on_done: called for every step, in the order in which they end.
        heartbeat: looks at the workers now and then.
        together: makes a context in which several jobs that ended at once are passed on.
    """
    stage = _Stage(steps, executor, reporter, on_done, together)
    reporter.stage(title, stage.left / executor.workers)
    while stage.unfinished:
        stage.hand_out()
        stage.collect()
        if heartbeat is not None:
            heartbeat.beat(executor, stage.sight(title))


class _Stage:
    """The steps of a stage: which are ready, which wait for whom, and how far it is."""

    def __init__(
        self,
        steps: Sequence[Step],
        executor: Executor,
        reporter: Reporter,
        on_done: OnDone,
        together: Together,
    ) -> None:
        self._together = together
        self._steps, self._executor, self._reporter, self._on_done = steps, executor, reporter, on_done
        self._number = {id(step.job): i for i, step in enumerate(steps)}
        self._waiting_for = [set(step.needs) for step in steps]
        self._needed_by: dict[int, list[int]] = {}
        for i, step in enumerate(steps):
            for need in step.needs:
                self._needed_by.setdefault(need, []).append(i)
        self._ready = [(_priority(s, i), i) for i, s in enumerate(steps) if not s.needs]
        heapq.heapify(self._ready)
        self._begun: Counter[int] = Counter()
        self._held: dict[int, str] = {}
        """Of each slot, the model it holds."""
        self.unfinished = len(steps)
        self.left = sum(s.seconds for s in steps)
        # What steps took against what they were estimated to take, so that the time left follows this machine.
        self._taken = self._estimated = PRIOR_SECONDS

    def sight(self, title: str) -> StageSight:
        """How far it is."""
        return StageSight(title, len(self._steps), self.unfinished, self._time_left())

    def hand_out(self) -> None:
        """Give every idle slot a job, as far as some are ready."""
        if not self._ready:
            return
        for slot in self._executor.idle:
            if not self._ready:
                return
            i = self._take(self._held.get(slot))
            job = self._steps[i].job
            self._held[slot] = _model(job)
            self._begun[i] += 1
            self._executor.submit(slot, job)
            self._reporter.started(slot, job.name)

    def _take(self, held: str | None) -> int:
        """The next step: the first by priority, or one close behind whose model the worker holds already."""
        near = [heapq.heappop(self._ready) for _ in range(min(NEAR, len(self._ready)))]
        first = near[0]
        alike = [e for e in near if held and e[0][0] == first[0][0] and _model(self._steps[e[1]].job) == held]
        chosen = alike[0] if alike else first
        for entry in near:
            if entry is not chosen:
                heapq.heappush(self._ready, entry)
        return chosen[1]

    def collect(self) -> None:
        """Wait a moment for jobs to end, and pass on what came of them."""
        slots = {id(job): slot for slot, job in self._executor.running.items()}
        ended = list(self._executor.finished(timeout=0.1))
        with self._together() if ended else nullcontext():
            for job, outcome in ended:
                i, slot = self._number[id(job)], slots[id(job)]
                if outcome.lost and self._begun[i] < TRIES:
                    self._reporter.finished(slot, job.name, 0.0, self._time_left())
                    self._reporter.note(f"begun again: {job.name}: {outcome.error}")
                    heapq.heappush(self._ready, (_priority(self._steps[i], i), i))
                else:
                    self._end(i, outcome, slot)
        for slot, amount, total in self._executor.progress():
            self._reporter.moved(slot, amount, total)

    def _end(self, i: int, outcome: JobOutcome, slot: int | None) -> None:
        step = self._steps[i]
        self.unfinished -= 1
        self.left -= step.seconds
        self._taken, self._estimated = self._taken + outcome.seconds, self._estimated + step.seconds
        self._on_done(step.job, outcome)
        if slot is not None:
            share = step.seconds / self._executor.workers
            self._reporter.finished(slot, step.job.name, share, self._time_left())
        for follower in self._needed_by.get(i, ()):
            if outcome.error is not None and self._waiting_for[follower]:
                self._waiting_for[follower] = set()  # it ends here, once
                self._end(follower, _for_want_of(outcome), None)
            elif i in self._waiting_for[follower]:
                self._waiting_for[follower].discard(i)
                if not self._waiting_for[follower]:
                    heapq.heappush(self._ready, (_priority(self._steps[follower], follower), follower))

    def _time_left(self) -> float:
        return max(self.left, 0) / self._executor.workers * self._taken / self._estimated


def _for_want_of(outcome: JobOutcome) -> JobOutcome:
    """What comes of a job that is not run, since one it needs failed."""
    return replace(
        outcome,
        seconds=0.0,
        work_seconds=0.0,
        started=0.0,
        clips=0,
        cells=(),
        trace=None,
        lost=False,
        log="",
        use=JobUse(),
    )


def _priority(step: Step, number: int) -> tuple[int, float, int]:
    return (step.job.kind != "encode", -step.seconds, number)


def _model(job: Job) -> str:
    """What a worker keeps in memory after a job: the encoder of its system."""
    if isinstance(job, EncodeJob):
        return job.system.feature_key or ""
    return (job.group.system.feature_key or "") if isinstance(job, FitJob) else ""
