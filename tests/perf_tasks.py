"""``python -m tests.perf_tasks``: building all tasks of a generated corpus of 300,000 clips and 4,000 speakers.

Target: under 30 s and 1 GiB on one core. The manifest is real, the audio is not: the index of the decoded store is written,
its samples are holes in a file. Everything that building a task does is timed in a fresh process: metadata, index, folds of
three languages and four variants, hashes, confounds, clusters.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.audio.store import plan_shards
from bench.cards.corpus import CorpusCard
from bench.corpora.decoded import open_table
from bench.corpora.prepared import PreparedCorpus
from bench.errors import DataError
from bench.storage.hashing import digest
from bench.tasks import VARIANTS, build_task
from tests.peak_memory import peak_mebibytes

LABELS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
LANGUAGES = ("en-SG", "ms", "ta")


def write(folder: Path, cache: Path, clips: int, speakers: int) -> None:
    """Write a manifest, and the index of a decoded store that would belong to it."""
    rng = np.random.default_rng(0)
    speaker = np.sort(rng.integers(speakers, size=clips))
    label = rng.integers(len(LABELS), size=clips)
    folder.mkdir(parents=True)
    names = [f"audio/{s:04d}/{i:06d}.flac" for i, s in enumerate(speaker)]
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(
            [
                "file_name",
                "speaker",
                "emotion",
                "valence",
                "arousal",
                "dominance",
                "language",
                "transcript",
                "gender",
                "soft_votes",
                "session",
                "dialogue",
                "script",
                "split",
            ]
        )
        for i, (name, s, e) in enumerate(zip(names, speaker.tolist(), label.tolist(), strict=True)):
            votes = json.dumps({LABELS[e]: 4, LABELS[(e + 1) % len(LABELS)]: 2})
            side = ("train", "train", "train", "validation", "test1")[s % 5]
            who = (name, f"{s:04d}", LABELS[e], 1 + i % 7, 1 + i % 5, 4, LANGUAGES[s % 3])
            said = (f"sentence {i % 500}", ("female", "male")[s % 2], votes)
            rows.writerow((*who, *said, f"{s:04d}-{i % 4}", f"d{s:04d}-{i % 20}", f"t{i % 500}", side))
    samples = rng.integers(16_000, 96_000, size=clips).tolist()
    start = 0
    for shard in plan_shards(folder, names, cache / "audio"):
        index, offset = [], 0
        for clip, n in zip(shard.clip_ids, samples[start : start + len(shard.clip_ids)], strict=True):
            index.append({"id": clip, "hash": digest(clip), "samples": n, "offset": offset, "message": None})
            offset += n
        start += len(shard.clip_ids)
        shard.index_path.parent.mkdir(parents=True, exist_ok=True)
        shard.index_path.write_text(json.dumps(index), encoding="utf-8")
        shard.samples_path.touch()
        os.truncate(shard.samples_path, 2 * offset)


def build(folder: Path, cache: Path) -> None:
    """Build every task of the corpus and say what it took."""
    started = time.perf_counter()
    card = CorpusCard(name="generated", languages=LANGUAGES, scale=(1, 7))
    table = open_table(PreparedCorpus(card, folder), cache)
    print(f"metadata and plan of the store   {time.perf_counter() - started:6.1f} s")
    for name in table.task_names:
        for variant in VARIANTS:
            start = time.perf_counter()
            full = f"{name}@{variant}" if variant else name
            try:
                task = build_task(table, full, "within")
                said = f"{len(task)} clips, {len(task.folds)} fold(s), {len(task.warnings)} warning(s)"
            except DataError as error:
                said = f"refused: {str(error).partition(':')[2].strip()[:60]}…"
            print(f"{full:32} {time.perf_counter() - start:6.1f} s   {said}")
    peak = peak_mebibytes()
    print(
        f"in all {time.perf_counter() - started:.1f} s, of which this process had a core for {time.process_time():.1f} s (target 30 s); "
        f"peak {peak:.0f} MiB (target 1024 MiB)"
    )


def main() -> None:
    """Generate in this process, build in another, so that the peak is of building alone."""
    if len(sys.argv) == 3:
        build(Path(sys.argv[1]), Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder, cache = Path(scratch) / "generated", Path(scratch) / "cache"
        write(folder, cache, clips=300_000, speakers=4_000)
        subprocess.run([sys.executable, "-m", "tests.perf_tasks", str(folder), str(cache)], check=True)


if __name__ == "__main__":
    main()
