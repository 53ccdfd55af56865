"""The last stage of a run: what is complete is scored and written, what is stale goes."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cards.labels import label_table
from bench.corpora.naming import CorpusNames
from bench.errors import BenchError, DataError
from bench.execution.inputs import GroupInputs
from bench.execution.planning.matrix import Matrix
from bench.execution.planning.plan import RecordPlan, RunPlan
from bench.scoring.plan_log import read_plan_log
from bench.scoring.plan_seen import plan_seen
from bench.scoring.predictions import PredictionTable, read_table
from bench.scoring.record_schema import PlanSeen, ScoredFacts
from bench.scoring.recording import RecordStamp, score_record
from bench.scoring.records import Counts, read_facts, write_record
from bench.storage.atomic import write_json
from bench.storage.hashing import hash_file, hash_json
from bench.storage.journal import CellRow
from bench.storage.provenance import code_version
from bench.storage.run_folder import RunFolder
from bench.storage.source_code import package_hash
from bench.tasks import Task

SCORING_PACKAGES = ("bench.statistics", "bench.cards", "bench.tasks", "bench.scoring")
"""Code that a record follows from, once its cells are answered."""


def score_plan(
    plan: RunPlan,
    folder: RunFolder,
    done: Mapping[str, CellRow],
    note: Callable[[str], None],
    inputs: GroupInputs,
) -> None:
    """Write the record of everything that is complete; set aside records that the plan no longer has.

    A record whose scoring fails, for whatever cause, is noted in ``unscored.json`` and leaves the others alone.

    Args:
        plan: what there is to score.
        folder: the run folder.
        done: finished cells, by key.
        note: gets a line for what cannot be scored and what is set aside.
        inputs: the conditioned audio, which says how many clips a condition changes.
    """
    current = set()
    group_of = plan.group_of()
    unscored: dict[str, str] = {}
    log = read_plan_log(folder.plan_log)
    for record in plan.records:
        if not record.cells or any(c.key not in done for c in record.cells):
            continue
        path = folder.records / f"{record.stem}.json"
        rows = [done[c.key] for c in record.cells]
        seen = plan_seen(log, record.system.name, record.stem)
        inputs_hash = _inputs_hash(record, rows, plan.matrix, seen)
        current.add(path.stem)
        keep_names(folder, record.task)
        if _is_current(path, inputs_hash):
            continue
        group = group_of.get(
            record.cells[0].key
        )  # none where its system cannot run now, though its cells are finished
        changed = inputs.changed(group, record.condition) if group is not None else None
        error = _score_and_write(record, rows, plan.matrix, folder, inputs_hash, seen=seen, changed=changed)
        if error is not None:
            cause = str(error) if isinstance(error, BenchError) else _unexpected(error, path.stem, folder)
            note(f"not scored: {record.system.name} on {record.task.name}: {cause}")
            unscored[path.stem] = cause
            current.discard(path.stem)
    write_json(folder.unscored, unscored)
    present = sorted(folder.records.iterdir()) if folder.records.is_dir() else []
    current |= {p.stem for p in present if p.suffix == ".json" and p.stem not in current and _was_imported(p)}
    stale = [p for p in present if p.stem not in current]
    for path in stale:
        folder.superseded.mkdir(exist_ok=True)
        path.replace(folder.superseded / path.name)
    if names := sorted({p.stem for p in stale}):
        note(
            f"{len(names)} record(s) of an earlier matrix, limit, data, weights or code set aside in {folder.superseded}, first "
            f"{names[0]}; their cells are kept and are scored again when those settings come back"
        )


def keep_names(folder: RunFolder, task: Task) -> None:
    """Keep the key of a task's names in the run, where publication finds it when the corpus is no longer at hand."""
    path = folder.names / f"{task.corpus_language}.json"
    try:
        if CorpusNames.read(path) == task.names:
            return
    except DataError:
        pass  # none yet, or damaged: write it
    task.names.write(path)


def _score_and_write(
    record: RecordPlan,
    rows: Sequence[CellRow],
    matrix: Matrix,
    folder: RunFolder,
    inputs: str,
    *,
    seen: PlanSeen | None,
    changed: int | None,
) -> Exception | None:
    """Score a complete record and write it. Returns what stood in the way; raises where nothing can be written at all."""
    try:
        tables = [read_table(folder.tables / f"{c.key}.parquet") for c in record.cells]
        notes = {
            f"fold {r.fold} seed {r.seed}": json.loads(r.notes) for r in rows if r.notes and r.notes != "{}"
        }
        facts, blocks = score_planned(record, tables, matrix, notes, seen, changed)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other records are scored
        return error
    own = {"inputs_hash": inputs, "tables": {r.cell: r.table_hash for r in rows}}
    try:
        write_record(folder.records / f"{record.stem}.json", facts.model_copy(update=own), blocks)
    except OSError:
        # A full disk or a folder that is gone is no fault of this record, and would meet the next one too.
        raise
    except Exception as error:  # noqa: BLE001 - as above: a number that JSON does not hold
        return error
    return None


def _unexpected(error: Exception, stem: str, folder: RunFolder) -> str:
    """Write the trace of what should not happen into the log. Returns the cause on one line."""
    trace = "".join(traceback.format_exception(error))
    with folder.log.open("a", encoding="utf-8") as log:
        log.write(f"\nscoring {stem}\n{trace}")
    said = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' + said if said else ''}; the trace is in {folder.log.name}"


def score_planned(
    record: RecordPlan,
    tables: Sequence[PredictionTable],
    matrix: Matrix,
    notes: Mapping[str, Any],
    seen: PlanSeen | None = None,
    changed: int | None = None,
) -> tuple[ScoredFacts, list[Counts]]:
    """Score one planned record from its cells' tables, in the order of its cells; see :func:`bench.scoring.score_record`.

    Args:
        record: system, task, protocol, condition, and its cells.
        tables: prediction tables, one per cell, in the order of the cells.
        matrix: whose analysis plan is applied.
        notes: what adapters had to say of the fits, by fold and seed: JSON values.
        seen: when the run's log first saw the plan; None where there is no log.
        changed: how many clips the condition changed; None where that is not known.
    """
    by_seed: dict[int, list[PredictionTable]] = {seed: [] for seed in record.seeds}
    for cell, table in zip(record.cells, tables, strict=True):
        by_seed[cell.seed].append(table)
    stamp = RecordStamp(
        card=record.system.card,
        system_identity=record.system.identity,
        weights_hash=record.system.weights.content_hash if record.system.weights else None,
        protocol=record.protocol,
        training=record.training_name,
        condition=record.condition,
        train_condition=record.train_condition,
        sources=record.sources,
        matrix=matrix.name,
        matrix_hash=matrix.hash,
        plan_seen=seen,
        cells_code=tuple(
            sorted({str(t.identity["code_version"]) for t in tables if "code_version" in t.identity})
        ),
        changed_clips=changed,
    )
    return score_record(record.task, by_seed, matrix.plan, stamp, notes)


def _inputs_hash(record: RecordPlan, rows: Sequence[CellRow], matrix: Matrix, seen: PlanSeen | None) -> str:
    return hash_json(
        {
            "tables": [r.table_hash for r in rows],
            "matrix": matrix.hash,
            "plan_seen": None if seen is None else seen.as_json(),
            "card": record.system.card.model_dump(mode="json"),
            "corpus": record.task.card.model_dump(mode="json"),
            "content": record.task.content_hash,
            "warnings": [w.model_dump(mode="json") for w in record.task.warnings],
            "folds": record.task.folds_hash,
            "clusters": record.task.clusters,
            "labels": [label_table().names, label_table().views, label_table().places],
            "code": [package_hash(p) for p in SCORING_PACKAGES] + [code_version()],
        }
    )


def _is_current(path: Path, inputs: str) -> bool:
    try:
        facts = read_facts(path)
        return (
            facts.inputs_hash == inputs
            and facts.scores_hash == hash_json([s.as_json() for s in facts.scores])
            and hash_file(path.with_name(facts.statistics.file)) == facts.statistics.hash
        )
    except (DataError, OSError):
        return False


def _was_imported(path: Path) -> bool:
    """Whether a record came from elsewhere (``serbench import``): no plan has it, and none may remove it."""
    try:
        return read_facts(path).imported is not None
    except DataError:
        return False
