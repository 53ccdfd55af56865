"""From a matrix to the work it means: systems resolved, cells with their keys, fits grouped into jobs."""

from __future__ import annotations

import fnmatch
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cards import Protocol, SystemCard
from bench.errors import CannotRun, DataError, UsageError, nearest
from bench.features import feature_key
from bench.identity import adapter_hash, hash_json, source_hash
from bench.matrix import Entry, Matrix
from bench.probes import PROBES
from bench.protocols import Weights
from bench.registry import load_system, with_settings
from bench.serving import PYTHON_VARIABLE, vllm_python
from bench.task import Task, match_tasks, split_task_name
from bench.weights import find_weights, local_weights

CELL_FORMAT = "serbench-cell-1"
FEATURE_PACKAGES = ("torch", "transformers", "s3prl", "opensmile", "numpy")
"""Packages whose arithmetic decides features; their versions are part of a feature's key."""


@dataclass(frozen=True)
class System:
    """A system card with its weights found, or the reason why it cannot run here."""

    card: SystemCard
    weights: Weights | None
    identity: str
    """Hash of what decides its answers: code, parameters, weights content. Titles and descriptions do not."""
    feature_key: str | None
    blocked: str | None

    @property
    def name(self) -> str:
        """The system's name."""
        return self.card.name


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


@dataclass(frozen=True)
class Group:
    """Cells that are computed together: all folds and seeds of a probe, or the one cell of a fit."""

    system: System
    task: Task
    cells: tuple[Cell, ...]
    fits: int

    @property
    def key(self) -> str:
        """Hash of the cells' keys; names the fit's working folder."""
        return hash_json([c.key for c in self.cells])


@dataclass(frozen=True)
class RecordPlan:
    """System × task × protocol × condition: the cells that will be scored together."""

    system: System
    task: Task
    protocol: Protocol
    condition: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]

    @property
    def stem(self) -> str:
        """File name of the record, without ending."""
        return record_stem(self.system, self.task.name, self.protocol, self.condition)


def record_stem(system: System, task: str, protocol: str, condition: str) -> str:
    """Return the file name of a record, without ending."""
    return f"{system.name}__{task}__{protocol}__{condition}"


@dataclass(frozen=True)
class RunPlan:
    """Everything a matrix means on the corpora at hand."""

    matrix: Matrix
    records: tuple[RecordPlan, ...]
    groups: tuple[Group, ...]
    refused: Mapping[str, str]
    """Stems of records whose task cannot be built, with the reason: too few speakers, a split that leaks."""

    def group_of(self) -> dict[str, Group]:
        """Map cell keys to the group they are computed in."""
        return {c.key: g for g in self.groups for c in g.cells}


def resolve_system(card: SystemCard, *, fetch: bool = True) -> System:
    """Find a system's weights and hash what decides its answers; what is missing becomes ``blocked``."""
    weights, blocked = None, None
    if card.probe is not None and card.probe not in PROBES:
        raise UsageError(
            f"card {card.name!r}: there is no probe {card.probe!r}; {nearest(card.probe, PROBES)}"
        )
    if card.family == "audio-llm":
        # Its server holds the weights; a local copy is used and hashed where there is one, and never fetched here.
        weights = local_weights(card.weights) if card.weights else None
        blocked = _without_server(card)
    elif card.weights is not None:
        try:
            weights = find_weights(card.weights, fetch=fetch)
        except CannotRun as error:
            blocked = str(error)
    weights_hash = weights.content_hash if weights else None
    features = card.features
    key: str | None = None
    if features is not None:
        encoder_code = adapter_hash(features.encoder)
        key = feature_key(
            features.encoder,
            encoder_code,
            features.params,
            weights_hash,
            features.pooled,
            versions=_versions(),
        )
    code = adapter_hash(card.adapter) if card.adapter else source_hash("bench.probes") if card.probe else None
    decisive = {
        "adapter": card.adapter,
        "probe": card.probe,
        "params": card.params,
        "revision": card.weights.revision if card.weights else None,
        "code": code,
        "features": key,
        "weights": weights_hash,
    }
    return System(card, weights, hash_json(decisive), key, blocked)


def _without_server(card: SystemCard) -> str | None:
    """Why an Audio-LLM cannot be asked here, or None when its server is known or can be started."""
    if card.server is not None and card.adapter is not None:
        return None
    address = f"give its address with --set {card.name}:server=http://HOST:PORT/v1"
    if card.adapter is None:
        return f"needs a server and an adapter, and its card names no adapter yet; then {address}"
    if card.serve is None or card.serve.engine == "closed":
        return f"needs a server: {address}"
    if vllm_python() is None:
        return f"needs a server: {address}, or name a Python that has vLLM in {PYTHON_VARIABLE} and it is started here"
    return None


def _versions() -> dict[str, str]:
    found = {}
    for name in FEATURE_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Wanted:
    """One line of the expanded matrix, before any audio is decoded."""

    system: System
    task: str
    protocol: Protocol
    seeds: tuple[int, ...]


def expand(
    matrix: Matrix,
    base: Path,
    task_names: Sequence[str],
    synthetic_names: Sequence[str],
    settings: Mapping[str, Mapping[str, str]],
    *,
    fetch: bool = True,
) -> list[Wanted]:
    """Expand a matrix over the tasks at hand.

    Raises:
        UsageError: an unknown system or task, one that stands twice, ``--set`` for a system the matrix has not.
    """
    systems: dict[str, System] = {}

    def resolved(name: str) -> System:
        card = load_system(name, base=base)
        if card.name not in systems:
            systems[card.name] = resolve_system(with_settings(card, settings.get(card.name, {})), fetch=fetch)
        return systems[card.name]

    wanted: dict[tuple[str, str, str], Wanted] = {}
    for entry in matrix.entries:
        named = [resolved(name) for name in entry.systems]
        if entry.stands_in_for is not None and resolved(entry.stands_in_for).blocked is None:
            continue
        for system in named:
            if entry.protocol == "zero-shot" and system.card.probe is not None:
                raise UsageError(
                    f"matrix {matrix.name!r}: {system.name} is a probe, which must be trained; it cannot run zero-shot"
                )
            seeds = entry.seeds if system.card.seeds else entry.seeds[:1]
            for task in _tasks_of(entry, task_names, synthetic_names):
                want = Wanted(system, task, entry.protocol, seeds)
                if wanted.setdefault((system.name, task, entry.protocol), want) != want:
                    raise UsageError(
                        f"matrix {matrix.name!r}: {system.name} on {task} ({entry.protocol}) stands in two entries with "
                        "different seeds; keep one"
                    )
    for name in settings:
        if name not in systems:
            raise UsageError(
                f"--set {name}:…: the matrix {matrix.name!r} has no such system; {nearest(name, systems)}"
            )
    for pair in matrix.plan.across_tracks:
        for name in pair:
            if name not in systems:
                raise UsageError(
                    f"matrix {matrix.name!r}: plan.across_tracks names {name!r}, which it does not run; {nearest(name, systems)}"
                )
    return list(wanted.values())


def _tasks_of(entry: Entry, task_names: Sequence[str], synthetic_names: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for pattern in entry.tasks:
        matched = match_tasks(pattern, [*task_names, *(synthetic_names if entry.synthetic else [])])
        if not matched and not set(pattern) & set("*?["):
            corpus, _, _ = split_task_name(
                pattern
            )  # well formed, at least; its corpus may just not be at hand
            siblings = [t for t in (*task_names, *synthetic_names) if t.rpartition(".")[0] == corpus]
            if siblings:
                raise UsageError(f"no task {pattern!r}; {nearest(pattern, siblings)}")
        found.update(dict.fromkeys(matched))
    return list(found)


def filter_wanted(wanted: Sequence[Wanted], only: Mapping[str, Sequence[str]]) -> list[Wanted]:
    """Keep what ``--only system=…,task=…`` names (patterns allowed); naming nothing that exists is an error."""
    kept = list(wanted)
    fields: dict[str, Callable[[Wanted], str]] = {
        "system": lambda w: w.system.name,
        "task": lambda w: w.task,
        "protocol": lambda w: w.protocol,
    }
    for key, patterns in only.items():
        if key not in fields:
            raise UsageError(f"--only {key}=…: {nearest(key, fields)}")
        values = {fields[key](w) for w in wanted}
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(v, pattern) for v in values):
                raise UsageError(
                    f"--only {key}={pattern}: the matrix has no such {key}; {nearest(pattern, values)}"
                )
        kept = [w for w in kept if any(fnmatch.fnmatchcase(fields[key](w), p) for p in patterns)]
    return kept


def make_plan(matrix: Matrix, wanted: Iterable[Wanted], task_of: Callable[[str, Protocol], Task]) -> RunPlan:
    """Lay out records, cells and groups. Blocked systems have records and cells, but no group.

    Raises:
        DataError: not one of the tasks can be built.
    """
    records: list[RecordPlan] = []
    groups: list[Group] = []
    refused: dict[str, str] = {}
    for want in wanted:
        try:
            task = task_of(want.task, want.protocol)
        except DataError as error:
            refused |= {
                record_stem(want.system, want.task, want.protocol, c): str(error) for c in matrix.conditions
            }
            continue
        for condition in matrix.conditions:
            cells = tuple(
                _cell(want, task, condition, f, seed) for seed in want.seeds for f in range(len(task.folds))
            )
            records.append(RecordPlan(want.system, task, want.protocol, condition, want.seeds, cells))
            if want.system.blocked is None:
                together = [cells] if want.system.card.probe else [(c,) for c in cells]
                groups += [Group(want.system, task, part, len(part)) for part in together]
    if refused and not records:
        raise DataError("\n".join(dict.fromkeys(refused.values())))
    return RunPlan(matrix, tuple(records), tuple(groups), refused)


def _cell(want: Wanted, task: Task, condition: str, fold: int, seed: int) -> Cell:
    decisive = {
        "format": CELL_FORMAT,
        "system": want.system.identity,
        "name": want.system.name,
        "task": task.name,
        "protocol": want.protocol,
        "content": task.content_hash,
        "folds": task.folds_hash,
        "labels": task.labels,
        "fold": task.folds[fold].name,
        "seed": seed,
        "condition": condition,
    }
    return Cell(
        hash_json(decisive),
        want.system.name,
        task.name,
        want.protocol,
        condition,
        fold,
        task.folds[fold].name,
        seed,
    )
