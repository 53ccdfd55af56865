"""Which system of each family scored highest on each task: a Markdown table for pages."""

from __future__ import annotations

from collections.abc import Sequence

from bench.scoring.records import Record
from reports.exports.markdown import markdown_cell, native_ua
from reports.sections.family_answers import FAMILIES

NOTHING = "nothing published"


def family_table(records: Sequence[Record]) -> str:
    """Return a row per family and a column per task: the system with the highest UA in the native view, with its interval, in percent.

    Picked after the fact: where several systems stand in a family, the highest of them is a little too high. The number of
    systems it was picked from stands behind it.

    Args:
        records: of one publication, within corpora and on clean audio.
    """
    tasks = sorted({r.task for r in records})
    lines = ["| family | " + " | ".join(tasks) + " |", "|---|" + "---|" * len(tasks)]
    for family, (title, gloss) in FAMILIES.items():
        cells = [
            _highest([r for r in records if r.task == t and r.facts.card.family == family]) for t in tasks
        ]
        lines.append(f"| **{title}**: {gloss} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _highest(records: Sequence[Record]) -> str:
    scored = [(row.estimate, r) for r in records if (row := native_ua(r)) is not None]
    if not scored:
        return NOTHING
    _, first = max(scored, key=lambda pair: (pair[0], pair[1].system))
    return f"`{first.system}` {markdown_cell(first)}, of {len(scored)}"
