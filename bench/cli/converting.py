"""``serbench leaderboard convert``: publications of earlier versions in the present schema."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from bench.cli.printing import console, print_json
from bench.leaderboard.conversion import convert


def convert_publications(results: Path, data: tuple[Path, ...], *, as_json: bool) -> int:
    """Convert what is published and say what became of each record.

    Args:
        results: folder of publications, at any depth.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        as_json: print JSON instead of sentences.

    Returns:
        The exit code: 0 when nothing had to be left as it was, else 1.
    """
    done = []
    for outcome in convert(results, data):
        done.append(outcome)
        if outcome.state == "left" and not as_json:
            print(f"left as it was: {outcome.reason}", file=sys.stderr)
    if as_json:
        print_json([{"record": str(c.path), "state": c.state, "reason": c.reason} for c in done])
    else:
        found = Counter[str](c.state for c in done)
        words = {
            "converted": "converted",
            "as it was": "in the present schema already",
            "nameless": "set aside earlier, now without names",
            "left": "left as they were",
        }
        said = ", ".join(f"{found[state]} {meaning}" for state, meaning in words.items() if found[state])
        console().print(
            f"{said or 'no record found'}; check them with: serbench leaderboard validate --results {results}",
            soft_wrap=True,
        )
    return 1 if any(c.state == "left" for c in done) else 0
