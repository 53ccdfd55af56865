"""s3prl's upstreams under the suite's protocol: s3prl's own numbers, clip by clip, quietly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from adapters.s3prl_upstream import S3PRLUpstreamEncoder
from adapters.s3prl_upstream.compat import import_s3prl
from adapters.transformers_encoder import TransformersEncoder
from bench.cards.registry import load_system
from bench.cards.weights import find_weights
from bench.errors import CannotRun, DataError, UsageError
from bench.execution.contract_demands import changed_at_the_ends, hears_in_its_place
from bench.protocols import Encoder, Weights


def noise(samples: int) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hubert")
    config = transformers.HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.HubertModel(config).save_pretrained(folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)
    extractor.save_pretrained(folder)
    return Weights(folder, "hash of a test folder")


def test_fbank_equals_s3prls_own_upstream_and_torchaudios_kaldi_features() -> None:
    clip = noise(16_000)
    encoder = S3PRLUpstreamEncoder("fbank_no_cmvn")
    assert isinstance(encoder, Encoder)
    (ours,) = encoder.encode([clip])
    theirs, lengths = import_s3prl().S3PRLUpstream("fbank_no_cmvn")(
        torch.tensor(clip)[None], torch.tensor([len(clip)])
    )
    assert ours.shape == (1, 100, 240)
    assert int(lengths[0][0]) == 100
    assert np.array_equal(ours[0], theirs[0][0].numpy())
    from torchaudio.compliance import kaldi

    mel = kaldi.fbank(torch.from_numpy(clip)[None], num_mel_bins=80, sample_frequency=16_000.0)
    np.testing.assert_allclose(ours[0, : len(mel), :80], mel.numpy(), atol=1e-5)


def test_spectra_without_normalisation_are_s3prls_own_and_keep_the_level_of_a_clip() -> None:
    clip = noise(16_000)
    (raw,), (own,) = (
        S3PRLUpstreamEncoder(*arguments).encode([clip])
        for arguments in (("fbank", None, None, False), ("fbank_no_cmvn",))
    )
    assert np.array_equal(raw, own)
    quiet, loud, normalised = (
        S3PRLUpstreamEncoder("mfcc", cmvn=cmvn).encode([level * clip])[0][0, :-2].mean(axis=0)
        for level, cmvn in ((0.1, False), (1.0, False), (1.0, True))
    )
    assert loud[0] - quiet[0] > 1, "the first coefficient is the level"
    assert np.abs(normalised).max() < 0.05 < np.abs(loud).max()


@pytest.mark.parametrize("upstream", ["fbank_no_cmvn", "mel", "apc"])
def test_what_is_not_normalised_cannot_be_told_to_leave_it(upstream: str) -> None:
    with pytest.raises(UsageError, match=f"cmvn is false, and s3prl upstream '{upstream}' is not normalised"):
        S3PRLUpstreamEncoder(upstream, cmvn=False)


def test_clips_do_not_see_each_other(hubert: Weights) -> None:
    clips = [noise(n) for n in (9_000, 4_321, 16_000, 40)]
    for encoder in (S3PRLUpstreamEncoder("fbank"), S3PRLUpstreamEncoder("hf_hubert_custom", weights=hubert)):
        together = encoder.encode(clips)
        for clip, states in zip(clips, together, strict=True):
            assert np.array_equal(states, encoder.encode([clip])[0])


def test_a_long_clip_goes_through_a_network_in_windows_and_through_a_filter_bank_whole(
    hubert: Weights,
) -> None:
    """Whole, a clip of ten minutes asked for 40 GiB of attention, and no clip of its corpus was answered."""
    clip = noise(30 * 16_000 + 8_000)
    network = S3PRLUpstreamEncoder("hf_hubert_custom", weights=hubert)
    (states,) = network.encode([clip])
    parts = network.encode([clip[: 30 * 16_000], clip[30 * 16_000 :]])
    assert states.shape == (3, 1_525, 16)
    assert np.array_equal(states, np.concatenate(parts, axis=1))
    assert network.encode([clip[: 30 * 16_000 + 300]])[0].shape[1] == 1_500
    (spectra,) = S3PRLUpstreamEncoder("fbank").encode([clip])
    whole, _ = import_s3prl().S3PRLUpstream("fbank")(torch.tensor(clip)[None], torch.tensor([len(clip)]))
    assert np.array_equal(spectra[0], whole[0][0].numpy())


def test_a_local_hubert_is_the_same_model_through_s3prl_and_through_transformers(hubert: Weights) -> None:
    clip = noise(12_000)
    (through_s3prl,) = S3PRLUpstreamEncoder("hf_hubert_custom", weights=hubert).encode([clip])
    (directly,) = TransformersEncoder(hubert).encode([clip])
    frames = directly.shape[1]
    assert through_s3prl.shape == (3, 38, 16)
    np.testing.assert_allclose(through_s3prl[:, :frames], directly, atol=1e-5)
    # s3prl fills up to ⌈samples / 320⌉ frames with the last one.
    np.testing.assert_allclose(through_s3prl[:, frames:], directly[:, -1:], atol=1e-5)


def test_a_local_wav2vec2_is_the_same_model_through_s3prl_and_through_transformers(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("wav2vec2")
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )  # fmt: skip
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    extractor.save_pretrained(folder)
    weights, clip = Weights(folder, "hash of a test folder"), noise(12_000)
    (through_s3prl,) = S3PRLUpstreamEncoder("hf_wav2vec2_custom", weights=weights).encode([clip])
    (directly,) = TransformersEncoder(weights).encode([clip])
    frames = directly.shape[1]
    assert through_s3prl.shape == (3, 38, 16)
    np.testing.assert_allclose(through_s3prl[:, :frames], directly, atol=1e-5)


def test_the_shims_add_only_what_is_missing_and_say_nothing() -> None:
    script = (
        "import torchaudio\n"
        "before = {name: getattr(torchaudio, name) for name in dir(torchaudio)}\n"
        "from adapters.s3prl_upstream import S3PRLUpstreamEncoder\n"
        "import numpy as np\n"
        "S3PRLUpstreamEncoder('fbank').encode([np.ones(3000, np.float32)])\n"
        "S3PRLUpstreamEncoder('mel').encode([np.ones(900, np.float32)])\n"
        "import s3prl, torchaudio.sox_effects\n"
        "assert all(getattr(torchaudio, name) is value for name, value in before.items())\n"
        "import torch\n"
        "torchaudio.functional.resample(torch.ones(1, 100), 16000, 8000)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "s3prl" not in done.stderr


def test_mistakes_are_answered_in_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'fbank'"):
        S3PRLUpstreamEncoder("fbnk")
    with pytest.raises(UsageError, match="reads local weights"):
        S3PRLUpstreamEncoder("hf_hubert_custom")
    with pytest.raises(CannotRun, match=r"lacks config\.json and preprocessor_config\.json"):
        S3PRLUpstreamEncoder("hf_hubert_custom", path=str(tmp_path))
    with pytest.raises(DataError, match="no samples"):
        S3PRLUpstreamEncoder("fbank").encode([np.zeros(0, dtype=np.float32)])


def test_a_checkpoint_named_by_its_file_is_read_and_hears_in_one_direction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cards of APC, NPC, TERA and others name one file each; APC is a recurrent network that goes forward."""
    import_s3prl()
    from s3prl.upstream.apc.apc import APC  # type: ignore[import-untyped]

    shape = {"hidden_size": 16, "num_layers": 3, "dropout": 0.0, "residual": True}
    torch.manual_seed(0)
    audio = {"feat_type": "fbank", "feat_dim": 80, "frame_length": 25, "frame_shift": 10, "cmvn": False}
    config = {"data": {"audio": audio}, "model": {"paras": shape}}
    (tmp_path / "apc").mkdir()
    torch.save(
        {"config": config, "model": APC(80, **shape).state_dict()}, tmp_path / "apc" / "apc_360hr.ckpt"
    )
    monkeypatch.setenv("SERBENCH_WEIGHTS", str(tmp_path))
    card = load_system("apc-linear")
    assert card.weights is not None
    weights = find_weights(card.weights)
    assert weights.file == tmp_path / "apc" / "apc_360hr.ckpt"
    assert card.features is not None
    encoder = S3PRLUpstreamEncoder(weights=weights, **card.features.params)
    (states,) = encoder.encode([noise(16_000)])
    assert states.shape == (3, 100, 16)
    assert hears_in_its_place(encoder.encode(changed_at_the_ends())).startswith(
        "another sound that begins at 88%"
    )
