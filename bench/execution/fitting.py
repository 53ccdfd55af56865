"""Fit a system and let it answer: a group's cells, each with its prediction table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.cards.parameters import check_parameters
from bench.cards.registry import build, given_weights, imported
from bench.errors import CannotRun, DataError, UsageError
from bench.execution.jobs import CellOutcome, FitJob, Stopwatch
from bench.execution.out_of_memory import answers_in_parts
from bench.execution.planning.plan import Cell, Group
from bench.execution.planning.systems import System
from bench.execution.probe_runs import checked_probe, run_probe
from bench.execution.separate import separate_predictor
from bench.features.store import FeatureStore, StoredFeatures
from bench.protocols import Answers, Closes, Examples, FitContext, Predictor, Progress
from bench.scoring.predictions import PredictionTable, complete_answers, variant_path, write_table
from bench.storage.hashing import hash_file
from bench.tasks.training_data import ConditionedClips, TrainingData


def fit(job: FitJob, device: str, stopwatch: Stopwatch, progress: Progress) -> list[CellOutcome]:
    """Compute a group's cells and write their tables.

    Args:
        job: the cells, and where their tables go.
        device: ``cpu`` or ``cuda:N``.
        stopwatch: counts the time spent in the probe or predictor.
        progress: told of (done, total), in steps of whatever trains.

    Returns:
        An outcome per cell, in the group's order.

    Raises:
        DataError: no clip can be used, answers that are none, or notes that are not JSON.
        NeedsServer: replies are missing that only a server can give.
    """
    group, data, system = job.group, job.group.data, job.group.system
    features = stored_features(system, job.cache)
    if system.card.probe:
        assert features is not None
        with stopwatch.running():
            answers = run_probe(group, features, job.conditioned, device, progress)
    else:
        answers = _run_predictor(job, device, features, stopwatch, progress)
    outcomes = []
    for cell, answer in zip(group.cells, answers, strict=True):
        rows = data.folds[cell.fold].test
        usable = _usable(data, rows, cell.condition, job.conditioned, features)
        path = job.tables / f"{cell.key}.parquet"
        identity = job.identity | _cell_identity(cell, group)
        variants = {}
        for name, predicted in answer.variants.items():
            part = variant_path(path, name)
            write_table(part, _table(data, rows, usable, predicted), identity | {"variant": name})
            variants[name] = hash_file(part)
        write_table(path, _table(data, rows, usable, answer), identity | {"variants": variants})
        outcomes.append(CellOutcome(cell, hash_file(path), notes_json(answer.notes)))
    shutil.rmtree(job.work / group.key, ignore_errors=True)
    return outcomes


def _usable(
    data: TrainingData,
    rows: NDArray[np.intp],
    condition: str,
    conditioned: ConditionedClips,
    features: StoredFeatures | None,
) -> NDArray[np.bool_]:
    """Which of these rows have audio under a condition, and features where the system has an encoder."""
    clips = [data.clip_under(int(i), condition, conditioned) for i in rows]
    return np.array(
        [c.message is None and (features is None or c.pcm_hash in features) for c in clips], dtype=bool
    )


def stored_features(system: System, cache: Path) -> StoredFeatures | None:
    """Return what the cache holds of a system's frozen encoder; None for a system without one."""
    return None if system.feature_key is None else FeatureStore(cache / "features").reader(system.feature_key)


def build_predictor(system: System) -> Predictor:
    """Build a system's predictor from its card; one for every fit."""
    assert system.card.adapter is not None
    if system.environment is not None:
        return separate_predictor(system)
    given: dict[str, Any] = dict(given_weights(system.card.adapter, system.weights, system.card.weights))
    if system.card.trained_here:
        given |= {"parts": system.parts, "serve": system.card.serve}
    predictor: Predictor = build(system.card.adapter, system.card.params | given)
    return predictor


def check_buildable(system: System) -> None:
    """Build what a system's card names, as far as that loads no weights: a setting that it refuses is told before anything runs.

    Raises:
        UsageError: a parameter that the code does not take, or a value that it refuses; names the system.
    """
    card = system.card
    if system.blocked is not None:
        return
    try:
        if card.features is not None and system.environment is None:
            check_parameters(imported(card.features.encoder), card.features.params, card.features.encoder)
        if card.probe is not None:
            checked_probe(card)
        elif system.environment is not None:
            return  # its code is imported in its own environment alone, when it is built there
        elif card.adapter is not None and card.weights is None:
            build(card.adapter, card.params)
        elif card.adapter is not None:
            check_parameters(imported(card.adapter), card.params, card.adapter)
    except CannotRun:
        return  # something is not installed: the cells say so
    except (UsageError, DataError, ValueError) as error:
        said = str(error)
        raise UsageError(said if said.startswith(card.name) else f"{card.name}: {said}") from None


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
    data: TrainingData, rows: NDArray[np.intp], usable: NDArray[np.bool_], answers: Answers
) -> PredictionTable:
    """Lay out answers on the usable rows as a table of all rows; ``usable`` is (rows,)."""
    clips = [data.decoded[i] for i in rows]
    asked = np.flatnonzero(usable).tolist()
    silent = {
        j: "failed" if clips[j].message is None else "undecodable" for j in np.flatnonzero(~usable).tolist()
    }
    return complete_answers([c.clip_id for c in clips], asked, answers, silent, data.labels)


def _run_predictor(
    job: FitJob,
    device: str,
    features: StoredFeatures | None,
    stopwatch: Stopwatch,
    progress: Progress,
) -> list[Answers]:
    """Fit one predictor and let it answer its test clips under each condition."""
    group, system, data = job.group, job.group.system, job.group.data
    fold = data.folds[group.cells[0].fold]
    learning_rows = (fold.train, fold.dev)
    context = FitContext(
        labels=data.labels,
        dimensions=data.has_dimensions(learning_rows) if data.sources else group.task.has_dimensions,
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
        return rows[_usable(data, rows, condition, job.conditioned, features)]

    def examples(rows: NDArray[np.intp]) -> Examples:
        condition = group.train_condition
        return data.examples(usable(rows, condition), condition, job.conditioned)

    with stopwatch.running(), ExitStack() as held:
        predictor = build_predictor(system)
        if isinstance(predictor, Closes):
            held.callback(predictor.close)
        predictor.fit(examples(fold.train), examples(fold.dev), context)
        answers = []
        for cell in group.cells:
            rows = usable(fold.test, cell.condition)
            predicted = answers_in_parts(predictor, data.clips(rows, cell.condition, job.conditioned))
            variants = {name: _only_ok(part) for name, part in predicted.variants.items()}
            answers.append(replace(_only_ok(predicted), variants=variants))
    return answers


def _only_ok(answers: Answers) -> Answers:
    """Leave a label only where the status is ok."""
    kept = (x if s == "ok" else None for x, s in zip(answers.labels, answers.statuses, strict=True))
    return replace(answers, labels=tuple(kept))
