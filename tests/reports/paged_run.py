"""A small run with everything that task and system pages can show: for the tests of both."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from tests.adapters.audio_lm.asked_model import text
from tests.adapters.audio_lm.fault_server import Faults, running
from tests.conftest import rewrite, write_tone_corpus

LABELS = ("happy", "sad", "angry", "bored")
HOSTILE_REPLY = (
    f"<script>alert('owned')</script> {chr(0x202E)}evil \"><img src=x onerror=alert(1)> javascript:alert(1)"
)
HOSTILE_CLIP = 'audio/"><img src=x onerror=alert(1)>.wav'
HOSTILE_SPEAKER = "</td><script>alert(2)</script>"

LISTENER = '''
import numpy as np
from bench.protocols import Answers

class Listener:
    """Hears the pitch of a tone, and is as sure as it is skilled; notes layers and a curve."""
    def __init__(self, skill=1.0, salt=0, deaf_to=""):
        self.skill, self.salt, self.deaf_to = skill, salt, deaf_to
    def fit(self, train, dev, context):
        self.labels, self.seed = context.labels, context.seed
        self.pitch = {}
        for i in range(len(train)):
            self.pitch.setdefault(train.labels[i], []).append(pitch(train.clips.read(i)))
        self.pitch = {k: np.mean(v) for k, v in self.pitch.items()}
    def predict(self, clips):
        predicted = []
        for wave in clips.waveforms():
            rng = np.random.default_rng([self.salt, self.seed, int(1000 * np.abs(wave).sum())])
            nearest = min(self.pitch, key=lambda k: abs(self.pitch[k] - pitch(wave)))
            answer = nearest if rng.random() < self.skill else str(rng.choice(self.labels))
            predicted.append(self.labels[0] if answer == self.deaf_to else answer)
        p = np.full((len(predicted), len(self.labels)), 0.1)
        for i, s in enumerate(predicted):
            p[i, self.labels.index(s)] = 1 - 0.1 * (len(self.labels) - 1)
        place = np.array([self.labels.index(s) for s in predicted]) / (len(self.labels) - 1)
        dimensions = np.stack([place, 1 - place, np.full(len(predicted), 0.5)], axis=1)
        return Answers(("ok",) * len(predicted), tuple(predicted), probabilities=p, dimensions=dimensions, notes={
            "category": {"layer_weights": [0.5, 0.3 - 0.05 * self.seed, 0.2 + 0.05 * self.seed]},
            "training_losses": [1.0, 0.5, 0.25],
            "history": [{"epoch": e, "loss": 1.0 / e, "dev_loss": 1.2 / e + 0.01 * self.seed} for e in range(1, 9)],
        })

def pitch(wave):
    return int(np.abs(np.fft.rfft(wave[:6400])).argmax())
'''
MATRIX = """
name: paged
synthetic: never
entries:
  - {systems: [./sharp.yaml, ./dull.yaml, majority], seeds: [0, 1]}
  - systems: [qwen2-audio-7b-instruct-free-twice, qwen2-audio-7b-instruct-choice-languages]
    protocol: zero-shot
plan: {resamples: 1000, permutations: 1000}
"""
ASKED = ("qwen2-audio-7b-instruct-free-twice", "qwen2-audio-7b-instruct-choice-languages")


def make_run(folder: Path) -> Path:
    """Run two listeners, a reference system and an Audio-LLM on eight speakers' tones; returns the run's folder."""
    corpus = write_tone_corpus(folder / "data" / "tones", speakers=8, labels=LABELS, dimensions=True)
    _dress(corpus)
    (folder / "listening.py").write_text(LISTENER)
    (folder / "paged.yaml").write_text(MATRIX)
    _card(folder, "sharp", skill=0.8, salt=1, deaf_to="sad")
    _card(folder, "dull", skill=0.5, salt=2, deaf_to="sad")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERBENCH_CACHE", str(folder / "cache"))
        patch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).parents[2]}")
        patch.delenv("SERBENCH_DATA", raising=False)
        patch.syspath_prepend(str(folder))
        faults = Faults(words=_words, models=("Qwen/Qwen2-Audio-7B-Instruct",))
        with running(faults) as (_, address):
            settings = RunSettings(
                str(folder / "paged.yaml"),
                data=(folder / "data",),
                out=folder / "run",
                settings={name: {"server": address} for name in ASKED},
                workers=1,
            )
            assert run_matrix(settings, Reporter()).failed == ()
    return folder / "run"


def _dress(corpus: Path) -> None:
    """Give the corpus an open card, genders, listeners, and names that would be markup."""
    card = corpus / "card.yaml"
    card.write_text(
        card.read_text().replace("[1, 5]", "[0, 6]") + "access: open\nlicence: CC0-1.0\ntruth: intended\n"
    )
    with (corpus / "metadata.csv").open(encoding="utf-8") as stream:
        first = next(csv.DictReader(stream))["file_name"]
    (corpus / first).rename(corpus / HOSTILE_CLIP)
    rewrite(
        corpus,
        file_name=lambda row: HOSTILE_CLIP if row["file_name"] == first else row["file_name"],
        speaker=lambda row: HOSTILE_SPEAKER if row["speaker"] == "00" else row["speaker"],
        gender=lambda row: "female" if row["speaker"] in ("01", "03", "05", "07") else "male",
        soft_votes=lambda row: json.dumps({row["emotion"]: 3, "neutral": 1}),
    )


def _card(folder: Path, name: str, **params: object) -> None:
    card = {
        "name": name,
        "family": "trained",
        "track": "adapted",
        "adapter": "listening:Listener",
        "params": params,
        "seeds": True,
    }
    (folder / f"{name}.yaml").write_text(json.dumps(card), encoding="utf-8")


def _words(body: Mapping[str, Any]) -> str:
    """A model that knows English, likes what stands first, sometimes refuses, and once attacks."""
    pitch = _pitch(body)
    label = min(LABELS, key=lambda x: abs(167 + 120 * LABELS.index(x) - pitch))
    draw = int(hashlib.sha1(f"{pitch} {text(body)}".encode()).hexdigest(), 16)
    if offered := (body.get("structured_outputs") or {}).get("choice"):
        lower = [x.lower() for x in offered]
        return str(offered[lower.index(label)] if label in lower and draw % 5 else offered[0])
    match draw % 6:
        case 0:
            return HOSTILE_REPLY
        case 1:
            return "I'm sorry, but I cannot determine emotions from audio."
        case _:
            return f"The speaker sounds {label}."


def _pitch(body: Mapping[str, Any]) -> float:
    parts = [p for m in body["messages"] if isinstance(m["content"], list) for p in m["content"]]
    sound = next(p for p in parts if p["type"] == "input_audio")["input_audio"]["data"]
    samples = np.frombuffer(base64.b64decode(sound)[44:], "<i2").astype(float)
    return float(np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples))
