"""``make soak``: a small matrix under both executors, killed again and again at random moments; nothing may be lost or left.

Each kill goes to the driver, a worker, the warden of a worker, everything at once, or a node of the Ray cluster, as TERM, INT
or KILL, at a moment drawn from a seed. A round goes on until the run has ended in good order; then its records and tables
must be those of an undisturbed run, byte for byte, no cell may have been computed again after the journal had it, and
neither a process nor a temporary file in the run's folder may be left (the cache, which other runs share, may keep one). The first fault ends the soak with a sentence.

Moments are drawn over as long as the undisturbed run took, on whatever machine. A soak that is stopped goes on with the next round when
the same command is given again; of other code or another seed it begins anew.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import psutil

from bench.storage.atomic import write_json
from bench.storage.provenance import code_version, processor_name
from tests.slow_runs import write_card, write_slow_bench
from tests.soak_processes import children, children_seconds, is_warden, wait_for_handlers, workers_seconds

SIGNS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
KILLS = {
    "local": tuple(product(("driver", "worker", "warden", "group"), SIGNS)),
    "ray": (
        *product(("driver", "worker", "warden", "group"), SIGNS),
        ("node", signal.SIGTERM),
        ("node", signal.SIGKILL),
    ),
}
"""Whom, and with what. All of them come in turn, in an order that is drawn anew each time."""
END_SECONDS = 120.0
"""A run that is told to stop must have ended by then, with everything it started (as Slurm's 30 s, on a machine that is busy)."""
SHORTEST = 3.0
"""Seconds over which moments are drawn, at least."""
RAY_LONGER = 3.0
"""A run under Ray starts its hosts first."""
ROUND_KILLS = 12
"""After so many kills a round is left to end, so that endings are looked at too."""


class Fault(Exception):
    """What must not happen."""


@dataclass
class Tally:
    """What was done and seen."""

    executor: str
    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    resumed: int = 0
    seconds: float = 0.0
    slowest_end: float = 0.0
    processor_seconds: float = 0.0
    """About: of all drivers and wardens, and of the workers until they were last looked at."""

    @classmethod
    def read(cls, path: Path, executor: str) -> Tally:
        """What a soak of the same code had come to; nothing where there was none."""
        if not path.exists():
            return cls(executor)
        said = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            executor,
            Counter(said["by_target_and_signal"]),
            said["runs_ended_and_compared"],
            said["starts"],
            said["seconds"],
            said["slowest_end_seconds"],
            said["processor_seconds"],
        )

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "executor": self.executor,
            "code_version": code_version(),
            "kills": sum(self.kills.values()),
            "by_target_and_signal": dict(sorted(self.kills.items())),
            "runs_ended_and_compared": self.rounds,
            "starts": self.resumed,
            "slowest_end_seconds": round(self.slowest_end, 1),
            "seconds": round(self.seconds),
            "processor_seconds": round(self.processor_seconds),
        }


@dataclass
class Soak:
    """One matrix in one folder, under one executor."""

    folder: Path
    executor: str
    rng: random.Random
    length: float = 10.0
    """Seconds that an undisturbed run takes here."""
    address: str | None = None
    cluster: Any = None
    processes: list[psutil.Process] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """Of a run: a cache of its own, one thread, modules compiled once, as an installed package has them."""
        path = os.pathsep.join(filter(None, (str(self.folder), os.environ.get("PYTHONPATH"))))
        own = {
            "SERBENCH_CACHE": str(self.folder / "cache"),
            "PYTHONPATH": path,
            "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode"),
            "OMP_NUM_THREADS": "1",
        }
        without = ("SERBENCH_DATA", "PYTHONDONTWRITEBYTECODE")
        return {k: v for k, v in os.environ.items() if k not in without} | own

    def start(self, out: str, executor: str = "local") -> subprocess.Popen[bytes]:
        """Begin a run, or go on with it."""
        how = (
            ["--workers", "2"]
            if executor == "local"
            else ["--executor", "ray", "--ray-address", str(self.address)]
        )
        command = [
            sys.executable,
            "-m",
            "bench.cli",
            "run",
            "kill.yaml",
            "--data",
            "data",
            "--out",
            out,
            *how,
        ]
        with (self.folder / f"{out}.said").open("ab") as said:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(),
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def soak(self, kills: int, minutes: float, seed: int) -> Tally:
        """Kill so many times, or begin no further run when the time is up; compare at every end."""
        state = self.folder / f"{self.executor}.json"
        tally, began = Tally.read(state, self.executor), time.monotonic()
        while sum(tally.kills.values()) < kills and time.monotonic() - began < 60 * minutes:
            out = f"{self.executor}-{tally.rounds}"
            self._forget(out)  # a round that was stopped begins anew
            self.rng = random.Random(f"{self.executor} {seed} {tally.rounds}")
            left = kills - sum(tally.kills.values())
            wall, processor = time.monotonic(), children_seconds()
            self._round(out, min(left, ROUND_KILLS), seed, tally)
            self._compare(out)
            tally.rounds += 1
            tally.seconds += time.monotonic() - wall
            tally.processor_seconds += children_seconds() - processor
            write_json(state, tally.as_json())
            self._forget(out)
            print(
                f"{self.executor}: {sum(tally.kills.values())} kills, {tally.rounds} runs compared, {tally.seconds:.0f} s, "
                f"{tally.processor_seconds:.0f} s of the processor",
                flush=True,
            )
        return tally

    def _forget(self, out: str) -> None:
        shutil.rmtree(self.folder / out, ignore_errors=True)
        (self.folder / f"{out}.said").unlink(missing_ok=True)

    def _round(self, out: str, kills: int, seed: int, tally: Tally) -> None:
        recorded: dict[str, str] = {}
        done = False
        while not done:
            process = self.start(out, self.executor)
            tally.resumed += 1
            wait_for_handlers(process, END_SECONDS)
            self._wait(process, out, self.length if kills > 0 else None)
            while process.poll() is None:
                family = self._family(process)
                whom, sign = self._next(sum(tally.kills.values()), seed)
                workers = workers_seconds(family)
                if not self._kill(process, whom, sign):
                    time.sleep(0.2)
                    continue
                kills -= 1
                tally.kills[f"{whom} {sign.name}"] += 1
                if whom in ("driver", "group"):
                    tally.processor_seconds += workers
                    tally.slowest_end = max(tally.slowest_end, self._ended(process, family))
                    break
                self._wait(process, out, self.length / 3 if kills > 0 else None)
            self._check_journal(out, recorded)
            done = process.poll() == 0
            if process.poll() not in (0, 1, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
                raise Fault(f"{out}: ended with {process.poll()}; {self._said(out)}")

    def _next(self, number: int, seed: int) -> tuple[str, signal.Signals]:
        """Whom a kill goes to, and as what: of every kind one, then all anew."""
        kinds = list(KILLS[self.executor])
        turn, place = divmod(number, len(kinds))
        random.Random(f"{self.executor} {seed} {turn}").shuffle(kinds)
        return kinds[place]

    def _wait(self, process: subprocess.Popen[bytes], out: str, longest: float | None) -> None:
        """Wait for a moment at random, or for the end of the run, whichever comes first; None: for the end.

        A third of them are drawn by the clock, from before the first job to after the last: starting takes as long as all the
        work here. The others come once so many cells more are finished: a machine that is busy starts for a long time, and all would fall there.
        """
        if longest is None:
            process.wait(timeout=900)
            return
        began = time.monotonic()
        by_clock = self.rng.random() < 1 / 3
        pause, cells = self.rng.uniform(0.0, longest), self._tables(out) + self.rng.randint(1, 3)
        while process.poll() is None:
            if by_clock and time.monotonic() - began > pause:
                return
            if not by_clock and self._tables(out) >= cells:
                time.sleep(self.rng.uniform(0.0, 0.3))
                return
            time.sleep(0.02)
        # It was over before: other work slowed down the run that was measured, or this one had little left to do.
        self.length = max(min(self.length, 2 * (time.monotonic() - began)), SHORTEST)

    def _tables(self, out: str) -> int:
        return sum(1 for _ in (self.folder / out / "tables").glob("*.parquet"))

    def _family(self, process: subprocess.Popen[bytes]) -> list[psutil.Process]:
        with suppress(psutil.Error):
            return psutil.Process(process.pid).children(recursive=True)
        return []

    def _kill(self, process: subprocess.Popen[bytes], whom: str, sign: signal.Signals) -> bool:
        """Send a signal; False where there was nobody to send it to."""
        if whom == "driver":
            process.send_signal(sign)
            return True
        if whom == "node":
            return self._replace_node(gently=sign == signal.SIGTERM)
        wardens = [p for p in self._hosts(process) if is_warden(p)]
        workers = [c for w in wardens for c in children(w)]
        if whom == "group":  # everything at once, as a job step's end or the kernel does it
            for other in (*wardens, *workers):
                with suppress(psutil.Error):
                    other.send_signal(sign)
            process.send_signal(sign)
            return True
        found = wardens if whom == "warden" else workers
        if not found:
            return False
        with suppress(psutil.Error):
            self.rng.choice(found).send_signal(sign)
        return True

    def _hosts(self, process: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """Where wardens are looked for: below the driver, or below the nodes."""
        if self.executor == "local":
            return self._family(process)
        return [p for p in psutil.Process().children(recursive=True) if p.pid != process.pid]

    def _replace_node(self, *, gently: bool) -> bool:
        from tests.ray_clusters import add_node

        nodes = [n for n in self.cluster.list_all_nodes() if n is not self.cluster.head_node]
        self.cluster.remove_node(self.rng.choice(nodes), allow_graceful=gently)
        add_node(self.cluster)
        return True

    def _ended(self, process: subprocess.Popen[bytes], family: list[psutil.Process]) -> float:
        """Wait for a run that was told to stop. Returns the seconds until the last of its processes was gone."""
        began = time.monotonic()
        try:
            process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            raise Fault(f"the driver was told to stop and still ran after {END_SECONDS:g} s") from None
        _, alive = psutil.wait_procs(family, timeout=END_SECONDS)
        alive = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        self._no_wardens()
        if alive:
            raise Fault(f"{len(alive)} process(es) outlived their driver: {alive}")
        return time.monotonic() - began

    def _no_wardens(self) -> None:
        """Nobody works for this soak any more, wherever it was started."""
        deadline = time.monotonic() + END_SECONDS
        while left := [p for p in psutil.process_iter() if self._is_ours(p)]:
            if time.monotonic() > deadline:
                raise Fault(f"{len(left)} worker(s) outlived their driver: {left}")
            time.sleep(0.3)

    def _is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return is_warden(process) and str(self.folder) in " ".join(process.cmdline())
        return False

    def _check_journal(self, out: str, recorded: dict[str, str]) -> None:
        """What the journal had before it has still, and no cell was computed again."""
        path = self.folder / out / "journal.sqlite"
        if not path.exists():
            return
        with closing(sqlite3.connect(path)) as base:
            names = [n for (n,) in base.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            if not {"cells", "jobs"} <= set(names):
                return
            now = dict(base.execute("SELECT cell, table_hash FROM cells WHERE state='done'"))
            fits = [n for (n,) in base.execute("SELECT name FROM jobs WHERE kind='fit' AND error IS NULL")]
        if any(now.get(cell) != value for cell, value in recorded.items()):
            raise Fault(f"{out}: a cell that was recorded is not there any more, or is another")
        if twice := [n for n, count in Counter(fits).items() if count > 1]:
            raise Fault(f"{out}: computed twice: {twice}")
        recorded.update(now)

    def _compare(self, out: str) -> None:
        """An ended run is what an undisturbed one is, and nothing is left beside it."""
        ours, theirs = self.folder / out, self.folder / "undisturbed"
        for part in ("records", "tables"):
            mine, whole = _contents(ours / part), _contents(theirs / part)
            if mine != whole:
                odd = sorted(k for k in {*mine, *whole} if mine.get(k) != whole.get(k))
                raise Fault(f"{out}: {part} are not those of an undisturbed run: {odd[:3]}")
        if (ours / "matrix.json").read_bytes() != (theirs / "matrix.json").read_bytes():
            raise Fault(f"{out}: matrix.json is not that of an undisturbed run")
        left = [p for p in ours.rglob("*") if _is_temporary(p)]
        if left:
            raise Fault(f"{out}: left behind: {left[:3]}")
        said = self._said(out, whole=True)
        if "Traceback" in said:
            raise Fault(f"{out}: said a traceback: {said[said.index('Traceback') :][:2000]}")

    def _said(self, out: str, *, whole: bool = False) -> str:
        said = (self.folder / f"{out}.said").read_text(encoding="utf-8", errors="replace")
        return said if whole else said[-500:]


def _contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def _is_temporary(path: Path) -> bool:
    return path.name.endswith((".tmp", "-journal", "-wal")) or path.name == "status.json"


def soak(
    executor: str,
    kills: int,
    seed: int,
    *,
    wait: float = 0.25,
    minutes: float = float("inf"),
    folder: Path | None = None,
) -> Tally:
    """Soak one executor.

    Args:
        executor: ``local`` or ``ray``.
        kills: how many.
        seed: of the moments, targets and signals.
        wait: seconds that a fit takes, beside its work.
        minutes: after which no further run is begun.
        folder: where a soak that is stopped is gone on from; None: it is not.

    Raises:
        Fault: something was lost, computed twice, or left.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="serbench-soak-") as name:
            return soak(executor, kills, seed, wait=wait, minutes=minutes, folder=Path(name))
    run = Soak(folder, executor, random.Random(seed))
    run.length = _undisturbed(run, wait)
    if executor == "local":
        return run.soak(kills, minutes, seed)
    os.environ.update(run.environment())  # the nodes' too
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    from tests.ray_clusters import two_nodes

    run.length *= RAY_LONGER
    with two_nodes() as cluster:
        run.cluster, run.address = cluster, cluster.address
        return run.soak(kills, minutes, seed)


def _undisturbed(run: Soak, wait: float) -> float:
    """Make the run that all others are compared with, unless it is there. Returns the seconds that it took."""
    begun = run.folder / "begun.json"
    if begun.exists():
        found = json.loads(begun.read_text(encoding="utf-8"))
        if found["code_version"] == code_version():
            return float(found["seconds"])
        for left in run.folder.iterdir():  # records say which code made them: those of other code are others
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    write_slow_bench(run.folder)
    write_card(run.folder, wait=wait)
    run._forget("undisturbed")
    began = time.monotonic()
    if run.start("undisturbed").wait(timeout=900) != 0:
        raise Fault(f"the undisturbed run failed: {run._said('undisturbed')}")
    seconds = time.monotonic() - began
    write_json(begun, {"code_version": code_version(), "seconds": round(seconds, 1)})
    return seconds


def _others(out: Path, tallies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Soaks of other executors, or of other code, that were made before; each says of which code it is."""
    if not out.exists():
        return []
    mine = {(t["executor"], t["code_version"]) for t in tallies}
    before = json.loads(out.read_text(encoding="utf-8"))
    return [s for s in before["soaks"] if (s["executor"], s["code_version"]) not in mine]


def main() -> int:
    """Soak both executors and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--local", type=int, default=120, help="kills under the local executor")
    parser.add_argument("--ray", type=int, default=80, help="kills under Ray")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of each soak, at most about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/soak.json"))
    parser.add_argument(
        "--folder",
        type=Path,
        help="holds what was done so far (default: of this code and seed, in the system's folder for such)",
    )
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.gettempdir()) / f"serbench-soak-{code_version()}-{asked.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    tallies: list[dict[str, Any]] = []
    fault: str | None = None
    for executor, kills in (("local", asked.local), ("ray", asked.ray)):
        if kills and fault is None:
            try:
                tallies.append(
                    soak(executor, kills, asked.seed, minutes=asked.minutes, folder=folder).as_json()
                )
            except Fault as error:
                fault = f"{executor}: {error}"
    result = {
        "what": "a matrix of 15 cells on generated tones, killed at random moments until it had ended, and compared byte for byte",
        "processor": processor_name(),
        "cores": psutil.cpu_count(),
        "seed": asked.seed,
        "soaks": [*_others(asked.out, tallies), *tallies],
        "fault": fault,
    }
    print(json.dumps(result, indent=1))
    if fault is None:
        write_json(asked.out, result)
        if all(
            t["kills"] >= k for t, k in zip(tallies, (k for k in (asked.local, asked.ray) if k), strict=True)
        ):
            shutil.rmtree(folder, ignore_errors=True)
    return int(fault is not None)


if __name__ == "__main__":
    sys.exit(main())
