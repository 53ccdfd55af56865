"""The table of everything published: what all records have alike said once, and a row for a system's records of which the same is said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.leaderboard.registration import PRE_REGISTERED
from bench.leaderboard.validation import BoardRecord
from reports.formatting import listed

SHORT = 40
"""Letters of a remark that stands in its row."""


@dataclass(frozen=True)
class PublishedRow:
    """Records of one system, by task, with what is said of each of them under each title."""

    system: str
    tasks: tuple[str, ...]
    told: tuple[str, ...]


@dataclass(frozen=True)
class PublishedRows:
    """All records. ``alike``: title and what it says of every record; ``titles``: of what parts them; ``notes``: long remarks, by number."""

    alike: tuple[tuple[str, str], ...]
    titles: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    notes: tuple[str, ...]


def published_rows(records: Sequence[BoardRecord]) -> PublishedRows:
    """Lay out the records of a board.

    Args:
        records: all that passed, retracted ones too.

    Returns:
        Columns in which two records differ, and what the others say of all; a title that says nothing of any is left out. A long
        remark stands once, and by its number in the rows.
    """
    told = [_told(r) for r in records]
    notes = tuple(dict.fromkeys(row["remark"] for row in told if len(row["remark"]) > SHORT))
    for row in told:
        if row["remark"] in notes:
            row["remark"] = f"note {notes.index(row['remark']) + 1}"
    titles = list(told[0]) if told else []
    values = {t: {row[t] for row in told} for t in titles}
    kept = tuple(t for t in titles if len(values[t]) > 1)
    alike = tuple((t, told[0][t]) for t in titles if len(values[t]) == 1 and told[0][t])
    tasks: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for r, row in zip(records, told, strict=True):
        tasks[r.record.system, tuple(row[t] for t in kept)].append(r.record.task)
    rows = tuple(PublishedRow(system, tuple(own), said) for (system, said), own in tasks.items())
    return PublishedRows(alike, kept, rows, notes)


def _told(r: BoardRecord) -> dict[str, str]:
    facts = r.record.facts
    joint = " by " if r.badge == "attested" else ", attested by "
    checked = r.badge + (joint + listed(r.attested) if r.attested else "")
    remarks = (
        "imported" if r.imported else "",
        " ".join(filter(None, (PRE_REGISTERED if r.registration.shown else "", r.registration.words))),
        f"retracted: {r.retracted}" if r.retracted else "",
    )
    return {
        "protocol": r.record.regime,
        "condition": facts.condition,
        "checked": checked,
        "competes": "no" if r.retracted or not r.competes else "yes",
        "seen before": facts.contamination,
        "publication": r.publication + (f", sent by {r.submitted}" if r.submitted else ""),
        "code": facts.code_version + (f" ({r.code})" if r.code else ""),
        "remark": "; ".join(filter(None, remarks)),
    }
