"""Fit a system and let it answer: a group's cells, each with its prediction table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.cards.registry import build
from bench.errors import DataError
from bench.execution.jobs import CellOutcome, FitJob, Stopwatch
from bench.execution.planning.plan import Cell, Group
from bench.execution.probe_runs import run_probe
from bench.features.store import FeatureStore, StoredFeatures
from bench.protocols import Answers, Examples, FitContext, Progress
from bench.scoring.predictions import PredictionTable, complete_answers, variant_path, write_table
from bench.storage.hashing import hash_file
from bench.tasks.training_data import ConditionedClips, TrainingData


def fit(job: FitJob, device: str, watch: Stopwatch, progress: Progress) -> list[CellOutcome]:
    """Compute a group's cells and write their tables."""
    group, material, system = job.group, job.group.material, job.group.system
    features = FeatureStore(job.cache / "features").reader(system.feature_key) if system.feature_key else None
    if system.card.probe:
        assert features is not None
        with watch.running():
            answers = run_probe(group, features, job.heard, device, progress)
    else:
        answers = _run_predictor(job, device, features, watch, progress)
    outcomes = []
    for cell, answer in zip(group.cells, answers, strict=True):
        rows = material.folds[cell.fold].test
        usable = _usable(material, rows, cell.condition, job.heard, features)
        path = job.tables / f"{cell.key}.parquet"
        identity = job.identity | _cell_identity(cell, group)
        variants = {}
        for name, said in answer.variants.items():
            part = variant_path(path, name)
            write_table(part, _table(material, rows, usable, said), identity | {"variant": name})
            variants[name] = hash_file(part)
        write_table(path, _table(material, rows, usable, answer), identity | {"variants": variants})
        outcomes.append(CellOutcome(cell, hash_file(path), notes_json(answer.notes)))
    shutil.rmtree(job.work / group.key, ignore_errors=True)
    return outcomes


def _usable(
    material: TrainingData,
    rows: NDArray[np.intp],
    condition: str,
    heard: ConditionedClips,
    features: StoredFeatures | None,
) -> NDArray[np.bool_]:
    """Which of these rows can be heard under a condition, by the encoder too where there is one."""
    clips = [material.hear(int(i), condition, heard) for i in rows]
    return np.array(
        [c.message is None and (features is None or c.pcm_hash in features) for c in clips], dtype=bool
    )


def notes_json(notes: Mapping[str, Any]) -> str:
    """Write an adapter's notes as JSON, numpy values as plain ones.

    Raises:
        DataError: a note that JSON cannot hold.
    """
    try:
        return json.dumps(_plain(notes), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the adapter's notes must be JSON values without NaN or infinity ({error})"
        ) from None


def _plain(value: Any) -> Any:
    """Turn numpy scalars and arrays inside notes into JSON values."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _cell_identity(cell: Cell, group: Group) -> dict[str, Any]:
    weights = group.system.weights
    return {
        "cell": cell.key,
        "system": cell.system,
        "task": cell.task,
        "protocol": cell.protocol,
        "training": cell.training,
        "view": cell.view,
        "condition": cell.condition,
        "train_condition": cell.train_condition,
        "fold": cell.fold_name,
        "seed": cell.seed,
        "system_identity": group.system.identity,
        "weights_hash": weights.content_hash if weights else None,
        "weights_revision": weights.revision if weights else None,
        "folds_hash": group.task.folds_hash,
        "content_hash": group.task.content_hash,
    }


def _table(
    material: TrainingData, rows: NDArray[np.intp], usable: NDArray[np.bool_], answers: Answers
) -> PredictionTable:
    """Lay out answers on the usable rows as a table of all rows; ``usable`` is (rows,)."""
    clips = [material.decoded[i] for i in rows]
    asked = np.flatnonzero(usable).tolist()
    silent = {
        j: "failed" if clips[j].message is None else "undecodable" for j in np.flatnonzero(~usable).tolist()
    }
    return complete_answers([c.clip_id for c in clips], asked, answers, silent, material.labels)


def _run_predictor(
    job: FitJob,
    device: str,
    features: StoredFeatures | None,
    watch: Stopwatch,
    progress: Progress,
) -> list[Answers]:
    """Fit one predictor and let it answer its test clips under each condition."""
    group, system, material = job.group, job.group.system, job.group.material
    assert system.card.adapter is not None
    fold = material.folds[group.cells[0].fold]
    learnt_from = (fold.train, fold.dev)
    context = FitContext(
        labels=material.labels,
        dimensions=material.has_dimensions(learnt_from) if material.sources else group.task.has_dimensions,
        seed=group.cells[0].seed,
        workdir=job.work / job.group.key,
        device=device,
        features=features,
        feature_params=system.feature_params,
        server=system.card.server or job.server,
        max_cost=job.max_cost,
        progress=progress,
    )
    context.workdir.mkdir(parents=True, exist_ok=True)

    def usable(rows: NDArray[np.intp], condition: str) -> NDArray[np.intp]:
        return rows[_usable(material, rows, condition, job.heard, features)]

    def learnt(rows: NDArray[np.intp]) -> Examples:
        condition = group.train_condition
        return material.examples(usable(rows, condition), condition, job.heard)

    with watch.running():
        predictor = build(
            system.card.adapter, system.card.params | ({"weights": system.weights} if system.weights else {})
        )
        predictor.fit(learnt(fold.train), learnt(fold.dev), context)
        answers = []
        for cell in group.cells:
            rows = usable(fold.test, cell.condition)
            said: Answers = predictor.predict(material.clips(rows, cell.condition, job.heard))
            variants = {name: _only_ok(part) for name, part in said.variants.items()}
            answers.append(replace(_only_ok(said), variants=variants))
    return answers


def _only_ok(answers: Answers) -> Answers:
    """Leave a label only where the status is ok."""
    kept = (x if s == "ok" else None for x, s in zip(answers.labels, answers.statuses, strict=True))
    return replace(answers, labels=tuple(kept))
