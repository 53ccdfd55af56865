"""What 0.1.0 left on a disk still serves: a run, a cache, a publication and a trained network, opened by today's code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.version import __version__
from tests.command import Command, command
from tests.old_versions.v0_1_0.make import MATRIX, write_clips, write_corpus

OLD = Path(__file__).with_name("v0_1_0")
DOCS = Path(__file__).resolve().parents[2] / "docs/upgrading.md"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that 0.1.0 left, its corpus and its clips, as a user would find it after an update."""
    for part in ("run", "cache", "published", "trained"):
        shutil.copytree(OLD / part, tmp_path / part)
    write_corpus(tmp_path / "data")
    write_clips(tmp_path / "clips")
    (tmp_path / "small.yaml").write_text(MATRIX)
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def serbench(old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command(monkeypatch, capsys)


def ua(rows: list[dict[str, object]]) -> dict[str, object]:
    """UA of every system over all rows, in the view native."""
    return {
        str(r["system"]): r["estimate"]
        for r in rows
        if (r["metric"], r["view"], r["outside"], r["rows"]) == ("ua", "native", "wrong", "all")
    }


def test_an_old_run_is_scored_compared_and_reported_as_it_lies(serbench: Command, old: Path) -> None:
    stored = {p.name: p.read_bytes() for p in (old / "run/records").iterdir()}
    scores = {}
    for source in ("records", "tables"):
        done = serbench("score", "run", "--from", source, "--json")
        assert done.code == 0, done.err
        scores[source] = ua(done.json)
    assert scores["records"] == scores["tables"]
    assert scores["records"] == pytest.approx(
        {"majority": 1 / 3, "chance": 1 / 3, "fbank-superb": 0.5476, "egemaps-linear": 1.0}, abs=1e-4
    )
    assert "cannot separate majority and chance" in serbench("compare", "run", "majority", "chance").out
    assert serbench("report", "run").code == 0
    assert "egemaps-linear" in (old / "run/report/index.html").read_text(encoding="utf-8")
    assert {p.name: p.read_bytes() for p in (old / "run/records").iterdir()} == stored


def test_an_old_run_is_run_again_without_losing_what_it_held(serbench: Command, old: Path) -> None:
    tables = {p.name: p.read_bytes() for p in (old / "run/tables").iterdir()}
    records = {p.name for p in (old / "run/records").glob("*.json")}
    before = ua(serbench("score", "run", "--json").json)
    only = ["--only", "system=majority,system=chance,system=egemaps-linear"]
    done = serbench("run", "small.yaml", "--data", "data", "--out", "run", *only)
    assert done.code == 0, done.err
    # Keys cover the code now as they did not before: answers of 0.1.0 are not taken for this version's.
    assert "20 cells computed, 0 kept, 0 failed" in done.out
    assert (
        "20 cells were computed here before, by other code, packages, weights or data" in done.out + done.err
    )
    after = ua(serbench("score", "run", "--json").json)
    assert after == {name: before[name] for name in after}
    assert tables.items() <= {p.name: p.read_bytes() for p in (old / "run/tables").iterdir()}.items()
    kept = {p.name for folder in ("records", "superseded") for p in (old / "run" / folder).glob("*.json")}
    assert records <= kept, "the record that was not made again is set aside, not removed"
    again = serbench("run", "small.yaml", "--data", "data", "--out", "run", *only)
    assert "0 cells computed, 20 kept, 0 failed" in again.out


def test_an_old_cache_is_told_from_todays_and_can_be_cleared(serbench: Command, old: Path) -> None:
    found = serbench("features", "why", "egemaps-linear", "tones.ms", "--data", "data", "--json")
    assert found.code == 0, found.err
    assert any("source" in other["differs"] for other in found.json["others"]), found.json
    listed = serbench("features", "gc", "--json")
    assert listed.code == 0, listed.err
    assert listed.json, "features that no card reaches any more are named"


def test_an_old_publication_holds_and_builds(serbench: Command, old: Path) -> None:
    for data, badge in (((), "tables"), (("--data", "data"), "labels")):
        done = serbench("leaderboard", "validate", "--results", "published", *data, "--json")
        assert done.code == 0, done.err
        assert {r["badge"] for r in done.json["records"]} == {badge}
    assert serbench("leaderboard", "build", "--results", "published", "-o", "site").code == 0
    assert "fbank-superb" in (old / "site/index.html").read_text(encoding="utf-8")


def test_an_old_trained_network_answers_as_it_did(serbench: Command, old: Path) -> None:
    done = serbench("predict", "trained", "clips/low.wav", "clips/high.wav", "--json")
    assert done.code == 0, done.err
    for now, then in zip(done.json, json.loads((OLD / "answers.json").read_text()), strict=True):
        assert {k: now[k] for k in ("file", "status", "label", "dominance")} == {
            k: then[k] for k in ("file", "status", "label", "dominance")
        }
        # Two machines add up float32 in different orders.
        assert now["probabilities"] == pytest.approx(then["probabilities"], abs=1e-4)
        assert (now["valence"], now["arousal"]) == pytest.approx((then["valence"], then["arousal"]), abs=1e-4)


def test_the_note_for_those_who_ran_it_names_each_of_these() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert __version__ in text
    for what in ("run folder", "cache", "published", "serbench train", "features gc", "superseded/"):
        assert what in text, what
