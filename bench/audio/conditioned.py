"""Clips under a condition: its identity for keys, the shards that hold what came out, and how they are made."""

from __future__ import annotations

import functools
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.audio.conditions import FORMAT, KINDS, noise_files, parse_condition
from bench.audio.store import SHARD_CLIPS, AudioShard, DecodedClip, StoredClip, read_shard, write_shard
from bench.storage.hashing import digest, hash_file, hash_json


def condition_facts(text: str, voices: str) -> dict[str, object]:
    """Everything that decides what a condition does to a clip, apart from the clip: JSON values, hashed into keys.

    ``voices`` is the hash of the task's clips, which babble is made of. The versions are those of the packages that
    compute the samples; of a folder of noises, the content counts.
    """
    condition = parse_condition(text)
    facts: dict[str, object] = {
        "format": FORMAT,
        "kind": condition.kind,
        "amount": condition.amount,
        "packages": {p: importlib.metadata.version(p) for p in KINDS[condition.kind].packages},
    }
    if condition.kind == "babble":
        facts["voices"] = voices
    if condition.kind == "recorded":
        facts["noises"] = _content(tuple(noise_files()))
    return facts


@functools.lru_cache(maxsize=8)
def _content(files: tuple[Path, ...]) -> str:
    return digest(*(hash_file(p) for p in files))


@dataclass(frozen=True)
class ConditionShard:
    """A run of clips of one task that go through a condition together, and where the outcome lies."""

    condition: str
    clips: tuple[DecodedClip, ...]
    speakers: tuple[str, ...]
    voices: tuple[tuple[str, DecodedClip], ...]
    """For babble: (speaker, clip) of the voices to choose from."""
    target: AudioShard

    def read(self) -> list[DecodedClip] | None:
        """Return the conditioned clips, or None when they are not (wholly) there."""
        return read_shard(self.target)


def plan_condition(
    condition: str, clips: Sequence[DecodedClip], speakers: Sequence[str], root: Path
) -> list[ConditionShard]:
    """Cut a task's clips into shards, each with the path its conditioned samples have or will have under ``root``.

    A path follows from the condition and from what the clips sound like, whatever their files are called.

    Args:
        condition: its name.
        clips: the task's decoded clips.
        speakers: one per clip.
        root: folder of conditioned audio.

    Returns:
        Shards of at most 64 clips, in order.

    Raises:
        ValueError: no such condition.
    """
    needs_voices = parse_condition(condition).kind == "babble"
    identity = hash_json(condition_facts(condition, voices_hash(clips)))
    voices = _voices(clips, speakers) if needs_voices else ()
    shards = []
    for start in range(0, len(clips), SHARD_CLIPS):
        part = slice(start, start + SHARD_CLIPS)
        own = tuple(clips[part])
        heard = [json.dumps([c.clip_id, c.pcm_hash, c.message]) for c in own]
        own_speakers = tuple(speakers[part])
        key = digest(identity, *heard, *(own_speakers if needs_voices else ()))
        target = AudioShard(Path(), tuple(c.clip_id for c in own), root / key[:2] / f"{key}.i16")
        shards.append(ConditionShard(condition, own, own_speakers, voices, target))
    return shards


def voices_hash(clips: Sequence[DecodedClip]) -> str:
    """Hash what a task's clips sound like."""
    return digest(*sorted({c.pcm_hash for c in clips if c.message is None}))


VOICE_CLIPS = 96
"""From how many clips, at most, the voices of a babble are chosen."""


def _voices(clips: Sequence[DecodedClip], speakers: Sequence[str]) -> tuple[tuple[str, DecodedClip], ...]:
    """Choose the clips a babble is made of: the same ones every time, in turn over the speakers."""
    turns: dict[str, int] = {}
    dealt = []
    heard = sorted(
        (c.pcm_hash, s, c) for c, s in zip(clips, speakers, strict=True) if c.message is None and c.samples
    )
    for pcm, speaker, clip in sorted(heard, key=lambda h: h[:2]):
        turns[speaker] = turns.get(speaker, -1) + 1
        dealt.append(((turns[speaker], pcm), speaker, clip))
    dealt.sort(key=lambda d: d[0])
    return tuple((speaker, clip) for _, speaker, clip in dealt[:VOICE_CLIPS])


def apply_shard(shard: ConditionShard) -> int:
    """Put a shard's clips through its condition and write them. Returns how many clips were heard."""
    from bench.audio.decoding import pcm_hash
    from bench.audio.degradation import degrade

    condition = parse_condition(shard.condition)
    rows = []
    for clip, speaker in zip(shard.clips, shard.speakers, strict=True):
        if clip.message is not None:
            rows.append(StoredClip(clip.clip_id, clip.read_pcm(), "", clip.message))
            continue
        others = [v for s, v in shard.voices if v.pcm_hash != clip.pcm_hash and (s != speaker or not s)]
        pcm = degrade(condition, clip.read_pcm(), clip.pcm_hash, others)
        rows.append(StoredClip(clip.clip_id, pcm, pcm_hash(pcm), None))
    write_shard(shard.target, rows)
    return len(rows)
