"""Checkpoints as others published them: the released MERaLiON-SER layout, and plain Whisper encoders."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapters.meralion_ser.network.configuration import RELEASED_LABELS, MeralionSerConfig
from bench.errors import BenchError, CannotRun, DataError, UsageError

WHOLE = "model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth")
UNUSED = ("whisper.decoder.", "proj_out.")
"""Tensors that a released folder may carry and that nothing here reads."""
MASK = "masked_spec_embed"
_WEIGHT_NORM = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
_ENCODER_PREFIXES = ("model.encoder.", "whisper.encoder.", "encoder.")


def read_tensors(folder: Path, *, allow_pickle: bool | None = None) -> dict[str, Tensor]:
    """Read a folder's ``model.safetensors``, whole or in shards.

    A folder with pickled weights alone is refused, unless ``allow_pickle``: then they are read as plain tensors, and a
    pickle that holds anything else is refused all the same. None where nobody can ask for that.

    Raises:
        DataError: no weights, not all of them, or pickled ones that were not asked for.
    """
    files = [folder / WHOLE] if (folder / WHOLE).is_file() else _shards(folder)
    if files:
        return {name: tensor for path in files for name, tensor in read_file(path).items()}
    pickled = _pickles(folder)
    if pickled and allow_pickle:
        return {name: tensor for path in pickled for name, tensor in _read_pickle(path).items()}
    found = "no weights"
    if pickled:
        found = f"only pickled weights ({', '.join(p.name for p in pickled)}), which can run code"
    asking = ""
    if pickled and allow_pickle is not None:
        asking = ", or ask for the pickle with allow_pickle=True (on a card: pickled: true under weights)"
    raise DataError(f"{folder}: {found}; a model.safetensors is needed: convert or download it{asking}")


def _shards(folder: Path) -> list[Path]:
    """Files of weights in shards: those that the index beside them names, else all that are called so.

    Raises :class:`DataError` for shards that are not there.
    """
    index = folder / f"{WHOLE}.index.json"
    if not index.is_file():
        return sorted(folder.glob("model-*-of-*.safetensors"))
    named = read_description(folder, index.name).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise DataError(f"{index}: names no file of weights; copy or download it again")
    files = [folder / name for name in sorted({str(name) for name in named.values()})]
    if absent := [path.name for path in files if not path.is_file()]:
        raise DataError(
            f"{folder}: {len(absent)} of {len(files)} shards are missing: {_some(absent)}; copy or download them"
        )
    return files


def read_base(folder: Path) -> dict[str, Tensor]:
    """Read the tensors of an encoder's release: safetensors, else a pickle, which is all that many have.

    Of a pickle torch takes tensors alone (``weights_only``) and runs no code.
    """
    return read_tensors(folder, allow_pickle=True)


def read_file(path: Path) -> dict[str, Tensor]:
    """Read one safetensors file. Raises :class:`DataError` for one that is cut off or no such file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: {path.stat().st_size:,} bytes that are no whole safetensors file ({error}); copy or download it again"
        ) from error
    return tensors


def _pickles(folder: Path) -> list[Path]:
    """Pickled weights: the files that transformers calls so, else whatever is pickled (a trainer leaves more than weights)."""
    found = sorted(path for pattern in PICKLES for path in folder.glob(pattern))
    return [path for path in found if path.name.startswith(("pytorch_model", "model"))] or found


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """Read a pickled state of tensors, also below a key ``state_dict``. What is no tensor is never built."""
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, TypeError, ValueError) as error:
        # torch's own words advise to read it all the same.
        raise DataError(
            f"{path}: a pickle that is cut off or holds more than tensors, and was not read; download it again, or convert it "
            "to safetensors where you trust it"
        ) from error
    state = held.get("state_dict", held) if isinstance(held, dict) else held
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise DataError(f"{path}: expected a dictionary from names to tensors; convert it to safetensors")
    return state


@contextmanager
def real_tensors() -> Iterator[None]:
    """Inside, tensors hold numbers also where the caller's default device is ``meta``, which would drop the weights."""
    if torch.get_default_device().type != "meta":
        yield
        return
    with torch.device("cpu"):
        yield


@contextmanager
def buildable(folder: Path) -> Iterator[None]:
    """Turn whatever a network that cannot be built raises into one sentence about the folder's description of it."""
    from huggingface_hub.errors import StrictDataclassError

    unbuildable = (
        ArithmeticError, AttributeError, LookupError, RuntimeError, StrictDataclassError, TypeError, UsageError, ValueError,
    )  # fmt: skip
    try:
        yield
    except unbuildable as error:
        if isinstance(error, BenchError) and not isinstance(error, UsageError):
            raise
        raise DataError(
            f"{folder / 'config.json'}: with the weights beside it, it describes no network that can be built "
            f"({type(error).__name__}: {error}); expected the config that was saved with these weights"
        ) from error


def load_strictly(model: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Load tensors by name and shape, all of them and no others, in the model's own precision.

    Args:
        model: what is filled.
        tensors: by name.
        source: the folder or file, for the message.

    Raises:
        DataError: tensors that are missing, unexpected, of another shape or of another type, listed.
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
        "of another type": [
            f"{name} {tensors[name].dtype}, not {wanted[name].dtype}"
            for name in sorted(wanted.keys() & tensors.keys())
            if tensors[name].is_floating_point() != wanted[name].is_floating_point()
        ],
    }
    faults = [f"{len(names)} {kind}: {_some(names)}" for kind, names in problems.items() if names]
    if faults:
        raise DataError(
            f"{source}: the checkpoint does not fit this network. {'; '.join(faults)}. "
            "Use a checkpoint of this layout, or name its sizes in config.json"
        )
    model.load_state_dict({name: t.to(wanted[name].dtype) for name, t in tensors.items()})


def released_config(tensors: dict[str, Tensor], described: dict[str, Any], source: Path) -> MeralionSerConfig:
    """Read the sizes from the tensors (shapes alone: meta tensors do) and the head count and labels from config.json.

    Args:
        tensors: by name.
        described: what ``config.json`` holds.
        source: the folder, for the message.

    Raises:
        DataError: a tensor that tells a size is not there, or config.json says what cannot be.
    """
    try:
        return _config_of_shapes({name: tuple(t.shape) for name, t in tensors.items()}, described)
    except ValueError as error:
        raise DataError(f"{source}: {error}") from error
    except KeyError as error:
        raise DataError(
            f"{source}: not a checkpoint of the released layout, tensor {error} is missing; "
            "expected the names of MERaLiON/MERaLiON-SER-v1"
        ) from error


def load_whisper_encoder(encoder: nn.Module, folder: Path) -> None:
    """Load a Whisper folder (encoder alone, or whole) into an encoder, strictly."""
    found = read_base(folder)
    prefix = next((p for p in _ENCODER_PREFIXES if any(name.startswith(p) for name in found)), "")
    tensors = {name.removeprefix(prefix): t for name, t in found.items() if name.startswith(prefix)}
    load_strictly(encoder, tensors, folder)


def load_backbone(backbone: nn.Module, folder: Path) -> None:
    """Load another encoder's folder into a backbone, strictly but for heads that are not part of an encoder.

    Two things are as transformers has them: the older names of a weight norm (``weight_g``, ``weight_v``), which most
    checkpoints on the hub have, and a checkpoint without ``masked_spec_embed``. That vector stands for masked frames in
    SpecAugment, which is not done here; it is set to zeros, so that equal weights stay equal bytes.
    """
    wanted = backbone.state_dict()
    found = {_renamed(name, wanted): t for name, t in read_base(folder).items()}
    prefix = max(("", *_bases(found)), key=lambda p: sum(f"{p}{name}" in found for name in wanted))
    tensors = {
        name.removeprefix(prefix): t
        for name, t in found.items()
        if name.startswith(prefix) and name.removeprefix(prefix) in wanted
    }
    if MASK in wanted:
        tensors.setdefault(MASK, torch.zeros_like(wanted[MASK]))
    load_strictly(backbone, tensors, folder)


def _renamed(name: str, wanted: Iterable[str]) -> str:
    """Give a tensor of a weight norm the name it has in current torch, where the network has such tensors."""
    owner, _, part = name.rpartition(".")
    current = f"{owner}.{_WEIGHT_NORM[part]}" if part in _WEIGHT_NORM else name
    return current if any(current.endswith(own) for own in wanted) else name


def _bases(names: Iterable[str]) -> list[str]:
    return sorted({f"{name.partition('.')[0]}." for name in names})


def whisper_fields(folder: Path) -> dict[str, Any]:
    """Read the encoder's fields from a Whisper folder's config.json, for :class:`MeralionSerConfig`."""
    fields = ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins")
    described = read_description(folder)
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
    d_model, mels, _ = _shape(shapes, f"{encoder}conv1.weight", 3)
    kernels = _stack(shapes, rf"{head}pooling\.multiscale\.resolution_convs\.(\d+)\.weight", 3)
    labels = _shape(shapes, "emotion_classification_layer.2.weight", 2)[0]
    return MeralionSerConfig(
        whisper={
            "d_model": d_model,
            "num_mel_bins": mels,
            "encoder_layers": len(_stack(shapes, rf"{encoder}layers\.(\d+)\.fc1\.weight", 2)),
            "encoder_ffn_dim": _shape(shapes, f"{encoder}layers.0.fc1.weight", 2)[0],
            "encoder_attention_heads": _attention_heads(described, d_model),
            "max_source_positions": _shape(shapes, f"{encoder}embed_positions.weight", 2)[0],
        },
        channels=shapes[f"{head}proj_in.0.weight"][0],
        embedding=_shape(shapes, f"{head}embed.4.weight", 2)[0],
        dilations=[1 + i for i in range(len(_stack(shapes, rf"{head}blocks\.(\d+)\.conv1\.weight", 3)))],
        res2_scale=1 + len(_stack(shapes, rf"{head}blocks\.0\.res2\.convs\.(\d+)\.weight", 3)),
        kernel_sizes=[shape[2] for shape in kernels],
        pooling_channels_per_group=kernels[0][1],
        segment_levels=len(_stack(shapes, rf"{head}pooling\.segment\.level_attentions\.(\d+)\.weight", 2)),
        id2label=_labels(described, labels),
    )


def _shape(shapes: dict[str, tuple[int, ...]], name: str, axes: int) -> tuple[int, ...]:
    if len(shapes[name]) != axes or 0 in shapes[name]:
        raise ValueError(f"tensor {name} has the shape {shapes[name]}; expected {axes} sizes above 0")
    return shapes[name]


def _stack(shapes: dict[str, tuple[int, ...]], pattern: str, axes: int) -> list[tuple[int, ...]]:
    """Shapes of the numbered tensors that match, in the order of their numbers."""
    numbered = {
        int(match[1]): _shape(shapes, name, axes) for name in shapes if (match := re.fullmatch(pattern, name))
    }
    if not numbered:
        raise KeyError(pattern)
    return [numbered[number] for number in sorted(numbered)]


def _attention_heads(described: dict[str, Any], d_model: int) -> int:
    whisper = described.get("whisper") or {}
    if not isinstance(whisper, dict):
        raise ValueError(f"config.json: whisper is {whisper!r}; expected an object with Whisper's fields")
    heads = whisper.get("encoder_attention_heads", d_model // 64)
    if type(heads) is not int or heads < 1 or d_model % heads:
        raise ValueError(
            f"config.json: whisper.encoder_attention_heads is {heads!r}; expected a whole number from 1 on that divides "
            f"the encoder's {d_model} dimensions"
        )
    return heads


def _labels(described: dict[str, Any], count: int) -> dict[int, str]:
    """Names of the outputs; without any, those of the released checkpoint where their number is its own."""
    found = described.get("id2label") or {}
    if not isinstance(found, dict):
        raise ValueError(f"config.json: id2label is {found!r}; expected an object from output to name")
    names = {str(index): str(label).lower() for index, label in found.items()}
    if names.keys() == {str(index) for index in range(count)}:
        return {index: names[str(index)] for index in range(count)}
    if not all(re.fullmatch(r"label_\d+", name) for name in names.values()):  # transformers' placeholders
        raise ValueError(
            f"config.json: id2label is {', '.join(f'{i}: {n}' for i, n in names.items())}; "
            f"expected a name for each of the {count} outputs, 0 to {count - 1}"
        )
    if count == len(RELEASED_LABELS):
        return dict(enumerate(RELEASED_LABELS))
    return {index: f"LABEL_{index}" for index in range(count)}


def local_folder(folder_or_hub_id: str | Path, revision: str | None, allow_pickle: bool) -> Path:
    """Return a folder as it is, or fetch a model of the hub into one.

    Args:
        folder_or_hub_id: a local folder, or the name of a repository of the hub.
        revision: of that repository.
        allow_pickle: whether pickled weights are fetched too.

    Raises:
        CannotRun: neither a folder nor to be had from the hub.
    """
    folder = Path(folder_or_hub_id)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                str(folder_or_hub_id),
                revision=revision,
                allow_patterns=["*.safetensors", "config.json", *(PICKLES if allow_pickle else ())],
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CannotRun(
            f"{folder_or_hub_id}: neither a folder here nor to be had from the hub ({type(error).__name__}: {error}). "
            "Download it (huggingface-cli download; the released model is gated: log in first) and give its folder"
        ) from error


def read_description(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Read what a folder says of its network; {} where it says nothing.

    Raises:
        DataError: not JSON, or no object.
    """
    path = folder / name
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(
            f"{path}: it cannot be read as JSON ({error}); expected the network's config: copy or download it again"
        ) from error
    if not isinstance(found, dict):
        raise DataError(
            f"{path}: it holds {type(found).__name__}, not an object; expected the network's config"
        )
    return found


def _some(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f", … ({len(names)} in all)" if len(names) > shown else "")
