"""``serbench features``: what is in the store of encoder output, why, and what can go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.audio.store import DecodedClip
from bench.cards.registry import load_system, system_names, with_settings
from bench.cli.printing import console, print_json, print_table
from bench.corpora.decoded import NOT_YET, open_table
from bench.corpora.prepared import data_folders, find_corpora
from bench.errors import CannotRun, UsageError, nearest
from bench.execution.deep_audit import DeepVerification, verify_deeply
from bench.execution.devices import one_device
from bench.execution.feature_audit import Explanation, ShardState, explain, remove, verify, waste
from bench.execution.planning.estimates import human_bytes
from bench.execution.planning.systems import System, resolve_system
from bench.execution.worker import quiet_single_thread
from bench.features.store import FeatureStore
from bench.storage.run_folder import cache_folder
from bench.tasks import split_task_name


def why(
    system: str,
    task: str | None,
    data: Sequence[Path],
    settings: Mapping[str, Mapping[str, str]],
    *,
    as_json: bool,
) -> int:
    """Say what a system's features are found by, and why they are or are not in the store.

    Args:
        system: its name, or the path of its card.
        task: whose clips to look for; None: the key alone.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        settings: ``--set`` values by system; of this system alone.
        as_json: print JSON instead of tables.

    Returns:
        The exit code: 0.

    Raises:
        UsageError: no such task, or settings of another system.
    """
    card = load_system(system)
    for name in settings:
        if name != card.name:
            raise UsageError(f"--set {name}:…: this asks about {card.name} alone")
    resolved = resolve_system(with_settings(card, settings.get(card.name, {})), fetch=False)
    found = explain(resolved, _clips_of(task, data), _store())
    if as_json:
        print_json(found.as_json())
    else:
        _print_explanation(found)
    return 0


def _clips_of(task: str | None, data: Sequence[Path]) -> dict[str, list[str]]:
    """PCM hashes per task of the corpora at hand (of one task, where it is named), blank for what is not decoded yet.

    Clips whose file holds no audio are left out: no encoder will ever hear them.
    """
    folders = data_folders(data)
    corpora = find_corpora(folders)[0] if folders else []
    found: dict[str, list[str]] = {}
    for corpus in corpora:
        table = open_table(corpus, cache_folder())
        clips = table.decoded(forecast=True)
        for name in table.task_names:
            language = split_task_name(name)[1]
            found[name] = [
                c.pcm_hash
                for c, spoken in zip(clips, table.metadata.languages, strict=True)
                if spoken == language and c.message in (None, NOT_YET)
            ]
    if task is None:
        return found
    base = task.partition("@")[0]
    if base not in found:
        raise UsageError(
            f"no task {task!r} at hand; {nearest(base, found)}; corpora are named with --data or SERBENCH_DATA"
        )
    return {base: found[base]}


def _print_explanation(found: Explanation) -> None:
    out = console()
    out.print(f"{found.system}: {found.verdict}", soft_wrap=True)
    if found.blocked:
        out.print(f"cannot run here, so its key is not the final one: {found.blocked}", soft_wrap=True)
    if found.identity is None:
        return
    print_table(f"key {found.key}", ("ingredient", "value"), _flat(found.identity))
    if found.tasks:
        print_table(
            "",
            ("task", "clips", "stored", "failed", "not decoded", "first failure"),
            [(t.task, t.clips, t.stored, t.failed, t.undecoded, t.first_failure) for t in found.tasks],
            right=("clips", "stored", "failed", "not decoded"),
        )
    for other in found.others:
        print_table(
            f"also stored: {other.key}",
            ("differs in", "stored", "wanted"),
            [(name, stored, wanted) for name, (stored, wanted) in other.differs.items()],
        )


def _flat(identity: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in identity.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return rows


def verify_store(*, as_json: bool) -> int:
    """Read every shard again; 1 where one is damaged."""
    store = _store()
    states = verify(store)
    damaged = [s for s in states if s.fault is not None]
    if as_json:
        shown = [{"path": str(s.path), "key": s.key, "bytes": s.bytes, "fault": s.fault} for s in damaged]
        print_json({"folder": str(store.root), "shards": len(states), "damaged": shown})
        return 1 if damaged else 0
    for s in damaged:
        console().print(f"damaged: {s.path}: {s.fault}", soft_wrap=True)
    size = human_bytes(sum(s.bytes for s in states))
    verdict = f"{len(damaged)} damaged; runs take them for absent and encode their clips again, and serbench features gc --delete removes them"
    console().print(
        f"{store.root}: {len(states)} shards, {size}: {verdict if damaged else 'all whole'}", soft_wrap=True
    )
    return 1 if damaged else 0


def verify_deep(systems: Sequence[str], data: Sequence[Path], *, device: str, as_json: bool) -> int:
    """Encode clips at hand once more and compare with what is stored under their hashes.

    Args:
        systems: names or cards; none: every system that has features stored and whose weights are at hand.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        device: auto, cpu, cuda or cuda:N.
        as_json: print JSON instead of sentences.

    Returns:
        The exit code: 1 where stored features are not those of the audio, or nothing could be compared.

    Raises:
        UsageError: a system that reads no stored features.
        CannotRun: a system that was named cannot run here.
    """
    quiet_single_thread()
    store, place = _store(), one_device(device)
    stored = set(store.stored_keys())
    clips = _decoded_clips(data)
    found = []
    for name in systems or system_names():
        card = load_system(name)
        if card.features is None:
            if systems:
                raise UsageError(f"{card.name} reads no stored features: its adapter hears the audio itself")
            continue
        resolved = resolve_system(card, fetch=False)
        if systems and resolved.blocked is not None:
            raise CannotRun(f"{card.name}: {resolved.blocked}")
        if resolved.blocked is None and resolved.feature_key in stored:
            found.append(verify_deeply(resolved, clips, store, device=place))
    damaged = [state for state in verify(store) if state.fault is not None]
    compared = any(f.compared for f in found)
    if as_json:
        shards = [{"path": str(s.path), "key": s.key, "bytes": s.bytes, "fault": s.fault} for s in damaged]
        systems_found = [vars(f) | {"ok": f.sound} for f in found]
        print_json({"folder": str(store.root), "damaged": shards, "systems": systems_found})
    else:
        _print_deep(store, damaged, found)
    return int(bool(damaged) or not compared or not all(f.sound for f in found))


def _print_deep(
    store: FeatureStore, damaged: Sequence[ShardState], found: Sequence[DeepVerification]
) -> None:
    lines = [f"damaged: {s.path}: {s.fault}" for s in damaged]
    for f in found:
        remedy = f"; they were not made of this audio: remove {store.root / f.key} and run again"
        lines.append(
            f"{f.system}: {f.compared} clips encoded again, {len(f.differing)} differ from what is stored"
            f"{remedy if f.differing else ''}"
        )
    if not any(f.compared for f in found):
        lines.append(
            "nothing to compare: no system with stored features can run here on the decoded corpora at hand "
            "(--data, SERBENCH_DATA)"
        )
    for line in lines:
        console().print(line, soft_wrap=True, markup=False)


def _decoded_clips(data: Sequence[Path]) -> list[tuple[DecodedClip, str]]:
    """Every decoded clip of the corpora at hand, with its language."""
    folders = data_folders(data)
    found: list[tuple[DecodedClip, str]] = []
    for corpus in find_corpora(folders)[0] if folders else []:
        table = open_table(corpus, cache_folder())
        found += zip(table.decoded(forecast=True), table.metadata.languages, strict=True)
    return found


def gc(cards: Sequence[str], *, delete: bool, as_json: bool) -> int:
    """List, and with ``delete`` remove, what no shipped card nor any of ``cards`` reaches.

    Args:
        cards: further cards, by name or path, whose features stay.
        delete: remove what is listed.
        as_json: print JSON instead of tables.

    Returns:
        The exit code: 0.
    """
    store = _store()
    named = [load_system(name) for name in (*system_names(), *cards)]
    systems: list[System] = [resolve_system(c, fetch=False) for c in named if c.features is not None]
    found = waste(store, systems)
    freed = remove(found) if delete else sum(w.bytes for w in found)
    if as_json:
        shown = [
            {"path": str(w.path), "key": w.key, "bytes": w.bytes, "reason": w.reason, "identity": w.identity}
            for w in found
        ]
        print_json({"folder": str(store.root), "deleted": delete, "bytes": freed, "found": shown})
        return 0
    if found:
        print_table(
            "",
            ("key", "file", "size", "why", "encoder"),
            [
                (
                    w.key,
                    w.path.name if w.path.is_file() else "all",
                    human_bytes(w.bytes),
                    w.reason,
                    (w.identity or {}).get("encoder"),
                )
                for w in found
            ],
        )
    done = "removed" if delete else "would be removed with --delete"
    console().print(f"{store.root}: {len(found)} entries, {human_bytes(freed)} {done}", soft_wrap=True)
    return 0


def _store() -> FeatureStore:
    return FeatureStore(cache_folder() / "features")
