"""Whether two copies of a corpus hold the same samples, and in how many clips they differ, told without handing out hashes of clips.

A published hash of one clip's samples would let anybody who has a recording test whether it is in the corpus. So a clip is marked
together with the clip that follows it in an order of all hashes: one mark needs the samples of two clips, and who holds one
clip alone can test nothing. There are three such orders. A clip counts as shared when any of its marks is: one that is the
same in both copies loses a mark only where its neighbour changed, in all three orders at once. Clips that cannot be decoded, and
a sound's second and later clips, would be marked with nothing or with themselves: they are left out.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.storage.hashing import digest

ORDERS = 3
MARK_BYTES = 4
"""Two different pairs of clips have the same mark with a probability of 2e-10."""
_Entry = tuple[bytes, ...]


@dataclass(frozen=True)
class CopyMarks:
    """Marks of one copy of a corpus in one language: per clip, its mark with its successor in each order, sorted."""

    clips: int
    """Different sounds in it."""
    entries: tuple[_Entry, ...]

    @classmethod
    def of_audio(cls, pcm_hashes: Sequence[str]) -> CopyMarks:
        """Mark the clips whose samples have these hashes."""
        following = [mark[0] for mark in _marks(pcm_hashes)]
        return cls(len(_sounds(pcm_hashes)), tuple(sorted(following)))

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        raw = b"".join(m for entry in self.entries for m in entry)
        return {"clips": self.clips, "marks": base64.b64encode(raw).decode()}

    @classmethod
    def from_json(cls, noted: dict[str, Any]) -> CopyMarks:
        """Read what :meth:`as_json` gave.

        Raises:
            KeyError, TypeError, ValueError: something else.
        """
        raw, clips = base64.b64decode(noted["marks"], validate=True), noted["clips"]
        size = ORDERS * MARK_BYTES
        if (
            isinstance(clips, bool)
            or not isinstance(clips, int)
            or len(raw) != (clips * size if clips > 1 else 0)
        ):
            raise ValueError(f"marks of {len(raw) / size:g} clips where {clips!r} are announced")
        marks = [raw[i : i + MARK_BYTES] for i in range(0, len(raw), MARK_BYTES)]
        return cls(clips, tuple(tuple(marks[i : i + ORDERS]) for i in range(0, len(marks), ORDERS)))

    def differing(self, other: CopyMarks) -> int:
        """In how many clips another copy differs, told from marks alone; a little high where many do."""
        theirs = [{entry[order] for entry in other.entries} for order in range(ORDERS)]
        shared = sum(any(entry[o] in theirs[o] for o in range(ORDERS)) for entry in self.entries)
        return max(self.clips, other.clips) - min(shared, other.clips)

    def differing_audio(self, pcm_hashes: Sequence[str]) -> int:
        """In how many clips the copy at hand differs: its clips' marks are known on both sides, so hardly ever one too many."""
        ours = [{entry[order] for entry in self.entries} for order in range(ORDERS)]
        shared = sum(
            any(side[o] in ours[o] for side in both for o in range(ORDERS)) for both in _marks(pcm_hashes)
        )
        return max(self.clips, len(_sounds(pcm_hashes))) - min(shared, self.clips)


def _sounds(pcm_hashes: Sequence[str]) -> list[str]:
    return sorted(set(pcm_hashes) - {""})


def _marks(pcm_hashes: Sequence[str]) -> list[tuple[_Entry, _Entry]]:
    """Each clip's marks with the clip that follows it in each order, and with the one that goes before it."""
    hashes = _sounds(pcm_hashes)
    if len(hashes) < 2:
        return []
    following: list[list[bytes]] = [[b""] * ORDERS for _ in hashes]
    before: list[list[bytes]] = [[b""] * ORDERS for _ in hashes]
    for o in range(ORDERS):
        place = sorted(range(len(hashes)), key=lambda i: digest(f"order {o}", hashes[i]))
        for this, after in zip(place, [*place[1:], *place[:1]], strict=True):
            mark = digest(f"copy marks {o}", hashes[this], hashes[after], length=MARK_BYTES)
            following[this][o] = before[after][o] = bytes.fromhex(mark)
    return [(tuple(f), tuple(b)) for f, b in zip(following, before, strict=True)]
