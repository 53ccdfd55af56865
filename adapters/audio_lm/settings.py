"""How an Audio-LLM is asked, as one checked value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from adapters.audio_lm.aggregation import Aggregate
from adapters.audio_lm.requests.prompts import TEXT_SLOT
from adapters.audio_lm.requests.questions import Constrain, Mode
from bench.errors import UsageError, nearest


@dataclass(frozen=True)
class Settings:
    """Parameters of :class:`~adapters.audio_lm.model.AudioLanguageModel`, described there."""

    model: str
    mode: Mode
    prompts: tuple[str, ...]
    orders: int
    repeats: int
    aggregate: Aggregate
    temperature: float
    max_tokens: int
    longest_seconds: float
    long: Literal["windows", "truncated"]
    audio: Literal["clip", "silence", "none"]
    transcript: bool
    audio_first: bool
    system_prompt: str | None
    constrain: Constrain
    revision: str | None
    dimensions: tuple[int, int] | None
    fallback: Mode | None = None
    template: str = TEXT_SLOT

    def __post_init__(self) -> None:
        for name, known in (
            ("mode", get_args(Mode)),
            ("aggregate", get_args(Aggregate)),
            ("long", ("windows", "truncated")),
            ("audio", ("clip", "silence", "none")),
            ("constrain", get_args(Constrain)),
            ("fallback", (None, *get_args(Mode))),
        ):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"{self.model}: {name}: {getattr(self, name)!r} is not allowed; {nearest(str(getattr(self, name)), [str(k) for k in known])}"
                )
        if not self.prompts or self.orders < 1 or self.repeats < 1:
            raise UsageError(f"{self.model}: expected at least one prompt, one order and one repeat")
        if self.template.count(TEXT_SLOT) != 1:
            raise UsageError(
                f"{self.model}: template must hold {TEXT_SLOT} once, where the question goes; found {self.template!r}"
            )
        if self.audio == "none" and not self.transcript:
            raise UsageError(
                f"{self.model}: audio: none needs transcript: true, or there is nothing to go by"
            )
        if self.dimensions is not None and not 0 <= self.dimensions[0] < self.dimensions[1] <= 9:
            raise UsageError(
                f"{self.model}: dimensions must be a scale of single digits like [1, 9], found {list(self.dimensions)}"
            )
        if self.dimensions is not None and self.audio == "none":
            raise UsageError(f"{self.model}: dimensions are asked about audio, and audio is none")
        if self.longest_seconds < 1:
            raise UsageError(
                f"{self.model}: longest_seconds must be 1 at least, found {self.longest_seconds}"
            )
