"""``make perf``, Audio-LLMs: requests per second through the whole client against the best that the server can do.

A real vLLM server on the CPU with the tiny model; skipped, and said so, without SERBENCH_VLLM_PYTHON. In one run: a plain
sequential loop, closed-loop replays of identical requests made beforehand, and the suite's client with its store. Every
request of every round holds another sound (its first sample differs), so that no round profits from the server's caches.
"""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.execution.vllm_server import PYTHON_VARIABLE, Server
from bench.protocols import SAMPLE_RATE, Clips
from tests.adapters.audio_lm.asked_model import LABELS, ask, clips
from tests.vllm_server.test_real_server import tiny

REQUESTS = 96
ROUNDS = 3
SECONDS = 3.0
CONCURRENCY = (8, 16, 32)


def sounds(start: int) -> Clips:
    """Noise-like clips that no other call has made."""
    made = clips(REQUESTS, seconds=SECONDS)
    noise = np.random.default_rng(0).normal(0, 0.1, int(SECONDS * SAMPLE_RATE)).astype(np.float32)

    def read(i: int) -> np.ndarray:
        wave = noise.copy()
        wave[0] = (start + i + 1) / 32768
        return wave

    return replace(made, pcm_hashes=tuple(f"{start + i}" for i in range(REQUESTS)), read=read)


def bodies(asked: Clips) -> list[bytes]:
    """The requests the client would send, serialised beforehand."""
    import json

    from adapters.audio_lm.requests.prompts import display_name, prompt, render
    from adapters.audio_lm.requests.questions import Sound, constrained, messages, with_audio

    words = [display_name(x, "en", capital=True) for x in LABELS]
    text = render(prompt("paper"), LABELS, LABELS).text
    body = {
        "model": "tiny",
        "messages": messages(text, system=None, sounds=1, audio_first=True),
        "temperature": 0.0,
    }
    body |= {"max_tokens": 64, **constrained(words, "vllm")}
    return [json.dumps(with_audio(body, [Sound.of(w).base64_wav()])).encode() for w in asked.waveforms()]


async def replay(address: str, made: Sequence[bytes], concurrency: int) -> float:
    """Requests per second of a closed loop that sends ready bytes and reads the replies, no more."""
    import aiohttp

    waiting = iter(made)

    async def work(session: aiohttp.ClientSession) -> None:
        for body in waiting:
            async with session.post(
                f"{address}/chat/completions", data=body, headers={"content-type": "application/json"}
            ) as reply:
                await reply.read()

    started = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(work(session) for _ in range(concurrency)))
    return len(made) / (time.perf_counter() - started)


def through_client(address: str, asked: Clips, concurrency: int) -> tuple[float, float]:
    """Requests per second through the whole adapter, and its CPU milliseconds per request."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SERBENCH_CACHE"] = folder
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        ask(address, asked, Path(folder), concurrency=concurrency, request_seconds=300.0)
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return len(asked) / wall, 1000 * cpu / len(asked)


def measure() -> list[tuple[str, tuple[float, ...], str, str]]:
    """Return (what, values, unit, target) of each figure; empty without a vLLM environment."""
    if not os.environ.get(PYTHON_VARIABLE):
        return []
    with (
        tempfile.TemporaryDirectory() as folder,
        Server.start(tiny(Path(folder) / "model"), Path(folder) / "log") as server,
    ):
        return _measured(server.address)


def _measured(address: str) -> list[tuple[str, tuple[float, ...], str, str]]:
    start = 0

    def fresh() -> Clips:
        nonlocal start
        start += REQUESTS
        return sounds(start)

    asyncio.run(replay(address, bodies(fresh()), 8))  # warm: first requests load kernels
    sequential = asyncio.run(replay(address, bodies(fresh())[:32], 1))
    replays: dict[int, list[float]] = {c: [] for c in CONCURRENCY}
    ours: list[float] = []
    cpu: list[float] = []
    for _ in range(ROUNDS):
        for concurrency in CONCURRENCY:
            replays[concurrency].append(asyncio.run(replay(address, bodies(fresh()), concurrency)))
        rate, spent = through_client(address, fresh(), 32)
        ours.append(rate)
        cpu.append(spent)
    best = max(replays, key=lambda c: float(np.median(replays[c])))
    ratios = tuple(100 * o / r for o, r in zip(ours, replays[best], strict=True))
    return [
        (f"client against replay at its best concurrency ({best})", ratios, "%", "at least 95 %"),
        ("requests per second, client", tuple(ours), "/s", ""),
        ("requests per second, replay", tuple(replays[best]), "/s", ""),
        ("requests per second, sequential loop", (sequential,), "/s", "well below the client"),
        ("client CPU per request", tuple(cpu), "ms", "under 3 ms"),
    ]


if __name__ == "__main__":
    for what, values, unit, target in measure():
        print(
            f"{what}: {np.median(values):.3g} {unit} ({min(values):.3g} – {max(values):.3g}) target: {target}"
        )
