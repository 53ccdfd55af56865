"""From a matrix to the work it means: systems resolved, cells with their keys, fits grouped into jobs."""

from __future__ import annotations

import fnmatch
import importlib.metadata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.audio.conditions import CLEAN
from bench.cards.corpus import Protocol
from bench.cards.labels import View
from bench.cards.probe_names import PROBES
from bench.cards.registry import load_system, match_systems, with_settings
from bench.cards.system import SystemCard
from bench.cards.weights import find_weights, local_weights
from bench.errors import CannotRun, UsageError, nearest
from bench.features.store import feature_identity, pooled_identity
from bench.matrix import Entry, Matrix
from bench.protocols import Weights
from bench.serving import PYTHON_VARIABLE, vllm_python
from bench.storage.hashing import hash_json
from bench.storage.source_code import adapter_hash, closure_hash
from bench.tasks import Task, match_tasks, split_task_name
from bench.tasks.names import regime, training_name
from bench.tasks.training_data import Material, Source
from bench.tasks.transfer import trainings

FEATURE_PACKAGES = ("torch", "transformers", "s3prl", "opensmile", "numpy")
"""Packages whose arithmetic decides features; their versions are part of a feature's key, with those that a card lists."""


@dataclass(frozen=True)
class System:
    """A system card with its weights found, or the reason why it cannot run here."""

    card: SystemCard
    weights: Weights | None
    identity: str
    """Hash of what decides its answers: code, parameters, weights content. Titles and descriptions do not."""
    feature_key: str | None
    feature_identity: Mapping[str, Any] | None
    """What ``feature_key`` is the hash of."""
    blocked: str | None

    @property
    def name(self) -> str:
        """The system's name."""
        return self.card.name

    @property
    def feature_params(self) -> Mapping[str, Any] | None:
        """What the card's features section tells its encoder; None without one."""
        return None if self.card.features is None else self.card.features.params

    @property
    def pooled_key(self) -> str | None:
        """Key of the means of the same encoder's frames: ``feature_key`` where means are kept."""
        return hash_json(pooled_identity(self.feature_identity)) if self.feature_identity else None


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
        """The line of the matrix that it belongs to; see :attr:`Wanted.identity`."""
        return (self.system, self.task, self.protocol, self.training, self.view, self.train_condition)


@dataclass(frozen=True)
class Group:
    """Cells that are computed together: all folds, seeds and conditions of a probe, or all conditions of one fit."""

    system: System
    task: Task
    cells: tuple[Cell, ...]
    fits: int
    material: Material
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
    sources: tuple[Source, ...] = ()

    @property
    def training_name(self) -> str:
        """What was learnt from, in one word; blank for the clean audio of the task itself."""
        return training_name(self.training, self.task.view, self.train_condition)

    @property
    def stem(self) -> str:
        """File name of the record, without ending."""
        how = regime(self.protocol, self.training_name)
        return f"{self.system.name}__{self.task.name}__{how}__{self.condition}"


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


def resolve_system(card: SystemCard, *, fetch: bool = True, starts_servers: bool = False) -> System:
    """Find a system's weights and hash what decides its answers; what is missing becomes ``blocked``.

    ``starts_servers``: the caller starts the server of an Audio-LLM where its card tells how (a run does).
    """
    weights, blocked = None, None
    if card.probe is not None and card.probe not in PROBES:
        raise UsageError(
            f"card {card.name!r}: there is no probe {card.probe!r}; {nearest(card.probe, PROBES)}"
        )
    if card.family == "audio-llm":
        # Its server holds the weights; a local copy is used and hashed where there is one, and never fetched here.
        weights = local_weights(card.weights) if card.weights else None
        blocked = _without_server(card, starts_servers)
    elif card.weights is not None:
        try:
            weights = find_weights(card.weights, fetch=fetch)
        except CannotRun as error:
            blocked = str(error)
    weights_hash = weights.content_hash if weights else None
    identity = _feature_identity(card, weights_hash)
    key = hash_json(identity) if identity else None
    code = (
        adapter_hash(card.adapter)
        if card.adapter
        else closure_hash("bench.features.probes")
        if card.probe
        else None
    )
    decisive = {
        "adapter": card.adapter,
        "probe": card.probe,
        "params": card.params,
        "revision": card.weights.revision if card.weights else None,
        "code": code,
        "packages": _versions(card.packages),
        "features": key,
        "weights": weights_hash,
    }
    return System(card, weights, hash_json(decisive), key, identity, blocked)


def _feature_identity(card: SystemCard, weights_hash: str | None) -> dict[str, Any] | None:
    """What decides a card's features; None without an encoder."""
    spec = card.features
    if spec is None:
        return None
    return feature_identity(
        spec.encoder,
        adapter_hash(spec.encoder),
        spec.params,
        weights_hash,
        spec.pooled,
        every=spec.every,
        versions=_versions((*FEATURE_PACKAGES, *card.packages)),
    )


def _without_server(card: SystemCard, starts_servers: bool) -> str | None:
    """Why an Audio-LLM cannot be asked here, or None when its server is known or can be started."""
    if card.server is not None and card.adapter is not None:
        return None
    address = f"give its address with --set {card.name}:server=http://HOST:PORT/v1"
    if card.adapter is None:
        return f"needs a server and an adapter, and its card names no adapter yet; then {address}"
    if card.serve is None or card.serve.engine == "closed" or not starts_servers:
        return f"needs a server: {address}"
    if vllm_python() is None:
        return f"needs a server: {address}, or name a Python that has vLLM in {PYTHON_VARIABLE} and it is started here"
    return None


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of the packages that are installed; what is missing stops a system when it is run."""
    found = {}
    for name in packages:
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
        return f"{self.system.name}__{self.task}__{how}__{condition}"


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
            systems[card.name] = resolve_system(
                with_settings(card, settings.get(card.name, {})), fetch=fetch, starts_servers=True
            )
        return systems[card.name]

    wanted: dict[tuple[str, ...], Wanted] = {}
    for entry in matrix.entries:
        named = [resolved(n) for n in dict.fromkeys(n for p in entry.systems for n in match_systems(p))]
        if entry.stands_in_for is not None and resolved(entry.stands_in_for).blocked is None:
            continue
        for system in named:
            if entry.protocol == "zero-shot" and system.card.probe is not None:
                raise UsageError(
                    f"matrix {matrix.name!r}: {system.name} is a probe, which must be trained; it cannot run zero-shot"
                )
            seeds = entry.seeds if system.card.seeds else entry.seeds[:1]
            for want in _lines(matrix, entry, system, seeds, task_names, synthetic_names):
                if wanted.setdefault(want.identity, want) != want:
                    raise UsageError(
                        f"matrix {matrix.name!r}: {system.name} on {want.task} ({entry.protocol}) stands in two entries with "
                        "different seeds or conditions; keep one"
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


def _lines(
    matrix: Matrix,
    entry: Entry,
    system: System,
    seeds: tuple[int, ...],
    task_names: Sequence[str],
    synthetic_names: Sequence[str],
) -> Iterator[Wanted]:
    """One line per task, and in transfer per training; a pattern for training skips the target itself."""
    learnt = [""]
    view: View = "native"
    if entry.protocol == "transfer":
        known = [*task_names, *(synthetic_names if entry.synthetic else [])]
        learnt, view = trainings(entry.training, known), entry.view
    for task in _tasks_of(entry, task_names, synthetic_names):
        for training in learnt:
            if training != task or training in entry.training:
                yield Wanted(
                    system,
                    task,
                    entry.protocol,
                    seeds,
                    entry.conditions or matrix.conditions,
                    training,
                    view,
                    entry.train_condition,
                )


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
    fields: dict[str, Callable[[Wanted], Sequence[str]]] = {
        "system": lambda w: [w.system.name],
        "task": lambda w: [w.task],
        "protocol": lambda w: [w.protocol],
        "training": lambda w: [w.training],
        "condition": lambda w: w.conditions,
    }
    for key, patterns in only.items():
        if key not in fields:
            raise UsageError(f"--only {key}=…: {nearest(key, fields)}")
        values = {value for w in wanted for value in fields[key](w) if value}
        for pattern in patterns:
            if not fnmatch.filter(values, pattern):
                raise UsageError(
                    f"--only {key}={pattern}: the matrix has no such {key}; {nearest(pattern, values)}"
                )
        matching = {value for pattern in patterns for value in values if fnmatch.fnmatchcase(value, pattern)}
        kept = [w for w in kept if matching & set(fields[key](w))]
        if key == "condition":
            kept = [replace(w, conditions=tuple(c for c in w.conditions if c in matching)) for w in kept]
    return kept
