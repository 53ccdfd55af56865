"""Decoded audio, and what conditions make of it, kept once: shards of int16 samples, memory-mapped, with an index of hashes.

A shard's key covers names, sizes and times of its source files and the decode path's version, so a changed file is
decoded anew and nothing else is. Samples are written before the index and both by rename: a torn shard is no shard.
Samples are hashed again whenever they are read: what changed on the disk since is never used under the old hash.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.audio.decoding import DECODER, Pcm, decode_examined, pcm_hash, to_float
from bench.audio.examination import Examination
from bench.errors import DamagedStore, DataError
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
    examined: Examination | None = None
    """What the recording says about itself; None where it has no samples, or was stored by an older version."""

    def read_pcm(self) -> Pcm:
        """Return the decoded samples, int16 (samples,) at 16 kHz; they are what was stored, to the bit.

        Raises:
            DamagedStore: the file changed on the disk since. Its index is removed, so that the next run makes it anew.
        """
        pcm = _mapped(self.shard)[self.offset : self.offset + self.samples]
        if self.message is None and pcm_hash(pcm) != self.pcm_hash:
            self.shard.with_suffix(".json").unlink(missing_ok=True)
            _mapped.cache_clear()
            raise DamagedStore(
                f"{self.shard}: the decoded samples of {self.clip_id!r} are not those that were stored (their hash differs: the "
                "disk or another program changed them). Nothing was computed from them; run the same command again, and this "
                "file is made anew. 'serbench features verify --deep' finds features made of damaged samples by older versions"
            )
        return pcm

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
    examined: Examination | None = None


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
        clips = [
            DecodedClip(
                r["id"], r["hash"], r["samples"], r["offset"], shard.samples_path, r["message"],
                Examination.from_json(found) if (found := r.get("examined")) else None,
            )
            for r in rows
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = size == 2 * sum(c.samples for c in clips) and tuple(c.clip_id for c in clips) == shard.clip_ids
    return clips if whole else None


def decode_shard(shard: AudioShard) -> int:
    """Decode a shard's files and write it. Returns how many files were read; unreadable ones are noted, not raised."""
    rows = []
    for clip_id in shard.clip_ids:
        try:
            pcm, examined = decode_examined(shard.folder / clip_id)
        except DataError as error:
            rows.append(StoredClip(clip_id, np.empty(0, np.int16), "", str(error)))
        else:
            rows.append(StoredClip(clip_id, pcm, pcm_hash(pcm), None, examined))
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
                **({"examined": clip.examined.as_json()} if clip.examined else {}),
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
