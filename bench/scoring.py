"""From prediction tables and true labels to records: count once per cluster, compute everything from the counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.additive import confusion_statistics, moment_statistics, value
from bench.cards import CorpusCard, SystemCard
from bench.errors import BenchError, CannotSeparate, DataError
from bench.folds import check_disjoint
from bench.identity import code_version, digest, hash_file, hash_json, source_hash
from bench.intervals import interval
from bench.journal import CellRow
from bench.labels import VIEWS, label_table
from bench.matrix import Matrix, Plan
from bench.plan import RecordPlan, RunPlan
from bench.predictions import PredictionTable, read_table
from bench.protocols import DIMENSIONS, STATUSES, Array
from bench.records import MOMENTS, SCHEMA_VERSION, Block, read_facts, write_record
from bench.task import Task, split_speakers
from bench.workspace import RunFolder

CATEGORY_METRICS = ("ua", "wa", "macro_f1")
DIMENSION_METRICS = ("ccc", "pearson")
MID_SCALE = 0.5
"""What a missing answer to a dimension counts as."""
SCORING_MODULES = (
    "bench.scoring",
    "bench.additive",
    "bench.metric_type",
    "bench.arguments",
    "bench.confusions",
    "bench.ratings",
    "bench.soft_labels",
    "bench.calibration",
    "bench.intervals",
    "bench.resampling",
    "bench.records",
    "bench.labels",
    "bench.folds",
)


def score_plan(
    plan: RunPlan, folder: RunFolder, done: Mapping[str, CellRow], note: Callable[[str], None]
) -> None:
    """Write the record of everything that is complete; remove records that the plan no longer has."""
    kept = set()
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
            kept.discard(path.stem)
            continue
        write_record(
            path, {**facts, "inputs_hash": inputs, "tables": {r.cell: r.table_hash for r in rows}}, blocks
        )
    stale = [p for p in folder.records.iterdir() if p.stem not in kept] if folder.records.is_dir() else []
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
            "folds": record.task.folds_hash,
            "clusters": record.task.clusters,
            "labels": [label_table().names, label_table().views, label_table().places],
            "code": [source_hash(m) for m in SCORING_MODULES] + [code_version()],
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


def score_record(
    record: RecordPlan, tables: Sequence[PredictionTable], matrix: Matrix, notes: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Block]]:
    """Score one record from its cells' tables. Returns its facts (with score rows) and its statistics."""
    task, plan = record.task, matrix.plan
    by_seed = [_whole(record, tables, seed) for seed in record.seeds]
    names = [digest(task.folds_hash, c) for c in task.clusters]
    clusters = sorted(set(names))
    place = {name: i for i, name in enumerate(clusters)}
    cluster_of = np.array([place[n] for n in names])
    fold_of = _fold_of_cluster(task, cluster_of, len(clusters))
    blocks = count(task, by_seed, cluster_of, len(clusters))
    statuses = Counter(s for seed in by_seed for s in seed.statuses)
    coverage = statuses["ok"] / sum(statuses.values())
    shared = {
        "system": record.system.name,
        "task": task.name,
        "protocol": record.protocol,
        "track": record.system.card.track,
        "condition": record.condition,
    }
    scores = [
        {**shared, **row}
        for b in blocks
        for row in score_block(b, fold_of, plan, coverage, len(set(task.speakers)), len(record.seeds))
    ]
    obstacles = publish_obstacles(task.card, task.limited, coverage, plan)
    if split_speakers(task.speakers, task.clusters):
        obstacles.append(
            "speakers are cut into several clusters, so intervals and tests are too sure of themselves"
        )
    facts = {
        **shared,
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
        "clusters": [{"name": n, "fold": task.folds[f].name} for n, f in zip(clusters, fold_of, strict=True)],
        "labels_offered": list(task.labels),
        "statuses": {s: statuses[s] for s in STATUSES if statuses[s]},
        "coverage": coverage,
        "publishable": not obstacles,
        "obstacles": obstacles,
        "contamination": contamination(record.system.card, task.card),
        "warnings": list(task.warnings),
        "matrix": matrix.name,
        "matrix_hash": matrix.hash,
        "plan": plan.model_dump(mode="json"),
        "card": record.system.card.model_dump(mode="json"),
        "corpus_card": task.card.model_dump(mode="json"),
        "system_identity": record.system.identity,
        "weights_hash": record.system.weights.content_hash if record.system.weights else None,
        "code_version": code_version(),
        "folds_hash": task.folds_hash,
        "content_hash": task.content_hash,
        "notes": dict(notes),
        "scores": scores,
        "scores_hash": hash_json(scores),
    }
    return facts, blocks


def _whole(record: RecordPlan, tables: Sequence[PredictionTable], seed: int) -> PredictionTable:
    """Put the folds of one seed together, in the task's row order; checks that every clip is answered once."""
    task = record.task
    check_disjoint(
        task.folds, {"speaker": task.speakers}, what=task.name
    ) if record.protocol == "within" else None
    parts = [t for c, t in zip(record.cells, tables, strict=True) if c.seed == seed]
    row = {clip: (p, j) for p, part in enumerate(parts) for j, clip in enumerate(part.clip_ids)}
    missing = [c for c in task.clip_ids if c not in row]
    if missing or sum(len(p.clip_ids) for p in parts) != len(task):
        raise DataError(
            f"{record.stem}: the prediction tables do not answer each test clip once ({len(missing)} missing, first {missing[:1]})"
        )
    places = [row[c] for c in task.clip_ids]
    given = all(p.probabilities is not None for p in parts)
    probabilities = np.stack([parts[p].probabilities[j] for p, j in places]) if given else None  # type: ignore[index]
    return PredictionTable(
        clip_ids=task.clip_ids,
        statuses=tuple(parts[p].statuses[j] for p, j in places),
        answers=tuple(parts[p].answers[j] for p, j in places),
        labels=parts[0].labels,
        probabilities=probabilities,
        dimensions=np.stack([parts[p].dimensions[j] for p, j in places]),
        replies=tuple(parts[p].replies[j] for p, j in places),
        identity={},
    )


def _fold_of_cluster(task: Task, cluster_of: NDArray[np.intp], n_clusters: int) -> list[int]:
    fold = np.zeros(n_clusters, dtype=int)
    for f, part in enumerate(task.folds):
        fold[cluster_of[part.test]] = f
    return [int(f) for f in fold]


def count(
    task: Task, seeds: Sequence[PredictionTable], cluster_of: NDArray[np.intp], n_clusters: int
) -> list[Block]:
    """Count everything that scores are made of."""
    blocks: list[Block] = []
    for view in VIEWS:
        labels = label_table().view_labels(view, task.labels)
        if len(labels) >= 2:
            for outside in ("wrong", "masked"):
                if outside == "masked" and (view == "native" or any(s.probabilities is None for s in seeds)):
                    continue
                blocks += [
                    _count_view(task, seeds, view, labels, outside, rows, cluster_of, n_clusters)
                    for rows in ("all", "ok")
                ]
    answered = any(np.isfinite(s.dimensions).any() for s in seeds)
    for d, dimension in enumerate(DIMENSIONS):
        if (
            answered
            and np.isfinite(task.dimensions[:, d]).any()
            and all(np.isfinite(s.dimensions[:, d]).any() for s in seeds)
        ):
            blocks += [
                _count_dimension(task, seeds, d, dimension, rows, cluster_of, n_clusters)
                for rows in ("all", "ok")
            ]
    return blocks


def _count_view(
    task: Task, seeds: Sequence[PredictionTable], view: str, labels: tuple[str, ...], outside: str, rows: str,
    cluster_of: NDArray[np.intp], n_clusters: int,
) -> Block:  # fmt: skip
    table = label_table()
    code = {label: i for i, label in enumerate(labels)}

    def coded(label: str | None) -> int:
        return code.get(table.place(view, label) or "", -1) if label is not None else -1

    truth = np.array([coded(e) for e in task.emotions])
    values = []
    for seed in seeds:
        kept = truth >= 0
        if rows == "ok":
            kept &= np.array([s == "ok" for s in seed.statuses])
        answers = (
            _masked(seed, coded, len(labels))
            if outside == "masked"
            else np.array([coded(a) for a in seed.answers])
        )
        counts = np.zeros((n_clusters, len(labels), len(labels) + 1))
        if kept.any():
            counts += confusion_statistics(
                truth[kept], answers[kept], cluster_of[kept], n_labels=len(labels), n_clusters=n_clusters
            )
        values.append(counts)
    return Block(view, outside, rows, "category", labels, np.stack(values))


def _masked(table: PredictionTable, coded: Callable[[str | None], int], k: int) -> NDArray[np.intp]:
    """Answer with the class of the view that holds the most probability; −1 where there is none."""
    assert table.probabilities is not None
    mass = np.zeros((len(table.clip_ids), k))
    for column, label in enumerate(table.labels):
        if (place := coded(label)) >= 0:
            mass[:, place] += table.probabilities[:, column]
    answered = np.array([s == "ok" for s in table.statuses]) & np.isfinite(mass).all(axis=1)
    return np.where(answered, np.nan_to_num(mass).argmax(axis=1), -1)


def _count_dimension(
    task: Task,
    seeds: Sequence[PredictionTable],
    d: int,
    dimension: str,
    rows: str,
    cluster_of: NDArray[np.intp],
    n_clusters: int,
) -> Block:
    truth = task.dimensions[:, d]
    values = []
    for seed in seeds:
        kept = np.isfinite(truth)
        if rows == "ok":
            kept &= np.array([s == "ok" for s in seed.statuses])
        said = np.where(np.isfinite(seed.dimensions[:, d]), seed.dimensions[:, d], MID_SCALE)
        sums = np.zeros((n_clusters, len(MOMENTS)))
        if kept.any():
            sums += moment_statistics(truth[kept], said[kept], cluster_of[kept], n_clusters=n_clusters)
        values.append(sums)
    return Block("dimensions", "wrong", rows, dimension, (), np.stack(values))


def score_block(
    block: Block, fold_of: Sequence[int], plan: Plan, coverage: float, speakers: int, seeds: int
) -> list[dict[str, Any]]:
    """Score rows of one block: estimate, interval by cluster, range over seeds, mean over folds."""
    rows = []
    averaged = block.averaged
    if block.clips == 0:
        return []
    for metric in CATEGORY_METRICS if block.target == "category" else DIMENSION_METRICS:
        estimate = float(value(metric, averaged.sum(axis=0)))
        if not np.isfinite(estimate):
            continue
        low: float | None
        high: float | None
        try:
            found = interval(metric, averaged, level=plan.level, n_resamples=plan.resamples, seed=plan.seed)
            low, high, method = found.low, found.high, found.method
        except CannotSeparate as error:
            low = high = None
            method = f"none: {error}"
        per_seed = [float(value(metric, v.sum(axis=0))) for v in block.values]
        rows.append(
            {
                "view": block.view,
                "outside": block.outside,
                "rows": block.rows,
                "metric": metric,
                "dimension": None if block.target == "category" else block.target,
                "estimate": estimate,
                "low": low,
                "high": high,
                "method": method,
                "seed_low": min(per_seed),
                "seed_high": max(per_seed),
                "fold_mean": _fold_mean(metric, averaged, fold_of),
                "clips": block.clips,
                "speakers": speakers,
                "clusters": len(averaged),
                "coverage": coverage,
                "seeds": seeds,
            }
        )
    return rows


def _fold_mean(metric: str, averaged: Array, fold_of: Sequence[int]) -> float | None:
    """Mean of the folds' own values (secondary); each fold over the classes it holds."""
    folds = np.array(fold_of)
    values = np.array([float(value(metric, averaged[folds == f].sum(axis=0))) for f in sorted(set(fold_of))])
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None


def publish_obstacles(corpus: CorpusCard, limited: bool, coverage: float, plan: Plan) -> list[str]:
    """Say why a record must not be published; empty when it may."""
    found = []
    if corpus.synthetic:
        found.append("the corpus is synthetic")
    if limited:
        found.append("only a part of the corpus was run (--limit)")
    if coverage < plan.coverage_floor:
        found.append(f"coverage {coverage:.3f} is under the floor of {plan.coverage_floor}")
    return found


def contamination(system: SystemCard, corpus: CorpusCard) -> str:
    """Say what the system's weights had seen of a corpus before: seen, same corpus, unseen or undisclosed."""
    if system.training_corpora == "undisclosed":
        return "undisclosed"
    splits = {t.split for t in system.training_corpora if t.corpus in {corpus.name, corpus.pool_name}}
    if not splits:
        return "unseen"
    return "seen" if splits & {"all", "test"} else "same corpus"
