"""Lettered options: "B", "(b)", "Answer: B", "B. sad"; read only where the letters' order is given."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LEAD = r"(?:option|choice|letter|answer|选项?|答案是?|pilihan|விருப்பம்)"
_ALONE = re.compile(rf"\W*(?:{_LEAD}\W*)?([A-Za-z])\W*", re.IGNORECASE)
_WITH_TEXT = re.compile(
    rf"\W*(?:{_LEAD}\W*)?(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Z])\s*[.):=\-–—])\s*(\S.*)", re.DOTALL
)
_SAID = re.compile(
    r"\b(?:answer|option|choice|letter|label|emotion)\W{0,3}(?:is|would be)?\W{0,3}"
    r"(?:\(([A-Za-z])\)|([A-Z]))(?![\w'’])|(?:选项?|选择|答案是?|答案为)\W{0,3}([A-Z])(?![A-Za-z])",
    re.IGNORECASE,
)


def letter_of(segment: str, options: Sequence[str]) -> tuple[str | None, str | None] | None:
    """Return (label by letter, remaining text) where a segment answers by letter; None where it does not.

    The label is None where the letter lies outside the options.

    >>> letter_of("(b)", ["happy", "sad"]), letter_of("B. sad", ["happy", "sad"]), letter_of("A sad voice", ["happy"])
    (('sad', None), ('sad', 'sad'), None)
    """
    alone = _ALONE.fullmatch(segment)
    if alone:
        return _label(alone.group(1), options), None
    with_text = _WITH_TEXT.fullmatch(segment)
    if with_text:
        letter = next(g for g in with_text.groups()[:3] if g)
        return _label(letter, options), with_text.group(4)
    return None


def stated_letters(text: str, options: Sequence[str]) -> set[str | None]:
    """Return the labels behind every "the answer is (B)" of a text; None among them for a letter not on offer."""
    found: set[str | None] = set()
    for match in _SAID.finditer(text):
        letter = next(g for g in match.groups() if g)
        if match.group(2) and not letter.isupper():
            continue
        found.add(_label(letter, options))
    return found


def _label(letter: str, options: Sequence[str]) -> str | None:
    place = ord(letter.upper()) - ord("A")
    return options[place] if 0 <= place < len(options) else None
