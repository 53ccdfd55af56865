"""Completions that are no use, or that look so, by name: what servers were seen to send, and what is to come of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from tests.adapters.audio_lm.fault_server import completion

Made = Callable[[], dict[str, Any]]


def _silent(finish: str, **message: Any) -> dict[str, Any]:
    return completion("", finish_reason=finish, message={"role": "assistant", "content": None, **message})


def _letters(top: Mapping[str, float] | None) -> dict[str, Any]:
    """A reply that says B and lists log-probabilities of some first tokens; None: of none."""
    if top is None:
        return completion("B", finish_reason="length", logprobs=None)
    listed = [{"token": token, "logprob": value} for token, value in top.items()]
    return completion(
        "B",
        finish_reason="length",
        logprobs={"content": [{"token": "B", "logprob": -0.1, "top_logprobs": listed}]},
    )


NO_REPLY: dict[str, tuple[Made, str]] = {
    "reasoning cut": (
        lambda: _silent(
            "length", reasoning="The voice is loud and", reasoning_content="The voice is loud and"
        ),
        "all replies ended at the token limit inside reasoning",
    ),
    "reasoning alone": (lambda: _silent("stop", reasoning="angry"), "words under reasoning alone"),
    "null": (lambda: _silent("stop"), "the reply has no text"),
    "blank": (lambda: completion(" \n\t" * 500), "the reply is blank"),
    "no choices": (lambda: completion("x") | {"choices": []}, "the reply has no choices"),
    "no text part": (
        lambda: completion("", message={"content": [{"type": "image_url", "image_url": {"url": "x"}}]}),
        "the reply has no text",
    ),
    "error": (
        lambda: {"object": "error", "message": "Internal Server Error", "type": "x", "code": 500},
        "the reply is an error: Internal Server Error",
    ),
    "error inside": (
        lambda: {"error": {"message": "upstream is down", "code": 502}},
        "the reply is an error: upstream is down",
    ),
    "error beside choices": (
        lambda: completion("angry", finish_reason="error") | {"error": "cut off"},
        "the reply is an error: cut off",
    ),
}
"""Modes in which a request has failed whatever it asked for: the reply, and words of its cause."""

NO_ANSWER: dict[str, tuple[str, str]] = {
    "bangs": ("!" * 64, "no words in the replies"),
    "whitespace after a brace": ("{\n\n\n \t\t", "no words in the replies"),
    "deaf": (
        "I'm sorry, but I can't hear any audio. Please provide the audio file.",
        "the server says it hears no audio",
    ),
    "thinking": ("<think>The voice is loud, so", "all replies ended at the token limit inside reasoning"),
    "prose about nothing": ("The weather is nice in Berlin.", "4 unparsed"),
}
"""Texts that are rows on one clip, and no result on all: the text, and words of the cause."""

LETTERS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "as good as zero": (_letters({"A": -9999.0, "B": -0.1, "C": -9999.0, "D": -9999.0}), [0, 1, 0, 0]),
    "minus infinity": (
        json.loads(json.dumps(_letters({"B": 0.0, "A": -math.inf, "C": -math.inf, "D": -math.inf}))),
        [0, 1, 0, 0],
    ),
    "one letter listed": (_letters({"B": math.log(0.7)}), [0.1, 0.7, 0.1, 0.1]),
    "two listed": (
        _letters({"B": math.log(0.8), " B": math.log(0.1), "C": math.log(0.04)}),
        [0.03 / 0.9, 0.8 / 0.9, 0.04 / 0.9, 0.03 / 0.9],
    ),
}
"""First-token lists that are read: the reply, and the probabilities of A to D."""
NO_LETTERS: dict[str, dict[str, Any]] = {
    "null": _letters(None),
    "empty": _letters({}),
    "not numbers": _letters({"A": math.nan, "B": math.nan}),
}
