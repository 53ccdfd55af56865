"""What the interpreter of a suite's own environment is asked: a script of ours that prints JSON on its last line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.peers.whole_process import PeerFailed

READER = Path(__file__).with_name("read_experiment.py")


def ask(python: Path, *arguments: str) -> Any:
    """Run ``read_experiment.py`` under another interpreter and return what its last line holds.

    Args:
        python: interpreter of the suite's environment.
        arguments: what to print.

    Raises:
        PeerFailed: the script ended with another status than 0; the message has its last words.
    """
    asked = subprocess.run(
        [str(python), "-P", str(READER), *arguments], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        raise PeerFailed(f"{READER.name} {arguments[0]} ended with {asked.returncode}: {asked.stderr[-600:]}")
    return json.loads(asked.stdout.splitlines()[-1])


def versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """Versions of packages in an environment, by name.

    Raises:
        PeerFailed: one of them is missing there.
    """
    return dict(ask(python, "versions", *packages))
