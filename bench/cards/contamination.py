"""What a system's weights had met of a test corpus before, from what its card says it was trained on.

By pool, so that a second copy counts: a corpus of the same pool, a collection that contains the pool, or a part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bench.cards.corpus import CorpusCard
from bench.cards.registry import corpus_cards
from bench.cards.system import SystemCard

Contamination = Literal["seen", "same corpus", "unseen", "undisclosed"]
OTHER_SPEAKERS = ("speaker-disjoint", "other-speakers")
"""Splits of a card that say: the same corpus, but none of the test speakers."""


def contamination(
    system: SystemCard,
    corpus: CorpusCard,
    variant: str = "",
    *,
    known: Mapping[str, CorpusCard] | None = None,
) -> Contamination:
    """Say what a system had seen of a task's test clips before.

    Args:
        system: whose ``training_corpora`` are looked at.
        corpus: the card of the task's corpus.
        variant: the split variant of the task; the suite's own folds where it is blank.
        known: the corpus cards that tell pools, by name; else the shipped ones.

    Returns:
        ``seen``: it was trained on some of them. ``same corpus``: on another official side of the corpus and never on the
        tested one (which only the task's ``official`` variant can promise, since the suite's own folds test every clip), or
        on other speakers of it. ``undisclosed``: nobody says, or not all of it. ``unseen``: none of these.
    """
    if system.training_corpora == "undisclosed":
        return "undisclosed"
    cards = corpus_cards() if known is None else known
    own = pools_of(corpus, cards)
    worst: Contamination = "unseen"
    for trained in system.training_corpora:
        theirs = pools_of(cards[trained.corpus], cards) if trained.corpus in cards else {trained.corpus}
        if trained.corpus != corpus.name and not theirs & own:
            continue
        untouched = (
            variant == "official" and trained.corpus == corpus.name and trained.split not in ("all", "test")
        )
        if not (untouched or trained.split in OTHER_SPEAKERS):
            return "seen"
        worst = "same corpus"
    return "undisclosed" if system.also_undisclosed else worst


def pools_of(card: CorpusCard, known: Mapping[str, CorpusCard]) -> set[str]:
    """Pools whose recordings a corpus holds: its own, and those of what it contains (corpora or pools by name)."""
    return {card.pool_name} | {known[c].pool_name if c in known else c for c in card.contains}
