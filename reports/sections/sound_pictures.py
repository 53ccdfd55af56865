"""Pictures of clips for the clip browser, many in one script file, so that a page loads only those it shows."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass

from bench.audio.store import DecodedClip
from bench.storage.hashing import digest
from bench.tasks import Task
from reports.charts.spectrogram import VERSION, spectrogram_png

IN_A_FILE = 256
"""Pictures in one file: about 700 kB of speech."""


@dataclass(frozen=True)
class PictureFile:
    """Pictures of some clips of a corpus.

    ``key`` names their samples and how they are drawn.
    """

    corpus: str
    number: int
    key: str
    clips: tuple[DecodedClip, ...]

    def text(self) -> str:
        """The pictures as JSON: base64 of a PNG for each clip, blank where it has no audio. Reads and draws every clip."""
        drawn = [
            "" if c.message is not None else base64.b64encode(spectrogram_png(c.read())).decode()
            for c in self.clips
        ]
        return json.dumps(drawn, separators=(",", ":"))


class SoundPictures:
    """Which clips are to be drawn, each once however many tasks and conditions show it."""

    def __init__(self) -> None:
        self._clips: dict[str, dict[str, tuple[int, DecodedClip]]] = {}

    def numbers(self, task: Task) -> list[int] | None:
        """Number the clips of a task, by row; None where they are not drawn.

        A picture can be turned into speech again, more or less, so it counts as a copy: it is made where the card says
        ``access: open``. A clip that was put together from segments has no samples of its own.
        """
        if task.card.access != "open" or task.by_clip:
            return None
        known = self._clips.setdefault(task.corpus_language, {})
        return [known.setdefault(d.pcm_hash, (len(known), d))[0] for d in task.decoded]

    def files(self) -> Iterator[PictureFile]:
        """The files that hold them, corpus by corpus."""
        for corpus, known in self._clips.items():
            clips = [clip for _, clip in known.values()]
            for start in range(0, len(clips), IN_A_FILE):
                own = tuple(clips[start : start + IN_A_FILE])
                yield PictureFile(
                    corpus, start // IN_A_FILE, digest(VERSION, *(c.pcm_hash for c in own)), own
                )
