"""What a suite gave: predictions per clip, its own figures, and what its files tell a reader, each with the words that show it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from tests.peers.corpus import Clip, Export
from tests.peers.whole_process import PeerFailed

QUESTIONS = (
    "interval of the score",
    "what the interval generalises over",
    "test against another system",
    "every class",
    "every speaker or fold",
    "answers per clip, in a table",
    "clips that failed",
    "whether speakers are shared with training",
)
ANSWERS, RECALLS = "answers per clip", "right answers per class and speaker"
"""What a suite's score can be made of; each is enough for UA and for intervals and tests over speakers."""
SHOWN = 100
"""Characters kept of the words that show something."""


class Told(BaseModel):
    """One question that a reader has, and where a suite's files answer it.

    Args:
        question: of :data:`QUESTIONS`.
        words: what stands there, cut; "" where nothing was found.
        file: where it stands, within the suite's output.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    question: str
    words: str = ""
    file: str = ""


@dataclass(frozen=True)
class Given:
    """What was read from a suite's output."""

    predictions: Mapping[str, str | None]
    """Emotion by name of the clip; None where the suite has no answer, or where it is wrong and does not say what it answered."""
    folds: Mapping[str, str]
    """Fold in which the suite tested a clip, under the suite's own name for it."""
    own_figures: Mapping[str, str]
    """The suite's own score, as it writes it, by file."""
    told: tuple[Told, ...]
    scored_from: str = ANSWERS
    """:data:`ANSWERS`, or :data:`RECALLS` where it writes no answers."""

    @property
    def answered(self) -> int:
        """Clips with an answer; where the suite writes counts alone, clips that are counted."""
        if self.scored_from == RECALLS:
            return len(self.predictions)
        return sum(answer is not None for answer in self.predictions.values())


class SuiteRun(Protocol):
    """One suite on the exported clips."""

    name: str
    recipe: str
    cold: str

    def packages(self) -> Mapping[str, str]:
        """Versions of what computes."""
        ...

    def warm_up(self, folder: Path) -> Sequence[Sequence[str]]:
        """Commands that are run once before anything is measured (byte code, lists of fonts)."""
        ...

    def prepare(self, export: Export, folder: Path) -> tuple[Sequence[Sequence[str]], Mapping[str, str]]:
        """Write the inputs of one turn into an empty folder; the commands to measure, and variables for them."""
        ...

    def read(self, export: Export, folder: Path) -> Given:
        """Read what the commands wrote there."""
        ...


def told_by(found: Mapping[str, tuple[str, str]]) -> tuple[Told, ...]:
    """Put (words, file) by question in the order of :data:`QUESTIONS`; a question that is not there is one without an answer.

    >>> told_by({"every class": ("angry, sad", "a.txt")})[3].words
    'angry, sad'
    """
    unknown = found.keys() - set(QUESTIONS)
    if unknown:
        raise ValueError(f"no such question: {sorted(unknown)}; expected some of {QUESTIONS}")
    return tuple(
        Told(question=q, words=found[q][0][:SHOWN], file=found[q][1]) if q in found else Told(question=q)
        for q in QUESTIONS
    )


def search_files(folder: Path, pattern: str, files: Sequence[Path]) -> tuple[str, str] | None:
    """The first words in text files that a pattern matches, with the file's name; None where none does."""
    for path in files:
        match = re.search(pattern, path.read_text(encoding="utf-8", errors="replace"))
        if match:
            return " ".join(match[0].split()), path.relative_to(folder).as_posix()
    return None


def prediction_faults(given: Given, clips: Sequence[Clip]) -> list[str]:
    """What keeps a suite's predictions from being on the same clips and folds as ours, in words.

    A fold is the same where the clips that a suite tests together are those of one of our folds, whatever it is called.
    """
    expected = {c.name: c for c in clips}
    missing, strange = expected.keys() - given.predictions.keys(), given.predictions.keys() - expected.keys()
    faults = []
    for what, names in (("without a row", missing), ("that were not given", strange)):
        if names:
            faults.append(f"{len(names)} clip(s) {what}, such as {min(names)}")
    labels = {c.emotion for c in clips}
    for name in sorted(set(given.predictions.values()) - labels - {None}, key=str):
        faults.append(f"the answer {name!r} is none of the classes ({', '.join(sorted(labels))})")
    pairs = {(given.folds.get(name, ""), clip.fold) for name, clip in expected.items()}
    theirs, ours = {a for a, _ in pairs}, {b for _, b in pairs}
    if not len(pairs) == len(theirs) == len(ours):
        faults.append(
            f"its {len(theirs)} folds are not our {len(ours)}: {len(pairs)} pairs of them share clips, expected one for each"
        )
    return faults


def only_file(folder: Path, pattern: str) -> Path:
    """The one file that a pattern names.

    Raises:
        PeerFailed: none, or several.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise PeerFailed(
            f"expected one file {pattern} below {folder.name}, found {len(found)}; another version of the suite may name it otherwise"
        )
    return found[0]
