"""A plan counts as registered beforehand only where git shows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.leaderboard import Board, add_run, validate
from bench.leaderboard.registration import Registrations, register_plan
from bench.scoring.records import read_facts
from bench.storage.run_folder import RunFolder
from tests.adversarial.planned import MATRIX, RESAMPLES, RULES
from tests.command import command


def git(folder: Path, *arguments: str) -> str:
    made = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(folder), *made, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return done.stdout.strip()


def commit(folder: Path, words: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", words)
    return git(folder, "rev-parse", "--short=10", "HEAD")


def claim(run: Path, scored: str, answered: str | None = None) -> None:
    """Make records say that code of these revisions scored them and answered their cells."""
    for path in (run / "records").glob("*.json"):
        facts = json.loads(path.read_text())
        facts |= {"code_version": f"0.3.0+g{scored}", "cells_code": [f"0.3.0+g{answered or scored}"]}
        path.write_text(json.dumps(facts))


def badges(run: Path, board: Board, *, tables: bool = False) -> set[tuple[bool, str]]:
    """What the board would say of the run's records, were they published now."""
    folder = RunFolder(run)
    looked_up = Registrations(board.root)
    at_hand = folder.tables if tables else folder.root / "not published"
    found = (looked_up.of(read_facts(p), at_hand) for p in folder.records.glob("*.json"))
    return {(f.shown, f.words) for f in found}


def test_a_plan_is_pre_registered_only_where_git_shows_it(
    run: Path, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook of another repository
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / ".gitignore").write_text("run/\nresults/small/\n")
    before = commit(tmp_path, "Code")
    claim(run, before)
    assert badges(run, board) == {(False, "")}, "nobody registered anything"
    matrix = json.loads((run / "matrix.json").read_text())["matrix"]
    path, new = register_plan(board.root, matrix)
    assert new
    ((shown, words),) = badges(run, board)
    assert not shown
    assert "was not yet committed" in words
    registered = commit(tmp_path, "Plan")
    ((shown, words),) = badges(run, board)
    assert not shown, "the code that scored is older than the plan"
    later = commit(tmp_path, "More code")
    claim(run, later)
    assert badges(run, board) == {(True, "")}
    claim(run, later, answered=before)
    ((shown, words),) = badges(run, board)
    assert not shown, "cells that were answered before the plan are not made newer by scoring them again"
    claim(run, registered)
    assert badges(run, board) == {(True, "")}
    add_run(run, board, tables=False)
    assert {r.as_json()["pre_registered"] for r in validate(board).records} == {True}
    ((shown, words),) = badges(run, board, tables=True)
    assert not shown, "the tables say which code wrote them, and it is not known here"
    assert "not known in this repository" in words
    whole = path.read_text()
    path.write_text(whole.replace('"package"', '"package" '))
    ((shown, words),) = badges(run, board)
    assert not shown, "the file that was committed is another"
    path.write_text(whole.replace("small", "other"))
    assert "was edited" in badges(run, board).pop()[1]
    path.write_text(whole)
    for version, why in (
        ("0.3.0", "names no revision"),
        ("0.3.0+gabcdef0123", "is not known in this repository"),
    ):
        claim(run, registered)
        for record in (run / "records").glob("*.json"):
            record.write_text(record.read_text().replace(f"0.3.0+g{registered}", version))
        assert why in badges(run, board).pop()[1]


def test_a_shallow_clone_or_no_git_cannot_show_a_registration(
    run: Path, board: Board, tmp_path: Path
) -> None:
    register_plan(board.root, json.loads((run / "matrix.json").read_text())["matrix"])
    claim(run, "abcdef0123")
    assert "is in no git work tree" in badges(run, board).pop()[1]
    origin = tmp_path / "origin"
    (origin / "results").mkdir(parents=True)
    shutil.copytree(board.root / "plans", origin / "results/plans")
    git(origin, "init", "-q", "-b", "main")
    commit(origin, "Plan")
    claim(run, commit(origin, "Code"))
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{origin}", "shallow")
    clone = Board(tmp_path / "shallow/results")
    (clone.root / "board.yaml").write_text(RULES)
    assert "the clone is shallow" in badges(run, clone).pop()[1]


def test_registering_twice_changes_nothing_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serbench = command(monkeypatch, capsys)
    (tmp_path / "mine.yaml").write_text(
        MATRIX.format(systems="['majority', '*-superb']", seeds="[0]", plan=RESAMPLES)
    )
    asked = ("plan", "register", tmp_path / "mine.yaml", "--results", tmp_path / "results")
    done = serbench(*asked)
    assert "commit it before the data are touched" in done.out
    (path,) = (tmp_path / "results/plans").iterdir()
    written = json.loads(path.read_text())
    assert path.name == f"small-{written['matrix_hash']}.json"
    assert {"majority", "fbank-superb"} <= set(written["systems"])
    before = path.read_bytes()
    assert serbench(*asked, "--json").json["new"] is False
    assert path.read_bytes() == before
    path.write_text(path.read_text().replace("within", "zero-shot"))
    assert "was edited" in serbench(*asked).sentence
    path.write_text("{}")
    assert "is not as serbench plan register writes it" in serbench(*asked).sentence
    assert "unknown matrix" in serbench("plan", "register", "no-such").sentence
