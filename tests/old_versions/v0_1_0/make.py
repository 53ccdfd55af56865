"""What version 0.1.0 left on a disk: made by its own code, in a clean checkout of it, and never again by a later one.

    python -m tests.old_versions.v0_1_0.make PRINTED.txt

writes the folders beside this file, and what every command printed into PRINTED.txt. A test of a later version makes the
corpus and the clips again (:func:`write_corpus`, :func:`write_clips`: the same samples every time) and meets the folders with
them. The README beside this file says what each folder is and which paths were replaced.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from tests.conftest import write_tone_corpus

HERE = Path(__file__).resolve().parent
MATRIX = """\
name: small
synthetic: never
entries:
  - {systems: [majority, chance, fbank-superb], seeds: [0, 1]}
  - {systems: [egemaps-linear]}
plan: {resamples: 1000, permutations: 1000}
"""
BOARD = "plan: {resamples: 1000, permutations: 1000}\n"
LESSON = """\
name: trained
system: meralion-ser-logmel
tasks: [tones.ms]
params: {channels: 16, epochs: 3, average: 2, batch: 8}
"""
KEPT = ("run", "cache", "published", "trained")


def write_corpus(folder: Path) -> Path:
    """Write the corpus ``tones`` into a folder of prepared corpora: 7 speakers × 3 labels, one tone each, with dimensions."""
    return write_tone_corpus(folder / "tones", speakers=7, clips=1, dimensions=True)


def write_clips(folder: Path) -> list[Path]:
    """Write the two clips that ``answers.json`` is about: one second at 16 kHz, 150 and 270 Hz in noise of seeds 0 and 1."""
    folder.mkdir(parents=True, exist_ok=True)
    time = np.arange(16_000) / 16_000
    paths = []
    for seed, name in enumerate(("low.wav", "high.wav")):
        noise = 0.02 * np.random.default_rng(seed).standard_normal(time.size)
        soundfile.write(folder / name, 0.3 * np.sin(2 * np.pi * (150 + 120 * seed) * time) + noise, 16_000)
        paths.append(folder / name)
    return paths


def make(work: Path, printed: Path) -> None:
    """Run every command of 0.1.0 inside ``work``, with relative paths, and note what it printed."""
    write_corpus(work / "data")
    clips = [p.relative_to(work).as_posix() for p in write_clips(work / "clips")]
    (work / "small.yaml").write_text(MATRIX)
    (work / "trained.yaml").write_text(LESSON)
    (work / "published").mkdir()
    (work / "published" / "board.yaml").write_text(BOARD)
    said: list[str] = []

    def serbench(*words: str) -> str:
        command = [str(Path(sys.executable).parent / "serbench"), *words]
        environment = {**os.environ, "SERBENCH_CACHE": "cache", "SERBENCH_DATA": "", "COLUMNS": "160"}
        ended = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        said.append(
            f"$ serbench {' '.join(words)}\n{ended.stdout}[stderr]\n{ended.stderr}[exit {ended.returncode}]\n"
        )
        printed.write_text("\n".join(said))
        return ended.stdout

    run = ("run", "small.yaml", "--data", "data", "--out", "run", "--workers", "1")
    serbench(*run)
    shutil.copytree(work / "run", work / "first")
    shutil.copytree(work / "cache", work / "first-cache")
    serbench(*run)
    serbench("score", "run")
    serbench("report", "run")
    serbench("compare", "run", "egemaps-linear", "fbank-superb")
    serbench("leaderboard", "add", "run", "--results", "published")
    serbench("leaderboard", "validate", "--results", "published")
    serbench("leaderboard", "validate", "--results", "published", "--data", "data")
    serbench("train", "trained.yaml", "--out", "trained", "--data", "data")
    serbench("predict", "trained", *clips)
    answers = json.loads(serbench("predict", "trained", *clips, "--json"))
    (work / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")
    # As the first command left them: neither the report nor what training and predicting added.
    for name, first in (("run", "first"), ("cache", "first-cache")):
        shutil.rmtree(work / name)
        (work / first).rename(work / name)


def scrub(run: Path) -> None:
    """Replace what a run notes of its machine's folders by paths relative to the working folder."""
    (run / "data.json").write_text(json.dumps({"tones": "data/tones"}, indent=1) + "\n")
    asked = json.loads((run / "asked.json").read_text())
    (run / "asked.json").write_text(
        json.dumps(asked | {"cards_from": ".", "data": ["data"]}, indent=1) + "\n"
    )


def main() -> None:
    """Make everything in a folder that is removed, and put what is kept beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make(work, Path(sys.argv[1]).resolve())
        scrub(work / "run")
        for name in KEPT:
            shutil.rmtree(HERE / name, ignore_errors=True)
            shutil.copytree(work / name, HERE / name, ignore=shutil.ignore_patterns(".lock", "work"))
        shutil.copyfile(work / "answers.json", HERE / "answers.json")
        told = [p for p in HERE.rglob("*") if p.is_file() and folder.encode() in p.read_bytes()]
        if told:
            sys.exit(f"these name a folder of this machine: {', '.join(map(str, told))}")


if __name__ == "__main__":
    main()
