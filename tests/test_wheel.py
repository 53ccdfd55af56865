"""The built wheel works where no clone is: installed into an empty environment, it runs a small matrix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_tone_corpus

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_wheel_in_an_empty_environment_runs_a_matrix(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment |= {
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "SERBENCH_CACHE": str(tmp_path / "cache"),
    }
    environment.pop("SERBENCH_DATA", None)

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    run(str(tmp_path / "venv/bin/pip"), "install", "--quiet", str(wheel))

    write_tone_corpus(tmp_path / "data" / "tones", dimensions=True)
    (tmp_path / "small.yaml").write_text(
        "name: small\nentries:\n  - systems: [majority, chance, egemaps-linear]\n"
    )
    serbench = str(tmp_path / "venv/bin/serbench")
    run(serbench, "run", "small.yaml", "--data", "data", "--out", "run")
    scores = json.loads(run(serbench, "score", "run", "--json"))
    assert {s["system"] for s in scores} == {"majority", "chance", "egemaps-linear"}
    tones = [
        s["estimate"]
        for s in scores
        if (s["system"], s["metric"], s["view"]) == ("egemaps-linear", "ua", "native")
    ]
    assert min(tones) > 0.9, "pitch alone tells these tones apart"
    report = run(serbench, "report", "run").strip()
    assert (tmp_path / report).is_file()
    assert "ser-bench" in (tmp_path / report).read_text(encoding="utf-8")
    where = run(str(tmp_path / "venv/bin/python"), "-c", "import bench; print(bench.__file__)")
    assert str(tmp_path) in where, "the wheel's own code must have run, not the clone's"
