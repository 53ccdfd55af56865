"""Full disks, cold caches that are shared, torn journals, clocks that jump: one sentence, and then the same command goes on."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.execution.driver import run_matrix
from bench.execution.executors import processes
from bench.execution.executors.processes import WorkerProcess
from bench.execution.jobs import FitJob, Job
from bench.execution.progress import Reporter
from bench.storage.journal import Journal
from bench.storage.run_folder import RunFolder
from tests.slow_runs import prepare, records, settings, tables


@pytest.fixture
def bench_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepare(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished run, ``whole``, that nothing befell; do not change it."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        prepare(folder, patch)
        assert run_matrix(settings(folder, "whole"), Reporter()).failed == ()
        yield folder / "whole"


@pytest.fixture
def finished(bench_dir: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that run, beside its matrix and with its cache; to be damaged."""
    shutil.copytree(whole, bench_dir / "one")
    shutil.rmtree(bench_dir / "data")
    shutil.copytree(whole.parent / "data", bench_dir / "data")
    return bench_dir


def command(folder: Path, out: str, **more: object) -> subprocess.Popen[str]:
    asked = [
        sys.executable,
        "-m",
        "bench.cli",
        "run",
        "kill.yaml",
        "--data",
        "data",
        "--out",
        out,
        "--workers",
        "1",
    ]
    return subprocess.Popen(
        asked,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,  # type: ignore[call-overload]
    )


def test_two_runs_on_one_cold_cache_give_the_same(bench_dir: Path) -> None:
    both = [command(bench_dir, name) for name in ("one", "two")]
    assert [p.wait(timeout=120) for p in both] == [0, 0], [p.communicate()[0] for p in both]
    assert tables(bench_dir / "one") == tables(bench_dir / "two")
    assert records(bench_dir / "one") == records(bench_dir / "two")
    assert not [p for p in bench_dir.rglob("*") if p.name.endswith(".tmp")]


def test_a_disk_that_is_full_is_one_sentence_and_the_same_command_goes_on(
    bench_dir: Path, whole: Path
) -> None:
    biggest = max(p.stat().st_size for p in (whole / "tables").iterdir())

    def small() -> (
        None
    ):  # no file may grow to the size of a prediction table: as a full disk, for what is written late
        resource.setrlimit(resource.RLIMIT_FSIZE, (biggest - 1, biggest - 1))

    full = command(bench_dir, "one", preexec_fn=small)
    said, _ = full.communicate(timeout=120)
    assert full.returncode == 1, said
    assert "Traceback" not in said
    assert "may not grow that large" in said or "journal cannot be" in said, said
    assert run_matrix(settings(bench_dir, "one"), Reporter()).failed == ()
    assert records(bench_dir / "one") == records(whole)
    assert tables(bench_dir / "one") == tables(whole)


@pytest.mark.parametrize("place", ["/proc/none/run", "/dev/null/run", "a-file/run"])
def test_a_place_that_cannot_be_written_is_one_sentence(bench_dir: Path, place: str) -> None:
    (bench_dir / "a-file").write_text("")
    with pytest.raises(BenchError, match="cannot be written, ") as error:
        run_matrix(settings(bench_dir, place), Reporter())
    assert "\n" not in str(error.value)


def test_a_journal_with_a_damaged_page_is_one_sentence_whose_advice_helps(finished: Path) -> None:
    bench_dir = finished
    before, path = records(bench_dir / "one"), RunFolder(bench_dir / "one").journal
    whole = path.read_bytes()
    page = int.from_bytes(whole[16:18], "big")
    for number in range(len(whole) // page):
        damaged = bytearray(whole)
        damaged[number * page : number * page + 200] = b"\xa5" * 200
        path.write_bytes(damaged)
        with pytest.raises(BenchError, match=r"journal\.sqlite out of the run's folder") as error:
            run_matrix(settings(bench_dir, "one"), Reporter())
        assert "\n" not in str(error.value)
        assert records(bench_dir / "one") == before
    path.unlink()
    assert run_matrix(settings(bench_dir, "one"), Reporter()).computed == 15
    assert records(bench_dir / "one") == before


def test_a_journal_of_an_earlier_version_is_read_and_added_to(finished: Path) -> None:
    bench_dir = finished
    path = RunFolder(bench_dir / "one").journal
    with sqlite3.connect(path) as base:
        base.execute("ALTER TABLE cells DROP COLUMN transient")
        base.execute("UPDATE cells SET state='failed', error='as before' WHERE rowid=1")
    base.close()
    with Journal(path) as journal:
        assert {row.transient for row in journal.cells().values()} == {None}
    # Nobody said whether that failure may pass: it is tried again, as it was by the earlier version.
    assert run_matrix(settings(bench_dir, "one"), Reporter()).computed == 1


def test_a_clock_that_jumps_back_in_the_middle_changes_no_result(
    bench_dir: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, calls = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: true() - 86_400 * (next(calls) // 5))
    summary = run_matrix(settings(bench_dir, "one"), Reporter())
    assert (summary.failed, summary.computed) == ((), 15)
    assert records(bench_dir / "one") == records(whole)
    assert summary.wall_seconds < 300


def test_what_a_killed_run_was_writing_goes_with_the_next_and_nothing_else_does(finished: Path) -> None:
    left = finished / "one" / "tables" / f".a.parquet.{'0a' * 16}.tmp"
    own = finished / "one" / ".notes.tmp"
    for path in (left, own):
        path.write_text("half")
    assert run_matrix(settings(finished, "one"), Reporter()).computed == 0
    assert (left.exists(), own.exists()) == (False, True)


def test_no_room_for_another_process_is_one_sentence(
    bench_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(processes.subprocess, "Popen", refuse)
    with pytest.raises(BenchError, match="no worker process can be started"):
        WorkerProcess(0, "cpu", bench_dir / "log", None)


def test_tables_that_a_worker_wrote_elsewhere_are_no_finished_cells(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(self: WorkerProcess, job: Job) -> None:
        self.line.send(replace(job, tables=finished / "elsewhere") if isinstance(job, FitJob) else job)

    for table in list((finished / "one" / "tables").iterdir())[:2]:
        table.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(WorkerProcess, "_send", send)
        summary = run_matrix(settings(finished, "one"), Reporter())
    assert len(list((finished / "elsewhere").iterdir())) == len(summary.failed) == 2
    assert summary.computed == 0
    assert "wrote its tables elsewhere" in str(summary.failed[0].error)
    assert run_matrix(settings(finished, "one"), Reporter()).computed == 2, "tried again by the same command"
