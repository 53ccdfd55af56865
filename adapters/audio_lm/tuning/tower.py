"""The frozen ear of an Audio-LLM, run once per clip: what its projector reads, one row per audio token.

A :class:`bench.protocols.Encoder`, so the suite keeps its output in the feature store: for all folds, seeds and epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from adapters.audio_lm.requests.questions import windows
from bench.errors import CannotRun, DataError
from bench.protocols import SAMPLE_RATE, Waveform, Weights

PREFIXES = ("model.audio_tower.", "audio_tower.", "model.encoder.", "encoder.", "")
"""Before an encoder tensor's name: of an Audio-LLM (new and old folders), of a whole Whisper, of a Whisper encoder."""
PARTS = ("conv1.", "conv2.", "embed_positions.", "layers.", "layer_norm.")
"""Of an encoder: nothing else of a folder is read."""
SIZES = {
    "d_model": "d_model",
    "encoder_layers": "encoder_layers",
    "encoder_attention_heads": "encoder_attention_heads",
    "encoder_ffn_dim": "encoder_ffn_dim",
    "num_mel_bins": "num_mel_bins",
    "max_source_positions": "max_source_positions",
}
WINDOW_SECONDS = 30.0


class AudioTower:
    """Encodes clips with the tower of an Audio-LLM, or with a Whisper encoder that is to be one.

    The folder's ``model_type`` decides what a row is: two pooled frames of the encoder, or for Voxtral four joined ones of a whole
    window. A clip longer than the window is heard in equal windows, whose rows follow each other.

    Args:
        weights: folder of the Audio-LLM, of a Whisper, or of a Whisper encoder.
        device: where the tower runs.

    Raises:
        CannotRun: the folder holds no such tower, or one whose tensors are of another width than its configuration says.
    """

    def __init__(self, *, weights: Weights, device: str = "cpu") -> None:
        from transformers import WhisperFeatureExtractor

        self._device = torch.device(device)
        self._tower = load_tower(weights.folder).to(self._device)
        self._rows = ROWS[tower_configuration(weights.folder).model_type]
        self._extractor = WhisperFeatureExtractor.from_pretrained(weights.folder)

    def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
        """Return (1, rows, width) per waveform, each encoded alone.

        Raises:
            DataError: a clip too short for one row.
        """
        return [self._encode(waveform) for waveform in waveforms]

    def _encode(self, waveform: Waveform) -> NDArray[np.float32]:
        parts = [self._window(part) for part in windows(waveform, WINDOW_SECONDS)]
        rows = torch.cat(parts)
        if not len(rows):
            raise DataError(f"{len(waveform)} samples are too short for an audio token (40 ms)")
        return rows.float().cpu().numpy()[None]

    def _window(self, waveform: Waveform) -> Tensor:
        made = self._extractor(
            waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True, padding="max_length"
        )  # fmt: skip
        frames = int(made["attention_mask"].sum())
        with torch.inference_mode():
            return self._rows(self._tower, made["input_features"][0].to(self._device), frames)


def tower_rows(tower: Any, mel: Tensor, frames: int) -> Tensor:
    """Return what the projector reads of one window: (rows, width), as the whole network computes it under its mask.

    The network pads a window to 30 s and masks what lies behind the clip; here only the clip's own frames are computed, and
    as much of the padding as the two convolutions see. A clip of 3 s costs a tenth.

    Args:
        tower: a ``Qwen2AudioEncoder``.
        mel: log-mel of the padded window (mel bins, frames).
        frames: those of the clip itself.
    """
    positions = (frames - 1) // 2 + 1
    rows = (positions - 2) // 2 + 1
    if frames < 1 or rows < 1:
        return mel.new_zeros((0, tower.config.d_model))
    # The second convolution (kernel 3, stride 2) at position p sees outputs 2p-1..2p+1 of the first, and that one a frame further.
    seen = min(mel.shape[1], 2 * positions + 1)
    x = mel[None, :, :seen].to(tower.conv1.weight.dtype)
    x = nn.functional.gelu(tower.conv1(x))
    x = nn.functional.gelu(tower.conv2(x))[:, :, :positions].permute(0, 2, 1)
    x = x + tower.embed_positions.weight[:positions]
    for layer in tower.layers:
        x = layer(x, None)
        x = x[0] if isinstance(x, tuple) else x
    x = tower.avg_pooler(x.permute(0, 2, 1)).permute(0, 2, 1)
    pooled: Tensor = tower.layer_norm(x)[0, :rows]
    return pooled


def joined_rows(tower: Any, mel: Tensor, frames: int) -> Tensor:
    """Return what Voxtral's projector reads of one window: (rows, width), four frames side by side in each.

    Voxtral has no mask: the silence that fills up a window is heard like the rest, and a clip of 1 s has as many rows as one of 30 s.

    Args:
        tower: an encoder as :func:`load_tower` gives it.
        mel: log-mel of the padded window (mel bins, frames).
        frames: those of the clip itself.
    """
    if frames < 1:
        return mel.new_zeros((0, tower.config.encoder_ffn_dim))
    x = mel[None].to(tower.conv1.weight.dtype)
    x = nn.functional.gelu(tower.conv1(x))
    x = nn.functional.gelu(tower.conv2(x)).permute(0, 2, 1)
    x = x + tower.embed_positions.weight
    for layer in tower.layers:
        x = layer(x, None)
        x = x[0] if isinstance(x, tuple) else x
    joined: Tensor = tower.layer_norm(x)[0].reshape(-1, tower.config.encoder_ffn_dim)
    return joined


ROWS: Mapping[str, Callable[[Any, Tensor, int], Tensor]] = {
    "whisper": tower_rows,
    "qwen2_audio": tower_rows,
    "qwen2_audio_encoder": tower_rows,
    "audioflamingo3": tower_rows,
    "voxtral": joined_rows,
}
"""``model_type`` of a folder → what its projector reads of a window."""


def load_tower(folder: Path) -> Any:
    """Load a folder's encoder as a ``Qwen2AudioEncoder``, frozen, in float32: the tensors of all classes known here are the same.

    Raises:
        CannotRun: no such encoder, tensors missing, or of other shapes than the configuration says.
    """
    from transformers import Qwen2AudioEncoder, Qwen2AudioEncoderConfig

    config = Qwen2AudioEncoderConfig(**tower_sizes(folder))
    tower = Qwen2AudioEncoder(config).eval().requires_grad_(False)
    load_into(tower, tower_tensors(folder), f"{folder}: its audio tower")
    return tower


def tower_sizes(folder: Path) -> dict[str, Any]:
    """Return the sizes of a folder's tower, as ``Qwen2AudioEncoderConfig`` takes them.

    Raises:
        CannotRun: its configuration is of another kind of model.
    """
    config = tower_configuration(folder)
    config = getattr(config, "audio_config", config)
    return {name: getattr(config, name) for name in SIZES}


def tower_configuration(folder: Path) -> Any:
    """Read a folder's configuration.

    Raises:
        CannotRun: there is none, or it is of a model whose tower is not known.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise CannotRun(f"{folder}: holds no configuration that transformers reads ({error})") from None
    if config.model_type not in ROWS:
        raise CannotRun(
            f"{folder} holds a {config.model_type!r} model; its audio tower is not known here: {', '.join(ROWS)} are"
        )
    return config


def tower_tensors(folder: Path) -> dict[str, Tensor]:
    """Read a folder's encoder tensors, by their names in the encoder.

    Raises:
        CannotRun: it holds none, or a file that is not whole.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise CannotRun(f"{folder}: holds no *.safetensors to read an audio tower from")
    found: dict[str, Tensor] = {}
    try:
        names = {path: _names(path) for path in paths}
        together = {name for own in names.values() for name in own}
        prefix = next((p for p in PREFIXES if f"{p}conv1.weight" in together), None)
        if prefix is None:
            raise CannotRun(
                f"{folder}: holds no audio tower (no tensor conv1.weight under {', '.join(PREFIXES[:-1])})"
            )
        for path, own in names.items():
            with safe_open(path, framework="pt") as handle:
                found |= {
                    n.removeprefix(prefix): handle.get_tensor(n)
                    for n in own
                    if n.startswith(prefix) and n.removeprefix(prefix).startswith(PARTS)
                }
    except SafetensorError as error:
        raise CannotRun(f"{folder}: its weights cannot be read ({error}); copy them again") from None
    return found


def _names(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as handle:
        return list(handle.keys())


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load tensors strictly: all of the module's, in its shapes; others are left aside.

    Args:
        module: is changed.
        tensors: by name.
        what: how the sentence begins.

    Raises:
        CannotRun: some are missing or of another shape.
    """
    wanted = module.state_dict()
    missing = sorted(set(wanted) - set(tensors))
    if missing:
        raise CannotRun(f"{what} lacks {len(missing)} tensors, first {missing[0]}; copy the whole folder")
    for name, own in wanted.items():
        if own.shape != tensors[name].shape:
            raise CannotRun(
                f"{what}: {name} is {tuple(tensors[name].shape)} in the file, and its configuration asks for {tuple(own.shape)}; "
                "these weights belong to another configuration"
            )
    module.load_state_dict({name: tensors[name].to(own.dtype) for name, own in wanted.items()})
