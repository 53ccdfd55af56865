"""Published records that are neither ranked nor tested, because nobody who holds the corpus has checked their labels yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.leaderboard.validation import BoardRecord
from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record
from reports import formatting
from reports.sections.forest_boards import ScoreCell, score_of


@dataclass(frozen=True)
class BelowTheLine:
    """One such record with its main figure; ``attested`` names who vouches for it without being asked to by the board."""

    system: str
    task: str
    regime: str
    condition: str
    track: str
    metric: str
    score: ScoreCell
    badge: str
    attested: tuple[str, ...]
    imported: bool
    publication: str


def below_the_line(records: Sequence[BoardRecord]) -> tuple[BelowTheLine, ...]:
    """The records that stand below the line, by task, then by system; scores are told, and no order follows from them."""
    rows = []
    for r in records:
        shown = _main_row(r.record)
        metric = "–" if shown is None else formatting.METRIC_TITLES[shown.metric]
        if shown is not None:
            metric += f" ({shown.dimension or shown.view})" + (", %" if shown.dimension is None else "")
        rows.append(
            BelowTheLine(
                r.record.system,
                r.record.task,
                r.record.regime,
                r.record.facts.condition,
                r.record.facts.track,
                metric,
                score_of(shown),
                r.badge,
                r.attested,
                r.imported,
                r.publication,
            )
        )
    return tuple(sorted(rows, key=lambda r: (r.task, r.regime, r.condition, r.system, r.publication)))


def _main_row(record: Record) -> ScoreRow | None:
    plan, view = record.facts.plan, record.facts.main_view
    rows = [s for s in record.scores if s.rows == "all" and s.outside == "wrong"]
    wanted = [s for s in rows if s.metric == plan.primary_metric and (s.view == view or s.dimension)]
    return next(iter(wanted or [s for s in rows if s.metric in ("ua", "ccc")]), None)
