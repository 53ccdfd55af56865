"""Running a matrix: find, decode, plan, encode, fit, score. Every stage keeps what is finished and skips it next time."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from bench.corpora.soundness import decoded_sentences
from bench.corpora.verification import remember_hashes
from bench.execution.devices import worker_devices
from bench.execution.executors.interface import Executor
from bench.execution.executors.local import LocalExecutor
from bench.execution.heartbeat import Heartbeat
from bench.execution.inputs import GroupInputs
from bench.execution.planned_cells import note_planned
from bench.execution.planning.estimates import save_rates
from bench.execution.planning.expansion import MatrixRow
from bench.execution.planning.plan import Group, RunPlan
from bench.execution.planning.shards import cells_of_shard
from bench.execution.prepared_run import PreparedRun, RunSettings, RunSummary
from bench.execution.progress import Reporter
from bench.execution.requests import note_request
from bench.execution.scoring_stage import score_plan
from bench.execution.stages import RunStages
from bench.protocols import ASK_AGAIN, STORED
from bench.scoring.plan_log import extend_plan_log, finished_keys, logged_words, only_inert
from bench.storage.atomic import write_json
from bench.storage.hashing import hash_file
from bench.storage.journal import CellRow, Journal
from bench.storage.provenance import machine_facts, sidecar
from bench.storage.run_folder import RunFolder

Adopt = Callable[[PreparedRun, RunPlan, Journal], None]
"""Brings in what was computed elsewhere, once the plan is there and before it is logged."""


def run_matrix(settings: RunSettings, reporter: Reporter, *, adopt: Adopt | None = None) -> RunSummary:
    """Run a matrix to the end, or go on with it, and score what is complete.

    What ``settings.only`` and ``settings.shard`` leave out is planned and scored as far as it was computed before, and not computed.

    Args:
        settings: the matrix, its data, the run folder, devices and limits.
        reporter: told of stages, jobs and whatever a user should know.
        adopt: where given, brings in all cells, and none is computed here.

    Returns:
        What was computed, found, refused and failed. A failed cell is no error: the others go on.

    Raises:
        UsageError: the matrix, a card or a setting names what is not there.
        DataError: no corpus at hand, audio that cannot be decoded, or no record that can be planned.
        BenchError: the run folder is in use or cannot be written.
    """
    started = time.perf_counter()
    prepared = PreparedRun(settings)
    devices = worker_devices(settings.device, settings.workers) if settings.executor == "local" else []
    rows, chosen = prepared.matrix_rows(fetch=True)
    folder = prepared.folder
    for note in prepared.notes:
        reporter.note(note)
    beating = Heartbeat(folder.status, reporter)
    with folder.locked(), Journal(folder.journal) as journal, beating as heartbeat:
        with _executor(prepared, devices, reporter) as executor:
            session = _begin_session(journal, devices or ["ray"] * executor.workers, settings)
            stages = RunStages(
                prepared=prepared,
                folder=folder,
                journal=journal,
                session=session,
                executor=executor,
                reporter=reporter,
                heartbeat=heartbeat,
            )
            _make_ready(prepared, stages, rows)
            heartbeat.phase("planning")
            plan = prepared.plan(rows)
            if adopt is not None:
                adopt(prepared, plan, journal)
            _log_plan(folder, journal, plan, reporter)
            _remember_matrix(folder, prepared, plan)
            asked = _cells_asked_for(plan, chosen, settings)
            note_planned(folder, plan, asked)
            done = finished_cells(journal, folder, plan)
            incomplete = _incomplete(plan, done) & asked
            before = {key: done[key] for key in incomplete}
            held = set() if settings.retry_failed else _failed_for_good(journal) & asked
            if held:
                reporter.note(
                    f"{len(held)} cells failed before of themselves and are left as they are; to try them again: --retry-failed"
                )
            wanted = (asked - set(done) - held) | incomplete if adopt is None else set()
            pending = _pending(plan, wanted)
            stages.kept = frozenset(incomplete)
            if pending:
                if note := _computed_before(journal, pending, incomplete):
                    reporter.note(note)
                stages.compute(pending)
                done = finished_cells(journal, folder, plan)
        heartbeat.phase("scoring")
        score_plan(plan, folder, done, reporter.note, GroupInputs(prepared.cache / "audio"))
        wall = time.perf_counter() - started
        _end_session(journal, session, wall, prepared)
        planned = {c.key for r in plan.records for c in r.cells} & asked
        failed = tuple(
            row for row in journal.cells().values() if row.state == "failed" and row.cell in planned
        )
    stayed = sum(_same_answers(done.get(key), row) for key, row in before.items())
    newly_failed = sum(row.cell in wanted for row in failed)
    computed = max(sum(len(g.cells) for g in pending) - newly_failed - stayed, 0)
    return RunSummary(
        folder=folder,
        computed=computed,
        kept=len(done) - computed,
        failed=failed,
        blocked={r.system.name: r.system.blocked for r in chosen if r.system.blocked is not None},
        refused=plan.refused,
        notes=tuple(prepared.notes),
        wall_seconds=wall,
    )


def _executor(prepared: PreparedRun, devices: Sequence[str], reporter: Reporter) -> Executor:
    """The workers that the settings ask for."""
    settings, folder = prepared.settings, prepared.folder
    if settings.executor == "local":
        return LocalExecutor(devices, folder.log, settings.batch_seconds, settings.limits)
    from bench.execution.executors.carriers import Exchange, ObjectStore
    from bench.execution.executors.ray_cluster import RayExecutor
    from bench.execution.executors.ray_place import RayPlace

    carrier = None
    if settings.exchange is not None or not settings.shared_files:
        carrier = ObjectStore() if settings.exchange is None else Exchange(settings.exchange)
    place = RayPlace(
        address=settings.ray_address,
        carrier=carrier,
        roots=(folder.root.resolve(), prepared.cache.resolve()),
    )
    return RayExecutor(
        place,
        device=settings.device,
        workers=settings.workers,
        batch_seconds=settings.batch_seconds,
        limits=settings.limits,
        note=reporter.note,
    )


def _same_answers(now: CellRow | None, before: CellRow) -> bool:
    return now is not None and (now.table_hash, now.notes) == (before.table_hash, before.notes)


def _failed_for_good(journal: Journal) -> set[str]:
    """Keys of cells that failed of themselves: nothing outside them explains it."""
    return {key for key, row in journal.cells().items() if row.state == "failed" and row.transient is False}


def _begin_session(journal: Journal, devices: Sequence[str], settings: RunSettings) -> str:
    """Note in the journal who works on this run from now on. Returns the session's name."""
    session = uuid.uuid4().hex
    facts = machine_facts(devices) | {"batch_seconds": settings.batch_seconds or "automatic"}
    journal.begin(session, len(devices), json.dumps(facts))
    return session


def _make_ready(prepared: PreparedRun, stages: RunStages, rows: Sequence[MatrixRow]) -> None:
    """Decode the corpora that the matrix reads, remember how they sound, and warn of recordings they share."""
    tables = prepared.corpora_of(rows)
    stages.decode(tables)
    for table in tables:
        remember_hashes(table, prepared.cache)
        for sentence in decoded_sentences(table.decoded(), table.metadata.seconds):
            stages.reporter.note(f"{table.corpus.card.name}: {sentence}")
    for note in prepared.compare_corpora(tables):
        stages.reporter.note(note)


def _cells_asked_for(plan: RunPlan, chosen: Sequence[MatrixRow], settings: RunSettings) -> set[str]:
    """Keys of the cells that can be computed here, that ``--only`` names, and that are this shard's."""
    lines = {(*row.identity, condition) for row in chosen for condition in row.conditions}
    asked = {c.key for g in plan.groups for c in g.cells if (*c.identity, c.condition) in lines}
    return asked & cells_of_shard(plan.records, settings.shard) if settings.shard else asked


def _pending(plan: RunPlan, keys: Collection[str]) -> list[Group]:
    """The plan's groups, to predict these cells alone."""
    return [g for g in (group.only(keys) for group in plan.groups) if g.cells]


def _end_session(journal: Journal, session: str, wall: float, prepared: PreparedRun) -> None:
    """Note the end, write the sidecar anew, and keep how long work takes here for the next estimate."""
    journal.end(session, wall)
    jobs = journal.jobs()
    write_json(prepared.folder.sidecar, sidecar(journal.sessions(), jobs, list(journal.cells().values())))
    save_rates(prepared.cache, (j for j in jobs if j.session == session))


def finished_cells(journal: Journal, folder: RunFolder, plan: RunPlan) -> dict[str, CellRow]:
    """Return the planned cells that are done: in the journal, with a table whose bytes are the ones it notes.

    Args:
        journal: of the run.
        folder: the run folder.
        plan: whose cells are looked for.

    Returns:
        The rows of the journal, by the cell's key.
    """
    planned = {c.key for r in plan.records for c in r.cells}
    done = {}
    for key, row in journal.cells().items():
        if key in planned and row.state == "done":
            path = folder.tables / f"{key}.parquet"
            if path.is_file() and hash_file(path) == row.table_hash:
                done[key] = row
    return done


def _incomplete(plan: RunPlan, done: Mapping[str, CellRow]) -> set[str]:
    """Keys of finished cells in which requests failed that another time may do; none where nothing is to be asked."""
    askable = {c.key for g in plan.groups if g.system.card.server != STORED for c in g.cells}
    return {
        key
        for key, row in done.items()
        if key in askable and row.notes is not None and json.loads(row.notes).get(ASK_AGAIN)
    }


def _computed_before(journal: Journal, pending: Sequence[Group], incomplete: Collection[str]) -> str:
    """Say that pending cells were computed here under other keys; "" when none were."""
    wanted = {
        (c.system, c.task, c.regime, c.condition, c.fold_name, c.seed)
        for g in pending
        for c in g.cells
        if c.key not in incomplete
    }
    known = {
        (row.system, row.task, row.protocol, row.condition, row.fold, row.seed)
        for row in journal.cells().values()
        if row.state == "done"
    }
    if not (again := wanted & known):
        return ""
    return (
        f"{len(again)} cells were computed here before, by other code, packages, weights or data, and are computed again; "
        "their earlier tables stay"
    )


def _log_plan(folder: RunFolder, journal: Journal, plan: RunPlan, reporter: Reporter) -> None:
    """Note the plan in the run's log before anything is computed under it, and say what was changed of it."""
    planned = dict.fromkeys(plan.refused, ()) | {r.stem: r.seeds for r in plan.records}
    finished = finished_keys(folder, journal.cells())
    entry, new = extend_plan_log(
        folder,
        plan.matrix.as_json(),
        planned,
        finished=finished,
        asked={c.key for g in plan.groups for c in g.cells},
    )
    if new and entry.note:
        reporter.note(f"{folder.plan_log.name}: {entry.note}, so no record can say that its plan came first")
    elif new and entry.cells and not only_inert(entry.changes):
        reporter.note(f"{logged_words(entry)}; every record that rests on it says so")


def _remember_matrix(folder: RunFolder, prepared: PreparedRun, plan: RunPlan) -> None:
    described: dict[str, Any] = {
        "matrix": prepared.matrix.as_json(),
        "matrix_hash": prepared.matrix.hash,
        "limit": prepared.settings.limit,
        "corpora": sorted(prepared.tables),
        "records": sorted({r.stem for r in plan.records} | set(plan.refused)),
        "refused": dict(plan.refused),
        "blocked": {r.system.name: r.system.blocked for r in plan.records if r.system.blocked},
    }
    write_json(folder.matrix, described)
    places = {name: str(t.corpus.folder.resolve()) for name, t in prepared.tables.items()}
    write_json(folder.data, places)
    note_request(folder, prepared.settings, prepared.base)
