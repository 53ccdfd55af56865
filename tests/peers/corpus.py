"""The clips that every suite is given: one corpus, its own sixteen-kilohertz samples as wav, its leave-one-speaker-out folds."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.prepared import find_corpora
from bench.errors import UsageError
from bench.protocols import SAMPLE_RATE
from bench.tasks import build_task

CORPUS, TASK = "emodb", "emodb.de@loso"


@dataclass(frozen=True)
class Clip:
    """A clip as the suites get it: ``name`` is the file's stem in every export."""

    name: str
    clip_id: str
    speaker: str
    emotion: str
    fold: str
    """Name of the fold that tests it."""


@dataclass(frozen=True)
class Export:
    """What was written for the peers, and where our own suite finds the corpus."""

    folder: Path
    prepared: Path
    clips: tuple[Clip, ...]
    content_hash: str = ""
    """Of the task."""

    @property
    def wavs(self) -> Path:
        """Folder of the wav files, one per clip."""
        return self.folder / "wav"

    def by_name(self) -> dict[str, Clip]:
        """Clips by the stem of their file."""
        return {c.name: c for c in self.clips}


def export(folder: Path, cache: Path) -> Export:
    """Write every clip as 16-bit wav, and say who speaks, which emotion, and in which fold it is tested.

    Args:
        folder: where ``wav/`` goes.
        cache: for decoded audio; none of the suites that are measured reads it.

    Raises:
        UsageError: the corpus is in none of the folders that SERBENCH_DATA names, or two clips would share a file.
    """
    named = [Path(p) for p in os.environ.get("SERBENCH_DATA", "").split(os.pathsep) if p]
    held = {c.card.name: c for c in find_corpora(named)[0]} if named else {}
    if CORPUS not in held:
        raise UsageError(
            f"no prepared corpus {CORPUS!r} in SERBENCH_DATA ({os.pathsep.join(map(str, named)) or 'not set'}); name the folder that holds it"
        )
    table = open_table(held[CORPUS], cache)
    decode_missing(table)
    task = build_task(table, TASK, "within")
    tested = {int(row): fold.name for fold in task.folds for row in fold.test}
    clips = []
    (folder / "wav").mkdir(parents=True)
    for row, (heard, speaker, emotion) in enumerate(
        zip(task.decoded, task.speakers, task.emotions, strict=True)
    ):
        if emotion is None or row not in tested:
            raise UsageError(
                f"{heard.clip_id} has no label or no fold: the suites would not be given the same clips"
            )
        clip = Clip(Path(heard.clip_id).stem, heard.clip_id, speaker, emotion, tested[row])
        soundfile.write(folder / "wav" / f"{clip.name}.wav", heard.read_pcm(), SAMPLE_RATE, subtype="PCM_16")
        clips.append(clip)
    if len({c.name for c in clips}) < len(clips):
        raise UsageError(f"two clips of {CORPUS} have the same file name: a peer could not tell them apart")
    return Export(folder, held[CORPUS].folder, tuple(clips), task.content_hash)


def fold_faults(clips: Sequence[Clip]) -> list[str]:
    """What keeps the folds from being those of leave one speaker out, in words; empty where nothing does."""
    speakers_of: dict[str, set[str]] = {}
    for clip in clips:
        speakers_of.setdefault(clip.fold, set()).add(clip.speaker)
    faults = [
        f"fold {fold} tests {len(found)} speakers ({', '.join(sorted(found))}), expected one"
        for fold, found in sorted(speakers_of.items())
        if len(found) != 1
    ]
    folds = Counter(s for found in speakers_of.values() for s in found)
    return faults + [f"{s} is tested in {n} folds, expected one" for s, n in sorted(folds.items()) if n > 1]


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table as the peers read it."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
