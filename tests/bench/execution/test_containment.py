"""What an adapter may do to its worker: print without end, hang, eat memory, leave processes behind, raise anything."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
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
            self.eaten = bytearray(700_000_000)
            for i in range(0, len(self.eaten), 4096):
                self.eaten[i] = 1
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
CARD = "name: rude\nfamily: trained\ntrack: adapted\nadapter: rude_adapter:Rude\nparams: {{way: {way}, mark: '{mark}'}}\n"
MATRIX = "name: kill\nentries:\n  - systems: [./rude.yaml, majority]\nplan: {resamples: 1000, permutations: 1000}\n"


class Notes(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def bench_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepare(tmp_path, monkeypatch)
    (tmp_path / "rude_adapter.py").write_text(RUDE)
    (tmp_path / "kill.yaml").write_text(MATRIX)
    return tmp_path


def behave(folder: Path, way: str, mark: str = "") -> None:
    (folder / "rude.yaml").write_text(CARD.format(way=way, mark=mark))


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


@pytest.mark.parametrize(
    ("way", "said", "limits", "again"),
    [
        ("interrupt", "KeyboardInterrupt", WorkerLimits(), False),
        ("generator", "GeneratorExit: odd", WorkerLimits(), False),
        ("hang", "--job-timeout allows (2 s)", WorkerLimits(job_seconds=2), False),
        ("eat", "--worker-memory allows", WorkerLimits(worker_bytes=6e8), True),
        ("leave", "SIGSEGV", WorkerLimits(), True),
        ("once", "ConnectionError: the server is away", WorkerLimits(), True),
    ],
)
def test_whatever_an_adapter_does_fails_its_own_cell_alone(
    bench_dir: Path, way: str, said: str, limits: WorkerLimits, again: bool
) -> None:
    mark = f"3{os.getpid()}"
    behave(bench_dir, way, mark)
    asked = replace(settings(bench_dir, "one"), limits=limits, workers=1)
    summary = run_matrix(asked, Reporter())
    assert len(summary.failed) == 1, summary.failed
    assert said in (summary.failed[0].error or "")
    assert summary.computed == 9
    assert gone(mark), "what the adapter started outlived its worker"
    assert not RunFolder(bench_dir / "one").status.exists()
    # The same command tries again what may pass, and leaves alone what failed of itself.
    with Journal(RunFolder(bench_dir / "one").journal) as journal:
        before = len(journal.jobs())
        assert [r.transient for r in journal.cells().values() if r.state == "failed"] == [again]
        if way in ("interrupt", "once"):
            notes = Notes()
            assert len(run_matrix(asked, notes).failed) == 1
            assert len(journal.jobs()) - before == int(again)
            assert any("--retry-failed" in n for n in notes.lines) != again
            run_matrix(replace(asked, retry_failed=True), Reporter())
            assert len(journal.jobs()) - before == int(again) + 1


def test_endless_output_leaves_a_bounded_log_with_its_last_words(bench_dir: Path) -> None:
    behave(bench_dir, "print")
    assert run_matrix(replace(settings(bench_dir, "one"), workers=1), Reporter()).failed == ()
    log = RunFolder(bench_dir / "one").log.read_text()
    assert len(log) < warden.HEAD_BYTES + warden.TAIL_BYTES + 100_000
    assert "bytes of output left out" in log
    assert log.rstrip().endswith("last words")


def test_what_a_message_could_do_to_a_terminal_is_taken_out(bench_dir: Path) -> None:
    behave(bench_dir, "escape")
    out = io.StringIO()
    with ProgressLines(Console(file=out, markup=True)) as lines:
        run_matrix(replace(settings(bench_dir, "one"), workers=1), lines)
    printed = out.getvalue()
    assert "red [bold]text" in printed
    assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c == "\u202e" for c in printed)


def test_a_job_that_says_nothing_is_named_and_can_be_seen_from_outside(
    bench_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 1.5)
    mark = f"4{os.getpid()}"
    behave(bench_dir, "hang", mark)
    notes = Notes()
    asked = replace(settings(bench_dir, "one"), limits=WorkerLimits(job_seconds=6), workers=1)
    run_matrix(asked, notes)
    silent = [n for n in notes.lines if n.startswith("no sign of progress")]
    assert 1 <= len(silent) <= 3
    assert "rude · tones.ms" in silent[0]
    assert "process " in silent[0]
    assert gone(mark)


def test_an_interrupted_run_says_one_sentence_and_leaves_nobody_behind(bench_dir: Path) -> None:
    mark = f"5{os.getpid()}"
    behave(bench_dir, "hang", mark)
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
        while time.monotonic() < deadline and not (sleeping(mark) if until == "worker" else wardens(process)):
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
        assert gone(mark)
        psutil.wait_procs(family, timeout=10)
        assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)
    behave(bench_dir, "")
    assert run_matrix(settings(bench_dir, "one"), Reporter()).failed == ()
    assert not RunFolder(bench_dir / "one").status.exists()
    assert records(bench_dir / "one")
    assert not [p for p in (bench_dir / "one").rglob("*") if p.name.endswith(".tmp")]
