"""Why no clip of a task got a usable answer: that is the server or the card, not the clips, and no score."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adapters.audio_lm.replies.completions import ParsedReply
from adapters.audio_lm.replies.structure import after_reasoning
from adapters.audio_lm.replies.usability import CUT_IN_REASONING
from bench.errors import CannotRun

QUOTED = 80
"""Characters of a reply that are quoted as an example."""
_HEARS_NOTHING = re.compile(
    r"\b(?:no|not|cannot|unable|without|\w+n['’]t)\b[^.!?]{0,40}"
    r"\b(?:hear|listen|receive|access|play|open|find|see|detect|attached|provided|uploaded|shared)\w*\b"
    r"[^.!?]{0,40}\b(?:audio|sound|recording|speech|voice|clip|file|anything)"
    r"|\bno (?:audio|sound|recording|speech)\b|\b(?:audio|recording|clip)\b[^.!?]{0,20}\b(?:is|was)(?: not|n['’]t)\b"
    r"|\b(?:provide|upload|share|attach|send)\b[^.!?]{0,30}\b(?:audio|recording|sound|clip)"
    r"|听不到|(?:没有|未)[^。！？]{0,8}(?:音频|声音|录音)|(?:提供|上传)[^。！？]{0,8}(?:音频|录音)"
    r"|tidak (?:dapat|boleh|bisa) (?:mendengar|mengakses)",
    re.IGNORECASE,
)
_CONSTRAINTS = "does not take structured outputs (use mode: free, or fallback: free)"


class LacksFeature(CannotRun):
    """The server cannot be asked in this mode; another may do, where the card allows it."""


@dataclass(frozen=True)
class NoAnswer:
    """Why there is no answer.

    Args:
        cause: the end of a sentence.
        lacks_feature: another mode may do.
        of_server: the replies tell of a server that is not as it should be; asked again, it may do better.
    """

    cause: str
    lacks_feature: bool = False
    of_server: bool = False


def why_none(problems: Sequence[str], replies: Sequence[ParsedReply]) -> NoAnswer:
    """Find the cause that most of a task's clips share.

    Args:
        problems: of the requests that failed, in order.
        replies: of all clips and variants; none of them is ``ok``.
    """
    if problems:
        return _of_requests(problems)
    silent = [r for r in replies if r.status != "truncated"]
    texts = [r.text or "" for r in silent]
    if _most(_HEARS_NOTHING.search(t) is not None for t in texts):
        return NoAnswer(f"the server says it hears no audio ({_example(texts)})", of_server=True)
    if _most(after_reasoning(t) is None for t in texts):
        return NoAnswer("all replies ended at the token limit inside reasoning; raise max_tokens")
    wordless = _most(not any(c.isalnum() for c in t) for t in texts)
    if (free := sum(r.unconstrained for r in silent)) * 2 > len(silent):
        of = f"on {free} of {len(silent)}"
        return NoAnswer(f"the server ignored the constraint {of} ({_example(texts)})", of_server=True)
    statuses = Counter(r.status for r in silent)
    counted = ", ".join(f"{n} {status}" for status, n in sorted(statuses.items()))
    if wordless:
        return NoAnswer(f"no words in the replies ({counted}; {_example(texts)})", of_server=True)
    return NoAnswer(f"{counted} ({_example(texts)})")


def _of_requests(problems: Sequence[str]) -> NoAnswer:
    commonest, _ = Counter(problems).most_common(1)[0]
    if commonest.startswith(CUT_IN_REASONING):
        return NoAnswer("all replies ended at the token limit inside reasoning; raise max_tokens")
    words = commonest.lower()
    what, lacks = "answers none of the requests", False
    for sign, reason, lacking in (
        ("audio", "does not take audio", False),
        ("structured", _CONSTRAINTS, True),
        ("guided", _CONSTRAINTS, True),
        ("response_format", _CONSTRAINTS, True),
        ("logprob", "does not give log-probabilities (use mode: choice, or fallback: choice)", True),
        ("log-prob", "does not give log-probabilities (use mode: choice, or fallback: choice)", True),
    ):
        if sign in words:
            what, lacks = reason, lacking
            break
    cause = f"the server {what}; {len(problems)} requests failed, most often with: {commonest}"
    return NoAnswer(cause, lacks_feature=lacks)


def _most(signs: Iterable[bool]) -> bool:
    """Whether more than half show a sign; never where there are none."""
    seen = list(signs)
    return 2 * sum(seen) > len(seen)


def _example(texts: Sequence[str]) -> str:
    """Quote the commonest reply, on one line and cut."""
    line = " ".join(Counter(texts).most_common(1)[0][0].split()) if texts else ""
    return f"such as {line if len(line) <= QUOTED else line[: QUOTED - 1] + '…'!r}"
