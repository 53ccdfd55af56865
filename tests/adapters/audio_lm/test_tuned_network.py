"""Tuning an Audio-LLM: the cached ear, the loss, the training, a kill, and the folder that a server loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.audio_lm.tuning.budget import epoch_products
from adapters.audio_lm.tuning.lessons import Teacher, prompt_for
from adapters.audio_lm.tuning.loop import TaughtClips, tune
from adapters.audio_lm.tuning.network import LessonBatch, TunedNetwork, load_model
from adapters.audio_lm.tuning.recipe import recipe_of
from adapters.audio_lm.tuning.served import write_served
from adapters.audio_lm.tuning.tower import AudioTower, load_tower
from bench.errors import CannotRun, DataError, UsageError
from bench.protocols import Weights
from tests.adapters.audio_lm.tiny_tuned import LABELS, RECIPE, copy_of, taught, training, write_weights


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("tiny") / "model")


def wave(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(7)
    return (0.1 * rng.normal(size=round(seconds * 16_000))).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.1, 1.0, 1.03])
def test_what_the_store_keeps_of_a_clip_is_what_the_whole_network_hears(model: Path, seconds: float) -> None:
    """transformers' own forward from log-mel, its mask and its merging, against rows encoded once and lessons put together here."""
    from transformers import AutoProcessor

    (rows,) = AudioTower(weights=Weights(model, "x")).encode([wave(seconds)])
    network = TunedNetwork(model, recipe_of({"lora_rank": 4})).eval()
    lesson = Teacher(model, LABELS, recipe_of(RECIPE)).judged("sad", "en", rows.shape[1])
    ours = network.next_logits(LessonBatch.of([lesson], [torch.from_numpy(rows[0])], "cpu"))

    heard = AutoProcessor.from_pretrained(model).feature_extractor(
        wave(seconds),
        sampling_rate=16_000,
        return_tensors="pt",
        return_attention_mask=True,
        padding="max_length",
    )
    whole = load_model(model, torch.float32)
    with torch.inference_mode():
        theirs = whole(
            input_ids=torch.tensor([lesson.prompt]),
            input_features=heard["input_features"],
            feature_attention_mask=heard["attention_mask"],
        ).logits[0, -1]
    torch.testing.assert_close(ours[0], theirs, atol=1e-4, rtol=1e-4)


def test_a_long_clip_is_heard_in_windows_and_one_too_short_is_told(model: Path) -> None:
    tower = AudioTower(weights=Weights(model, "x"))
    (rows,) = tower.encode([wave(31.0)])
    halves = tower.encode([wave(31.0)[:248_000], wave(31.0)[248_000:]])
    assert rows.shape[1] == sum(h.shape[1] for h in halves) > 750
    np.testing.assert_allclose(rows[0, : halves[0].shape[1]], halves[0][0], atol=1e-6)
    with pytest.raises(DataError, match="too short for an audio token"):
        tower.encode([wave(0.01)])


def test_the_loss_is_of_the_answers_tokens_alone_and_company_does_not_change_it(model: Path) -> None:
    recipe = recipe_of(RECIPE)
    network, teacher = TunedNetwork(model, recipe).eval(), Teacher(model, LABELS, recipe)
    clips = taught(1, seed=3)
    lessons = [
        teacher.judged(label, "en", len(rows)) for label, rows in zip(clips.labels, clips.rows, strict=True)
    ]
    together = network.answer_losses(LessonBatch.of(lessons, clips.rows, "cpu"))
    for lesson, rows, loss in zip(lessons, clips.rows, together, strict=True):
        alone = LessonBatch.of([lesson], [rows], "cpu")
        torch.testing.assert_close(network.answer_losses(alone)[0], loss, atol=1e-4, rtol=1e-4)
        hidden, _ = network._hidden(alone)
        said = network.model.lm_head(hidden)[0].log_softmax(dim=-1)
        start = len(lesson.prompt) - 1
        by_hand = -sum(said[start + i, token] for i, token in enumerate(lesson.answer))
        torch.testing.assert_close(loss, by_hand, atol=1e-4, rtol=1e-4)
        assert lesson.answer[-1] == teacher._tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_lessons_are_drawn_anew_and_say_the_right_answer_in_the_prompts_language(model: Path) -> None:
    recipe = recipe_of({**RECIPE, "forms": ["plain", "lettered"], "prompts": ["own", "en-1"]})
    teacher = Teacher(model, LABELS, recipe)
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(40):
        lesson = teacher.lesson("happy", "id", 5, rng)
        asked, answer = (
            teacher._tokenizer.decode(lesson.prompt),
            teacher._tokenizer.decode(lesson.answer[:-1]),
        )
        assert lesson.prompt.count(teacher.audio_token) == 5
        word = "Senang" if "Senang" in asked else "Happy"
        assert answer == word or f"({answer}) {word}" in asked
        texts.append(asked)
    assert len(set(texts)) > 20, "orders, forms and prompts vary"
    assert any("Senang" in text for text in texts)
    assert any("Happy" in text for text in texts)
    assert prompt_for("own", "sw").name == "paper"


def test_training_learns_and_the_kept_epoch_is_the_best_on_the_dev_speakers(
    model: Path, tmp_path: Path
) -> None:
    run = training(model, tmp_path, epochs=8, patience=8, train=taught(6, seed=1))
    session = tune(run, seed=0)
    assert session.losses[-1] < 0.5 * session.losses[0]
    assert session.checkpoints[0].epoch == 1 + int(np.argmin(session.dev_losses))
    test = taught(3, seed=5)
    right = 0
    for label, rows in zip(test.labels, test.rows, strict=True):
        lessons = [run.teacher.judged(x, "en", len(rows)) for x in LABELS]
        with torch.inference_mode():
            losses = run.network.eval().answer_losses(LessonBatch.of(lessons, [rows] * len(LABELS), "cpu"))
        right += LABELS[int(losses.argmin())] == label
    assert right >= 10, f"{right} of 12 clips it never saw"


def test_training_stops_early_where_the_dev_speakers_get_no_better(model: Path, tmp_path: Path) -> None:
    backwards = taught(2, seed=2)
    turned = TaughtClips(backwards.ids, backwards.labels[::-1], backwards.languages, backwards.rows)
    run = training(model, tmp_path, epochs=30, patience=1)
    session = tune(type(run)(**{**vars(run), "dev": turned}), seed=0)
    assert session.epoch < 30


class _KilledError(Exception):
    pass


def test_a_killed_training_goes_on_from_its_last_epoch_and_ends_at_the_same_bytes(
    model: Path, tmp_path: Path
) -> None:
    whole = training(model, tmp_path / "whole", dev="train")
    (tmp_path / "whole").mkdir()
    expected = tune(whole, seed=3)

    def killed(done: float, total: float) -> None:
        if done > 2.4:
            raise _KilledError

    (tmp_path / "cut").mkdir()
    with pytest.raises(_KilledError):
        tune(training(model, tmp_path / "cut", dev="train", progress=killed), seed=3)
    steps: list[float] = []
    again = training(model, tmp_path / "cut", dev="train", progress=lambda done, total: steps.append(done))
    found = tune(again, seed=3)
    assert min(steps) > 2, "two epochs were not trained again"
    assert found.losses == expected.losses
    for name, tensor in whole.network.learnt().items():
        assert torch.equal(tensor, again.network.learnt()[name]), name


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_merged_folder_loads_strictly_and_answers_as_the_trained_network(
    model: Path, tmp_path: Path, precision: str
) -> None:
    run = training(
        model, tmp_path, epochs=2, dev="train", standardise=True, precision=precision, lora_dropout=0.0
    )
    run.network.standardise(run.train.rows)
    tune(run, seed=0)
    lesson, rows = run.teacher.judged("sad", "en", len(run.train.rows[0])), run.train.rows[0]
    batch = LessonBatch.of([lesson], [rows], "cpu")
    with torch.inference_mode():
        before = run.network.eval().next_logits(batch)
    write_served(run.network, tmp_path / "merged", lora_rank=4)
    load_model(tmp_path / "merged", torch.float32)  # strict: a tensor too few is an error
    after = TunedNetwork(
        tmp_path / "merged", recipe_of({"lora_rank": 0, "lora_dropout": 0, "precision": precision})
    ).eval()
    with torch.inference_mode():
        torch.testing.assert_close(after.next_logits(batch), before, atol=2e-4, rtol=1e-4)
    assert torch.equal(load_tower(tmp_path / "merged").conv1.weight, load_tower(model).conv1.weight)
    for name in ("tokenizer.json", "preprocessor_config.json", "chat_template.jinja"):
        assert (tmp_path / "merged" / name).read_bytes() == (model / name).read_bytes()


def test_bf16_and_recomputed_blocks_train_too(model: Path, tmp_path: Path) -> None:
    run = training(model, tmp_path, epochs=2, precision="bf16", checkpointing=True, dev="train")
    session = tune(run, seed=0)
    assert session.losses[1] < session.losses[0]


def test_a_loss_that_is_no_number_names_the_clips(model: Path, tmp_path: Path) -> None:
    clips = taught(1, seed=1)
    broken = TaughtClips(clips.ids, clips.labels, clips.languages, tuple(r * np.inf for r in clips.rows))
    with pytest.raises(
        DataError, match=r"training loss became nan on the clips .*neutral-0\.wav.*lower projector_lr"
    ):
        tune(training(model, tmp_path, train=broken), seed=0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": -1}, "epochs is -1; expected a whole number from 0 on"),
        ({"lora_ranks": 3}, "no parameter 'lora_ranks'"),
        ({"prompts": ["en-99"]}, "unknown prompt 'en-99'"),
        ({"forms": ["sung"]}, "forms"),
        ({"projector_lr": 0, "lora_rank": 0}, "nothing would be learnt"),
        ({"dev": "never"}, "dev is 'never'; use one of select, train"),
    ],
)
def test_settings_that_are_none_are_told(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        recipe_of(settings)


def test_labels_that_cannot_be_said_are_told_before_training(model: Path) -> None:
    with pytest.raises(
        DataError, match=r"the answer 'Neutral' is 7 tokens and its end, and longest_answer is 4; raise it"
    ):
        Teacher(model, LABELS, recipe_of({**RECIPE, "longest_answer": 4})).require_answers(["en"])
    teacher = Teacher(model, LABELS, recipe_of(RECIPE))
    teacher._tokenizer = _Mute(teacher._tokenizer)
    with pytest.raises(DataError, match=r"no tokens for the answer 'Neutral'; prompt in another language"):
        teacher.require_answers(["en"])


class _Mute:
    """A tokenizer that knows no word."""

    def __init__(self, own: object) -> None:
        self.unk_token_id = None

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": []}


def test_weights_that_do_not_fit_are_told(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no linear layers called qqq; its language model has .*q_proj"):
        TunedNetwork(model, recipe_of({"lora_targets": ["qqq"]}))

    wide = copy_of(model, tmp_path / "wide")
    config = json.loads((wide / "config.json").read_text())
    config["audio_config"]["d_model"] = 192
    (wide / "config.json").write_text(json.dumps(config))
    with pytest.raises(CannotRun, match=r"is \(128, .*asks for \(192, .*belong to another configuration"):
        load_tower(wide)
    with pytest.raises(CannotRun, match=r"fit|another shape"):
        TunedNetwork(wide, recipe_of({}))

    part = copy_of(model, tmp_path / "part")
    tensors = load_file(part / "model.safetensors")
    tensors.pop("multi_modal_projector.linear.weight")
    save_file(tensors, part / "model.safetensors", {"format": "pt"})
    with pytest.raises(CannotRun, match=r"1 tensors are missing.*projector"):
        load_model(part, torch.float32)

    other = copy_of(model, tmp_path / "other")
    (other / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    with pytest.raises(CannotRun, match="'wav2vec2' model; tuned here: qwen2_audio"):
        load_model(other, torch.float32)


def test_products_are_counted_as_the_shapes_say(model: Path) -> None:
    """Counted again by torch's own counter, on one lesson: products of the layers forward, without attention."""
    from torch.utils.flop_counter import FlopCounterMode

    recipe = recipe_of({"lora_rank": 4})
    network = TunedNetwork(model, recipe).eval()
    lesson = Teacher(model, LABELS, recipe_of(RECIPE)).judged("sad", "en", 40)
    rows = torch.zeros(40, 128)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.answer_losses(LessonBatch.of([lesson], [rows], "cpu"))
    linear = sum(n for op, n in counter.get_flop_counts()["Global"].items() if "mm" in str(op))
    ours = epoch_products(network.model, [lesson], recipe).forward
    attention = 2.0 * 2 * len(lesson) ** 2 * 128
    assert ours - attention == pytest.approx(linear, rel=0.02)


def test_a_projector_that_starts_at_the_answers_sends_a_clip_to_its_own(model: Path) -> None:
    """Before anything is learnt, clips not seen lie nearest to the embedding of their own answer."""
    recipe = recipe_of({**RECIPE, "standardise": True, "projector_start": "answers"})
    network, teacher = TunedNetwork(model, recipe), Teacher(model, LABELS, recipe)
    seen, new = taught(8, seed=1), taught(4, seed=2)
    said = {label: teacher.judged(label, "en", 0).answer[:-1] for label in LABELS}
    network.standardise(seen.rows)
    network.start_toward(seen.rows, [said[label] for label in seen.labels])
    embedding = network.model.get_input_embeddings().weight.detach()
    names = torch.stack([embedding[list(said[label])].mean(dim=0) for label in LABELS])
    for label, rows in zip(new.labels, new.rows, strict=True):
        place = network.projector(((rows - network.mean) / network.deviation).float()).mean(dim=0)
        assert LABELS[int(torch.cdist(place[None], names).argmin())] == label
    with pytest.raises(DataError, match="all training clips have one answer"):
        network.start_toward(seen.rows, [said["sad"]] * len(seen))
