"""Released classifiers of every architecture by a card alone: equal to transformers' own, whatever they share a batch with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from adapters.transformers_classifier import TransformersClassifier, TransformersRegressor
from bench.cards.registry import load_system
from bench.errors import CannotRun, UsageError
from bench.execution.contract import check_system
from bench.protocols import Answers, Clips, Examples, FitContext, Predictor, Weights
from tests.classifier_folders import ARCHITECTURES, write_folder, write_two_layers

FOUR = ("neutral", "happy", "sad", "angry")
NAMES = {"ang": "angry", "neu": "neutral"}
HEARD = ("wav2vec2", "hubert", "wavlm", "w2v-bert", "whisper", "ast")
"""Architectures that the whole contract is tried on."""


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng([seed, samples]).standard_normal(samples)).astype(np.float32)


WAVES = [noise(n, seed) for seed, n in enumerate((8_000, 5_003, 12_345, 900))]


def clips_of(*waves: NDArray[np.float32]) -> Clips:
    ids = tuple(map(str, range(len(waves))))
    seconds = np.array([len(w) / 16_000 for w in waves])
    return Clips(ids, ids, seconds, ("en",) * len(waves), lambda i: waves[i])


NOTHING = Examples(clips_of(), labels=(), dimensions=np.zeros((0, 3)), speakers=())


def answers(
    system: Predictor, waves: Sequence[NDArray[np.float32]], labels: tuple[str, ...] = FOUR
) -> Answers:
    system.fit(NOTHING, NOTHING, FitContext(labels=labels, dimensions=True, seed=0, workdir=Path()))
    return system.predict(clips_of(*waves))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("released")
    for name in ARCHITECTURES:
        write_folder(name, root / name)
    return root


def released(folders: Path, name: str, **settings: Any) -> TransformersClassifier:
    return TransformersClassifier(weights=Weights(folders / name, "x"), **{"labels": NAMES, **settings})


def of_transformers(folder: Path, wave: NDArray[np.float32]) -> NDArray[np.float64]:
    """What transformers' own classes give a clip, as its pipeline would call them: (outputs,) logits."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder).eval()
    inputs = extractor(wave, sampling_rate=16_000, return_tensors="pt")
    inputs.pop("attention_mask", None)
    with torch.no_grad():
        logits: NDArray[np.float64] = model(**inputs).logits[0].double().numpy()
    return logits


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_answers_as_transformers_does_alone_and_in_company(folders: Path, name: str) -> None:
    alone = answers(released(folders, name), WAVES)
    together = answers(released(folders, name, batch=4), WAVES)
    assert alone.statuses == ("ok",) * 4
    assert alone.probabilities is not None
    assert together.probabilities is not None
    np.testing.assert_allclose(together.probabilities, alone.probabilities, atol=1e-5)
    angry, neutral, happy = softmax(of_transformers(folders / name, WAVES[0]))
    np.testing.assert_allclose(alone.probabilities[0], [neutral, happy, 0.0, angry], atol=1e-5)
    assert np.ptp(alone.probabilities, axis=0).max() > 1e-4, "it hears the clips"


@pytest.mark.parametrize("name", HEARD)
def test_a_card_of_few_lines_keeps_the_contract(folders: Path, name: str) -> None:
    card = folders / f"{name}.yaml"
    card.write_text(
        f"name: {name}-released\nfamily: trained\ntrack: released\npackages: [torch, transformers]\n"
        "adapter: adapters.transformers_classifier:TransformersClassifier\n"
        f"params: {{labels: {{ang: angry, neu: neutral}}}}\nweights: {{local: {name}}}\nseeds: false\n"
    )
    report = check_system(load_system(str(card)))
    assert [(c.name, c.seen) for c in report.checks if not c.passed] == []


def test_long_clips_are_the_mean_of_their_windows(folders: Path) -> None:
    long = noise(40_000)
    parts = [of_transformers(folders / "hubert", part) for part in np.array_split(long, 3)]
    for average, expected in (
        ("probabilities", np.mean([softmax(p) for p in parts], axis=0)),
        ("logits", softmax(np.mean(parts, axis=0))),
    ):
        got = answers(released(folders, "hubert", average=average, window_seconds=1.0), [long])
        assert got.probabilities is not None
        np.testing.assert_allclose(
            got.probabilities[0], [expected[1], expected[2], 0.0, expected[0]], atol=1e-5
        )
        assert got.notes["windows"] == f"mean of {average}"
    # Whisper's window is its own: two seconds here.
    halves = [of_transformers(folders / "whisper", part) for part in np.array_split(long, 2)]
    got = answers(released(folders, "whisper"), [long])
    assert got.probabilities is not None
    np.testing.assert_allclose(got.probabilities[0, 3], np.mean([softmax(h)[0] for h in halves]), atol=1e-5)


def test_whisper_on_a_clips_own_frames_is_whisper_where_they_fill_the_window(folders: Path) -> None:
    waves = [noise(32_000), noise(9_000)]
    padded, own = (
        answers(released(folders, "whisper", input=x), waves).probabilities for x in ("30s", "own")
    )
    assert padded is not None
    assert own is not None
    np.testing.assert_allclose(own[0], padded[0], atol=1e-5)
    assert np.abs(own[1] - padded[1]).max() > 1e-3, "less silence is pooled"


def test_a_weighted_sum_of_whispers_layers_is_taken_on_own_frames_too(tmp_path: Path) -> None:
    write_folder("whisper", tmp_path / "whisper", use_weighted_layer_sum=True)
    padded, own = (
        answers(released(tmp_path, "whisper", input=x), [noise(32_000)]).probabilities for x in ("30s", "own")
    )
    assert padded is not None
    assert own is not None
    np.testing.assert_allclose(own, padded, atol=1e-5)


def test_a_clip_without_samples_fails_and_the_others_are_answered(folders: Path) -> None:
    got = answers(released(folders, "hubert"), [WAVES[0], noise(0)])
    assert got.statuses == ("ok", "failed")
    assert got.labels[1] is None
    assert got.notes["failures"] == {"the clip has no samples": 1}


def with_outputs(folder: Path, *names: str, **config: Any) -> Weights:
    """A released network whose outputs have other names (its numbers are the same)."""
    return Weights(write_folder("hubert", folder, names, **config), "x")


def test_a_class_that_is_not_on_offer_is_left_out_or_is_a_wrong_answer(tmp_path: Path) -> None:
    weights = with_outputs(tmp_path, "sad", "other", "happy")
    best = int(of_transformers(tmp_path, WAVES[0]).argmax())
    names = {0: "sad", 1: "other", 2: "happy"}
    ignored = {"other": None}
    for outside in ("masked", "wrong"):
        got = answers(
            TransformersClassifier(weights=weights, labels=ignored, outside=outside),
            WAVES[:1],
            ("sad", "angry"),
        )  # type: ignore[arg-type]
        assert got.probabilities is not None
        np.testing.assert_allclose(got.probabilities[0], [1, 0])
        assert got.labels == (("sad",) if outside == "masked" or names[best] == "sad" else (None,))
        assert got.notes["classes_left_out"] == ["other", "happy"]
        assert got.notes["classes"] == {"sad": "sad", "other": "ignored", "happy": "happy"}
        assert got.notes["outside"] == outside
    with pytest.raises(CannotRun, match="none of the labels on offer: fearful"):
        answers(TransformersClassifier(weights=weights, labels=ignored), WAVES[:1], ("fearful",))


def test_a_joint_head_gives_classes_and_dimensions_on_the_cards_scale(tmp_path: Path) -> None:
    weights = with_outputs(tmp_path, "neutral", "Valence", "act", "happy")
    logits = of_transformers(tmp_path, WAVES[0])
    system = TransformersClassifier(weights=weights, dimensions={"arousal": "act"}, scale={"valence": [-50, 50], "arousal": [-100, 100]})  # fmt: skip
    got = answers(system, WAVES[:1])
    assert got.probabilities is not None
    assert got.dimensions is not None
    np.testing.assert_allclose(got.probabilities[0, :2], softmax(logits[[0, 3]]), atol=1e-5)
    np.testing.assert_allclose(
        got.dimensions[0], [(logits[1] + 50) / 100, (logits[2] + 100) / 200, np.nan], atol=1e-5
    )
    # Beyond the scale's ends is its end.
    narrow = answers(
        TransformersClassifier(weights=weights, dimensions={"arousal": 2}, scale=[90, 91]), WAVES[:1]
    )
    assert narrow.dimensions is not None
    assert narrow.dimensions[0, :2].tolist() == [0.0, 0.0]


def test_several_labels_at_once_are_shares_of_their_own_probabilities(tmp_path: Path) -> None:
    weights = with_outputs(tmp_path, "neutral", "happy", "sad", problem_type="multi_label_classification")
    yes = 1 / (1 + np.exp(-of_transformers(tmp_path, WAVES[0])))
    got = answers(TransformersClassifier(weights=weights), WAVES[:1])
    assert got.probabilities is not None
    np.testing.assert_allclose(got.probabilities[0, :3], yes / yes.sum(), atol=1e-5)


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_layers(tmp_path_factory.mktemp("two") / "msp-dim")


def test_a_two_layer_head_is_read_as_it_was_released(two_layers: Path) -> None:
    """Written anew from audEERING's published class: mean over frames, dense, tanh, out_proj; arousal, dominance, valence."""
    from safetensors.torch import load_file

    tensors = load_file(two_layers / "model.safetensors")
    backbone = transformers.Wav2Vec2Model.from_pretrained(two_layers).eval()
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(two_layers)
    with torch.no_grad():
        frames = backbone(extractor(WAVES[0], sampling_rate=16_000, return_tensors="pt").input_values)[0]
        hidden = torch.tanh(
            frames.mean(1) @ tensors["classifier.dense.weight"].T + tensors["classifier.dense.bias"]
        )
        out = (hidden @ tensors["classifier.out_proj.weight"].T + tensors["classifier.out_proj.bias"])[0]
    arousal, dominance, valence = ((out + 10) / 20).tolist()
    system = TransformersRegressor(weights=Weights(two_layers, "x"), scale=[-10, 10])
    got = answers(system, WAVES)
    assert got.dimensions is not None
    assert got.probabilities is None
    assert got.labels == (None,) * 4
    np.testing.assert_allclose(got.dimensions[0], [valence, arousal, dominance], atol=1e-5)
    again = answers(TransformersRegressor(weights=Weights(two_layers, "x"), scale=[-10, 10], batch=4), WAVES)
    assert again.dimensions is not None
    np.testing.assert_allclose(again.dimensions, got.dimensions, atol=1e-5)


def test_the_same_head_over_classes_is_a_classifier(tmp_path: Path) -> None:
    write_two_layers(tmp_path, ("angry", "happy", "sad"), problem_type="single_label_classification")
    got = answers(TransformersClassifier(weights=Weights(tmp_path, "x")), WAVES)
    assert got.probabilities is not None
    assert (got.probabilities[:, [1, 2, 3]] > 0).all()
    with pytest.raises(UsageError, match=r"not dimensions alone.*TransformersClassifier"):
        answers(TransformersRegressor(weights=Weights(tmp_path, "x")), WAVES)


def test_a_regressor_keeps_the_contract_without_a_label(two_layers: Path) -> None:
    card = two_layers.parent / "msp.yaml"
    card.write_text(
        "name: msp-dim-released\nfamily: trained\ntrack: released\npackages: [torch, transformers]\n"
        "adapter: adapters.transformers_classifier:TransformersRegressor\n"
        "params: {scale: [-10, 10]}\nweights: {local: msp-dim}\nseeds: false\n"
    )
    report = check_system(load_system(str(card)))
    assert [(c.name, c.seen) for c in report.checks if not c.passed] == []
    assert "dimensions alone" in next(c.seen for c in report.checks if c.name == "labels")


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_two_layer_head_loads_whole_or_not_at_all(tmp_path: Path, form: str) -> None:
    from safetensors.torch import load_file, save_file

    write_two_layers(tmp_path)
    whole = load_file(tmp_path / "model.safetensors")

    def save(tensors: dict[str, torch.Tensor]) -> None:
        if form == "bin":
            (tmp_path / "model.safetensors").unlink(missing_ok=True)
            torch.save(tensors, tmp_path / "pytorch_model.bin")
        else:
            save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})

    def answer() -> Answers:
        return answers(TransformersRegressor(weights=Weights(tmp_path, "x"), scale=[0, 1]), WAVES[:1])

    save(whole)
    assert answer().statuses == ("ok",)
    for tensors, message in (
        (
            {k: v for k, v in whole.items() if k != "classifier.out_proj.bias"},
            "head lacks classifier.out_proj.bias",
        ),
        ({k: v for k, v in whole.items() if "layers.1.attention.k_proj.weight" not in k}, "lack 1 tensors"),
        (
            whole | {"classifier.third.weight": torch.zeros(3)},
            "belong neither .* classifier.third.weight among them",
        ),
        (
            whole | {"classifier.out_proj.weight": torch.zeros(5, 16)},
            "out_proj.weight is 5 × 16; its config.json makes it 3 × 16",
        ),
    ):
        save(tensors)
        with pytest.raises(CannotRun, match=message):
            answer()


def test_what_is_no_such_folder_is_refused_in_words(folders: Path, tmp_path: Path) -> None:
    def refused(kind: type[Exception], match: str, folder: Path, **settings: Any) -> None:
        with pytest.raises(kind, match=match):
            answers(TransformersClassifier(weights=Weights(folder, "x"), **settings), WAVES[:1])

    refused(CannotRun, "needs config.json and preprocessor_config.json", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "preprocessor_config.json").write_text(
        (folders / "hubert" / "preprocessor_config.json").read_text()
    )
    refused(CannotRun, "'bert' model; this adapter knows whisper", tmp_path)
    refused(UsageError, "takes windows of its own alone", folders / "ast", input="own")
    refused(UsageError, "hubert network takes own", folders / "hubert", input="30s")
    refused(UsageError, "did you mean 'logits'", folders / "hubert", average="logit")
    refused(UsageError, "window_seconds is 0", folders / "hubert", window_seconds=0)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(
        write_folder("whisper", tmp_path / "whisper")
    )
    refused(CannotRun, "window is 32000 and its front end's 480000", tmp_path / "whisper")
