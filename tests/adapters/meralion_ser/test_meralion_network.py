"""The network is the released one, loads what others published, and padding does not change its answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adapters.meralion_ser import MeralionSer, MeralionSerConfig
from adapters.meralion_ser.network.configuration import RELEASED_LABELS, log_spaced_kernels
from adapters.meralion_ser.network.released_layout import (
    load_whisper_encoder,
    released_config,
    whisper_fields,
)
from bench.errors import CannotRun, DataError, UsageError

TINY = {
    "d_model": 64,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 96,
    "vocab_size": 8,
}


def small(**fields: Any) -> Any:
    torch.manual_seed(0)
    settings = {"whisper": TINY | {"max_source_positions": 60}, "channels": 32, "frames": "own"} | fields
    model = MeralionSer(MeralionSerConfig(**settings))
    # Fresh biases and norms are zeros and ones: they would hide a mask that is not applied.
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def answers(model: MeralionSer, *args: Any, **kwargs: Any) -> Tensor:
    with torch.no_grad():
        output = model(*args, **kwargs)
    return torch.cat([output.logits, output.dimensions], dim=1)


SINGLE_PRECISION = 2e-6
"""How far apart two copies of one network may answer, where answers are of order 1: 17 roundings of float32 (eps 1.2e-7).

Where operands begin decides in which order MKL adds up a product: tensors in memory begin on 64-byte boundaries, those read
from a safetensors file lie where its header ends. So tensors are compared bit for bit, answers within this.
"""


def assert_same_network(found: Any, expected: Any, *args: Any) -> None:
    """The same tensors, bit for bit; hence the same answers, as far as single precision goes."""
    ours, theirs = found.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    torch.testing.assert_close(
        answers(found.eval(), *args), answers(expected.eval(), *args), atol=SINGLE_PRECISION, rtol=0
    )


@pytest.fixture(scope="module")
def fixture_folder(real_weights: Path) -> Path:
    return real_weights.parent / "fixtures" / "meralion_ser"


@pytest.mark.real
def test_the_released_tensors_are_ours_by_name_and_shape(fixture_folder: Path) -> None:
    released = json.loads((fixture_folder / "released_tensors.json").read_text())
    shapes = {name: torch.empty(shape, device="meta") for name, shape in released.items()}
    config = released_config(shapes, {}, fixture_folder)
    with torch.device("meta"):
        model = MeralionSer(config)
    assert {name: list(t.shape) for name, t in model.state_dict().items()} == released
    assert len(released) == 479
    assert config.whisper is not None
    assert config.id2label is not None
    assert config.whisper["encoder_attention_heads"] == 16
    assert config.id2label == dict(enumerate(RELEASED_LABELS))


@pytest.mark.real
def test_an_independent_implementation_gave_the_same_answers(fixture_folder: Path) -> None:
    expected = load_file(fixture_folder / "tiny" / "io.safetensors")
    model = MeralionSer.from_released(fixture_folder / "tiny")
    with torch.no_grad():
        output = model(expected["input_features"].float())
    torch.testing.assert_close(output.logits, expected["logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.dimensions, expected["dims"], atol=1e-5, rtol=0)


@pytest.mark.real
def test_stored_hidden_states_go_on_to_the_same_answer_as_audio(real_weights: Path) -> None:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    folder = real_weights / "whisper-tiny.en-encoder"
    model = MeralionSer(MeralionSerConfig(whisper=whisper_fields(folder), channels=32, layer=3)).eval()
    load_whisper_encoder(model.whisper.encoder, folder)
    reference = WhisperEncoder.from_pretrained(folder, dtype=torch.float32).eval()
    features = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = reference(features, output_hidden_states=True).hidden_states
    from_audio = answers(model, features)
    torch.testing.assert_close(
        answers(model, states=states[2], states_layer=2), from_audio, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        answers(model, states=states[3], states_layer=3), from_audio, atol=1e-5, rtol=0
    )


def test_the_last_layer_is_the_encoders_own_output() -> None:
    model = small(frames="all", whisper=TINY | {"max_source_positions": 30})
    features = torch.randn(2, 80, 60)
    with torch.no_grad():
        encoded = model.whisper.encoder(features).last_hidden_state
        head = model.head(encoded)
    torch.testing.assert_close(answers(model, features)[:, :7], head.logits, atol=1e-6, rtol=0)


def padded(lengths: list[int], dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """Clips alone, and as a batch whose padding is not silence: that must not matter either."""
    clips = [torch.randn(1, 80, n, generator=torch.Generator().manual_seed(n), dtype=dtype) for n in lengths]
    batch = torch.full((len(lengths), 80, 60), 3.0, dtype=dtype)
    for row, clip in enumerate(clips):
        batch[row, :, : clip.shape[2]] = clip[0]
    return clips, batch


@pytest.mark.parametrize(
    "fields",
    [{}, {"layer": 1, "standardise": True}, {"encoder": "none", "input_dim": 80, "frame_stack": 3}],
    ids=["last-layer", "inner-layer", "no-encoder"],
)
def test_a_padded_batch_answers_as_each_clip_alone(fields: dict[str, Any]) -> None:
    # In double precision, where only a wrong mask can show: one frame makes group norms of zero variance.
    model, lengths = small(**fields).double(), [1, 2, 3, 7, 34, 59, 60]
    clips, batch = padded(lengths, torch.float64)
    together = answers(model, batch, torch.tensor(lengths))
    alone = torch.cat([answers(model, clip) for clip in clips])
    assert (together - alone).abs().max() < 1e-10
    assert (
        answers(model, batch) - alone
    ).abs().max() > 1e-3  # the same batch without lengths is another thing


def test_in_single_precision_batches_agree_to_a_millionth() -> None:
    model, lengths = small(channels_per_group=16), [20, 34, 59, 60]
    clips, batch = padded(lengths, torch.float32)
    together = answers(model, batch, torch.tensor(lengths))
    alone = torch.cat([answers(model, clip) for clip in clips])
    assert (together - alone).abs().max() < SINGLE_PRECISION


def test_valid_frame_pooling_hides_padding_from_the_head_only() -> None:
    released = small(frames="all", whisper=TINY | {"max_source_positions": 30})
    valid = small(frames="valid", whisper=TINY | {"max_source_positions": 30})
    features, lengths = torch.randn(1, 80, 60), torch.tensor([25])
    with torch.no_grad():
        encoded = valid.whisper.encoder(features).last_hidden_state
        expected = valid.head(encoded[:, :13])
    torch.testing.assert_close(answers(valid, features, lengths)[:, :7], expected.logits, atol=1e-5, rtol=0)
    assert torch.equal(answers(released, features, lengths), answers(released, features))


def test_saved_folders_are_safetensors_and_give_the_same_answers(tmp_path: Path) -> None:
    from transformers import AutoModelForAudioClassification

    model = small(layer=1, standardise=True, init_scheme="few_clips", id2label={0: "calm", 1: "cross"})
    model.standardise.mean.fill_(0.5)
    model.save_pretrained(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    features = torch.randn(1, 80, 40)
    for again in (
        MeralionSer.from_pretrained(tmp_path),
        AutoModelForAudioClassification.from_pretrained(tmp_path),
    ):
        assert_same_network(again, model, features)
        assert again.config.id2label == {0: "calm", 1: "cross"}
        assert isinstance(again, MeralionSer)


def test_lora_starts_as_nothing_and_is_saved_merged(tmp_path: Path) -> None:
    model = small(lora_rank=2, lora_layers=[2])
    features = torch.randn(1, 80, 40)
    before, names = answers(model, features), set(model.state_dict())
    assert model.add_lora() == 3 * 2 * (64 + 64)
    assert torch.equal(answers(model, features), before)
    learning = [name for name, p in model.whisper.named_parameters() if p.requires_grad]
    assert len(learning) == 6
    assert all("layers.1.self_attn" in name for name in learning)
    with torch.no_grad():
        for name, parameter in model.whisper.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.3)
    adapted = answers(model, features)
    assert (adapted - before).abs().max() > 1e-3
    model.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == names
    torch.testing.assert_close(
        answers(MeralionSer.from_pretrained(tmp_path).eval(), features), adapted, atol=1e-5, rtol=0
    )


def test_a_folder_with_an_unused_decoder_loads(tmp_path: Path) -> None:
    model = small(frames="all", whisper=TINY | {"encoder_attention_heads": 1})
    tensors = {**model.state_dict(), "whisper.decoder.embed_tokens.weight": torch.zeros(8, 64)}
    save_file({name: t.contiguous() for name, t in tensors.items()}, tmp_path / "model.safetensors")
    loaded: Any = MeralionSer.from_released(tmp_path)
    features = torch.randn(1, 80, 100)
    assert loaded.config.whisper["encoder_attention_heads"] == 1  # 64 // 64, for want of a config.json
    assert_same_network(loaded, model, features)


def test_a_checkpoint_that_does_not_fit_is_described(tmp_path: Path) -> None:
    tensors = {name: t.clone() for name, t in small().state_dict().items()}
    tensors["downstream_model.extra"] = tensors.pop("emotion_layer.bias")
    tensors["dim_layer.3.bias"] = torch.zeros(4)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(DataError) as caught:
        MeralionSer.from_released(tmp_path)
    for message in (
        "1 missing: emotion_layer.bias",
        "1 unexpected: downstream_model.extra",
        "dim_layer.3.bias (4,)",
    ):
        assert message in str(caught.value)


def test_pickled_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(DataError, match="pickled weights"):
        MeralionSer.from_released(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="not a checkpoint of the released layout"):
        MeralionSer.from_released(tmp_path)
    shutil.rmtree(tmp_path)
    with pytest.raises(CannotRun, match="neither a folder here nor"):
        MeralionSer.from_released(tmp_path)


def test_kernels_are_whole_powers() -> None:
    assert log_spaced_kernels(16, 4) == [1, 2, 6, 16]
    assert log_spaced_kernels(1000, 4) == [1, 10, 100, 1000]


def test_few_clips_init_keeps_the_signal() -> None:
    torch.manual_seed(0)
    model: Any = MeralionSer(
        MeralionSerConfig(encoder="none", channels=32, channels_per_group=16, init_scheme="few_clips")
    )
    weight = model.emotion_layer.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), atol=1e-5, rtol=0)
    assert not model.downstream_model.pooling.combiner.bias.any()
    assert all(not block.norm2.weight.any() for block in model.downstream_model.blocks)
    assert model.downstream_model.blocks[0].norm1.num_groups == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder": "wav2vec"}, "use one of whisper, backbone, none"),
        ({"channels": 48, "channels_per_group": 32}, "cannot be split"),
        ({"whisper": TINY, "layer": 3}, "states 0 to 2"),
        ({"encoder": "none", "lora_rank": 4}, "need an encoder"),
        ({"encoder": "whisper", "frame_stack": 2}, "frame_stack"),
    ],
)
def test_impossible_configs_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MeralionSer(MeralionSerConfig(**fields))


def test_a_window_longer_than_the_positions_is_refused() -> None:
    with pytest.raises(DataError, match="longer than the Whisper window of 120"):
        small()(torch.zeros(1, 80, 121))
