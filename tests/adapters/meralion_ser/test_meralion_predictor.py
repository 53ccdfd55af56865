"""The small model as a system: it learns, repeats itself byte for byte, survives a kill, and says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from adapters.meralion_ser import MeralionSerPredictor
from adapters.meralion_ser.network.frames import frame_statistics, log_mel
from adapters.meralion_ser.training.batches import LabelledFrames, epoch_batches
from adapters.meralion_ser.training.stages import FrameNetwork
from bench.cards.registry import build, load_system
from bench.errors import BenchError, CannotRun, DataError, UsageError
from bench.protocols import Answers, Clips, Examples, FitContext, Predictor, Waveform, Weights

LABELS = ("neutral", "happy", "sad")
DIMS = 16
SMALL: dict[str, Any] = {
    "encoder": "features",
    "channels": 16,
    "epochs": 3,
    "batch": 16,
    "head_lr": 3e-3,
    "dev": "train",
}
Features = dict[str, NDArray[np.float32]]


def a_clip(label: int, seed: int, frames: int | None = None) -> NDArray[np.float32]:
    """Noise frames (1, frames, DIMS) whose mean tells the class."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(1, frames or int(rng.integers(6, 20)), DIMS)).astype(np.float32)
    noise[:, :, label * 4 : label * 4 + 4] += 1.0
    return noise


def examples(features: Features, count: int, start: int, *, dimensions: bool = True) -> Examples:
    """``count`` clips, put into ``features``; valence rises with the class, arousal is known for none."""
    classes = [i % len(LABELS) for i in range(count)]
    names = tuple(f"clip-{start + i}" for i in range(count))
    for i, (name, label) in enumerate(zip(names, classes, strict=True)):
        features[name] = a_clip(label, start + i)
    known = np.full((count, 3), np.nan)
    if dimensions:
        known[:, 0], known[:, 2] = np.array(classes) / 2, 1 - np.array(classes) / 2
    clips = Clips(names, names, np.ones(count), ("en",) * count, _no_audio)
    return Examples(clips, tuple(LABELS[c] for c in classes), known, ("pool/a",) * count)


def _no_audio(_index: int) -> Waveform:
    raise AssertionError("stored frames are enough: no audio is to be read")


def context(folder: Path, features: Features | None, **fields: Any) -> FitContext:
    settings: dict[str, Any] = {"labels": LABELS, "dimensions": True, "seed": 0, "workdir": folder} | fields
    return FitContext(features=features, **settings)


def fitted(
    folder: Path, settings: dict[str, Any] | None = None, **fields: Any
) -> tuple[MeralionSerPredictor, Clips]:
    features: Features = {}
    train, dev, test = examples(features, 30, 0), examples(features, 9, 100), examples(features, 12, 200)
    predictor = MeralionSerPredictor(**(SMALL | (settings or {})))
    predictor.fit(train, dev, context(folder, features, **fields))
    return predictor, test.clips


def table(answers: Answers) -> bytes:
    assert answers.probabilities is not None
    assert answers.dimensions is not None
    return answers.probabilities.tobytes() + answers.dimensions.tobytes()


def test_it_learns_categories_and_dimensions_and_says_what_it_did(tmp_path: Path) -> None:
    predictor, clips = fitted(tmp_path, {"channels": 32, "epochs": 20, "batch": 8})
    assert isinstance(predictor, Predictor)
    answers = predictor.predict(clips)
    truth = [i % 3 for i in range(12)]
    assert [LABELS[t] for t in truth] == list(answers.labels)
    assert answers.probabilities is not None
    assert answers.dimensions is not None
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1.0)
    assert np.corrcoef(answers.dimensions[:, 0], truth)[0, 1] > 0.8
    assert np.corrcoef(answers.dimensions[:, 2], truth)[0, 1] < -0.8
    notes = json.loads(json.dumps(answers.notes))
    assert notes["epochs"] == 20
    assert notes["training_clips"] == 39
    learning = sum(p.numel() for p in predictor._model.parameters() if p.requires_grad)
    assert notes["trainable_parameters"] == learning > 5_000


def test_one_seed_gives_the_same_bytes_and_leaves_others_randomness_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, clips = fitted(tmp_path / "a")
    assert torch.equal(torch.rand(3), expected)
    once = table(first.predict(clips))
    again, _ = fitted(tmp_path / "b")
    other, _ = fitted(tmp_path / "c", seed=1)
    assert table(first.predict(clips)) == once
    assert table(again.predict(clips)) == once
    assert table(other.predict(clips)) != once


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=DIMS, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=32, max_source_positions=50
    )
    WhisperEncoder(config).save_pretrained(folder)
    return folder


class Killed(Exception):
    """Stands for the power going."""


def killing_after(epochs: int) -> Callable[[float, float], None]:
    def progress(done: float, _total: float) -> None:
        if done > epochs:
            raise Killed

    return progress


@pytest.mark.parametrize(
    ("epoch", "dev"),
    [(1, "train"), (3, "select"), (4, "train"), (4, "select")],
    ids=["first-stage", "between-stages", "second-stage", "second-stage-chosen"],
)
@pytest.mark.parametrize("at_risk", [-1.0, 1e9], ids=["every-epoch-kept", "one-epoch-kept"])
def test_a_killed_fit_ends_at_the_bytes_of_one_that_was_not(
    tmp_path: Path,
    whisper_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    epoch: int,
    dev: str,
    at_risk: float,
) -> None:
    monkeypatch.setattr("adapters.meralion_ser.training.loop.SECONDS_AT_RISK", at_risk)
    settings = {
        "encoder": "whisper", "layer": 2, "stored_layer": 1, "lora_rank": 2, "epochs": 3, "lora_epochs": 2,
        "lora_lr": 1e-2, "dev": dev, "average": 2, "weights": Weights(whisper_folder, "hash"),
    }  # fmt: skip
    whole, clips = fitted(tmp_path / "whole", settings)
    with pytest.raises(Killed):
        fitted(tmp_path / "killed", settings, progress=killing_after(epoch))
    epochs_done: list[float] = []
    resumed, _ = fitted(tmp_path / "killed", settings, progress=lambda done, _total: epochs_done.append(done))
    assert epochs_done == list(range(epoch + 1 if at_risk < 0 else 2, 6))
    expected, found = whole.predict(clips), resumed.predict(clips)
    assert table(found) == table(expected)
    assert found.notes == expected.notes
    assert found.notes["lora_parameters"] == 3 * 2 * (DIMS + DIMS)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    tmp_path: Path, whisper_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "encoder": "whisper", "layer": 2, "stored_layer": 1, "lora_rank": 2, "epochs": 2, "lora_epochs": 2,
        "dev": "train", "average": 1, "weights": Weights(whisper_folder, "hash"),
    }  # fmt: skip
    monkeypatch.setattr("adapters.meralion_ser.training.loop.SECONDS_AT_RISK", -1.0)
    whole, clips = fitted(tmp_path / "whole", settings)
    save, written = torch.save, []

    def torn(state: object, path: Path) -> None:
        written.append(path)
        if len(written) == 3:
            path.write_bytes(b"half a checkpo")
            raise Killed
        save(state, path)

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(Killed):
        fitted(tmp_path / "killed", settings)
    monkeypatch.setattr(torch, "save", save)
    epochs_done: list[float] = []
    resumed, _ = fitted(tmp_path / "killed", settings, progress=lambda done, _total: epochs_done.append(done))
    assert epochs_done == [3, 4]
    assert table(resumed.predict(clips)) == table(whole.predict(clips))


def test_lora_moves_the_encoder_and_the_frozen_weights_stay(tmp_path: Path, whisper_folder: Path) -> None:
    from safetensors.torch import load_file

    predictor, _ = fitted(
        tmp_path,
        {
            "encoder": "whisper", "layer": 2, "stored_layer": 1, "lora_rank": 2, "epochs": 1, "lora_epochs": 1,
            "lora_lr": 1e-2, "weights": Weights(whisper_folder, "hash"),
        },
    )  # fmt: skip
    state = predictor._model.whisper.encoder.state_dict()
    frozen = {name.replace(".base_layer", ""): t for name, t in state.items() if ".lora_" not in name}
    before = load_file(whisper_folder / "model.safetensors")
    assert frozen.keys() == before.keys()
    assert all(torch.equal(frozen[name], before[name]) for name in before)
    assert [name for name in state if ".lora_B." in name and state[name].any()] == [
        f"layers.1.self_attn.{x}_proj.lora_B.default.weight" for x in ("k", "v", "q")
    ]


def test_a_checkpoint_of_another_fit_is_not_gone_on_from(tmp_path: Path) -> None:
    fitted(tmp_path / "shared", {"epochs": 2}, seed=1)
    resumed, clips = fitted(tmp_path / "shared")
    fresh, _ = fitted(tmp_path / "fresh")
    assert table(resumed.predict(clips)) == table(fresh.predict(clips))


def test_epochs_are_chosen_and_averaged_by_dev_loss(tmp_path: Path) -> None:
    predictor, clips = fitted(tmp_path, {"dev": "select", "average": 3, "epochs": 6, "patience": 6})
    losses = predictor._session.dev_losses
    best = sorted(range(6), key=lambda e: losses[e])[:3]
    notes = predictor.predict(clips).notes
    assert notes["epochs_averaged"] == [e + 1 for e in best]
    assert notes["dev_loss"] == min(losses)
    assert notes["chosen_on_dev"] is True
    assert notes["training_clips"] == 30
    kept = predictor._session.checkpoints
    each = []
    for one in kept:
        predictor._session.checkpoints = [one]
        each.append(predictor.predict(clips).probabilities)
    predictor._session.checkpoints = kept
    averaged = predictor.predict(clips).probabilities
    assert averaged is not None
    np.testing.assert_allclose(averaged, np.mean(np.array(each, dtype=np.float64), axis=0), atol=1e-12)


def test_training_stops_when_dev_no_longer_improves(tmp_path: Path) -> None:
    predictor, _ = fitted(
        tmp_path, {"dev": "select", "epochs": 40, "patience": 2, "head_lr": 0.02, "average": 1}
    )
    losses = predictor._session.dev_losses
    assert len(losses) < 40
    assert min(losses) == losses[-3] < min(losses[-2:])


def test_without_dev_clips_all_epochs_run(tmp_path: Path) -> None:
    features: Features = {}
    train, nothing = examples(features, 18, 0), examples(features, 0, 50)
    for dev in ("select", "train"):
        predictor = MeralionSerPredictor(**(SMALL | {"dev": dev, "epochs": 2}))
        predictor.fit(train, nothing, context(tmp_path / dev, features))
        notes = predictor.predict(train.clips).notes
        assert notes["chosen_on_dev"] is False
        assert notes["epochs"] == 2


def test_without_dimension_labels_dimensions_stay_unanswered(tmp_path: Path) -> None:
    features: Features = {}
    train, dev = examples(features, 18, 0, dimensions=False), examples(features, 3, 50, dimensions=False)
    predictor = MeralionSerPredictor(**(SMALL | {"epochs": 1}))
    predictor.fit(train, dev, context(tmp_path, features))
    answers = predictor.predict(train.clips)
    assert answers.dimensions is None
    assert answers.probabilities is not None
    assert answers.notes["dimensions_learned"] is False


def test_without_categories_dimensions_alone_are_learnt_and_answered(tmp_path: Path) -> None:
    features: Features = {}
    train, dev = (
        replace(e, labels=(None,) * len(e)) for e in (examples(features, 36, 0), examples(features, 9, 60))
    )
    predictor = MeralionSerPredictor(**(SMALL | {"dev": "select", "average": 1, "epochs": 15}))
    predictor.fit(train, dev, context(tmp_path, features, labels=()))
    answers = predictor.predict(dev.clips)
    assert answers.probabilities is None
    assert set(answers.labels) == {None}
    assert set(answers.statuses) == {"ok"}
    assert answers.dimensions is not None
    assert np.corrcoef(answers.dimensions[:, 0], dev.dimensions[:, 0])[0, 1] > 0.5


def test_a_class_without_training_clip_is_offered_all_the_same(tmp_path: Path) -> None:
    features: Features = {}
    train, dev = examples(features, 18, 0), examples(features, 6, 50)
    predictor = MeralionSerPredictor(**(SMALL | {"epochs": 2}))
    predictor.fit(train, dev, context(tmp_path, features, labels=(*LABELS, "angry")))
    answers = predictor.predict(dev.clips)
    assert answers.probabilities is not None
    assert answers.probabilities.shape == (6, 4)
    assert np.isfinite(answers.probabilities).all()
    assert answers.notes["classes_without_training_clip"] == ["angry"]


def test_a_long_clip_is_answered_by_its_windows_mean(tmp_path: Path) -> None:
    predictor, _ = fitted(tmp_path, {"epochs": 1})
    long = a_clip(1, 5, frames=3000)  # a minute of 20-ms frames: two windows of 30 s
    parts: Features = {"whole": long, "first": long[:, :1500], "second": long[:, 1500:]}
    predictor._context = context(tmp_path, parts)
    clips = Clips(tuple(parts), tuple(parts), np.ones(3), ("en",) * 3, _no_audio)
    p = predictor.predict(clips).probabilities
    assert p is not None
    np.testing.assert_allclose(p[0], (p[1] + p[2]) / 2, atol=1e-12)


def test_a_clip_without_frames_fails_alone(tmp_path: Path) -> None:
    predictor, clips = fitted(tmp_path, {"epochs": 1})
    expected = predictor.predict(clips).probabilities
    features = dict(predictor._context.features)  # type: ignore[call-overload]
    del features["clip-203"]
    predictor._context = context(tmp_path, features)
    answers = predictor.predict(clips)
    assert answers.statuses == tuple("failed" if i == 3 else "ok" for i in range(12))
    assert answers.labels[3] is None
    assert answers.probabilities is not None
    assert expected is not None
    assert np.isnan(answers.probabilities[3]).all()
    assert np.array_equal(np.delete(answers.probabilities, 3, 0), np.delete(expected, 3, 0))


def test_broken_frames_and_broken_losses_name_their_clips(tmp_path: Path) -> None:
    features: Features = {}
    train, dev = examples(features, 9, 0), examples(features, 3, 50)
    with pytest.raises(DataError, match=r"loss became nan on the clips clip-"):
        MeralionSerPredictor(**(SMALL | {"head_lr": 1e30})).fit(train, dev, context(tmp_path, features))
    features["clip-4"][0, 2, 1] = np.inf
    with pytest.raises(DataError, match="clip-4: its frames hold NaN or infinity"):
        MeralionSerPredictor(**SMALL).fit(train, dev, context(tmp_path, features))


def test_answers_that_are_no_numbers_on_dev_clips_stop_the_fit_and_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = FrameNetwork.forward_from_top

    def broken(self: Any, network: Any, frames: Any, lengths: Any) -> Any:
        answer = honest(self, network, frames, lengths)
        if not network.training and len(frames) == 1:
            answer.logits = answer.logits * float("nan")
        return answer

    monkeypatch.setattr(FrameNetwork, "forward_from_top", broken)
    with pytest.raises(DataError, match="no numbers on the dev clips clip-100, clip-101"):
        fitted(tmp_path, {"dev": "select"})


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    features: Features = {}
    train = replace(examples(features, 6, 0, dimensions=False), labels=(None,) * 6)
    with pytest.raises(DataError, match="nothing to learn"):
        MeralionSerPredictor(**SMALL).fit(train, train, context(tmp_path, features))


def test_dimensions_alone_cannot_be_asked_for_where_there_are_none(tmp_path: Path) -> None:
    features: Features = {}
    train = examples(features, 6, 0, dimensions=False)
    with pytest.raises(DataError, match="category_weight is 0"):
        MeralionSerPredictor(**(SMALL | {"category_weight": 0.0})).fit(
            train, train, context(tmp_path, features)
        )


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"channel": 32}, UsageError, "did you mean 'channels'"),
        ({"encoder": "wav2vec"}, UsageError, "use one of whisper, backbone, features, logmel"),
        ({"encoder": "backbone", "layer": 3}, UsageError, "needs layer and stored_layer"),
        ({"encoder": "whisper", "layer": 3, "stored_layer": 3, "frames": "all"}, UsageError, "padded window"),
        ({"precision": "bf8"}, UsageError, "use one of no, bf16"),
        ({"sampling": "speaker"}, UsageError, "use one of all, class"),
        ({"views": -1}, UsageError, "whole number from 0 on"),
        ({"encoder": "whisper", "layer": 1, "stored_layer": 2}, UsageError, "lies above layer 1"),
        ({"lora_rank": 4, "lora_epochs": 1}, UsageError, "nothing to adapt"),
        ({"lora_epochs": 2}, UsageError, "go together"),
        ({"dev": "both"}, UsageError, "use one of select, train"),
        ({"epochs": 0}, UsageError, "at least 1"),
        ({"encoder": "whisper", "layer": 3, "stored_layer": 3}, CannotRun, "needs weights"),
    ],
)
def test_impossible_cards_are_refused(
    settings: dict[str, Any], error: type[BenchError], message: str
) -> None:
    with pytest.raises(error, match=message):
        MeralionSerPredictor(**(SMALL | settings))


def test_features_of_another_kind_are_refused(tmp_path: Path) -> None:
    features: Features = {}
    train = examples(features, 6, 0)
    with pytest.raises(CannotRun, match="features section"):
        MeralionSerPredictor(**SMALL).fit(train, train, context(tmp_path, None))
    features["clip-0"] = np.zeros((2, 5, DIMS), dtype=np.float32)
    with pytest.raises(UsageError, match="frames of 16 and of 32 values"):
        MeralionSerPredictor(**SMALL).fit(train, train, context(tmp_path, features))


def test_every_clip_comes_once_per_epoch_cropped_to_its_batch() -> None:
    lengths = [3, 50, 52, 55, 60, 64, 70, 90]
    frames = tuple(torch.arange(n, dtype=torch.float32)[:, None] + 1000 * i for i, n in enumerate(lengths))
    clips = LabelledFrames(tuple(map(str, lengths)), frames, torch.arange(8), torch.full((8, 3), torch.nan))
    batches = list(epoch_batches(clips, 4, 62, np.random.default_rng(0)))
    assert sorted(i for b in batches for i in b.indices) == list(range(8))
    short, long = sorted(batches, key=lambda b: min(b.indices))
    assert long.lengths is None
    assert long.frames.shape == (4, 60, 1)  # the shortest of 60, 64, 70, 90
    assert short.lengths is not None
    assert short.lengths.tolist() == [
        3,
        25,
        25,
        25,
    ]  # half the median of 3, 50, 52, 55: 3 frames cut nobody short
    for batch in batches:
        for row, index in enumerate(batch.indices):
            n = batch.frames.shape[1] if batch.lengths is None else int(batch.lengths[row])
            assert torch.equal(batch.frames[row, :n, 0].diff(), torch.ones(n - 1))
            assert int(batch.frames[row, 0, 0]) // 1000 == index


def test_log_mel_is_the_transformers_spectrogram() -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    audio = np.random.default_rng(0).normal(scale=0.1, size=16_000).astype(np.float32)
    filters = mel_filter_bank(201, 80, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    reference = spectrogram(
        audio,
        window_function(400, "hann"),
        400,
        160,
        power=2.0,
        mel_filters=filters,
        mel_floor=1e-7,
        log_mel="log10",
    )
    ours = log_mel(audio)
    assert ours.shape == (100, 80)
    np.testing.assert_allclose(ours.numpy(), reference.T[:100], atol=1e-4)
    assert log_mel(np.zeros(10, dtype=np.float32)).shape == (2, 80)


def test_statistics_are_those_of_all_training_frames() -> None:
    clips = [torch.randn(n, 3) * 4 + 2 for n in (5, 9, 1)]
    clips = [torch.cat([c[:, :2], torch.ones(len(c), 1)], dim=1) for c in clips]
    mean, std = frame_statistics(clips)
    stacked = torch.cat(clips)
    torch.testing.assert_close(mean, stacked.mean(dim=0))
    torch.testing.assert_close(std, torch.cat([stacked[:, :2].std(dim=0, unbiased=False), torch.ones(1)]))


@pytest.mark.parametrize("name", ["meralion-ser-small", "meralion-ser-logmel"])
def test_the_cards_build_their_predictor(name: str) -> None:
    card = load_system(name)
    assert card.adapter is not None
    given = {"weights": Weights(Path(), "hash")} if card.weights else {}
    predictor = build(card.adapter, {**card.params, **given})
    assert isinstance(predictor, Predictor)
    if card.features is not None:
        assert card.features.params["layers"] == [card.params["stored_layer"]]
