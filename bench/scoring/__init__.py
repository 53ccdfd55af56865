"""From prediction tables and true labels to records: count once per cluster, compute everything from the counts."""

from bench.scoring.counting import count_all, whole_table
from bench.scoring.figures import CATEGORY_METRICS, DIMENSION_METRICS, figures
from bench.scoring.record_schema import RecordFacts, ScoreRow
from bench.scoring.recording import publish_obstacles, score_record

__all__ = [
    "CATEGORY_METRICS",
    "DIMENSION_METRICS",
    "RecordFacts",
    "ScoreRow",
    "count_all",
    "figures",
    "publish_obstacles",
    "score_record",
    "whole_table",
]
