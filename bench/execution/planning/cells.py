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
from bench.tasks.training_data import TrainingData, own_training_data
from bench.tasks.transfer import Candidate, source_names, transfer_data

CELL_FORMAT = "serbench-cell-1"
BuildTask = Callable[[str, Protocol], Task]


def make_plan(
    matrix: Matrix, wanted: Iterable[MatrixRow], task_of: BuildTask, candidates: Sequence[Candidate] = ()
) -> RunPlan:
    """Lay out records, cells and groups. Blocked systems have records and cells, but no group.

    ``candidates`` are the tasks that a transfer may learn from.

    Raises:
        DataError: not one of the records can be planned.
    """
    records: list[RecordPlan] = []
    groups: list[Group] = []
    refused: dict[str, str] = {}
    materials = _TrainingSets(task_of, candidates)
    for want in wanted:
        try:
            task, material = materials.of(want)
        except (DataError, CannotRun) as error:
            refused |= {want.stem(c): str(error) for c in want.conditions}
            continue
        planned: list[Cell] = []
        for condition in want.conditions:
            try:
                cells = _cells(want, task, material, condition)
            except CannotRun as error:
                refused[want.stem(condition)] = str(error)
                continue
            planned += cells
            records.append(
                RecordPlan(
                    want.system, task, want.protocol, condition, want.seeds, cells, want.training,
                    want.train_condition, material.sources,
                )
            )  # fmt: skip
        if want.system.blocked is None:
            groups += _groups(want, task, material, planned)
    if refused and not records:
        raise DataError("\n".join(dict.fromkeys(refused.values())))
    return RunPlan(matrix, tuple(records), tuple(groups), refused)


class _TrainingSets:
    """What each line learns from and answers on, built once for all systems."""

    def __init__(self, task_of: BuildTask, candidates: Sequence[Candidate]) -> None:
        self._task_of, self._candidates = task_of, {c.name: c for c in candidates}
        self._built: dict[tuple[str, ...], tuple[Task, TrainingData] | BenchError] = {}

    def of(self, want: MatrixRow) -> tuple[Task, TrainingData]:
        """Return the task as it is asked about, and its material.

        Raises:
            DataError: the task cannot be built, or nothing is left to learn from.
        """
        key = (want.task, *want.identity[2:5])
        if key not in self._built:
            try:
                self._built[key] = self._build(want)
            except DataError as error:
                self._built[key] = error
        found = self._built[key]
        if isinstance(found, BenchError):
            raise found
        return found

    def _build(self, want: MatrixRow) -> tuple[Task, TrainingData]:
        task = self._task_of(want.task, want.protocol)
        if want.protocol != "transfer":
            return task, own_training_data(task)
        target = Candidate(want.task.partition("@")[0], task.card)
        names = source_names(target, want.training, list(self._candidates.values()))
        return transfer_data(task, self._sources(names, want), want.view)

    def _sources(self, names: Sequence[str], want: MatrixRow) -> list[Task]:
        """Build the training tasks. A rule leaves out those without a usable label; a named one must be there."""
        found = []
        for name in names:
            try:
                found.append(self._task_of(name, "zero-shot"))
            except DataError:
                if name == want.training or len(names) == 1:
                    raise
        return found


def _groups(want: MatrixRow, task: Task, material: TrainingData, cells: Sequence[Cell]) -> list[Group]:
    """A probe's cells are one group; of a predictor, the conditions of one fit are."""
    if not cells:
        return []
    by_fit: dict[str, list[Cell]] = {}
    for cell in cells:
        by_fit.setdefault("" if want.system.card.probe else cell.fit, []).append(cell)
    return [
        Group(want.system, task, tuple(part), len({c.fit for c in part}), material, want.train_condition)
        for part in by_fit.values()
    ]


def _cells(want: MatrixRow, task: Task, material: TrainingData, condition: str) -> tuple[Cell, ...]:
    changed: dict[str, Any] = {}
    if want.training:
        changed |= {"training": want.training, "view": want.view, "material": material.hash}
    if want.train_condition != CLEAN:
        changed["train_condition"] = condition_facts(want.train_condition, voices_hash(material.decoded))
    heard = CLEAN if condition == CLEAN else hash_json(condition_facts(condition, voices_hash(task.decoded)))
    return tuple(
        _cell(want, task, condition, heard, changed, f, seed)
        for seed in want.seeds
        for f in range(len(task.folds))
    )


def _cell(
    want: MatrixRow, task: Task, condition: str, heard: str, changed: Mapping[str, Any], fold: int, seed: int
) -> Cell:
    decisive = {
        "format": CELL_FORMAT,
        "system": want.system.identity,
        "name": want.system.name,
        "task": task.name,
        "protocol": want.protocol,
        "content": task.content_hash,
        "folds": task.folds_hash,
        "labels": task.offered_labels,
        "fold": task.folds[fold].name,
        "seed": seed,
        **changed,
    }
    return Cell(
        key=hash_json(decisive | {"condition": heard}),
        system=want.system.name,
        task=task.name,
        protocol=want.protocol,
        condition=condition,
        fold=fold,
        fold_name=task.folds[fold].name,
        seed=seed,
        fit=hash_json(decisive),
        training=want.training,
        view=want.view,
        train_condition=want.train_condition,
    )
