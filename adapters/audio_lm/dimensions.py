"""Valence, arousal and dominance asked of an Audio-LLM on a stated scale, and brought to 0..1."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adapters.audio_lm.replies.completions import letter_probabilities, text_of
from adapters.audio_lm.requests.questions import Constrain, Mode, by_schema, letters_only
from bench.protocols import DIMENSIONS, Array

Scale = tuple[int, int]
TOGETHER = "dimensions"
"""Name of the question that asks for all three at once, as JSON."""


def aspects(mode: Mode) -> tuple[str, ...]:
    """Return the questions that a mode asks: all dimensions in one, or one each where digits' probabilities are wanted."""
    return DIMENSIONS if mode in ("likelihood", "likelihood-sum") else (TOGETHER,)


def digits(scale: Scale) -> list[str]:
    """Return the answers on a scale, as they are written."""
    return [str(n) for n in range(scale[0], scale[1] + 1)]


def prefix(aspect: str) -> str | None:
    """Return how the assistant's answer begins, so that its next token is the number; None for a whole answer."""
    return None if aspect == TOGETHER else f'{{"{aspect}": '


def constraint(
    mode: Mode,
    constrain: Constrain,
    aspect: str,
    scale: Scale,
    tokens: Mapping[str, Sequence[int]],
    most: int,
) -> dict[str, Any]:
    """Return the part of a body that makes the model answer a question of this aspect in this mode.

    Args:
        mode: how the system answers.
        constrain: how the server takes constraints.
        aspect: the dimension, or :data:`TOGETHER`.
        scale: lowest and highest rating.
        tokens: the model's token ids of each digit.
        most: tokens of a reply at most.
    """
    if aspect != TOGETHER:
        allowed = [tokens[d][0] for d in digits(scale)]
        return letters_only(allowed) | {"add_generation_prompt": False, "continue_final_message": True}
    if mode == "choice" and constrain == "vllm":
        # A pattern, not a schema: JSON may hold any number of spaces, and a weak model fills its limit with them.
        number = f"[{scale[0]}-{scale[1]}]"
        pattern = ", ".join(f'"{d}": {number}' for d in DIMENSIONS)
        return {"max_tokens": most, "structured_outputs": {"regex": rf"\{{{pattern}\}}"}}
    if mode == "choice":
        rating = {"type": "integer", "minimum": scale[0], "maximum": scale[1]}
        return {"max_tokens": most, **by_schema(dict.fromkeys(DIMENSIONS, rating))}
    return {"max_tokens": most}


def read_dimensions(replies: Mapping[str, Mapping[str, Any] | None], scale: Scale) -> Array:
    """Return (3,) in 0..1, NaN for what cannot be read; ``replies`` by aspect, None where there is none.

    Digits' probabilities give their expected value; a reply in words must hold the three numbers as JSON, on the scale.
    """
    found = np.full(len(DIMENSIONS), np.nan)
    low, high = scale
    for aspect, reply in replies.items():
        if reply is None:
            continue
        if aspect == TOGETHER:
            given = _numbers(text_of(reply) or "")
            values = [given.get(d) for d in DIMENSIONS]
        else:
            probabilities = letter_probabilities(reply, digits(scale))
            mean = None if probabilities is None else float(probabilities @ np.arange(low, high + 1))
            values = [mean if d == aspect else None for d in DIMENSIONS]
        for i, value in enumerate(values):
            if value is not None and low <= value <= high:
                found[i] = (value - low) / (high - low)
    return found


LONGEST = 20_000
"""Characters of a reply that are looked at: three numbers stand near its beginning or nowhere."""


def _numbers(text: str) -> dict[str, float]:
    """Find one flat JSON object with numbers in a reply; of several that differ, none is taken."""
    objects = []
    for match in re.finditer(r"\{[^{}]*\}", text[:LONGEST]):
        try:
            loaded = json.loads(match.group())
        except (ValueError, RecursionError):
            continue
        named = {str(k).strip().casefold(): v for k, v in loaded.items()}
        numbers = {
            d: float(v)
            for d in DIMENSIONS
            if isinstance(v := named.get(d), int | float) and not isinstance(v, bool) and np.isfinite(v)
        }
        if numbers and numbers not in objects:
            objects.append(numbers)
    return objects[0] if len(objects) == 1 else {}
