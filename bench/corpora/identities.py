"""Names of speakers, sessions and dialogues as tables write them: words that name nobody, and one name in two spellings.

A missing value that was turned into text (``nan``, ``None``) would be one person with the clips of many; a column that went
through floats (``1.0`` beside ``1``) would be two persons with the clips of one, on both sides of a split.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

NOBODY = frozenset({
    "nan", "none", "null", "nil", "n/a", "n.a.", "#n/a", "<na>", "<nan>", "<unk>", "nat", "unk", "unknown", "unknown speaker",
    "undefined", "not available", "missing", "?", "??", "-", "--", "_", ".", "-1", "-1.0",
})  # fmt: skip
"""What stands for a value that nobody knows, case folded."""
SHOWN = 4
"""How many spellings a sentence names."""


@dataclass(frozen=True)
class IdentityNote:
    """Names that are not what they seem: words that name nobody, several spellings of one name, or names but for leading zeros.

    ``names`` are the words, or the first names that belong together; ``clips`` carry them.
    """

    column: str
    kind: Literal["nobody", "spelling", "zeros"]
    names: tuple[str, ...]
    groups: int
    clips: int

    @property
    def sentence(self) -> str:
        """The note in words, by name."""
        shown = " and ".join(map(repr, self.names))
        if self.kind == "nobody":
            mend = (
                f"leave the cell blank, or, where it is a name, write it otherwise (e.g. '{self.names[0]}_')"
            )
            return f"{self.clips} clip(s) have the {self.column} {shown}, which names nobody and is read as blank; {mend}"
        if self.kind == "zeros":
            return (
                f"{self.groups} pair(s) of {self.column}s differ only in leading zeros, first {shown}: they stay two, on one side "
                f"of every fold ({self.clips} clips); if they are one, write it in one way"
            )
        return (
            f"{self.groups} {self.column}(s) are written in several ways, first {shown}: ids that differ only in case, "
            f"separators or a trailing '.0' are read as one ({self.clips} clips); write each in one way"
        )

    @property
    def nameless(self) -> str:
        """The note in words for publication: whoever it is stays private."""
        if self.kind == "nobody":
            return f"{self.clips} clip(s) have a {self.column} that names nobody (nan, none, unknown …), read as blank"
        if self.kind == "zeros":
            return f"{self.groups} pair(s) of {self.column}s differ only in leading zeros; they stay on one side of every fold"
        return f"{self.groups} {self.column}(s) are written in several ways (case, separators, '.0') and read as one"


def read_names(column: str, values: Sequence[str]) -> tuple[tuple[str, ...], list[IdentityNote]]:
    """Read a column of identities: nobody's words become blank, spellings of one name become one.

    Args:
        column: what the notes call it.
        values: as written, stripped (clips,).

    Returns:
        The names (clips,), and what was read otherwise than written.

    >>> read_names("speaker", ["1", "1.0", "nan"])[0]
    ('1', '1', '')
    """
    known, notes = blank_nobody(column, values)
    counts = Counter(v for v in known if v)
    if several := _alike(counts, one_spelling):
        chosen = {name: _plainest(names, counts) for names in several for name in names}
        notes.append(_note(column, "spelling", several, counts))
        known = tuple(chosen.get(v, v) for v in known)
        counts = Counter(v for v in known if v)
    if column == "speaker" and (padded := _alike(counts, without_zeros)):
        notes.append(_note(column, "zeros", padded, counts))
    return known, notes


def _alike(counts: Counter[str], form: Callable[[str], str]) -> list[list[str]]:
    """Names that have one form, where they are several; in alphabetical order."""
    same: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts):
        same[form(name)].append(name)
    return sorted(names for names in same.values() if len(names) > 1)


def _note(
    column: str, kind: Literal["spelling", "zeros"], alike: list[list[str]], counts: Counter[str]
) -> IdentityNote:
    clips = sum(counts[name] for names in alike for name in names)
    return IdentityNote(column, kind, tuple(alike[0][:SHOWN]), len(alike), clips)


def blank_nobody(column: str, values: Sequence[str]) -> tuple[tuple[str, ...], list[IdentityNote]]:
    """Make words that name nobody blank.

    Args:
        column: what the notes call it.
        values: as written, stripped (clips,).

    Returns:
        The values (clips,), and a note where there were such words.
    """
    distinct = set(values)
    words = {v for v in distinct if " ".join(v.casefold().split()) in NOBODY}
    # NA is R's missing value, and initials where the other names are two letters, too.
    if "NA" in distinct and not any(re.fullmatch(r"[^\W\d_]{2}", v) for v in distinct - {"NA"}):
        words.add("NA")
    if not words:
        return tuple(values), []
    clips = sum(v in words for v in values)
    note = IdentityNote(column, "nobody", tuple(sorted(words)[:SHOWN]), len(words), clips)
    return tuple("" if v in words else v for v in values), [note]


def one_spelling(name: str) -> str:
    """Reduce a name to what all its spellings share; identifiers are text, so leading zeros count.

    >>> one_spelling("Spk_07"), one_spelling("spk 07"), one_spelling("3.0"), one_spelling("03")
    ('spk-07', 'spk-07', '3', '03')
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = re.sub(r"[\s_\-\u2010-\u2015]+", "-", text.strip())
    return re.sub(r"(?<![\d.])(\d+)\.0+$", r"\1", text)


def without_zeros(name: str) -> str:
    """:func:`one_spelling` without the zeros that numbers begin with: what a column of numbers makes of ``03``.

    >>> without_zeros("03"), without_zeros("Spk_007"), without_zeros("1.05")
    ('3', 'spk-7', '1.05')
    """
    return re.sub(r"(?<!\d)(?<!\d\.)0+(?=\d)", "", one_spelling(name))


def _plainest(names: Sequence[str], counts: Counter[str]) -> str:
    """The spelling that stands for all: none that went through floats, then the most frequent, the shortest, the first."""
    return min(names, key=lambda n: (bool(re.search(r"\.0+$", n)), -counts[n], len(n), n))
