"""What is printed of cells that failed: each reason once, not once per fold and seed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.cli.running import failures
from bench.storage.journal import CellRow
from tests.command import Command


def failed(system: str, fold: str, error: str) -> CellRow:
    return CellRow(
        f"{system}-{fold}", system, "tones.ms", "within", "clean", fold, 0, "failed", None, None, error
    )


def test_cells_that_failed_for_one_reason_are_one_line() -> None:
    full = "the disk is full"
    rows = [failed("a", str(fold), full) for fold in range(15)]
    assert failures([*rows, failed("b", "0", full), failed("a", "15", "no labels")]) == [
        "failed: a on tones.ms, 15 cells: the disk is full",
        "failed: b on tones.ms, fold 0, seed 0: the disk is full",
        "failed: a on tones.ms, fold 15, seed 0: no labels",
    ]


def test_any_command_that_is_interrupted_says_so(serbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.cli.listing.show", interrupted)
    done = serbench("list", "matrices")
    assert done.code == 130
    assert done.err == "stopped; what is finished is kept, the same command goes on from there\n"


def test_an_interrupt_that_comes_while_a_module_is_imported_is_one_sentence() -> None:
    code = """
import sys, typer
import bench.cli.app as app
from bench.cli import main

class Odd:
    def __set_name__(self, owner, name):
        raise KeyboardInterrupt

app.app.command("odd")(lambda: type("Owner", (), {"odd": Odd()}))
sys.argv = ["serbench", "odd"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "stopped; what is finished is kept, the same command goes on from there\n"
