"""On how many clips two systems say the same, whatever the truth: from a run's prediction tables, without labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.predictions import read_table
from bench.records import Record
from bench.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Agreement:
    """Two systems on the clips of one task that both answered (first seed of each), and those with one label."""

    task: str
    regime: str
    condition: str
    answered: int
    same: int

    @property
    def share(self) -> float | None:
        """Share of the clips answered by both on which they say the same; None when there are none."""
        return self.same / self.answered if self.answered else None

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "task": self.task,
            "regime": self.regime,
            "condition": self.condition,
            "answered_by_both": self.answered,
            "same_label": self.same,
            "share": self.share,
        }


def agreements(run: Path, records: Sequence[Record], a: str, b: str) -> Iterator[Agreement]:
    """Compare two systems' answers clip by clip, wherever a run holds the tables of both; nothing where it does not.

    Free replies and constrained choice of one Audio-LLM are the pair this was made for: where they disagree, the way
    of asking decides the answer.
    """
    tables = RunFolder(run).tables
    of_system = {s: {_place(r): r for r in records if r.system == s} for s in (a, b)}
    for place, first in of_system[a].items():
        second = of_system[b].get(place)
        if second is None:
            continue
        said = [_labels(tables, r.facts) for r in (first, second)]
        if said[0] is None or said[1] is None:
            continue
        both = said[0].keys() & said[1].keys()
        yield Agreement(*place, len(both), sum(said[0][clip] == said[1][clip] for clip in both))


def between(run: Path, record: Record, other_run: Path, other: Record) -> Agreement | None:
    """Compare the answers behind two records of one task, of one run or of two; None where a table is not at hand."""
    said = [_labels(RunFolder(folder).tables, r.facts) for folder, r in ((run, record), (other_run, other))]
    if said[0] is None or said[1] is None:
        return None
    both = said[0].keys() & said[1].keys()
    return Agreement(*_place(record), len(both), sum(said[0][clip] == said[1][clip] for clip in both))


def _place(record: Record) -> tuple[str, str, str]:
    return str(record.facts["task"]), record.regime, str(record.facts["condition"])


def _labels(tables: Path, facts: Mapping[str, Any]) -> dict[str, str] | None:
    """Map clip ids to the label answered, of the record's first seed; None when a table is not at hand."""
    found: dict[str, str] = {}
    for cell in facts.get("tables", {}):
        path = tables / f"{cell}.parquet"
        if not path.is_file():
            return None
        table = read_table(path)
        if table.identity["seed"] == facts["seeds"][0]:
            rows = zip(table.clip_ids, table.statuses, table.answers, strict=True)
            found |= {clip: label for clip, status, label in rows if status == "ok" and label is not None}
    return found
