"""From prediction tables and true labels to records, figures and verdicts: count once per cluster, compute from the counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.scoring.comparisons import compare_pair as compare_pair
    from bench.scoring.counting import count_all as count_all
    from bench.scoring.counting import whole_table as whole_table
    from bench.scoring.figures import CATEGORY_METRICS as CATEGORY_METRICS
    from bench.scoring.figures import DIMENSION_METRICS as DIMENSION_METRICS
    from bench.scoring.pair_results import PairResult as PairResult
    from bench.scoring.predictions import PredictionTable as PredictionTable
    from bench.scoring.record_schema import RecordFacts as RecordFacts
    from bench.scoring.record_schema import ScoreRow as ScoreRow
    from bench.scoring.recording import publish_obstacles as publish_obstacles
    from bench.scoring.recording import score_record as score_record
    from bench.scoring.records import Record as Record
    from bench.scoring.records import read_record as read_record

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "comparisons": ["compare_pair"],
        "counting": ["count_all", "whole_table"],
        "figures": ["CATEGORY_METRICS", "DIMENSION_METRICS"],
        "pair_results": ["PairResult"],
        "predictions": ["PredictionTable"],
        "record_schema": ["RecordFacts", "ScoreRow"],
        "recording": ["publish_obstacles", "score_record"],
        "records": ["Record", "read_record"],
    },
)
