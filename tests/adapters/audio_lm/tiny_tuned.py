"""A tiny Qwen2-Audio with random weights, clips whose tower rows tell their label, and one training of it: for tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from adapters.audio_lm.tuning.lessons import Teacher
from adapters.audio_lm.tuning.loop import TaughtClips, TuningRun
from adapters.audio_lm.tuning.network import TunedNetwork
from adapters.audio_lm.tuning.recipe import TuningRecipe, recipe_of
from tests.vllm_server.tiny_qwen2_audio import write_model

LABELS = ("neutral", "happy", "sad", "angry")
WIDTH = 128
RECIPE = {
    "epochs": 4,
    "batch": 4,
    "lora_rank": 4,
    "lora_lr": 1e-2,
    "projector_lr": 1e-2,
    "lora_dropout": 0.1,
    "longest_answer": 24,
}


def write_weights(folder: Path, *, seed: int = 0) -> Path:
    """Write the tiny model whole: what :func:`write_model` writes, and random weights in float32."""
    from transformers import AutoConfig, Qwen2AudioForConditionalGeneration

    write_model(folder)
    config = AutoConfig.from_pretrained(folder)
    config.dtype = torch.float32
    config.text_config.initializer_range = 0.1  # at 0.02, attention over so few layers moves next to nothing
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(config)
        with torch.no_grad():  # random logits of about 0.2 could not be moved far by what learns
            model.lm_head.weight.mul_(20)
        model.save_pretrained(folder)
    return folder


def taught(per_label: int, *, seed: int, rows: tuple[int, int] = (6, 12), width: int = WIDTH) -> TaughtClips:
    """Clips of which every row is a noisy sign of the label."""
    rng = np.random.default_rng(seed)
    signs = np.random.default_rng(99).normal(size=(len(LABELS), width))
    labels = [label for label in LABELS for _ in range(per_label)]
    made = [
        signs[LABELS.index(label)] + 0.3 * rng.normal(size=(int(rng.integers(*rows)), width))
        for label in labels
    ]
    return TaughtClips(
        tuple(f"{label}-{i}.wav" for i, label in enumerate(labels)),
        tuple(labels),
        ("en",) * len(labels),
        tuple(torch.from_numpy(x.astype(np.float32)) for x in made),
    )


def training(
    model: Path,
    folder: Path,
    *,
    progress: Callable[[float, float], None] = lambda done, total: None,
    train: TaughtClips | None = None,
    **settings: object,
) -> TuningRun:
    """One training of the tiny model, not begun."""
    recipe: TuningRecipe = recipe_of({**RECIPE, **settings})
    torch.manual_seed(0)
    return TuningRun(
        network=TunedNetwork(model, recipe),
        teacher=Teacher(model, LABELS, recipe),
        recipe=recipe,
        train=train or taught(4, seed=1),
        dev=taught(2, seed=2) if recipe.dev == "select" else None,
        device="cpu",
        folder=folder,
        fingerprint="tiny",
        progress=progress,
    )


def copy_of(model: Path, folder: Path) -> Path:
    """A copy of a model's folder, to be damaged."""
    return Path(shutil.copytree(model, folder))
