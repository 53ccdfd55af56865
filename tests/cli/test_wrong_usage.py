"""What was typed wrong: one line that says what was found and what was expected, exit code 2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.cards.registry import load_system, with_settings
from bench.errors import BenchError, UsageError
from bench.storage.atomic import write_text
from tests.command import Command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "quick", "--limit", "-1"), "serbench run: --limit -1: expected 1 or more"),
        (("run", "quick", "--limit", "many"), "serbench run: --limit many: expected a whole number"),
        (("power", "--difference", "x"), "serbench power: --difference x: expected a number"),
        (("list", "taks"), "'taks' is not one of 'systems', 'tasks', 'corpora', 'matrices', 'runs'"),
        (("run",), "serbench run: missing argument"),
        (("score", "x", "--bogus"), "serbench score: no such option: --bogus"),
        (("leaderboard", "nonsense"), "serbench leaderboard: no such command 'nonsense'"),
    ],
)
def test_wrong_usage_is_one_line_that_names_what_was_found(
    serbench: Command, words: tuple[str, ...], said: str
) -> None:
    result = serbench(*words)
    assert result.code == 2
    assert said in result.sentence
    assert len(result.err.strip().splitlines()) == 1
    assert "--help)" in result.err


def test_a_group_without_a_command_shows_its_help(serbench: Command) -> None:
    result = serbench("corpus")
    assert result.code == 2
    assert "Commands:" in result.out + result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--difference", "-3"), "--difference -3: expected points above 0"),
        (("--power", "120"), "--power 120: expected per cent"),
        (("--level", "2"), "--level 2: expected a share between 0.5 and 1"),
        (("--clips", "0"), "--clips 0: expected a number above 0"),
        (("--seeds", "0"), "--seeds 0: expected 1 or more"),
        (("--between", "-1", "--within", "2"), "--between -1.0: expected points, 0 or more"),
        (("--systems", "a", "b"), "--task and --systems choose among records, and none are named"),
    ],
)
def test_power_that_cannot_be_meant_is_told_in_the_units_it_was_typed_in(
    serbench: Command, words: tuple[str, ...], said: str
) -> None:
    result = serbench("power", *words)
    assert result.code == 2
    assert said in result.sentence


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("run",), "matrix"),
        (("plan", "register"), "matrix"),
        (("check",), "card"),
    ],
)
def test_a_file_or_folder_in_the_place_of_a_name_is_pointed_out(
    serbench: Command, tmp_path: Path, words: tuple[str, ...], what: str
) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("hello")
    assert f"{file} is a file here, but the file of a {what} ends in .yaml" in serbench(*words, file).sentence
    assert f"{tmp_path} is a folder here" in serbench(*words, tmp_path).sentence
    (tmp_path / "folder.yaml").mkdir()
    assert "is a folder; name the .yaml file itself" in serbench(*words, tmp_path / "folder.yaml").sentence


def test_a_file_in_the_place_of_a_corpus(serbench: Command, tmp_path: Path) -> None:
    file = tmp_path / "afile"
    file.write_text("hello")
    assert "is a file; name a corpus" in serbench("corpus", "describe", file).sentence


def test_a_folder_in_the_place_of_a_file_that_is_written(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="a folder stands where a file is needed"):
        write_text(tmp_path, "hello")
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_is_no_yaml_and_an_only_that_says_nothing(serbench: Command) -> None:
    with pytest.raises(UsageError, match=re.escape("--set egemaps-svm:C={[: the value is no YAML")):
        with_settings(load_system("egemaps-svm"), {"C": "{["})
    assert "--only '': expected key=value" in serbench("run", "quick", "--only", "", "--dry-run").sentence


def test_a_system_that_answers_without_a_server_has_no_stored_replies(serbench: Command) -> None:
    said = serbench("replies", "forget", "qwen2-audio-small", "--all").sentence
    assert "qwen2-audio-small has no stored replies" in said
    assert "is no Audio-LLM" not in said


def test_a_folder_without_runs_says_where_they_are_looked_for(
    serbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert serbench("list", "runs").out == "no runs in the folder runs; make one with: serbench run MATRIX\n"


def test_a_file_in_the_place_of_a_run_is_seen_by_a_dry_run_too(serbench: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert (
        "is a file; name a folder with --out"
        in serbench("run", "quick", "--out", tmp_path / "file", "--dry-run").sentence
    )
