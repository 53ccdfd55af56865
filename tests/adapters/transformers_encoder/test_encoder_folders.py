"""Folders of weights as one meets them: released years ago, cut off, of two minds, or with code in them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapters.meralion_ser import MeralionSer, MeralionSerConfig
from adapters.meralion_ser.network.backbone import fields_of
from adapters.meralion_ser.network.released_layout import load_backbone, read_base
from adapters.s3prl_upstream import S3PRLUpstreamEncoder
from adapters.transformers_encoder import TransformersEncoder
from bench.errors import CannotRun, DataError
from bench.protocols import Weights
from tests.adapters.transformers_encoder.test_encoder_faults import (
    OTHER_FILE,
    as_released_years_ago,
    noise,
    random_model,
    saved,
)


@pytest.mark.parametrize("family", ["Hubert", "WavLM", "Wav2Vec2"])
def test_a_release_of_years_ago_without_safetensors_gives_the_same_features(
    family: str, tmp_path: Path
) -> None:
    weights = saved(tmp_path, random_model(family))
    clip = noise(9_000)
    (expected,) = TransformersEncoder(weights).encode([clip])
    as_released_years_ago(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    (states,) = TransformersEncoder(weights).encode([clip])
    np.testing.assert_allclose(states, expected, atol=OTHER_FILE)


def test_such_a_release_is_the_base_of_a_rival_of_the_proposed_model_too(tmp_path: Path) -> None:
    saved(tmp_path, random_model("Hubert"))
    expected = read_base(tmp_path)
    as_released_years_ago(tmp_path)
    network = MeralionSer(
        MeralionSerConfig(backbone=fields_of(tmp_path), encoder="backbone", layer=2, channels=16)
    )
    load_backbone(network.backbone, tmp_path)
    loaded = network.backbone.state_dict()
    for name in expected.keys() - {"masked_spec_embed"}:
        assert torch.equal(loaded[name], expected[name]), name
    torch.save({"a tensor": RunsCode(tmp_path / "mark")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="cut off or holds more than tensors"):
        load_backbone(network.backbone, tmp_path)
    assert not (tmp_path / "mark").exists()


class RunsCode:
    """What a pickle can do to whoever reads it in full."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_code_inside_a_bin_file_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "code was run"
    weights = saved(tmp_path / "model", random_model("Hubert"))
    as_released_years_ago(weights.folder)
    torch.save({"a tensor": RunsCode(mark)}, weights.folder / "pytorch_model.bin")
    for build in (
        lambda: TransformersEncoder(weights),
        lambda: S3PRLUpstreamEncoder("hf_hubert_custom", weights=weights),
    ):
        with pytest.raises(CannotRun, match="cut off or holds more than tensors, and was not read"):
            build()
    assert not mark.exists()


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def changed(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda f: half(f / "model.safetensors"), "could not be read: .*incomplete metadata"),
        (lambda f: (f / "model.safetensors").write_bytes(b"<html>"), "could not be read: .*header"),
        (lambda f: changed(f, conv_kernel=[10, 3, 3]), "not a Hugging Face speech encoder.*conv_kernel"),
        (lambda f: changed(f, hidden_size="wide"), "not a Hugging Face speech encoder.*hidden_size"),
        (lambda f: changed(f, num_attention_heads=0), "could not be read"),
        (
            lambda f: changed(f, intermediate_size=48),
            r"do not fit its config.json: \S+ is 32\b.* in the file and 48\b.* by the configuration",
        ),
    ],
)
def test_a_folder_that_is_cut_off_or_of_two_minds_is_refused_in_one_sentence(
    damage: Callable[[Path], None], expected: str, tmp_path: Path
) -> None:
    weights: Weights = saved(tmp_path, random_model("Hubert"))
    damage(tmp_path)
    with pytest.raises(CannotRun, match=f"(?s){expected}"):
        TransformersEncoder(weights)
