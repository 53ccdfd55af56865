"""Which clips a group of cells needs under which conditions, and what of it is not made yet: conditioned audio, features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.audio.conditioned import ConditionShard, plan_condition
from bench.audio.conditions import CLEAN
from bench.audio.store import DecodedClip
from bench.execution.jobs import EncodeJob
from bench.execution.planning.plan import Group
from bench.execution.planning.systems import System
from bench.features.store import FeatureStore
from bench.tasks.training_data import ConditionedClips

ENCODE_CLIPS = 48
"""Clips of one encoder job: small enough that a kill loses seconds, large enough to batch by length."""


def input_rows(group: Group) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Yield (condition, rows of the training data) for everything a group needs: training rows, then test rows."""
    folds = [group.data.folds[f] for f in dict.fromkeys(c.fold for c in group.cells)]
    yield group.train_condition, np.unique(np.concatenate([r for f in folds for r in (f.train, f.dev)]))
    for condition in group.conditions:
        tested = [group.data.folds[c.fold].test for c in group.cells if c.condition == condition]
        yield condition, np.unique(np.concatenate(tested))


class GroupInputs:
    """The conditioned clips in a cache. What was read or planned once is kept."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._shards: dict[tuple[str, int], tuple[object, list[ConditionShard]]] = {}
        self._clips: dict[Path, dict[str, DecodedClip]] = {}

    def shards(self, group: Group) -> list[ConditionShard]:
        """Every shard a group needs. Test clips are changed among those of their task, sources among themselves."""
        n = len(group.task)
        found: list[ConditionShard] = []
        for condition, rows in input_rows(group):
            if condition != CLEAN and rows.size:
                found += self._plan(condition, group, slice(0, n) if rows.max() < n else slice(n, None))
        return list({s.target.samples_path: s for s in found}.values())

    def _plan(self, condition: str, group: Group, part: slice) -> Sequence[ConditionShard]:
        key = (f"{condition}/{part.start}", id(group.data))
        if key not in self._shards:
            data = group.data
            planned = plan_condition(condition, data.decoded[part], data.speakers[part], self._root)
            self._shards[key] = (data, planned)
        return self._shards[key][1]

    def missing(self, groups: Sequence[Group]) -> list[ConditionShard]:
        """Shards that are not made yet, each once."""
        planned = {s.target.samples_path: s for g in groups for s in self.shards(g)}
        return [s for s in planned.values() if self._read(s) is None]

    def conditioned(self, group: Group) -> ConditionedClips:
        """The conditioned clips of a group, as far as they are made; rows it does not ask for are left out."""
        by_condition: dict[str, dict[str, DecodedClip]] = {}
        for shard in self.shards(group):
            by_condition.setdefault(shard.condition, {}).update(self._read(shard) or {})
        found: dict[str, dict[str, DecodedClip]] = {}
        for condition, rows in input_rows(group):
            made = by_condition.get(condition, {})
            hashes = {group.data.decoded[i].pcm_hash for i in rows}
            found.setdefault(condition, {}).update({h: made[h] for h in hashes if h in made})
        return found

    def changed(self, group: Group, condition: str) -> int | None:
        """How many test clips of a group's task a condition changes by as much as one sample.

        Args:
            group: any group of the task.
            condition: name of the condition.

        Returns:
            The number of clips; None for clean audio, and where the conditioned audio is not there.
        """
        if condition == CLEAN:
            return None
        sounding: dict[str, DecodedClip] = {}
        for shard in self._plan(condition, group, slice(0, len(group.task))):
            sounding.update(self._read(shard) or {})
        tested = np.unique(np.concatenate([f.test for f in group.data.folds]))
        clips = [c for i in tested if (c := group.data.decoded[i]).message is None]
        if any(c.pcm_hash not in sounding for c in clips):
            return None
        return len([c for c in clips if sounding[c.pcm_hash].pcm_hash != c.pcm_hash])

    def _read(self, shard: ConditionShard) -> dict[str, DecodedClip] | None:
        path = shard.target.samples_path
        if path not in self._clips:
            read = shard.read()
            if read is None:
                return None
            self._clips[path] = {c.pcm_hash: r for c, r in zip(shard.clips, read, strict=True)}
        return self._clips[path]


def missing_features(
    groups: Sequence[Group], cache: Path, inputs: GroupInputs | None = None
) -> list[tuple[EncodeJob, frozenset[str]]]:
    """Return the encoder jobs that groups wait for, each with the keys of the groups that need it.

    A clip is encoded once per feature key and sound, whichever corpora, systems and conditions share it. Clips whose
    condition is not made yet are left out.

    Args:
        groups: cells that are to be computed.
        cache: where features and conditioned audio are kept.
        inputs: conditioned clips that were looked up already; read from the cache unless given.

    Returns:
        Pairs (job, keys of the groups that wait for it), frames before means.
    """
    store = FeatureStore(cache / "features")
    inputs = inputs or GroupInputs(cache / "audio")
    needed: dict[str, dict[str, tuple[DecodedClip, str]]] = defaultdict(dict)
    users: dict[tuple[str, str], set[str]] = defaultdict(set)
    systems: dict[str, System] = {}
    for group in groups:
        key = group.system.feature_key
        if key is not None:
            systems.setdefault(key, group.system)
            for clip, language in _input_clips(group, inputs):
                needed[key].setdefault(clip.pcm_hash, (clip, language))
                users[key, clip.pcm_hash].add(group.key)
    jobs = []
    made: set[tuple[str, str]] = set()
    # Frames first: the means of the same encoder's frames are kept in the same pass, where somebody reads them.
    for key in sorted(needed, key=lambda k: systems[k].pooled_key == k):
        clips, twin = needed[key], str(systems[key].pooled_key)
        also = twin if twin != key and twin in needed else None
        missing = [clips[h] for h in store.missing(key, clips, retry_failures=True) if (key, h) not in made]
        for language in dict.fromkeys(lang for _, lang in missing):
            same = [clip for clip, lang in missing if lang == language]
            for start in range(0, len(same), ENCODE_CLIPS):
                part = tuple(same[start : start + ENCODE_CLIPS])
                keys = [key, *([also] if also else [])]
                made |= {(k, c.pcm_hash) for k in keys for c in part}
                needed_by = frozenset().union(*(users[k, c.pcm_hash] for k in keys for c in part))
                jobs.append(
                    (
                        EncodeJob(systems[key], part, language, cache=cache, also_pooled=also is not None),
                        needed_by,
                    )
                )
    return jobs


def _input_clips(group: Group, inputs: GroupInputs) -> Iterator[tuple[DecodedClip, str]]:
    """Yield every clip a group needs, as it sounds under its condition, with its language."""
    conditioned, data = inputs.conditioned(group), group.data
    for condition, rows in input_rows(group):
        for row in rows:
            clip = data.decoded[row]
            if condition != CLEAN and clip.message is None:
                sounding = conditioned[condition].get(clip.pcm_hash)
                if sounding is None:
                    continue
                clip = sounding
            if clip.message is None:
                yield clip, data.languages[row]
