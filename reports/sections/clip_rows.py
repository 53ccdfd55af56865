"""The clips of a comparison as the clip browser reads them: every clip, and every system's answer to it with its probability or its error.

A corpus of 7,442 clips and 20 systems must stand in one script file of about a megabyte, so whole numbers are written as
digits to the base 64, a fixed number of digits each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from bench.protocols import SAMPLE_RATE
from bench.scoring.clip_answers import NOWHERE, ClipAnswers
from bench.tasks import Task
from reports.sections.hard_clips import OTHER, JudgedClips, votes_words
from reports.sections.rated_clips import RatedClips

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
"""None that could end a string, or begin markup."""
VOTES = 4


@dataclass(frozen=True)
class Packed:
    """Whole numbers from 0 on, ``width`` digits to the base 64 each, the highest first."""

    width: int
    text: str

    @classmethod
    def of(cls, values: Iterable[int]) -> Packed:
        """Pack numbers.

        >>> Packed.of([0, 1, 63]), Packed.of([64])
        (Packed(width=1, text='AB/'), Packed(width=2, text='BA'))
        """
        numbers = list(values)
        width = 1
        while max(numbers, default=0) >= 64**width:
            width += 1
        places = range(6 * (width - 1), -1, -6)
        return cls(width, "".join(DIGITS[n >> p & 63] for n in numbers for p in places))

    def numbers(self) -> list[int]:
        """The numbers again.

        >>> Packed.of([5, 700, 64]).numbers()
        [5, 700, 64]
        """
        place = {digit: k for k, digit in enumerate(DIGITS)}
        found = []
        for start in range(0, len(self.text), self.width):
            value = 0
            for digit in self.text[start : start + self.width]:
                value = 64 * value + place[digit]
            found.append(value)
        return found


@dataclass(frozen=True)
class Address:
    """Where a player finds a file of this machine, from the folder of the report; it is not looked through for what is private."""

    text: str


@dataclass(frozen=True)
class ClipRows:
    """What the browser shows of one comparison.

    ``data`` is JSON but for values that are :class:`Packed` or :class:`Address`; ``systems`` are those whose answers it has.
    ``dimension`` is what the clips are rated on; blank where they are labelled.
    """

    protocol: str
    condition: str
    systems: tuple[str, ...]
    clips: int
    data: Mapping[str, Any]
    dimension: str = ""


@dataclass(frozen=True)
class Sound:
    """How the browser finds what a clip sounds like.

    Args:
        address: where a clip's player finds its file, None where there is none.
        folder: what addresses begin with where the rest is the clip's name, quoted.
        picture: number of a clip's spectrogram, by its row in the task; None where the card lets nobody copy.
    """

    address: Callable[[str], str | None]
    folder: str
    picture: Callable[[int], int | None]


def clip_rows(
    judged: JudgedClips, protocol: str, condition: str, sound: Sound | None, left_out: int
) -> ClipRows:
    """Lay out every clip of a comparison, hardest first, with every answer.

    Args:
        judged: the clips with every answer.
        protocol: how systems learnt.
        condition: what was done to the audio that they heard.
        sound: how players find their files; None for no players.
        left_out: systems of the comparison whose answers are not read.
    """
    order = np.array(judged.order, dtype=np.intp)
    words = _Words(judged.labels)
    systems = [_system(judged, k, order, words) for k in range(len(judged.systems))]
    data: dict[str, Any] = {
        "protocol": protocol,
        "condition": condition,
        "labels": len(judged.labels),
        "systems": systems,
        "words": words.known,
        "truth": Packed.of(judged.truth[order].tolist()),
        "hard": int(judged.hard.sum()),
        "together": list(judged.together),
        "left_out": left_out,
        **_of_clips(judged.task, judged.rows[order], sound),
    }
    return ClipRows(protocol, condition, _names(judged.systems), len(order), data)


def rated_rows(
    rated: RatedClips, protocol: str, condition: str, sound: Sound | None, left_out: int
) -> ClipRows:
    """Lay out every clip that carries a dimension, the largest error first, with every answer.

    Args:
        rated: the clips with every answer.
        protocol: how systems learnt.
        condition: what was done to the audio that they heard.
        sound: how players find their files; None for no players.
        left_out: systems of the comparison whose answers are not read.
    """
    order = np.array(rated.order, dtype=np.intp)
    systems = [
        {
            "name": s.record.system,
            "track": s.record.facts.track,
            "group": next(g for g, own in enumerate(rated.groups) if k in own),
            "said": _per_mille(rated.given[k][order]),
        }
        for k, s in enumerate(rated.systems)
    ]
    data: dict[str, Any] = {
        "protocol": protocol,
        "condition": condition,
        "dimension": rated.dimension,
        "systems": systems,
        "truth": Packed.of(np.rint(1000 * rated.truth[order]).astype(int).tolist()),
        "error": _per_mille(rated.error[order]),
        "together": list(rated.together),
        "left_out": left_out,
        **_of_clips(rated.task, rated.rows[order], sound),
    }
    return ClipRows(protocol, condition, _names(rated.systems), len(order), data, rated.dimension)


def _names(systems: Sequence[ClipAnswers]) -> tuple[str, ...]:
    return tuple(s.record.system for s in systems)


def _of_clips(task: Task, rows: NDArray[np.intp], sound: Sound | None) -> dict[str, Any]:
    """What is known of clips whoever answers: names, lengths, speakers, what listeners said, and how they are heard."""
    votes, speakers = _Words(), _Words()
    made: dict[str, Any] = {
        "clips": [task.clip_ids[r] for r in rows],
        "seconds": Packed.of(round(10 * task.decoded[r].samples / SAMPLE_RATE) for r in rows),
        "speaker": Packed.of([speakers.code(task.speakers[r]) for r in rows]),
        "speakers": speakers.known,
        "vote": Packed.of([votes.code(votes_words(task, int(r), VOTES)) for r in rows]),
        "votes": votes.known,
    }
    return made if sound is None else {**made, "sound": _sound(task.clip_ids, rows.tolist(), sound)}


class _Words:
    """Words by number, in the order in which they came."""

    def __init__(self, first: Sequence[str] = ()) -> None:
        self.known = list(first)
        self._place = {word: k for k, word in enumerate(first)}

    def code(self, word: str) -> int:
        """The number of a word."""
        if word not in self._place:
            self._place[word] = len(self.known)
            self.known.append(word)
        return self._place[word]


def _system(judged: JudgedClips, k: int, order: NDArray[np.intp], words: _Words) -> dict[str, Any]:
    system, codes = judged.systems[k], judged.predicted[k]
    facts = system.record.facts
    said = [
        words.code(_outside(system, int(judged.rows[j]))) if codes[j] == NOWHERE else int(codes[j])
        for j in order
    ]
    group = next(g for g, own in enumerate(judged.groups) if k in own)
    return {
        "name": facts.system,
        "track": facts.track,
        "group": group,
        "said": Packed.of(said),
        "sure": _per_mille(judged.confidence[k][order]),
        "given": _per_mille(judged.given[k][order]),
    }


def _outside(system: ClipAnswers, row: int) -> str:
    """An answer outside the view in the system's own word, or how the clip ended."""
    table = system.table
    status, answer = table.statuses[row], table.answers[row]
    return f"{answer} (other)" if status == "ok" and answer else f"({status if status != 'ok' else OTHER})"


def _per_mille(shares: NDArray[np.float64]) -> Packed | None:
    """Shares of 1 as thousandths, plus one; 0 where there is none. None where nowhere is one."""
    if not np.isfinite(shares).any():
        return None
    return Packed.of(
        np.where(np.isfinite(shares), np.rint(1000 * np.nan_to_num(shares)) + 1, 0).astype(int).tolist()
    )


def _sound(clips: Sequence[str], rows: Sequence[int], sound: Sound) -> dict[str, Any]:
    """Addresses of files: a folder for all that are called as their clip is, and the others one by one."""
    others: dict[str, Address | None] = {}
    for place, row in enumerate(rows):
        found = sound.address(clips[row])
        if found != f"{sound.folder}{quote(clips[row])}":
            others[str(place)] = None if found is None else Address(found)
    pictures = [sound.picture(row) for row in rows]
    numbered = None if None in pictures else Packed.of([p for p in pictures if p is not None])
    return {"folder": Address(sound.folder), "others": others, "pictures": numbered}
