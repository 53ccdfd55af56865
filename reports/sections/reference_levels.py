"""What a score is to be held against: rules that hear nothing, and what one human listener makes of the same clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.scoring.record_schema import ListenerScore
from bench.scoring.records import Record
from bench.scoring.reference_levels import RULES, level_of
from bench.scoring.subject import Subject
from reports.data.comparisons import TaskComparison
from reports.data.reference_lines import guess_line, human_line, listeners_of
from reports.formatting import listed, number, span
from reports.sections.forest_boards import ScoreCell

PERCEIVED, INTENDED = "perceived", "intended"


@dataclass(frozen=True)
class ReferenceLevel:
    """A reference value of one subject, whose rule or truth ``truth`` says in words. ``systems``: of these alone; blank: of all."""

    name: str
    truth: str
    value: float
    score: ScoreCell
    clips: int | None
    systems: str = ""


def reference_levels(comparison: TaskComparison, subject: Subject) -> list[ReferenceLevel]:
    """List what guessing scores by every rule that the records hold, then every human reference.

    Systems that were offered other labels have levels of their own, and are named with them.
    """
    scored = [r for r in comparison.records if subject.counted(r)]
    if not scored:
        return []
    found = _guesses(scored, subject)
    percent = subject.metric != "ccc"
    for row in listeners_of(scored[0], subject):
        score = ScoreCell(number(row.estimate, percent=percent), span(row.low, row.high, percent=percent))
        found.append(ReferenceLevel("listener", truth_words(row), row.estimate, score, row.clips))
    return found


def truth_words(row: ListenerScore) -> str:
    """Say what a listener is held against: ratings against the mean of the others', labels against their majority."""
    if row.truth == INTENDED:
        return "one listener against the emotion that was asked for"
    if row.dimension is not None:
        return "one listener's rating against the mean of the others'"
    return "one listener against the majority of the others"


def absent_listeners(comparison: TaskComparison, subject: Subject) -> str:
    """Why a board has no human line; blank where it has one."""
    record = next((r for r in comparison.records if subject.counted(r)), None)
    if record is None or human_line(subject, record) is not None:
        return ""
    if not listeners_of(record, subject):
        return "The records hold no listeners’ answers for this, so there is no human line."
    known = {
        "intended": "what speakers were asked for",
        "perceived": "what listeners heard",
    }.get(record.facts.corpus_card.truth, "of unknown origin, by its card")
    return f"There is no human line: the labels are {known}, and the listeners above were held against something else."


def _guesses(scored: Sequence[Record], subject: Subject) -> list[ReferenceLevel]:
    """Levels in the order of the rules; systems with one and the same value together."""
    if subject.metric not in ("ua", "wa"):
        return []
    values: dict[tuple[str, float], list[str]] = {}
    for rule, words in RULES.items():
        for record in scored:
            level = level_of(record, subject.view, subject.outside, rule)
            if level is not None:
                value = level.ua if subject.metric == "ua" else level.wa
                values.setdefault((words, round(value, 9)), []).append(record.system)
    for record in scored:
        line = guess_line(subject, record)
        if line is not None and line.words not in RULES.values():
            values.setdefault((line.words, line.value), []).append(record.system)
    everyone = len({r.system for r in scored})
    return [
        ReferenceLevel(
            "guess",
            words,
            value,
            ScoreCell(number(value), ""),
            None,
            "" if len(set(systems)) == everyone else listed(sorted(set(systems))),
        )
        for (words, value), systems in values.items()
    ]
