"""What an adapter may do to its worker: print without end, hang, eat memory, leave processes behind, raise anything."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from bench.execution import heartbeat
from bench.execution.driver import run_matrix
from bench.execution.executors import warden
from bench.execution.executors.interface import WorkerLimits
from bench.execution.progress import ProgressLines, Reporter
from bench.storage.journal import Journal
from bench.storage.run_folder import RunFolder
from tests.slow_runs import prepare, records, settings

RUDE = '''
import os, signal, subprocess, sys, time
from bench.protocols import Answers

class Rude:
    """Misbehaves in fold 0, as it is told to; answers otherwise."""
    def __init__(self, way="", mark=""):
        self.way, self.mark = way, mark
    def fit(self, train, dev, context):
        self.label = context.labels[0]
        if context.seed or any("s0-" in i for i in train.clips.ids + dev.clips.ids):
            return
        if self.way == "interrupt":
            raise KeyboardInterrupt
        if self.way == "generator":
            raise GeneratorExit("odd")
        if self.way == "hang":
            subprocess.Popen(["sleep", self.mark])
            time.sleep(600)
        if self.way == "eat":
            self.eaten = b"x" * 700_000_000
            time.sleep(600)
        if self.way == "print":
            for _ in range(200):
                print("x" * 99_999)
            print("last words")
        if self.way == "escape":
            raise RuntimeError("\\x1b]0;owned\\x07\\x1b[31mred [bold]text\\x9b\\u202e")
        if self.way == "leave":
            subprocess.Popen(["sleep", self.mark])
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.way == "once":
            raise ConnectionError("the server is away")
    def predict(self, clips):
        return Answers(("ok",) * len(clips), (self.label,) * len(clips))
'''
CARD = "name: {way}\nfamily: trained\ntrack: adapted\nadapter: rude_adapter:Rude\nparams: {{way: {way}, mark: '{mark}'}}\nseeds: false\n"
MATRIX = "name: kill\nentries:\n  - systems: [{systems}]\nplan: {{resamples: 1000, permutations: 1000}}\n"
MARK = f"3{os.getpid()}"
"""Seconds that a process sleeps which an adapter leaves behind; by them it is known."""


class Notes(ProgressLines):
    def __init__(self) -> None:
        self.out = io.StringIO()
        super().__init__(Console(file=self.out, markup=True))

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


@pytest.fixture
def bench_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepare(tmp_path, monkeypatch)
    (tmp_path / "rude_adapter.py").write_text(RUDE)
    return tmp_path


def behave(folder: Path, *ways: str) -> None:
    for way in ways:
        (folder / f"{way}.yaml").write_text(CARD.format(way=way, mark=MARK))
    names = ", ".join(["majority", *(f"./{way}.yaml" for way in ways)])
    (folder / "kill.yaml").write_text(MATRIX.format(systems=names))


def states(folder: Path) -> dict[str, tuple[str, bool | None]]:
    """Error of each system's one failed cell, and whether it may pass."""
    with Journal(RunFolder(folder).journal) as journal:
        failed = [row for row in journal.cells().values() if row.state == "failed"]
    assert len({row.system for row in failed}) == len(failed)
    return {row.system: (row.error or "", row.transient) for row in failed}


def sleeping(mark: str) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", mark]]


def wardens(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(driver.pid).children():
        with suppress(psutil.Error):
            if "executors.warden" in " ".join(child.cmdline()[1:3]):
                found.append(child)
    return found


def gone(mark: str) -> bool:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and sleeping(mark):
        time.sleep(0.2)
    return not sleeping(mark)


def test_whatever_an_adapter_does_fails_its_own_cell_alone(bench_dir: Path) -> None:
    behave(bench_dir, "interrupt", "generator", "leave", "once", "escape", "print")
    asked, notes = settings(bench_dir, "one"), Notes()
    assert run_matrix(asked, notes).computed == 7 * 5 - 5
    found = states(asked.out)
    assert {system: may_pass for system, (_, may_pass) in found.items()} == {
        "interrupt": False, "generator": False, "escape": False, "leave": True, "once": True,
    }  # fmt: skip
    for system, said in (
        ("interrupt", "KeyboardInterrupt"),
        ("generator", "GeneratorExit: odd"),
        ("leave", "SIGSEGV"),
        ("once", "ConnectionError: the server is away"),
    ):
        assert said in found[system][0]
    assert gone(MARK), "what the adapter started outlived its worker"
    assert not RunFolder(asked.out).status.exists()
    # What reaches the terminal obeys nothing that the adapter said.
    printed = notes.out.getvalue()
    assert "red [bold]text" in printed
    assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c == "\u202e" for c in printed)
    # 20 MB of output leave a bounded log that ends with their last words.
    log = RunFolder(asked.out).log.read_text()
    assert len(log) < warden.HEAD_BYTES + warden.TAIL_BYTES + 200_000
    assert re.search(r"\d+ bytes of output left out.*xxx\nlast words\n", log, re.DOTALL)
    # The same command tries again what may pass, and leaves alone what failed of itself.
    for more, tried, said in ((False, {"leave", "once"}, True), (True, set(found), False)):
        with Journal(RunFolder(asked.out).journal) as journal:
            before = len(journal.jobs())
            again = Notes()
            assert len(run_matrix(replace(asked, retry_failed=more), again).failed) == 5
            assert {j.name.split(" · ")[0] for j in journal.jobs()[before:]} == tried
        assert any("3 cells failed before of themselves" in line for line in again.lines) == said


def test_a_worker_that_hangs_or_takes_too_much_is_named_and_stopped(
    bench_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 1.5)
    monkeypatch.setattr(heartbeat, "FILE_SECONDS", 0.5)
    behave(bench_dir, "hang", "eat")
    asked, notes = settings(bench_dir, "one"), Notes()
    asked = replace(asked, limits=WorkerLimits(job_seconds=10, worker_bytes=6e8))
    seen: list[dict[str, object]] = []
    written = Path.replace

    def look(path: Path, target: Path) -> Path:
        if target == RunFolder(asked.out).status:
            seen.append(json.loads(path.read_text()))
        return written(path, target)

    monkeypatch.setattr(Path, "replace", look)
    assert run_matrix(asked, notes).computed == 15 - 2
    found = states(asked.out)
    assert "took longer than --job-timeout allows (10 s)" in found["hang"][0]
    assert "more than --worker-memory allows (572.2 MiB)" in found["eat"][0]
    assert (found["hang"][1], found["eat"][1]) == (False, True)
    assert gone(MARK)
    silent = [line for line in notes.lines if line.startswith("no sign of progress") and "hang" in line]
    said = Counter(line.split(": ")[1].split(" (")[0] for line in silent)
    assert max(said.values()) <= 4, "each time it waits twice as long before it says so again"
    assert re.search(r": hang · tones\.ms · fold \d seed 0 \(process \d+, ", "\n".join(silent))
    # Another process could have seen it in the status file.
    workers = [w for status in seen for w in status["workers"] if w["job"].startswith("hang")]  # type: ignore[attr-defined]
    assert all(status["driver"] == os.getpid() for status in seen)
    assert max(w["seconds"] for w in workers) > 2
    assert all(w["memory_bytes"] > 1e7 for w in workers if w["pid"] and w["seconds"] > 2)
    assert not RunFolder(asked.out).status.exists()


def test_an_interrupted_run_says_one_sentence_and_leaves_nobody_behind(bench_dir: Path) -> None:
    behave(bench_dir, "hang")
    command = [sys.executable, "-m", "bench.cli", "run", "kill.yaml", "--data", "data", "--out", "one"]
    for sign, until in ((signal.SIGTERM, "worker"), (signal.SIGINT, "start"), (signal.SIGKILL, "worker")):
        process = subprocess.Popen(
            command,
            cwd=bench_dir,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (sleeping(MARK) if until == "worker" else wardens(process)):
            time.sleep(0.1)
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        process.send_signal(sign)
        said, _ = process.communicate(timeout=30)
        assert "Traceback" not in said
        assert "Error" not in said
        if sign != signal.SIGKILL:
            assert process.returncode == 130
            assert said.strip().splitlines()[-1].startswith("stopped; what is finished is kept")
        assert gone(MARK)
        psutil.wait_procs(family, timeout=10)
        assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)
    behave(bench_dir)
    assert run_matrix(settings(bench_dir, "one"), Reporter()).failed == ()
    assert not RunFolder(bench_dir / "one").status.exists()
    assert records(bench_dir / "one")
    assert not [p for p in (bench_dir / "one").rglob("*") if p.name.endswith(".tmp")]
