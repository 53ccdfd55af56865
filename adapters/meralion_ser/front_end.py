"""Front ends: from a waveform (samples,) to the frames (frames, dims) that a network goes on from.

A network whose blocks go on from stored frames gets them as the feature store did, up to the same layer and through the
same code (:mod:`adapters.transformers_encoder`): 30-s windows, clips below 25 ms padded, and with ``input: 30s`` the
padded window cut to the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.meralion_ser.network.architecture import Architecture
from adapters.meralion_ser.network.frames import WhisperMel, log_mel, stored_frames
from adapters.meralion_ser.network.model import MeralionSer
from adapters.transformers_encoder import TransformersEncoder
from adapters.transformers_encoder.networks import Network, WaveformNetwork, WhisperNetwork
from bench.errors import CannotRun, UsageError
from bench.protocols import Waveform, Weights

FRONT_END = "preprocessor_config.json"
FrontEnd = Callable[[Waveform], Tensor]
"""Waveform (samples,) at 16 kHz to frames (frames, dims)."""


class InnerEncoder(TransformersEncoder):
    """The encoder inside a network, up to one hidden state, clip by clip."""

    def __init__(self, network: Network, layer: int) -> None:
        self._network = network
        self._wanted = (layer,)
        self._batch, self._seconds = 1, float("inf")

    def __call__(self, waveform: Waveform) -> Tensor:
        """Return frames (frames, dims)."""
        return stored_frames(self.encode([waveform])[0])


def training_front_end(
    architecture: Architecture, weights: Weights | None, feature_params: Mapping[str, Any] | None, device: str
) -> FrontEnd:
    """Build the front end of a network in training: frames as the feature store's encoder would have them.

    Args:
        architecture: what the card says of the network.
        weights: the encoder's folder; None where it needs none.
        feature_params: those of the encoder that made the stored frames (``features.params`` of the card).
        device: where the encoder runs.

    Raises:
        UsageError: the encoder is not part of the network, and cannot be run here.
    """
    if architecture.encoder == "logmel":
        return log_mel
    if architecture.from_mel:
        assert weights is not None
        return WhisperMel.of(weights.folder)
    if architecture.stored_layer is None or weights is None:
        raise UsageError(
            "views needs an encoder that can be run here: encoder 'whisper', 'backbone' or 'logmel'"
        )
    # As the stored frames were made: of the padded window, where they were.
    given = feature_params or {}
    same = {name: given[name] for name in ("input", "dtype") if name in given}
    encoder = TransformersEncoder(weights, layers=[architecture.stored_layer], device=device, **same)
    return lambda waveform: stored_frames(encoder.encode([waveform])[0])


def network_front_end(
    model: MeralionSer, architecture: Architecture, window: str, folder: Path, device: str
) -> FrontEnd:
    """Build the front end of a kept network, up to the layer that its blocks go on from.

    Args:
        model: the network, its encoder inside.
        architecture: how it was trained.
        window: the ``input`` of the stored frames: ``own`` or ``30s``.
        folder: where the encoder's ``preprocessor_config.json`` lies.
        device: where the encoder runs.

    Raises:
        CannotRun: the folder lacks the encoder's ``preprocessor_config.json``.
    """
    if architecture.encoder == "logmel":
        return log_mel
    if architecture.from_mel:
        return WhisperMel(_whisper_extractor(model, folder))
    assert architecture.stored_layer is not None
    where = torch.device(device)
    if architecture.encoder == "whisper":
        extractor = _whisper_extractor(model, folder)
        whisper = WhisperNetwork(model.whisper.encoder, extractor, window == "30s", where)
        return InnerEncoder(whisper, architecture.stored_layer)
    return InnerEncoder(WaveformNetwork(model.backbone, _extractor(folder), where), architecture.stored_layer)


def _whisper_extractor(model: MeralionSer, folder: Path) -> Any:
    from transformers import WhisperFeatureExtractor

    if not (folder / FRONT_END).is_file():  # the released folder carries none
        return WhisperFeatureExtractor(feature_size=int(model.whisper.encoder.config.num_mel_bins))
    try:
        return WhisperFeatureExtractor.from_pretrained(folder)
    except (OSError, ValueError, TypeError) as error:
        raise CannotRun(
            f"{folder / FRONT_END}: not what Whisper's feature extractor reads ({error}); copy the encoder's own there"
        ) from error


def _extractor(folder: Path) -> Any:
    from transformers import AutoFeatureExtractor

    try:
        return AutoFeatureExtractor.from_pretrained(folder)
    except (OSError, ValueError, TypeError) as error:
        raise CannotRun(
            f"{folder}: no {FRONT_END} that transformers reads ({error}); copy the encoder's own there"
        ) from error
