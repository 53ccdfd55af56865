"""Two drivers are kept apart, and a driver that was killed keeps nobody out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.storage.locking import exclusive
from bench.storage.run_folder import RunFolder

HOLD = """
import sys, time
from pathlib import Path
from bench.storage.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_driver_is_refused_until_the_first_is_gone_even_by_a_kill(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.root)], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(BenchError) as refused, run.locked():
            pass
        assert str(refused.value) == (
            f"{run.root}: another serbench is working on this run; wait for it, or choose another --out"
        )
        first.kill()
    with run.locked():
        pass


def test_one_process_holds_a_folder_once_and_lets_go_when_it_fails(tmp_path: Path) -> None:
    def fail_while_it_is_held() -> None:
        with exclusive(tmp_path, ".lock", "busy"):
            with pytest.raises(BenchError, match="busy"), exclusive(tmp_path, ".lock", "busy"):
                pass
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_while_it_is_held()
    with exclusive(tmp_path, ".lock", "busy"):
        assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_a_place_where_no_folder_can_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(BenchError, match="cannot be written, a file stands where a folder is needed"),
        RunFolder(tmp_path / "file").locked(),
    ):
        pass
