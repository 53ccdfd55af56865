"""What tests of plans and outcomes begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.leaderboard import Board
from bench.storage.run_folder import RunFolder
from tests.adversarial.planned import RULES, Runner, publishable


@pytest.fixture
def runner(run: Path, finished_run: Path) -> Runner:
    return Runner(RunFolder(run), finished_run / "data", [])


@pytest.fixture
def board(run: Path, tmp_path: Path) -> Board:
    """An empty board with rules that the small run keeps to."""
    made = Board(tmp_path / "results")
    made.root.mkdir()
    (made.root / "board.yaml").write_text(RULES)
    publishable(run)
    return made
