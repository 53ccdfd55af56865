"""One score per record, for the summary that a run ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.protocols import DIMENSIONS
from bench.scoring.record_schema import RecordFacts


@dataclass(frozen=True)
class Headline:
    """A record's score in the plan's primary metric and view (None: it has none), and its CCC by dimension where it has any."""

    facts: RecordFacts
    estimate: float | None
    low: float | None
    high: float | None
    ccc: tuple[float | None, ...]


def headlines(records: Sequence[RecordFacts]) -> list[Headline]:
    """One headline per record that has a score for it; best first per task."""
    rows = []
    for facts in records:
        plan = facts.plan
        wanted = (plan.primary_metric, facts.main_view, "wrong", "all")
        main = next((s for s in facts.scores if (s.metric, s.view, s.outside, s.rows) == wanted), None)
        found = {
            s.dimension: s.estimate
            for s in facts.scores
            if s.metric == "ccc" and s.rows == "all" and s.dimension != "mean"
        }
        if main is not None or found:
            estimate, low, high = (main.estimate, main.low, main.high) if main else (None, None, None)
            ccc = tuple(found.get(d) for d in DIMENSIONS) if found else ()
            rows.append(Headline(facts, estimate, low, high, ccc))

    def place(row: Headline) -> tuple[str, str, float, str]:
        return row.facts.task, row.facts.protocol, -(row.estimate or 0.0), row.facts.system

    return sorted(rows, key=place)
