"""Scores as a Markdown table, for READMEs."""

from __future__ import annotations

from collections.abc import Sequence

from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record


def results_table(records: Sequence[Record]) -> str:
    """Return one row per system and one column per task: UA in the native view with its interval, in percent.

    Systems stand by track, then by name: no ranks.
    """
    tasks = sorted({r.task for r in records})
    order = {"reference": 0, "released": 1, "probed": 2, "adapted": 3}
    systems = sorted({(order[r.facts.track], r.facts.track, r.system) for r in records})
    cells = {(r.system, r.task): markdown_cell(r) for r in records}
    lines = [
        "| track | system | " + " | ".join(tasks) + " |",
        "|---|---|" + "---|" * len(tasks),
    ]
    for _, track, system in systems:
        lines.append(
            f"| {track} | `{system}` | " + " | ".join(cells.get((system, t), "") for t in tasks) + " |"
        )
    return "\n".join(lines) + "\n"


def native_ua(record: Record) -> ScoreRow | None:
    """Return the score that pages show: UA in the native view, an answer outside it wrong, over all clips."""
    wanted = ("ua", "native", "wrong", "all")
    return next(
        (row for row in record.scores if (row.metric, row.view, row.outside, row.rows) == wanted), None
    )


def markdown_cell(record: Record) -> str:
    """Write that score in percent, with its interval in brackets."""
    row = native_ua(record)
    if row is None:
        return "–"
    low, high = row.low, row.high
    interval = f" ({100 * low:.1f}–{100 * high:.1f})" if low is not None and high is not None else ""
    return f"{100 * row.estimate:.1f}{interval}"
