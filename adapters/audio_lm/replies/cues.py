"""The words around an emotion word that tell how it is meant, read from ``cues.yaml``."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import field_validator

from bench.cards.typed_yaml import Strict, read_typed

WORD = r"[^\W\u0b80-\u0bff\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[\u0300-\u036f]"
"""A character of a word in a script that puts spaces between words (Tamil has its own rule)."""


class Cues(Strict):
    """One language's cues; every kind is explained at the head of ``cues.yaml``."""

    always: bool = False
    excludes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    swapped: tuple[str, ...] = ()
    negators: tuple[str, ...] = ()
    denies_all: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    denied_before: tuple[str, ...] = ()
    denied_after: tuple[str, ...] = ()
    hedges: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    conceded: tuple[str, ...] = ()
    conceded_before: tuple[str, ...] = ()
    contrast: tuple[str, ...] = ()
    supposed: tuple[str, ...] = ()
    counterfactual: tuple[str, ...] = ()
    topic: tuple[str, ...] = ()
    concessive: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    alternative: tuple[str, ...] = ()
    primary: tuple[str, ...] = ()
    primary_after: tuple[str, ...] = ()
    minor: tuple[str, ...] = ()
    conclusion: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
    answer_keys: tuple[str, ...] = ()
    final_keys: tuple[str, ...] = ()
    answer_words: tuple[str, ...] = ()
    copulas: tuple[str, ...] = ()
    yeas: tuple[str, ...] = ()
    nays: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()

    @field_validator("*", mode="after")
    @classmethod
    def _compiles(cls, value: object) -> object:
        for pattern in value if isinstance(value, tuple) else ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
        return value


class _CueTable(Strict):
    languages: dict[str, Cues]


@functools.cache
def cue_table() -> dict[str, Cues]:
    """Read the cues of every language (once)."""
    return read_typed(Path(__file__).with_name("cues.yaml"), _CueTable).languages


def languages_read(asked: str, found: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return the languages whose cues count: the one asked for, those always read, those the reply was found to use."""
    table = cue_table()
    asked = asked.lower().replace("_", "-").split("-")[0]
    excluded = table[asked].excludes if asked in table else ()
    always = {name for name, cues in table.items() if cues.always}
    return frozenset(({asked} | always | found) & set(table) - set(excluded))


@dataclass(frozen=True)
class CuePattern:
    """All cues of one kind in some languages, tried as one pattern would be.

    The languages always read are one expression and every further language is its own: a set of languages costs no compiling,
    which took ten times as long as the reading where replies mix languages.
    """

    parts: tuple[re.Pattern[str], ...]

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Yield the matches of every part."""
        for part in self.parts:
            yield from part.finditer(text)

    def search(self, text: str, start: int = 0, end: int | None = None) -> re.Match[str] | None:
        """Return the first match in the text.

        Args:
            text: folded.
            start: where the search begins.
            end: where it ends; None: with the text.
        """
        stop = len(text) if end is None else end
        found = [m for part in self.parts if (m := part.search(text, start, stop))]
        return min(found, key=lambda m: m.start(), default=None)

    def match(self, text: str, start: int = 0, end: int | None = None) -> re.Match[str] | None:
        """Match at one place.

        Args:
            text: what is looked through.
            start: where the match must begin.
            end: beyond which none of it may lie; None for the end of the text.

        Returns:
            The match, None where there is none.
        """
        stop = len(text) if end is None else end
        return next((m for part in self.parts if (m := part.match(text, start, stop))), None)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """Return the match of the whole text."""
        return next((m for part in self.parts if (m := part.fullmatch(text))), None)

    def sub(self, by: str, text: str) -> str:
        """Replace every match."""
        for part in self.parts:
            text = part.sub(by, text)
        return text

    @property
    def pattern(self) -> str:
        """The cues as one expression, to be built into another."""
        return "|".join(part.pattern for part in self.parts)


@functools.lru_cache(maxsize=4096)
def cue_pattern(kind: str, languages: frozenset[str]) -> CuePattern:
    """Return the cues of a kind (a field of :class:`Cues`) in these languages."""
    table = cue_table()
    always = frozenset(name for name in languages if table[name].always)
    sets = [always, *(frozenset({name}) for name in sorted(languages - always))]
    return CuePattern(
        tuple(p for names in sets if (p := _compiled(kind, names)) is not None) or (re.compile(r"(?!)"),)
    )


@functools.cache
def _compiled(kind: str, languages: frozenset[str]) -> re.Pattern[str] | None:
    table = cue_table()
    cues = [
        (
            _edges(language, pattern),
            unicodedata.normalize("NFKC", pattern),
        )  # as the text is: NFKC parts Thai "ำ"
        for language in sorted(languages)
        for pattern in sorted(getattr(table[language], kind), key=len, reverse=True)
    ]
    # Neighbours with the same edges share them: looked at once for all, and compiled once.
    parts = [
        f"(?:{before}(?:{'|'.join(pattern for _, pattern in group)}){after})"
        for (before, after), group in itertools.groupby(cues, key=lambda cue: cue[0])
    ]
    return re.compile("|".join(parts)) if parts else None


def _edges(language: str, pattern: str) -> tuple[str, str]:
    """Return what must stand before and behind a cue: scripts without spaces know no words."""
    if language in ("zh", "th"):
        return "", ""
    if language == "ta" and not re.search(
        r"(?<!\\)[a-z]{3}", pattern
    ):  # romanised cues stand for whole words
        return r"(?<![\u0b80-\u0bff])", r"(?![\u0b80-\u0bff])"
    return f"(?<!(?:{WORD}))", f"(?!{WORD})"
