"""A skeleton of each kind works at once: its own test passes, it runs in a matrix, and what it scores can be published."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli.app import app
from bench.cli.new_adapter import AdapterKind, new_adapter
from bench.errors import UsageError
from bench.leaderboard import Board, add_run, validate
from tests.conftest import write_tone_corpus
from tests.forging import RULES, clean_code

ROOT = Path(__file__).resolve().parents[2]


def serbench(*words: str | Path) -> str:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    return done.stdout


@pytest.mark.parametrize("kind", ["classifier", "encoder", "audio-lm"])
def test_a_skeleton_works_as_it_is_and_its_scores_can_be_published(
    tmp_path: Path, kind: AdapterKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is installed: the card is named by its path, and its code lies beside it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    name, module = f"my-{kind}", f"my_{kind.replace('-', '_')}_adapter"
    written = json.loads(serbench("new", "adapter", name, "--into", tmp_path, "--kind", kind, "--json"))
    assert len(written) == (7 if kind == "audio-lm" else 6)
    folder = tmp_path / name
    style = subprocess.run([sys.executable, "-m", "ruff", "check", "--select", "E,F,B,UP", "--line-length", "130", folder], capture_output=True, text=True, check=False)  # fmt: skip
    assert style.returncode == 0, style.stdout
    sys.path.append(str(folder / "tests"))
    runpy.run_path(str(folder / "tests" / f"test_{module}.py"))["test_the_contract_holds"]()

    write_tone_corpus(tmp_path / "data/tones")
    card = f"./{module}/systems/{name}.yaml" + (":choice" if kind == "audio-lm" else "")
    system = f"{name}-choice" if kind == "audio-lm" else name
    (folder / "local.yaml").write_text(
        (folder / "matrix.yaml").read_text().replace(f"[{system},", f'["{card}",')
    )
    run = [
        "run",
        folder / "local.yaml",
        "--data",
        tmp_path / "data",
        "--workers",
        "1",
        "--out",
        tmp_path / "run",
    ]
    if kind == "audio-lm":
        import pretend_server  # type: ignore[import-not-found]  # the skeleton's own

        with pretend_server.serving() as address:
            serbench(*run, "--set", f"{system}:server={address}")
    else:
        serbench(*run)
        best = {s["system"]: s["estimate"] for s in json.loads(serbench("score", tmp_path / "run", "--json")) if (s["metric"], s["view"], s["rows"]) == ("ua", "native", "all")}  # fmt: skip
        assert best[system] > best["majority"], "it hears the pitch of the tones"
    (tmp_path / "results").mkdir()
    (tmp_path / "results/board.yaml").write_text(RULES)
    board = Board(tmp_path / "results")
    published = add_run(clean_code(tmp_path / "run"), board, owner="alice")
    assert f"alice~{system}" in str(published)
    assert validate(board).problems == ()


def test_its_package_tests_itself_once_it_is_unpacked(tmp_path: Path) -> None:
    new_adapter("my-model", tmp_path, "classifier")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SERBENCH_")}
    environment |= {"PYTHONPATH": str(ROOT), "SERBENCH_CACHE": str(tmp_path / "cache")}
    tested = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=tmp_path / "my-model", env=environment, capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "1 passed" in tested.stdout


@pytest.mark.parametrize("name", ["../evil", "My-Model", "a--b", "1x", "a_b", ""])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a system"):
        new_adapter(name, tmp_path, "classifier")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    new_adapter("mine", tmp_path, "classifier")
    with pytest.raises(UsageError, match="exists"):
        new_adapter("mine", tmp_path, "encoder")
