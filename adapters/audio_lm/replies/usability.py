"""The gate: what a server's JSON must hold to count as a reply. What does not pass is a failed request with a cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from adapters.audio_lm.replies.completions import (
    first_choice,
    is_logprob,
    is_refusal,
    text_of,
    top_logprobs,
    usage_of,
    was_cut,
)

Wanted = Literal["text", "logprobs", "prompt_logprobs"]
"""What a request asks for: words, probabilities of the next token, or of the tokens of the prompt."""
QUOTED = 200
"""Characters of a server's own words that are repeated in a cause."""
CUT_IN_REASONING = "the reply ended at the token limit inside its reasoning"
NO_LOGPROBS = "the reply holds no log-probabilities"


def wanted(body: Mapping[str, Any]) -> Wanted:
    """Return what a request's body asks for."""
    if body.get("prompt_logprobs") is not None:
        return "prompt_logprobs"
    return "logprobs" if body.get("logprobs") else "text"


def unusable(reply: Mapping[str, Any], asked_for: Wanted | None) -> str | None:
    """Say why a reply does not count, or return None where it does.

    A refusal counts: it is an answer, if not a label.

    Args:
        reply: the server's JSON.
        asked_for: what the request wanted; None: that is not known any more, and is guessed from the reply.
    """
    if (problem := _error_in(reply)) is not None:
        return problem
    choice = first_choice(reply)
    if not choice:
        return "the reply has no choices"
    if is_refusal(reply):
        return None
    match asked_for or _guessed(reply):
        case "prompt_logprobs":
            return None if _scores_prompt(reply) else f"{NO_LOGPROBS} of the prompt"
        case "logprobs":
            listed = any(is_logprob(v) for _, v in top_logprobs(reply))
            return None if listed else _without_text(reply, choice) or NO_LOGPROBS
        case _:
            return _without_text(reply, choice)


def _error_in(reply: Mapping[str, Any]) -> str | None:
    """Return the error that a server sends as if all were well (HTTP 200)."""
    choice = first_choice(reply)
    error = reply.get("error") or choice.get("error")
    if not error and reply.get("object") != "error" and choice.get("finish_reason") != "error":
        return None
    inner = error if isinstance(error, Mapping) else reply
    words = error if isinstance(error, str) else inner.get("message")
    line = " ".join(str(words or "no words").split())
    return f"the reply is an error: {line if len(line) <= QUOTED else line[: QUOTED - 1] + '…'}"


def _without_text(reply: Mapping[str, Any], choice: Mapping[str, Any]) -> str | None:
    text = text_of(reply)
    if text is not None and text.strip():
        return None
    message = choice.get("message")
    given = message if isinstance(message, Mapping) else {}
    if any(given.get(name) for name in ("reasoning", "reasoning_content")):
        return CUT_IN_REASONING if was_cut(reply) else "the reply has words under reasoning alone"
    return "the reply has no text" if text is None else "the reply is blank"


def _scores_prompt(reply: Mapping[str, Any]) -> bool:
    steps = reply.get("prompt_logprobs")
    last = steps[-1] if isinstance(steps, list) and steps else None
    entry = next(iter(last.values()), None) if isinstance(last, Mapping) else None
    return isinstance(entry, Mapping) and is_logprob(entry.get("logprob"))


def _guessed(reply: Mapping[str, Any]) -> Wanted:
    """Tell a reply of one token, which only questions for probabilities ask for, from words."""
    if "prompt_logprobs" in reply and reply["prompt_logprobs"] is not None:
        return "prompt_logprobs"
    letter = (text_of(reply) or "").strip()
    one_token = usage_of(reply).completion == 1 or (len(letter) == 1 and letter.isupper())
    return "logprobs" if top_logprobs(reply) or (was_cut(reply) and one_token) else "text"
