"""Whisper's log-mel padded after the fact equals what its own extractor makes of the padded clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from adapters.meralion_ser.network.frames import WhisperMel, padded_mel


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.003, 0.03, 0.3])
@pytest.mark.parametrize("level", [1.0, 1e-4])
def test_padding_is_the_extractors_silence_whatever_the_clip(noise: float, level: float) -> None:
    extract = WhisperFeatureExtractor()
    rng = np.random.default_rng(0)
    time = np.arange(24_000) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * 220 * time) * (time < 1.0)
    clip = (level * (tone + noise * rng.standard_normal(time.size))).astype(np.float32)
    whole = extract(clip, sampling_rate=16_000, return_tensors="pt")["input_features"][0].T
    own = WhisperMel(extract)(clip)
    made = padded_mel(own[None], 3000)[0]
    # Where the clip ends, the extractor's windows hear both it and the silence after it.
    inside, after = slice(0, len(own) - 2), slice(len(own) + 2, 3000)
    torch.testing.assert_close(made[inside], whole[inside], atol=1e-5, rtol=0)
    torch.testing.assert_close(made[after], whole[after], atol=1e-5, rtol=0)
