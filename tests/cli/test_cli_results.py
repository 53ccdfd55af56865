"""``score`` and ``compare`` as a user meets them: tables, JSON, both sources, exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.command import Command, command

SCORE_FIELDS = {
    "system", "task", "protocol", "training", "track", "condition", "view", "outside", "rows", "metric",
    "estimate", "low", "high", "clips", "speakers", "coverage", "seeds", "notes", "fold_mean",
}  # fmt: skip
COMPARE_FIELDS = {
    "system_a", "system_b", "task", "protocol", "training", "condition", "track_a", "track_b", "view", "metric",
    "difference", "low", "high", "p_value", "p_holm", "p_adjusted", "smallest_p", "verdict", "unit", "notes",
}  # fmt: skip


@pytest.fixture
def serbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command(monkeypatch, capsys)


def test_score_prints_the_same_from_records_and_from_tables(serbench: Command, run: Path) -> None:
    usual = serbench("score", run, "--json")
    assert usual.code == 0, usual.err
    assert set(usual.json[0]) >= SCORE_FIELDS
    assert {s["metric"] for s in usual.json} >= {
        "ua",
        "wa",
        "macro_f1",
        "ccc",
        "pearson",
        "rmse",
        "ece",
        "brier",
    }
    assert {s["dimension"] for s in usual.json} == {None, "valence", "arousal", "dominance", "mean"}
    assert serbench("score", run, "--json", "--from", "tables").json == usual.json
    words = serbench("score", run).out
    assert words == serbench("score", run, "--from", "tables").out
    for part in (
        "tones.ms: categories",
        "tones.ms: dimensions",
        "tones.ms: probabilities",
        "guessing scores UA 0.333",
    ):
        assert part in words


def test_slices_come_on_request(serbench: Command, run: Path) -> None:
    found = serbench("score", run, "--slices", "--json").json
    assert set(found) == {"scores", "slices", "gaps", "absent", "languages", "ranks", "across"}
    assert {s["axis"] for s in found["slices"]} == {"emotion"}
    assert {g["axis"] for g in found["gaps"]} == {"emotion", "speaker"}
    assert {a["axis"] for a in found["absent"]} == {"gender", "duration"}
    assert {m["language"] for m in found["languages"]} == {"ms"}
    words = serbench("score", run, "--slices").out
    assert "no slices by gender: the card and its manifest carry no gender" in words
    assert "gap between the best and the worst group" in words


def test_compare_both_ways_and_by_clip(serbench: Command, run: Path) -> None:
    usual = serbench("compare", run, "majority", "chance", "--json")
    assert usual.code == 0, usual.err
    assert set(usual.json[0]) >= COMPARE_FIELDS
    assert serbench("compare", run, "majority", "chance", "--json", "--from", "tables").json == usual.json
    single = serbench("compare", run, "majority", "chance", "--json", "--item-level").json
    assert {p["unit"] for p in usual.json} == {"clusters"}
    assert {p["unit"] for p in single} == {"clips"}
    assert single[0]["difference"] == pytest.approx(usual.json[0]["difference"], abs=1e-12)
    assert "clips taken as independent, which overstates certainty" in single[0]["sentence"]
    assert "view" in serbench("compare", run, "majority", "chance").out


def test_an_edited_record_ends_with_one_sentence(serbench: Command, run: Path) -> None:
    path = run / "records" / "chance__tones.ms__within__clean.json"
    facts = json.loads(path.read_text())
    facts["scores"][0]["estimate"] = 0.95
    path.write_text(json.dumps(facts))
    for words in (("score", run), ("score", run, "--json"), ("compare", run, "chance", "majority")):
        result = serbench(*words)
        assert result.code == 1
        assert (
            f"{path.name}: was changed after it was written: estimate of ua native wrong all is 0.95"
            in result.sentence
        )


def test_what_has_no_record_is_said_with_its_reason(serbench: Command, run: Path) -> None:
    stem = "chance__tones.ms__within__clean"
    for ending in (".json", ".parquet"):
        (run / "records" / (stem + ending)).unlink()
    (run / "unscored.json").write_text(json.dumps({stem: "a clip was answered twice"}))
    result = serbench("score", run, "--json")
    assert result.code == 0
    assert {s["system"] for s in result.json} == {"majority"}
    assert result.err.strip() == "not scored: chance on tones.ms (within, clean): a clip was answered twice"


def test_a_folder_of_published_records_is_enough(serbench: Command, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "records", tmp_path / "published" / "records")
    published = serbench("score", tmp_path / "published", "--json")
    assert (published.code, published.err) == (0, "")
    assert published.json == serbench("score", run, "--json").json
    assert serbench("compare", tmp_path / "published", "majority", "chance").code == 0
    result = serbench("score", tmp_path / "published", "--from", "tables")
    assert (result.code, "use --from records" in result.sentence) == (2, True)
