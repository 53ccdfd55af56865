"""Which system of each family scored highest on each task: a Markdown table for pages."""

from __future__ import annotations

from collections.abc import Sequence

from bench.scoring.records import Record
from reports.exports.markdown import markdown_cell, native_ua
from reports.sections.family_answers import FAMILIES

NOTHING = "nothing published"
ELSEWHERE = "under another plan"


def family_table(records: Sequence[Record], others: Sequence[Record] = ()) -> str:
    """Return a row per family and a column per task: the system with the highest UA in the native view, with its interval, in percent.

    Picked after the fact: where several systems stand in a family, the highest of them is a little too high. The number of
    systems it was picked from stands behind it.

    Args:
        records: of one publication, within corpora and on clean audio.
        others: published under other plans: where the publication has none of a family on a task, the highest of these on the same clips
            and folds, within the corpus and on clean audio, is shown and marked.
    """
    tasks = sorted({r.task for r in records})
    same = {(r.task, r.facts.content_hash, r.facts.folds_hash) for r in records}
    beside = [
        r
        for r in others
        if (r.task, r.facts.content_hash, r.facts.folds_hash) in same
        and (r.facts.protocol, r.facts.condition) == ("within", "clean")
    ]
    lines = ["| family | " + " | ".join(tasks) + " |", "|---|" + "---|" * len(tasks)]
    for family, (title, gloss) in FAMILIES.items():
        cells = [_cell(t, family, records, beside) for t in tasks]
        lines.append(f"| **{title}**: {gloss} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(task: str, family: str, records: Sequence[Record], beside: Sequence[Record]) -> str:
    own, others = (
        [r for r in x if (r.task, r.facts.card.family) == (task, family)] for x in (records, beside)
    )
    found = _highest(own)
    if found != NOTHING or (found := _highest(others)) == NOTHING:
        return found
    return f"{found}, {ELSEWHERE}"


def _highest(records: Sequence[Record]) -> str:
    scored = [(row.estimate, r) for r in records if (row := native_ua(r)) is not None]
    if not scored:
        return NOTHING
    _, first = max(scored, key=lambda pair: (pair[0], pair[1].system))
    return f"`{first.system}` {markdown_cell(first)}, of {len(scored)}"
