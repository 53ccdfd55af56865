"""The measuring scripts run: what nobody runs rots."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch


@pytest.mark.slow
def test_the_gpu_figures_run_through_in_miniature(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.perf_gpu", "--device", "cpu", "--tiny", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    rows = json.loads(out.read_text())["rows"]
    assert [r["unit"] for r in rows] == ["clips/s"] * 3 + ["steps/s"] * 2
    assert all(0 < r["low"] <= r["per_second"] <= r["high"] and r["share"] > 0 for r in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU is told")
def test_without_a_gpu_they_say_so() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "tests.perf_gpu"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 2
    assert "no CUDA device is visible" in said.stdout + said.stderr
