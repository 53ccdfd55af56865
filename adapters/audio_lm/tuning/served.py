"""The folder that a vLLM server loads: merged, or the owner's files with the trained projector and a LoRA module beside them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from adapters.audio_lm.tuning.classes import AudioClass
from adapters.audio_lm.tuning.network import TunedNetwork
from bench.cards.system import LoraSpec
from bench.errors import CannotRun

COPIED = ("*.json", "*.jinja", "*.txt", "*.model")
"""Files of a model's folder beside its weights: tokenizer, front end, chat template."""
LORA_FOLDER = "tuned-lora"
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM makes room for."""


def write_served(network: TunedNetwork, folder: Path, *, lora_rank: int) -> None:
    """Write what a server loads. The network is of no use for training afterwards.

    Args:
        network: trained.
        folder: is made.
        lora_rank: of what it learnt; 0: no LoRA.

    Raises:
        CannotRun: the owner's folder lacks the files that vLLM loads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if network.audio_class.lora_served:
        write_with_lora(network, folder, lora_rank=lora_rank)
    else:
        _copy_small(network.folder, folder)
        network.merge().save_pretrained(folder)
        _open_to_all(folder)


def write_with_lora(network: TunedNetwork, folder: Path, *, lora_rank: int) -> None:
    """Write the owner's files with the trained projector in place of theirs, and LoRA in ``tuned-lora`` beside them.

    Args:
        network: trained, of a class whose server loads LoRA.
        folder: is made.
        lora_rank: of what it learnt; 0: no LoRA.

    Raises:
        CannotRun: the owner's folder lacks the files that vLLM loads, or the projector in them.
    """
    audio_class = network.audio_class
    require_served_files(network.folder, audio_class)
    folder.mkdir(parents=True, exist_ok=True)
    _copy_small(network.folder, folder, indices=True)
    trained = {name: p.detach().cpu() for name, p in network.projector.named_parameters()}
    for path in sorted(network.folder.glob("*.safetensors")):
        if not _rewrite(path, folder / path.name, audio_class, trained):
            _link(path, folder / path.name)
    if lora_rank:
        _write_lora(network, folder / LORA_FOLDER)
    _open_to_all(folder)


def require_served_files(folder: Path, audio_class: AudioClass) -> None:
    """Raise :class:`CannotRun` unless a folder holds weights in the format that vLLM's class loads."""
    if not [*folder.glob(audio_class.served_files)]:
        raise CannotRun(
            f"{folder}: holds no {audio_class.served_files}, from which vLLM loads {audio_class.title}; copy the whole repository of the "
            "weights"
        )


def lora_spec(name: str, rank: int) -> LoraSpec:
    """Return what a server is told of the LoRA module: requests for ``name`` are answered with it.

    Args:
        name: under which the model is asked.
        rank: of the module.

    Raises:
        CannotRun: a rank for which vLLM makes no room.

    >>> lora_spec("m", 4).rank, lora_spec("m", 64).rank
    (8, 64)
    """
    room = [size for size in VLLM_RANKS if size >= rank]
    if not room:
        raise CannotRun(f"lora_rank is {rank}, and vLLM serves {VLLM_RANKS[-1]} at most; lower it")
    return LoraSpec(name=name, folder=LORA_FOLDER, rank=room[0])


def _rewrite(path: Path, to: Path, audio_class: AudioClass, trained: Mapping[str, Tensor]) -> bool:
    """Write a file again if it holds part of the projector; return whether it did."""
    with safe_open(path, framework="pt") as handle:
        names, metadata = list(handle.keys()), handle.metadata()
    places = _places(names, audio_class)
    if not places:
        return False
    tensors = load_file(path)
    for name, parameter in places.items():
        own = tensors[name]
        if own.shape != trained[parameter].shape:
            raise CannotRun(
                f"{path}: {name} is {tuple(own.shape)}, and the trained projector {tuple(trained[parameter].shape)}; the files of the "
                "folder belong to different models"
            )
        tensors[name] = trained[parameter].to(own.dtype).contiguous()
    save_file(tensors, to, metadata)
    return True


def _places(names: list[str], audio_class: AudioClass) -> dict[str, str]:
    """Names of tensors in a file that are the projector's, and which of its parameters they are."""
    ends = audio_class.projector_tensors or {}
    return {n: parameter for n in names for parameter, own in ends.items() if n.endswith(own)}


def _write_lora(network: TunedNetwork, folder: Path) -> None:
    """Write LoRA as peft does, under the names that vLLM's class gives its language model's layers."""
    folder.mkdir(exist_ok=True)
    config, tensors = network.lora()
    known = config.to_dict()
    settings = {
        key: known[key]
        for key in ("peft_type", "r", "lora_alpha", "lora_dropout", "bias", "use_rslora", "use_dora")
    }
    settings |= {
        "base_model_name_or_path": None,
        "target_modules": sorted(known["target_modules"]),
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=1, default=str), encoding="utf-8")
    before = "base_model.model."
    renamed = {
        before + network.audio_class.text_prefix + name.removeprefix(before): t.to(torch.float32).contiguous()
        for name, t in tensors.items()
    }
    save_file(renamed, folder / "adapter_model.safetensors", {"format": "pt"})
    _open_to_all(folder)


def _copy_small(source: Path, folder: Path, *, indices: bool = False) -> None:
    for pattern in COPIED:
        for path in source.glob(pattern):
            if indices or not path.name.endswith(".index.json"):
                shutil.copyfile(path, folder / path.name)


def _link(path: Path, to: Path) -> None:
    """Let a file of gigabytes stand in a second folder without a second copy, where the disk can."""
    to.unlink(missing_ok=True)
    try:
        os.link(path.resolve(), to)
    except OSError:
        shutil.copyfile(path, to)


def _open_to_all(folder: Path) -> None:
    """safetensors keeps what it writes from everybody else."""
    readable = next(folder.glob("*.json"))
    for path in folder.glob("*.safetensors"):
        if path.stat().st_nlink == 1:
            shutil.copymode(readable, path)
