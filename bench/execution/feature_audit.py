"""Looking after stored features: why a clip's are there or not, whether they are whole, and which no card reaches."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.execution.planning.systems import System
from bench.features.store import FeatureStore, shard_fault

WRITING = 3600.0
"""Seconds after which a file that was never renamed belongs to nobody."""
Reason = Literal["no card reaches it", "damaged", "left by a writer that was killed"]


@dataclass(frozen=True)
class TaskCoverage:
    """How much of a task's audio a key answers for."""

    task: str
    clips: int
    stored: int
    failed: int
    """Clips that the encoder failed on; they are tried again by the next run."""
    undecoded: int
    """Clips whose audio was never decoded here, so that nobody knows under which hash they would lie."""
    first_failure: str | None


@dataclass(frozen=True)
class KeyDifference:
    """A stored key of the same encoder that is not the wanted one, and every ingredient that tells them apart."""

    key: str
    differs: Mapping[str, tuple[Any, Any]]
    """Ingredient → (stored, wanted)."""


@dataclass(frozen=True)
class Explanation:
    """What a system's features are found by, and why they are stored or missing."""

    system: str
    key: str | None
    identity: Mapping[str, Any] | None
    blocked: str | None
    tasks: tuple[TaskCoverage, ...]
    others: tuple[KeyDifference, ...]
    empty: bool = False
    """Nothing at all is stored under the key."""

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.key is None:
            return f"{self.system} reads no stored features: its adapter hears the audio itself"
        clips, stored = sum(t.clips for t in self.tasks), sum(t.stored for t in self.tasks)
        if not clips:
            return "no task to look for: name one, and its corpus with --data or SERBENCH_DATA"
        if stored == clips:
            return f"all {clips} clips are stored under this key"
        sentence = f"{stored} of {clips} clips are stored under this key"
        if undecoded := sum(t.undecoded for t in self.tasks):
            sentence += f"; {undecoded} never decoded here"
        if failed := sum(t.failed for t in self.tasks):
            sentence += f"; on {failed} the encoder failed, and the next run tries again"
        changed = [o for o in self.others if not o.differs.keys() <= {"every", "pooled"}]
        if self.empty and changed:
            nearest = changed[0]
            sentence += f"; another key of this encoder is stored ({nearest.key}), which differs in {', '.join(nearest.differs)}"
        elif rest := clips - stored - failed - undecoded:
            sentence += f"; {rest} never encoded under it"
        return sentence

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "system": self.system,
            "key": self.key,
            "verdict": self.verdict,
            "blocked": self.blocked,
            "identity": dict(self.identity) if self.identity else None,
            "tasks": [vars(t) for t in self.tasks],
            "others": [
                {
                    "key": o.key,
                    "differs": {
                        name: {"stored": stored, "wanted": wanted}
                        for name, (stored, wanted) in o.differs.items()
                    },
                }
                for o in self.others
            ],
        }


def explain(system: System, tasks: Mapping[str, Sequence[str]], store: FeatureStore) -> Explanation:
    """Say what a system's features are found by.

    Args:
        system: whose features are looked for.
        tasks: PCM hashes of the clips by task, blank where a clip was never decoded here.
        store: where features lie.

    Returns:
        The key, what it is the hash of, how much of each task it answers for, and the stored keys of the same encoder.
    """
    key = system.feature_key
    if key is None:
        return Explanation(
            system=system.name, key=None, identity=None, blocked=system.blocked, tasks=(), others=()
        )
    reader = store.reader(key)
    coverage = []
    for name, hashes in tasks.items():
        failures = [m for h in hashes if h and (m := reader.failure(h)) is not None]
        coverage.append(
            TaskCoverage(
                task=name,
                clips=len(hashes),
                stored=sum(h in reader for h in hashes),
                failed=len(failures),
                undecoded=sum(not h for h in hashes),
                first_failure=failures[0] if failures else None,
            )
        )
    return Explanation(
        system=system.name,
        key=key,
        identity=system.feature_identity,
        blocked=system.blocked,
        tasks=tuple(coverage),
        others=_others(system, store),
        empty=len(reader) == 0,
    )


def _others(system: System, store: FeatureStore) -> tuple[KeyDifference, ...]:
    """Stored keys of the same encoder, those that differ in least first."""
    wanted = dict(system.feature_identity or {})
    found = []
    for key in store.stored_keys():
        stored = store.identity(key)
        if key == system.feature_key or stored is None or stored.get("encoder") != wanted.get("encoder"):
            continue
        pairs = _differences(stored, wanted)
        found.append(KeyDifference(key, pairs))
    return tuple(sorted(found, key=lambda d: (len(d.differs), d.key)))


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Ingredients that differ, parameters and versions one by one (``params.input``, ``versions.torch``)."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted({*stored, *wanted}):
        a, b = stored.get(name), wanted.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= {f"{name}.{k}": pair for k, pair in _differences(a, b).items()}
        elif a != b:
            found[name] = (a, b)
    return found


@dataclass(frozen=True)
class ShardState:
    """A shard file: how large it is, and what is wrong with it (None: nothing)."""

    path: Path
    key: str
    bytes: int
    fault: str | None


def verify(store: FeatureStore) -> list[ShardState]:
    """Read every shard and compare it with the checksum it was written with."""
    return [
        ShardState(path, key, path.stat().st_size, shard_fault(path))
        for key in store.stored_keys()
        for path in store.shards(key)
    ]


@dataclass(frozen=True)
class Waste:
    """A file or a key's folder that can go."""

    path: Path
    key: str
    bytes: int
    reason: Reason
    identity: Mapping[str, Any] | None


def waste(store: FeatureStore, systems: Collection[System]) -> list[Waste]:
    """List what can go: keys that none of the systems reaches, damaged shards, what killed writers left.

    A system whose weights are not at hand has a key that nobody knows: every key of its encoder and parameters is
    spared.
    """
    reached = {key for s in systems for key in (s.feature_key, s.pooled_key) if key is not None}
    unknown = [s.feature_identity for s in systems if s.blocked is not None and s.feature_identity]
    found = []
    for key in store.stored_keys():
        folder, identity = store.root / key, store.identity(key)
        spared = identity is not None and any(
            all(u[name] == identity.get(name) for name in ("encoder", "params")) for u in unknown
        )
        if key not in reached and not spared:
            found.append(Waste(folder, key, _size(folder), "no card reaches it", identity))
            continue
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            if path.name.endswith(".tmp") and time.time() - path.stat().st_mtime > WRITING:
                found.append(
                    Waste(path, key, path.stat().st_size, "left by a writer that was killed", identity)
                )
            elif path in store.shards(key) and shard_fault(path) is not None:
                found.append(Waste(path, key, path.stat().st_size, "damaged", identity))
    return found


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def remove(found: Sequence[Waste]) -> int:
    """Delete what :func:`waste` listed. Returns the bytes that are free again."""
    for item in found:
        if item.path.is_dir():
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)
    return sum(item.bytes for item in found)
