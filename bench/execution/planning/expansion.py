"""A matrix expanded into its lines, before any audio is decoded."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.audio.conditions import CLEAN
from bench.cards.corpus import Protocol
from bench.cards.labels import View
from bench.cards.registry import load_system, match_systems, with_settings
from bench.errors import UsageError, nearest
from bench.execution.planning.matrix import Entry, Matrix
from bench.execution.planning.systems import System, resolve_system
from bench.tasks import match_tasks, split_task_name
from bench.tasks.names import record_stem, regime, training_name
from bench.tasks.transfer import trainings

BUILT_IN = "synthetic."
"""What names of the built-in corpus's tasks begin with."""


@dataclass(frozen=True)
class MatrixRow:
    """One line of the expanded matrix, before any audio is decoded."""

    system: System
    task: str
    protocol: Protocol
    seeds: tuple[int, ...]
    conditions: tuple[str, ...] = (CLEAN,)
    training: str = ""
    view: View = "native"
    train_condition: str = CLEAN

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells lines apart: their records, but for the condition."""
        return (self.system.name, self.task, self.protocol, self.training, self.view, self.train_condition)

    @property
    def training_name(self) -> str:
        """What was learnt from, in one word; blank for the clean audio of the task itself."""
        return training_name(self.training, self.view, self.train_condition)

    def stem(self, condition: str) -> str:
        """File name of the record under a condition."""
        how = regime(self.protocol, self.training_name)
        return record_stem(self.system.name, self.task, how, condition)


@dataclass(frozen=True)
class TasksAtHand:
    """Ids of the tasks that the prepared corpora offer, those of generated corpora apart."""

    recorded: tuple[str, ...]
    synthetic: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.recorded, *self.synthetic)

    def matched_by(self, entry: Entry) -> tuple[str, ...]:
        """Those that an entry's patterns may mean."""
        return self.names if entry.synthetic else self.recorded


def expand(
    matrix: Matrix,
    tasks: TasksAtHand,
    *,
    base: Path,
    settings: Mapping[str, Mapping[str, str]],
    fetch: bool = True,
) -> list[MatrixRow]:
    """Expand a matrix over the tasks at hand.

    Args:
        matrix: what to run.
        tasks: what its patterns may match.
        base: folder that relative card paths start from.
        settings: of cards, by system: ``--set SYSTEM:key=value``.
        fetch: download weights that are not at hand.

    Returns:
        Its lines, in the order of its entries.

    Raises:
        UsageError: an unknown system or task, one that stands twice, ``--set`` for a system the matrix has not.
    """
    systems: dict[str, System] = {}

    def resolved(name: str) -> System:
        card = load_system(name, base=base)
        if card.name not in systems:
            systems[card.name] = resolve_system(
                with_settings(card, settings.get(card.name, {})), fetch=fetch, starts_servers=True
            )
        return systems[card.name]

    rows: dict[tuple[str, ...], MatrixRow] = {}
    for entry in matrix.entries:
        named = [resolved(n) for n in dict.fromkeys(n for p in entry.systems for n in match_systems(p))]
        if entry.stands_in_for is not None and resolved(entry.stands_in_for).blocked is None:
            continue
        for system in named:
            if entry.protocol == "zero-shot" and system.card.probe is not None:
                raise UsageError(
                    f"matrix {matrix.name!r}: {system.name} is a probe, which must be trained; it cannot run zero-shot"
                )
            for row in _rows_of(matrix, entry, system, tasks):
                if rows.setdefault(row.identity, row) != row:
                    raise UsageError(
                        f"matrix {matrix.name!r}: {system.name} on {row.task} ({entry.protocol}) stands in two entries with "
                        "different seeds or conditions; keep one"
                    )
    _require_systems(matrix, settings, systems)
    return list(rows.values())


def _require_systems(matrix: Matrix, settings: Iterable[str], systems: Collection[str]) -> None:
    """Refuse settings and pairs that name a system which the matrix does not run."""
    for name in settings:
        if name not in systems:
            raise UsageError(
                f"--set {name}:…: the matrix {matrix.name!r} has no such system; {nearest(name, systems)}"
            )
    for name in (name for pair in matrix.plan.across_tracks for name in pair):
        if name not in systems:
            raise UsageError(
                f"matrix {matrix.name!r}: plan.across_tracks names {name!r}, which it does not run; {nearest(name, systems)}"
            )


def _rows_of(matrix: Matrix, entry: Entry, system: System, tasks: TasksAtHand) -> Iterator[MatrixRow]:
    """One line per task, and in transfer per training; a pattern for training skips the target itself."""
    trained_on = [""]
    view: View = "native"
    if entry.protocol == "transfer":
        trained_on, view = trainings(entry.training, tasks.matched_by(entry)), entry.view
    for task in _tasks_of(entry, tasks):
        for training in trained_on:
            if training != task or training in entry.training:
                yield MatrixRow(
                    system=system,
                    task=task,
                    protocol=entry.protocol,
                    seeds=entry.seeds if system.card.seeds else entry.seeds[:1],
                    conditions=entry.conditions or matrix.conditions,
                    training=training,
                    view=view,
                    train_condition=entry.train_condition,
                )


def _tasks_of(entry: Entry, tasks: TasksAtHand) -> list[str]:
    found: dict[str, None] = {}
    for pattern in entry.tasks:
        matched = match_tasks(pattern, tasks.matched_by(entry))
        if not matched and not set(pattern) & set("*?["):
            # Well formed, at least; its corpus may just not be at hand.
            corpus, _, _ = split_task_name(pattern)
            siblings = [name for name in tasks.names if name.rpartition(".")[0] == corpus]
            if siblings:
                raise UsageError(f"no task {pattern!r}; {nearest(pattern, siblings)}")
        found.update(dict.fromkeys(matched))
    return list(found)


def dead_patterns(matrix: Matrix, tasks: TasksAtHand) -> list[str]:
    """Say which of a matrix's names and patterns mean no task at hand, and would be passed over without a word.

    Args:
        matrix: what to run.
        tasks: what its patterns may match.
    """
    sentences: dict[str, None] = {}
    for entry in matrix.entries:
        names = tasks.matched_by(entry)
        asked = [("tasks", p) for p in entry.tasks]
        if entry.protocol == "transfer":
            asked += [("training", p) for p in entry.training if set(p) & set("*?[")]
        for where, pattern in asked:
            if not tasks.synthetic and pattern.startswith(BUILT_IN):
                continue  # meant for when nothing else is at hand
            if pattern != "*" and not match_tasks(pattern, names):
                text = f"matrix {matrix.name!r}: {where}: {pattern!r} names no task at hand; {nearest(pattern, names)}"
                sentences[text] = None
    return list(sentences)


def filter_rows(rows: Sequence[MatrixRow], only: Mapping[str, Sequence[str]]) -> list[MatrixRow]:
    """Keep what ``--only system=…,task=…`` names (patterns allowed); naming nothing that exists is an error."""
    selected = list(rows)
    fields: dict[str, Callable[[MatrixRow], Sequence[str]]] = {
        "system": lambda w: [w.system.name],
        "task": lambda w: [w.task],
        "protocol": lambda w: [w.protocol],
        "training": lambda w: [w.training],
        "condition": lambda w: w.conditions,
    }
    for key, patterns in only.items():
        if key not in fields:
            raise UsageError(f"--only {key}=…: {nearest(key, fields)}")
        values = {value for w in rows for value in fields[key](w) if value}
        for pattern in patterns:
            if not fnmatch.filter(values, pattern):
                raise UsageError(
                    f"--only {key}={pattern}: the matrix has no such {key}; {nearest(pattern, values)}"
                )
        matching = {value for pattern in patterns for value in values if fnmatch.fnmatchcase(value, pattern)}
        selected = [w for w in selected if matching & set(fields[key](w))]
        if key == "condition":
            selected = [
                replace(w, conditions=tuple(c for c in w.conditions if c in matching)) for w in selected
            ]
    return selected
