"""Records of a run: what is complete is scored and written, what is stale goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.cards.contamination import contamination
from bench.cards.labels import label_table
from bench.errors import BenchError, DataError
from bench.matrix import Matrix
from bench.plan import RecordPlan, RunPlan
from bench.predictions import PredictionTable, read_table
from bench.records import SCHEMA_VERSION, Block, read_facts, write_record
from bench.scoring.counting import count_all, whole_table
from bench.scoring.eligibility import publish_obstacles
from bench.scoring.figures import figures
from bench.scoring.layers import layer_facts
from bench.scoring.variants import variant_facts
from bench.storage.atomic import write_json
from bench.storage.hashing import hash_file, hash_json
from bench.storage.journal import CellRow
from bench.storage.provenance import code_version
from bench.storage.run_folder import RunFolder
from bench.storage.source_code import package_hash
from bench.tasks import split_speakers, split_task_name
from bench.tasks.segments import scored

FIGURE_MODULES = (
    "bench.scoring.figures",
    "bench.statistics.additive",
    "bench.statistics.metric",
    "bench.statistics.validation",
    "bench.statistics.categorical",
    "bench.statistics.dimensional",
    "bench.statistics.soft_labels",
    "bench.statistics.calibration",
    "bench.statistics.intervals",
    "bench.statistics.resampling",
    "bench.slices",
)
"""Code that turns statistics into figures."""
SCORING_MODULES = (
    *FIGURE_MODULES,
    "bench.scoring",
    "bench.records",
    "bench.cards.labels",
    "bench.tasks.folds",
)


def figures_code() -> str:
    """Hash of the code that turns statistics into figures."""
    return hash_json([package_hash(m) for m in FIGURE_MODULES])


def score_plan(
    plan: RunPlan, folder: RunFolder, done: Mapping[str, CellRow], note: Callable[[str], None]
) -> None:
    """Write the record of everything that is complete; remove records that the plan no longer has."""
    kept = set()
    unscored: dict[str, str] = {}
    for record in plan.records:
        if not record.cells or any(c.key not in done for c in record.cells):
            continue
        path = folder.records / f"{record.stem}.json"
        rows = [done[c.key] for c in record.cells]
        inputs = _inputs_hash(record, rows, plan.matrix)
        kept.add(path.stem)
        if _is_current(path, inputs):
            continue
        tables = [read_table(folder.tables / f"{c.key}.parquet") for c in record.cells]
        notes = {
            f"fold {r.fold} seed {r.seed}": json.loads(r.notes) for r in rows if r.notes and r.notes != "{}"
        }
        try:
            facts, blocks = score_record(record, tables, plan.matrix, notes)
        except BenchError as error:
            note(f"not scored: {record.system.name} on {record.task.name}: {error}")
            unscored[path.stem] = str(error)
            kept.discard(path.stem)
            continue
        write_record(
            path, {**facts, "inputs_hash": inputs, "tables": {r.cell: r.table_hash for r in rows}}, blocks
        )
    write_json(folder.unscored, unscored)
    present = sorted(folder.records.iterdir()) if folder.records.is_dir() else []
    kept |= {p.stem for p in present if p.suffix == ".json" and p.stem not in kept and _was_imported(p)}
    stale = [p for p in present if p.stem not in kept]
    for path in stale:
        path.unlink()
    if names := sorted({p.stem for p in stale}):
        note(
            f"{len(names)} record(s) of an earlier matrix, limit, data or weights removed from {folder.records}, first "
            f"{names[0]}; their cells are kept and are scored again when those settings come back"
        )


def _inputs_hash(record: RecordPlan, rows: Sequence[CellRow], matrix: Matrix) -> str:
    return hash_json(
        {
            "tables": [r.table_hash for r in rows],
            "matrix": matrix.hash,
            "card": record.system.card.model_dump(mode="json"),
            "corpus": record.task.card.model_dump(mode="json"),
            "content": record.task.content_hash,
            "warnings": record.task.warnings,
            "folds": record.task.folds_hash,
            "clusters": record.task.clusters,
            "labels": [label_table().names, label_table().views, label_table().places],
            "code": [package_hash(m) for m in SCORING_MODULES] + [code_version()],
        }
    )


def _is_current(path: Path, inputs: str) -> bool:
    try:
        facts = read_facts(path)
        statistics = path.with_name(facts["statistics"]["file"])
        return (
            facts.get("inputs_hash") == inputs
            and facts["scores_hash"] == hash_json(facts["scores"])
            and hash_file(statistics) == facts["statistics"]["hash"]
        )
    except (DataError, OSError, KeyError):
        return False


def _was_imported(path: Path) -> bool:
    """Whether a record came from elsewhere (``serbench import``): no plan has it, and none may remove it."""
    try:
        return bool(read_facts(path).get("imported"))
    except DataError:
        return False


def score_record(
    record: RecordPlan, tables: Sequence[PredictionTable], matrix: Matrix, notes: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Block]]:
    """Score one record from its cells' tables. Returns its facts (with all figures) and its statistics."""
    task = scored(record.task)
    answers = [
        whole_table(
            record.task,
            record.protocol,
            s,
            [t for c, t in zip(record.cells, tables, strict=True) if c.seed == s],
        )
        for s in record.seeds
    ]
    counted = count_all(record.task, answers, matrix.plan)
    obstacles = publish_obstacles(task.card, task.limited, counted.coverage, matrix.plan)
    if split_speakers(task.speakers, task.clusters):
        obstacles.append(
            "speakers are cut into several clusters, so intervals and tests are too sure of themselves"
        )
    facts = {
        "system": record.system.name,
        "task": task.name,
        "protocol": record.protocol,
        "training": record.training_name,
        "learnt_view": task.view,
        "track": record.system.card.track,
        "condition": record.condition,
        "train_condition": record.train_condition,
        "sources": [asdict(s) for s in record.sources],
        "schema": SCHEMA_VERSION,
        "title": record.system.card.title or record.system.name,
        "family": record.system.card.family,
        "corpus": task.card.name,
        "pool": task.card.pool_name,
        "language": task.language,
        "synthetic": task.card.synthetic,
        "limited": task.limited,
        "seeds": list(record.seeds),
        "folds": len(task.folds),
        "clips": len(task),
        "speakers": len(set(task.speakers)),
        "cluster": task.card.cluster,
        **counted.facts(),
        "labels_offered": list(task.offered_labels),
        "publishable": not obstacles,
        "obstacles": obstacles,
        "contamination": contamination(record.system.card, task.card, split_task_name(task.name)[2]),
        "warnings": list(task.warnings),
        "badges": list(task.badges),
        # Without the offender's name, which stays private.
        "leaks": [{k: v for k, v in asdict(leak).items() if k != "first"} for leak in task.leaks],
        "matrix": matrix.name,
        "matrix_hash": matrix.hash,
        "plan": matrix.plan.model_dump(mode="json"),
        "card": record.system.card.model_dump(mode="json"),
        "corpus_card": task.card.model_dump(mode="json"),
        "system_identity": record.system.identity,
        "weights_hash": record.system.weights.content_hash if record.system.weights else None,
        "code_version": code_version(),
        "folds_hash": task.folds_hash,
        "content_hash": task.content_hash,
        "figures_code": figures_code(),
        "notes": dict(notes),
        **variant_facts(record, tables),
        **layer_facts(record, tables, matrix.plan),
    }
    return facts | figures(facts, counted.blocks, counted.slices), [*counted.blocks, *counted.slices]
