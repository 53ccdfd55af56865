"""Folders and names that encoders were once wrong about: heard whole, or refused with the true reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from adapters.acoustic import OpenSmile
from adapters.s3prl_upstream import S3PRLUpstreamEncoder, compat
from adapters.transformers_encoder import TransformersEncoder, networks
from bench.errors import CannotRun, UsageError
from bench.execution.contract_demands import LATE_REACH, Violation, changed_at_the_ends, hears_the_end
from bench.protocols import Weights

TINY: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
CONVOLUTIONS: dict[str, Any] = {
    "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
WHISPER: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_layers": 1,
    "decoder_attention_heads": 2, "decoder_ffn_dim": 64, "max_source_positions": 100, "vocab_size": 100,
    "pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1,
}  # fmt: skip
ADAPTER: dict[str, Any] = {"add_adapter": True, "output_hidden_size": 16}
OTHER_FILE = 2e-5
"""How far hidden states of order 1 may move when the same tensors come from another file: two blocks of float32 rounding.

Tensors of a safetensors file are used where they lie in it, and that place decides in which order products add up.
"""


def noise(samples: int) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


def saved(folder: Path, model: Any, extractor: Any = None) -> Weights:
    model.save_pretrained(folder)
    (extractor or transformers.Wav2Vec2FeatureExtractor(do_normalize=True)).save_pretrained(folder)
    return Weights(folder, "hash of a test folder")


def random_model(family: str, head: str = "Model", **extra: Any) -> Any:
    torch.manual_seed(3)
    convolutions = {} if family == "Wav2Vec2Bert" else CONVOLUTIONS
    config = getattr(transformers, f"{family}Config")(**TINY, **convolutions, **extra)
    return getattr(transformers, f"{family}{head}")(config)


def without(weights: Weights, dropped: Callable[[str], bool]) -> Weights:
    """Take tensors out of a saved folder."""
    from safetensors.torch import load_file, save_file

    path = weights.folder / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(path).items() if not dropped(name)}
    save_file(kept, path, metadata={"format": "pt"})
    return weights


@pytest.mark.parametrize("family", ["Wav2Vec2", "WavLM", "Data2VecAudio", "Wav2Vec2Conformer"])
def test_a_model_with_an_adapter_on_top_is_heard_to_the_end_of_the_clip(family: str, tmp_path: Path) -> None:
    """Hidden states come before the adapter, whose three strided layers leave 19 frames of these 149."""
    weights = saved(tmp_path, random_model(family, **ADAPTER))
    clip = noise(48_000)
    (states,) = TransformersEncoder(weights).encode([clip])
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    inputs = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)(
        clip, sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        expected = model(inputs.input_values, output_hidden_states=True).hidden_states
    assert states.shape == (3, 149, 16)
    for ours, theirs in zip(states, expected, strict=True):
        np.testing.assert_allclose(ours, theirs[0].numpy(), atol=1e-5)


def test_w2v_bert_with_an_adapter_is_heard_to_the_end_too(tmp_path: Path) -> None:
    extra = {"feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 7}
    extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, stride=2)
    weights = saved(tmp_path, random_model("Wav2Vec2Bert", **ADAPTER, **extra), extractor)
    (states,) = TransformersEncoder(weights).encode([noise(48_000)])
    assert states.shape == (3, 149, 16)


def test_adapter_models_of_the_padded_kind_are_the_same_in_a_batch(tmp_path: Path) -> None:
    norm = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    weights = saved(tmp_path, random_model("Wav2Vec2", **ADAPTER, **norm))
    clips = [noise(n) for n in (48_000, 20_000, 33_333)]
    for clip, states in zip(clips, TransformersEncoder(weights, batch=3).encode(clips), strict=True):
        (alone,) = TransformersEncoder(weights).encode([clip])
        np.testing.assert_allclose(states, alone, atol=2e-5)


def test_a_whisper_classifier_is_an_encoder_like_any_other(tmp_path: Path) -> None:
    """It has no decoder, and none is needed."""
    torch.manual_seed(3)
    model = transformers.WhisperForAudioClassification(transformers.WhisperConfig(**WHISPER, num_labels=4))
    extractor = transformers.WhisperFeatureExtractor(chunk_length=2)
    weights = saved(tmp_path / "classifier", model, extractor)
    alone = saved(tmp_path / "encoder", model.encoder, extractor)
    clip = noise(12_000)
    (states,) = TransformersEncoder(weights).encode([clip])
    np.testing.assert_allclose(states, TransformersEncoder(alone).encode([clip])[0], atol=OTHER_FILE)


def test_a_whisper_without_part_of_its_encoder_is_refused_whatever_else_is_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(3)
    extractor = transformers.WhisperFeatureExtractor(chunk_length=2)
    for kind in ("WhisperForAudioClassification", "WhisperForConditionalGeneration"):
        model = getattr(transformers, kind)(transformers.WhisperConfig(**WHISPER))
        weights = without(saved(tmp_path / kind, model, extractor), lambda n: "encoder.layers.1.fc1" in n)
        capfd.readouterr()
        with pytest.raises(CannotRun, match=r"lack 2 tensors, encoder\.layers\.1\.fc1\.bias among them"):
            TransformersEncoder(weights)
        assert "LOAD REPORT" not in "".join(capfd.readouterr())  # the sentence says it


@pytest.mark.parametrize("family", ["Wav2Vec2", "WavLM", "Data2VecAudio"])
@pytest.mark.parametrize("kept", [1 / 8, 1 / 2])
def test_the_contract_notices_frames_cut_off_even_where_a_norm_lets_all_frames_know_the_clip(
    family: str, kept: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = TransformersEncoder(saved(tmp_path, random_model(family, **ADAPTER)))
    assert "× as far" in hears_the_end(encoder.encode(changed_at_the_ends()))
    whole = networks.conv_frames
    monkeypatch.setattr(networks, "conv_frames", lambda config, n: int(whole(config, n) * kept))
    with pytest.raises(Violation, match="are late frames left out"):
        hears_the_end(encoder.encode(changed_at_the_ends()))


@pytest.mark.parametrize("name", ["fbank", "fbank_no_cmvn", "mfcc", "mel", "linear"])
def test_the_filter_banks_of_s3prl_hear_a_clip_to_its_end(name: str) -> None:
    """Even the two whose frames are normalised to mean zero."""
    hears_the_end(S3PRLUpstreamEncoder(name).encode(changed_at_the_ends()))


@pytest.mark.parametrize("feature_set", ["eGeMAPSv02", "ComParE_2016"])
def test_opensmile_hears_a_clip_to_its_end(feature_set: str) -> None:
    hears_the_end(OpenSmile(feature_set).encode(changed_at_the_ends()))


def test_a_recurrent_network_may_carry_the_beginning_on_to_the_end() -> None:
    torch.manual_seed(0)
    network = torch.nn.GRU(80, 32, batch_first=True)
    with torch.no_grad():
        network.bias_ih_l0[32:64] += 2  # a long memory
        frames = [f[:, :, :80] for f in S3PRLUpstreamEncoder("fbank_no_cmvn").encode(changed_at_the_ends())]
        states = [network((torch.from_numpy(f) - 10) / 5)[0].numpy() for f in frames]
    hears_the_end(states)


def test_frames_whose_number_depends_on_the_sound_are_compared_by_their_means() -> None:
    plain, early, late = (np.full((1, n, 2), v, np.float32) for n, v in ((4, 0.0), (5, 1.0), (6, 1.0)))
    assert "1.00 × as far" in hears_the_end([plain, early, late])
    with pytest.raises(Violation, match=r"0\.20 × as far"):
        hears_the_end([plain, early, 0.2 * late])
    assert LATE_REACH > 0.2


def test_s3prl_is_not_given_a_folder_with_tensors_missing(tmp_path: Path) -> None:
    """It would fill the gaps with random values, other ones each time, and say nothing."""
    weights = without(saved(tmp_path, random_model("Hubert")), lambda n: n.startswith("encoder.layers.1."))
    with pytest.raises(
        CannotRun, match=r"lack 16 tensors, encoder\.layers\.1\.attention\.k_proj\.bias among"
    ):
        S3PRLUpstreamEncoder("hf_hubert_custom", weights=weights)


@pytest.mark.parametrize(
    ("family", "head", "upstream", "advice"),
    [
        (
            "WavLM",
            "Model",
            "hf_wav2vec2_custom",
            "holds a 'wavlm' model.*Use the encoder adapters.transformers_e",
        ),
        (
            "Hubert",
            "ForCTC",
            "hf_wav2vec2_custom",
            "holds a 'hubert' model.*Name upstream 'hf_hubert_custom'",
        ),
        ("Wav2Vec2", "Model", "hf_hubert_custom", "run it as 'hubert'. Name upstream 'hf_wav2vec2_custom'"),
    ],
)
def test_s3prl_is_not_given_a_model_of_another_family(
    family: str, head: str, upstream: str, advice: str, tmp_path: Path
) -> None:
    weights = saved(tmp_path, random_model(family, head))
    with pytest.raises(CannotRun, match=advice):
        S3PRLUpstreamEncoder(upstream, weights=weights)


@pytest.mark.parametrize("head", ["ForCTC", "ForSequenceClassification"])
def test_heads_and_older_names_and_a_mask_embedding_left_out_are_no_gaps(head: str, tmp_path: Path) -> None:
    weights = saved(tmp_path, random_model("Hubert", head))
    clip = noise(12_000)
    (whole,) = S3PRLUpstreamEncoder("hf_hubert_custom", weights=weights).encode([clip])
    as_released_years_ago(weights.folder)
    (states,) = S3PRLUpstreamEncoder("hf_hubert_custom", weights=weights).encode([clip])
    np.testing.assert_allclose(states, whole, atol=OTHER_FILE)


def as_released_years_ago(folder: Path) -> None:
    """The same tensors as ``pytorch_model.bin`` with the weight norm's old names, and without the mask embedding."""
    from safetensors.torch import load_file

    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        for new, before in old.items():
            name = name.replace(new, before)
        if not name.endswith("masked_spec_embed"):
            tensors[name] = tensor
    assert any(name.endswith("weight_g") for name in tensors)
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_s3prl_is_not_given_audio_of_another_rate_nor_half_precision(tmp_path: Path) -> None:
    extractor = transformers.Wav2Vec2FeatureExtractor(sampling_rate=8_000)
    weights = saved(tmp_path / "telephone", random_model("Hubert"), extractor)
    with pytest.raises(CannotRun, match="hears audio at 8000 Hz; the suite decodes everything at 16000 Hz"):
        S3PRLUpstreamEncoder("hf_hubert_custom", weights=weights)
    weights = saved(tmp_path / "half", random_model("Hubert").half())
    with pytest.raises(CannotRun, match="stores its weights as float16"):
        S3PRLUpstreamEncoder("hf_hubert_custom", weights=weights)
    (tmp_path / "half" / "config.json").write_text("{")
    with pytest.raises(CannotRun, match=r"config\.json is not JSON"):
        S3PRLUpstreamEncoder("hf_hubert_custom", weights=weights)


def test_only_upstreams_are_upstreams() -> None:
    with pytest.raises(UsageError, match=r"upstream is 3; expected the name"):
        S3PRLUpstreamEncoder(3)  # type: ignore[arg-type]
    for name in ("Path", "FileLock", "options", "load_and_convert_fairseq_ckpt"):
        with pytest.raises(UsageError, match=f"no upstream {name!r}.*Known: apc, ") as caught:
            S3PRLUpstreamEncoder(name)
        assert "FileLock," not in str(caught.value)
    known = compat.upstream_names(compat.import_s3prl())
    assert {"fbank", "mfcc", "apc", "hubert", "hf_hubert_custom", "timit_posteriorgram"} <= {*known}


def test_weights_that_an_upstream_would_leave_unread_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=f"'apc' has a checkpoint of its own and would leave {tmp_path} unread"
    ):
        S3PRLUpstreamEncoder("apc", path=str(tmp_path))
    with pytest.raises(
        CannotRun, match=r"'apc_local' could not be loaded .*most such upstreams read one file"
    ):
        S3PRLUpstreamEncoder("apc_local", path=str(tmp_path))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of s3prl, without a network."""
    compat.import_s3prl()
    from s3prl.util import download

    def refused(url: str, *args: Any) -> None:
        try:
            raise ConnectionRefusedError("Connection refused")
        except ConnectionRefusedError:
            raise OSError(f"HTTPSConnectionPool: Max retries exceeded with {url}")  # noqa: B904 - as s3prl does

    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".cache" / "s3prl" / "download"
    monkeypatch.setattr(download, "_download_dir", folder)
    monkeypatch.setattr(download, "_download_url_to_file", refused)
    monkeypatch.setattr(download, "_download_url_to_file_requests", refused)
    return folder


def test_a_checkpoint_that_cannot_be_fetched_is_named_with_its_place_and_the_command(cache: Path) -> None:
    with pytest.raises(CannotRun) as caught:
        S3PRLUpstreamEncoder("apc")
    message = str(caught.value)
    assert "Max retries" not in message
    assert (
        f"is not in s3prl's cache ({cache}) and cannot be fetched here (ConnectionRefusedError: Con"
        in message
    )
    command = message.partition("network: ")[2].split()
    assert command[:4] == ["curl", "-L", "--create-dirs", "-o"]
    assert command[5].startswith("https://")
    assert command[5].endswith("apc_360hr.ckpt")
    place = Path(command[4])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"not a checkpoint")
    with pytest.raises(CannotRun, match="'apc' could not be loaded"):  # it was found there, and read
        S3PRLUpstreamEncoder("apc")
