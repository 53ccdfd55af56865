"""Lettered options: "B", "(b)", "Answer: B", "B. sad"; read only where the letters' order is given."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from adapters.audio_lm.replies.cues import cue_pattern

_LEAD = r"(?:option|choice|letter|answer|选项?|答案是?|pilihan|விருப்பம்)"
_ALONE = re.compile(rf"\W*(?:{_LEAD}\W*)?([A-Za-z])\W*", re.IGNORECASE)
_WITH_TEXT = re.compile(
    rf"\W*(?:{_LEAD}\W*)?(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Z])\s*[.):=\-–—/|]|([A-HJ-Z])(?:,|\s*(?=[(\[])))\s*(\S.*)",
    re.DOTALL,
)
_BEHIND = re.compile(r"\s*([^()\[\]]{2,60}?)\s*(?:\(([A-Z])\)|\[([A-Z])\])\W*")
"""A word with its letter behind it: "sad (C)"."""
_NOUN = r"(?:answer|option|choice|letter|label|emotion)"
_SAID = re.compile(
    rf"\b{_NOUN}\W{{0,3}}(?:(?:is|would be)\W{{0,3}}{_NOUN}?)?\W{{0,3}}"
    r"(?:\(([A-Za-z])\)|([A-Z]))(?![\w'’])|(?:选项?|选择|答案是?|答案为)\W{0,3}([A-Z])(?![A-Za-z])|(?<![A-Za-z])([A-Z])\W{0,2}(?:选项|選項)",
    re.IGNORECASE,
)
_LINE_ENDS = re.compile(r"[.!\"')*]{0,3}[ \t]*(?:\n|\Z)")
_DECIDED = re.compile(
    rf"\b(?:correct|right|best|final|chosen)\s(?:\w+\s)?{_NOUN}\s(?:is|would be)\W{{0,3}}$", re.IGNORECASE
)
_REJECTED = re.compile(
    r"[^.!?\n]{0,40}?\b(?:is|are|was|would be|seems?)\s(?:not|wrong|incorrect|false|unlikely|ruled out|excluded)\b"
    r"|[^.!?\n]{0,40}?\b(?:isn't|can't|cannot|does not|doesn't)\b",
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
        letter = next(g for g in with_text.groups()[:4] if g)
        return _label(letter, options), with_text.group(5)
    behind = _BEHIND.fullmatch(segment)
    if behind:
        return _label(behind.group(2) or behind.group(3), options), behind.group(1)
    return None


def stated_letters(text: str, options: Sequence[str], languages: frozenset[str]) -> set[str | None]:
    """Return the labels behind every "the answer is (B)" of a text; None among them for a letter not on offer.

    Args:
        text: plain.
        options: the labels in the order of their letters.
        languages: whose words for "answer" and "is" are read.
    """
    said = _said_in(languages).finditer(text)
    stated = [(next(g for g in m.groups() if g), m.end()) for m in said]
    found = {_label(letter, options) for letter, end in stated if not _REJECTED.match(text, end)}
    decided: set[str | None] = set()
    for match in _SAID.finditer(text):
        place = next(i for i, g in enumerate(match.groups(), 1) if g)
        letter = match.group(place)
        if place == 2 and letter.islower() and not _LINE_ENDS.match(text, match.end()):
            continue  # "the emotion is a sad one"
        if _REJECTED.match(text, match.end()):
            continue
        found.add(_label(letter, options))
        stated.append((letter, match.end()))
        if _DECIDED.search(text[: match.start(place)].rstrip(" (:*\"'")[-80:] + " "):
            decided.add(_label(letter, options))
    tied = {_label(m.group(1), options) for _, end in stated if (m := _tie(languages).match(text, end))}
    return (decided or found) | tied


@functools.lru_cache(maxsize=64)
def _said_in(languages: frozenset[str]) -> re.Pattern[str]:
    """Return the pattern of "jawapannya ialah (B)" or "saya pilih B" in these languages."""
    keys = "|".join(cue_pattern(kind, languages).pattern for kind in ("final_keys", "answer_keys"))
    copulas, chosen = (cue_pattern(kind, languages).pattern for kind in ("copulas", "conclusion"))
    return re.compile(
        rf"(?:(?i:{keys})(?:nya)?[^\S\n]{{0,3}}(?:\w{{2,12}}\s){{0,3}}(?i:{copulas})|(?i:{chosen}))\W{{0,3}}"
        r"(?:(?i:option|pilihan|huruf|opsi|letra|lựa chọn|phương án|ตัวเลือก|ข้อ|选项?|ang)\W{0,3})?"
        r"(?:\(([A-Za-z])\)|([A-Z]))(?![\w'’])"
        rf"|(?i:{keys})(?:nya)?[^\S\n]{{1,3}}(?:\w{{2,12}}\s){{0,2}}\(?([A-Z])\)?(?=\s{{0,2}}(?:[.,;:!。、\n(]|\Z))"
    )


@functools.lru_cache(maxsize=64)
def _tie(languages: frozenset[str]) -> re.Pattern[str]:
    """Return the pattern of " or (C)" behind a letter: a second answer."""
    joined = cue_pattern("joined", languages).pattern
    return re.compile(
        rf"\W{{0,3}}(?i:{joined}|/|&)\W{{0,3}}(?:[^\W\d]{{2,12}}\W{{1,2}})?\(?([A-H])(?![A-Za-z0-9'’])"
    )


_LONE = re.compile(r"(?<![\w'’.&/-])\(?([A-Z])\)?(?![\w'’&/-])")
_ARTICLE = re.compile(r"A\s+(?![^\W\d]{1,8}\s+\(?[B-Z]\b)[a-z]")
_LONGEST_LONE = 160
_OPEN_KINDS = (
    "negators", "denies_all", "denied_before", "compared", "hedges", "withdrawn", "supposed", "counterfactual", "refusal", "topic",
)  # fmt: skip


def lone_letter(text: str, options: Sequence[str], languages: frozenset[str]) -> str | None:
    """Return the label of the one letter in a short text ("Going with D on this one"); None where nothing makes it the answer.

    Args:
        text: plain, and without any word for an emotion.
        options: the labels in the order of their letters.
        languages: whose words of doubt and denial are read: with one of them a letter is no answer.
    """
    if len(text) > _LONGEST_LONE or "?" in text:
        return None
    letters = {m[1] for m in _LONE.finditer(text) if not _ARTICLE.match(text, m.start(1)) and m[1] != "I"}
    if len(letters) != 1:
        return None
    folded = cue_pattern("ignored", languages).sub(" ", text.casefold())
    if any(cue_pattern(kind, languages).search(folded) for kind in _OPEN_KINDS):
        return None
    return _label(letters.pop(), options)


def _label(letter: str, options: Sequence[str]) -> str | None:
    place = ord(letter.upper()) - ord("A")
    return options[place] if 0 <= place < len(options) else None
