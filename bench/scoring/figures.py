"""From additive statistics to score rows. What a record says is computed here, from what it holds, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.additive import value
from bench.errors import CannotSeparate
from bench.intervals import interval
from bench.matrix import Plan
from bench.protocols import Array
from bench.records import Block

CATEGORY_METRICS = ("ua", "wa", "macro_f1")
DIMENSION_METRICS = ("ccc", "pearson")


def score_block(
    block: Block, fold_of: Sequence[int], plan: Plan, coverage: float, speakers: int, seeds: int
) -> list[dict[str, Any]]:
    """Score rows of one block: estimate, interval by cluster, range over seeds, mean over folds."""
    rows = []
    averaged = block.averaged
    if block.clips == 0:
        return []
    for metric in CATEGORY_METRICS if block.target == "category" else DIMENSION_METRICS:
        estimate = float(value(metric, averaged.sum(axis=0)))
        if not np.isfinite(estimate):
            continue
        low: float | None
        high: float | None
        try:
            found = interval(metric, averaged, level=plan.level, n_resamples=plan.resamples, seed=plan.seed)
            low, high, method = found.low, found.high, found.method
        except CannotSeparate as error:
            low = high = None
            method = f"none: {error}"
        per_seed = [float(value(metric, v.sum(axis=0))) for v in block.values]
        rows.append(
            {
                "view": block.view,
                "outside": block.outside,
                "rows": block.rows,
                "metric": metric,
                "dimension": None if block.target == "category" else block.target,
                "estimate": estimate,
                "low": low,
                "high": high,
                "method": method,
                "seed_low": min(per_seed),
                "seed_high": max(per_seed),
                "fold_mean": _fold_mean(metric, averaged, fold_of),
                "clips": block.clips,
                "speakers": speakers,
                "clusters": len(averaged),
                "coverage": coverage,
                "seeds": seeds,
            }
        )
    return rows


def _fold_mean(metric: str, averaged: Array, fold_of: Sequence[int]) -> float | None:
    """Mean of the folds' own values (secondary); each fold over the classes it holds."""
    folds = np.array(fold_of)
    values = np.array([float(value(metric, averaged[folds == f].sum(axis=0))) for f in sorted(set(fold_of))])
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None
