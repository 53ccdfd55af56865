"""Which clip a name from elsewhere means: another folder before it, another ending, no folder at all, when it can mean only one."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench.corpora.metadata import plain_path
from bench.errors import DataError

PLAIN = "paths are written otherwise (./, doubled or turned strokes) than in metadata.csv"
PARTLY = "clips are named by a longer or shorter path that can mean only one clip each"
SPELLED = (
    "clips are named in other capitals or accents, or with another ending, that can mean only one clip each"
)
SHORTEST_ENDING, LONGEST_ENDING = 2, 5


class ClipNames:
    """The clips of a corpus, found by what a table calls them.

    Args:
        clips: all clips of the corpus, not the task's alone: a name that could also mean another clip means none.
    """

    def __init__(self, clips: Iterable[str]) -> None:
        self.exact = frozenset(clips)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for clip in sorted(self.exact):
            self._by_stem[_stem(_folded(clip))].append(clip)

    def find(self, name: str) -> tuple[str | None, str]:
        """Return the clip that a name means, and what liberty was taken (blank for none); None where it means none.

        Raises:
            DataError: it may mean several.

        >>> ClipNames(["audio/a.wav", "audio/b.wav"]).find("/data/x/audio/a.flac")[0]
        'audio/a.wav'
        """
        if name in self.exact:
            return name, ""
        plain = plain_path(name.replace("\\", "/").strip())
        if plain in self.exact:
            return plain, PLAIN
        levels: dict[int, list[str]] = defaultdict(list)
        for clip in self._candidates(plain):
            if (level := _likeness(plain, clip)) is not None:
                levels[level].append(clip)
        if not levels:
            return None, ""
        best = levels[min(levels)]
        if len(best) > 1:
            raise DataError(
                f"{name[:120]!r} may be {' or '.join(map(repr, best[:3]))}; write the path as in metadata.csv"
            )
        return best[0], PARTLY if min(levels) in WHOLE_WORDS else SPELLED

    def _candidates(self, plain: str) -> Sequence[str]:
        folded = _folded(plain)
        stems = dict.fromkeys((_stem(folded), folded.rpartition("/")[2]))
        return [clip for stem in stems for clip in self._by_stem.get(stem, ())]


WHOLE_WORDS = (0, 3)
"""Likenesses of names that are written alike as far as they go."""


def _likeness(name: str, clip: str) -> int | None:
    """How much a name is like a clip's, 0 most: one ends in the other, or the last parts are equal; then so folded, then without ending."""
    forms = [
        (name, clip),
        (_folded(name), _folded(clip)),
        (_bare(_folded(name)), _bare(_folded(clip))),
        (_folded(name), _bare(_folded(clip))),
    ]
    for i, (a, b) in enumerate(forms):
        if _ends_in(a, b):
            return min(i, 2)
    for i, (a, b) in enumerate(forms):
        if a.rpartition("/")[2] == b.rpartition("/")[2]:
            return 3 + min(i, 2)
    return None


def _ends_in(a: str, b: str) -> bool:
    return a == b or a.endswith(f"/{b}") or b.endswith(f"/{a}")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _bare(path: str) -> str:
    """A path without its ending, where it has one that may be a sound file's."""
    head, dot, ending = path.rpartition(".")
    known = dot and SHORTEST_ENDING <= len(ending) <= LONGEST_ENDING and ending.isalnum()
    return head if known and not head.endswith("/") else path


def _stem(path: str) -> str:
    return _bare(path.rpartition("/")[2])
