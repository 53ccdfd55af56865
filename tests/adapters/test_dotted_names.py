"""Dotted names that cards and kept folders carry, in this suite and in its users' folders: each still resolves."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import adapters

ROOT = Path(adapters.__file__).parent
PUBLIC = {
    "adapters.meralion_ser": (
        "MeralionSer", "MeralionSerConfig", "MeralionSerPredictor", "hybrid_loss", "TrainedSer", "MatchedSer", "MeralionEncoder",
    ),
    "adapters.meralion_ser.encoder": ("MeralionEncoder",),
    "adapters.audio_lm": ("parse_reply", "Reply"),
    "adapters.audio_lm.model": ("AudioLanguageModel",),
    "adapters.audio_lm.tuning.predictor": ("TunedAudioLM",),
    "adapters.audio_lm.tuning.tower": ("AudioTower",),
    "adapters.transformers_encoder": ("TransformersEncoder", "RandomEncoder"),
    "adapters.transformers_classifier": ("TransformersClassifier", "TransformersRegressor"),
    "adapters.s3prl_upstream": ("S3PRLUpstreamEncoder",),
    "adapters.emotion2vec": ("Emotion2vecEncoder", "Emotion2vecClassifier"),
    "adapters.acoustic": ("OpenSmile",),
    "adapters.baselines": ("Majority", "Chance"),
}  # fmt: skip
DOTTED = re.compile(r"\b(adapters(?:\.\w+)+):(\w+)")
WRITTEN = sorted(
    {
        match.groups()
        for folder, pattern in ((ROOT / "systems", "*.yaml"), (Path(__file__).parents[1], "**/system.yaml"))
        for path in folder.glob(pattern)
        for match in DOTTED.finditer(path.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in PUBLIC.items() for name in names]
)
def test_a_public_name_resolves(module: str, name: str) -> None:
    assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize(("module", "name"), WRITTEN)
def test_a_name_on_a_card_or_in_a_kept_folder_is_public_and_resolves(module: str, name: str) -> None:
    assert callable(getattr(import_module(module), name))
    assert name in PUBLIC[module]


def test_the_folder_that_version_0_1_0_kept_is_among_them() -> None:
    assert ("adapters.meralion_ser", "TrainedSer") in WRITTEN
