"""The proposed head on other encoders: the cards differ from the proposed model in the encoder alone, and they train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapters.meralion_ser import MeralionSerPredictor
from adapters.transformers_encoder import TransformersEncoder
from bench.cards.registry import load_system
from bench.protocols import Weights
from tests.adapters.meralion_ser.test_meralion_options import SIZES, context, tone_examples

RIVALS = {
    "whisper-small-adapted": "whisper-small",
    "wavlm-base-plus-adapted": "wavlm-base-plus",
    "hubert-base-adapted": "hubert-base",
    "wav2vec2-base-adapted": "wav2vec2-base",
    "xls-r-300m-adapted": "xls-r-300m",
    "emotion2vec-plus-base-adapted": "emotion2vec-plus-base",
}
OF_THE_ENCODER = {"encoder", "layer", "stored_layer"}
OF_LORA = {"lora_rank", "lora_alpha", "lora_dropout", "lora_epochs"}


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_differs_from_the_proposed_model_in_the_encoder_alone(name: str) -> None:
    ours, rival = load_system("meralion-ser-small"), load_system(name)
    frozen = load_system(f"{RIVALS[name]}-superb")
    apart = OF_THE_ENCODER | (OF_LORA if rival.params["encoder"] == "features" else set())
    assert {k: v for k, v in rival.params.items() if k not in apart} == {
        k: v for k, v in ours.params.items() if k not in apart
    }
    assert rival.track == ours.track == "adapted"
    assert rival.weights == frozen.weights
    assert rival.training_corpora == frozen.training_corpora
    assert "never loaded here" in rival.description


@pytest.mark.parametrize(
    ("kind", "name"), [("wavlm", "wavlm-base-plus-adapted"), ("hubert", "hubert-base-adapted")]
)
def test_a_rival_trains_on_a_small_encoder_of_its_kind(kind: str, name: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(kind, **SIZES)).save_pretrained(tmp_path / "encoder")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "encoder")
    weights, examples = Weights(tmp_path / "encoder", "hash"), tone_examples(8)
    card = load_system(name)
    smaller: dict[str, Any] = {"layer": 2, "stored_layer": 1, "channels": 16, "epochs": 1, "lora_epochs": 2}
    stored = TransformersEncoder(weights, input="own", layers=[1])
    features = {x: stored.encode([examples.clips.read(i)])[0] for i, x in enumerate(examples.clips.ids)}
    predictor = MeralionSerPredictor(**(card.params | smaller), weights=weights)
    predictor.fit(examples, tone_examples(0), context(tmp_path / "fit", features=features))
    answers = predictor.predict(examples.clips)
    assert answers.notes["epochs"] == 3
    assert answers.notes["lora_parameters"] == 3 * 8 * (32 + 32)
    assert answers.probabilities is not None
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1.0)
