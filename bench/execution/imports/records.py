"""From rows to a record: every test clip answered once, folds respected, labels on offer; then the usual scorer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.cards.corpus import Protocol
from bench.cards.system import ImportedCard, SystemCard
from bench.cards.typed_yaml import read_typed
from bench.errors import DataError, UsageError
from bench.execution.imports.clip_names import ClipNames
from bench.execution.imports.remarks import Remarks
from bench.execution.imports.rows import ImportedRow, ReadingRules, read_rows
from bench.execution.imports.survey import open_task, require_something_to_score, survey_table
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
from bench.storage.run_folder import RunFolder, open_run
from bench.tasks import Task

LIKELY_EQUAL = 1e-6
"""Probabilities that differ by less are written alike: neither is the more probable."""


@dataclass(frozen=True)
class Imported:
    """What an import made: the record, where it lies, and how many rows were read."""

    path: Path
    record: Record
    rows: int
    notes: tuple[str, ...] = ()
    """What was read otherwise than it was written, one sentence for each kind."""
    warnings: tuple[str, ...] = ()
    """What is odd about the answers themselves."""


def import_table(
    run: Path,
    table: Path,
    card_path: Path,
    *,
    task_name: str | None = None,
    protocol: Protocol | None = None,
    data: Sequence[Path] = (),
    rules: ReadingRules | None = None,
) -> Imported:
    """Check a table of predictions, score it under the run's plan, and write its record into the run, marked.

    The task is the one whose clips the table names, unless ``task_name`` says it. The protocol is zero-shot for a released
    system, else within; then each row must say the fold it was tested in, and it must be the suite's own.

    Args:
        run: the run folder.
        table: CSV, JSON or Parquet; its columns are those of :func:`read_rows`.
        card_path: card of the system that made the predictions.
        task_name: the task; unless given, the one whose clips the table names.
        protocol: ``within`` or ``zero-shot``; unless given, zero-shot for a released system, else within.
        data: folders of prepared corpora; SERBENCH_DATA when empty, else where the run found them.
        rules: what the user says of the table: its columns, its labels, and what becomes of clips without an answer.

    Returns:
        The record, where it lies, how many rows were read, and what was remarkable about them.

    Raises:
        UsageError: no run, no such task, a card that is not one, a system of the run's own.
        DataError: the table does not answer the task's test clips as it must; file and line are named.
    """
    folder, rules = open_run(run), rules or ReadingRules()
    matrix = read_matrix(folder)
    card = read_typed(card_path, ImportedCard)
    survey = survey_table(table, rules)
    chosen: Protocol = protocol or ("zero-shot" if card.track == "released" else "within")
    if chosen == "transfer":
        raise UsageError(
            "predictions are imported under the protocols within and zero-shot; transfer must run here"
        )
    task, clips = open_task(run, data, task_name, survey, table, chosen)
    require_something_to_score(survey, task, table)
    source = hash_file(table)
    plan = _plan(matrix, card, task, chosen, survey.seeds, {"imported": source, **rules.said})
    path = folder.records / f"{plan.stem}.json"
    if path.exists() and read_facts(path).imported is None:
        raise UsageError(
            f"{path}: this run computed that record itself; give the imported system another name"
        )
    remarks, warnings = Remarks(), Remarks()
    rows = read_rows(table, task.card.classes, rules, labels_given=survey.labels, remarks=remarks)
    parts = _tables(table, rows, task, clips, plan, rules, remarks)
    _warn_of_contradictions(parts, warnings)
    hashes = _write(folder, matrix, task, plan, parts)
    read = [read_table(folder.tables / f"{c.key}.parquet") for c in plan.cells]
    log = read_plan_log(folder.plan_log)
    current = bool(log) and log[-1].matrix_hash == matrix.hash
    seen = plan_seen(log, card.name, plan.stem) if current else None
    facts, blocks = score_planned(plan, read, matrix, {}, seen=seen)
    keep_names(folder, task)
    origin = ImportOrigin(table=table.name[:200], hash=source, rows=survey.rows)
    write_record(path, facts.model_copy(update={"imported": origin, "tables": hashes}), blocks)
    return Imported(path, read_record(path), survey.rows, remarks.sentences(), warnings.sentences())


def _plan(
    matrix: Matrix,
    card: SystemCard,
    task: Task,
    protocol: Protocol,
    seeds: tuple[int, ...],
    decisive: Mapping[str, Any],
) -> RecordPlan:
    identity = hash_json({**decisive, "card": card.model_dump(mode="json")})
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


def _tables(
    origin: Path,
    rows: Iterable[ImportedRow],
    task: Task,
    names: ClipNames,
    plan: RecordPlan,
    rules: ReadingRules,
    remarks: Remarks,
) -> list[tuple[Cell, PredictionTable]]:
    """Sort rows into cells; each test clip once per seed, in its own fold. No more rows are kept than there are test clips."""
    fold_of = {task.clip_ids[i]: f for f, fold in enumerate(task.folds) for i in fold.test.tolist()}
    placed: dict[tuple[int, int], dict[str, ImportedRow]] = {(c.seed, c.fold): {} for c in plan.cells}
    for row in rows:
        clip = _clip_of(row, task, names, fold_of, remarks)
        fold = fold_of[clip]
        _require_fold(row, task, task.folds[fold].name)
        answer = _offered(row, task, remarks)
        if (first := placed[row.seed, fold].setdefault(clip, answer)) is not answer:
            raise DataError(
                f"{row.place}: {row.clip_id[:120]!r} is answered again with seed {row.seed}, first in {first.place}; keep one, or "
                "number repeated runs in a column seed"
            )
    for seed in plan.seeds:
        missing = [c for c, f in fold_of.items() if c not in placed[seed, f]]
        if missing and rules.missing == "failed":
            remarks.note(
                f"{len(missing)} of the {len(fold_of)} test clips have no row with seed {seed} and count as failed"
            )
            for clip in missing:
                placed[seed, fold_of[clip]][clip] = _failed(origin, clip, seed)
        elif missing:
            shown = ", ".join(map(repr, missing[:3])) + (", …" if len(missing) > 3 else "")
            raise DataError(
                f"{origin}: {len(missing)} of the {len(fold_of)} test clips of {task.name} have no row with seed {seed}, first "
                f"{shown}; a clip without an answer has a row with its status, or --missing failed counts it as failed"
            )
    cells = []
    for cell in plan.cells:
        own = placed[cell.seed, cell.fold]
        order = [task.clip_ids[i] for i in task.folds[cell.fold].test.tolist()]
        cells.append((cell, _table(order, [own[c] for c in order], task.offered_labels, remarks)))
    return cells


def _failed(origin: Path, clip: str, seed: int) -> ImportedRow:
    """The row of a clip that the table leaves out."""
    nothing = (math.nan, math.nan, math.nan)
    return ImportedRow(str(origin), clip, None, "failed", None, nothing, None, seed, None)


def _clip_of(
    row: ImportedRow, task: Task, names: ClipNames, fold_of: Mapping[str, int], remarks: Remarks
) -> str:
    """The test clip that a row means."""
    try:
        clip, liberty = names.find(row.clip_id)
    except DataError as error:
        raise DataError(f"{row.place}: {error}") from None
    if clip is None or clip not in fold_of:
        beside = ""
        if clip is not None:
            beside = f", though {task.card.name} has that clip: leave out rows of other languages and of clips that are not tested"
        raise DataError(f"{row.place}: {row.clip_id[:120]!r} is no test clip of {task.name}{beside}")
    if liberty:
        remarks.note(liberty, f"{row.place.rpartition(', ')[2]}: {row.clip_id[:60]!r} is {clip!r}")
    return clip


def _offered(row: ImportedRow, task: Task, remarks: Remarks) -> ImportedRow:
    """The row, once what it answers is among what the task offers."""
    offered = task.offered_labels
    if not offered:
        if row.label is not None or row.probabilities:
            remarks.note(f"labels are left out: {task.name} has dimensions alone")
        return replace(row, label=None, probabilities=None)
    named = f"was not on offer in {task.name} ({', '.join(offered)})"
    if row.label is not None and row.label not in offered:
        raise DataError(
            f"{row.place}: {row.label!r} {named}; leave the label blank and say status unparsed, or map it with --map-labels "
            f"{row.label}=LABEL"
        )
    outside = sorted(x for x, share in (row.probabilities or {}).items() if share > 0 and x not in offered)
    if outside:
        raise DataError(
            f"{row.place}: {outside[0]!r} {named}, yet it has a probability; leave that column out and let the others sum to one, "
            f"or map it with --map-labels {outside[0]}=LABEL"
        )
    return row


def _require_fold(row: ImportedRow, task: Task, fold: str) -> None:
    if row.fold is None and task.protocol == "within":
        raise DataError(
            f"{row.place}: says no fold; a system trained on {task.name} must have been tested in the suite's folds: "
            "bench.load_task(…).folds names them, and the column fold says which one a row was tested in"
        )
    if row.fold is not None and row.fold.strip().removesuffix(".0") != fold:
        raise DataError(
            f"{row.place}: {row.clip_id[:120]!r} was tested in fold {row.fold[:40]!r}, but {task.name} tests it in fold {fold!r}"
        )


def _table(
    clips: Sequence[str], rows: Sequence[ImportedRow], labels: Sequence[str], remarks: Remarks
) -> PredictionTable:
    # Probabilities count only where every row that answered has them.
    answered = [r.probabilities is not None for r in rows if r.status == "ok"]
    probabilities = None
    if any(answered) and all(answered):
        probabilities = np.array(
            [[r.probabilities.get(x, 0.0) for x in labels] if r.probabilities else [math.nan] * len(labels) for r in rows]
        )  # fmt: skip
    elif any(answered):
        remarks.note("probabilities are left out: some rows that answer have none")
    return PredictionTable(
        clip_ids=tuple(clips),
        statuses=tuple(r.status for r in rows),
        answers=tuple(r.label for r in rows),
        labels=tuple(labels),
        probabilities=probabilities,
        dimensions=np.array([r.dimensions for r in rows], dtype=float).reshape(len(rows), len(DIMENSIONS)),
        replies=tuple(r.reply for r in rows),
        identity={},
    )


def _warn_of_contradictions(parts: Iterable[tuple[Cell, PredictionTable]], warnings: Remarks) -> None:
    """Say how many labels are not the most probable one of their row: both are scored, and cannot both be the answer."""
    against, rows, first = 0, 0, ""
    for _, table in parts:
        if table.probabilities is None:
            continue
        for clip, answer, shares in zip(table.clip_ids, table.answers, table.probabilities, strict=True):
            if answer is None or not np.isfinite(shares).all():
                continue
            rows += 1
            if shares[table.labels.index(answer)] < shares.max() - LIKELY_EQUAL:
                against += 1
                most = table.labels[int(shares.argmax())]
                first = first or f"{clip!r} is answered {answer!r}, and {most!r} is the most probable"
    if against:
        warnings.note(
            f"labels contradict their probabilities on {against} of {rows} clips (first: {first}); is each probability under its own "
            "label, and which of the two is the answer?"
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
