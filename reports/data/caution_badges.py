"""What a reader must beware of, as short words that stand beside scores, each with its sentences."""

from __future__ import annotations

from dataclasses import dataclass

from bench.cards.caution import TRAP
from bench.scoring.record_schema import RecordFacts

LONGEST = 800
"""Letters of the sentences behind one badge; the task's page has them whole."""
SAID_OTHERWISE = {"synthetic": "SYNTHETIC stands there already"}


@dataclass(frozen=True)
class CautionBadge:
    """A short word and what it means. ``grave``: it was measured, or the card names it; plain traps are not."""

    word: str
    title: str
    grave: bool


def caution_badges(facts: RecordFacts) -> list[CautionBadge]:
    """The badges of a record: of its split, then of what holds for its protocol; plain traps together, last."""
    of_split = [CautionBadge(word, _split_words(word), grave=True) for word in facts.badges]
    leaks = any(word.startswith("leaks") for word in facts.badges)
    together: dict[str, list[str]] = {}
    for c in facts.cautions_here:
        if c.badge in SAID_OTHERWISE or (leaks and c.badge == "leaks"):
            continue
        together.setdefault(c.badge, []).append(c.sentence)
    traps = together.pop(TRAP, [])
    found = [CautionBadge(word, _short("; ".join(said)), grave=True) for word, said in together.items()]
    if traps:
        word = f"{len(traps)} trap{'s' if len(traps) > 1 else ''}"
        found.append(CautionBadge(word, _short(" ".join(traps)), grave=False))
    return of_split + found


def _split_words(word: str) -> str:
    if word.startswith("leaks"):
        return "they stand on several sides of the split, so no verdict rests on these scores"
    return "the split that the corpus was published with" if word == "official split" else ""


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 2] + " …"
