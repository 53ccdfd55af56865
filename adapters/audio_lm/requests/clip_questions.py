"""The questions about one clip: each window in each variant, what the mode asks without audio, and the dimensions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from adapters.audio_lm.dimensions import Scale, aspects, constraint, prefix
from adapters.audio_lm.prompting import LETTERS, Prompting
from adapters.audio_lm.requests.prompts import (
    TEXT_SLOT,
    Control,
    PromptText,
    label_word,
    render,
    render_dimensions,
)
from adapters.audio_lm.requests.questions import (
    SCORED,
    Question,
    Slot,
    Sound,
    Variant,
    constrained,
    letters_only,
    messages,
    windows,
)
from adapters.audio_lm.requests.reply_cache import reply_key
from adapters.audio_lm.settings import Settings
from bench.protocols import Waveform

CONTROLS: Mapping[str, Control | None] = {"clip": None, "silence": "audio-free", "none": "text-only"}
WITHOUT_AUDIO = -1
"""Window of the questions that tell how likely a label is before anything is heard."""


def clip_sounds(settings: Settings, waveform: Waveform) -> list[Sound]:
    """Cut a clip (samples,) into the windows that are sent: its audio, or silence of its length."""
    if settings.audio == "silence":
        waveform = np.zeros_like(waveform)
    return [Sound.of(part) for part in windows(waveform, settings.longest_seconds)]


def clip_questions(
    prompting: Prompting, sounds: Sequence[Sound], transcript: str
) -> Iterator[tuple[Slot, Question]]:
    """Make a clip's questions, each with the place of its reply.

    Args:
        prompting: the task and the variants.
        sounds: windows of the clip; none where the transcript is all that the model gets.
        transcript: the clip's words, "" where nobody wrote them down.
    """
    for variant in prompting.variants:
        for window, sound in enumerate(sounds or [None]):
            audio = () if sound is None else (sound,)
            for label in prompting.scored_labels:
                yield Slot(window, variant, label), _question(prompting, variant, audio, transcript, label)
                if label:
                    prior = _question(prompting, variant, (), transcript, label)
                    yield Slot(WITHOUT_AUDIO, variant, label), prior
    if prompting.scale is None:
        return
    first = prompting.variants[0]
    for window, sound in enumerate(sounds):
        for aspect in aspects(prompting.settings.mode):
            yield Slot(window, first, aspect=aspect), _rating(prompting, sound, aspect, prompting.scale)


def prior_questions(prompting: Prompting) -> list[Question]:
    """Ask for each label's likelihood without audio; none where the mode has no need of it, or each clip its own words."""
    if prompting.settings.mode != "likelihood-sum" or prompting.settings.transcript:
        return []
    return [_question(prompting, v, (), "", label) for v in prompting.variants for label in prompting.labels]


def sent_example(prompting: Prompting) -> str:
    """Return the messages of a clip's first question as JSON: the words as they are sent, audio and transcript by name.

    Args:
        prompting: the task and the variants; token ids are not needed.
    """
    settings, variant = prompting.settings, prompting.variants[0]
    sounds = () if settings.audio == "none" else (Sound(b"", "0"),)
    untokenised = dict.fromkeys(prompting.tokenised_texts(), (0,))
    asked = replace(prompting, tokens=untokenised)
    label = prompting.labels[0] if prompting.scored_labels != ("",) else ""
    question = _question(asked, variant, sounds, "{transcript}", label)
    return json.dumps(question.body["messages"], ensure_ascii=False)


def _question(
    prompting: Prompting, variant: Variant, sounds: tuple[Sound, ...], transcript: str, label: str
) -> Question:
    settings, prompt = prompting.settings, prompting.prompts[variant.prompt]
    order = prompting.orders[variant.order]
    text = render(
        prompt,
        prompting.labels,
        order,
        transcript=transcript if settings.transcript else None,
        form="lettered" if settings.mode == "likelihood" else "plain",
        control=CONTROLS[settings.audio],
    ).text
    answer = label_word(label, prompt) if label else None
    answered_as = _constraint(prompting, prompt, order, variant.repeat)
    return _request(settings, text, sounds, answer, answered_as, variant.repeat)


def _rating(prompting: Prompting, sound: Sound, aspect: str, scale: Scale) -> Question:
    """Ask for the dimensions, in the language of the first prompt."""
    settings = prompting.settings
    language = prompting.prompts[prompting.variants[0].prompt].language
    text = render_dimensions(language, *scale).text
    answered_as = constraint(
        settings.mode, settings.constrain, aspect, scale, prompting.tokens, settings.max_tokens
    )
    return _request(settings, text, (sound,), prefix(aspect), answered_as, 0)


def _request(
    settings: Settings,
    text: str,
    sounds: tuple[Sound, ...],
    answer: str | None,
    answered_as: Mapping[str, Any],
    repeat: int,
) -> Question:
    """Put a request together; ``answer`` begins what the assistant says, ``answered_as`` is the body's constraint."""
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": messages(
            settings.template.replace(TEXT_SLOT, text) if sounds else text,
            system=settings.system_prompt,
            sounds=len(sounds),
            audio_first=settings.audio_first,
            prefix=answer,
        ),
        "temperature": settings.temperature,
        **answered_as,
    }
    key = reply_key(settings.model, settings.revision, body, tuple(s.hash for s in sounds), repeat)
    return Question(key, body, sounds)


def _constraint(
    prompting: Prompting, prompt: PromptText, order: Sequence[str], repeat: int
) -> dict[str, Any]:
    settings = prompting.settings
    match settings.mode:
        case "choice":
            words = [label_word(label, prompt) for label in order]
            return {"max_tokens": settings.max_tokens, **constrained(words, settings.constrain)}
        case "free":
            sampled = {"seed": repeat} if settings.temperature > 0 else {}
            return {"max_tokens": settings.max_tokens, **sampled}
        case "likelihood":
            return letters_only([prompting.tokens[x][0] for x in LETTERS[: len(order)]])
        case "likelihood-sum":
            return dict(SCORED)
