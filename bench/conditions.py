"""Conditions: what is done to audio before a system hears it, as names with a number in them.

``clean`` · ``noise-20db`` (pink), ``white-20db``, ``babble-20db``, ``recorded-20db`` · ``reverb``, ``reverb-0.3s`` · ``telephone`` ·
``opus-16k``, ``mp3-32k`` · ``speed-0.9`` · ``cut-2s`` · ``pad-30s``, ``tile-30s``. What each does to the samples is in
:mod:`bench.degrading`; here are the grammar, the identity that goes into keys, and the store of what came out.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.audio_store import (
    SHARD_CLIPS,
    AudioShard,
    DecodedClip,
    StoredClip,
    read_shard,
    write_shard,
)
from bench.errors import CannotRun, nearest
from bench.storage.atomic import clear_os_errors
from bench.storage.hashing import digest, hash_file, hash_json

FORMAT = "serbench-conditions-1"
"""Raised whenever the same condition would give other samples."""
CLEAN = "clean"
NOISE_VARIABLE = "SERBENCH_NOISE"
NOISE_ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
MP3_RATES = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
"""Kilobits per second that MPEG-2 layer III has at 16 kHz."""


@dataclass(frozen=True)
class Kind:
    """One kind of condition: the number it takes, in which unit and range, and the packages whose code decides the samples."""

    says: str
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    default: float | None = None
    number: bool = True
    packages: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    CLEAN: Kind("the audio as it is", number=False),
    "noise": Kind("pink noise at a signal-to-noise ratio", "db", -20, 60, packages=("numpy",)),
    "white": Kind("white noise at a signal-to-noise ratio", "db", -20, 60, packages=("numpy",)),
    "babble": Kind("six other voices of the same task", "db", -20, 60, packages=("numpy",)),
    "recorded": Kind(f"a recording from the folder {NOISE_VARIABLE}", "db", -20, 60, packages=("numpy",)),
    "reverb": Kind(
        "a room of that reverberation time (Sabine)", "s", 0.1, 0.8, 0.5,
        packages=("numpy", "scipy", "pyroomacoustics"),
    ),
    "telephone": Kind("300–3400 Hz at 8 kHz through G.711 µ-law", number=False, packages=("scipy", "soxr", "av")),
    "opus": Kind("Opus at that many kbit/s", "k", 6, 256, packages=("soxr", "av")),
    "mp3": Kind("MP3 at that many kbit/s", "k", 8, 160, packages=("soxr", "av")),
    "speed": Kind("played faster or slower, pitch included", "", 0.5, 2.0, packages=("soxr",)),
    "cut": Kind("at most the middle so many seconds", "s", 0.1, 3600),
    "pad": Kind("trailing silence up to a length", "s", 0.1, 3600),
    "tile": Kind("repeated up to a length", "s", 0.1, 3600),
}  # fmt: skip
EXAMPLES = (
    CLEAN, "noise-20db", "white-10db", "babble-10db", "recorded-10db", "reverb", "reverb-0.3s", "telephone", "opus-16k",
    "mp3-32k", "speed-0.9", "cut-2s", "pad-30s", "tile-30s",
)  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """A parsed condition: its kind and number, and the name that says both."""

    name: str
    kind: str
    amount: float = 0.0


def parse_condition(text: str) -> Condition:
    """Parse a condition's name.

    Raises:
        ValueError: no such kind, a number out of range or in another unit; the message names the nearest valid one.

    >>> parse_condition("noise-20db")
    Condition(name='noise-20db', kind='noise', amount=20.0)
    >>> parse_condition("reverb").amount
    0.5
    """
    parts = re.fullmatch(r"([a-z0-9]+?)(?:-(-?\d+(?:\.\d+)?)([a-z]*))?", text)
    kind = KINDS.get(parts[1]) if parts else None
    if parts is None or kind is None:
        raise ValueError(f"{text!r} is no condition; {nearest(text, EXAMPLES, shown=len(EXAMPLES))}")
    name, number, unit = parts[1], parts[2], parts[3] or ""
    if not kind.number:
        if number is not None:
            raise ValueError(f"{text!r}: {name} takes no number; write {name!r}")
        return Condition(name, name)
    if number is None and kind.default is not None:
        return Condition(name, name, kind.default)
    form = f"{name}-NUMBER{kind.unit}"
    if number is None or unit != kind.unit:
        raise ValueError(f"{text!r}: expected {form}, like {_example(name)!r} ({kind.says})")
    amount = float(number)
    if not kind.low <= amount <= kind.high:
        raise ValueError(f"{text!r}: {form} takes {kind.low:g} to {kind.high:g}")
    if name == "mp3" and amount not in MP3_RATES:
        raise ValueError(f"{text!r}: MP3 has {', '.join(map(str, MP3_RATES))} kbit/s at 16 kHz")
    canonical = name if amount == kind.default else f"{name}-{amount:g}{kind.unit}"
    if text != canonical:
        raise ValueError(f"{text!r}: write {canonical!r}, so that one thing has one name")
    return Condition(canonical, name, amount)


def _example(kind: str) -> str:
    return next(e for e in EXAMPLES if e.partition("-")[0] == kind and "-" in e)


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


def noise_files() -> list[Path]:
    """Return the recordings of the folder that SERBENCH_NOISE names, in a fixed order.

    Raises:
        CannotRun: the variable names no folder, or one without recordings.
    """
    folder = Path(os.environ.get(NOISE_VARIABLE, ""))
    if not os.environ.get(NOISE_VARIABLE) or not folder.is_dir():
        raise CannotRun(
            f"the condition 'recorded-…db' needs noises: name a folder of recordings in {NOISE_VARIABLE}, or use noise-…db, "
            "white-…db or babble-…db, which need none"
        )
    with clear_os_errors(folder):
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in NOISE_ENDINGS)
    if not found:
        raise CannotRun(
            f"{folder}: holds no recording ({', '.join(NOISE_ENDINGS)}) to make 'recorded-…db' of"
        )
    return found


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
    from bench.audio import pcm_hash
    from bench.degrading import degrade

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
