"""What was done to test audio: the order in which conditions are shown, and what each does in words."""

from __future__ import annotations

from bench.audio.conditions import KINDS, parse_condition

HARDER_WHEN_LOWER = ("noise", "white", "babble", "recorded", "opus", "mp3", "cut")
"""Kinds whose number makes it easier the larger it is."""


def severity(condition: str) -> tuple[int, str, float]:
    """Sort key: clean, then kind by kind as they are documented, each from mild to severe.

    >>> sorted(["noise-0db", "opus-16k", "noise-20db", "clean"], key=severity)
    ['clean', 'noise-20db', 'noise-0db', 'opus-16k']
    """
    try:
        found = parse_condition(condition)
    except ValueError:
        return len(KINDS), condition, 0.0
    amount = -found.amount if found.kind in HARDER_WHEN_LOWER else found.amount
    return list(KINDS).index(found.kind), found.kind, amount


def condition_words(condition: str) -> str:
    """Say what a condition does.

    >>> condition_words("telephone")
    '300–3400 Hz at 8 kHz through G.711 µ-law'
    """
    try:
        return KINDS[parse_condition(condition).kind].says
    except ValueError:
        return ""
