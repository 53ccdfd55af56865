"""What a reader of a score must know of its corpus, and for which protocols: from a card, or measured on the clips."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from bench.cards.typed_yaml import Strict

Scope = Literal["everywhere", "within", "shared speakers"]
"""For which records a caution holds: all; those of systems that learnt on other clips of the corpus; those of a split
whose sides share speakers or sessions."""
SCOPE_WORDS: dict[Scope, str] = {
    "everywhere": "",
    "within": "for systems that learn from this corpus",
    "shared speakers": "only where training and test share speakers",
}
TRAP = "trap"
"""Badge of what a card says in plain text."""
_SENTENCES: tuple[tuple[str, str, Scope], ...] = (
    ("clip length tells part of the label: ", "length tells labels", "within"),
    ("(speakers show one emotion only|voice and label cannot be told apart)", "voices tell labels", "shared speakers"),
    ("the session alone tells the label", "sessions tell labels", "shared speakers"),
    ("the gender alone tells the label", "gender tells labels", "within"),
    ("the script alone tells the label", "words tell labels", "everywhere"),
    (r"only \d+ speakers?: intervals are wide", "few speakers", "everywhere"),
    (r"speaker\(s\) are cut into several clusters", "cut speakers", "everywhere"),
    (r"clip\(s\) cannot be decoded", "undecodable clips", "everywhere"),
    (r"recording\(s\) stand under several clip ids", "copies", "everywhere"),
    (r"recording\(s\) in common", "shared recordings", "everywhere"),
    (r"clip\(s\) stand on no side of the official split", "clips left out", "everywhere"),
    ("the official split leaks", "leaks", "everywhere"),
    ("synthetic sounds: ", "synthetic", "everywhere"),
)  # fmt: skip
"""What earlier versions wrote into records as plain text, of what kind it is."""


class Caution(Strict):
    """One thing to beware of. ``badge`` is the short word that stands beside scores; cautions of one badge are one thing."""

    text: Annotated[str, Field(min_length=1, max_length=20_000)]
    badge: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9 -]{1,39}$")] = TRAP
    holds: Scope = "everywhere"
    share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the task's clips that it is about; None where it is about all of them, or was not counted."""

    @property
    def sentence(self) -> str:
        """The text with how many clips it is about, and for which protocols it holds.

        >>> Caution(text="one voice per emotion", holds="shared speakers", share=0.111).sentence
        'one voice per emotion (11 % of the clips; only where training and test share speakers)'
        """
        share = "" if self.share is None else f"{_per_cent(self.share)} of the clips"
        limits = "; ".join(filter(None, (share, SCOPE_WORDS[self.holds])))
        return f"{self.text} ({limits})" if limits else self.text

    def holds_for(self, protocol: str, *, shares_speakers: bool) -> bool:
        """Whether it holds for a record.

        Args:
            protocol: ``within``, ``transfer`` or ``zero-shot``.
            shares_speakers: whether a speaker or session stands on the training and the test side.
        """
        if self.holds == "shared speakers":
            return protocol == "within" and shares_speakers
        return self.holds == "everywhere" or protocol == "within"


def caution_in_words(text: str) -> Caution:
    """Read what an earlier version wrote as plain text; what it does not know is a trap, which holds everywhere.

    >>> caution_in_words("only 10 speakers: intervals are wide and few differences can be told apart").badge
    'few speakers'
    """
    for pattern, badge, holds in _SENTENCES:
        if re.search(pattern, text):
            return Caution(text=text, badge=badge, holds=holds)
    return Caution(text=text)


def said_once(measured: Iterable[Caution], told: Iterable[Caution]) -> tuple[Caution, ...]:
    """Put together what cards tell and what was measured: of one badge, what was measured says it with figures.

    Plain traps are told whatever was measured; nothing stands in it twice.
    """
    found = list(measured)
    badges = {c.badge for c in found} - {TRAP}
    return tuple(dict.fromkeys([*(c for c in told if c.badge not in badges), *found]))


def _per_cent(share: float) -> str:
    """Write a share; only none is 0 %, only all is 100 %."""
    rounded = round(100 * share)
    if rounded == 0 and share > 0:
        return "under 1 %"
    return "over 99 %" if rounded == 100 and share < 1 else f"{rounded} %"
