"""Settings, metrics and intervals, as tables and sentences of the command line write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.cli.printing import figure, span
from bench.scoring.pair_results import PairResult
from bench.scoring.record_schema import Gap, ListenerScore, RecordFacts, ScoreRow, SubgroupScore

if TYPE_CHECKING:
    from bench.scoring.aggregates import AcrossGap
    from bench.scoring.pair_results import PairResult


def metric_words(row: ScoreRow | SubgroupScore | Gap | ListenerScore) -> str:
    """Name a row's metric, with its dimension."""
    return row.metric if row.dimension is None else f"{row.metric} {row.dimension}"


def span_words(row: SubgroupScore | Gap) -> str:
    """Write a row's interval."""
    return span(row.low, row.high)


def with_interval(row: ScoreRow | ListenerScore) -> str:
    """An estimate with its interval, which no table may tear apart."""
    span = "no interval" if row.low is None else f"[{figure(row.low)}, {figure(row.high)}]"
    return f"{figure(row.estimate)} {span}".replace(" ", "\N{NO-BREAK SPACE}")


def setting_words(setting: RecordFacts | PairResult | AcrossGap) -> str:
    """Name a protocol, what was learnt from, and the condition where it is not the clean one."""
    condition = setting.condition if setting.condition != "clean" else ""
    return " ".join(filter(None, (setting.protocol, setting.training, condition)))
