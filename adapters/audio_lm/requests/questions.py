"""What is asked: one chat request per clip (or window of it), variant and, where the mode needs it, label.

A body is complete but for the audio, which stands as a marker with its PCM hash until the request is sent.
"""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bench.audio.decoding import pcm_hash
from bench.protocols import SAMPLE_RATE, Waveform

Mode = Literal["choice", "free", "likelihood", "likelihood-sum"]
Constrain = Literal["vllm", "json_schema"]
AUDIO = "audio"
"""Type of the placeholder part."""


@dataclass(frozen=True)
class Variant:
    """One way of asking: prompt, order of the options, repeat. Its name stands in tables and records.

    Args:
        prompt: its name.
        order: number of the order of options.
        repeat: number of the repeat.
    """

    prompt: str
    order: int = 0
    repeat: int = 0

    @property
    def name(self) -> str:
        """``prompt/order/repeat``."""
        return f"{self.prompt}/{self.order}/{self.repeat}"


@dataclass(frozen=True)
class Sound:
    """Audio of one request: 16-bit samples and their hash."""

    samples: bytes
    hash: str

    @classmethod
    def of(cls, waveform: Waveform) -> Sound:
        """Take a float waveform (samples,) in −1..1 at 16 kHz."""
        pcm = np.clip(np.rint(waveform * 32768), -32768, 32767).astype("<i2")
        return cls(pcm.tobytes(), pcm_hash(pcm))

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples) / 2 / SAMPLE_RATE

    def base64_wav(self) -> str:
        """Return a WAV file, base64: what ``input_audio`` takes."""
        stream = io.BytesIO()
        with wave.open(stream, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(SAMPLE_RATE)
            out.writeframes(self.samples)
        return base64.b64encode(stream.getvalue()).decode("ascii")


@dataclass(frozen=True)
class Question:
    """One request.

    Args:
        key: of its reply in the store.
        body: complete but for the audio, which stands as placeholders.
        sounds: what fills them, in order.
    """

    key: str
    body: Mapping[str, Any]
    sounds: tuple[Sound, ...]


@dataclass(frozen=True)
class RequestOutcome:
    """What came of a question: the reply, or why there is none, and whether another time may do."""

    reply: Mapping[str, Any] | None
    problem: str | None = None
    ask_again: bool = False


@dataclass(frozen=True)
class Slot:
    """Where a reply belongs.

    Args:
        window: of the clip; −1: asked without audio.
        variant: the way of asking.
        label: whose likelihood it tells; "" otherwise.
        aspect: of the dimensions that it rates; "" otherwise.
    """

    window: int
    variant: Variant
    label: str = ""
    aspect: str = ""


def windows(waveform: Waveform, longest: float) -> list[Waveform]:
    """Cut a waveform into the fewest equal windows of at most ``longest`` seconds, which together are all of it.

    >>> [len(w) for w in windows(np.zeros(50, np.float32), 20 / SAMPLE_RATE)]
    [17, 17, 16]
    """
    count = max(1, -(-len(waveform) // max(1, int(longest * SAMPLE_RATE))))
    return list(np.array_split(waveform, count))


def messages(
    text: str, *, system: str | None, sounds: int, audio_first: bool, prefix: str | None = None
) -> list[dict[str, Any]]:
    """Return chat messages: the text beside audio placeholders, in the order of the model's own template.

    Args:
        text: the question.
        system: the system prompt; None: none.
        sounds: how many placeholders.
        audio_first: whether they stand before the text.
        prefix: begins the assistant's answer, for scoring a given answer.
    """
    audio = [{"type": AUDIO}] * sounds
    words = [{"type": "text", "text": text}]
    content: Any = [*audio, *words] if audio_first else [*words, *audio]
    if not sounds:
        content = text
    found: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    found.append({"role": "user", "content": content})
    if prefix is not None:
        found.append({"role": "assistant", "content": prefix})
    return found


def with_audio(body: Mapping[str, Any], encoded: Sequence[str]) -> dict[str, Any]:
    """Return a body with its placeholders filled, in order, by base64 WAV files."""
    waiting = iter(encoded)

    def filled(part: Any) -> Any:
        if isinstance(part, dict) and part.get("type") == AUDIO:
            return {"type": "input_audio", "input_audio": {"data": next(waiting), "format": "wav"}}
        return part

    found = [
        m if isinstance(m["content"], str) else {**m, "content": [filled(p) for p in m["content"]]}
        for m in body["messages"]
    ]
    return {**body, "messages": found}


def constrained(choices: Sequence[str], how: Constrain) -> dict[str, Any]:
    """Return the part of a body that lets the model say one of these words only.

    ``vllm``: its structured outputs. ``json_schema``: the enumerated schema that closed models take, answered as
    ``{"emotion": …}``.
    """
    if how == "vllm":
        return {"structured_outputs": {"choice": list(choices)}}
    return by_schema({"emotion": {"type": "string", "enum": list(choices)}})


def by_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a body that makes a closed model answer a flat JSON object with exactly these properties."""
    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
    named = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def letters_only(tokens: Sequence[int]) -> dict[str, Any]:
    """Return the part of a body that yields the probabilities of these single tokens in one step."""
    return {
        "max_tokens": 1,
        "allowed_token_ids": list(tokens),
        "logprobs": True,
        "top_logprobs": len(tokens),
    }


SCORED = {
    "max_tokens": 1,
    "prompt_logprobs": 0,
    "add_generation_prompt": False,
    "continue_final_message": True,
}
"""The part of a body that yields the log-probability of every token of the prompt, the given answer among them."""
