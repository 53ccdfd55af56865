"""What an Audio-LLM is asked: prompts as data in ``tasks/prompts``, rendered for labels in a given order."""

from __future__ import annotations

import functools
import hashlib
import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from pydantic import Field, model_validator

from bench.cards.labels import label_table
from bench.cards.typed_yaml import Strict, parse_typed
from bench.errors import UsageError, nearest

Form = Literal["plain", "lettered"]
Control = Literal["text-only", "audio-free"]
Audio = Literal["clip", "silence", "none"]

TEXT_SLOT = "{text}"
"""In a card's template: where the question goes."""
_TRANSCRIPT = "{transcript}"


class Prompt(Strict):
    """One wording: a question, and one instruction for each form in which the options are shown."""

    question: str = Field(min_length=1)
    plain: str
    lettered: str
    says: str = ""
    """Name of the English wording whose meaning it is to have, so that a native reader can object; blank in English."""

    @model_validator(mode="after")
    def _one_slot(self) -> Prompt:
        for form in ("plain", "lettered"):
            _check_slots(f"{form} instruction", getattr(self, form), {"options"})
        _check_slots("question", self.question, set())
        return self


class PromptFile(Strict):
    """All wordings in one language, and the sentences that go with any of them."""

    language: str
    capital: bool
    """Whether label names begin with a capital, as the paper prints them."""
    separator: str = Field(min_length=1)
    """Stands between two options."""
    spaced: bool
    """Whether the script puts a space after a separator and between sentences."""
    transcript: str
    text_only: str
    dimensions: str
    prompts: dict[str, Prompt] = Field(min_length=1)

    @model_validator(mode="after")
    def _slots(self) -> PromptFile:
        _check_slots("transcript", self.transcript, {"transcript"})
        _check_slots("text_only", self.text_only, set())
        _check_slots("dimensions", self.dimensions, {"low", "high"})
        return self


@dataclass(frozen=True)
class PromptText:
    """A prompt with its language's settings: all that rendering needs.

    Args:
        name: unique across languages.
        wording: the question and its instructions.
        settings: the language's own.
    """

    name: str
    wording: Prompt
    settings: PromptFile

    @property
    def language(self) -> str:
        """The language the prompt is written in."""
        return self.settings.language


@dataclass(frozen=True)
class Rendered:
    """What is sent with one clip.

    Args:
        text: the words.
        audio: the clip, silence of its length (audio-free control), or nothing (text-only control).
        options: canonical names in the order of their letters, as ``parse_reply`` takes them; None in the plain form.
        prompt_hash: SHA-256 of the wording, the options in their order, the form and the control: all but the clip's own words.
    """

    text: str
    audio: Audio
    options: tuple[str, ...] | None
    prompt_hash: str


def prompt_languages() -> tuple[str, ...]:
    """Return the languages that have prompts.

    >>> prompt_languages()
    ('en', 'id', 'ms', 'ta', 'th', 'tl', 'vi', 'zh')
    """
    folder = files("tasks").joinpath("prompts")
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


@functools.cache
def prompts(language: str) -> dict[str, PromptText]:
    """Return a language's prompts by name, in the order of the file; raises :class:`UsageError` for an unknown one."""
    if language not in prompt_languages():
        raise UsageError(f"no prompts in language {language!r}: {nearest(language, prompt_languages())}")
    text = files("tasks").joinpath("prompts", f"{language}.yaml").read_text(encoding="utf-8")
    return parse_prompts(text, f"tasks/prompts/{language}.yaml")


def parse_prompts(text: str, source: str) -> dict[str, PromptText]:
    """Read a prompt file; raises :class:`UsageError` naming file, line and key."""
    settings = parse_typed(text, source, PromptFile)
    return {name: PromptText(name, wording, settings) for name, wording in settings.prompts.items()}


def prompt(name: str) -> PromptText:
    """Return a prompt by its name, which is unique across languages.

    >>> prompt("paper").language
    'en'
    """
    known = {n: p for language in prompt_languages() for n, p in prompts(language).items()}
    if name not in known:
        raise UsageError(f"unknown prompt {name!r}: {nearest(name, known)}")
    return known[name]


def display_name(label: str, language: str, *, capital: bool = False) -> str:
    """Return a canonical label's name in a language: the first of its synonyms in ``tasks/labels.yaml``.

    Args:
        label: canonical name.
        language: of the prompt.
        capital: whether it begins with a capital letter.

    Raises:
        UsageError: no such label, or no name for it in this language.

    >>> display_name("angry", "ms"), display_name("angry", "en", capital=True)
    ('marah', 'Angry')
    """
    table = label_table()
    if label not in table.names:
        raise UsageError(f"{label!r} is no canonical emotion name: {nearest(label, table.names)}")
    names = table.synonyms[label].get(language)
    if not names:
        raise UsageError(
            f"tasks/labels.yaml has no {language!r} name for {label!r}: add one, or prompt in another language"
        )
    return names[0][:1].upper() + names[0][1:] if capital else names[0]


def label_word(label: str, prompt: PromptText) -> str:
    """Return a label as the prompt writes it."""
    return display_name(label, prompt.language, capital=prompt.settings.capital)


def letters(count: int) -> tuple[str, ...]:
    """Return the first letters of the alphabet; raises :class:`UsageError` past 26 options."""
    if count > len(string.ascii_uppercase):
        raise UsageError(f"{count} options have no letters: at most {len(string.ascii_uppercase)}")
    return tuple(string.ascii_uppercase[:count])


def render(
    prompt: PromptText,
    labels: Sequence[str],
    order: Sequence[str],
    transcript: str | None = None,
    form: Form = "plain",
    *,
    control: Control | None = None,
) -> Rendered:
    """Return what to send with a clip.

    The text-only control needs a transcript, and sends no audio. The audio-free control sends the same text with silence.

    Args:
        prompt: the wording.
        labels: the canonical names on offer.
        order: the same names in the order shown (see :mod:`adapters.audio_lm.requests.option_orders`).
        transcript: shown before the question where given.
        form: ``plain``, or ``lettered`` options.
        control: ``text-only``, ``audio-free`` or None.

    Raises:
        UsageError: an order of other labels, or a text-only control without a transcript.

    >>> render(prompt("paper"), ["sad", "happy"], ["sad", "happy"]).text
    "Determine the speaker's emotion in the given audio. Reply with a single label from: Sad, Happy."
    """
    if sorted(labels) != sorted(order) or len(set(order)) != len(order) or not order:
        raise UsageError(f"the order {list(order)} is no arrangement of the labels {list(labels)}")
    if control == "text-only" and transcript is None:
        raise UsageError("the text-only control needs a transcript, and this clip has none")
    template = _template(prompt, tuple(order), form, control, shown=transcript is not None)
    return Rendered(
        text=template if transcript is None else template.replace(_TRANSCRIPT, transcript, 1),
        audio=_audio(control),
        options=tuple(order) if form == "lettered" else None,
        prompt_hash=_hash(template, order, form, control),
    )


def render_dimensions(language: str, low: int, high: int) -> Rendered:
    """Return the question for valence, arousal and dominance on a scale from ``low`` to ``high``.

    Args:
        language: of the question.
        low: lowest rating.
        high: highest rating.

    Raises:
        UsageError: ``low`` is not below ``high``.
    """
    if low >= high:
        raise UsageError(f"a scale from {low} to {high} runs nowhere: the first number must be the smaller")
    settings = next(iter(prompts(language).values())).settings
    text = settings.dimensions.format(low=low, high=high)
    return Rendered(text, "clip", None, _hash(text, (), "plain", None))


def _template(
    prompt: PromptText, order: tuple[str, ...], form: Form, control: Control | None, *, shown: bool
) -> str:
    """The text with the transcript's slot still open."""
    settings = prompt.settings
    space = " " if settings.spaced else ""
    names = [display_name(label, settings.language, capital=settings.capital) for label in order]
    if form == "lettered":
        names = [f"({letter}) {name}" for letter, name in zip(letters(len(names)), names, strict=True)]
    instruction = (prompt.wording.plain if form == "plain" else prompt.wording.lettered).format(
        options=(settings.separator + space).join(names)
    )
    parts = [
        settings.transcript if shown else "",
        settings.text_only if control == "text-only" else "",
        prompt.wording.question,
        instruction,
    ]
    return space.join(part for part in parts if part)


def _audio(control: Control | None) -> Audio:
    if control is None:
        return "clip"
    return "silence" if control == "audio-free" else "none"


def _hash(template: str, order: Sequence[str], form: Form, control: Control | None) -> str:
    known = json.dumps([template, list(order), form, control], ensure_ascii=False)
    return hashlib.sha256(known.encode()).hexdigest()


def _check_slots(what: str, text: str, wanted: set[str]) -> None:
    try:
        found = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise ValueError(f"{what}: {error}; write a literal brace twice") from None
    if set(found) != wanted or ("options" in wanted and len(found) != 1):
        wish = " and ".join(f"{{{name}}}" for name in sorted(wanted)) or "no slot"
        raise ValueError(f"{what}: expected {wish}, found {found}")
