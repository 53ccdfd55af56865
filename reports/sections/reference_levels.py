"""What a score is to be held against: guessing, and what one human listener makes of the same clips."""

from __future__ import annotations

from dataclasses import dataclass

from bench.scoring.record_schema import ListenerScore
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports.data.comparisons import TaskComparison
from reports.formatting import number, span
from reports.sections.forest_boards import ScoreCell

TRUTHS = {
    "perceived": "one listener against the majority of the others",
    "intended": "one listener against the emotion that was asked for",
}


@dataclass(frozen=True)
class ReferenceLevel:
    """A reference value of one subject. ``value`` is None where the rule has none."""

    name: str
    truth: str
    value: float
    score: ScoreCell
    clips: int | None


def reference_levels(comparison: TaskComparison, subject: Subject) -> list[ReferenceLevel]:
    """List chance, then every human reference that the records hold for a subject."""
    found: list[ReferenceLevel] = []
    first = next((r for r in comparison.records if subject.block(r) is not None), None)
    if first is None:
        return []
    percent = subject.metric != "ccc"
    for line in first.facts.chance:
        if line.view == subject.view and subject.metric in ("ua", "wa"):
            value = line.ua if subject.metric == "ua" else line.wa
            words = (
                "a blind guess, any class alike"
                if subject.metric == "ua"
                else "a blind guess, classes as often as they are"
            )
            found.append(ReferenceLevel("chance", words, value, ScoreCell(number(value), ""), None))
    for row in human_rows(first, subject):
        score = ScoreCell(number(row.estimate, percent=percent), span(row.low, row.high, percent=percent))
        truth = TRUTHS.get(row.truth, row.truth)
        found.append(ReferenceLevel("listener", truth, row.estimate, score, row.clips))
    return found


def human_rows(record: Record, subject: Subject) -> list[ListenerScore]:
    """Return the record's human references for a subject."""
    return [
        h
        for h in record.facts.human
        if (h.view, h.metric, h.dimension) == (subject.view, subject.metric, subject.dimension)
    ]
