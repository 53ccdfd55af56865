"""Handing out jobs: encoder passes before the fits that need them, long jobs first, one failure at a time."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bench.execution.executors.interface import Executor
from bench.execution.heartbeat import Heartbeat, StageSight
from bench.execution.jobs import Job, JobOutcome, JobUse, model_of, rate_key
from bench.execution.progress import Reporter

PRIOR_SECONDS = 30.0
"""How long a run must go on before its own pace outweighs the estimates."""
TRIES = 3
"""How often a job is begun whose machine goes away; a job that takes its machine with it must not go on for ever."""
ENDGAME = 0.8
"""A job that takes more than this share of the time left is handed out at once, to whichever worker: begun late, it would end last."""
TOGETHER_SECONDS = 0.1
"""Jobs that end within this time are passed on together."""
PEERS = 3
"""After so many jobs of a kind it is known how long one takes."""


@dataclass(frozen=True)
class Step:
    """A job in the queue: what it is estimated to take, and the numbers of the steps it must wait for."""

    job: Job
    seconds: float
    needs: frozenset[int] = frozenset()


_Entry = tuple[tuple[bool, float, int], int]
"""Of a step that is ready: its priority, and its number."""
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
        together: makes a context in which jobs that ended at about the same time are passed on.
    """
    with _Passing(together) as passing:
        stage = _Stage(steps, executor, reporter, on_done, passing)
        reporter.stage(title, stage.left / executor.workers)
        while stage.unfinished:
            stage.hand_out()
            passing.settle(waited=not stage.collect())
            if heartbeat is not None:
                heartbeat.beat(executor, stage.sight(title), stage.expected)


class _Passing:
    """Holds the context in which ended jobs are passed on open for a moment, while the workers get their next ones.

    What it does at its end (syncing a disk) may take longer than a short job, and nobody should wait for it. A driver that is killed
    meanwhile forgets jobs that ended within that moment, and they are done again.
    """

    def __init__(self, together: Together) -> None:
        self._together = together
        self._held = ExitStack()
        self._since: float | None = None

    def __enter__(self) -> _Passing:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._held.__exit__(*exc)

    def begin(self) -> None:
        """A job has ended: from now on what is passed on belongs together."""
        if self._since is None:
            self._held.enter_context(self._together())
            self._since = time.monotonic()

    def settle(self, *, waited: bool) -> None:
        """Close it when it was open long enough, or ``waited`` for further jobs in vain."""
        if self._since is not None and (waited or time.monotonic() - self._since > TOGETHER_SECONDS):
            self._since = None
            self._held.close()


class _Stage:
    """The steps of a stage: which are ready, which wait for whom, and how far it is."""

    def __init__(
        self,
        steps: Sequence[Step],
        executor: Executor,
        reporter: Reporter,
        on_done: OnDone,
        passing: _Passing,
    ) -> None:
        self._passing = passing
        self._steps, self._executor, self._reporter, self._on_done = steps, executor, reporter, on_done
        self._number = {id(step.job): i for i, step in enumerate(steps)}
        self._waiting_for = [set(step.needs) for step in steps]
        self._needed_by: dict[int, list[int]] = {}
        for i, step in enumerate(steps):
            for need in step.needs:
                self._needed_by.setdefault(need, []).append(i)
        self._ready: dict[str, list[_Entry]] = {}
        """By the model that they need, each the longest first."""
        for i, step in enumerate(steps):
            if not step.needs:
                self._push(i)
        self._begun: Counter[int] = Counter()
        self._held: dict[int, str] = {}
        """Of each slot, the model it holds."""
        self._had: dict[int, set[str]] = {}
        """Of each slot, the models that it had: they are on its machine's disk, or in its memory for files."""
        self._paces: dict[str, list[float]] = {}
        """Seconds per clip of the jobs that ended well, by kind of work."""
        self.unfinished = len(steps)
        self.left = sum(s.seconds for s in steps)
        # What steps took against what they were estimated to take, so that the time left follows this machine.
        self._taken = self._estimated = PRIOR_SECONDS

    def sight(self, title: str) -> StageSight:
        """How far it is."""
        return StageSight(title, len(self._steps), self.unfinished, self._time_left())

    def expected(self) -> dict[int, float]:
        """Seconds that the job in each slot should take, by those of its kind that have ended."""
        found = {}
        for slot, job in self._executor.running.items():
            paces = self._paces.get(rate_key(job), ())
            if len(paces) >= PEERS:
                found[slot] = median(paces) * job.clips
        return found

    def hand_out(self) -> None:
        """Give every idle slot a job, as far as some are ready."""
        if not self._ready:
            return
        places = self._places()
        for slot in self._executor.idle:
            if not self._ready:
                return
            i = self._take(slot, places)
            job = self._steps[i].job
            self._held[slot] = model_of(job)
            self._had.setdefault(slot, set()).add(self._held[slot])
            places.setdefault(self._executor.node(slot), set()).add(self._held[slot])
            self._begun[i] += 1
            self._executor.submit(slot, job)
            self._reporter.started(slot, job.name)

    def _push(self, i: int) -> None:
        step = self._steps[i]
        heapq.heappush(self._ready.setdefault(model_of(step.job), []), (_priority(step, i), i))

    def _places(self) -> dict[str, set[str]]:
        """Models by machine."""
        places: dict[str, set[str]] = {}
        for slot, had in self._had.items():
            places.setdefault(self._executor.node(slot), set()).update(had)
        return places

    def _take(self, slot: int, places: Mapping[str, set[str]]) -> int:
        """The next step: of those of highest priority one whose model the worker holds, or has on its machine; else the longest."""
        model, first = min(((m, queue[0]) for m, queue in self._ready.items()), key=lambda x: x[1])
        if len(self._ready) > 1 and first[0][1] > -ENDGAME * max(self.left, 0) / self._executor.workers:
            before_fits = first[0][0]
            alike = [m for m, queue in self._ready.items() if queue[0][0][0] == before_fits]
            model = min(alike, key=lambda m: (self._distance(slot, m, places), self._ready[m][0]))
        _, i = heapq.heappop(self._ready[model])
        if not self._ready[model]:
            del self._ready[model]
        return i

    def _distance(self, slot: int, model: str, places: Mapping[str, set[str]]) -> int:
        """How far a model is: held by the worker, on its machine and in no hand, nowhere yet, on its machine, on another one.

        A new model goes before one that another worker of the machine holds, or each would hold them all in turn.
        """
        node = self._executor.node(slot)
        if self._held.get(slot) == model:
            return 0
        if not model or not node:
            return 2
        if model in places.get(node, ()):
            return 3 if model in self._held.values() else 1
        return 4 if any(model in had for had in places.values()) else 2

    def collect(self) -> bool:
        """Wait a moment for jobs to end, and pass on what came of them. Returns whether any did."""
        slots = {id(job): slot for slot, job in self._executor.running.items()}
        ended = list(self._executor.finished(timeout=0.1))
        if ended:
            self._passing.begin()
        for job, outcome in ended:
            i, slot = self._number[id(job)], slots[id(job)]
            if outcome.lost:
                self._had.pop(slot, None)
                self._held.pop(slot, None)
            if outcome.lost and self._begun[i] < TRIES:
                self._reporter.finished(slot, job.name, 0.0, self._time_left())
                self._reporter.note(f"begun again: {job.name}: {outcome.error}")
                self._push(i)
            else:
                self._end(i, outcome, slot)
        for slot, amount, total in self._executor.progress():
            self._reporter.moved(slot, amount, total)
        return bool(ended)

    def _end(self, i: int, outcome: JobOutcome, slot: int | None) -> None:
        step = self._steps[i]
        self.unfinished -= 1
        self.left -= step.seconds
        self._taken, self._estimated = self._taken + outcome.seconds, self._estimated + step.seconds
        if outcome.error is None and outcome.clips:
            self._paces.setdefault(rate_key(step.job), []).append(outcome.seconds / outcome.clips)
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
                    self._push(follower)

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


def _priority(step: Step, number: int) -> tuple[bool, float, int]:
    return (step.job.kind != "encode", -step.seconds, number)
