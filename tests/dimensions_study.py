"""The study of dimensions: ``python -m tests.dimensions_study [--out FOLDER]`` writes the corpus and runs the matrix.

32 generated speakers in two invented languages, 1,344 clips of about 1.2 s. The difficulty scatters the cues that functionals
read; at this one a ridge on eGeMAPS stays below a CCC of 0.6 for arousal. About 50 minutes on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from bench.corpora.synthetic import write_synthetic_corpus

SPEAKERS_PER_LANGUAGE, CLIPS_PER_EMOTION, DIFFICULTY = 16, 6, 1.15


def main() -> int:
    """Write the corpus, then run the matrix; what is done already is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/dimensions"))
    parser.add_argument("--only", default=None, help="as serbench run --only")
    parser.add_argument("--workers", default=None)
    asked = parser.parse_args()
    data = asked.out.parent / f"{asked.out.name}-corpus"
    write_synthetic_corpus(
        data / "synthetic",
        speakers_per_language=SPEAKERS_PER_LANGUAGE,
        clips_per_emotion=CLIPS_PER_EMOTION,
        difficulty=DIFFICULTY,
    )
    command = [
        sys.executable,
        "-m",
        "bench.cli",
        "run",
        "dimensions",
        "--data",
        str(data),
        "--out",
        str(asked.out),
    ]
    for name in ("only", "workers"):
        if (given := getattr(asked, name)) is not None:
            command += [f"--{name}", given]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
