"""Clips that can be told apart by ear, and a model that answers what it is told to: for tests of the whole adapter."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adapters.audio_lm.model import AudioLanguageModel
from bench.audio.decoding import pcm_hash
from bench.protocols import Answers, Clips, Examples, FitContext

LABELS = ("neutral", "happy", "sad", "angry")


def clips(n: int, *, seconds: float = 0.1, transcripts: tuple[str, ...] = ()) -> Clips:
    """Clip *i* is the constant value *i* + 1 (of 32768), so that a server can tell which one it heard."""
    samples = int(seconds * 16_000)
    waves = [np.full(samples, (i + 1) / 32768, np.float32) for i in range(n)]
    return Clips(
        ids=tuple(f"{i}.wav" for i in range(n)),
        pcm_hashes=tuple(pcm_hash(np.full(samples, i + 1, np.int16)) for i in range(n)),
        seconds=np.full(n, seconds),
        languages=("en",) * n,
        read=lambda i: waves[i],
        transcripts=transcripts or ("",) * n,
    )


def clip_sent(body: Mapping[str, Any]) -> tuple[int, int]:
    """Which clip (its constant, 0: silence) a request holds, and its number of samples; (-1, 0) without audio."""
    for message in body["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part["type"] == "input_audio":
                samples = np.frombuffer(base64.b64decode(part["input_audio"]["data"])[44:], "<i2")
                return int(samples[0]), len(samples)
    return -1, 0


def text(body: Mapping[str, Any]) -> str:
    """The words of the user's message."""
    content = (
        body["messages"][-1]["content"]
        if body["messages"][-1]["role"] == "user"
        else body["messages"][-2]["content"]
    )
    return content if isinstance(content, str) else next(p["text"] for p in content if p["type"] == "text")


def letters(body: Mapping[str, Any]) -> dict[str, str]:
    """Lettered options of a prompt: label → letter."""
    return {
        word.strip(" .").lower(): letter for letter, word in re.findall(r"\(([A-Z])\) ([^\n,.]+)", text(body))
    }


def ask(
    address: str | None,
    asked: Clips,
    folder: Path,
    labels: tuple[str, ...] = LABELS,
    max_cost: float | None = None,
    rated: bool = False,
    **settings: Any,
) -> Answers:
    """Let the adapter answer."""
    model = AudioLanguageModel(**{"model": "tiny", "mode": "choice", "request_seconds": 5.0, **settings})
    nothing = Examples(
        clips=Clips((), (), np.zeros(0), (), asked.read), labels=(), dimensions=np.zeros((0, 3)), speakers=()
    )
    context = FitContext(
        labels=labels, dimensions=rated, seed=0, workdir=folder, server=address, max_cost=max_cost
    )
    model.fit(nothing, nothing, context)
    return model.predict(asked)
