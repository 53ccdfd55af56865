"""Whether a system is right as often as it says: reliability curves with the scores that sum them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.scoring.records import Record
from bench.statistics.calibration import ReliabilityPoint, reliability_points
from reports.charts.chart import Chart, unit_scale
from reports.formatting import counted, number, span
from reports.sections.forest_boards import ScoreCell

DRAWN = 6
"""Curves drawn on one page; every task stands in the table."""


@dataclass(frozen=True)
class Reliability:
    """The calibration of one record: scores (0..1, lower is better), equal-mass bins, and a chart of the first few."""

    record: Record
    ece: ScoreCell
    brier: ScoreCell
    uniform: float
    """Brier score of one who always says 1/K."""
    points: tuple[ReliabilityPoint, ...]
    chart: Chart | None


def reliabilities(records: Sequence[Record]) -> list[Reliability]:
    """Lay out the calibration of every record that has probabilities."""
    found: list[Reliability] = []
    for record in records:
        if not any(b.target == "calibration" for b in record.facts.blocks):
            continue  # told by what the record announces: nothing has to be read
        block = next((b for b in record.blocks if b.target == "calibration" and b.rows == "all"), None)
        if block is None or not block.clips:
            continue
        points = reliability_points(block.averaged.sum(axis=0))
        k = len(record.facts.labels_offered)
        drawn = _chart(record, points) if len(found) < DRAWN else None
        found.append(
            Reliability(
                record, _score(record, "ece"), _score(record, "brier"), round(1 - 1 / k, 4), points, drawn
            )
        )
    return found


def _score(record: Record, metric: str) -> ScoreCell:
    row = next((s for s in record.scores if s.metric == metric and s.rows == "all"), None)
    if row is None:
        return ScoreCell("–", "")
    return ScoreCell(number(row.estimate, percent=False, digits=3), _span(row.low, row.high))


def _span(low: float | None, high: float | None) -> str:
    if low is None or high is None or low == high:
        return span(low, high)
    return f"{number(low, percent=False, digits=3)} to {number(high, percent=False, digits=3)}"


def _chart(record: Record, points: Sequence[ReliabilityPoint]) -> Chart:
    over = sum(p.clips * (p.confidence - p.accuracy) for p in points) / sum(p.clips for p in points)
    tone = "too sure" if over > 0 else "not sure enough"
    alt = (
        f"Reliability on {record.task}: in {counted(len(points), 'bin')} of equally many clips, the share answered rightly against "
        f"the mean confidence. On average {tone} by {number(abs(over))} points."
    )
    chart = Chart(
        alt, unit_scale("mean confidence, %", percent=True), unit_scale("answered rightly, %", percent=True)
    )
    chart.line("guide", [(0, 0), (1, 1)])
    for p in points:
        chart.line("drop", [(p.confidence, p.confidence), (p.confidence, p.accuracy)])
    chart.line("curve", [(p.confidence, p.accuracy) for p in points])
    chart.dots("dots", [(p.confidence, p.accuracy) for p in points])
    chart.word(0.03, 0.95, "too modest")
    chart.word(0.97, 0.05, "too sure", anchor="end")
    return chart
