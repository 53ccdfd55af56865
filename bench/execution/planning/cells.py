"""From the lines of a matrix to records, cells with their keys, and groups of cells that are computed together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.audio.conditioned import condition_facts, voices_hash
from bench.audio.conditions import CLEAN
from bench.cards.corpus import Protocol
from bench.errors import BenchError, CannotRun, DataError
from bench.execution.planning.expansion import MatrixRow
from bench.execution.planning.matrix import Matrix
from bench.execution.planning.plan import Cell, Group, RecordPlan, RunPlan
from bench.storage.hashing import hash_json
from bench.tasks import Task
from bench.tasks.building import one_class
from bench.tasks.training_data import TrainingData, own_training_data
from bench.tasks.transfer import Candidate, source_names, transfer_data

CELL_FORMAT = "serbench-cell-1"
BuildTask = Callable[[str, Protocol], Task]


def make_plan(
    matrix: Matrix, rows: Iterable[MatrixRow], task_of: BuildTask, candidates: Sequence[Candidate] = ()
) -> RunPlan:
    """Lay out records, cells and groups. Blocked systems have records and cells, but no group.

    Args:
        matrix: whose plan it is.
        rows: the lines of the matrix, expanded over the tasks at hand.
        task_of: builds a task from its name and protocol; called once per pair.
        candidates: the tasks that a transfer may learn from.

    Returns:
        The plan; what cannot be planned is in ``refused``, with the reason.

    Raises:
        DataError: not one of the records can be planned.
    """
    records: list[RecordPlan] = []
    groups: list[Group] = []
    refused: dict[str, str] = {}
    training_sets = _TrainingSets(task_of, candidates)
    for row in rows:
        try:
            task, data = training_sets.of(row)
        except (DataError, CannotRun) as error:
            refused |= {row.stem(c): str(error) for c in row.conditions}
            continue
        planned: list[Cell] = []
        for condition in row.conditions:
            try:
                cells = _cells(row, task, data, condition)
            except CannotRun as error:
                refused[row.stem(condition)] = str(error)
                continue
            planned += cells
            records.append(
                RecordPlan(
                    system=row.system,
                    task=task,
                    protocol=row.protocol,
                    condition=condition,
                    seeds=row.seeds,
                    cells=cells,
                    training=row.training,
                    train_condition=row.train_condition,
                    sources=data.sources,
                )
            )
        if row.system.blocked is None:
            groups += _groups(row, task, data, planned)
    if refused and not records:
        raise DataError("\n".join(dict.fromkeys(refused.values())))
    return RunPlan(matrix, tuple(records), tuple(groups), refused)


class _TrainingSets:
    """What each line learns from and answers on, built once for all systems."""

    def __init__(self, task_of: BuildTask, candidates: Sequence[Candidate]) -> None:
        self._task_of, self._candidates = task_of, {c.name: c for c in candidates}
        self._built: dict[tuple[str, ...], tuple[Task, TrainingData] | BenchError] = {}

    def of(self, row: MatrixRow) -> tuple[Task, TrainingData]:
        """Return the task as it is asked about, and its training data.

        Raises:
            DataError: the task cannot be built, or nothing is left to learn from.
        """
        key = (row.task, *row.identity[2:5])
        if key not in self._built:
            try:
                self._built[key] = self._build(row)
            except DataError as error:
                self._built[key] = error
        found = self._built[key]
        if isinstance(found, BenchError):
            raise found
        return found

    def _build(self, row: MatrixRow) -> tuple[Task, TrainingData]:
        task = self._task_of(row.task, row.protocol)
        if not task.limited and (reason := one_class(task.labels, task.has_dimensions)):
            raise DataError(f"{row.task}: {reason}")
        if row.protocol != "transfer":
            return task, own_training_data(task)
        target = Candidate(row.task.partition("@")[0], task.card)
        names = source_names(target, row.training, list(self._candidates.values()))
        return transfer_data(task, self._sources(names, row), row.view)

    def _sources(self, names: Sequence[str], row: MatrixRow) -> list[Task]:
        """Build the training tasks. A rule leaves out those without a usable label; a named one must be there."""
        found = []
        for name in names:
            try:
                found.append(self._task_of(name, "zero-shot"))
            except DataError:
                if name == row.training or len(names) == 1:
                    raise
        return found


def _groups(row: MatrixRow, task: Task, data: TrainingData, cells: Sequence[Cell]) -> list[Group]:
    """A probe's cells are one group; of a predictor, the conditions of one fit are."""
    if not cells:
        return []
    by_fit: dict[str, list[Cell]] = {}
    for cell in cells:
        by_fit.setdefault("" if row.system.card.probe else cell.fit, []).append(cell)
    return [
        Group(
            system=row.system,
            task=task,
            cells=tuple(part),
            fits=len({c.fit for c in part}),
            data=data,
            train_condition=row.train_condition,
        )
        for part in by_fit.values()
    ]


def _cells(row: MatrixRow, task: Task, data: TrainingData, condition: str) -> tuple[Cell, ...]:
    changed: dict[str, Any] = {}
    if row.training:
        changed |= {"training": row.training, "view": row.view, "material": data.hash}
    if row.train_condition != CLEAN:
        changed["train_condition"] = condition_facts(row.train_condition, voices_hash(data.decoded))
    sounds = CLEAN if condition == CLEAN else hash_json(condition_facts(condition, voices_hash(task.decoded)))
    return tuple(
        _cell(
            row,
            task,
            condition,
            sounds,
            fit=_fit_facts(row, task, fold, seed) | changed,
            fold=fold,
            seed=seed,
        )
        for seed in row.seeds
        for fold in range(len(task.folds))
    )


def _fit_facts(row: MatrixRow, task: Task, fold: int, seed: int) -> dict[str, Any]:
    """What decides a fit that learns from the clean audio of the task itself."""
    return {
        "format": CELL_FORMAT,
        "system": row.system.identity,
        "name": row.system.name,
        "task": task.name,
        "protocol": row.protocol,
        "content": task.content_hash,
        "folds": task.folds_hash,
        "labels": task.offered_labels,
        "fold": task.folds[fold].name,
        "seed": seed,
    }


def _cell(
    row: MatrixRow, task: Task, condition: str, sounds: str, *, fit: Mapping[str, Any], fold: int, seed: int
) -> Cell:
    """A cell; ``fit`` is what decides its fit, ``sounds`` stands for what is done to the clips that it answers on."""
    return Cell(
        key=hash_json({**fit, "condition": sounds}),
        system=row.system.name,
        task=task.name,
        protocol=row.protocol,
        condition=condition,
        fold=fold,
        fold_name=task.folds[fold].name,
        seed=seed,
        fit=hash_json(dict(fit)),
        training=row.training,
        view=row.view,
        train_condition=row.train_condition,
    )
