"""Every family of transformers' speech encoders, with random weights: batches change nothing, precision is an option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from adapters.transformers_encoder import FAMILIES, TransformersEncoder, mask_safe
from bench.errors import CannotRun, UsageError
from bench.protocols import Weights

SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
CONVOLUTIONS: dict[str, Any] = {
    "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
LAYER_NORM: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
SQUEEZED: dict[str, Any] = {
    "conv_dim": (8,) * 7, "conv_stride": (5, 2, 2, 2, 2, 2, 2), "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "num_conv_pos_embeddings": 15, "num_conv_pos_embedding_groups": 2, "squeeze_factor": 2,
}  # fmt: skip
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2-base": ("Wav2Vec2", CONVOLUTIONS),
    "xls-r": ("Wav2Vec2", CONVOLUTIONS | LAYER_NORM),
    "mms": ("Wav2Vec2", CONVOLUTIONS | LAYER_NORM | {"num_attention_heads": 4}),
    "hubert-base": ("Hubert", CONVOLUTIONS),
    "hubert-large-chinese": ("Hubert", CONVOLUTIONS | LAYER_NORM),
    "wavlm-base": ("WavLM", CONVOLUTIONS),
    "wavlm-large": ("WavLM", CONVOLUTIONS | LAYER_NORM),
    "data2vec": ("Data2VecAudio", CONVOLUTIONS | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7}),
    "w2v-bert-2": ("Wav2Vec2Bert", {"feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 7}),
    "unispeech-sat-base": ("UniSpeechSat", CONVOLUTIONS),
    "unispeech-sat-large": ("UniSpeechSat", CONVOLUTIONS | LAYER_NORM),
    "sew": ("SEW", SQUEEZED),
}
EXACT_LENGTH_ONLY = {"wav2vec2-base", "hubert-base", "wavlm-base", "unispeech-sat-base", "data2vec", "sew"}


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng([seed, samples]).standard_normal(samples)).astype(np.float32)


CLIPS = [noise(n, seed) for seed, n in enumerate((8_000, 8_000, 5_003, 12_345, 900, 90))]


def random_model(name: str, folder: Path) -> Path:
    family, extra = SHAPES[name]
    torch.manual_seed(2)
    model = getattr(transformers, f"{family}Model")
    model(getattr(transformers, f"{family}Config")(**SMALL | extra)).save_pretrained(folder)
    if family == "Wav2Vec2Bert":
        extractor: Any = transformers.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, stride=2)
    else:
        extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Weights]:
    return {
        name: Weights(random_model(name, tmp_path_factory.mktemp(name)), "hash of a test folder")
        for name in SHAPES
    }


@pytest.mark.parametrize("name", SHAPES)
def test_a_clip_in_a_batch_is_the_clip_alone(folders: dict[str, Weights], name: str) -> None:
    together = TransformersEncoder(folders[name], batch=6).encode(CLIPS)
    alone = TransformersEncoder(folders[name])
    for clip, states in zip(CLIPS, together, strict=True):
        (single,) = alone.encode([clip])
        assert states.shape == single.shape
        assert states.shape[0] == 3
        np.testing.assert_allclose(states, single, atol=2e-5)


def unmasked(weights: Weights, name: str, clips: list[NDArray[np.float32]]) -> list[Any]:
    """What transformers itself gives when clips of two lengths are padded under their attention mask."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(weights.folder)
    model = transformers.AutoModel.from_pretrained(weights.folder).eval()
    inputs = extractor(
        clips, sampling_rate=16_000, padding=True, return_attention_mask=True, return_tensors="pt"
    )
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
    return [state.numpy() for state in states]


@pytest.mark.parametrize("name", [n for n in SHAPES if n != "w2v-bert-2"])
def test_which_models_see_padding_is_what_the_adapter_believes(
    folders: dict[str, Weights], name: str
) -> None:
    """Group-norm models, data2vec and SEW change under a padded batch; the adapter never pads these."""
    clips = [noise(5_003), noise(12_345)]
    (single,) = TransformersEncoder(folders[name]).encode(clips[:1])
    padded = unmasked(folders[name], name, clips)
    changed = max(
        float(np.abs(single[i] - state[0, : single.shape[1]]).max())
        for i, state in enumerate(padded[:-1] if name == "sew" else padded)
    )
    config = transformers.AutoConfig.from_pretrained(folders[name].folder)
    assert mask_safe(config) == (name not in EXACT_LENGTH_ONLY)
    assert (changed > 1e-3) == (name in EXACT_LENGTH_ONLY), changed


@pytest.mark.parametrize("name", ["xls-r", "hubert-base", "w2v-bert-2", "data2vec"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_transformers_own_and_comes_out_in_float32(
    folders: dict[str, Weights], name: str, dtype: str
) -> None:
    clip = CLIPS[3]
    (half,) = TransformersEncoder(folders[name], dtype=dtype).encode([clip])
    (full,) = TransformersEncoder(folders[name]).encode([clip])
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folders[name].folder)
    model = transformers.AutoModel.from_pretrained(folders[name].folder, dtype=getattr(torch, dtype)).eval()
    inputs = extractor(clip, sampling_rate=16_000, return_tensors="pt")
    inputs = {k: v if k == "attention_mask" else v.to(model.dtype) for k, v in inputs.items()}
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
    assert half.dtype == np.float32
    for ours, theirs in zip(half, states, strict=True):
        np.testing.assert_allclose(ours, theirs[0, : len(ours)].float().numpy(), atol=0.05)
    assert not np.array_equal(half, full)
    if dtype == "float16":
        assert np.abs(half.mean(axis=1) - full.mean(axis=1)).max() < 0.05


def test_an_unknown_precision_is_answered_in_words(folders: dict[str, Weights]) -> None:
    with pytest.raises(UsageError, match="did you mean 'bfloat16'"):
        TransformersEncoder(folders["xls-r"], dtype="bfloat")


def test_running_out_of_memory_halves_the_batch_and_goes_on(
    folders: dict[str, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = TransformersEncoder(folders["xls-r"], batch=100)
    network: Any = encoder._network
    forward, sizes = network.states, []

    def small_card(waveforms: list[Any], wanted: Any) -> Any:
        sizes.append(len(waveforms))
        if len(waveforms) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(waveforms, wanted)

    monkeypatch.setattr(network, "states", small_card)
    clips = [noise(6_000, seed) for seed in range(8)]
    expected = TransformersEncoder(folders["xls-r"]).encode(clips)
    for ours, alone in zip(encoder.encode(clips), expected, strict=True):
        np.testing.assert_allclose(ours, alone, atol=2e-5)
    assert sizes == [8, 4, 2, 2, 2, 2]
    sizes.clear()
    encoder.encode(clips)
    assert sizes == [2, 2, 2, 2]


def test_one_clip_that_does_not_fit_is_no_fault_of_the_clip(
    folders: dict[str, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = TransformersEncoder(folders["xls-r"])

    def full(waveforms: Any, wanted: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(encoder._network, "states", full)
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(CLIPS[:2])


def test_a_clip_goes_through_the_network_once(
    folders: dict[str, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = TransformersEncoder(folders["hubert-base"], batch=4)
    model = encoder._network._model  # type: ignore[attr-defined]
    rows: list[int] = []
    model.register_forward_pre_hook(lambda _, args, kwargs: rows.append(len(args[0])), with_kwargs=True)
    encoder.encode(CLIPS)
    assert sum(rows) == len(CLIPS)
    assert len(rows) == len(CLIPS) - 1  # two of them are of one length


@pytest.mark.parametrize("seconds", [61.7, 30.5])
def test_a_clip_over_30_s_is_its_windows_put_end_to_end(folders: dict[str, Weights], seconds: float) -> None:
    clip = noise(int(seconds * 16_000))
    encoder = TransformersEncoder(folders["hubert-base"], layers=[1])
    (whole,) = encoder.encode([clip])
    parts = encoder.encode([clip[i : i + 480_000] for i in range(0, len(clip), 480_000)])
    assert np.array_equal(whole, np.concatenate(parts, axis=1))


def test_the_encoder_of_meralion_ser_is_its_own_frozen_encoder(tmp_path: Path, released_folder: Path) -> None:
    from adapters.meralion_ser import MeralionEncoder, MeralionSer

    clip = noise(9_000)
    (states,) = MeralionEncoder(Weights(released_folder, "x"), input="30s").encode([clip])
    encoder: Any = MeralionSer.from_released(released_folder).whisper.encoder
    window = int(encoder.config.max_source_positions) * 320
    extractor = transformers.WhisperFeatureExtractor(
        feature_size=encoder.config.num_mel_bins, chunk_length=max(1, window // 16_000)
    )
    mel = extractor(clip, sampling_rate=16_000, return_tensors="pt").input_features
    mel = mel[..., : 2 * encoder.config.max_source_positions]
    with torch.no_grad():
        expected = encoder(mel).last_hidden_state[0]
    np.testing.assert_allclose(states[-1], expected[: states.shape[1]].numpy(), atol=1e-5)


def test_a_card_of_the_first_version_is_told_the_encoders_new_name(released_folder: Path) -> None:
    """Version 0.1.0 read such a folder through the encoder of Hugging Face folders."""
    for window in ("own", "30s"):
        with pytest.raises(CannotRun) as refused:
            TransformersEncoder(Weights(released_folder, "x"), input=window)
        assert str(refused.value) == (
            f"{released_folder} holds a MERaLiON-SER network, whose encoder has an adapter of its own: on the card, "
            "write encoder: adapters.meralion_ser.encoder:MeralionEncoder, with the same params"
        )


def test_a_folder_of_another_layout_is_no_encoder_of_meralion_ser(tmp_path: Path) -> None:
    from adapters.meralion_ser import MeralionEncoder

    with pytest.raises(CannotRun, match=r"a model\.safetensors is needed"):
        MeralionEncoder(Weights(tmp_path, "x"))


@pytest.fixture
def released_folder(tmp_path: Path) -> Path:
    """A checkpoint of the released layout with random weights and a window of 2 s."""
    from safetensors.torch import save_file

    from adapters.meralion_ser import MeralionSer, MeralionSerConfig

    torch.manual_seed(3)
    whisper = {
        "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
        "num_mel_bins": 80, "max_source_positions": 100,
    }  # fmt: skip
    model = MeralionSer(MeralionSerConfig(whisper=whisper, channels=32, pooling_channels_per_group=8))
    folder = tmp_path / "released"
    folder.mkdir()
    save_file(
        {k: v.contiguous().clone() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    config = {"model_type": "ser_whisper_ecapa", "whisper": {"encoder_attention_heads": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_weights_of_another_sampling_rate_are_refused(folders: dict[str, Weights], tmp_path: Path) -> None:
    for file in folders["xls-r"].folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sampling_rate": 8_000}))
    with pytest.raises(CannotRun, match="8000 Hz; the suite decodes everything at 16000 Hz"):
        TransformersEncoder(Weights(tmp_path, "x"))


def test_every_family_named_by_the_adapter_is_one_of_transformers() -> None:
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    assert set(FAMILIES) <= set(known)
