"""Decoded audio, and what conditions make of it, kept once: shards of int16 samples, memory-mapped, with an index of hashes.

A shard's key covers names, sizes and times of its source files and the decode path's version, so a changed file is
decoded anew and nothing else is. Samples are written before the index and both by rename: a torn shard is no shard.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.audio.decoding import DECODER, Pcm, decode, pcm_hash, to_float
from bench.errors import DataError
from bench.protocols import Waveform
from bench.storage.atomic import replacing, write_text
from bench.storage.hashing import digest

SHARD_CLIPS = 64


@dataclass(frozen=True)
class DecodedClip:
    """What decoding found: where the samples lie, or why there are none (``message``, then ``samples`` is 0)."""

    clip_id: str
    pcm_hash: str
    samples: int
    offset: int
    shard: Path
    message: str | None = None

    def read_pcm(self) -> Pcm:
        """Return the decoded samples, int16 (samples,) at 16 kHz."""
        return _mapped(self.shard)[self.offset : self.offset + self.samples]

    def read(self) -> Waveform:
        """Return the waveform, float32 (samples,) at 16 kHz."""
        return to_float(self.read_pcm())


@dataclass(frozen=True)
class StoredClip:
    """A clip on its way into a shard: its samples and their hash, or why it has none."""

    clip_id: str
    pcm: Pcm
    pcm_hash: str
    message: str | None


@dataclass(frozen=True)
class AudioShard:
    """A run of clips of one corpus that is decoded together."""

    folder: Path
    clip_ids: tuple[str, ...]
    samples_path: Path

    @property
    def index_path(self) -> Path:
        """The index beside the samples; present when the shard is whole."""
        return self.samples_path.with_suffix(".json")


def plan_shards(folder: Path, clip_ids: Sequence[str], root: Path) -> list[AudioShard]:
    """Cut a corpus into shards, each with the path its decoded samples have or will have under ``root``.

    Args:
        folder: the prepared corpus.
        clip_ids: file names in it.
        root: folder of decoded audio.

    Returns:
        Shards of at most 64 clips, in order.
    """
    shards = []
    for start in range(0, len(clip_ids), SHARD_CLIPS):
        ids = tuple(clip_ids[start : start + SHARD_CLIPS])
        key = digest(
            DECODER, str(folder.resolve()), *(part for i in ids for part in (i, _fingerprint(folder / i)))
        )
        shards.append(AudioShard(folder, ids, root / key[:2] / f"{key}.i16"))
    return shards


def _fingerprint(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size}/{status.st_mtime_ns}"


def read_shard(shard: AudioShard) -> list[DecodedClip] | None:
    """Return the decoded clips of a shard, or None when it is not (wholly) there."""
    try:
        rows = json.loads(shard.index_path.read_text(encoding="utf-8"))
        size = shard.samples_path.stat().st_size
        fields = [(r["id"], r["hash"], r["samples"], r["offset"], r["message"]) for r in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    clips = [DecodedClip(i, h, n, offset, shard.samples_path, message) for i, h, n, offset, message in fields]
    whole = size == 2 * sum(c.samples for c in clips) and tuple(c.clip_id for c in clips) == shard.clip_ids
    return clips if whole else None


def decode_shard(shard: AudioShard) -> int:
    """Decode a shard's files and write it. Returns how many files were read; unreadable ones are noted, not raised."""
    rows = []
    for clip_id in shard.clip_ids:
        try:
            pcm = decode(shard.folder / clip_id)
        except DataError as error:
            rows.append(StoredClip(clip_id, np.empty(0, np.int16), "", str(error)))
        else:
            rows.append(StoredClip(clip_id, pcm, pcm_hash(pcm), None))
    write_shard(shard, rows)
    return len(rows)


def write_shard(shard: AudioShard, clips: Sequence[StoredClip]) -> None:
    """Write a shard's samples, then its index."""
    rows, offset = [], 0
    for clip in clips:
        rows.append(
            {
                "id": clip.clip_id,
                "hash": clip.pcm_hash,
                "samples": len(clip.pcm),
                "offset": offset,
                "message": clip.message,
            }
        )
        offset += len(clip.pcm)
    with replacing(shard.samples_path) as temporary:
        temporary.write_bytes(np.concatenate([c.pcm for c in clips]).astype("<i2").tobytes())
    write_text(shard.index_path, json.dumps(rows, ensure_ascii=False))


@functools.lru_cache(maxsize=64)
def _mapped(path: Path) -> Pcm:
    if path.stat().st_size == 0:
        return np.empty(0, np.int16)
    return np.memmap(path, dtype="<i2", mode="r")
