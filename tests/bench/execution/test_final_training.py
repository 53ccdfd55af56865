"""``serbench train`` and ``serbench predict`` as a user runs them: kept, gone on with, answered from, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from bench.cards.contamination import contamination
from bench.cards.corpus import CorpusCard
from bench.cards.registry import load_system, shipped_files
from bench.cards.system import SystemCard
from bench.corpora.prepared import open_corpus
from bench.corpora.synthetic import write_synthetic_corpus
from bench.errors import UsageError
from bench.execution.planning.systems import resolve_system
from tests.command import Command

CONFIG = """\
name: tiny-ser
system: meralion-ser-logmel
tasks: [synthetic.qaa]
params: {{channels: 16, epochs: {epochs}, average: 2, batch: 8}}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic_corpus(
        folder,
        speakers_per_language=5,
        clips_per_emotion=2,
        languages=("qaa",),
        emotions=("neutral", "angry"),
    )
    return folder


def config(folder: Path, epochs: int = 3) -> Path:
    path = folder / "tiny-ser.yaml"
    path.write_text(CONFIG.format(epochs=epochs), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    from bench.execution.final_training import train

    folder = tmp_path_factory.mktemp("trained")
    cache = os.environ.get("SERBENCH_CACHE")
    os.environ["SERBENCH_CACHE"] = str(folder / "cache")
    try:
        train(config(folder), out=folder / "tiny-ser", data=(corpus,))
    finally:
        if cache is None:
            del os.environ["SERBENCH_CACHE"]
        else:
            os.environ["SERBENCH_CACHE"] = cache
    return folder / "tiny-ser"


def test_what_is_trained_is_a_system_that_says_what_it_met(trained: Path) -> None:
    card = load_system(str(trained / "system.yaml"))
    assert (card.name, card.track, card.family) == ("tiny-ser", "released", "trained")
    assert card.training_corpora != "undisclosed"
    assert [(c.corpus, c.split) for c in card.training_corpora] == [("synthetic", "all")]
    assert {p.name for p in trained.glob("*.safetensors")} == {"model.safetensors", "epoch-2.safetensors"}
    first, second = (load_file(trained / f"{n}.safetensors") for n in ("model", "epoch-2"))
    assert first.keys() == second.keys()
    assert not all(np.array_equal(first[k], second[k]) for k in first)


def test_it_answers_files_of_any_length_and_rate(trained: Path, tmp_path: Path, serbench: Command) -> None:
    rng = np.random.default_rng(0)
    for name, rate, seconds in (
        ("short.wav", 8000, 0.4),
        ("long.flac", 16000, 65.0),
        ("stereo.ogg", 44100, 1.0),
    ):
        sound = 0.1 * rng.standard_normal((int(rate * seconds), 2 if name.startswith("stereo") else 1))
        soundfile.write(tmp_path / name, sound, rate)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    files = [str(tmp_path / n) for n in ("short.wav", "long.flac", "stereo.ogg", "broken.wav")]
    said = serbench("predict", str(trained / "system.yaml"), *files, "--json")
    assert said.code == 1
    rows = json.loads(said.out)
    assert [r["status"] for r in rows] == ["ok", "ok", "ok", "undecodable"]
    for row in rows[:3]:
        assert sum(row["probabilities"].values()) == pytest.approx(1.0)
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].__getitem__)
        assert all(0 <= row[d] <= 1 for d in ("valence", "arousal", "dominance"))
    assert "broken.wav" in rows[3]["message"]


def answer(card: Path, sound: Path, serbench: Command) -> dict[str, float]:
    said = serbench("predict", str(card), str(sound), "--json")
    assert said.code == 0, said.err
    shares: dict[str, float] = json.loads(said.out)[0]["probabilities"]
    return shares


def test_its_folder_stands_for_its_card(trained: Path, tmp_path: Path) -> None:
    assert load_system(str(trained)) == load_system(str(trained / "system.yaml"))
    assert load_system(trained.name, base=trained.parent).name == "tiny-ser"
    with pytest.raises(UsageError, match="unknown system"):
        load_system(str(tmp_path))


def test_what_cannot_be_learnt_from_is_said_of_the_task_that_was_named(
    tmp_path: Path, serbench: Command
) -> None:
    folder = tmp_path / "data" / "synthetic"
    write_synthetic_corpus(folder, speakers_per_language=1, clips_per_emotion=2, languages=("qaa",))
    said = serbench(
        "train", str(config(tmp_path)), "--data", str(folder.parent), "--out", str(tmp_path / "o")
    )
    assert "synthetic.qaa: its training clips name 1 speaker(s)" in said.sentence


def test_folders_of_one_name_are_two_systems_whatever_else_is_called_so(
    trained: Path, tmp_path: Path, serbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are looked for beside the card first: not beside cards read before it, nor in SERBENCH_WEIGHTS."""
    sound = tmp_path / "a.wav"
    soundfile.write(sound, 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    other = tmp_path / "elsewhere" / trained.name
    shutil.copytree(trained, other)
    (other / "epoch-2.safetensors").replace(other / "model.safetensors")
    (other / "system.yaml").write_text(
        (trained / "system.yaml").read_text().replace("name: tiny-ser", "name: tiny-other")
        + "params: {average: false}\n"
    )
    alone = [answer(folder / "system.yaml", sound, serbench) for folder in (other, trained)]
    assert alone[0] != alone[1]
    systems = [resolve_system(load_system(str(f / "system.yaml"))) for f in (trained, other)]
    assert [s.weights.folder for s in systems if s.weights] == [trained, other]
    monkeypatch.setenv("SERBENCH_WEIGHTS", str(other.parent))
    assert answer(trained / "system.yaml", sound, serbench) == alone[1]


def test_what_its_base_met_and_nobody_tells_is_not_called_unseen(
    corpus: Path, tmp_path: Path, serbench: Command
) -> None:
    base = tmp_path / "base.yaml"
    text = shipped_files("systems")["meralion-ser-logmel"].read_text(encoding="utf-8")
    told = "training_corpora: []"
    assert told in text
    base.write_text(
        text.replace(told, "training_corpora: undisclosed").replace("name: meralion-ser-logmel", "name: base")
    )
    lesson = config(tmp_path, epochs=1)
    lesson.write_text(lesson.read_text().replace("system: meralion-ser-logmel", "system: base.yaml"))
    assert serbench("train", str(lesson), "--data", str(corpus), "-o", str(tmp_path / "out")).code == 0
    card = load_system(str(tmp_path / "out" / "system.yaml"))
    assert card.also_undisclosed
    assert contamination(card, open_corpus(str(corpus), []).card) == "seen"
    assert contamination(card, CorpusCard(name="else", languages=("ms",))) == "undisclosed"


def test_clips_that_cannot_be_learnt_from_are_counted_and_json_is_json(
    tone_corpus: Path, tmp_path: Path, serbench: Command
) -> None:
    first, second = sorted((tone_corpus / "audio").iterdir())[:2]
    first.unlink()
    second.write_bytes(b"junk")
    lesson = config(tmp_path, epochs=1)
    lesson.write_text(lesson.read_text().replace("synthetic.qaa", "tones.ms"))
    told = serbench("train", str(lesson), "--data", str(tone_corpus), "-o", str(tmp_path / "out"), "--json")
    assert told.code == 0, told.err
    (line,) = json.loads(told.out)["left_out"]
    assert line.startswith("tones.ms: 2 of 36 clips are left out: no audio")
    folder = serbench("predict", str(tmp_path / "out" / "system.yaml"), str(tone_corpus))
    assert (folder.code, "is a folder" in folder.err) == (2, True)


def test_the_average_of_its_epochs_and_the_best_alone_are_two_systems(
    trained: Path, tmp_path: Path, serbench: Command
) -> None:
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    text = (trained / "system.yaml").read_text(encoding="utf-8")
    single = trained / "single.yaml"
    single.write_text(text.replace("name: tiny-ser", "name: tiny-single") + "params: {average: false}\n")
    answers = [
        json.loads(serbench("predict", str(card), str(tmp_path / "a.wav"), "--json").out)[0]["probabilities"]
        for card in (trained / "system.yaml", single)
    ]
    single.unlink()
    assert answers[0].keys() == answers[1].keys()
    assert answers[0] != answers[1]


def test_any_system_that_learns_answers_after_a_lesson(
    corpus: Path, tmp_path: Path, serbench: Command
) -> None:
    files = sorted(map(str, (corpus / "audio").iterdir()))[:2]
    # The clips asked about may be in the lesson: then they are not learnt from.
    said = serbench(
        "predict", "egemaps-linear", *files, "--trained-on", "synthetic.qaa", "--data", str(corpus), "--json"
    )
    assert said.code == 0, said.err
    assert {r["label"] for r in json.loads(said.out)} <= {"neutral", "angry"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("predict", "egemaps-linear", "FILE"), "say from what with --trained-on TASK"),
        (("predict", "egemaps-linear", "nowhere.wav", "--trained-on", "x.y"), "nowhere.wav: no such file"),
        (("predict", "meralion-ser-v1", "FILE", "--trained-on", "x.y"), "answers as it stands"),
        (("predict", "meralion-ser-v1", "FILE"), "MERaLiON-SER-v1"),
        (("train", "papr"), "did you mean 'paper'"),
        (("train", "small", "--out", "FILE"), "a.wav: is a file; name a folder to train into"),
        (("train", "small", "--device", "gpu"), "--device gpu: expected auto, cpu, cuda or cuda:N"),
        (("predict", "egemaps-linear", "FILE", "--device", "gpu"), "--device gpu: expected auto, cpu"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    words: tuple[str, ...], sentence: str, tmp_path: Path, serbench: Command
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16000)
    said = serbench(*(str(tmp_path / "a.wav") if w == "FILE" else w for w in words))
    assert sentence in said.sentence


@pytest.mark.parametrize(
    "name",
    [
        "small", "one-gpu", "paper", "audio-lm-small", "audio-lm-one-gpu", "audio-lm-eight-gpus", "voxtral-one-gpu",
        "audio-flamingo-3-one-gpu",
    ],
)  # fmt: skip
def test_a_ready_config_trains_with_settings_that_its_card_leaves_unsaid(
    name: str, tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but the fit: weights stand in as an empty folder, the synthetic corpus for the config's tasks."""
    from adapters.meralion_ser import MeralionSerPredictor
    from bench.cards.registry import corpus_cards
    from bench.execution import final_training
    from bench.execution.planning.systems import System
    from bench.protocols import Weights

    path = final_training.find_config(Path(name))
    config = final_training.read_typed(path, final_training.TrainConfig)
    assert {task.rpartition(".")[0] for task in config.tasks} <= set(corpus_cards())
    fitted: list[MeralionSerPredictor] = []

    def fit(predictor: MeralionSerPredictor, *_rest: object) -> int:
        fitted.append(predictor)
        raise KeyboardInterrupt

    def resolved(card: SystemCard, **_options: object) -> System:
        return System(card, Weights(tmp_path, "hash"), "identity", None, None, None)

    copy = tmp_path / f"{name}.yaml"
    copy.write_text(
        "".join(
            "tasks: [synthetic.qaa]\n" if line.startswith("tasks:") else line
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
        )
    )
    monkeypatch.setattr(final_training, "resolve_system", resolved)
    monkeypatch.setattr(final_training, "encode_in_process", lambda *_args, **_options: None)
    monkeypatch.setattr(final_training, "_fit", fit)
    with pytest.raises(KeyboardInterrupt):
        final_training.train(copy, out=tmp_path / "out", data=(corpus,))
    assert len(fitted) == 1


def test_a_setting_that_no_adapter_knows_is_refused(tmp_path: Path, corpus: Path, serbench: Command) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(CONFIG.format(epochs=1).replace("epochs: 1", "epoch: 1"))
    said = serbench("train", str(path), "--data", str(corpus), "--out", str(tmp_path / "o"))
    assert "no parameter 'epoch'; did you mean 'epochs'" in said.sentence


@pytest.mark.parametrize(
    ("line", "changed", "said"),
    [("name: tiny-ser", "name: ../Tiny", "name: "), ("tasks: [synthetic.qaa]", "tasks: []", "tasks: ")],
)
def test_a_config_that_no_card_could_come_of_is_refused_before_training(
    line: str, changed: str, said: str, tmp_path: Path, corpus: Path, serbench: Command
) -> None:
    path = config(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace(line, changed), encoding="utf-8")
    out = tmp_path / "o"
    assert said in serbench("train", str(path), "--data", str(corpus), "--out", str(out)).sentence
    assert not out.exists()


def test_a_probe_or_an_adapter_that_keeps_nothing_is_refused(
    tmp_path: Path, corpus: Path, serbench: Command
) -> None:
    for system, sentence in (("egemaps-svm", "no adapter that trains"), ("majority", "no save(folder)")):
        path = tmp_path / f"{system}.yaml"
        path.write_text(f"name: x\nsystem: {system}\ntasks: [synthetic.qaa]\n")
        assert (
            sentence
            in serbench("train", str(path), "--data", str(corpus), "--out", str(tmp_path / "o")).sentence
        )


@pytest.mark.slow
def test_training_killed_at_any_time_ends_with_the_same_weights(
    tmp_path: Path, corpus: Path, trained: Path
) -> None:
    """Killed with SIGKILL after an epoch was kept, then run again."""
    command = [
        sys.executable, "-m", "bench.cli", "train", str(config(tmp_path)), "--out", str(tmp_path / "out"),
        "--data", str(corpus), "--json",
    ]  # fmt: skip
    environment = {**os.environ, "SERBENCH_CACHE": str(tmp_path / "cache")}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept = tmp_path / "out" / "work" / "training.pt"
    until = time.monotonic() + 120
    while not kept.exists() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert kept.exists()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    for name in ("model.safetensors", "epoch-2.safetensors"):
        ours, theirs = load_file(tmp_path / "out" / name), load_file(trained / name)
        assert all(np.array_equal(ours[k], theirs[k]) for k in theirs)


@pytest.mark.parametrize("name", ["small", "one-gpu", "paper"])
def test_the_ready_configs_name_what_there_is(name: str, tmp_path: Path) -> None:
    from adapters.meralion_ser import MeralionSerPredictor
    from bench.cards.registry import shipped_files
    from bench.cards.typed_yaml import read_typed
    from bench.execution.final_training import TrainConfig
    from bench.protocols import Weights

    config_ = read_typed(shipped_files("training")[name], TrainConfig)
    card = load_system(config_.system)
    features = {} if card.features is None else card.features.params
    params = {key: value for key, value in config_.params.items() if key not in features}
    MeralionSerPredictor(**(card.params | params), weights=Weights(tmp_path, "none"))
    assert config_.tasks


def test_its_curves_go_to_tensorboard(tmp_path: Path, corpus: Path, serbench: Command) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = config(tmp_path)
    path.write_text(path.read_text() + "log: tensorboard\n")
    said = json.loads(
        serbench("train", str(path), "--out", str(tmp_path / "o"), "--data", str(corpus), "--json").out
    )
    curves = EventAccumulator(str(tmp_path / "o" / "work" / "serbench"))
    curves.Reload()
    told = [(e.step, round(e.value, 5)) for e in curves.Scalars("training loss")]
    assert told == [(i, pytest.approx(x, abs=3e-5)) for i, x in enumerate(said["training_losses"], start=1)]


def test_a_tracker_that_is_not_installed_is_one_sentence(
    tmp_path: Path, corpus: Path, serbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = config(tmp_path)
    path.write_text(path.read_text() + "log: tensorboard\n")
    said = serbench("train", str(path), "--out", str(tmp_path / "o"), "--data", str(corpus))
    assert "pip install '.[train]'" in said.sentence


def launched(
    tmp_path: Path, corpus: Path, name: str, params: str, system: str = "meralion-ser-logmel"
) -> tuple[list[str], dict[str, str]]:
    """The command of a training in two processes that talk over loopback, as torchrun starts them."""
    path = tmp_path / f"{name}.yaml"
    path.write_text(f"name: {name}\nsystem: {system}\ntasks: [synthetic.qaa]\nparams: {{{params}}}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
        "--master-port", str(port), "-m", "bench.cli", "train", str(path), "--out", str(tmp_path / name),
        "--data", str(corpus), "--json",
    ]  # fmt: skip
    return command, plain_environment(tmp_path / "cache") | {"GLOO_SOCKET_IFNAME": "lo"}


def plain_environment(cache: Path) -> dict[str, str]:
    """The environment of a training, without what launchers and libraries may have left in this process's."""
    left = ("ACCELERATE_", "TORCHELASTIC_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left)}
    return kept | {"SERBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def of_one_process(tmp_path: Path, corpus: Path) -> dict[str, Any]:
    """Notes of the same lesson in one process: one of its own, as a user's is."""
    (tmp_path / "alone.yaml").write_text((tmp_path / "both.yaml").read_text())
    command = [
        sys.executable, "-m", "bench.cli", "train", str(tmp_path / "alone.yaml"), "--out", str(tmp_path / "alone"),
        "--data", str(corpus), "--json",
    ]  # fmt: skip
    environment = plain_environment(tmp_path / "cache-alone")
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    notes: dict[str, Any] = json.loads(said.stdout)
    return notes


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path, corpus: Path) -> None:
    """The same batches and the same loss of whole batches: what is left is the order of sums in float32."""
    params = "channels: 16, epochs: 3, average: 2, batch: 7, dropout: 0.0, embedding_dropout: 0.0, concordance_steps: 1"
    command, environment = launched(tmp_path, corpus, "both", params)
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    of_two = json.loads(said.stdout)  # One of them speaks.
    assert sorted(p.name for p in (tmp_path / "both").iterdir()) == sorted(
        ["config.json", "model.safetensors", "epoch-2.safetensors", "serbench.json", "system.yaml", "work"]
    )
    of_one = of_one_process(tmp_path, corpus)
    assert of_two["training_losses"] == pytest.approx(of_one["training_losses"], rel=1e-3), (of_two, of_one)
    ours, theirs = (load_file(tmp_path / n / "model.safetensors") for n in ("both", "alone"))
    moved = max(float(np.abs(ours[k] - theirs[k]).max()) for k in theirs)
    assert moved < 1e-2, moved


@pytest.mark.slow
def test_two_processes_killed_and_run_again_end_with_the_same_weights(tmp_path: Path, corpus: Path) -> None:
    params = "channels: 16, epochs: 4, average: 2, batch: 8"
    command, environment = launched(tmp_path, corpus, "whole", params)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    command, environment = launched(tmp_path, corpus, "cut", params)
    running = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    kept = tmp_path / "cut" / "work" / "training.pt"
    until = time.monotonic() + 120
    while not kept.exists() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert kept.exists()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    for name in ("model.safetensors", "epoch-2.safetensors"):
        ours, theirs = (load_file(tmp_path / out / name) for out in ("cut", "whole"))
        assert all(np.array_equal(ours[k], theirs[k]) for k in theirs)


@pytest.mark.slow
def test_two_processes_train_head_then_lora_as_one_does(tmp_path: Path, corpus: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
    WhisperEncoder(WhisperConfig(**sizes)).save_pretrained(tmp_path / "encoder")
    WhisperFeatureExtractor().save_pretrained(tmp_path / "encoder")
    (tmp_path / "small.yaml").write_text(
        f"name: small\nfamily: trained\ntrack: adapted\nadapter: adapters.meralion_ser:MeralionSerPredictor\n"
        f"weights: {{local: {tmp_path / 'encoder'}}}\nparams: {{encoder: whisper, layer: 2, channels: 16, epochs: 2, "
        "lora_epochs: 2, lora_rank: 2, lora_alpha: 4.0, average: 1, batch: 8, dropout: 0.0, embedding_dropout: 0.0}\n"
    )
    command, environment = launched(tmp_path, corpus, "both", "dev: select", "./small.yaml")
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    of_two = json.loads(said.stdout)
    of_one = of_one_process(tmp_path, corpus)
    assert of_two["lora_parameters"] > 0
    for losses in ("training_losses", "dev_losses"):
        assert len(of_two[losses]) == 4
        assert of_two[losses] == pytest.approx(of_one[losses], rel=1e-3)
