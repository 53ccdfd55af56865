"""Running a matrix: find, decode, plan, encode, fit, score. Every stage keeps what is finished and skips it next time."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from bench.corpora.prepared import data_folders
from bench.corpora.verification import remember_hashes
from bench.execution.devices import worker_devices
from bench.execution.planning.estimates import save_rates
from bench.execution.planning.plan import Group, RunPlan
from bench.execution.pool import Pool
from bench.execution.prepared_run import PreparedRun, RunSettings, RunSummary
from bench.execution.progress import Reporter
from bench.execution.scoring_stage import score_plan
from bench.execution.stages import RunStages
from bench.storage.atomic import write_json
from bench.storage.hashing import hash_file
from bench.storage.journal import CellRow, Journal
from bench.storage.provenance import machine_facts, sidecar
from bench.storage.run_folder import RunFolder


def run_matrix(settings: RunSettings, watch: Reporter) -> RunSummary:
    """Run a matrix to the end, or go on with it, and score what is complete."""
    started = time.perf_counter()
    prepared = PreparedRun(settings)
    devices = worker_devices(settings.device, settings.workers)
    everything, chosen = prepared.wanted(fetch=True)
    folder = prepared.folder
    for note in prepared.notes:
        watch.note(note)
    with folder.locked(), Journal(folder.journal) as journal:
        session = uuid.uuid4().hex
        facts = machine_facts(devices) | {"batch_seconds": settings.batch_seconds or "automatic"}
        journal.begin(session, len(devices), json.dumps(facts))
        with Pool(devices, folder.log, settings.batch_seconds) as pool:
            work = RunStages(prepared, folder, journal, session, pool, watch)
            work.decode(prepared.corpora_of(everything))
            for table in prepared.corpora_of(everything):
                remember_hashes(table, prepared.cache)
            for note in prepared.compare_corpora(prepared.corpora_of(everything)):
                watch.note(note)
            plan = prepared.plan(everything)
            _remember_matrix(folder, prepared, plan)
            done = finished_cells(journal, folder, plan)
            keep = {(*w.identity, condition) for w in chosen for condition in w.conditions}
            kept = {c.key for g in plan.groups for c in g.cells if (*c.identity, c.condition) in keep}
            pending = [g for g in (group.only(kept - set(done)) for group in plan.groups) if g.cells]
            if note := _computed_before(journal, pending):
                watch.note(note)
            work.compute(pending)
        done = finished_cells(journal, folder, plan)
        score_plan(plan, folder, done, watch.note)
        wall = time.perf_counter() - started
        journal.end(session, wall)
        write_json(folder.sidecar, sidecar(journal.sessions(), journal.jobs()))
        save_rates(prepared.cache, (j for j in journal.jobs() if j.session == session))
        asked = {c.key for r in plan.records for c in r.cells} & kept
        failed = tuple(row for row in journal.cells().values() if row.state == "failed" and row.cell in asked)
    blocked = {w.system.name: w.system.blocked for w in chosen if w.system.blocked is not None}
    computed = sum(len(g.cells) for g in pending) - len(failed)
    return RunSummary(
        folder,
        max(computed, 0),
        len(done) - max(computed, 0),
        failed,
        blocked,
        plan.refused,
        tuple(prepared.notes),
        wall,
    )


def finished_cells(journal: Journal, folder: RunFolder, plan: RunPlan) -> dict[str, CellRow]:
    """Return the planned cells that are done: in the journal, with a table whose bytes are the ones it notes."""
    planned = {c.key for r in plan.records for c in r.cells}
    done = {}
    for key, row in journal.cells().items():
        if key in planned and row.state == "done":
            path = folder.tables / f"{key}.parquet"
            if path.is_file() and hash_file(path) == row.table_hash:
                done[key] = row
    return done


def _computed_before(journal: Journal, pending: Sequence[Group]) -> str:
    """Say that pending cells were computed here under other keys; "" when none were."""
    wanted = {
        (c.system, c.task, c.regime, c.condition, c.fold_name, c.seed) for g in pending for c in g.cells
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


def _remember_matrix(folder: RunFolder, prepared: PreparedRun, plan: RunPlan) -> None:
    described: dict[str, Any] = {
        "matrix": prepared.matrix.model_dump(mode="json"),
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
    settings = prepared.settings
    asked = {
        "cards_from": str(prepared.base.resolve()),
        "data": [str(path.resolve()) for path in data_folders(settings.data)],
        "limit": settings.limit,
        "settings": {
            name: {key: value for key, value in given.items() if key != "server"}
            for name, given in settings.settings.items()
        },
    }
    write_json(folder.asked, asked)
