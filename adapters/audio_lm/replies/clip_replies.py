"""The replies about one clip: one answer per variant, and the dimensions that were rated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import softmax

from adapters.audio_lm.aggregation import merge_windows
from adapters.audio_lm.dimensions import Scale, aspects, read_dimensions
from adapters.audio_lm.prompting import LETTERS, Prompting
from adapters.audio_lm.replies.completions import (
    ParsedReply,
    answer_logprob,
    is_refusal,
    read_choice,
    read_letters,
    text_of,
    was_cut,
)
from adapters.audio_lm.replies.parsing import parse_reply
from adapters.audio_lm.requests.clip_questions import WITHOUT_AUDIO
from adapters.audio_lm.requests.prompts import PromptText, label_word
from adapters.audio_lm.requests.questions import RequestOutcome, Slot, Variant
from bench.protocols import Array

Outcomes = Mapping[Slot, RequestOutcome]


def read_variants(
    prompting: Prompting, seconds: Sequence[float], outcomes: Outcomes
) -> dict[Variant, ParsedReply]:
    """Read one answer per variant, merged over the clip's windows.

    Args:
        prompting: the task and the variants.
        seconds: length of each window (windows,).
        outcomes: what came of each of the clip's questions.
    """
    return {
        variant: merge_windows(
            [(s, _read(prompting, window, variant, outcomes)) for window, s in enumerate(seconds)],
            prompting.labels,
        )
        for variant in prompting.variants
    }


def read_ratings(prompting: Prompting, seconds: Sequence[float], outcomes: Outcomes, scale: Scale) -> Array:
    """Return the dimensions (3,) in 0..1: the mean over the windows, weighted by their seconds, of what could be read.

    Args:
        prompting: the task and the variants.
        seconds: length of each window (windows,).
        outcomes: what came of each of the clip's questions.
        scale: lowest and highest rating.
    """
    first, asked = prompting.variants[0], aspects(prompting.settings.mode)
    rated = np.stack(
        [
            read_dimensions({a: outcomes[Slot(window, first, aspect=a)].reply for a in asked}, scale)
            for window in range(len(seconds))
        ]
    )
    weights = np.isfinite(rated) * np.array(seconds)[:, np.newaxis]
    total = weights.sum(axis=0)
    mean = (np.nan_to_num(rated) * weights).sum(axis=0) / np.where(total > 0, total, 1)
    return np.where(total > 0, mean, np.nan)


def _read(prompting: Prompting, window: int, variant: Variant, outcomes: Outcomes) -> ParsedReply:
    if prompting.settings.mode == "likelihood-sum":
        return _summed(prompting, window, variant, outcomes)
    outcome = outcomes[Slot(window, variant)]
    if outcome.reply is None:
        return ParsedReply("failed", None, outcome.problem)
    order, prompt = prompting.orders[variant.order], prompting.prompts[variant.prompt]
    match prompting.settings.mode:
        case "choice":
            return _choice(outcome.reply, prompting.labels, prompt, order)
        case "likelihood":
            found = read_letters(outcome.reply, order, LETTERS)
            return _in_order_of(prompting.labels, found, order)
        case _:
            return _free(outcome.reply, prompting.labels, prompt)


def _choice(
    reply: Mapping[str, Any], labels: Sequence[str], prompt: PromptText, order: Sequence[str]
) -> ParsedReply:
    """Read a constrained answer; where the server did not constrain it, as the free reply that it then is."""
    found = read_choice(reply, {label_word(x, prompt): x for x in order})
    return replace(_free(reply, labels, prompt), unconstrained=True) if found.unconstrained else found


def _free(reply: Mapping[str, Any], labels: Sequence[str], prompt: PromptText) -> ParsedReply:
    text = text_of(reply)
    if is_refusal(reply):
        return ParsedReply("refused", None, text)
    if was_cut(reply) or text is None:
        return ParsedReply("unparsed", None, text)
    found = parse_reply(text, labels, language=prompt.language)
    return ParsedReply(found.status, found.label, text)


def _in_order_of(labels: Sequence[str], found: ParsedReply, order: Sequence[str]) -> ParsedReply:
    """Put probabilities that stand in the order shown into the table's own."""
    if found.probabilities is None:
        return found
    place = {label: i for i, label in enumerate(order)}
    return ParsedReply(found.status, found.label, found.text, found.probabilities[[place[x] for x in labels]])


def _summed(prompting: Prompting, window: int, variant: Variant, outcomes: Outcomes) -> ParsedReply:
    """Log-probability of each label as the answer, less that without audio; then normalised over the labels."""
    scores = []
    prompt = prompting.prompts[variant.prompt]
    for label in prompting.labels:
        tokens = len(prompting.tokens[label_word(label, prompt)])
        pair = [outcomes[Slot(w, variant, label)] for w in (window, WITHOUT_AUDIO)]
        problem = next((o.problem for o in pair if o.reply is None), None)
        if problem is not None:
            return ParsedReply("failed", None, problem)
        found = [answer_logprob(o.reply or {}, tokens) for o in pair]
        if found[0] is None or found[1] is None or math.isinf(found[1]):
            return ParsedReply("unparsed", None, None)
        scores.append(found[0] - found[1])
    if not any(map(math.isfinite, scores)):
        return ParsedReply("unparsed", None, None)
    probabilities = np.asarray(softmax(scores))
    return ParsedReply("ok", prompting.labels[int(probabilities.argmax())], None, probabilities)
