"""The command ``serbench``: sees that the engine Python finds is this suite's own, then starts it.

A module of its own, under a name that nobody else has: when another package called ``bench`` stands in the way, whatever lies in
ours can no longer say so.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Run ``serbench``."""
    own = Path(__file__).resolve().parent / "bench"
    spec = importlib.util.find_spec("bench")
    found = Path(spec.origin).resolve().parent if spec is not None and spec.origin else None
    if found != own:
        print(
            f"error: Python finds the package 'bench' in {found or 'no folder'} and not this suite's own in {own}; uninstall the other one "
            "or take its folder off PYTHONPATH, or give ser-bench an environment of its own: python -m venv .venv && .venv/bin/pip "
            "install ser-bench",
            file=sys.stderr,
        )
        sys.exit(1)
    from bench.cli import main as start

    start()


if __name__ == "__main__":
    main()
