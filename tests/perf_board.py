"""A board of 60 systems × 40 tasks, made from perturbed counts of published records: how long a build takes, and in how much.

``python -m tests.perf_board [SYSTEMS TASKS]``. Generation and the cold build (everything checked, every family tested) come first;
the figure that has a target is the build after that, whose comparisons are remembered.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.cards.labels import label_table
from bench.leaderboard import Board
from bench.leaderboard.newcomers import stem_of
from bench.protocols import Array
from bench.scoring.figures import figures
from bench.scoring.records import Counts, Record, read_record, write_record
from bench.storage.hashing import digest, hash_json
from tests.forging import EARLIER
from tests.peak_memory import peak_mebibytes

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


def build(root: Path, out: Path, cache: Path) -> tuple[float, float]:
    """Build the board in a process of its own; returns seconds and the peak memory in GiB."""
    environment = os.environ | {"SERBENCH_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    environment.pop("SERBENCH_DATA", None)
    before = time.perf_counter()
    program = (
        "import sys\nfrom bench.cli import main\nfrom tests.peak_memory import largest_child_mebibytes, peak_mebibytes\n"
        "try:\n    main()\nfinally:\n"
        "    print(max(peak_mebibytes(), largest_child_mebibytes()), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program, "leaderboard", "build", "--results", str(root), "-o", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return time.perf_counter() - before, float(done.stderr.split()[-1]) / 2**10


def board_figures(
    systems: int = SYSTEMS, tasks: int = TASKS
) -> list[tuple[str, tuple[float, ...], str, str]]:
    """What is measured: name, values, unit, target."""
    with tempfile.TemporaryDirectory() as folder:
        root, out, cache = (Path(folder) / name for name in ("results", "site", "cache"))
        start = time.perf_counter()
        write_board_records(root, systems, tasks)
        generated = time.perf_counter() - start
        cold, _ = build(root, out, cache)
        shutil.rmtree(cache / "board" / "pages")
        drawn, drawn_memory = build(root, out, cache)
        warm, memory = build(root, out, cache)
        largest = max(p.stat().st_size for p in out.glob("*.html")) / 2**20
    what = f"board of {systems} systems × {tasks} tasks"
    return [
        (f"{what}: making the records", (generated,), "s", ""),
        (f"{what}: cold build, all checked and tested", (cold,), "s", ""),
        (f"{what}: comparisons remembered, every page made anew", (drawn,), "s", ""),
        (f"{what}: the same, peak memory", (drawn_memory,), "GiB", "under 1 GiB"),
        (f"{what}: comparisons and pages remembered", (warm,), "s", "under 20 s"),
        (f"{what}: peak memory of a process", (memory,), "GiB", "under 1 GiB"),
        (f"{what}: largest page", (largest,), "MiB", "under 2 MB"),
    ]


def main() -> None:
    """Measure and print."""
    systems, tasks = (int(x) for x in sys.argv[1:3]) if len(sys.argv) > 2 else (SYSTEMS, TASKS)
    for what, values, unit, target in board_figures(systems, tasks):
        print(f"{what}: {values[0]:.3g} {unit}{f' ({target})' if target else ''}")
    print(f"peak memory of this process: {peak_mebibytes() / 2**10:.2f} GiB")


if __name__ == "__main__":
    main()
