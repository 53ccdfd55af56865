"""A small corpus, a system of each family that runs without weights, start to end: same bytes twice, known scores.

``scores.json`` holds what this gave when it was written; a change here is either a mistake or a new truth to commit
(``SERBENCH_UPDATE_GOLDEN=1`` writes it anew).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.corpora.synthetic import write_synthetic_corpus
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings, RunSummary
from bench.execution.progress import Reporter
from bench.scoring.records import read_facts
from bench.storage.journal import Journal

SCORES = Path(__file__).with_name("scores.json")
MATRIX = """
name: golden
synthetic: never
entries:
  - systems: [majority, chance, egemaps-linear, egemaps-svm, fbank-superb, meralion-ser-logmel]
    seeds: [0]
plan: {resamples: 1000, permutations: 1000}
"""
SETTINGS = {"meralion-ser-logmel": {"epochs": "2", "channels": "32"}, "fbank-superb": {"max_steps": "60"}}


def run(folder: Path, data: Path, out: str) -> RunSummary:
    matrix = folder / "golden.yaml"
    matrix.write_text(MATRIX)
    return run_matrix(
        RunSettings(str(matrix), data=(data,), out=folder / out, settings=SETTINGS, workers=2), Reporter()
    )


@pytest.mark.slow
def test_a_golden_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data" / "synthetic"
    write_synthetic_corpus(data, speakers_per_language=5, clips_per_emotion=1, languages=("qaa",), seed=3)
    runs = {}
    for out in ("one", "two"):
        monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / f"cache-{out}"))
        summary = run(tmp_path, data, out)
        assert summary.failed == ()
        runs[out] = {p.name: p.read_bytes() for p in (tmp_path / out / "records").iterdir()}
    assert runs["one"] == runs["two"], "two runs with one seed must give the same bytes"
    assert len(runs["one"]) == 6 * 2

    with Journal(tmp_path / "one" / "journal.sqlite") as journal:
        passes = {
            k: sum(j.clips for j in journal.jobs() if j.key == k)
            for k in ("decode", "encode egemaps-linear", "encode egemaps-svm", "encode fbank-superb")
        }
    clips = 5 * 7
    assert passes == {
        "decode": clips,
        "encode egemaps-linear": clips,
        "encode egemaps-svm": 0,
        "encode fbank-superb": clips,
    }

    found = {}
    for path in sorted((tmp_path / "one" / "records").glob("*.json")):
        facts = read_facts(path)
        assert facts.synthetic
        assert not facts.publishable
        for s in facts.scores:
            if s.rows == "all" and s.outside == "wrong":
                found[" ".join(str(getattr(s, k)) for k in ("system", "view", "metric", "dimension"))] = (
                    round(s.estimate, 6)
                )
    if os.environ.get("SERBENCH_UPDATE_GOLDEN"):
        SCORES.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    golden = json.loads(SCORES.read_text())
    assert found.keys() == golden.keys()
    # Other processors round otherwise: a clip on the edge may change sides (one of 35 is 0.03 of accuracy).
    assert found == pytest.approx(golden, abs=0.06)
