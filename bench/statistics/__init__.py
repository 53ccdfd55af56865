"""From additive counts to scores, intervals, paired tests and ranks: pure functions of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.statistics.additive import METRICS as METRICS
    from bench.statistics.additive import value as value
    from bench.statistics.families import Comparison as Comparison
    from bench.statistics.families import FamilyInference as FamilyInference
    from bench.statistics.intervals import Interval as Interval
    from bench.statistics.intervals import interval as interval
    from bench.statistics.metric import Metric as Metric
    from bench.statistics.paired_tests import compare_family as compare_family
    from bench.statistics.paired_tests import holm as holm
    from bench.statistics.paired_tests import infer_family as infer_family
    from bench.statistics.ranking import rank_across_pools as rank_across_pools
    from bench.statistics.ranking import rank_interval as rank_interval

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "additive": ["METRICS", "value"],
        "families": ["Comparison", "FamilyInference"],
        "intervals": ["Interval", "interval"],
        "metric": ["Metric"],
        "paired_tests": ["compare_family", "holm", "infer_family"],
        "ranking": ["rank_across_pools", "rank_interval"],
    },
)
