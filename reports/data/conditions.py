"""What was done to test audio: the order in which conditions are shown, and what each does in words."""

from __future__ import annotations

from bench.audio.conditions import KINDS, parse_condition

HARDER_WHEN_LOWER = ("noise", "white", "babble", "recorded", "opus", "mp3", "cut")
"""Kinds whose number makes it easier the larger it is."""
WORDS = {
    "noise": "pink noise, {level}",
    "white": "white noise, {level}",
    "babble": "six other voices of the same task, {level}",
    "recorded": "recorded noise, {level}",
    "reverb": "a room that reverberates for {amount} s",
    "opus": "Opus at {amount} kbit/s",
    "mp3": "MP3 at {amount} kbit/s",
    "speed": "played at {amount} times the speed, pitch included",
    "cut": "the middle {amount} s at most",
    "pad": "silence behind it up to {amount} s",
    "tile": "repeated up to {amount} s",
}
"""What a kind does, with its number; the others are said by the kind itself."""


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
    """Say what a condition does, its number included.

    >>> condition_words("telephone")
    '300–3400 Hz at 8 kHz through G.711 µ-law'
    >>> condition_words("noise-20db"), condition_words("reverb")
    ('pink noise, 20 dB below the speech', 'a room that reverberates for 0.5 s')
    """
    try:
        found = parse_condition(condition)
    except ValueError:
        return ""
    if found.kind not in WORDS:
        return KINDS[found.kind].says
    return WORDS[found.kind].format(amount=f"{found.amount:g}", level=_level(found.amount))


def _level(decibels: float) -> str:
    """How loud a noise is beside the speech, by its signal-to-noise ratio.

    >>> _level(20), _level(0), _level(-5)
    ('20 dB below the speech', 'as loud as the speech', '5 dB above the speech')
    """
    if decibels == 0:
        return "as loud as the speech"
    return f"{abs(decibels):g} dB {'below' if decibels > 0 else 'above'} the speech"
