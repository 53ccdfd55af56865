"""A job that runs out of memory: it is done in smaller parts, then once more with all memory given back, then it fails alone.

What is made smaller is how much goes through together, which changes answers by rounding at most: audio of an encoder pass, clips
that a predictor answers, seeds and folds that a probe trains beside each other. The batch that a system learns with
is part of the system, as its card has it, and is left as it is: with another one it would be another system.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.execution.jobs import FitJob, Job
from bench.execution.planning.estimates import human_bytes
from bench.features.out_of_memory import give_back_memory, ran_out_of_memory
from bench.features.probes import Probe, ProbeOutcome, ProbeTask
from bench.protocols import Answers, Clips, Predictor, Progress

T = TypeVar("T")


def once_more(do: Callable[[], T], let_go: Callable[[], None]) -> T:
    """Do something; where memory runs out let go of what can be missed, and do it once more.

    Args:
        do: the work, from its beginning.
        let_go: drops what is held beside it.

    Returns:
        What the work returns.
    """
    try:
        return do()
    except BaseException as error:
        if not ran_out_of_memory(error):
            raise
    # Outside the except block: the exception held on to the tensors of the frames that it went through.
    let_go()
    give_back_memory()
    return do()


def answers_in_parts(predictor: Predictor, clips: Clips) -> Answers:
    """Ask a predictor; where memory runs out, for half of the clips at a time, down to one.

    Args:
        predictor: fitted.
        clips: to answer.

    Returns:
        Answers to all of them, in order. Of notes those that all parts agree on.
    """
    try:
        return predictor.predict(clips)
    except Exception as error:  # an adapter may raise anything
        if len(clips) < 2 or not ran_out_of_memory(error):
            raise
    give_back_memory()
    half = len(clips) // 2
    return joined_answers(
        [answers_in_parts(predictor, part) for part in (clips_at(clips, 0, half), clips_at(clips, half))]
    )


def clips_at(clips: Clips, start: int, stop: int | None = None) -> Clips:
    """Some clips of a list, as a list of their own.

    Args:
        clips: the list.
        start: place of the first.
        stop: place behind the last; None: to the end.
    """
    rows = range(len(clips))[start:stop]
    return Clips(
        ids=clips.ids[start:stop],
        pcm_hashes=clips.pcm_hashes[start:stop],
        seconds=clips.seconds[start:stop],
        languages=clips.languages[start:stop],
        read=lambda i: clips.read(rows[i]),
        transcripts=clips.transcripts[start:stop],
    )


def joined_answers(parts: Sequence[Answers]) -> Answers:
    """Answers to one list of clips, from those to its parts.

    Args:
        parts: in order; all with probabilities or none, and so for the rest.
    """
    first = parts[0]
    return Answers(
        statuses=tuple(x for part in parts for x in part.statuses),
        labels=tuple(x for part in parts for x in part.labels),
        probabilities=_joined([part.probabilities for part in parts]),
        dimensions=_joined([part.dimensions for part in parts]),
        replies=None if first.replies is None else tuple(x for part in parts for x in part.replies or ()),
        notes={k: v for k, v in first.notes.items() if all(part.notes.get(k) == v for part in parts)},
        variants={name: joined_answers([part.variants[name] for part in parts]) for name in first.variants},
    )


def _joined(parts: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if given else None


def probe_in_parts(probe: Probe, task: ProbeTask, progress: Progress) -> Mapping[Any, ProbeOutcome]:
    """Run a probe; where memory runs out, for half of its seeds at a time, then for half of its folds.

    Heads that train beside each other do not touch each other, so the answers are those of one run, to rounding.

    Args:
        probe: to run.
        task: features, folds and seeds.
        progress: told of (done, total), of each part anew.

    Returns:
        Outcomes by (fold index, seed).
    """
    try:
        return probe.run(task, progress)
    except Exception as error:
        if (len(task.seeds) < 2 and len(task.folds) < 2) or not ran_out_of_memory(error):
            raise
    give_back_memory()
    found: dict[Any, ProbeOutcome] = {}
    if len(task.seeds) > 1:
        half = len(task.seeds) // 2
        for seeds in (task.seeds[:half], task.seeds[half:]):
            found |= probe_in_parts(probe, replace(task, seeds=seeds), progress)
        return found
    half = len(task.folds) // 2
    for start, folds in ((0, task.folds[:half]), (half, task.folds[half:])):
        part = probe_in_parts(probe, replace(task, folds=folds), progress)
        found |= {(fold + start, seed): outcome for (fold, seed), outcome in part.items()}
    return found


def memory_sentence(job: Job | None, device: str, problem: BaseException) -> str:
    """Say that memory ran out, where, what was tried, and what to do.

    Args:
        job: that failed; None where nobody knows.
        device: ``cpu`` or ``cuda:N``.
        problem: what was raised.
    """
    if isinstance(problem, BenchError):
        return str(problem)  # it knows more
    if not device.startswith("cuda"):
        where, tried = "out of memory", ""
        mend = "run with fewer workers (--workers 1), or on a machine with more"
    else:
        where, tried = f"out of GPU memory on {device}{_figures(device)}", ""
        mend = "run fewer workers on a GPU (--workers), free it of other programs, or take a larger one"
    if isinstance(job, FitJob):
        tried = ", also with all else let go of"
        own = sorted(name for name in job.group.system.card.params if "batch" in name)
        if own:
            name = job.group.system.name
            mend += f"; the batch it learns with is part of the system: --set {name}:{own[0]}=… makes it another one"
    return f"{where}{tried}; {mend}"


def _figures(device: str) -> str:
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return ""
        free, total = torch.cuda.mem_get_info(device)
    except Exception:  # noqa: BLE001 - a broken device must not hide what happened
        return ""
    return f" ({human_bytes(total)}, {human_bytes(free)} of it free)"
