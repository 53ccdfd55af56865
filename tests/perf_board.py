"""A board of 60 systems × 40 tasks, made from perturbed counts of a published record: how long a build takes, and in how much.

``python -m tests.perf_board [SYSTEMS TASKS] [--keep FOLDER]``. Three builds: everything checked, tested and drawn; every page drawn anew; nothing
to do. Beside the time on the clock stands that of the processor, which other programs of the machine do not lengthen. With Chromium, how long
the first page takes to answer (:mod:`tests.perf_first_page`). A folder that is kept is not filled again.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.cards.labels import label_table
from bench.leaderboard import Board
from bench.leaderboard.newcomers import stem_of
from bench.protocols import Array
from bench.scoring.figures import figures
from bench.scoring.records import Counts, Record, read_record, write_record
from bench.storage.hashing import digest, hash_json
from tests import perf_first_page
from tests.browser.chromium import CHROMIUM
from tests.forging import EARLIER

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "results" / EARLIER
SYSTEMS, TASKS = 60, 40
OWNER = "perf"
TRACKS = ("probed", "adapted", "released")
LANGUAGES = ("en", "zh", "ms", "ta", "id", "th", "vi", "de")


@functools.cache
def template() -> Record:
    """A published record of a frozen encoder, three seeds, ten speakers."""
    (path,) = (PUBLISHED / "records").glob("whisper-tiny.en-superb__indowave.id__within__clean.json")
    return read_record(path)


def write_board_records(root: Path, systems: int, tasks: int) -> None:
    """Write a publication of ``systems`` × ``tasks`` records whose every figure follows from their statistics."""
    described = json.loads((PUBLISHED / "matrix.json").read_text())
    folder = root / "many"
    (folder / "records").mkdir(parents=True)
    described["matrix"]["plan"]["across_tracks"] = []
    described["matrix_hash"] = hash_json(described["matrix"])
    (folder / "matrix.json").write_text(json.dumps(described))
    places = [
        (folder / "records", s, t, described["matrix_hash"]) for t in range(tasks) for s in range(systems)
    ]
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(_write_one, places, chunksize=20))
    (root / "board.yaml").write_text("competing: statistics\n")
    Board(root).publications()[0].seal()


def _write_one(place: tuple[Path, int, int, str]) -> None:
    folder, system, task, matrix_hash = place
    made = template()
    rng = np.random.default_rng([system, task])
    corpus, language = f"corpus{task:02d}", LANGUAGES[task % len(LANGUAGES)]
    name, track = f"{OWNER}/system-{system:02d}", TRACKS[system % len(TRACKS)]
    plan = made.facts.plan.model_copy(update={"across_tracks": ()})
    shared = {"system": name, "task": f"{corpus}.{language}", "track": track}
    changed = {
        **shared,
        "title": name, "corpus": corpus, "pool": corpus, "language": language, "plan": plan, "matrix_hash": matrix_hash,
        "card": made.facts.card.model_copy(update={"name": name, "track": track}),
        "corpus_card": made.facts.corpus_card.model_copy(
            update={"name": corpus, "pool": corpus, "languages": (language,)}
        ),
        "content_hash": digest(corpus), "folds_hash": digest("folds", corpus), "system_identity": digest(name),
        "code_version": "0.1.0", "plan_seen": None, "table": None,
    }  # fmt: skip
    facts = made.facts.model_copy(update=changed)
    own = answered(made.blocks, 0.3 + 0.6 * system / SYSTEMS, rng)
    whole = {b.key: b for b in own}
    # A speaker has one gender, so a group of clips is the whole of some speakers.
    sliced = [
        replace(s, values=np.where(s.values.sum(axis=(2, 3), keepdims=True) > 0, whole[s.key].values, 0))
        for s in made.slices
    ]
    path = folder / f"{stem_of(facts)}.json"
    write_record(path, facts.model_copy(update=vars(figures(facts, own, sliced))), [*own, *sliced])


def answered(blocks: Sequence[Counts], skill: float, rng: np.random.Generator) -> list[Counts]:
    """The same true labels answered by chance and skill, in every view that the blocks are of."""
    finest = next(b for b in blocks if b.categorical)
    drawn = _drawn(finest.values, skill, rng)
    made: list[Counts] = []
    masked: dict[str, Array] = {}
    for b in blocks:
        if not b.categorical:
            made.append(b)
            continue
        place = {label: i for i, label in enumerate(b.labels)}
        to = [place.get(label_table().place(b.view, label) or "", len(place)) for label in finest.labels]
        values = np.zeros_like(b.values)
        for truth, answer in np.ndindex(len(to), len(to)):
            if to[truth] < len(place):
                values[:, :, to[truth], to[answer]] += drawn[:, :, truth, answer]
        if b.outside == "masked":  # an answer outside gives way to the best one inside, which is drawn anew
            values = masked.setdefault(b.view, _drawn(values, skill, rng))
        made.append(replace(b, values=values))
    return made


def _drawn(values: Array, skill: float, rng: np.random.Generator) -> Array:
    """Counts of the same true classes, (..., K, K + 1), answered anew."""
    k = values.shape[-2]
    shares = np.full((k, k + 1), (1 - skill) / k)
    shares[:, k] = 0
    shares[range(k), range(k)] += skill
    return rng.multinomial(values.sum(axis=-1).astype(int), shares).astype(float)


@dataclass(frozen=True)
class BuildTime:
    """What a build took: seconds on the clock and of the processor, GiB at most."""

    wall: float
    processor: float
    memory: float


def build(root: Path, out: Path, cache: Path) -> BuildTime:
    """Build the board in a process of its own."""
    environment = os.environ | {"SERBENCH_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    environment.pop("SERBENCH_DATA", None)
    program = (
        "import sys\nfrom bench.cli import main\nfrom tests.peak_memory import largest_child_mebibytes, peak_mebibytes\n"
        "try:\n    main()\nfinally:\n"
        "    print(max(peak_mebibytes(), largest_child_mebibytes()), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program, "leaderboard", "build", "--results", str(root), "-o", str(out)]
    before, used = time.perf_counter(), _children_seconds()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return BuildTime(
        time.perf_counter() - before, _children_seconds() - used, float(done.stderr.split()[-1]) / 2**10
    )


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


Figures = list[tuple[str, tuple[float, ...], str, str]]


def board_figures(systems: int = SYSTEMS, tasks: int = TASKS, keep: Path | None = None) -> Figures:
    """What is measured: name, values, unit, target."""
    with tempfile.TemporaryDirectory() as folder:
        return _board_figures(keep or Path(folder), systems, tasks)


def _board_figures(folder: Path, systems: int, tasks: int) -> Figures:
    root, out, cache = (folder / name for name in ("results", "site", "cache"))
    what = f"board of {systems} systems × {tasks} tasks"
    rows: Figures = []
    if not root.exists():
        start = time.perf_counter()
        write_board_records(root, systems, tasks)
        rows.append((f"{what}: making the records", (time.perf_counter() - start,), "s", ""))
    shutil.rmtree(cache, ignore_errors=True)
    for name, target, before in (
        ("everything checked, tested and drawn", 60, None),
        ("every page drawn anew", 20, cache / "board" / "pages"),
        ("all remembered", 8, None),
    ):
        if before is not None:
            shutil.rmtree(before)
        taken = build(root, out, cache)
        rows += [
            (f"{what}: {name}", (taken.wall,), "s", f"under {target} s on two quiet cores"),
            (f"{what}: {name}, of the processor", (taken.processor,), "s", ""),
            (f"{what}: {name}, peak memory", (taken.memory,), "GiB", "under 0.8 GiB"),
        ]
    sizes = {p.name: p.stat().st_size for p in (*out.glob("*.html"), *out.glob("*.js"))}
    largest = max((n for n in sizes if n.endswith(".html")), key=lambda n: sizes[n])
    nodes = (out / "index.html").read_text(encoding="utf-8")
    return [
        *rows,
        (f"{what}: first page", (sizes["index.html"] / 1000,), "kB", "under 300 kB"),
        (f"{what}: tags of the first page", (float(len(re.findall(r"<[a-z]", nodes))),), "", "under 5,000"),
        (f"{what}: its script file", (sizes["rows.js"] / 1000,), "kB", ""),
        (f"{what}: largest page ({largest})", (sizes[largest] / 1000,), "kB", "under 1,000 kB"),
    ]


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("systems", nargs="?", type=int, default=SYSTEMS)
    asked.add_argument("tasks", nargs="?", type=int, default=TASKS)
    asked.add_argument("--keep", type=Path, help="folder for records, pages and cache, which stay")
    given = asked.parse_args()
    for what, values, unit, target in board_figures(given.systems, given.tasks, given.keep):
        print(f"{what}: {values[0]:.3g} {unit}{f' ({target})' if target else ''}")
    if given.keep and CHROMIUM:
        perf_first_page.measure(given.keep / "site", perf_first_page.REPEATS)


if __name__ == "__main__":
    main()
