"""From a matrix to the work it means: systems resolved, cells with their keys, fits grouped into jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from bench.audio.conditions import CLEAN
from bench.cards.corpus import Protocol
from bench.cards.labels import View
from bench.execution.planning.matrix import Matrix
from bench.execution.planning.systems import System
from bench.storage.hashing import hash_json
from bench.tasks import Task
from bench.tasks.names import record_stem, regime, training_name
from bench.tasks.training_data import TrainingData, TrainingSource


@dataclass(frozen=True)
class Cell:
    """What is predicted once. ``key`` covers everything that decides the prediction table."""

    key: str
    system: str
    task: str
    protocol: Protocol
    condition: str
    fold: int
    fold_name: str
    seed: int
    fit: str
    """Hash of what decides the fit: everything but the condition. Cells of one fit are predicted by it."""
    training: str = ""
    view: View = "native"
    train_condition: str = CLEAN

    @property
    def training_name(self) -> str:
        """What was learnt from, in one word; blank for the clean audio of the task itself."""
        return training_name(self.training, self.view, self.train_condition)

    @property
    def regime(self) -> str:
        """How it was trained, in one word."""
        return regime(self.protocol, self.training_name)

    @property
    def identity(self) -> tuple[str, ...]:
        """The line of the matrix that it belongs to; see :attr:`MatrixRow.identity`."""
        return (self.system, self.task, self.protocol, self.training, self.view, self.train_condition)


@dataclass(frozen=True)
class Group:
    """Cells that are computed together: all folds, seeds and conditions of a probe, or all conditions of one fit."""

    system: System
    task: Task
    cells: tuple[Cell, ...]
    fits: int
    data: TrainingData
    train_condition: str = CLEAN

    @property
    def key(self) -> str:
        """Hash of the fits; names their working folder, whichever conditions are still to be predicted."""
        return hash_json(list(dict.fromkeys(c.fit for c in self.cells)))

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions of its cells."""
        return tuple(dict.fromkeys(c.condition for c in self.cells))

    def only(self, keys: Collection[str]) -> Group:
        """The same fits, to predict these cells alone."""
        return replace(self, cells=tuple(c for c in self.cells if c.key in keys))


@dataclass(frozen=True)
class RecordPlan:
    """System × task × protocol × condition: the cells that will be scored together."""

    system: System
    task: Task
    protocol: Protocol
    condition: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    training: str = ""
    train_condition: str = CLEAN
    sources: tuple[TrainingSource, ...] = ()

    @property
    def training_name(self) -> str:
        """What was learnt from, in one word; blank for the clean audio of the task itself."""
        return training_name(self.training, self.task.view, self.train_condition)

    @property
    def stem(self) -> str:
        """File name of the record, without ending."""
        how = regime(self.protocol, self.training_name)
        return record_stem(self.system.name, self.task.name, how, self.condition)


@dataclass(frozen=True)
class RunPlan:
    """Everything a matrix means on the corpora at hand."""

    matrix: Matrix
    records: tuple[RecordPlan, ...]
    groups: tuple[Group, ...]
    refused: Mapping[str, str]
    """Stems of records whose task cannot be built, with the reason: too few speakers, a split that leaks."""

    def only(self, keys: Collection[str]) -> RunPlan:
        """The part of the plan that these cells are."""
        records = [replace(r, cells=tuple(c for c in r.cells if c.key in keys)) for r in self.records]
        groups = [g.only(keys) for g in self.groups]
        return replace(
            self,
            records=tuple(r for r in records if r.cells),
            groups=tuple(g for g in groups if g.cells),
        )

    def group_of(self) -> dict[str, Group]:
        """Map cell keys to the group they are computed in."""
        return {c.key: g for g in self.groups for c in g.cells}
