"""Checkpoints as others published them: the released MERaLiON-SER layout, and plain Whisper encoders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from adapters.meralion_ser.configuration import RELEASED_LABELS, MeralionSerConfig
from adapters.meralion_ser.network import MeralionSer
from bench.errors import CannotRun, DataError

UNUSED = ("whisper.decoder.", "proj_out.")
"""Tensors that a released folder may carry and that nothing here reads."""
_ENCODER_PREFIXES = ("model.encoder.", "whisper.encoder.", "encoder.")


def load_released(folder_or_hub_id: str | Path, revision: str | None = None) -> MeralionSer:
    """Build the network that the tensors describe and load them strictly. See :meth:`MeralionSer.from_released`."""
    folder = _local_folder(folder_or_hub_id, revision)
    tensors = {name: t for name, t in read_tensors(folder).items() if not name.startswith(UNUSED)}
    model = MeralionSer(released_config(tensors, _described(folder), folder))
    load_strictly(model, tensors, folder)
    return model.eval()  # type: ignore[no-any-return]


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read a folder's ``model.safetensors``, whole or in shards. A folder with pickled weights alone is refused."""
    from safetensors.torch import load_file

    files = sorted(folder.glob("model.safetensors")) or sorted(folder.glob("model-*-of-*.safetensors"))
    if not files:
        pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
        found = (
            f"only pickled weights ({', '.join(pickled)}), which can run code" if pickled else "no weights"
        )
        raise DataError(f"{folder}: {found}; a model.safetensors is needed: convert or download it")
    return {name: tensor for path in files for name, tensor in load_file(path).items()}


def load_strictly(model: Any, tensors: dict[str, Tensor], source: Path) -> None:
    """Load tensors by name and shape, all of them and no others, in the model's own precision.

    Raises :class:`DataError` listing what is missing, unexpected and of another shape.
    """
    wanted = model.state_dict()
    problems = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - wanted.keys()),
        "of another shape": [
            f"{name} {tuple(tensors[name].shape)}, not {tuple(wanted[name].shape)}"
            for name in sorted(wanted.keys() & tensors.keys())
            if tensors[name].shape != wanted[name].shape
        ],
    }
    said = [f"{len(names)} {kind}: {_some(names)}" for kind, names in problems.items() if names]
    if said:
        raise DataError(
            f"{source}: the checkpoint does not fit this network. {'; '.join(said)}. "
            "Use a checkpoint of this layout, or name its sizes in config.json"
        )
    model.load_state_dict({name: t.to(wanted[name].dtype) for name, t in tensors.items()})


def released_config(tensors: dict[str, Tensor], described: dict[str, Any], source: Path) -> MeralionSerConfig:
    """Read the sizes from the tensors (shapes alone: meta tensors do) and the head count and labels from config.json.

    Raises :class:`DataError` when a tensor that tells a size is not there.
    """
    try:
        return _config_of_shapes({name: tuple(t.shape) for name, t in tensors.items()}, described)
    except KeyError as error:
        raise DataError(
            f"{source}: not a checkpoint of the released layout, tensor {error} is missing; "
            "expected the names of MERaLiON/MERaLiON-SER-v1"
        ) from error


def load_whisper_encoder(model: MeralionSer, folder: Path) -> None:
    """Load a Whisper folder (encoder alone, or whole) into the model's encoder, strictly."""
    found = read_tensors(folder)
    encoder = model.whisper.encoder
    prefix = next((p for p in _ENCODER_PREFIXES if any(name.startswith(p) for name in found)), "")
    tensors = {name.removeprefix(prefix): t for name, t in found.items() if name.startswith(prefix)}
    load_strictly(encoder, tensors, folder)


def load_backbone(model: MeralionSer, folder: Path) -> None:
    """Load another encoder's folder into the model's, strictly but for heads that are not part of an encoder."""
    found = read_tensors(folder)
    wanted = model.backbone.state_dict()
    prefix = next((p for p in ("", *_bases(found)) if f"{p}{next(iter(wanted))}" in found), "")
    tensors = {
        name.removeprefix(prefix): t
        for name, t in found.items()
        if name.startswith(prefix) and name.removeprefix(prefix) in wanted
    }
    load_strictly(model.backbone, tensors, folder)


def _bases(names: Iterable[str]) -> list[str]:
    return sorted({f"{name.partition('.')[0]}." for name in names})


def whisper_fields(folder: Path) -> dict[str, Any]:
    """Read the encoder's fields from a Whisper folder's config.json, for :class:`MeralionSerConfig`."""
    fields = ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins")
    described = _described(folder)
    absent = [field for field in fields if field not in described]
    if absent:
        raise DataError(f"{folder / 'config.json'}: not a Whisper config, {', '.join(absent)} missing")
    return {
        field: described[field]
        for field in (*fields, "max_source_positions", "vocab_size")
        if field in described
    }


def _config_of_shapes(shapes: dict[str, tuple[int, ...]], described: dict[str, Any]) -> MeralionSerConfig:
    encoder, head = "whisper.encoder.", "downstream_model."
    d_model, mels, _ = shapes[f"{encoder}conv1.weight"]
    channels = shapes[f"{head}proj_in.0.weight"][0]
    kernels = _stack(shapes, rf"{head}pooling\.multiscale\.resolution_convs\.(\d+)\.weight")
    labels = shapes["emotion_classification_layer.2.weight"][0]
    return MeralionSerConfig(
        whisper={
            "d_model": d_model,
            "num_mel_bins": mels,
            "encoder_layers": len(_stack(shapes, rf"{encoder}layers\.(\d+)\.fc1\.weight")),
            "encoder_ffn_dim": shapes[f"{encoder}layers.0.fc1.weight"][0],
            "encoder_attention_heads": _attention_heads(described, d_model),
            "max_source_positions": shapes[f"{encoder}embed_positions.weight"][0],
        },
        channels=channels,
        embedding=shapes[f"{head}embed.4.weight"][0],
        dilations=[1 + i for i in range(len(_stack(shapes, rf"{head}blocks\.(\d+)\.conv1\.weight")))],
        res2_scale=1 + len(_stack(shapes, rf"{head}blocks\.0\.res2\.convs\.(\d+)\.weight")),
        kernel_sizes=[shape[2] for shape in kernels],
        pooling_channels_per_group=kernels[0][1],
        segment_levels=len(_stack(shapes, rf"{head}pooling\.segment\.level_attentions\.(\d+)\.weight")),
        id2label=_labels(described, labels),
    )


def _stack(shapes: dict[str, tuple[int, ...]], pattern: str) -> list[tuple[int, ...]]:
    """Shapes of the numbered tensors that match, in the order of their numbers."""
    numbered = {
        int(match[1]): shape for name, shape in shapes.items() if (match := re.fullmatch(pattern, name))
    }
    if not numbered:
        raise KeyError(pattern)
    return [numbered[number] for number in sorted(numbered)]


def _attention_heads(described: dict[str, Any], d_model: int) -> int:
    whisper = described.get("whisper") or {}
    return int(whisper.get("encoder_attention_heads", d_model // 64))


def _labels(described: dict[str, Any], count: int) -> dict[int, str]:
    named = {int(index): str(label).lower() for index, label in (described.get("id2label") or {}).items()}
    if len(named) == count:
        return named
    if count == len(RELEASED_LABELS):
        return dict(enumerate(RELEASED_LABELS))
    return {index: f"LABEL_{index}" for index in range(count)}


def _local_folder(folder_or_hub_id: str | Path, revision: str | None) -> Path:
    folder = Path(folder_or_hub_id)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                str(folder_or_hub_id), revision=revision, allow_patterns=["*.safetensors", "config.json"]
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CannotRun(
            f"{folder_or_hub_id}: neither a folder here nor to be had from the hub ({type(error).__name__}: {error}). "
            "Download it (huggingface-cli download; the released model is gated: log in first) and give its folder"
        ) from error


def _described(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _some(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f", … ({len(names)} in all)" if len(names) > shown else "")
