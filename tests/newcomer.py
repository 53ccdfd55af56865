"""``python -m tests.newcomer``: how long, and how many lines, from an unknown classifier to its row on a built board.

What a newcomer has: a folder in Hugging Face format that nobody here has seen (a small HuBERT with random weights stands for
it), and a corpus (the first task of ``SERBENCH_DATA``; tones where none is named). What a newcomer writes: a card and a matrix. What is typed: four
commands. The target is 15 minutes and 60 lines; writing and reading take a person longer than the machine, whose minutes these are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.classifier_folders import write_folder
from tests.conftest import write_tone_corpus

CARD = """\
name: their-hubert-released
family: trained
track: released
packages: [torch, transformers]
adapter: adapters.transformers_classifier:TransformersClassifier
params:
  labels: {ang: angry, neu: neutral}
weights: {local: their-hubert}
seeds: false
licence: unknown
training_corpora: undisclosed
"""
MATRIX = """\
name: first
synthetic: never
entries:
  - systems: [./card.yaml, chance]
    protocol: zero-shot
"""
BOARD = "attesters: [newcomer]\n"


def commands(data: Path) -> list[list[str]]:
    """What is typed, in order."""
    return [
        ["check", "card.yaml"],
        ["run", "first.yaml", "--data", str(data), "--out", "run", "--workers", "1"],
        [
            "leaderboard",
            "add",
            "run",
            "--as",
            "newcomer",
            "--attest-as",
            "newcomer",
            "--results",
            "results",
            "--data",
            str(data),
        ],
        ["leaderboard", "build", "--results", "results", "-o", "site"],
    ]


def corpus(folder: Path) -> Path:
    """The first folder of ``SERBENCH_DATA``, else one of tones."""
    named = [Path(p) for p in os.environ.get("SERBENCH_DATA", "").split(os.pathsep) if p]
    if named:
        return named[0].resolve()
    write_tone_corpus(folder / "data" / "tones", speakers=8, clips=4)
    return folder / "data"


def main() -> None:
    """Go the whole way; fails where a step fails or the row is not on the board."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder("hubert", folder / "their-hubert")
        data = corpus(folder)
        written = {"card.yaml": CARD, "first.yaml": MATRIX, "results/board.yaml": BOARD}
        for place, text in written.items():
            (folder / place).parent.mkdir(exist_ok=True)
            (folder / place).write_text(text)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SERBENCH_")}
        environment |= {"SERBENCH_CACHE": str(folder / "cache")}
        steps = {}
        for words in commands(data):
            started = time.perf_counter()
            done = subprocess.run([sys.executable, "-m", "bench.cli", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)  # fmt: skip
            if done.returncode:
                sys.exit(f"serbench {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
            steps["serbench " + " ".join(words[:2])] = round(time.perf_counter() - started, 1)
        page = (folder / "site" / "index.html").read_text(encoding="utf-8")
        if "newcomer/their-hubert-released" not in page:
            sys.exit("the row is not on the built board")
    lines = sum(len(text.splitlines()) for text in written.values()) + len(steps)
    minutes = round(sum(steps.values()) / 60, 1)
    print(
        json.dumps(
            {"lines": lines, "minutes": minutes, "seconds": steps, "load": os.getloadavg()[0]}, indent=1
        )
    )


if __name__ == "__main__":
    main()
