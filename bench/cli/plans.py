"""``serbench plan``: a matrix written down before the data are touched."""

from __future__ import annotations

from pathlib import Path

from bench.cli.printing import console, print_json
from bench.execution.planning.matrix import load_matrix
from bench.leaderboard.registration import register_plan


def register(matrix: str, results: Path, *, as_json: bool) -> None:
    """Write a matrix into the results folder, and say what makes it count.

    Args:
        matrix: a matrix by name, or the path of one.
        results: folder of published records.
        as_json: print JSON instead of sentences.
    """
    read, _ = load_matrix(matrix)
    path, new = register_plan(results, read.as_json())
    if as_json:
        print_json({"plan": str(path), "matrix": read.name, "matrix_hash": read.hash, "new": new})
        return
    console().print(
        f"{path}: {'written' if new else 'was registered before and is left as it is'}", soft_wrap=True
    )
    console().print(
        f"commit it before the data are touched: git add {path} && git commit -m 'Plan {read.name}'; a record is called "
        "pre-registered only where the code that answered and scored its cells is of that commit or a later one",
        soft_wrap=True,
    )
