"""The encoder inside a released MERaLiON-SER checkpoint as a frozen encoder, for probes."""

from __future__ import annotations

import torch
from transformers import WhisperFeatureExtractor

from adapters.meralion_ser.network.model import MeralionSer
from adapters.transformers_encoder import TransformersEncoder
from adapters.transformers_encoder.networks import HOP, Network, WhisperNetwork
from bench.errors import CannotRun, DataError
from bench.protocols import SAMPLE_RATE, Weights


class MeralionEncoder(TransformersEncoder):
    """The Whisper encoder (LoRA merged) of a folder in the layout of MERaLiON/MERaLiON-SER-v1, with Whisper's own log-mel.

    Parameters are those of :class:`adapters.transformers_encoder.TransformersEncoder`.

    Raises:
        CannotRun: the folder holds no checkpoint of that layout.
    """

    def _load(self, weights: Weights, input_mode: str, device: torch.device, dtype: torch.dtype) -> Network:
        try:
            encoder = MeralionSer.from_released(weights.folder).whisper.encoder
        except DataError as error:
            raise CannotRun(str(error)) from error
        window = int(encoder.config.max_source_positions) * HOP // SAMPLE_RATE
        extractor = WhisperFeatureExtractor(
            feature_size=int(encoder.config.num_mel_bins), chunk_length=max(1, window)
        )
        frozen = encoder.eval().requires_grad_(False).to(device=device, dtype=dtype)
        return WhisperNetwork(frozen, extractor, input_mode == "30s", device)
