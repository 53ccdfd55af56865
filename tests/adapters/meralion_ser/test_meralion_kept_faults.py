"""Kept and released networks that are damaged, odd, or asked for what they do not know: a sentence, or a failed row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adapters.meralion_ser import MeralionSer, MeralionSerConfig, MeralionSerPredictor, TrainedSer
from adapters.meralion_ser.answers import NO_NUMBER, answers_of
from adapters.meralion_ser.network.architecture import Architecture
from adapters.meralion_ser.network.released_layout import load_backbone
from adapters.meralion_ser.trained import check_keepable, keep
from adapters.transformers_encoder import TransformersEncoder
from bench.errors import CannotRun, DataError, UsageError
from bench.protocols import Answers, Clips, Examples, FitContext, Weights
from tests.adapters.meralion_ser.test_meralion_options import LOGMEL, SIZES, tone_examples

Tensors = dict[str, Tensor]
SEVEN = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")


def clips_of(*audio: Any) -> Clips:
    names = tuple(f"clip-{i}" for i in range(len(audio)))
    given = [np.asarray(a, dtype=np.float32) for a in audio]
    return Clips(
        names, names, np.array([len(a) / 16000 for a in audio]), ("en",) * len(audio), given.__getitem__
    )


def noise(seconds: float, seed: int = 0) -> Any:
    return 0.1 * np.random.default_rng(seed).standard_normal(int(16000 * seconds))


NOTHING = Examples(clips_of(), (), np.zeros((0, 3)), ())
GOOD = clips_of(noise(0.8))


def offered(folder: Path, labels: tuple[str, ...] = ("neutral", "happy"), **fields: Any) -> FitContext:
    return FitContext(labels=labels, dimensions=True, seed=0, workdir=folder, **fields)


def answers(folder: Path, clips: Clips = GOOD, labels: tuple[str, ...] = ("neutral", "happy")) -> Answers:
    system = TrainedSer(weights=Weights(folder, "hash"))
    system.fit(NOTHING, NOTHING, offered(folder, labels))
    return system.predict(clips)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    predictor = MeralionSerPredictor(**(LOGMEL | {"epochs": 2, "average": 2}))
    predictor.fit(tone_examples(8), tone_examples(0), offered(folder / "work"))
    predictor.save(folder / "kept")
    return folder / "kept"


@pytest.fixture
def trained(original: Path, tmp_path: Path) -> Path:
    """A copy of a trained folder that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "kept"))


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A folder of the released layout, small."""
    torch.manual_seed(0)
    whisper = {"d_model": 64, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    model = MeralionSer(MeralionSerConfig(whisper=whisper, channels=64))
    save_file({k: t.contiguous() for k, t in model.state_dict().items()}, tmp_path / "model.safetensors")
    described = {"whisper": {"encoder_attention_heads": 2}}
    (tmp_path / "config.json").write_text(json.dumps(described), encoding="utf-8")
    return tmp_path


def change(folder: Path, rule: Callable[[Tensors], Tensors], name: str = "model.safetensors") -> None:
    save_file(rule(load_file(folder / name)), folder / name, {"format": "pt"})


def describe(folder: Path, name: str = "config.json", **fields: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


# What a trained folder must hold


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: t for name, t in tensors.items() if part not in name}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (without("emotion_classification_layer"), "3 missing: emotion_classification_layer.0.weight"),
        (without("downstream_model"), r"… \(\d+ in all\)"),
        (lambda t: {**t, "foo": torch.ones(3)}, "1 unexpected: foo"),
        (lambda t: {**t, "emotion_layer.weight": torch.ones(3, 3)}, r"emotion_layer.weight \(3, 3\), not \(8, 8\)"),
        (lambda t: {**t, "emotion_layer.bias": torch.ones(8, dtype=torch.int64)}, "1 of another type: emotion_layer"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("file", ["model.safetensors", "epoch-2.safetensors"])
def test_a_trained_folder_answers_with_all_of_its_weights_or_not_at_all(
    trained: Path, rule: Callable[[Tensors], Tensors], message: str, file: str
) -> None:
    change(trained, rule, file)
    if file == "model.safetensors":
        (trained / "epoch-2.safetensors").unlink()
    with pytest.raises(DataError, match=message) as caught:
        answers(trained)
    assert str(trained) in str(caught.value)


def test_a_trained_folder_never_reads_pickled_weights(trained: Path) -> None:
    tensors = load_file(trained / "model.safetensors")
    (trained / "model.safetensors").unlink()
    torch.save(tensors, trained / "pytorch_model.bin")
    save_file({"x": torch.ones(1)}, trained / "adapter.safetensors")
    with pytest.raises(DataError, match=r"only pickled weights \(pytorch_model.bin\)"):
        answers(trained)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0{", "model.safetensors: 9 bytes that are no whole safetensors"),
        ("epoch-2.safetensors", b"xx", "epoch-2.safetensors: 2 bytes that are no whole"),
        ("config.json", b"{", "config.json: it cannot be read as JSON"),
        ("config.json", b"[]", "config.json: it holds list, not an object"),
        ("config.json", b"{}", "config.json"),
        ("serbench.json", b"[]", "serbench.json: not what serbench train wrote"),
        ("serbench.json", b'{"architecture": {"encoder": "logmel"}}', "'dimensions' is missing"),
    ],
)  # fmt: skip
def test_a_damaged_file_of_a_trained_folder_is_named(
    trained: Path, file: str, content: bytes, message: str
) -> None:
    (trained / file).write_bytes(content)
    with pytest.raises((DataError, CannotRun), match=message):
        answers(trained)


@pytest.mark.parametrize(
    "fields", [{"pooling": "foo"}, {"channels": 0}, {"channels": "many"}, {"dilations": 3}, {"id2label": [1]}]
)
def test_a_config_of_no_network_is_one_sentence(trained: Path, fields: dict[str, Any]) -> None:
    describe(trained, **fields)
    with pytest.raises(DataError, match=r"config\.json: with the weights beside it"):
        answers(trained)


@pytest.mark.parametrize("matching", [[[0, 0, 0]], [[0, 0], [1, 1]], [[0, 0, None], [1, 1, 1]], "ab"])
def test_a_matching_that_is_none_is_refused(trained: Path, matching: Any) -> None:
    describe(trained, "serbench.json", matching=matching)
    with pytest.raises(CannotRun, match=r"serbench\.json: not what serbench train wrote"):
        answers(trained)


# Encoders as the hub has them


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_rivals_encoder_loads_as_transformers_loads_it(kind: str, prefix: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    source = AutoModel.from_config(AutoConfig.for_model(kind, **SIZES))
    tensors = {
        prefix + n.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v"): t.clone()
        for n, t in source.state_dict().items()
        if n != "masked_spec_embed"
    }  # fmt: skip
    assert any(name.endswith("conv.weight_g") for name in tensors)
    save_file(tensors | {"quantizer.codevectors": torch.ones(2)}, tmp_path / "model.safetensors")
    described = {"model_type": kind, **SIZES}
    model = MeralionSer(MeralionSerConfig(encoder="backbone", backbone=described, layer=2, channels=16))
    load_backbone(model.backbone, tmp_path)
    found = model.backbone.state_dict()
    assert not found.pop("masked_spec_embed").any()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, source.state_dict()[name], rtol=0, atol=0)
    change(tmp_path, without("conv.weight_v"))
    with pytest.raises(DataError, match=r"1 missing: encoder.pos_conv_embed.conv.parametrizations"):
        load_backbone(model.backbone, tmp_path)


# Hearing as in training


def encoder_folder(kind: str, folder: Path) -> Weights:
    from transformers import (
        AutoConfig,
        AutoModel,
        Wav2Vec2FeatureExtractor,
        WhisperConfig,
        WhisperFeatureExtractor,
    )
    from transformers.models.whisper.modeling_whisper import WhisperEncoder  # fmt: skip

    torch.manual_seed(0)
    if kind == "whisper":
        sizes = {"d_model": 32, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
        WhisperEncoder(WhisperConfig(**sizes)).save_pretrained(folder)
        WhisperFeatureExtractor().save_pretrained(folder)
    else:
        AutoModel.from_config(AutoConfig.for_model(kind, **SIZES)).save_pretrained(folder)
        Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return Weights(folder, "hash")


@pytest.mark.parametrize(("kind", "window"), [("whisper", "30s"), ("whisper", "own"), ("wavlm", "own")])
def test_a_kept_network_hears_as_the_feature_store_did(kind: str, window: str, tmp_path: Path) -> None:
    weights, learnt = encoder_folder(kind, tmp_path / "encoder"), tone_examples(8)
    asked = clips_of(noise(0.8, 1), noise(0.01, 2), noise(31.0, 3))
    params: dict[str, Any] = {"input": window, "layers": [2]}
    store = TransformersEncoder(weights, **params)
    frames = {x: store.encode([c.read(i)])[0] for c in (learnt.clips, asked) for i, x in enumerate(c.ids)}
    # The clips to answer have names of their own in the store.
    asked = Clips(("a", "b", "c"), ("a", "b", "c"), asked.seconds, asked.languages, asked.read)
    frames |= {name: store.encode([asked.read(i)])[0] for i, name in enumerate(asked.ids)}
    lora = {} if window == "30s" else {"lora_rank": 2, "lora_epochs": 2, "lora_lr": 5e-2, "average": 2}
    settings = LOGMEL | {
        "encoder": "whisper" if kind == "whisper" else "backbone",
        "frame_stack": 1,
        "layer": 3 if lora else 2,
        "stored_layer": 2,
    }
    predictor = MeralionSerPredictor(**(settings | lora), weights=weights)
    predictor.fit(learnt, tone_examples(0), offered(tmp_path / "fit", features=frames))
    expected = predictor.predict(asked)
    states = [kept.state for kept in predictor._session.checkpoints]
    keep(
        tmp_path / "kept",
        predictor._model,
        predictor._architecture,
        states,
        weights=weights,
        feature_params=params,
    )
    found = answers(tmp_path / "kept", asked)
    assert found.statuses == ("ok",) * 3
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    if window == "30s":
        describe(tmp_path / "kept", "serbench.json", input="own")
        other = answers(tmp_path / "kept", asked).probabilities
        assert other is not None
        assert np.abs(other - found.probabilities).max() > 1e-3


def test_an_encoders_missing_front_end_is_named(tmp_path: Path) -> None:
    described = {"model_type": "wavlm", **SIZES}
    torch.manual_seed(0)
    config = MeralionSerConfig(
        encoder="backbone", backbone=described, layer=2, channels=16, id2label=dict(enumerate(SEVEN))
    )
    keep(
        tmp_path / "kept",
        MeralionSer(config),
        Architecture("backbone", layer=2, stored_layer=1, channels=16),
        [{}],
    )
    with pytest.raises(CannotRun, match=r"no preprocessor_config\.json"):
        answers(tmp_path / "kept")


# Answers


def test_a_network_of_dimensions_alone_answers_dimensions_and_no_label(tmp_path: Path) -> None:
    learnt = tone_examples(8)
    unnamed = Examples(learnt.clips, (None,) * 8, learnt.dimensions, learnt.speakers)
    predictor = MeralionSerPredictor(**(LOGMEL | {"epochs": 1}))
    predictor.fit(unnamed, tone_examples(0), offered(tmp_path / "fit", labels=()))
    predictor.save(tmp_path / "kept")
    for labels in (SEVEN, ()):
        found = answers(tmp_path / "kept", GOOD, labels)
        assert (found.statuses, found.labels, found.probabilities) == (("ok",), (None,), None)
        assert found.dimensions is not None
        assert 0 <= found.dimensions[0, 1] <= 1


def test_a_network_says_which_dimensions_it_learnt(trained: Path) -> None:
    describe(trained, learnt_dimensions=["arousal"])
    found = answers(trained).dimensions
    assert found is not None
    assert np.isfinite(found).tolist() == [[False, True, False]]


@pytest.mark.parametrize("layout", ["trained", "released"])
def test_a_network_that_answers_no_number_has_failed(layout: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(layout)
    change(folder, lambda t: {**t, "emotion_layer.bias": t["emotion_layer.bias"] * torch.nan})
    found = answers(folder)
    assert (found.statuses, found.labels) == (("failed",), (None,))
    assert found.probabilities is not None
    assert np.isnan(found.probabilities).all()
    assert found.notes["failures"] == {NO_NUMBER: 1}


def test_one_clip_that_cannot_be_heard_fails_alone(trained: Path) -> None:
    found = answers(trained, clips_of(noise(0.8), np.full(8000, np.nan), noise(0.5)))
    assert found.statuses == ("ok", "failed", "ok")
    assert sum(found.notes["failures"].values()) == 1
    alone = answers(trained).probabilities
    assert found.probabilities is not None
    assert alone is not None
    np.testing.assert_allclose(found.probabilities[0], alone[0])


def test_clips_are_heard_a_few_at_a_time_and_answered_alike(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = clips_of(noise(0.4, 1), np.full(8000, np.nan), noise(0.5, 2), noise(0.6, 3), noise(0.3, 4))
    together = answers(trained, clips)
    monkeypatch.setattr("adapters.meralion_ser.trained.CLIPS_IN_MEMORY", 2)
    apart = answers(trained, clips)
    assert apart.statuses == together.statuses == ("ok", "failed", "ok", "ok", "ok")
    np.testing.assert_array_equal(apart.probabilities, together.probabilities)
    np.testing.assert_array_equal(apart.dimensions, together.dimensions)


def test_failed_rows_hold_no_answer_and_others_are_left_alone() -> None:
    p = np.array([[0.2, 0.8], [np.nan, np.nan], [0.6, 0.4]])
    d = np.array([[0.1, np.nan, 0.3], [0.1, np.nan, 0.2], [np.nan, np.nan, 0.5]])
    found = answers_of(
        ("a", "b"), p, d, learnt=(True, False, True), notes={"x": 1}, failures={1: "too short"}
    )
    assert found.statuses == ("ok", "failed", "failed")
    assert found.labels == ("b", None, None)
    assert found.notes == {"x": 1, "failures": {NO_NUMBER: 1, "too short": 1}}
    np.testing.assert_array_equal(found.dimensions, [[0.1, np.nan, 0.3], [np.nan] * 3, [np.nan] * 3])
    found = answers_of((), p, d, learnt=(False, False, False), notes={})
    assert (found.statuses, found.probabilities, found.dimensions) == (("ok",) * 3, None, None)


# The names of a network's classes

OTHERS_WORDS = ("Neutral", "Happiness", "Sadness", "Anger", "Fear", "Disgust", "Surprise")


def named(folder: Path, names: tuple[str, ...]) -> None:
    describe(folder, id2label={str(i): name for i, name in enumerate(names)})


def test_classes_are_known_by_every_word_of_the_label_table(released: Path) -> None:
    expected = answers(released, GOOD, SEVEN)
    named(released, OTHERS_WORDS)
    found = answers(released, GOOD, SEVEN)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert found.labels == expected.labels
    assert expected.probabilities is not None
    assert expected.probabilities.max() < 0.9


def test_a_class_outside_the_table_is_left_out(released: Path) -> None:
    expected = answers(released, GOOD, SEVEN).probabilities
    named(released, (*OTHERS_WORDS[:6], "whispering"))
    found = answers(released, GOOD, SEVEN).probabilities
    assert expected is not None
    assert found is not None
    np.testing.assert_allclose(found[0, :6], expected[0, :6] / expected[0, :6].sum())
    assert found[0, 6] == 0


@pytest.mark.parametrize(
    "names", [("NEU", "HAP", "SAD", "ANG", "FEA", "DIS", "SUR"), tuple(f"LABEL_{i}" for i in range(7))]
)
def test_names_that_nobody_knows_are_refused(released: Path, names: tuple[str, ...]) -> None:
    named(released, names)
    with pytest.raises(CannotRun, match=f"the label table knows no {names[0].lower()}, "):
        answers(released, GOOD, SEVEN)


# Loading by transformers, and by others' means


def test_transformers_own_classes_open_a_trained_folder(trained: Path) -> None:
    from transformers import AutoConfig, AutoModel

    assert isinstance(AutoConfig.from_pretrained(trained), MeralionSerConfig)
    model = AutoModel.from_pretrained(trained)
    assert isinstance(model, MeralionSer)
    weight = load_file(trained / "model.safetensors")["emotion_layer.weight"]
    torch.testing.assert_close(model.state_dict()["emotion_layer.weight"], weight)


def test_the_released_layout_loads_its_weights_under_a_meta_device(released: Path) -> None:
    expected = MeralionSer.from_released(released)
    with torch.device("meta"):
        found = MeralionSer.from_released(released)
    assert {p.device.type for p in found.parameters()} == {"cpu"}
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "model.safetensors").write_bytes((d / "model.safetensors").read_bytes()[:5000]),
         "model.safetensors: 5,000 bytes that are no whole safetensors file"),
        (lambda d: (d / "config.json").write_text("{"), "config.json: it cannot be read as JSON"),
        (lambda d: describe(d, whisper={"encoder_attention_heads": 0}), "encoder_attention_heads is 0; expected"),
        (lambda d: describe(d, whisper={"encoder_attention_heads": 3}), "that divides the encoder's 64 dimensions"),
        (lambda d: describe(d, whisper={"encoder_attention_heads": "two"}), "is 'two'; expected a whole number"),
        (lambda d: describe(d, whisper=[2]), r"whisper is \[2\]; expected an object"),
        (lambda d: describe(d, id2label=["a"]), r"id2label is \['a'\]; expected an object"),
        (lambda d: describe(d, id2label={"0": "sad"}), "expected a name for each of the 7 outputs"),
        (lambda d: change(d, lambda t: {**t, "whisper.encoder.conv1.weight": torch.ones(64, 80)}),
         r"conv1.weight has the shape \(64, 80\); expected 3 sizes"),
        (lambda d: change(d, lambda t: {**t, "downstream_model.proj_in.0.weight": torch.ones(66, 64)}),
         "describes no network that can be built .*66 channels"),
    ],
)  # fmt: skip
def test_a_bad_file_of_the_released_layout_is_one_sentence(
    released: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(released)
    with pytest.raises(DataError, match=message) as caught:
        MeralionSer.from_released(released)
    assert str(released) in str(caught.value)


def test_what_cannot_be_kept_can_be_refused_before_training() -> None:
    check_keepable(Architecture("logmel"))
    with pytest.raises(UsageError, match="could not hear audio by itself"):
        check_keepable(Architecture("features"))
