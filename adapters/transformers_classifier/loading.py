"""From a folder in Hugging Face format to a network with its head, or a sentence that says what is wrong with the folder."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from adapters.transformers_classifier.networks import (
    POOLINGS,
    HeadNetwork,
    SpectrogramHead,
    TwoLayerHead,
    WaveformHead,
    WhisperHead,
)
from adapters.transformers_encoder.loading import FAMILIES, UNREADABLE, require_rate, require_whole
from adapters.transformers_encoder.networks import HOP
from bench.errors import CannotRun, UsageError

HEAD = (
    "classifier.dense.weight", "classifier.dense.bias", "classifier.out_proj.weight", "classifier.out_proj.bias",
)  # fmt: skip
"""What a two-layer head is made of, by name."""
AST = "audio-spectrogram-transformer"
KINDS = ("whisper", AST, *FAMILIES)
"""``model_type`` of the folders that load."""


def load_head(
    folder: Path, input_mode: str | None, device: torch.device, dtype: torch.dtype
) -> tuple[HeadNetwork, Any]:
    """Load a folder's network with its head.

    Args:
        folder: in Hugging Face format.
        input_mode: ``own`` or ``30s`` (Whisper alone has both); None: as it was released.
        device: where it runs.
        dtype: precision of its weights, whatever they are stored in.

    Returns:
        The network, and the folder's configuration (which names its outputs).

    Raises:
        CannotRun: no such network, or its weights are not whole.
        UsageError: ``input_mode`` is not one that this kind of network takes.
    """
    config, extractor = _described(folder)
    if config.model_type not in KINDS:
        raise CannotRun(
            f"{folder} holds a {config.model_type!r} model; this adapter knows {', '.join(KINDS)}. "
            "Write an adapter: serbench new adapter NAME --kind classifier"
        )
    require_rate(folder, extractor.sampling_rate)
    takes = {"whisper": ("30s", "own"), AST: ()}.get(config.model_type, ("own",))
    if input_mode is not None and input_mode not in takes:
        raise UsageError(
            f"input is {input_mode!r}; a {config.model_type} network takes {' or '.join(takes) or 'windows of its own alone'}"
        )
    if config.model_type == "whisper":
        _same_window(folder, int(config.max_source_positions) * HOP, int(extractor.n_samples))
        model = _classifier(folder, device, dtype)
        return WhisperHead(model, extractor, input_mode != "own", device), config
    if config.model_type == AST:
        _same_window(folder, int(config.max_length), int(extractor.max_length))
        return SpectrogramHead(_classifier(folder, device, dtype), extractor, device), config
    names = tensor_names(folder)
    if any(name in names for name in HEAD):
        return WaveformHead(_two_layers(folder, names, device, dtype), extractor, device), config
    return WaveformHead(_classifier(folder, device, dtype), extractor, device), config


def _described(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoFeatureExtractor

    try:
        with _no_words():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            return config, AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
    except UNREADABLE as error:
        raise CannotRun(
            f"{folder} is no Hugging Face audio classifier of a kind that transformers knows: it needs config.json and "
            f"preprocessor_config.json, and code of its own is never run ({error})"
        ) from error


def _same_window(folder: Path, network: int, front_end: int) -> None:
    if network != front_end:
        raise CannotRun(
            f"{folder}: the network's window is {network} and its front end's {front_end} (config.json against "
            "preprocessor_config.json); fetch both from one place"
        )


def _classifier(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """transformers' own network with its own head, whole."""
    require_whole("AutoModelForAudioClassification", folder)
    return _ready(_read("AutoModelForAudioClassification", folder, dtype)[0], device)


def _two_layers(folder: Path, names: Sequence[str], device: torch.device, dtype: torch.dtype) -> Any:
    """A network under a two-layer head: every tensor of the file is used, and none is missing."""
    missing = [name for name in HEAD if name not in names]
    if missing:
        raise CannotRun(
            f"{folder}: its two-layer head lacks {', '.join(missing)}; fetch the whole checkpoint"
        )
    require_whole("AutoModel", folder)
    backbone, report = _read("AutoModel", folder, dtype)
    left = sorted(name for name in report["unexpected_keys"] if name not in HEAD)
    if left:
        raise CannotRun(
            f"{folder}: {len(left)} tensors belong neither to its network nor to a head of two layers, {left[0]} among them: "
            "another kind of head, which this adapter does not know. Write an adapter: serbench new adapter NAME"
        )
    pooling = str(getattr(backbone.config, "pooling_mode", "mean"))
    if pooling not in POOLINGS:
        raise CannotRun(f"{folder}: pooling_mode is {pooling!r}; this adapter knows {', '.join(POOLINGS)}")
    head = {name: _tensor(folder, name) for name in HEAD}
    hidden, outputs = head[HEAD[0]].shape[0], int(backbone.config.num_labels)
    shapes = {HEAD[0]: (hidden, int(backbone.config.hidden_size)), HEAD[1]: (hidden,), HEAD[2]: (outputs, hidden), HEAD[3]: (outputs,)}  # fmt: skip
    for name, shape in shapes.items():
        if tuple(head[name].shape) != shape:
            raise CannotRun(
                f"{folder}: {name} is {' × '.join(map(str, head[name].shape))}; its config.json makes it {' × '.join(map(str, shape))}"
            )
    return _ready(TwoLayerHead(backbone, head, pooling).to(dtype), device)


def _ready(model: Any, device: torch.device) -> Any:
    return model.eval().requires_grad_(False).to(device)


def _read(class_name: str, folder: Path, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """Read a network; ``require_whole`` was asked before whether it is all there."""
    import transformers

    try:
        with _no_words():
            model, report = getattr(transformers, class_name).from_pretrained(
                folder, output_loading_info=True, weights_only=True, dtype=dtype, trust_remote_code=False
            )
    except (*UNREADABLE, pickle.UnpicklingError) as error:
        raise CannotRun(f"The weights in {folder} could not be read: {error}") from error
    return model, report


def tensor_names(folder: Path) -> list[str]:
    """Names of the tensors in a folder's safetensors, else in its ``pytorch_model.bin``, as stored.

    Raises:
        CannotRun: the files cannot be read.
    """
    return [name for file in _files(folder) for name in _names(file)]


def _tensor(folder: Path, name: str) -> torch.Tensor:
    """One tensor of a folder, in float32."""
    for file in _files(folder):
        if name in _names(file):
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as handle:
                    found: torch.Tensor = handle.get_tensor(name)
            else:
                found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)[name]
            return found.float()
    raise CannotRun(f"{folder}: {name} is not in it; fetch the whole checkpoint")


def _files(folder: Path) -> list[Path]:
    """The files that transformers reads: of a folder with an index, the shards it lists."""
    for single in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{single}.index.json"
        if (folder / single).is_file():
            return [folder / single]
        if index.is_file():
            try:
                shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
                return [folder / name for name in sorted(set(shards.values()))]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise CannotRun(f"{index}: is no index of weights ({error}); fetch it again") from error
    return []


def _names(file: Path) -> list[str]:
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as handle:
                return list(handle.keys())
        return list(torch.load(file, map_location="meta", weights_only=True))
    except (*UNREADABLE, pickle.UnpicklingError) as error:
        raise CannotRun(f"The weights in {file} could not be read: {error}") from error


@contextlib.contextmanager
def _no_words() -> Iterator[None]:
    """Keep transformers quiet: workers share the terminal with the run's progress bar, and what matters is raised."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
