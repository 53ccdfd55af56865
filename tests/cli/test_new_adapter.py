"""A skeleton that works at once: its own test passes, it is found once installed, and it runs in a matrix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli.app import app
from bench.cli.new_adapter import new_adapter
from bench.errors import UsageError
from tests.conftest import write_tone_corpus

ROOT = Path(__file__).resolve().parents[2]


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SERBENCH_")}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "SERBENCH_CACHE": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["predictor", "encoder"])
def test_the_skeletons_own_test_passes_and_it_runs_in_a_matrix(tmp_path: Path, kind: str) -> None:
    done = CliRunner().invoke(
        app, ["new", "adapter", "my-model", "--into", str(tmp_path), "--kind", kind, "--json"]
    )
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.output)) == 6
    folder = tmp_path / "my-model"
    tested = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "1 passed" in tested.stdout
    write_tone_corpus(tmp_path / "data/tones")
    card = "./my_model_adapter/systems/my-model.yaml"
    matrix = (folder / "matrix.yaml").read_text().replace("[my-model,", f"[{card},")
    (folder / "local.yaml").write_text(matrix)
    ran = python(
        folder, "-m", "bench.cli", "run", "local.yaml", "--data", str(tmp_path / "data"), "--workers", "1"
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    scored = python(folder, "-m", "bench.cli", "score", "runs/my-model-first", "--json")
    best = {s["system"]: s["estimate"] for s in json.loads(scored.stdout) if (s["metric"], s["view"], s["rows"]) == ("ua", "native", "all")}  # fmt: skip
    assert best["my-model"] > best["majority"], "it hears the pitch of the tones"
    style = python(folder, "-m", "ruff", "check", "--select", "E,F,B,UP", "--line-length", "130", ".")
    assert style.returncode == 0, style.stdout


@pytest.mark.parametrize("name", ["../evil", "My-Model", "a--b", "1x", "a_b", ""])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a system"):
        new_adapter(name, tmp_path, "predictor")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    new_adapter("mine", tmp_path, "predictor")
    with pytest.raises(UsageError, match="exists"):
        new_adapter("mine", tmp_path, "encoder")
