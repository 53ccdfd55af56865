"""Two runs beside each other: which scores moved, by how much, and what was not the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.scoring.clip_answers import Agreement, between
from bench.scoring.equal_fits import ANOTHER_FIT, CODE, FIT, TESTED, less
from bench.scoring.paired_differences import PairedDifference
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports.sections.forest_boards import ScoreCell, score_of

INPUTS: Mapping[str, str] = {
    **FIT,
    **TESTED,
    "plan": "analysis plan",
    "figures_code": "code of the figures",
    **CODE,
    "matrix_hash": "matrix",
}
"""What a record states of how it was made, in words, the weightiest first."""
NO_INTERVAL = "no interval"
OUTCOMES = ("worse", "better", "within noise", NO_INTERVAL, "identical", ANOTHER_FIT)


@dataclass(frozen=True)
class Moved:
    """One figure in both runs. ``outcome`` is one of :data:`OUTCOMES`; ``difference`` is this run less the other, None of other fits."""

    record: Record
    subject: Subject
    now: ScoreCell
    then: ScoreCell
    difference: PairedDifference | None
    outcome: str
    changed: tuple[str, ...]
    same_answers: Agreement | None


@dataclass(frozen=True)
class Against:
    """A run against another of the same systems. ``only_here`` and ``only_there`` are records without a partner."""

    name: str
    other: str
    figures: tuple[Moved, ...]
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many figures had which outcome, in words; what none had is left out."""
        words = {NO_INTERVAL: "moved without an interval", ANOTHER_FIT: "of another fit"}
        return [(words.get(o, o), n) for o in OUTCOMES if (n := self.count(o))]

    def count(self, outcome: str) -> int:
        """How many figures had that outcome."""
        return sum(m.outcome == outcome for m in self.figures)


def against(run: Path, records: Sequence[Record], other: Path, earlier: Sequence[Record]) -> Against:
    """Compare every record of a run with the one of the other run that has its system, task, protocol and condition.

    ``worse`` and ``better``: the paired interval of the difference leaves out zero. Where the two were not made by the same fits on
    the same clips and folds, both scores stand and nothing is subtracted. Another version of the suite is what such a comparison is
    for: it is named, and the code of adapter and probe is part of the fit.

    Args:
        run: folder of this run.
        records: its records.
        other: folder of the other run.
        earlier: the other run's records.

    Returns:
        Figures of both runs, those that got worse first, and records without a partner.
    """
    here, there = ({_place(r): r for r in rs} for rs in (records, earlier))
    both = [p for p in here if p in there]
    found = [m for p in both for m in _moved(run, here[p], other, there[p])]
    found.sort(key=lambda m: (OUTCOMES.index(m.outcome), m.difference.difference if m.difference else 0.0))
    return Against(
        *_names(run.resolve(), other.resolve()),
        tuple(found),
        tuple(", ".join(p) for p in here if p not in there),
        tuple(", ".join(p) for p in there if p not in here),
    )


def _names(run: Path, other: Path) -> tuple[str, str]:
    """Name two runs by their folders, and by the folders these lie in where the names are one.

    >>> _names(Path("/a/new"), Path("/a/old")), _names(Path("/monday/run"), Path("/friday/run"))
    (('new', 'old'), ('monday/run', 'friday/run'))
    """
    if run.name != other.name or run == other:
        return run.name, other.name
    return f"{run.parent.name}/{run.name}", f"{other.parent.name}/{other.name}"


def _place(record: Record) -> tuple[str, str, str, str]:
    return record.system, record.task, record.regime, record.facts.condition


def _moved(run: Path, now: Record, other: Path, then: Record) -> list[Moved]:
    changed = tuple(
        words for fact, words in INPUTS.items() if getattr(now.facts, fact) != getattr(then.facts, fact)
    )
    answers = between(run, now, other, then)
    found = []
    for subject in _subjects(now):
        rows = subject.row(now), subject.row(then)
        if rows[0] is None or rows[1] is None:
            continue
        difference = less(subject, now, then, now.facts.plan.level, code=False).difference
        scores = score_of(rows[0]), score_of(rows[1])
        found.append(Moved(now, subject, *scores, difference, _outcome(difference), changed, answers))
    return found


def _subjects(record: Record) -> list[Subject]:
    plan = record.facts.plan
    views = (record.facts.main_view, "native")
    metric = "ua" if plan.primary_metric == "ccc" else plan.primary_metric
    candidates = [Subject(v, "wrong", metric) for v in views]
    categorical = [s for s in candidates if s.row(record) is not None][:1]
    dimensions = sorted({s.dimension for s in record.scores if s.metric == "ccc" and s.dimension})
    return categorical + [Subject("dimensions", "wrong", "ccc", d) for d in dimensions if d != "mean"]


def _outcome(difference: PairedDifference | None) -> str:
    if difference is None:
        return ANOTHER_FIT
    if difference.difference == 0:
        return "identical"
    if difference.low is None:
        return NO_INTERVAL
    return ("better" if difference.difference > 0 else "worse") if difference.shown else "within noise"
