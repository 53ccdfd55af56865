"""``python -m tests.perf_prepare [HOURS]``: a generated corpus is prepared; memory, speed and busy cores are printed.

Nothing is asserted. On a machine that others use as well, hold the busy cores against what a bare loop is given just
before, and look at the processor seconds. Clips of 5 s at 24 kHz, each another sound, as 16-bit WAV; default 10 hours
(1.7 GB in a temporary folder, removed at the end). Memory is the sum over the process tree of what each process has for
itself plus its share of what is shared (PSS), sampled four times a second.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import soundfile

from bench.cards.corpus import CorpusCard
from bench.cards.typed_yaml import parse_typed
from bench.cli.printing import console, print_table
from bench.corpora.preparation.preparing import Preparation, prepare
from bench.storage.provenance import machine_facts

SECONDS, RATE = 5.0, 24_000
CARD = r"""
name: generated
layout:
  parts:
    - audio: ["*/*.wav"]
      pattern: '(?P<speaker>s\d+)/(?P<emotion>[a-z]+)_(?P<take>\d+)\.wav'
"""


def write_corpus(folder: Path, hours: float) -> int:
    """Write clips of tone and noise; returns how many."""
    clips = round(hours * 3600 / SECONDS)
    time_axis = np.arange(round(SECONDS * RATE)) / RATE
    for i in range(clips):
        rng = np.random.default_rng(i)
        sound = 0.2 * np.sin(2 * np.pi * rng.uniform(80, 300) * time_axis) + 0.01 * rng.standard_normal(
            time_axis.size
        )
        path = folder / f"s{i % 40}/{('happy', 'sad', 'angry')[i % 3]}_{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sound, RATE, subtype="PCM_16")
    return clips


class Watch:
    """Samples the memory and processor time of this process and its children until it is stopped."""

    def __init__(self) -> None:
        self.peak = 0
        self._busy: dict[int, float] = {}
        self._own = psutil.Process()
        self._stop = threading.Event()
        self._start = sum(self._own.cpu_times()[:2])
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._stop.wait(0.25):
            total = 0
            for process in [self._own, *self._own.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                    self._busy[process.pid] = sum(process.cpu_times()[:2])
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)

    def stop(self) -> float:
        """Stop; returns processor seconds used by the tree meanwhile."""
        self._stop.set()
        self._thread.join()
        return sum(self._busy.values()) - self._start


def _spin(seconds: float) -> float:
    """Use a core for so long; returns the processor seconds it was given."""
    end, start = time.perf_counter() + seconds, time.process_time()
    while time.perf_counter() < end:
        pass
    return time.process_time() - start


def free_cores(seconds: float = 3.0) -> float:
    """Return how many cores as many bare loops as there are cores are given beside whatever else runs here."""
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores) as pool:
        return sum(pool.map(_spin, [seconds] * cores)) / seconds


def main() -> None:
    """Generate, prepare, print."""
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    card = parse_typed(CARD, "generated", CorpusCard)
    facts = machine_facts(["cpu"])
    console().print(
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB, load {psutil.getloadavg()[0]:.1f}"
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for part in (hours / 10, hours):
            clips = write_corpus(Path(folder) / f"source-{part}", part)
            free = free_cores()
            watch, start = Watch(), time.perf_counter()
            prepare(Preparation(card, Path(folder) / f"source-{part}", Path(folder) / f"out-{part}"))
            wall = time.perf_counter() - start
            used = watch.stop()
            rows.append(
                (
                    f"{part:g}",
                    clips,
                    f"{wall:.0f}",
                    f"{60 * part / wall:.1f}",
                    f"{used / wall:.2f}",
                    f"{free:.2f}",
                    f"{used / part:.1f}",
                    f"{watch.peak / 2**20:.0f}",
                )
            )
    print_table(
        "",
        (
            "hours",
            "clips",
            "seconds",
            "hours of audio per minute",
            "cores busy",
            "a bare loop gets",
            "processor s per hour of audio",
            "peak MiB",
        ),
        rows,
    )


if __name__ == "__main__":
    main()
