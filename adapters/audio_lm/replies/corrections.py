"""Where a reply takes back what it said ("Angry... no, wait: fear"): all that stands before is no answer any more."""

from __future__ import annotations

import functools
import re

from adapters.audio_lm.replies.cues import cue_pattern

_BEFORE = r"(?:\.{2,}|[.?!,;。\n—–]|\s-\s)"
"""A nay counts between two breaks only; a colon before it makes it a verdict ("angry: no, sad: yes")."""
_AFTER = r"(?:\s*(?:\.{2,}|[,.;:!。\n—–]|-\s|\Z)|(?<=\s)-|(?<=[\u0e00-\u0e7f])\s(?=[\u0e00-\u0e7f]))"


def after_correction(text: str, languages: frozenset[str]) -> tuple[str, str] | None:
    """Return what stands before the last correction and what stands behind it; None where nothing is corrected.

    >>> after_correction("angry... no, wait, it is fear", frozenset({"en"}))
    ('angry', ' it is fear')
    """
    found = list(_corrections(languages).finditer(text))
    if not found:
        return None
    return text[: found[0].start()], text[found[-1].end() :]


@functools.lru_cache(maxsize=64)
def _corrections(languages: frozenset[str]) -> re.Pattern[str]:
    nays = cue_pattern("nays", languages).pattern
    phrases = cue_pattern("corrections", languages).pattern
    return re.compile(
        rf"{_BEFORE}\s{{0,4}}(?:{nays})(?:[\s,.]{{1,4}}(?:{nays}))*{_AFTER}|(?:{phrases})", re.IGNORECASE
    )
