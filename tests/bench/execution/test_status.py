"""A run seen from outside: while it runs, killed, stopped, finished; and what its cells took."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from bench.cli.status import show_status
from bench.errors import BenchError, UsageError
from bench.execution import heartbeat
from bench.execution.driver import run_matrix
from bench.execution.executors.interface import WorkerSight
from bench.execution.gpus import gpu_joules, gpu_sights
from bench.execution.heartbeat import DriverSign, StageSight
from bench.execution.job_use import Taking
from bench.execution.planning.reasons import group_reasons
from bench.execution.progress import Reporter
from bench.execution.status import RunStatus, read_status
from bench.storage.journal import CellRow, JobRow, Journal, reading
from bench.storage.provenance import COST_COLUMNS
from bench.storage.run_folder import RunFolder
from tests.slow_runs import prepare, settings, write_card


class Watching(Reporter):
    """Looks at the run from within its driver, whenever a job ends."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.seen: list[RunStatus] = []

    def moved(self, slot: int, done: float, total: float) -> None:
        self.seen.append(read_status(self.run))

    def finished(self, slot: int, name: str, seconds: float, left: float) -> None:
        self.seen.append(read_status(self.run))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def cell(key: str, **changes: object) -> CellRow:
    row = {"system": "a", "task": "t.en", "protocol": "within", "condition": "clean", "fold": "0", "seed": 0}
    row |= {"state": "done", "table_hash": "x", "notes": None, "error": None, **changes}
    return CellRow(cell=key, **row)  # type: ignore[arg-type]


def small_run(root: Path, *cells: CellRow, ended: bool = True, planned: bool = True) -> RunFolder:
    """A run of three cells of which one is blocked besides, as a driver leaves it."""
    folder = RunFolder(root)
    folder.tables.mkdir(parents=True)
    with Journal(folder.journal) as journal:
        journal.begin("s", 1, "{}")
        for row in cells:
            journal.record([row], JobRow("s", "fit", "n", "fit a", 10, 2.0, 1.0, time.time()))
            if row.state == "done":
                (folder.tables / f"{row.cell}.parquet").write_bytes(b"")
        if ended:
            journal.end("s", 4.0)
    if planned:
        record = {"system": "a", "task": "t.en", "cells": ["k0", "k1", "k2"], "blocked": 1, "left_out": 2}
        folder.planned.write_text(json.dumps({"records": {"a-on-t": record}}))
    return folder


def sign(folder: RunFolder, pid: int, **changes: object) -> None:
    sight = WorkerSight(0, "a · t.en · 2 cells", "fit", 5.0, 1.0, pid=7, memory_bytes=2**20, cells=2)
    said = DriverSign(
        driver=pid,
        node=socket.gethostname(),
        started=time.time(),
        written=time.time(),
        workers=(sight,),
        stage=StageSight("matrix m", 4, 3, 60.0),
    )
    folder.status.write_text(said.model_copy(update=changes).model_dump_json())


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_real_run_is_seen_while_it_runs_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, monkeypatch)
    write_card(tmp_path, fail="s1-", wait=0.1)
    monkeypatch.setattr(heartbeat, "FILE_SECONDS", 0.0)
    watching = Watching(tmp_path / "out")
    summary = run_matrix(settings(tmp_path, "out", only={"system": ["slow"]}), watching)
    assert {s.state for s in watching.seen} == {"running"}
    fits = [s for s in watching.seen if s.stage and s.stage.title == "matrix kill"]
    assert fits[0].stage is not None
    assert (fits[0].driver, fits[0].stage.jobs) == (os.getpid(), summary.computed + len(summary.failed))
    assert [s.done for s in fits] == sorted(s.done for s in fits)
    assert any(w.kind == "fit" and w.cells == 1 and w.pid for s in watching.seen for w in s.workers)

    before = bytes_of(tmp_path / "out")
    after = read_status(tmp_path / "out")
    assert bytes_of(tmp_path / "out") == before
    assert (after.state, after.workers, after.running, after.waiting) == ("finished", (), 0, 0)
    assert after.done == summary.computed
    assert after.failed == {"RuntimeError: the model is unhappy": len(summary.failed)}
    assert after.left_out, "the other system's cells were not asked for"
    assert after.pace is not None
    assert after.pace.cells == summary.computed

    costs = json.loads((tmp_path / "out" / "sidecar.json").read_text())["cells"]
    assert tuple(costs["columns"]) == COST_COLUMNS
    assert {f"{key}.parquet" for key in costs["rows"]} == {
        p.name for p in (tmp_path / "out" / "tables").iterdir()
    }
    for seconds, memory, gpu_memory, joules in costs["rows"].values():
        assert 0 < seconds < 60
        assert 2**24 < memory < 2**34
        assert gpu_memory is joules is None


def test_a_driver_that_is_gone_is_told_from_one_that_works(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "run", cell("k0"), ended=False)
    sign(folder, os.getpid())
    works = read_status(folder.root)
    assert (works.state, works.done, works.running, works.waiting) == ("running", 1, 2, 0)
    assert works.blocked_cells == 1
    assert works.left_out == 2
    sign(folder, dead_pid())
    killed = read_status(folder.root)
    assert (killed.state, killed.workers, killed.running, killed.waiting) == ("killed", (), 0, 2)
    # Another process has its number by now.
    sign(folder, os.getpid(), started=1000.0, written=2000.0)
    assert read_status(folder.root).state == "killed"
    sign(folder, 1, node="elsewhere")
    assert read_status(folder.root).state == "running"
    sign(folder, 1, node="elsewhere", written=time.time() - 600)
    unknown = read_status(folder.root)
    assert unknown.state == "unknown"
    assert "elsewhere" in unknown.why
    folder.status.unlink()
    assert read_status(folder.root).state == "stopped"


def test_a_hung_driver_does_not_stop_the_clock_of_its_workers(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "run", ended=False)
    sign(folder, os.getpid(), written=time.time() - 5)
    assert 9.5 < read_status(folder.root).workers[0].seconds < 12


def test_a_straggler_stands_below_the_workers_with_what_others_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_run(tmp_path / "run", cell("k0"), ended=False)
    slow = WorkerSight(4, "big · t.en · 5 cells", "fit", 2400.0, 1.0, node="node-b", pid=7, expected=600.0)
    well = WorkerSight(5, "small · t.en · 5 cells", "fit", 30.0, 1.0, pid=8, expected=600.0)
    sign(folder, os.getpid(), workers=(slow, well))
    show_status(folder.root, every=None, as_json=False)
    said = capsys.readouterr().out
    assert "others took" in said
    assert (
        "slow: big · t.en · 5 cells (worker 4 on node-b) has taken 40 min, others of its kind 10 min" in said
    )
    assert said.count("slow:") == 1
    show_status(folder.root, every=None, as_json=True)
    assert [w["expected"] for w in json.loads(capsys.readouterr().out)["workers"]] == [600.0, 600.0]


def test_a_table_that_is_gone_is_no_finished_cell(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "run", cell("k0"), cell("k1"), cell("other"))
    assert (read_status(folder.root).done, read_status(folder.root).waiting) == (2, 1)
    (folder.tables / "k1.parquet").unlink()
    assert (read_status(folder.root).done, read_status(folder.root).waiting) == (1, 2)


def test_what_a_killed_driver_half_wrote_is_rolled_back_elsewhere(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "run", cell("k0"), ended=False)
    writing = sqlite3.connect(folder.journal, isolation_level=None)
    writing.executescript("PRAGMA cache_size=1; PRAGMA cache_spill=1; BEGIN;")
    writing.execute("UPDATE cells SET state='failed', error='never committed'")
    writing.executemany(
        "INSERT INTO cells (cell,system,task,protocol,condition,fold,seed,state) VALUES (?,'a','t','w','c','0',0,'done')",
        [(f"{i:04}" + "x" * 2000,) for i in range(500)],
    )
    left = tmp_path / "left"
    shutil.copytree(folder.root, left)
    writing.execute("ROLLBACK")
    writing.close()
    assert (left / "journal.sqlite-journal").stat().st_size > 0
    with pytest.raises(BenchError):
        Journal(left / "journal.sqlite", read_only=True)
    before = bytes_of(left)
    assert (read_status(left).done, read_status(left).failed) == (1, {})
    assert bytes_of(left) == before


def test_older_runs_are_counted_as_far_as_they_can_be(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.root.mkdir()
    with sqlite3.connect(folder.journal) as old:
        old.executescript(
            "CREATE TABLE cells (cell TEXT PRIMARY KEY, system TEXT, task TEXT, protocol TEXT, condition TEXT, fold TEXT, seed INTEGER, "
            "state TEXT, table_hash TEXT, notes TEXT, error TEXT);"
            "CREATE TABLE jobs (number INTEGER PRIMARY KEY, session TEXT, kind TEXT, name TEXT, key TEXT, clips INTEGER, seconds REAL, "
            "work_seconds REAL, started REAL, error TEXT);"
            "CREATE TABLE sessions (session TEXT PRIMARY KEY, started REAL, wall_seconds REAL, workers INTEGER, facts TEXT);"
            "INSERT INTO cells VALUES ('k','a','t','within','clean','0',0,'failed',NULL,NULL,'no luck');"
        )
    before = bytes_of(folder.root)
    found = read_status(folder.root)
    assert (found.failed, found.waiting, found.state) == ({"no luck": 1}, None, "finished")
    assert "not noted" in found.notes[0]
    assert bytes_of(folder.root) == before
    with Journal(folder.journal) as journal:
        journal.record([cell("n", seconds=1.5, joules=2.0)], JobRow("s", "fit", "n", "k", 1, 1.0, 1.0, 1.0))
    with reading(folder.journal) as journal:
        assert journal.cells()["k"].transient is None
        assert (journal.cells()["n"].seconds, journal.cells()["n"].joules) == (1.5, 2.0)


def test_a_journal_that_nothing_was_written_to_yet_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"")
    assert read_status(tmp_path).done == 0
    with pytest.raises(UsageError, match="is no run"):
        read_status(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["planned.json", "matrix.json"])
def test_a_damaged_file_is_a_sentence_that_names_it(tmp_path: Path, name: str) -> None:
    folder = small_run(tmp_path / "run", cell("k0"))
    (folder.root / name).write_text('{"records": 3, "blocked": [1]}')
    with pytest.raises(BenchError, match=name):
        read_status(folder.root)


def test_a_damaged_status_file_keeps_nobody_from_seeing_the_rest(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "run", cell("k0"))
    folder.status.write_text('{"driver": "me"}')
    found = read_status(folder.root)
    assert (found.done, found.state) == (1, "finished")
    assert "status.json" in found.notes[0]


def test_reasons_of_one_kind_are_told_once() -> None:
    needs = "needs a server: --set {0}:server=http://HOST/v1"
    groups = group_reasons(
        {n: needs.format(n) for n in ("b1", "b2", "b3")} | {"c": "weights '/x/y' not found", "d": "no luck"}
    )
    assert [g.names for g in groups] == [("b1", "b2", "b3"), ("c",), ("d",)]
    assert groups[0].words("system").startswith("3 systems, b1 to b3, for example: needs a server: --set b1:")
    assert groups[2].words("system") == "d: no luck"


def fake_nvml(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Two GPUs; what the second has used is what the returned object says."""
    nvml = ModuleType("pynvml")
    said = SimpleNamespace(joules=0, broken=False)

    class NVMLError(Exception):
        pass

    def energy(handle: str) -> int:
        if said.broken:
            raise NVMLError("Not Supported")
        return int(said.joules * 1000) if handle == "GPU-1" else 0

    for name, value in {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda i: f"GPU-{i}",
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetName": lambda _: b"Card",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=3, total=10),
        "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=40),
        "nvmlDeviceGetTotalEnergyConsumption": energy,
    }.items():
        setattr(nvml, name, value)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return said


def test_gpus_and_their_energy_are_told_where_nvml_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_sights() == []
    assert gpu_joules("cuda:0") is None
    said = fake_nvml(monkeypatch)
    assert [(g.number, g.name, g.use_percent, g.used_bytes, g.bytes) for g in gpu_sights()] == [
        (0, "Card", 40, 3, 10),
        (1, "Card", 40, 3, 10),
    ]
    for visible, device in (("0,1", "cuda:1"), ("1", "cuda:0"), ("GPU-1", "cuda:0")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        said.joules = 100
        taking = Taking(device)
        said.joules = 130.5
        assert taking.end().joules == 30.5
    assert gpu_joules("cuda:7") is None
    assert Taking("cpu").end().joules is None
    said.broken = True
    assert gpu_joules("cuda:0") is None


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel counts no peaks")
def test_the_peak_of_a_job_is_its_own_and_not_that_of_one_before() -> None:
    taking = Taking("cpu")
    assert len(bytearray(b"x") * 150_000_000) == 150_000_000
    first = taking.end().memory_bytes
    second = Taking("cpu").end().memory_bytes
    assert first is not None
    assert second is not None
    assert first - second > 100_000_000
