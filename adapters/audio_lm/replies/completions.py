"""Replies read: from a server's JSON to an answer with a status. Nothing here raises on what a model says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from bench.protocols import Array


@dataclass(frozen=True)
class ParsedReply:
    """What one reply says.

    Args:
        status: as in the prediction table.
        label: canonical name, or None.
        text: the words as they came, or None.
        probabilities: (labels,), or None.
        unconstrained: the model was held to some words, and the server let it say others.
    """

    status: str
    label: str | None
    text: str | None
    probabilities: Array | None = None
    unconstrained: bool = False


@dataclass(frozen=True)
class Usage:
    """Tokens of one reply, as the server counts them.

    Args:
        prompt: tokens of the prompt, audio among them.
        cached: those of them that the server had in its cache.
        completion: tokens of the answer.
    """

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt, self.cached + other.cached, self.completion + other.completion
        )


def text_of(reply: Mapping[str, Any]) -> str | None:
    """Return the words of a reply's first choice, the text parts of a list joined; None when it has none."""
    message = first_choice(reply).get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, list):
        parts = [p.get("text") for p in content if isinstance(p, Mapping) and p.get("type") == "text"]
        words = [p for p in parts if isinstance(p, str)]
        return "".join(words) if words else None
    return content if isinstance(content, str) else None


def is_refusal(reply: Mapping[str, Any]) -> bool:
    """Whether the server itself marks the reply as refused or filtered."""
    choice = first_choice(reply)
    message = choice.get("message")
    marked = isinstance(message, Mapping) and isinstance(message.get("refusal"), str) and message["refusal"]
    return bool(marked) or choice.get("finish_reason") == "content_filter"


def was_cut(reply: Mapping[str, Any]) -> bool:
    """Whether the reply ended at the limit of tokens."""
    return first_choice(reply).get("finish_reason") == "length"


def usage_of(reply: Mapping[str, Any]) -> Usage:
    """Return the tokens a reply took; zeros where the server does not say."""
    counts = reply.get("usage")
    if not isinstance(counts, Mapping):
        return Usage()
    details = counts.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    return Usage(_count(counts.get("prompt_tokens")), _count(cached), _count(counts.get("completion_tokens")))


def read_choice(reply: Mapping[str, Any], words: Mapping[str, str]) -> ParsedReply:
    """Read a constrained answer; one that is none of the words on offer is ``unparsed`` and marked as unconstrained.

    Args:
        reply: the server's JSON.
        words: canonical label of each word on offer.
    """
    text = text_of(reply)
    if is_refusal(reply):
        return ParsedReply("refused", None, text)
    answer = (text or "").strip()
    if answer not in words and answer.startswith("{"):
        try:
            answer = str(json.loads(answer).get("emotion", ""))
        except (ValueError, AttributeError, RecursionError):
            return ParsedReply("unparsed", None, text, unconstrained=True)
    label = words.get(answer)
    return ParsedReply("unparsed" if label is None else "ok", label, text, unconstrained=label is None)


def letter_probabilities(reply: Mapping[str, Any], letters: Sequence[str]) -> Array | None:
    """Return the probabilities of single-token letters (letters,), normalised over them; None where no letter has any.

    A log-probability of minus infinity is zero probability. A server lists the most probable tokens, so a letter that it
    leaves out has at most the smallest probability listed, and at most its share of what the listed ones leave.
    """
    listed = [(token, value) for token, value in top_logprobs(reply) if is_logprob(value)]
    found: dict[str, float] = {}
    for token, value in listed:
        found.setdefault(token.strip(), float(value))
    if not any(math.isfinite(found.get(letter, -math.inf)) for letter in letters):
        return None
    unlisted = sum(letter not in found for letter in letters)
    rest = max(1 - sum(math.exp(value) for _, value in listed), 0.0) / max(unlisted, 1)
    bound = min(*(value for _, value in listed), math.log(rest) if rest > 0 else -math.inf)
    return np.asarray(softmax([found.get(letter, bound) for letter in letters]))


def top_logprobs(reply: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return (token, log-probability as it came) of the likeliest first tokens; none where the reply has no such list."""
    logprobs = first_choice(reply).get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(content, list) or not content or not isinstance(content[0], Mapping):
        return []
    top = content[0].get("top_logprobs")
    entries = top if isinstance(top, list) else []
    return [(str(e.get("token")), e.get("logprob")) for e in entries if isinstance(e, Mapping)]


def read_letters(reply: Mapping[str, Any], labels: Sequence[str], letters: Sequence[str]) -> ParsedReply:
    """Read the probabilities of option letters.

    Args:
        reply: the server's JSON.
        labels: canonical labels in the order in which the options were lettered.
        letters: the letters, as many at least.

    Returns:
        Probabilities in that same order, and the label of the most probable one.
    """
    text = text_of(reply)
    if is_refusal(reply):
        return ParsedReply("refused", None, text)
    probabilities = letter_probabilities(reply, letters[: len(labels)])
    if probabilities is None:
        return ParsedReply("unparsed", None, text)
    return ParsedReply("ok", labels[int(probabilities.argmax())], text, probabilities)


def answer_logprob(reply: Mapping[str, Any], tokens: int) -> float | None:
    """Return the summed log-probability of the last ``tokens`` tokens of the prompt: the answer that was put in."""
    steps = reply.get("prompt_logprobs")
    if not isinstance(steps, list) or len(steps) <= tokens or tokens < 1:
        return None
    total = 0.0
    for step in steps[-tokens:]:
        entry = next(iter(step.values()), None) if isinstance(step, Mapping) else None
        if not isinstance(entry, Mapping) or not is_logprob(entry.get("logprob")):
            return None
        total += float(entry["logprob"])
    return total


def first_choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a reply's first choice; empty where it has none."""
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, Mapping) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def is_logprob(value: object) -> bool:
    """Whether a value can be a log-probability: zero or less (but for rounding), minus infinity among them."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value < 1
