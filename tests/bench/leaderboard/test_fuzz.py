"""A board changed at random is refused in sentences or built: the short form of ``make fuzz``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.board_fuzz import fuzz
from tests.forging import clean_code, honest_board


def test_boards_changed_at_random_end_in_sentences_or_pages(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERBENCH_CACHE", str(finished_run / "cache"))
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    shutil.copytree(finished_run / "run", tmp_path / "run")
    honest_board(tmp_path / "made", clean_code(tmp_path / "run"), finished_run / "data")
    found = fuzz(tmp_path / "made", tmp_path, boards=8, seed=2026)
    assert found["failures"] == []
    assert sum(found["outcome"].values()) == 8
