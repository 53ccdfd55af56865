"""Runs with conditions and transfer: fits are shared, encoders hear each sound once, kills and additions cost nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.corpora.synthetic import write_synthetic_corpus
from bench.errors import DataError
from bench.execution.driver import run_matrix
from bench.execution.planning.forecast import forecast
from bench.execution.prepared_run import RunSettings, RunSummary
from bench.execution.progress import Reporter
from bench.scoring.comparisons import compare_pair
from bench.scoring.predictions import read_table
from bench.scoring.records import read_records
from bench.scoring.rescoring import rescore
from tests.conftest import write_tone_corpus

ADAPTERS = '''
import os, time
from pathlib import Path
import numpy as np
from bench.protocols import Answers

def note(line):
    with open(os.environ["HEARD"], "a") as log:
        log.write(line + "\\n")

class Bands:
    """Energies in sixteen bands below 625 Hz; notes the hash of every sound it is given."""
    def __init__(self, device="cpu"):
        pass
    def encode(self, waveforms):
        from bench.audio.decoding import pcm_hash
        out = []
        for w in waveforms:
            note("sound " + pcm_hash(np.rint(w * 32768).astype(np.int16)))
            power = np.log(np.array([b.mean() for b in np.array_split(np.abs(np.fft.rfft(w, 4096))[:160], 16)]) + 1e-6)
            out.append(np.repeat(power[None, None].astype(np.float32), 2, axis=1))
        return out

class Listener:
    """Nearest mean pitch; notes what it is fitted on and asked, and takes its time."""
    def __init__(self, wait=0.0):
        self.wait = wait
    def pitch(self, clips):
        return np.array([np.abs(np.fft.rfft(w, 16000))[50:1000].argmax() for w in clips.waveforms()])
    def fit(self, train, dev, context):
        note(f"fit {context.seed} {len(train)} {len(dev)} {','.join(sorted(set(train.clips.languages)))}")
        time.sleep(self.wait)
        self.labels, heard = context.labels, self.pitch(train.clips)
        names = np.array([l or "" for l in train.labels])
        self.centres = np.array([heard[names == l].mean() if (names == l).any() else 1e9 for l in self.labels])
    def predict(self, clips):
        note("predict")
        time.sleep(self.wait / 4)
        best = np.abs(self.pitch(clips)[:, None] - self.centres).argmin(axis=1)
        p = np.full((len(clips), len(self.labels)), 0.1 / (len(self.labels) - 1))
        p[np.arange(len(clips)), best] = 0.9
        return Answers(("ok",) * len(clips), tuple(self.labels[b] for b in best), p)
'''
CARDS = {
    "bands": "name: bands\nfamily: encoder\ntrack: probed\nseeds: false\nprobe: linear\nfeatures: {encoder: 'hearing_adapter:Bands'}\n",
    "listener": "name: listener\nfamily: trained\ntrack: adapted\nadapter: hearing_adapter:Listener\nparams: {wait: WAIT}\n",
}
PLAN = "plan: {resamples: 1000, permutations: 1000, primary_view: PRIMARY}\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two small systems that say what they hear, and three corpora of which two share a pool."""
    (tmp_path / "hearing_adapter.py").write_text(ADAPTERS)
    for name, card in CARDS.items():
        (tmp_path / f"{name}.yaml").write_text(card.replace("WAIT", "0.0"))
    for number, (name, language, pool) in enumerate(
        [("a", "ms", "a"), ("a-copy", "ms", "a"), ("b", "id", "b")]
    ):
        folder = write_tone_corpus(tmp_path / "data" / name, languages=(language,), seed=number)
        with (folder / "card.yaml").open("a") as card_file:
            card_file.write(f"pool: {pool}\n")
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])]))
    monkeypatch.setenv("HEARD", str(tmp_path / "heard.log"))
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def matrix(place: Path, entries: str, *, conditions: str = "[clean]", primary: str = "native") -> None:
    text = f"name: m\nconditions: {conditions}\nentries:\n{entries}{PLAN.replace('PRIMARY', primary)}"
    (place / "m.yaml").write_text(text)


def settings(place: Path, **changes: object) -> RunSettings:
    return RunSettings(
        matrix=str(place / "m.yaml"), data=(place / "data",), out=place / "run", workers=1, **changes
    )  # type: ignore[arg-type]


def run(place: Path, **changes: object) -> RunSummary:
    summary = run_matrix(settings(place, **changes), Reporter())
    assert [row.error for row in summary.failed] == []
    return summary


def heard(place: Path) -> list[str]:
    log = place / "heard.log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def scores(place: Path, view: str = "native") -> dict[tuple[str, str, str, str, str], float]:
    return {
        (s["system"], s["task"], s["protocol"], s["training"], s["condition"]): s["estimate"]
        for path in (place / "run" / "records").glob("*.json")
        for s in json.loads(path.read_text())["scores"]
        if (s["metric"], s["view"], s["outside"], s["rows"]) == ("ua", view, "wrong", "all")
    }


def test_one_fit_answers_all_conditions_and_each_sound_is_encoded_once(place: Path) -> None:
    entries = "  - systems: [./bands.yaml, ./listener.yaml]\n    tasks: [a.ms, a.ms@loso]\n"
    matrix(place, entries, conditions="[clean, noise-20db, white-0db, pad-2s]")
    expected = forecast(settings(place))
    summary = run(place)
    assert not summary.failed
    assert summary.computed == 2 * 4 * (5 + 6)
    assert (expected.cells, expected.fits) == (88, 2 * (5 + 6))
    lines = heard(place)
    fits = [line for line in lines if line.startswith("fit")]
    assert len(fits) == 5 + 6
    assert lines.count("predict") == 4 * len(fits)
    sounds = Counter(line for line in lines if line.startswith("sound"))
    assert len(sounds) == 4 * 36
    assert set(sounds.values()) == {1}
    found = scores(place)
    assert found["listener", "a.ms", "within", "", "clean"] == pytest.approx(1.0)
    assert found["bands", "a.ms", "within", "", "clean"] > found["bands", "a.ms", "within", "", "white-0db"]
    assert len(found) == 16
    assert {r.facts.condition for r in read_records(place / "run" / "records")} == {
        "clean", "noise-20db", "white-0db", "pad-2s",
    }  # fmt: skip
    # Nothing is left to do, and the conditioned answers are scored over the very clips of the clean ones.
    assert run(place).computed == 0
    assert heard(place) == []


def test_a_condition_that_is_added_costs_its_own_predictions_only(place: Path) -> None:
    entries = "  - systems: [./bands.yaml, ./listener.yaml]\n    tasks: [a.ms]\n"
    matrix(place, entries)
    run(place)
    tables = {p: p.stat().st_mtime_ns for p in (place / "run" / "tables").iterdir()}
    heard(place)
    matrix(place, entries, conditions="[clean, telephone]")
    assert run(place).computed == 10
    lines = heard(place)
    assert lines.count("predict") == 5
    assert sum(line.startswith("sound") for line in lines) == 36
    assert all(path.stat().st_mtime_ns == written for path, written in tables.items())


def test_only_a_condition_runs_that_condition(place: Path) -> None:
    matrix(place, "  - systems: [majority]\n    tasks: [a.ms]\n", conditions="[clean, cut-2s, telephone]")
    assert run(place, only={"condition": ["telephone"]}).computed == 5
    assert {k[-1] for k in scores(place)} == {"telephone"}


def test_a_system_trained_on_noise_is_a_record_of_its_own(place: Path) -> None:
    entries = (
        "  - systems: [./bands.yaml]\n    tasks: [a.ms]\n"
        "  - systems: [./bands.yaml]\n    tasks: [a.ms]\n    train_condition: white-0db\n"
    )
    matrix(place, entries, conditions="[white-0db]")
    run(place)
    found = scores(place)
    trained = found["bands", "a.ms", "within", "trained-white-0db", "white-0db"]
    assert trained >= found["bands", "a.ms", "within", "", "white-0db"]
    assert sum(line.startswith("sound") for line in heard(place)) == 72


def test_transfer_learns_elsewhere_and_pairs_up_on_all_clips_of_the_target(place: Path) -> None:
    entries = (
        "  - systems: [./bands.yaml, majority]\n    protocol: transfer\n    training: [other-pools, other-languages]\n"
        "  - systems: [./listener.yaml, chance]\n    protocol: transfer\n    training: other-pools\n    tasks: [a.ms]\n"
        "  - systems: [./bands.yaml]\n    tasks: [a.ms]\n"
    )
    matrix(place, entries, primary="seven", conditions="[clean, noise-10db]")
    summary = run(place)
    assert not summary.failed
    assert not summary.refused
    (fit,) = [line for line in heard(place) if line.startswith("fit")]
    assert fit.endswith(" id"), "the target's second copy, in its own language, was learnt from"
    records = read_records(place / "run" / "records")
    by_name = {(r.system, r.task, r.regime, r.facts.condition): r for r in records}
    moved = by_name["bands", "a.ms", "transfer-other-pools", "clean"]
    assert [s.task for s in moved.facts.sources] == ["b.id"]
    both = by_name["bands", "b.id", "transfer-other-pools", "clean"]
    assert [s.task for s in both.facts.sources] == ["a.ms", "a-copy.ms"]
    assert moved.facts.training == "other-pools"
    assert moved.facts.clips == by_name["bands", "a.ms", "within", "clean"].facts.clips == 36
    assert {s.view for s in moved.facts.scores} <= {"seven", "four"}
    assert scores(place, "seven")["listener", "a.ms", "transfer", "other-pools", "clean"] > 0.9
    for path in (place / "run" / "tables").glob("*.parquet"):
        table = read_table(path)
        if table.identity["protocol"] == "transfer":
            assert len(table.clip_ids) == 36
    pairs = compare_pair(records, "bands", "majority", "a.ms")
    assert {(p.training, p.condition) for p in pairs} >= {
        (t, c) for t in ("other-pools", "other-languages") for c in ("clean", "noise-10db")
    }
    again = rescore(place / "run", "tables", [place / "data"])
    assert {c.note for c in again} == {""}


def test_a_target_without_speaker_ids_is_tested_by_transfer_and_refused_within(place: Path) -> None:
    metadata = place / "data" / "b" / "metadata.csv"
    lines = [line.split(",") for line in metadata.read_text().splitlines()]
    rows = [lines[0], *([r[0], "", *r[2:]] for r in lines[1:])]
    metadata.write_text("\n".join(",".join(r) for r in rows) + "\n")
    entries = (
        "  - systems: [./bands.yaml]\n    tasks: [b.id]\n    protocol: transfer\n    training: other-pools\n"
        "  - systems: [./bands.yaml]\n    tasks: [b.id]\n"
    )
    matrix(place, entries, primary="seven")
    summary = run(place)
    assert summary.computed == 1
    assert list(summary.refused) == ["bands__b.id__within__clean"]


def test_nothing_to_learn_from_is_refused_before_anything_is_computed(place: Path) -> None:
    entries = "  - systems: [majority]\n    tasks: [a.ms]\n    protocol: transfer\n    training: a-copy.ms\n"
    matrix(place, entries, primary="seven")
    with pytest.raises(DataError, match="share speakers"):
        run(place)


def test_a_killed_run_with_conditions_and_transfer_ends_with_the_records_of_an_undisturbed_one(
    place: Path,
) -> None:
    (place / "listener.yaml").write_text(CARDS["listener"].replace("WAIT", "0.4"))
    entries = (
        "  - systems: [./bands.yaml, ./listener.yaml]\n    tasks: [a.ms, b.id]\n    protocol: transfer\n"
        "    training: other-pools\n    seeds: [0, 1, 2]\n"
    )
    matrix(place, entries, primary="seven", conditions="[clean, opus-16k, noise-5db]")
    run(place)
    calm = {p.name: p.read_bytes() for p in (place / "run" / "records").iterdir()}
    (place / "run").rename(place / "undisturbed")
    command = [
        sys.executable,
        "-m",
        "bench.cli",
        "run",
        "m.yaml",
        "--data",
        "data",
        "--out",
        "run",
        "--workers",
        "1",
    ]
    kills = 0
    for pause in (2.5, 3.0, 3.5, 4.0):
        process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=pause)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)
            kills += 1
    assert kills >= 1, "the run was never interrupted: the test shows nothing"
    run(place)
    assert {p.name: p.read_bytes() for p in (place / "run" / "records").iterdir()} == calm


@pytest.mark.parametrize("name", ["robustness", "cross_lingual"])
def test_the_shipped_matrices_run_on_synthetic_corpora_of_two_languages(
    name: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for language in ("qaa", "qab"):
        folder = tmp_path / "data" / f"sounds-{language}"
        write_synthetic_corpus(
            folder, languages=(language,), speakers_per_language=3, clips_per_emotion=1, seconds=(0.5, 0.5),
            emotions=("neutral", "angry", "sad"), seed=len(language) + ord(language[-1]),
        )  # fmt: skip
        (folder / "card.yaml").write_text(
            f"name: sounds-{language}\nlanguages: [{language}]\nscale: [1, 7]\nsynthetic: true\n"
        )
    monkeypatch.setenv("SERBENCH_WEIGHTS", "")
    asked = RunSettings(
        matrix=name, data=(tmp_path / "data",), out=tmp_path / "run", workers=1,
        only={"system": ["egemaps-linear"], "task": ["sounds-qaa.*"]}
        | ({"condition": ["clean", "noise-0db", "cut-2s", "telephone"]} if name == "robustness" else {}),
    )  # fmt: skip
    summary = run_matrix(asked, Reporter())
    assert not summary.failed
    found = {(r.regime, r.facts.condition) for r in read_records(tmp_path / "run" / "records")}
    if name == "robustness":
        assert found == {("within", c) for c in ("clean", "noise-0db", "cut-2s", "telephone")}
    else:
        expected = {"within", "transfer-other-pools", "transfer-other-languages"}
        assert found == {(regime, "clean") for regime in expected}
