"""Handing out jobs: encoder passes before the fits that need them, long jobs first, one failure at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.execution.jobs import Job, JobOutcome
from bench.execution.pool import Pool
from bench.execution.progress import Reporter

PRIOR_SECONDS = 30.0
"""How long a run must go on before its own pace outweighs the estimates."""


@dataclass(frozen=True)
class Step:
    """A job in the queue: what it is estimated to take, and the numbers of the steps it must wait for."""

    job: Job
    seconds: float
    needs: frozenset[int] = frozenset()


OnDone = Callable[[Job, JobOutcome], None]
"""Is called in the driver with every job that ended, and what came of it."""


def run_steps(steps: Sequence[Step], pool: Pool, reporter: Reporter, *, title: str, on_done: OnDone) -> None:
    """Run steps to the end. A step whose needed step failed is not run: it ends with that step's error.

    Args:
        steps: what is to be done; ``needs`` are positions in this sequence.
        pool: the workers, all idle.
        reporter: told of every job.
        title: of the stage, for the reporter.
        on_done: called for every step, in the order in which they end.
    """
    waiting = set(range(len(steps)))
    number = {id(step.job): i for i, step in enumerate(steps)}
    done: set[int] = set()
    failed: dict[int, str] = {}
    left = sum(s.seconds for s in steps)
    workers = len(pool.idle)
    reporter.stage(title, left / workers)
    # What steps took against what they were estimated to take, so that the time left follows this machine.
    taken = estimated = PRIOR_SECONDS

    def end(i: int, outcome: JobOutcome, slot: int | None) -> None:
        nonlocal left, taken, estimated
        done.add(i)
        left -= steps[i].seconds
        taken, estimated = taken + outcome.seconds, estimated + steps[i].seconds
        if outcome.error is not None:
            failed[i] = outcome.error
        on_done(steps[i].job, outcome)
        if slot is not None:
            reporter.finished(
                slot,
                steps[i].job.name,
                steps[i].seconds / workers,
                max(left, 0) / workers * taken / estimated,
            )

    while waiting or pool.running:
        for i in [i for i in waiting if any(n in failed for n in steps[i].needs)]:
            waiting.remove(i)
            error = next(failed[n] for n in sorted(steps[i].needs) if n in failed)
            end(i, JobOutcome(seconds=0.0, work_seconds=0.0, started=0.0, error=error), None)
        ready = sorted((i for i in waiting if steps[i].needs <= done), key=lambda i: _priority(steps[i], i))
        for slot, i in zip(pool.idle, ready, strict=False):
            waiting.remove(i)
            pool.submit(slot, steps[i].job)
            reporter.started(slot, steps[i].job.name)
        slots = {id(job): slot for slot, job in pool.running.items()}
        for job, outcome in pool.finished(timeout=0.1):
            end(number[id(job)], outcome, slots[id(job)])
        for slot, amount, total in pool.progress():
            reporter.moved(slot, amount, total)


def _priority(step: Step, number: int) -> tuple[int, float, int]:
    return (step.job.kind != "encode", -step.seconds, number)
