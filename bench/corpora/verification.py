"""Verifying a corpus: every file decoded again and compared with the sounds it had when the suite first decoded it.

The decoded store alone cannot tell: its shards are named after sizes and times of files, so a changed file simply has
another shard. A manifest per corpus folder keeps the hash each clip had first, until the user removes it; and where
``metadata.csv`` has a column ``pcm_hash``, as ``corpus prepare`` writes it, each clip must also have that one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.audio.decoding import AUDIO_SUFFIXES, decode_examined, pcm_hash
from bench.audio.store import read_shard
from bench.corpora.decoded import CorpusTable
from bench.corpora.metadata import read_rows
from bench.corpora.prepared import METADATA
from bench.corpora.soundness import ClipFinding, ClipSound, examination_path, examine, keep_examination
from bench.errors import DataError
from bench.protocols import SAMPLE_RATE
from bench.storage.atomic import write_json
from bench.storage.hashing import digest

HASHES = "pcm_hash"


@dataclass(frozen=True)
class Unreadable:
    """A clip that gives no sound, and why."""

    clip_id: str
    reason: str


@dataclass(frozen=True)
class Verification:
    """What verifying found, by clip id.

    ``changed``: another sound than before. ``unlike_metadata``: another sound than ``pcm_hash`` in ``metadata.csv`` says.
    ``missing``: listed, but no such file. ``unreadable``: there, but no audio.
    ``dropped``: known before, no longer listed. ``new``: listed, never decoded before. ``unlisted``: audio files
    that ``metadata.csv`` does not name. The last two are news, not faults.
    """

    name: str
    folder: str
    clips: int
    compared: int
    changed: tuple[str, ...]
    unlike_metadata: tuple[str, ...]
    missing: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    dropped: tuple[str, ...]
    new: tuple[str, ...]
    unlisted: tuple[str, ...]
    findings: tuple[ClipFinding, ...]
    """What is odd about the sound of single clips; it is as it was all the same."""
    manifest: str
    first_time: bool

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.changed or self.unlike_metadata or self.missing or self.unreadable or self.dropped)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "ok": self.sound}


def manifest_path(table: CorpusTable, cache: Path) -> Path:
    """Return where the known hashes of a corpus folder are kept."""
    folder = table.corpus.folder.resolve()
    return cache / "manifests" / f"{table.corpus.card.name}-{digest(str(folder), length=4)}.json"


def remember_hashes(table: CorpusTable, cache: Path) -> None:
    """Note the hashes of a decoded corpus, unless some are noted already: the first ones stay the reference."""
    path = manifest_path(table, cache)
    if not path.exists():
        _write_manifest(path, {c.clip_id: c.pcm_hash for c in table.decoded() if c.message is None})


def verify_corpus(table: CorpusTable, cache: Path, progress: Callable[[int], object] = int) -> Verification:
    """Decode every clip anew and compare with the manifest, or else with the decoded store.

    Clips decoded for the first time are added to the manifest when nothing is wrong.

    Args:
        table: the corpus.
        cache: folder of manifests and of decoded audio.
        progress: called with 1 for each clip.

    Returns:
        What differs, by clip id.
    """
    path = manifest_path(table, cache)
    known = _read_manifest(path)
    first_time = known is None
    if known is None:
        known = _stored_hashes(table)
    folder = table.corpus.folder
    promised = _promised_hashes(table)
    decoded: dict[str, str] = {}
    missing, unreadable = [], []
    heard = []
    for clip_id, seconds in zip(table.metadata.clip_ids, table.metadata.seconds, strict=True):
        if not (folder / clip_id).is_file():
            missing.append(clip_id)
        else:
            try:
                pcm, examined = decode_examined(folder / clip_id)
                decoded[clip_id] = pcm_hash(pcm)
                heard.append(ClipSound(clip_id, len(pcm) / SAMPLE_RATE, examined, None, seconds))
            except DataError as error:
                if promised.get(clip_id) != "":  # a clip that never gave a sound is as it was
                    unreadable.append(Unreadable(clip_id, str(error)))
        progress(1)
    listed = set(table.metadata.clip_ids)
    name, findings = table.corpus.card.name, examine(heard)
    keep_examination(examination_path(folder, name, cache), name, len(listed), findings)
    found = Verification(
        name=name,
        folder=str(folder),
        clips=len(listed),
        compared=len(decoded.keys() & (known.keys() | promised.keys())),
        changed=tuple(i for i, h in decoded.items() if known.get(i, h) != h),
        unlike_metadata=tuple(i for i, h in decoded.items() if (promised.get(i) or h) != h),
        missing=tuple(missing),
        unreadable=tuple(unreadable),
        dropped=tuple(sorted(known.keys() - listed)),
        new=() if first_time else tuple(i for i in decoded if i not in known),
        unlisted=unlisted_audio(table),
        findings=tuple(findings),
        manifest=str(path),
        first_time=first_time,
    )
    if first_time or found.sound:
        _write_manifest(path, {**decoded, **known})
    return found


def unlisted_audio(table: CorpusTable) -> tuple[str, ...]:
    """Return the audio files in the corpus folder that ``metadata.csv`` does not name."""
    folder, listed = table.corpus.folder, set(table.metadata.clip_ids)
    files = (
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES
    )
    return tuple(sorted(f for f in files if f not in listed))


def _promised_hashes(table: CorpusTable) -> dict[str, str]:
    """Return the column ``pcm_hash`` of a corpus by clip id, "" for a clip prepared without sound; {} without the column."""
    _, rows = read_rows(table.corpus.folder / METADATA, table.corpus.card)
    if HASHES not in rows[0]:
        return {}
    hashes = ((row[HASHES] or "").strip() for row in rows)
    return dict(zip(table.metadata.clip_ids, hashes, strict=True))


def _stored_hashes(table: CorpusTable) -> dict[str, str]:
    """What the decoded store knows of files whose size and time have not changed since."""
    shards = (read_shard(s) or [] for s in table.shards)
    return {c.clip_id: c.pcm_hash for clips in shards for c in clips if c.message is None}


def _read_manifest(path: Path) -> dict[str, str] | None:
    try:
        hashes = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: the noted hashes cannot be read ({error}); remove the file and verify again"
        ) from None
    return {str(k): str(v) for k, v in hashes.items()}


def _write_manifest(path: Path, hashes: Mapping[str, str]) -> None:
    write_json(path, dict(hashes))
