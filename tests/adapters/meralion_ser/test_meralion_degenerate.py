"""Training material that teaches nothing, and settings that reach nothing, are said and not passed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from adapters.meralion_ser import MeralionSer, MeralionSerConfig, MeralionSerPredictor
from bench.errors import DataError, UsageError
from bench.protocols import Examples
from tests.adapters.meralion_ser.test_meralion_options import LOGMEL, context, tone_examples


def all_rated(value: float) -> Examples:
    """Clips of one arousal, and of valences that differ."""
    found = tone_examples(16)
    found.dimensions[:, 0], found.dimensions[:, 1] = found.dimensions[:, 1].copy(), value
    return found


def test_a_dimension_that_is_the_same_for_all_clips_is_not_answered(tmp_path: Path) -> None:
    predictor = MeralionSerPredictor(**LOGMEL)
    predictor.fit(all_rated(0.5), tone_examples(0), context(tmp_path))
    answers = predictor.predict(tone_examples(4).clips)
    assert answers.dimensions is not None
    assert np.isnan(answers.dimensions).tolist() == [[False, True, True]] * 4
    assert answers.notes["dimensions_without_answer"] == ["arousal", "dominance"]


def test_nothing_but_constants_is_nothing_to_learn_dimensions_from(tmp_path: Path) -> None:
    constant = all_rated(0.5)
    constant.dimensions[:, 0] = np.nan
    with pytest.raises(DataError, match="none has two different values among the training clips"):
        MeralionSerPredictor(**(LOGMEL | {"category_weight": 0})).fit(
            constant, tone_examples(0), context(tmp_path)
        )


@pytest.mark.parametrize("encoder", ["logmel", "features"])
def test_checkpointing_without_blocks_to_recompute_is_refused(encoder: str) -> None:
    with pytest.raises(UsageError, match=f"with encoder '{encoder}' the network has none; leave it out"):
        MeralionSerPredictor(encoder=encoder, checkpointing=True)


def test_recomputed_blocks_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    whisper = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
    fields: dict[str, Any] = {"channels": 16, "channels_per_group": 8, "lora_rank": 2, "frames": "own"}
    model: Any = MeralionSer(MeralionSerConfig(whisper=whisper, init_scheme="few_clips", **fields)).train()
    model.add_lora()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    features, lengths = torch.randn(2, 80, 40), torch.tensor([40, 21])

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        model(features, lengths).logits.square().sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    model.gradient_checkpointing_enable()
    recomputed = gradients()
    assert any(".lora_" in name for name in plain)
    assert plain.keys() == recomputed.keys()
    assert all(torch.equal(plain[name], recomputed[name]) for name in plain)
