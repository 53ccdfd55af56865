"""Studies beside a board, and the history of its cells, gathered for their pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.audio.conditions import CLEAN
from bench.leaderboard.evidence import Cell
from bench.leaderboard.history import CellHistory
from bench.leaderboard.plan_evidence import published_plan_words
from bench.leaderboard.studies import Study
from bench.scoring.outcomes import OutcomeCount, count_outcomes, outcome_words
from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record
from reports.data.caution_badges import CautionBadge, caution_badges
from reports.formatting import counted


@dataclass(frozen=True)
class StudyRow:
    """A record of a study. ``dimensions`` are its rows of concordance."""

    system: str
    track: str
    task: str
    regime: str
    condition: str
    score: ScoreRow | None
    dimensions: tuple[ScoreRow, ...]
    seeds: int
    code: str
    synthetic: bool
    retracted: str
    badges: tuple[CautionBadge, ...]


@dataclass(frozen=True)
class StudySection:
    """A study with its records, by task, then best first."""

    study: Study
    rows: tuple[StudyRow, ...]

    @property
    def alike(self) -> dict[str, str]:
        """What every record of it has alike, said once instead of in a column: setting, supervision, seeds, code."""
        told = {
            "setting": {f"{r.regime}{'' if r.condition == CLEAN else f', {r.condition}'}" for r in self.rows},
            "track": {r.track for r in self.rows},
            "seeds": {counted(r.seeds, "seed") for r in self.rows},
            "code": {r.code for r in self.rows},
        }
        return {name: values.pop() for name, values in told.items() if len(values) == 1}

    @property
    def said(self) -> str:
        """How much of what it planned is there, in words."""
        return outcome_words(self.study.outcomes, "published")

    @property
    def missing(self) -> list[OutcomeCount]:
        """What it planned and is not there, by reason."""
        return count_outcomes(self.study.outcomes)

    @property
    def plans(self) -> list[tuple[str, int]]:
        """What its records show of when their plan was made, and how many of them do."""
        return Counter(published_plan_words(r.facts) for r in self.study.records).most_common()


def study_sections(found: Sequence[Study]) -> list[StudySection]:
    """One section per study, by name."""
    return [StudySection(s, tuple(sorted(_rows(s), key=_place))) for s in found]


def _rows(study: Study) -> list[StudyRow]:
    return [_row(r, why) for r, why in zip(study.records, study.reasons, strict=True)]


def _row(record: Record, retracted: str) -> StudyRow:
    facts = record.facts
    metric = facts.plan.primary_metric if facts.plan.primary_metric != "ccc" else "ua"
    wanted = (metric, facts.main_view, "wrong", "all")
    score = next(
        (s for s in record.scores if (s.metric, s.view, s.outside, s.rows) == wanted and s.dimension is None),
        None,
    )
    agreement = [s for s in record.scores if s.metric == "ccc" and s.rows == "all" and s.dimension != "mean"]
    return StudyRow(
        facts.system, facts.track, facts.task, record.regime, facts.condition, score, tuple(agreement),
        len(facts.seeds), facts.code_version, facts.synthetic, retracted, tuple(caution_badges(facts)),
    )  # fmt: skip


def _place(row: StudyRow) -> tuple[object, ...]:
    return row.task, row.regime, row.condition, -(row.score.estimate if row.score else 0.0), row.system


class Histories:
    """Cells of a board that were published more than once.

    Args:
        found: the history of every cell.
    """

    def __init__(self, found: Mapping[Cell, CellHistory]) -> None:
        self._told = {cell: h for cell, h in found.items() if len(h.versions) > 1}

    def of_task(self, task: str) -> list[CellHistory]:
        """Histories of a task, by system."""
        return [h for _, h in sorted(self._told.items()) if h.task == task]

    def of_system(self, system: str) -> list[CellHistory]:
        """Histories of a system, by task."""
        return [h for _, h in sorted(self._told.items()) if h.system == system]

    def as_json(self) -> list[object]:
        """Everything that pages show of it, as JSON values."""
        return [h.as_json() for _, h in sorted(self._told.items())]
