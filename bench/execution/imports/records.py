"""From rows to a record: every test clip answered once, folds respected, labels on offer; then the usual scorer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cards.corpus import Protocol
from bench.cards.system import ImportedCard, SystemCard
from bench.cards.typed_yaml import read_typed
from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.prepared import PreparedCorpus
from bench.errors import DataError, UsageError, nearest
from bench.execution.imports.rows import ImportedRow, read_rows
from bench.execution.planning.cells import make_plan
from bench.execution.planning.expansion import MatrixRow
from bench.execution.planning.matrix import Matrix, read_matrix
from bench.execution.planning.plan import Cell, RecordPlan
from bench.execution.planning.systems import System
from bench.execution.scoring_stage import keep_names, score_planned
from bench.protocols import DIMENSIONS
from bench.scoring.plan_log import read_plan_log
from bench.scoring.plan_seen import plan_seen
from bench.scoring.predictions import PredictionTable, read_table, write_table
from bench.scoring.record_schema import ImportOrigin
from bench.scoring.records import Record, read_facts, read_record, write_record
from bench.storage.hashing import hash_file, hash_json
from bench.storage.provenance import code_version
from bench.storage.run_folder import RunFolder, cache_folder, open_run
from bench.tasks import Task, build_task
from bench.tasks.rebuilding import corpora_at_hand, limit_of

MOST_SEEDS = 100
CLIPS_SURVEYED = 1000
"""Clips by which the task of a table is recognised."""


@dataclass(frozen=True)
class Imported:
    """What an import made: the record, where it lies, and how many answers were ok."""

    path: Path
    record: Record
    rows: int


def import_table(
    run: Path,
    table: Path,
    card_path: Path,
    *,
    task_name: str | None = None,
    protocol: Protocol | None = None,
    data: Sequence[Path] = (),
) -> Imported:
    """Check a table of predictions, score it under the run's plan, and write its record into the run, marked.

    The task is the one whose clips the table names, unless ``task_name`` says it. The protocol is zero-shot for a released
    system, else within; then each row must say the fold it was tested in, and it must be the suite's own.

    Args:
        run: the run folder.
        table: CSV, JSON lines or Parquet; its columns are those of :func:`read_rows`.
        card_path: card of the system that made the predictions.
        task_name: the task; unless given, the one whose clips the table names.
        protocol: ``within`` or ``zero-shot``; unless given, zero-shot for a released system, else within.
        data: folders of prepared corpora; SERBENCH_DATA when empty, else where the run found them.

    Returns:
        The record, where it lies, and how many rows were read.

    Raises:
        UsageError: no run, no such task, a card that is not one, a system of the run's own.
        DataError: the table does not answer the task's test clips as it must; file and line are named.
    """
    folder = open_run(run)
    matrix = read_matrix(folder)
    card = read_typed(card_path, ImportedCard)
    survey = _survey(table)
    chosen: Protocol = protocol or ("zero-shot" if card.track == "released" else "within")
    if chosen == "transfer":
        raise UsageError(
            "predictions are imported under the protocols within and zero-shot; transfer must run here"
        )
    task = _open_task(run, data, task_name, survey.some_clips, table, chosen)
    source = hash_file(table)
    plan = _plan(matrix, card, task, chosen, survey.seeds, source)
    path = folder.records / f"{plan.stem}.json"
    if path.exists() and read_facts(path).imported is None:
        raise UsageError(
            f"{path}: this run computed that record itself; give the imported system another name"
        )
    parts = _tables(table, task, plan)
    hashes = _write(folder, matrix, task, plan, parts)
    read = [read_table(folder.tables / f"{c.key}.parquet") for c in plan.cells]
    log = read_plan_log(folder.plan_log)
    current = bool(log) and log[-1].matrix_hash == matrix.hash
    seen = plan_seen(log, card.name, plan.stem) if current else None
    facts, blocks = score_planned(plan, read, matrix, {}, seen=seen)
    keep_names(folder, task)
    origin = ImportOrigin(table=table.name[:200], hash=source, rows=survey.rows)
    write_record(path, facts.model_copy(update={"imported": origin, "tables": hashes}), blocks)
    return Imported(path, read_record(path), survey.rows)


@dataclass(frozen=True)
class _Survey:
    """What is known of a table after one pass: how many rows, which seeds, some of its clips."""

    rows: int
    seeds: tuple[int, ...]
    some_clips: frozenset[str]


def _survey(table: Path) -> _Survey:
    rows, seeds, clips = 0, set[int](), set[str]()
    for row in read_rows(table, own=None):
        rows += 1
        seeds.add(row.seed)
        if len(seeds) > MOST_SEEDS:
            raise DataError(
                f"{row.place}: more than {MOST_SEEDS} seeds; is the column seed what it should be?"
            )
        if len(clips) < CLIPS_SURVEYED:
            clips.add(row.clip_id)
    if not rows:
        raise DataError(f"{table}: holds no row")
    return _Survey(rows, tuple(sorted(seeds)), frozenset(clips))


def _open_task(
    run: Path, data: Sequence[Path], name: str | None, clips: frozenset[str], table: Path, protocol: Protocol
) -> Task:
    corpora = corpora_at_hand(run, data)
    if not corpora:
        raise UsageError(
            "the labels of the task are needed: name prepared corpora with --data or SERBENCH_DATA"
        )
    opened = {n: c for c in corpora for n in open_table(c, cache_folder()).task_names}
    if name is None:
        name = _task_of(opened, clips, table)
    if (base := name.partition("@")[0]) not in opened:
        raise UsageError(f"no task {name!r} at hand; {nearest(base, opened)}")
    found = open_table(opened[base], cache_folder())
    decode_missing(found)
    task = build_task(found, name, protocol, limit=limit_of(run))
    if not task.offered_labels and not task.has_dimensions:
        raise DataError(f"{name}: has neither categories nor dimensions to score")
    return task


def _task_of(opened: Mapping[str, PreparedCorpus], clips: frozenset[str], table: Path) -> str:
    """The one task that has these clips."""
    having = []
    for name, corpus in opened.items():
        metadata = open_table(corpus, cache_folder()).metadata
        language = name.rpartition(".")[2]
        own = {c for c, x in zip(metadata.clip_ids, metadata.languages, strict=True) if x == language}
        if clips & own:
            having.append(name)
    if len(having) != 1:
        found = f"those of {', '.join(having)}" if having else "of no task at hand"
        shown = min(clips)[:80]
        raise DataError(f"{table}: its clips ({shown!r}, …) are {found}; say which with --task")
    return having[0]


def _plan(
    matrix: Matrix, card: SystemCard, task: Task, protocol: Protocol, seeds: tuple[int, ...], source: str
) -> RecordPlan:
    identity = hash_json({"imported": source, "card": card.model_dump(mode="json")})
    # "blocked" keeps the engine from ever running it.
    system = System(
        card=card,
        weights=None,
        identity=identity,
        feature_key=None,
        feature_identity=None,
        blocked="imported: its predictions were made elsewhere",
    )
    made = make_plan(matrix, [MatrixRow(system, task.name, protocol, seeds)], lambda _name, _protocol: task)
    return made.records[0]


def _tables(origin: Path, task: Task, plan: RecordPlan) -> list[tuple[Cell, PredictionTable]]:
    """Sort rows into cells; each test clip once per seed, in its own fold. No more rows are kept than there are test clips."""
    fold_of = {task.clip_ids[i]: f for f, fold in enumerate(task.folds) for i in fold.test.tolist()}
    offered = set(task.offered_labels)
    placed: dict[tuple[int, int], dict[str, ImportedRow]] = {(c.seed, c.fold): {} for c in plan.cells}
    for row in read_rows(origin, task.card.classes):
        if row.clip_id not in fold_of:
            raise DataError(f"{row.place}: {row.clip_id[:120]!r} is no test clip of {task.name}")
        fold = fold_of[row.clip_id]
        _require_fold(row, task, task.folds[fold].name)
        outside = {x for x in (row.label, *(row.probabilities or ())) if x is not None} - offered
        if offered and outside:
            raise DataError(
                f"{row.place}: {min(outside)!r} was not on offer in {task.name} ({', '.join(task.offered_labels)}); "
                "leave the label blank and say status unparsed"
            )
        if (first := placed[row.seed, fold].setdefault(row.clip_id, row)) is not row:
            raise DataError(
                f"{row.place}: {row.clip_id[:120]!r} is answered again with seed {row.seed}, first in {first.place}"
            )
    for seed in plan.seeds:
        missing = [c for c, f in fold_of.items() if c not in placed[seed, f]]
        if missing:
            raise DataError(
                f"{origin}: {len(missing)} of the {len(fold_of)} test clips of {task.name} have no row with seed {seed}, first "
                f"{missing[0]!r}; a clip without an answer has a row with its status"
            )
    cells = []
    for cell in plan.cells:
        own = placed[cell.seed, cell.fold]
        order = [task.clip_ids[i] for i in task.folds[cell.fold].test.tolist()]
        cells.append((cell, _table([own[c] for c in order], task.offered_labels)))
    return cells


def _require_fold(row: ImportedRow, task: Task, fold: str) -> None:
    if row.fold is None and task.protocol == "within":
        raise DataError(
            f"{row.place}: says no fold; a system trained on {task.name} must have been tested in the suite's folds: "
            "bench.load_task(…).folds names them, and the column fold says which one a row was tested in"
        )
    if row.fold is not None and row.fold != fold:
        raise DataError(
            f"{row.place}: {row.clip_id[:120]!r} was tested in fold {row.fold[:40]!r}, but {task.name} tests it in fold {fold!r}"
        )


def _table(rows: Sequence[ImportedRow], labels: Sequence[str]) -> PredictionTable:
    # Probabilities count only where every row that answered has them.
    given = all(r.probabilities is not None for r in rows if r.status == "ok") and any(
        r.probabilities for r in rows
    )
    probabilities = None
    if given:
        probabilities = np.array(
            [[r.probabilities.get(x, 0.0) for x in labels] if r.probabilities else [math.nan] * len(labels) for r in rows]
        )  # fmt: skip
    return PredictionTable(
        clip_ids=tuple(r.clip_id for r in rows),
        statuses=tuple(r.status for r in rows),
        answers=tuple(r.label for r in rows),
        labels=tuple(labels),
        probabilities=probabilities,
        dimensions=np.array([r.dimensions for r in rows], dtype=float).reshape(len(rows), len(DIMENSIONS)),
        replies=tuple(r.reply for r in rows),
        identity={},
    )


def _write(
    folder: RunFolder,
    matrix: Matrix,
    task: Task,
    plan: RecordPlan,
    parts: Iterable[tuple[Cell, PredictionTable]],
) -> dict[str, str]:
    """Write the cells' tables; returns their hashes by key."""
    hashes = {}
    for cell, table in parts:
        identity = {
            "cell": cell.key, "system": cell.system, "task": cell.task, "protocol": cell.protocol, "training": "",
            "view": cell.view, "condition": cell.condition, "train_condition": cell.train_condition,
            "fold": cell.fold_name, "seed": cell.seed, "system_identity": plan.system.identity, "weights_hash": None,
            "weights_revision": None, "folds_hash": task.folds_hash, "content_hash": task.content_hash, "variants": {},
            "matrix": matrix.name, "matrix_hash": matrix.hash, "code_version": code_version(),
            "card_hash": hash_json(plan.system.card.model_dump(mode="json")),
        }  # fmt: skip
        path = folder.tables / f"{cell.key}.parquet"
        write_table(path, table, identity)
        hashes[cell.key] = hash_file(path)
    return hashes
