"""What a card may vary: the encoder, its layers, pooling, the losses, precision, views, sampling, matching."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adapters.meralion_ser import MeralionSer, MeralionSerConfig, MeralionSerPredictor, hybrid_loss
from adapters.meralion_ser.network.backbone import blocks
from adapters.meralion_ser.training.augmentation import AudioViews
from adapters.meralion_ser.training.batches import LabelledFrames, epoch_batches
from adapters.meralion_ser.training.distributed import answers_of_all, share_of
from adapters.meralion_ser.training.losses import (
    ConcordanceMemory,
    HybridMasks,
    HybridTargets,
    HybridWeights,
    categorical_loss,
)
from bench.protocols import Clips, Examples, FitContext, Weights

SIZES: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": [16, 16], "conv_stride": [20, 16], "conv_kernel": [25, 16], "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4, "num_feat_extract_layers": 2,
}  # fmt: skip
FAMILY = ["wav2vec2", "hubert", "wavlm", "unispeech-sat"]
LABELS = ("neutral", "happy")


@pytest.fixture(scope="module", params=FAMILY)
def family(request: pytest.FixtureRequest) -> Any:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    stable = {"do_stable_layer_norm": request.param == "hubert"}
    return AutoModel.from_config(AutoConfig.for_model(request.param, **SIZES, **stable)).eval()


def test_stored_states_of_other_encoders_go_on_as_in_transformers(family: Any) -> None:
    with torch.no_grad():
        states = family(torch.randn(2, 8000), output_hidden_states=True).hidden_states
        for first, last in ((0, 3), (1, 2), (2, 3)):
            ours = blocks(family, states[first].clone(), None, first=first, last=last)
            torch.testing.assert_close(ours, states[last], atol=1e-5, rtol=1e-5)


def test_padding_is_hidden_from_their_blocks(family: Any) -> None:
    torch.manual_seed(1)
    whole, short = torch.randn(1, 12, 32), torch.randn(1, 7, 32)
    batch = torch.cat([whole, torch.cat([short, torch.randn(1, 5, 32)], dim=1)])
    with torch.no_grad():
        masked = blocks(family, batch, torch.tensor([12, 7]), first=1, last=3)
        alone = blocks(family, short, None, first=1, last=3)
    torch.testing.assert_close(masked[1:, :7], alone, atol=1e-5, rtol=1e-5)


def a_backbone(kind: str, **fields: Any) -> MeralionSer:
    torch.manual_seed(0)
    described = {"model_type": kind, **SIZES}
    return MeralionSer(
        MeralionSerConfig(
            encoder="backbone", backbone=described, layer=2, channels=16, frames="own", **fields
        )
    )


@pytest.mark.parametrize("kind", FAMILY)
def test_lora_adapts_them_and_is_saved_merged(kind: str, tmp_path: Path) -> None:
    model = a_backbone(kind, lora_rank=2, lora_layers=[2]).eval()
    states = torch.randn(3, 9, 32)
    before = model(states=states, states_layer=1).logits
    assert model.add_lora() == 3 * 2 * (32 + 32)
    torch.testing.assert_close(model(states=states, states_layer=1).logits, before)
    adapters = {name: p for name, p in model.named_parameters() if ".lora_" in name}
    with torch.no_grad():
        for name, parameter in adapters.items():
            if name.endswith("lora_B"):
                parameter.normal_()
    moved = model(states=states, states_layer=1).logits
    assert not torch.allclose(moved, before, atol=1e-3)
    moved.sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in adapters.values())
    model.save_pretrained(tmp_path)
    again = MeralionSer.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(states=states, states_layer=1).logits, moved.detach())


def test_a_state_mix_starts_as_the_mean_of_the_states() -> None:
    torch.manual_seed(0)
    mixed = MeralionSer(MeralionSerConfig(encoder="none", input_dim=24, mixed_states=3, channels=16)).eval()
    plain = MeralionSer(MeralionSerConfig(encoder="none", input_dim=8, channels=16)).eval()
    state = {k: v for k, v in mixed.state_dict().items() if k != "state_weights"}
    plain.load_state_dict(state)
    frames = torch.randn(2, 7, 24)
    mean = frames.reshape(2, 7, 3, 8).mean(dim=2)
    torch.testing.assert_close(mixed.head(frames).logits, plain.head(mean).logits)
    mixed.head(frames).logits.sum().backward()
    assert mixed.state_weights.grad is not None


@pytest.mark.parametrize("pooling", ["hybrid", "attentive", "mean"])
def test_every_pooling_answers_a_padded_batch_as_each_clip_alone(pooling: str) -> None:
    torch.manual_seed(0)
    config = MeralionSerConfig(encoder="none", input_dim=8, channels=16, pooling=pooling, frames="own")
    model = MeralionSer(config).eval()
    frames = torch.randn(2, 11, 8)
    with torch.no_grad():
        batch = model.head(frames, torch.tensor([11, 6])).logits
        alone = model.head(frames[1:, :6]).logits
    torch.testing.assert_close(batch[1:], alone, atol=1e-5, rtol=1e-5)


def test_focal_loss_is_the_papers() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])
    known = torch.ones(6, dtype=torch.bool)
    p = logits.softmax(dim=1)[torch.arange(6), labels]
    expected = ((1 - p) ** 2 * -p.log()).mean()
    found = categorical_loss(logits, labels, known, None, 0.0, 2.0)
    assert found is not None
    torch.testing.assert_close(found, expected)
    plain = categorical_loss(logits, labels, known, None, 0.0)
    assert plain is not None
    torch.testing.assert_close(plain, F.cross_entropy(logits, labels))


def test_remembered_batches_give_the_ccc_and_the_gradient_of_the_whole() -> None:
    torch.manual_seed(0)
    predicted, truth = torch.rand(8, 3, dtype=torch.float64), torch.rand(8, 3, dtype=torch.float64)
    everything = HybridMasks(torch.ones(8, dtype=torch.bool), torch.ones(8, 3, dtype=torch.bool))
    only_dimensions = HybridWeights(category=0.0, dimension=1.0)
    whole = predicted.clone().requires_grad_()
    logits = torch.zeros(8, 2, dtype=torch.float64)
    targets = HybridTargets(torch.zeros(8, dtype=torch.long), truth)
    loss = hybrid_loss(logits, whole, targets, everything, only_dimensions)
    loss.total.backward()

    memory = ConcordanceMemory(3)
    for start in range(0, 8, 2):
        rows = slice(start, start + 2)
        part = predicted[rows].clone().requires_grad_()
        last = hybrid_loss(
            logits[rows],
            part,
            HybridTargets(targets.categories[rows], truth[rows]),
            HybridMasks(everything.categories[rows], everything.dimensions[rows]),
            only_dimensions,
            memory,
        )
    last.total.backward()
    torch.testing.assert_close(last.total.detach(), loss.total.detach())
    assert whole.grad is not None
    assert part.grad is not None
    torch.testing.assert_close(part.grad, 4 * whole.grad[6:])


def some_clips(count: int = 12) -> LabelledFrames:
    rng = np.random.default_rng(0)
    return LabelledFrames(
        tuple(f"c{i}" for i in range(count)),
        tuple(torch.from_numpy(rng.normal(size=(6, 4)).astype(np.float32)) for _ in range(count)),
        torch.tensor([0] * (count - 2) + [1, 1]),
        torch.full((count, 3), 0.5),
        sources=("a",) * (count - 3) + ("b",) * 3,
    )


@pytest.mark.parametrize(("sampling", "rare"), [("class", {10, 11}), ("source", {9, 10, 11})])
def test_balanced_sampling_draws_the_rare_as_often(sampling: str, rare: set[int]) -> None:
    rng = np.random.default_rng(0)
    drawn = [
        i for _ in range(200) for b in epoch_batches(some_clips(), 4, 6, rng, sampling) for i in b.indices
    ]
    assert len(drawn) == 200 * 12
    assert abs(sum(i in rare for i in drawn) / len(drawn) - 0.5) < 0.03


@dataclass(frozen=True)
class Stub:
    """One of several processes: ``everywhere`` is what each of them puts on the wire."""

    process_index: int
    num_processes: int
    everywhere: Callable[[Tensor], Tensor]

    def gather(self, own: Tensor) -> Tensor:
        """What all have sent, one after another; its own part must be what it sends."""
        gathered = self.everywhere(own)
        share = len(gathered) // self.num_processes
        assert torch.equal(gathered[self.process_index * share : (self.process_index + 1) * share], own)
        return gathered


@pytest.mark.parametrize("clips", [2, 5, 8])
def test_the_gradients_of_several_processes_add_up_to_that_of_one(clips: int) -> None:
    """Class weights and concordance are taken over the whole batch, whoever answered which clip."""
    rated = replace(some_clips(clips), dimensions=torch.rand(clips, 3, generator=torch.manual_seed(1)))
    (batch,) = epoch_batches(rated, 8, 6, np.random.default_rng(0))
    processes = 3
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 2 + 3).double()
    weights = HybridWeights(torch.tensor([0.5, 2.0]), 1.0, 0.5, 0.1)

    def loss_of(answers: Tensor) -> Tensor:
        return hybrid_loss(answers[:, :2], answers[:, 2:], batch.targets, batch.masks, weights).total

    frames = batch.frames.mean(dim=1).double()
    alone = loss_of(network(frames))
    alone.backward()
    wanted = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    crew = [Stub(p, processes, lambda own: own) for p in range(processes)]
    answered = [network(frames[share_of(batch, stub)]) for stub in crew]
    most = max(1, -(-clips // processes))
    wire = torch.zeros(processes * most, 5, dtype=torch.float64)
    for p, rows in enumerate(answered):
        wire[p * most : p * most + len(rows)] = rows.detach()
    for p in range(processes):
        whole = answers_of_all(answered[p], clips, Stub(p, processes, lambda own: wire))
        loss = loss_of(whole)
        assert float(loss.detach()) == pytest.approx(float(alone.detach()), rel=1e-12)
        loss.backward()
    for found, want in zip(network.parameters(), wanted, strict=True):
        assert torch.allclose(found.grad, want, rtol=1e-9, atol=1e-12)


def test_an_epoch_takes_clips_by_their_views() -> None:
    clips = some_clips(4)
    views = tuple((torch.full((5, 4), 1.0), torch.full((7, 4), 2.0)) for _ in range(4))
    rng = np.random.default_rng(0)
    seen = {len(f) for _ in range(30) for f in replace(clips, views=views).taken(rng).frames}
    assert seen == {5, 6, 7}
    assert clips.taken(rng) is clips


def test_views_are_the_same_every_time_and_change_speed_and_noise(tmp_path: Path) -> None:
    import soundfile

    tone = np.sin(np.arange(16000) / 10).astype(np.float32)
    takes = AudioViews(12)(tone, "some hash")
    assert {len(t) for t in takes} == {round(16000 / s) for s in (0.9, 1.0, 1.1)}
    for take, again, other in zip(
        takes, AudioViews(12)(tone, "some hash"), AudioViews(12)(tone, "other"), strict=True
    ):
        np.testing.assert_array_equal(take, again)
        assert len(take) != len(other) or not np.array_equal(take, other)
    same_speed = next(t for t in takes if len(t) == 16000)
    snr = 10 * np.log10(np.mean(tone**2) / np.mean((same_speed - tone) ** 2))
    assert 5 <= snr <= 20
    soundfile.write(tmp_path / "hum.wav", np.full(8000, 0.25) * (-1.0) ** np.arange(8000), 16000)
    hummed = next(t for t in AudioViews(12, noise_folder=str(tmp_path))(tone, "h") if len(t) == 16000)
    noise = hummed - tone
    assert np.abs(np.abs(noise) - np.abs(noise).mean()).max() < 1e-3


def tone_examples(count: int, soft: bool = False) -> Examples:
    """Tones whose pitch tells the class and the arousal."""
    classes = np.arange(count) % 2
    audio = [
        np.sin(2 * np.pi * (300 + 900 * c) * np.arange(9600) / 16000).astype(np.float32) * 0.3
        for c in classes
    ]
    names = tuple(f"clip-{i}" for i in range(count))
    clips = Clips(names, names, np.full(count, 0.6), ("en",) * count, lambda i: audio[i])
    dimensions = np.stack([np.full(count, np.nan), 0.3 + 0.4 * classes, np.full(count, np.nan)], axis=1)
    shares = np.stack([1 - 0.8 * classes, 0.8 * classes], axis=1) + np.array([0.0, 0.0])
    shares[:, 0] = 1 - shares[:, 1]
    return Examples(
        clips, tuple(LABELS[c] for c in classes), dimensions, ("p/a",) * count, shares if soft else None
    )


LOGMEL: dict[str, Any] = {
    "encoder": "logmel", "frame_stack": 4, "channels": 16, "epochs": 3, "batch": 8, "head_lr": 3e-3, "dev": "train",
    "average": 1, "mixup": 0.0,
}  # fmt: skip


def context(folder: Path, **fields: Any) -> FitContext:
    return FitContext(labels=LABELS, dimensions=True, seed=0, workdir=folder, **fields)


@pytest.mark.parametrize(
    "settings",
    [
        {"views": 1},
        {"precision": "bf16"},
        {"focal": 2.0},
        {"soft_labels": True},
        {"concordance_steps": 2},
        {"sampling": "class"},
        {"pooling": "attentive"},
    ],
    ids=lambda s: next(iter(s)),
)
def test_each_option_trains_repeats_itself_and_changes_the_answer(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    def probabilities(folder: str, **options: Any) -> Any:
        predictor = MeralionSerPredictor(**(LOGMEL | options))
        examples = tone_examples(16, soft=True)
        predictor.fit(examples, tone_examples(0, soft=True), context(tmp_path / folder))
        return predictor.predict(examples.clips).probabilities

    plain, first = probabilities("plain"), probabilities("first", **settings)
    np.testing.assert_array_equal(first, probabilities("second", **settings))
    assert not np.array_equal(plain, first)


def test_matched_dimensions_have_the_truths_mean_and_spread_on_the_training_clips(tmp_path: Path) -> None:
    predictor = MeralionSerPredictor(**(LOGMEL | {"match_dimensions": True, "epochs": 6}))
    examples = tone_examples(16)
    predictor.fit(examples, tone_examples(0), context(tmp_path))
    predicted = predictor.predict(examples.clips).dimensions
    assert predicted is not None
    truth = examples.dimensions[:, 1]
    assert abs(predicted[:, 1].mean() - truth.mean()) < 0.02
    assert abs(predicted[:, 1].std() - truth.std()) < 0.02


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, max_source_positions=50
    )
    WhisperEncoder(config).save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=1).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("frames", ["own", "valid", "all"])
@pytest.mark.parametrize("epochs", [0, 1])
def test_the_papers_way_trains_from_log_mel(
    tmp_path: Path, whisper_folder: Path, frames: str, epochs: int
) -> None:
    settings = LOGMEL | {
        "encoder": "whisper", "frame_stack": 1, "frames": frames, "epochs": epochs, "lora_epochs": 2, "lora_rank": 2,
        "crop_seconds": 1.0, "checkpointing": True, "weights": Weights(whisper_folder, "hash"),
    }  # fmt: skip
    predictor = MeralionSerPredictor(**settings)
    examples = tone_examples(8)
    predictor.fit(examples, tone_examples(0), context(tmp_path))
    answers = predictor.predict(examples.clips)
    assert answers.notes["epochs"] == epochs + 2
    assert answers.notes["lora_parameters"] == 2 * 3 * 2 * (16 + 16)
    assert answers.probabilities is not None
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1.0)


def test_own_frames_from_audio_or_from_the_store_give_the_same_prefix(
    tmp_path: Path, whisper_folder: Path
) -> None:
    from adapters.transformers_encoder import TransformersEncoder

    weights, examples = Weights(whisper_folder, "hash"), tone_examples(6)
    stored = TransformersEncoder(weights, layers=[1])
    features = {name: stored.encode([examples.clips.read(i)])[0] for i, name in enumerate(examples.clips.ids)}
    common = LOGMEL | {"encoder": "whisper", "frame_stack": 1, "layer": 2, "weights": weights, "epochs": 2}
    found = []
    for settings, given in (({"stored_layer": 1}, features), ({}, None)):
        predictor = MeralionSerPredictor(**(common | settings))
        predictor.fit(examples, tone_examples(0), context(tmp_path / str(len(found)), features=given))
        found.append(predictor.predict(examples.clips).probabilities)
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)


def test_a_kept_network_on_another_encoder_answers_as_it_was_trained(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

    from adapters.meralion_ser import TrainedSer
    from adapters.transformers_encoder import TransformersEncoder

    torch.manual_seed(0)
    folder, kept = tmp_path / "encoder", tmp_path / "kept"
    AutoModel.from_config(AutoConfig.for_model("wavlm", **SIZES)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    weights, examples = Weights(folder, "hash"), tone_examples(6)
    stored = TransformersEncoder(weights, layers=[1])
    features = {name: stored.encode([examples.clips.read(i)])[0] for i, name in enumerate(examples.clips.ids)}
    settings = {
        "encoder": "backbone",
        "frame_stack": 1,
        "layer": 2,
        "stored_layer": 1,
        "lora_rank": 2,
        "lora_epochs": 1,
    }
    predictor = MeralionSerPredictor(**(LOGMEL | settings), weights=weights)
    predictor.fit(examples, tone_examples(0), context(tmp_path / "fit", features=features))
    predictor.save(kept)
    again = TrainedSer(weights=Weights(kept, "hash"))
    again.fit(tone_examples(0), tone_examples(0), context(tmp_path / "none"))
    found, expected = (
        again.predict(examples.clips).probabilities,
        predictor.predict(examples.clips).probabilities,
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
