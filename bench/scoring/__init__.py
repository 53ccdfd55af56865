"""From prediction tables and true labels to records: count once per cluster, compute everything from the counts."""

from bench.scoring.counting import count
from bench.scoring.eligibility import contamination, publish_obstacles
from bench.scoring.figures import CATEGORY_METRICS, DIMENSION_METRICS, score_block
from bench.scoring.recording import score_plan, score_record

__all__ = [
    "CATEGORY_METRICS",
    "DIMENSION_METRICS",
    "contamination",
    "count",
    "publish_obstacles",
    "score_block",
    "score_plan",
    "score_record",
]
