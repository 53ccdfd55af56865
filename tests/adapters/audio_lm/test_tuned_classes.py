"""Voxtral and Audio Flamingo 3 tuned by their folder alone: the cached ear, the lessons, the training, what a server loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from adapters.audio_lm.requests.questions import messages
from adapters.audio_lm.tuning.budget import PROMPT_TOKENS, forecast
from adapters.audio_lm.tuning.classes import CLASSES, class_named
from adapters.audio_lm.tuning.lessons import Teacher
from adapters.audio_lm.tuning.loop import tune
from adapters.audio_lm.tuning.network import LessonBatch, TunedNetwork, load_model
from adapters.audio_lm.tuning.predictor import TunedAudioLM
from adapters.audio_lm.tuning.recipe import recipe_of
from adapters.audio_lm.tuning.served import LORA_FOLDER, lora_spec, write_served
from adapters.audio_lm.tuning.tower import AudioTower
from bench.cards.system import ServerSpec
from bench.errors import CannotRun, UsageError
from bench.execution.vllm_server import Serving
from bench.protocols import Clips, Examples, FitContext, Weights
from tests.adapters.audio_lm.tiny_classes import write_weights
from tests.adapters.audio_lm.tiny_tuned import LABELS, RECIPE, copy_of, taught, training

SERVED_WITH_LORA = [name for name, x in CLASSES.items() if x.lora_served]


@pytest.fixture(scope="module", params=SERVED_WITH_LORA)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp(request.param) / "model", request.param)


@pytest.fixture(scope="module")
def voxtral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("voxtral") / "model", "voxtral")


def wave(seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(7).normal(size=round(seconds * 16_000))).astype(np.float32)


def width(model: Path) -> int:
    return 512 if (model / "tekken.json").exists() else 128


def test_what_the_store_keeps_of_a_clip_is_what_the_whole_network_hears(model: Path) -> None:
    """transformers' own forward from log-mel, against rows encoded once and lessons put together here."""
    from transformers import WhisperFeatureExtractor

    (rows,) = AudioTower(weights=Weights(model, "x")).encode([wave(1.03)])
    network = TunedNetwork(model, recipe_of({"lora_rank": 4})).eval()
    assert rows.shape[2] == width(model)
    assert rows.shape[1] == 375 if width(model) == 512 else rows.shape[1] < 30
    assert network.width == rows.shape[2]
    lesson = Teacher(model, LABELS, recipe_of(RECIPE)).judged("sad", "en", rows.shape[1])
    with torch.inference_mode():
        ours = network.next_logits(LessonBatch.of([lesson], [torch.from_numpy(rows[0])], "cpu"))
    heard = WhisperFeatureExtractor.from_pretrained(model)(
        wave(1.03),
        sampling_rate=16_000,
        return_tensors="pt",
        return_attention_mask=True,
        padding="max_length",
    )
    masks = {} if width(model) == 512 else {"input_features_mask": heard["attention_mask"]}
    with torch.inference_mode():
        theirs = load_model(model, torch.float32)(
            input_ids=torch.tensor([lesson.prompt]), input_features=heard["input_features"], **masks
        ).logits[0, -1]
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours[0], theirs, atol=1e-4, rtol=1e-4)


def test_training_changes_projector_and_lora_alone_and_a_killed_one_ends_at_the_same_bytes(
    model: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"dev": "train", "epochs": 2, "train": taught(2, seed=1, width=width(model))}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = training(model, tmp_path / "whole", **settings)
    before = {name: p.clone() for name, p in whole.network.named_parameters()}
    expected = tune(whole, seed=3)
    for name, p in whole.network.named_parameters():
        learns = "multi_modal_projector" in name or ".lora_" in name
        assert torch.equal(p, before[name]) != learns, name

    def killed(done: float, total: float) -> None:
        if done > 1.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(training(model, tmp_path / "cut", progress=killed, **settings), seed=3)
    again = training(model, tmp_path / "cut", **settings)
    assert tune(again, seed=3).losses == expected.losses
    learnt = again.network.learnt()
    assert all(torch.equal(tensor, learnt[name]) for name, tensor in whole.network.learnt().items())


def test_the_served_folder_is_the_owners_with_the_trained_projector_and_a_lora_module_that_peft_reads(
    model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    clips = taught(2, seed=1, width=width(model))
    run = training(model, tmp_path, epochs=1, dev="train", train=clips)
    tune(run, seed=0)
    batch = LessonBatch.of([run.teacher.judged("sad", "en", len(clips.rows[0]))], [clips.rows[0]], "cpu")
    with torch.inference_mode():
        trained = run.network.eval().next_logits(batch)
    projector = {k: v.clone() for k, v in run.network.projector.named_parameters()}
    write_served(run.network, tmp_path / "served", lora_rank=4)
    for path in model.glob("*.safetensors"):
        own, theirs = load_file(tmp_path / "served" / path.name), load_file(path)
        assert own.keys() == theirs.keys()
        changed = {name for name in own if not torch.equal(own[name], theirs[name])}
        assert len(changed) == len(projector), path.name
        assert {
            name for name in own if "proj" in name and ("multi_modal" in name or "language_proj" in name)
        } == changed
    # Served like that: the folder, and peft's own reading of the module, whose names are those of vLLM's class.
    served = TunedNetwork(tmp_path / "served", recipe_of({"lora_rank": 0})).eval()
    with torch.inference_mode():
        without = served.next_logits(batch)
    assert not torch.allclose(without, trained, atol=1e-3)

    class AsVllmNamesIt(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.language_model = torch.nn.ModuleDict({"model": served.model.model.language_model})

    PeftModel.from_pretrained(AsVllmNamesIt(), tmp_path / "served" / LORA_FOLDER)
    with torch.inference_mode():
        torch.testing.assert_close(served.next_logits(batch), trained, atol=1e-4, rtol=1e-4)


def test_a_kept_voxtral_is_a_card_whose_server_loads_its_lora(
    voxtral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    ids = tuple(f"{label}-{i}" for label in LABELS for i in range(2))
    clips = Clips(ids, ids, np.ones(len(ids)), ("en",) * len(ids), lambda i: wave(1.0))
    labels = tuple(x.partition("-")[0] for x in ids)
    learnt = Examples(clips, labels, np.full((len(ids), 3), np.nan), ids)
    nobody = Examples(Clips((), (), np.zeros(0), (), wave), (), np.zeros((0, 3)), ())
    kept = dict(zip(ids, (x.numpy()[None] for x in taught(2, seed=1, width=512).rows), strict=True))
    context = FitContext(labels=LABELS, dimensions=False, seed=0, workdir=tmp_path, features=kept)
    settings: dict[str, Any] = {
        "weights": Weights(voxtral, "x"), "model": "m", "mode": "choice", "tuning": RECIPE | {"epochs": 1, "dev": "train"},
    }  # fmt: skip
    system = TunedAudioLM(**settings, model_type="voxtral", serve=ServerSpec(engine="vllm"))
    system.fit(learnt, nobody, context)
    assert system.save(tmp_path / "kept") == "adapters.audio_lm.model:AudioLanguageModel"
    spec = ServerSpec.model_validate(system.kept_as("mine")["serve"])
    serving = Serving(str(tmp_path / "kept"), "mine", None, spec)
    serving.require_lora()
    command = serving.command("python", 1)
    assert f"mine={tmp_path / 'kept' / LORA_FOLDER}" in command
    assert command[command.index("--served-model-name") + 1] == "mine-without-lora"
    with pytest.raises(CannotRun, match="holds a 'voxtral' model, and the card says model_type: qwen2_audio"):
        TunedAudioLM(**settings).fit(learnt, nobody, context)
    with pytest.raises(
        UsageError, match=r"serve\.lora: what is trained here is served as its class wants it"
    ):
        TunedAudioLM(**settings, serve=ServerSpec(engine="vllm", lora=spec.lora))


def test_voxtrals_turns_are_what_mistral_common_writes(voxtral: Path) -> None:
    """Known answer: mistral-common 1.13.1 on the same tekken.json, a clip of 3 s before the text."""
    teacher = Teacher(voxtral, LABELS, recipe_of(RECIPE))
    asked = messages("Hé [INST] 你", system=None, sounds=1, audio_first=True)
    before, after = teacher._words.around_audio(asked)
    assert before == (1, 3, 25)
    assert after == (136, 259, 233, 96, 155, 137, 142, 147, 148, 157, 96, 292, 253, 224, 4)
    assert teacher.answer_tokens("Sad") == (*(64 + byte for byte in b"Sad"), 2)
    assert teacher.audio_token == 24
    with pytest.raises(CannotRun, match="takes no system prompt beside audio; leave system_prompt out"):
        Teacher(voxtral, LABELS, recipe_of(RECIPE), system_prompt="Listen.").judged("sad", "en", 3)


def test_folders_that_cannot_be_tuned_or_served_are_told(voxtral: Path, tmp_path: Path) -> None:
    part = copy_of(voxtral, tmp_path / "part")
    (part / "consolidated.safetensors").unlink()
    network = TunedNetwork(part, recipe_of({"lora_rank": 4}))
    with pytest.raises(
        CannotRun,
        match=r"holds no consolidated\*\.safetensors, from which vLLM loads Voxtral; copy the whole",
    ):
        write_served(network, tmp_path / "served", lora_rank=4)
    for text, sentence in (
        ("{}", "cannot be read as Mistral's tokenizer"),
        (json.dumps({"config": {"version": "v13"}}), "in the format v13, and v7 is what is known here"),
    ):
        (part / "tekken.json").write_text(text)
        with pytest.raises(CannotRun, match=sentence):
            Teacher(part, LABELS, recipe_of(RECIPE))
    with pytest.raises(
        UsageError, match="model_type is 'salmonn'; tuned here: qwen2_audio, voxtral, audioflamingo3"
    ):
        class_named("salmonn")
    with pytest.raises(CannotRun, match="lora_rank is 1000, and vLLM serves 512 at most; lower it"):
        lora_spec("m", 1000)


def test_a_forecast_knows_how_many_tokens_a_clip_takes_and_how_many_gpus_share_it() -> None:
    recipe = recipe_of({"epochs": 200, "batch": 16})
    told = [
        forecast(recipe, 10**9, [2.0] * 64, [], rows=CLASSES[name].rows, gpus=gpus)
        for name, gpus in (("qwen2_audio", 1), ("voxtral", 1), ("voxtral", 8))
    ]
    assert [x["tokens_per_clip"] for x in told] == [
        PROMPT_TOKENS + 50,
        PROMPT_TOKENS + 375,
        PROMPT_TOKENS + 375,
    ]
    assert CLASSES["audioflamingo3"].rows(90.0) == 750
    assert told[2]["gib_activations"] == pytest.approx(told[1]["gib_activations"] / 8, abs=0.1)
    assert told[2]["hours_at_400_tflops"] < told[1]["hours_at_400_tflops"]
    assert told[2]["gib_weights"] == told[1]["gib_weights"], "each holds the whole model"


def test_a_lora_that_does_not_fit_is_told(voxtral: Path) -> None:
    learnt = TunedNetwork(voxtral, recipe_of({"lora_rank": 4})).learnt()
    with pytest.raises(
        CannotRun, match=r"does not fit .*lora_A.* is \(4, 128\) there, and \(8, 128\) here; its lora_rank"
    ):
        TunedNetwork(voxtral, recipe_of({"lora_rank": 8})).take(learnt)
    with pytest.raises(CannotRun, match=r"does not fit .*: .*lora_.* is in one of them alone"):
        TunedNetwork(voxtral, recipe_of({"lora_rank": 4, "lora_targets": ["q_proj"]})).take(learnt)
