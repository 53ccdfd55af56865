"""The suite from Python: load a task, evaluate a system on it, get a record. In this process, no run folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.cards.corpus import Protocol
from bench.cards.registry import load_system
from bench.cards.system import SystemCard
from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.prepared import PreparedCorpus, data_folders, find_corpora, open_corpus
from bench.corpora.synthetic import write_synthetic_corpus
from bench.errors import CannotRun, DataError, UsageError
from bench.execution.inputs import missing_features
from bench.execution.jobs import FitJob, Job
from bench.execution.planning.cells import make_plan
from bench.execution.planning.expansion import MatrixRow
from bench.execution.planning.matrix import Entry, Matrix
from bench.execution.planning.plan import Group
from bench.execution.planning.systems import resolve_system
from bench.execution.scoring_stage import score_planned
from bench.execution.worker import Runner
from bench.scoring.predictions import PredictionTable, read_table
from bench.scoring.records import Record, read_record, write_record
from bench.storage.run_folder import cache_folder
from bench.tasks import Task, build_task, split_task_name

Say = Callable[[str], None]
"""Takes a line for whoever watches."""


class JobFailed(DataError):
    """An encoder pass or a fit that failed in this process; ``reason`` is what it said, without the job's name."""

    def __init__(self, job: Job, reason: str) -> None:
        super().__init__(f"{job.name}: {reason}")
        self.reason = reason


def load_task(
    name: str, *, data: Sequence[str | Path] = (), protocol: Protocol = "within", limit: int | None = None
) -> Task:
    """Load a task by its id, decoding its corpus if that was not done yet.

    Args:
        name: ``<corpus>.<language>``, like ``indowave.id``, or ``synthetic.qaa`` (made on the spot, unless the folders hold
            a corpus of that name).
        data: folders of prepared corpora; SERBENCH_DATA when empty.
        protocol: ``within`` or ``zero-shot``.
        limit: at most so many clips.

    Raises:
        UsageError, DataError: no such task, or a corpus that is not as it must be.
    """
    corpus = split_task_name(name)[0]
    folders = data_folders([Path(p) for p in data])
    if corpus == "synthetic" and not any(c.card.name == corpus for c in _found(folders)):
        folder = cache_folder() / "corpora" / "synthetic"
        write_synthetic_corpus(folder)
        folders = [folder]
    table = open_table(open_corpus(corpus, folders), cache_folder())
    decode_missing(table)
    return build_task(table, name, protocol, limit=limit)


def _found(folders: Sequence[Path]) -> list[PreparedCorpus]:
    try:
        return find_corpora(folders)[0]
    except DataError:  # a folder without any corpus does not keep the built-in one from being made
        return []


def evaluate(
    system: str | SystemCard, task: Task | str, *, seeds: Sequence[int] = (0,), device: str = "cpu"
) -> Record:
    """Fit a system on every fold of a task, predict, score. Returns the record.

    Args:
        system: a system's name, the path of its card, or a card.
        task: a task, or its id.
        seeds: one fit per fold and seed (the first alone for a deterministic system).
        device: ``cpu`` or ``cuda:N``.

    Raises:
        CannotRun: weights, a server or a package is missing.
        JobFailed: an encoder pass or a fit failed; the message is the adapter's.
    """
    task = load_task(task) if isinstance(task, str) else task
    card = load_system(system) if isinstance(system, str) else system
    resolved = resolve_system(card)
    if resolved.blocked is not None:
        raise CannotRun(f"{card.name}: {resolved.blocked}")
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"seeds must be at least one, and differ; found {list(seeds)}")
    chosen = tuple(seeds) if card.seeds else tuple(seeds[:1])
    matrix = Matrix(name="evaluate", entries=(Entry(systems=(card.name,), tasks=(task.name,), seeds=chosen),))
    plan = make_plan(
        matrix, [MatrixRow(resolved, task.name, task.protocol, chosen)], lambda name, protocol: task
    )
    (record,) = plan.records
    tables = run_in_process(plan.groups, device=device)
    facts, blocks = score_planned(record, [tables[c.key] for c in record.cells], matrix, {})
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "record.json"
        write_record(path, facts, blocks)
        return read_record(path)


def run_in_process(
    groups: Sequence[Group], *, device: str = "cpu", cache: Path | None = None, say: Say = lambda line: None
) -> dict[str, PredictionTable]:
    """Encode what groups of cells miss, fit and answer, one job after the other in this process.

    Args:
        groups: cells that are computed together, of one or several systems.
        device: ``cpu`` or ``cuda:N``.
        cache: where features and decoded audio are kept; the user's cache unless given.
        say: gets a line when a job begins.

    Returns:
        The prediction table of every cell, by the cell's key.

    Raises:
        JobFailed: of the first job that failed.
    """
    cache, runner = cache or cache_folder(), Runner(device)
    encode_in_process(groups, runner, cache=cache, say=say)
    with tempfile.TemporaryDirectory(prefix="serbench-") as scratch:
        tables = Path(scratch) / "tables"
        for group in groups:
            say(f"{group.system.name}: answering")
            _run(runner, FitJob(group, tables, work=Path(scratch) / "work", cache=cache, identity={}))
        return {c.key: read_table(tables / f"{c.key}.parquet") for g in groups for c in g.cells}


def encode_in_process(groups: Sequence[Group], runner: Runner, *, cache: Path, say: Say) -> None:
    """Put the clips of groups through their frozen encoders, where the store lacks them.

    Args:
        groups: cells whose clips are needed.
        runner: does the jobs, on its device.
        cache: where features and decoded audio are kept.
        say: gets a line when a job begins.

    Raises:
        JobFailed: of the first job that failed.
    """
    for job, _ in missing_features(groups, cache):
        say(f"{job.name}: {job.clips} clips")
        _run(runner, job)


def _run(runner: Runner, job: Job) -> None:
    outcome = runner.run(job, lambda done, total: None)
    if outcome.error is not None:
        raise JobFailed(job, outcome.error)
