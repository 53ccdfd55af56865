"""Whether prose asserts an emotion: a closed vocabulary beside the word (``assertions.yaml``); among other words it is no answer."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.cards.typed_yaml import Strict, read_typed

_LETTER = re.compile(r"[^\W\d_]|[\u0300-\u036f\u0b80-\u0bff\u0e00-\u0e7f]")
"""A character of a word: Tamil and Thai vowel signs are none to the ``re`` module."""
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3400-\u9fff]")
_WINDOW = 120
"""Characters beside an emotion word that are looked at."""
_Kind = Literal["anchors", "links", "joiners", "tails", "breaks"]


class Vocabulary(Strict):
    """One language's words; every kind is explained at the head of ``assertions.yaml``."""

    anchors: str
    links: str
    joiners: str
    tails: str
    breaks: str


class _Table(Strict):
    languages: dict[str, Vocabulary]


@dataclass(frozen=True)
class _Words:
    whole: frozenset[str]
    stems: tuple[str, ...]
    longest: int

    def holds(self, word: str) -> bool:
        return word in self.whole or (" " not in word and word.startswith(self.stems))


def asserted(before: str, after: str, languages: frozenset[str]) -> bool:
    """Whether an emotion word is asserted by what stands before and behind it in its clause.

    Args:
        before: folded; from the start of the clause.
        after: folded; to the end of the clause.
        languages: whose vocabulary counts.

    >>> asserted("the speaker sounds very ", "", frozenset({"en"})), asserted("the landlord was ", "", frozenset({"en"}))
    (True, False)
    >>> asserted("", " is the best answer", frozenset({"en"})), asserted("", " usually comes louder", frozenset({"en"}))
    (True, False)
    """
    return _reaches(before[::-1][:_WINDOW], "anchors", "links", languages) and _reaches(
        after[:_WINDOW], "breaks", "tails", languages
    )


def _reaches(text: str, goals: _Kind, steps: _Kind, languages: frozenset[str]) -> bool:
    """Whether words of ``steps`` alone lead to one of ``goals``, or to the end; a text before the emotion word comes reversed."""
    backwards = steps == "links"
    goal, step, joiner = (_words(kind, languages) for kind in (goals, steps, "joiners"))
    longest = max(goal.longest, step.longest)
    seen, todo = set[int](), [0]
    while todo:
        at = _next_word(text, todo.pop())
        if at == len(text):
            return True
        if at in seen:
            continue
        seen.add(at)
        for end in range(at + 1, min(at + longest, len(text)) + 1):
            if end < len(text) and not _parted(text[end - 1], text[end]):
                continue
            word = text[at:end][:: -1 if backwards else 1]
            if goal.holds(word):
                return True
            if step.holds(word):
                todo.append(end)
            if backwards and joiner.holds(word):
                todo += [end, _word_end(text, _next_word(text, end))]
    return False


def _next_word(text: str, at: int) -> int:
    while at < len(text) and not _LETTER.match(text[at]):
        at += 1
    return at


def _word_end(text: str, at: int) -> int:
    while at < len(text) and _LETTER.match(text[at]) and not _UNSPACED.match(text[at]):
        at += 1
    return at


def _parted(left: str, right: str) -> bool:
    """Whether a word may end between two characters."""
    if not (_LETTER.match(left) and _LETTER.match(right)):
        return True
    return bool(_UNSPACED.match(left) or _UNSPACED.match(right))


@functools.lru_cache(maxsize=1024)
def _words(kind: _Kind, languages: frozenset[str]) -> _Words:
    table = _table()
    words = {
        unicodedata.normalize("NFKC", word).casefold().replace("_", " ")
        for language in languages & set(table)
        for word in getattr(table[language], kind).split()
    }
    whole = frozenset(w for w in words if not w.endswith("*"))
    stems = tuple(sorted(w[:-1] for w in words if w.endswith("*")))
    return _Words(whole, stems, max(map(len, words), default=0) + 8)


@functools.cache
def _table() -> dict[str, Vocabulary]:
    return read_typed(Path(__file__).with_name("assertions.yaml"), _Table).languages
