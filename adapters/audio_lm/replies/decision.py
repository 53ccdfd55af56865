"""From what a passage states to one answer, or to none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from adapters.audio_lm.replies.cues import cue_pattern, languages_read
from adapters.audio_lm.replies.mentions import Lexicon
from adapters.audio_lm.replies.polarity import Passage, Statement, read_passage
from bench.cards.labels import label_table

_PARTS = re.compile(r"[.!?。\n…]+|[:：—–]|\s-\s")
MOST_MENTIONS = 120
"""A reply that names emotions more often than this is a loop, not an answer."""


@dataclass(frozen=True)
class Reading:
    """The answer of a passage.

    Args:
        kind: ``one`` label, ``none`` stated, or ``many`` (or one that nothing makes certain).
        label: canonical name, where the kind is ``one``.
        refused: whether the text declines to answer.
        named: whether an emotion is named at all, stated or not ("not happy").
    """

    kind: Literal["one", "none", "many"]
    label: str | None = None
    refused: bool = False
    named: bool = False


def read_answer(text: str, words: Lexicon, language: str) -> Reading:
    """Read a folded text as a statement of one emotion.

    Args:
        text: folded.
        words: names of emotions, each with the label on offer that it stands for.
        language: of the prompt.
    """
    mentions = words.mentions(text)
    if len(mentions) > MOST_MENTIONS:
        return Reading("many")
    languages = languages_read(language, _evidence(m.languages for m in mentions))
    passage = read_passage(text, words, languages)
    whole = _decide(passage)
    if whole.kind == "many" and not whole.refused:
        return _upshot(text, words, languages) or _closing(text, words) or whole
    return whole


def _evidence(spoken: Iterable[frozenset[str]]) -> frozenset[str]:
    """Languages that alone have one of the words found."""
    return frozenset(next(iter(langs)) for langs in spoken if len(langs) == 1)


def _upshot(text: str, words: Lexicon, languages: frozenset[str]) -> Reading | None:
    """Read what follows the last word of conclusion alone, to the end of the text."""
    ends = [m.end() for m in cue_pattern("conclusion", languages).finditer(text)]
    if not ends:
        return None
    reading = _decide(read_passage(text[max(ends) :], words, languages))
    return reading if reading.kind == "one" else None


def _closing(text: str, words: Lexicon) -> Reading | None:
    """Read the last part of a text, where it is a label and nothing else ("… where the voice cracks. Sad."), and no other part is one."""
    parts = [part for part in _PARTS.split(text) if re.search(r"\w", part)]
    bare = [_bare(part, words) for part in parts]
    found = {label for label in bare if label is not None}
    return Reading("one", bare[-1]) if len(parts) > 1 and bare[-1] is not None and len(found) == 1 else None


def _bare(part: str, words: Lexicon) -> str | None:
    mentions = words.mentions(part)
    if len(mentions) != 1 or mentions[0].denied:
        return None
    rest = part[: mentions[0].start] + part[mentions[0].end :]
    return None if re.search(r"[^\W\d]|\?", rest) else mentions[0].label or ""


def _decide(passage: Passage) -> Reading:
    stated = [s for s in passage.statements if s.standing == "stated"]
    clauses = {s.clause for s in stated if s.asserted}
    stated = [s for s in stated if s.asserted or s.clause in clauses or not clauses]
    if passage.refused:
        stated = [s for s in stated if s.after_turn]
    answer = _single(stated)
    if answer is None:
        return Reading("many" if stated else "none", None, passage.refused, bool(passage.statements))
    said = any(s.asserted for s in stated if s.mention.label == answer)
    if not said or _contradicted(answer, passage, stated):
        return Reading("many", refused=passage.refused)
    return Reading("one", answer, passage.refused)


def _names(statements: Iterable[Statement]) -> set[str]:
    """Distinct emotions named: the label on offer, else the canonical name."""
    return {_name(s) for s in statements}


def _name(statement: Statement) -> str:
    return statement.mention.label or f"\0{statement.mention.canonical}"


def _single(stated: list[Statement]) -> str | None:
    """Return the one label on offer that is stated, by rank: primary before plain before a trace."""
    primary = [s for s in stated if s.weight == "primary"]
    if primary:
        clauses = {s.clause for s in primary}
        rivals = [s for s in stated if s.clause in clauses and s.weight != "minor"]
        names = _names(rivals)
    else:
        plain = [s for s in stated if s.weight != "minor"]
        names = _names(plain or stated)
        offered = {n for n in names if not n.startswith("\0")}
        names = offered if len(offered) == 1 else names
    (only,) = names if len(names) == 1 else (None,)
    return None if only is None or only.startswith("\0") else only


def _contradicted(label: str, passage: Passage, stated: list[Statement]) -> bool:
    """Whether the text also denies the label, leaves it open, or states an emotion that some view calls another label."""
    canonical = next(s.mention.canonical for s in stated if s.mention.label == label)
    place = next(i for i, s in enumerate(passage.statements) if s in stated and s.mention.label == label)
    for index, statement in enumerate(passage.statements):
        behind = index > place and statement.sentence == passage.statements[place].sentence
        possible = statement.standing == "possible" and statement.weight != "minor"
        if behind and possible and _name(statement) != label:
            return True
        if statement.mention.label == label:
            if statement.standing == "denied":
                return True
            tied = index in passage.alternatives and statement.standing == "stated"
            if tied and any(_tied(passage, i, label) for i in (index - 1, index + 1)):
                return True
            continue
        rival = statement.mention.label is None and statement in stated and statement.weight != "minor"
        if rival and _elsewhere(statement.mention.canonical, canonical):
            return True
    return False


def _tied(passage: Passage, index: int, label: str) -> bool:
    if not 0 <= index < len(passage.statements) or index not in passage.alternatives:
        return False
    other = passage.statements[index]
    return other.standing == "stated" and _name(other) != label


def _elsewhere(canonical: str | None, answer: str | None) -> bool:
    """Whether an emotion not on offer has a place in a view, and that place is not the answer's."""
    table = label_table()
    if canonical is None or canonical not in table.names:
        return False
    return any(
        (place := places[canonical]) is not None and place != (places.get(answer) if answer else None)
        for places in table.places.values()
    )
