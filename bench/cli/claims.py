"""``serbench claims`` and ``serbench leaderboard history``: what the records prove, and what was published before."""

from __future__ import annotations

from pathlib import Path

from bench.cli.printing import console, figure, print_json, print_table
from bench.leaderboard.evidence import read_evidence
from bench.leaderboard.history import CellHistory, CellVersion, history_of


def history(system: str, task: str, results: Path, *, as_json: bool) -> None:
    """Print every value that was published for a system on a task.

    Args:
        system: its name.
        task: its name.
        results: folder of published records.
        as_json: print JSON instead of tables.

    Raises:
        UsageError: no published record of the two.
    """
    found = history_of(read_evidence(results), system, task)
    if as_json:
        print_json([h.as_json() for h in found])
        return
    print_table(
        f"{system} on {task}",
        ("protocol", "condition", "published in", "standing", "code", "seeds", "metric", "estimate", "interval", "remark"),
        [
            (h.regime, h.condition, v.publication, v.standing, v.code_version, len(v.seeds), f"{v.metric} {v.view}",
             figure(v.estimate), "no interval" if v.low is None else f"{figure(v.low)} – {figure(v.high)}", _remark(v))
            for h in found
            for v in h.versions
        ],
        right=("seeds", "estimate"),
    )  # fmt: skip
    for h in found:
        if len(h.versions) > 1:
            console().print(_counted(h), soft_wrap=True)


def _counted(h: CellHistory) -> str:
    """Say how many values a cell had."""
    values = "one value" if h.values == 1 else f"{h.values} values"
    return f"{h.regime}, {h.condition}: {len(h.versions)} versions, {values}"


def _remark(v: CellVersion) -> str:
    words = [] if v.same_clips else ["other clips or folds"]
    return "; ".join(words + ([f"retracted: {v.reason}"] if v.reason else []))
