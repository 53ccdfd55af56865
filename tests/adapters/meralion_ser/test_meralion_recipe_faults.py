"""What a recipe can get wrong is said before training; what it asks for is what is trained, judged and answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from adapters.meralion_ser import MeralionSerPredictor, TrainedSer, hybrid_loss
from adapters.meralion_ser import predictor as predictor_module
from adapters.meralion_ser.network.backbone import LowRank, add_lora, blocks, set_dropout
from adapters.meralion_ser.network.frames import stored_frames
from adapters.meralion_ser.network.model import MeralionSerOutput
from adapters.meralion_ser.training.batches import LabelledFrames, epoch_batches
from adapters.meralion_ser.training.loop import TrainingRun
from adapters.meralion_ser.training.losses import HybridMasks, HybridTargets, HybridWeights
from adapters.meralion_ser.training.recipe import Recipe
from adapters.meralion_ser.training.session import TrainingSession
from adapters.meralion_ser.training.stages import FrameNetwork
from adapters.transformers_encoder import TransformersEncoder
from bench.errors import DataError, UsageError
from bench.protocols import Clips, Examples, FitContext, Weights
from tests.adapters.meralion_ser.test_meralion_options import LABELS, LOGMEL, SIZES, tone_examples


def context(folder: Path, **fields: Any) -> FitContext:
    return FitContext(**({"labels": LABELS, "dimensions": True, "seed": 0, "workdir": folder} | fields))


def rated(count: int, **known: float) -> Examples:
    """Tones of two pitches; of the named dimensions (or all) the ratings go with the pitch."""
    examples = tone_examples(count)
    truth = (0.3 + 0.4 * (np.arange(count) % 2))[:, None].repeat(3, axis=1)
    names = ("valence", "arousal", "dominance")
    for column, name in enumerate(names):
        if known and name not in known:
            truth[:, column] = np.nan
    return replace(examples, dimensions=truth)


def unlabelled(examples: Examples) -> Examples:
    return replace(examples, labels=(None,) * len(examples))


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=32, max_source_positions=50
    )
    WhisperEncoder(config).save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=1).save_pretrained(folder)
    return folder


def whisper(folder: Path, **settings: Any) -> MeralionSerPredictor:
    own = {"encoder": "whisper", "frame_stack": 1, "weights": Weights(folder, "hash")}
    return MeralionSerPredictor(**(LOGMEL | own | settings))


def stored(folder: Path, clips: Clips, **params: Any) -> dict[str, Any]:
    encoder = TransformersEncoder(Weights(folder, "hash"), **params)
    return {name: encoder.encode([clips.read(i)])[0] for i, name in enumerate(clips.ids)}


@pytest.mark.parametrize("layers", [[2], [-2]])
def test_stored_features_of_another_layer_are_refused_before_training(
    tmp_path: Path, whisper_folder: Path, layers: list[int]
) -> None:
    examples = tone_examples(8)
    features = stored(whisper_folder, examples.clips, layers=layers)
    given = context(tmp_path, features=features, feature_params={"input": "own", "layers": layers})
    message = r"stored_layer is 1, but the stored features are those of layer 2 \(features.params.layers: "
    with pytest.raises(UsageError, match=message):
        whisper(whisper_folder, layer=3, stored_layer=1).fit(examples, tone_examples(0), given)
    right = whisper(whisper_folder, layer=3, stored_layer=2)
    right.fit(examples, tone_examples(0), given)
    assert right.notes["training_clips"] == 8


def test_a_stored_layer_above_the_encoders_last_is_refused(tmp_path: Path, whisper_folder: Path) -> None:
    examples = tone_examples(4)
    given = context(tmp_path, features=stored(whisper_folder, examples.clips, layers=[3]))
    with pytest.raises(UsageError, match="stored_layer 7 lies above layer 3"):
        whisper(whisper_folder, stored_layer=7).fit(examples, tone_examples(0), given)


def test_views_hear_through_the_window_that_the_stored_frames_were_made_in(
    tmp_path: Path, whisper_folder: Path
) -> None:
    examples = tone_examples(4)
    params = {"input": "30s", "layers": [2]}
    features = stored(whisper_folder, examples.clips, **params)
    predictor = whisper(whisper_folder, layer=3, stored_layer=2, views=1)
    predictor.fit(examples, tone_examples(0), context(tmp_path, features=features, feature_params=params))
    unchanged = predictor._front_end()(examples.clips.read(0))
    torch.testing.assert_close(unchanged, stored_frames(features["clip-0"]), rtol=0, atol=0)


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    recipe = MeralionSerPredictor(**(LOGMEL | {"head_lr": "6e-4", "precision": False}))._recipe
    assert recipe.head_lr == 6e-4
    assert recipe.precision == "no"  # a bare no is false in YAML


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("head_lr", -1.0, "a number above 0"),
        ("head_lr", 0, "a number above 0"),
        ("head_lr", "quick", "a number above 0"),
        ("head_lr", float("nan"), "a number above 0"),
        ("lora_lr", float("inf"), "a number above 0"),
        ("head_decay", -1e-3, "a number from 0 on"),
        ("second_stage", None, "a number from 0 on"),
        ("warmup", 5.0, "a number from 0 to 1"),
        ("category_weight", -1, "a number from 0 on"),
        ("dimension_weight", "much", "a number from 0 on"),
        ("label_smoothing", 1.5, "a number from 0 to below 1"),
        ("mixup", 2, "a number from 0 to 1"),
        ("mixup", True, "a number from 0 to 1"),
        ("mixup_alpha", 10**400, "a number from 0 on"),
        ("mixup_alpha", -0.3, "a number from 0 on"),
        ("crop_seconds", -3, "a number above 0"),
        ("focal", -2.0, "a number from 0 on"),
        ("batch", 2.5, "a whole number from 1 on"),
        ("batch", True, "a whole number from 1 on"),
        ("epochs", "5", "a whole number from 0 on"),
        ("lora_epochs", None, "a whole number from 0 on"),
        ("average", 0, "a whole number from 1 on"),
        ("patience", 1.0, "a whole number from 1 on"),
        ("concordance_steps", -1, "a whole number from 0 on"),
        ("views", 0.5, "a whole number from 0 on"),
        ("balanced", "false", "true or false"),
        ("soft_labels", 1, "true or false"),
        ("checkpointing", None, "true or false"),
        ("match_dimensions", "off", "true or false"),
        ("noise_folder", 7, "the path of a folder, or null"),
        ("layer", -1, "a whole number from 0 on, or null"),
        ("stored_layer", "2", "a whole number from 0 on, or null"),
        ("frame_stack", 0, "a whole number from 1 on"),
        ("channels", "16", "a whole number from 1 on"),
        ("channels_per_group", 0, "a whole number from 1 on, or null"),
        ("standardise", "nope", "true or false"),
        ("dropout", 2, "a number from 0 to below 1"),
        ("embedding_dropout", -0.1, "a number from 0 to below 1"),
        ("lora_rank", 1.5, "a whole number from 0 on"),
        ("lora_alpha", 0, "a number above 0"),
        ("lora_dropout", 1, "a number from 0 to below 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(name: str, value: object, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        MeralionSerPredictor(**(LOGMEL | {name: value}))
    assert str(refused.value) == f"{name} is {value!r}; expected {expected}"


@pytest.mark.parametrize(
    "name", ["dev", "sampling", "precision", "pooling", "frames", "init_scheme", "encoder"]
)
def test_a_name_that_is_none_of_the_known_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is 'max'; use one of "):
        MeralionSerPredictor(**(LOGMEL | {name: "max"}))


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = {"channels": "16", "mixup": 2, "batch": 2.5, "epoch": 3}
    with pytest.raises(UsageError) as refused:
        MeralionSerPredictor(**(LOGMEL | wrong))
    faults = str(refused.value).split("; ")
    assert faults[0] == "no parameter 'epoch'"
    assert [part for part in faults if " is " in part] == ["channels is '16'", "batch is 2.5", "mixup is 2"]


def test_nothing_to_weigh_is_refused() -> None:
    with pytest.raises(UsageError, match="category_weight and dimension_weight are both 0"):
        Recipe(category_weight=0, dimension_weight=0)


@pytest.mark.parametrize("seed", [-1, 2**70])
def test_a_seed_that_is_none_is_refused(tmp_path: Path, seed: int) -> None:
    with pytest.raises(UsageError, match=f"seed is {seed}; expected a whole number from 0"):
        MeralionSerPredictor(**LOGMEL).fit(tone_examples(4), tone_examples(0), context(tmp_path, seed=seed))


def test_without_a_category_term_epochs_are_chosen_by_the_concordance(
    tmp_path: Path,
) -> None:
    """The classifier that nobody trains says nothing about an epoch, whatever labels the dev clips carry."""

    def dev_losses(folder: str, dev: Examples) -> list[float]:
        settings = {"category_weight": 0, "dev": "select", "epochs": 4, "patience": 4}
        predictor = MeralionSerPredictor(**(LOGMEL | settings))
        predictor.fit(rated(16), dev, context(tmp_path / folder))
        assert predictor.notes["chosen_on_dev"] is True
        return predictor._session.dev_losses

    found = dev_losses("labelled", rated(8))
    assert found == dev_losses("unlabelled", unlabelled(rated(8)))
    assert all(0.0 < loss < 2.0 for loss in found)


def test_dev_clips_without_what_is_trained_choose_nothing(tmp_path: Path) -> None:
    dev = replace(rated(8), dimensions=np.full((8, 3), np.nan))
    predictor = MeralionSerPredictor(
        **(LOGMEL | {"category_weight": 0, "dev": "select", "epochs": 3, "patience": 1})
    )
    predictor.fit(rated(16), dev, context(tmp_path))
    assert predictor.notes["chosen_on_dev"] is False
    assert predictor.notes["epochs"] == 3


def test_concordance_of_one_clip_is_refused_and_remembered_batches_make_it_one_to_learn_from(
    tmp_path: Path,
) -> None:
    alone = LOGMEL | {"category_weight": 0, "batch": 1}
    with pytest.raises(UsageError, match="batch is 1 and only dimensions are trained"):
        MeralionSerPredictor(**alone).fit(rated(8), tone_examples(0), context(tmp_path / "refused"))
    with pytest.raises(UsageError, match="batch is 1 and only dimensions are trained"):
        MeralionSerPredictor(**(LOGMEL | {"batch": 1})).fit(
            unlabelled(rated(8)), unlabelled(rated(0)), context(tmp_path / "also", labels=())
        )
    remembering = MeralionSerPredictor(**(alone | {"concordance_steps": 4}))
    remembering.fit(rated(8), tone_examples(0), context(tmp_path / "taken"))
    assert all(loss > 0 for loss in remembering._session.losses)
    both = MeralionSerPredictor(**(LOGMEL | {"batch": 1}))
    both.fit(rated(8), tone_examples(0), context(tmp_path / "both"))
    assert both.predict(tone_examples(2).clips).dimensions is None
    assert both.notes["dimensions_learned"] is False


def test_what_only_one_clip_or_no_term_tells_is_refused(tmp_path: Path) -> None:
    one = rated(8)
    one.dimensions[1:] = np.nan
    with pytest.raises(DataError, match="none has two different values among the training clips"):
        MeralionSerPredictor(**(LOGMEL | {"category_weight": 0})).fit(
            one, tone_examples(0), context(tmp_path)
        )
    with pytest.raises(DataError, match="dimension_weight is 0 and no training clip carries a category"):
        MeralionSerPredictor(**(LOGMEL | {"dimension_weight": 0})).fit(
            unlabelled(rated(8)), tone_examples(0), context(tmp_path)
        )


def test_a_dimension_that_no_training_clip_carries_is_not_answered(tmp_path: Path) -> None:
    predictor = MeralionSerPredictor(**LOGMEL)
    predictor.fit(rated(16, arousal=True), tone_examples(0), context(tmp_path / "fit"))
    answers = predictor.predict(tone_examples(4).clips)
    assert answers.dimensions is not None
    assert np.isnan(answers.dimensions).tolist() == [[True, False, True]] * 4
    assert answers.notes["dimensions_learned"] is True
    assert answers.notes["dimensions_without_answer"] == ["valence", "dominance"]
    predictor.save(tmp_path / "kept")
    from adapters.meralion_ser import MeralionSer

    assert MeralionSer.from_pretrained(tmp_path / "kept").config.learnt_dimensions == ["arousal"]


def test_after_mixed_precision_clips_are_answered_in_single_precision(tmp_path: Path) -> None:
    predictor = MeralionSerPredictor(**(LOGMEL | {"precision": "bf16"}))
    examples = rated(16)
    predictor.fit(examples, tone_examples(0), context(tmp_path / "fit"))
    predictor.save(tmp_path / "kept")
    kept = TrainedSer(weights=Weights(tmp_path / "kept", "hash"))
    kept.fit(tone_examples(0), tone_examples(0), context(tmp_path / "none"))
    found, expected = predictor.predict(examples.clips), kept.predict(examples.clips)
    assert found.probabilities is not None
    assert expected.probabilities is not None
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=0, atol=1e-6)
    assert found.dimensions is not None
    np.testing.assert_allclose(found.dimensions, expected.dimensions, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_lora_drops_inputs_of_the_low_rank_path_alone_and_only_while_training(kind: str) -> None:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    still = {"attention_dropout": 0.0, "hidden_dropout": 0.0, "activation_dropout": 0.0}
    model = AutoModel.from_config(AutoConfig.for_model(kind, **(SIZES | still))).train()
    add_lora(model, [2], 2, 16.0)
    linear = model.encoder.layers[1].attention.q_proj
    low_rank = linear.parametrizations.weight[0]
    assert isinstance(low_rank, LowRank)
    torch.nn.init.normal_(low_rank.lora_B)
    x = torch.randn(3, 9, 32)
    whole = linear(x)
    set_dropout(model, 0.5)
    torch.manual_seed(1)
    found = linear(x)
    torch.manual_seed(1)
    path = F.linear(F.linear(F.dropout(x, 0.5), low_rank.lora_A), low_rank.lora_B)
    frozen = F.linear(x, linear.parametrizations.weight.original, linear.bias)
    torch.testing.assert_close(found, frozen + low_rank.scale * path)
    assert not torch.allclose(found, whole)
    assert not torch.equal(
        blocks(model, x, None, first=1, last=2), blocks(model, x, None, first=1, last=2)
    )  # through the block too
    torch.testing.assert_close(linear.eval()(x), whole)


def test_lora_dropout_of_a_card_reaches_the_encoder_and_wavlm_says_that_it_cannot(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

    def fitted(kind: str, rate: float) -> MeralionSerPredictor:
        folder, examples = tmp_path / kind, tone_examples(6)
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(kind, **SIZES)).save_pretrained(folder)
        Wav2Vec2FeatureExtractor().save_pretrained(folder)
        settings = {
            "encoder": "backbone", "frame_stack": 1, "layer": 2, "stored_layer": 1, "lora_rank": 2, "lora_epochs": 1,
            "lora_dropout": rate,
        }  # fmt: skip
        predictor = MeralionSerPredictor(**(LOGMEL | settings), weights=Weights(folder, "hash"))
        features = stored(folder, examples.clips, layers=[1])
        predictor.fit(examples, tone_examples(0), context(tmp_path / f"{kind}-{rate}", features=features))
        return predictor

    for rate in (0.0, 0.3):
        found = [m.dropout for m in fitted("hubert", rate)._model.modules() if isinstance(m, LowRank)]
        assert found == [rate] * 3
    fitted("wavlm", 0.0)
    with pytest.raises(UsageError, match=r"lora_dropout is 0.3, which does not reach WavLM"):
        fitted("wavlm", 0.3)


@pytest.mark.parametrize("frames", ["own", "valid", "all"])
def test_a_short_clip_in_a_batch_is_heard_as_it_is_alone(
    tmp_path: Path, whisper_folder: Path, frames: str
) -> None:
    predictor = whisper(whisper_folder, frames=frames, epochs=0, lora_epochs=1, lora_rank=2)
    examples = tone_examples(4)
    predictor.fit(examples, tone_examples(0), context(tmp_path))
    waves = [np.sin(np.arange(n) / 9).astype(np.float32) * 0.3 for n in (14400, 14400, 14400, 3200)]
    clips = Clips(tuple("abcd"), tuple("abcd"), np.ones(4), ("en",) * 4, lambda i: waves[i])
    several = predictor._training_clips(
        Examples(clips, (LABELS[0],) * 4, np.full((4, 3), np.nan), ("p/a",) * 4)
    )
    batch = next(epoch_batches(several, 4, 3000, np.random.default_rng(0)))
    assert batch.lengths is not None
    row = batch.indices.index(3)
    predictor._model.eval()
    with torch.no_grad():
        together = predictor._network.forward(predictor._model, batch.frames, batch.lengths).logits[row]
        alone = predictor._network.forward(predictor._model, several.frames[3][None], None).logits[0]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_batches_end_in_zeros_where_the_padding_is_masked() -> None:
    frames = tuple(torch.full((n, 2), -1.0) for n in (8, 8, 2))
    clips = LabelledFrames(
        ("a", "b", "c"), frames, torch.zeros(3, dtype=torch.long), torch.full((3, 3), torch.nan)
    )
    for silence, expected in ((False, 0.0), (True, -1.5)):
        batch = next(epoch_batches(replace(clips, silence=silence), 3, 8, np.random.default_rng(0)))
        assert set(batch.frames[batch.indices.index(2), 2:].flatten().tolist()) == {expected}


def test_a_changed_noise_file_begins_a_new_fit(tmp_path: Path) -> None:
    import soundfile

    noises = tmp_path / "noises"
    noises.mkdir()

    def trained(folder: str, seed: int) -> bytes:
        noise = np.random.default_rng(seed).normal(scale=0.1, size=16000)
        soundfile.write(noises / "noise.wav", noise, 16000)
        settings = {"views": 1, "noise_folder": str(noises), "epochs": 2}
        predictor = MeralionSerPredictor(**(LOGMEL | settings))
        predictor.fit(rated(12), tone_examples(0), context(tmp_path / folder))
        probabilities = predictor.predict(tone_examples(2).clips).probabilities
        assert probabilities is not None
        return probabilities.tobytes()

    first = trained("again", 0)
    second = trained("again", 1)
    assert second == trained("fresh", 1) != first


def test_a_sure_clip_has_a_gradient_under_any_focal_exponent() -> None:
    for focal in (0.5, 1.0, 2.0):
        for smoothing in (0.0, 0.1):
            logits = torch.tensor([[100.0, -100.0], [0.2, 0.1]], requires_grad=True)
            everything = HybridMasks(torch.ones(2, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool))
            targets = HybridTargets(torch.tensor([0, 1]), torch.zeros(2, 3))
            weights = HybridWeights(None, 1.0, 0.5, smoothing, focal)
            loss = hybrid_loss(logits, torch.full((2, 3), 0.5), targets, everything, weights)
            loss.total.backward()
            assert logits.grad is not None
            assert bool(torch.isfinite(logits.grad).all())
            p = logits.detach().double().softmax(dim=1)
            smoothed = (1 - smoothing) * F.one_hot(targets.categories, 2) + smoothing / 2
            expected = -(smoothed * (1 - p) ** focal * logits.detach().double().log_softmax(dim=1)).sum() / 2
            assert float(loss.total.detach()) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(("frames", "head"), [("own", 10), ("valid", 10), ("all", 1500)])
def test_a_crop_lasts_as_long_in_the_heads_stage_as_in_loras(
    tmp_path: Path, whisper_folder: Path, monkeypatch: pytest.MonkeyPatch, frames: str, head: int
) -> None:
    """Log-mel frames are 10 ms apart, the encoder's 20; of a padded window that is pooled whole no part is taken."""
    learnt: list[TrainingRun] = []
    real = predictor_module.train

    def watched(run: TrainingRun, session: TrainingSession) -> TrainingSession:
        learnt.append(run)
        return real(run, session)

    monkeypatch.setattr(predictor_module, "train", watched)
    settings = {"frames": frames, "epochs": 1, "lora_epochs": 1, "lora_rank": 2, "crop_seconds": 0.2}
    whisper(whisper_folder, **settings).fit(tone_examples(4), tone_examples(0), context(tmp_path))
    assert [stage.longest for stage in learnt[0].stages] == [head, 20]


def test_epochs_in_mixed_precision_are_judged_as_clips_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.dtype] = []
    real = FrameNetwork.forward_from_top

    def watched(self: Any, network: Any, frames: Any, lengths: Any) -> MeralionSerOutput:
        answer = real(self, network, frames, lengths)
        if not network.training:
            alone = network.emotion_layer(torch.ones(1, network.emotion_layer.in_features))
            seen.append(alone.dtype)
        return answer

    monkeypatch.setattr(FrameNetwork, "forward_from_top", watched)
    predictor = MeralionSerPredictor(**(LOGMEL | {"precision": "bf16", "dev": "select", "epochs": 1}))
    predictor.fit(rated(8), rated(4), context(tmp_path))
    assert "_original_forward" not in vars(predictor._model)
    assert set(seen) == {torch.float32}
