"""From additive statistics to figures: everything a record says is computed here, from what the record itself holds.

So a record can be checked by anyone: :func:`figures` of its statistics must give its scores again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bench.cards.analysis_plan import AnalysisPlan
from bench.errors import CannotSeparate
from bench.protocols import Array
from bench.scoring.records import LISTENER, Counts
from bench.scoring.subgroups import as_json, slice_figures
from bench.statistics.additive import value
from bench.statistics.categorical import chance
from bench.statistics.intervals import Unit, interval
from bench.storage.hashing import hash_json

CATEGORY_METRICS = ("ua", "wa", "macro_f1")
DIMENSION_METRICS = ("ccc", "pearson", "rmse")
METRICS = {
    "category": CATEGORY_METRICS,
    "votes": ("cross_entropy", "kullback_leibler", "jensen_shannon"),
    "calibration": ("ece", "brier"),
}
"""What each target is scored in; any other target is a dimension."""
MEAN = "mean"
"""Stands for a dimension: the mean over all dimensions that have the metric."""
HUMAN = ("view", "metric", "dimension", "estimate", "low", "high", "method", "notes", "clips", "clusters")
"""Fields of a score that mean something for listeners."""
SHARED = ("system", "task", "protocol", "training", "track", "condition")
"""Facts that every score row repeats, so that rows of several records can be put into one table."""


@dataclass(frozen=True)
class Score:
    """One figure of a record: an estimate over the pooled test clips with its interval by cluster.

    ``fold_mean`` (secondary) is the mean over folds; ``seed_low``, ``seed_high`` the range over seeds. ``method``
    says how the interval was made or why there is none, ``notes`` what its reader should know.
    """

    system: str
    task: str
    protocol: str
    training: str
    track: str
    condition: str
    view: str
    outside: str
    rows: str
    metric: str
    dimension: str | None
    estimate: float
    low: float | None
    high: float | None
    method: str
    notes: tuple[str, ...]
    seed_low: float
    seed_high: float
    fold_mean: float | None
    clips: int
    speakers: int
    clusters: int
    coverage: float
    seeds: int


def figures(facts: Mapping[str, Any], blocks: Sequence[Counts], sliced: Sequence[Counts]) -> dict[str, Any]:
    """Compute what a record says: ``scores``, ``slices``, ``gaps``, ``chance`` and ``human``, as JSON values.

    ``facts`` are the record's own: its plan, clusters with their folds, seeds and coverage.
    """
    plan = AnalysisPlan.model_validate(facts["plan"])
    folds = sorted({str(c["fold"]) for c in facts["clusters"]})
    fold_of = [folds.index(str(c["fold"])) for c in facts["clusters"]]
    scores = [
        _as_json(s)
        for b in blocks
        for metric in METRICS.get(b.target, DIMENSION_METRICS)
        if (s := score_block(b, metric, metric, fold_of, plan, facts)) is not None
    ]
    scores += [_as_json(s) for s in _means(blocks, fold_of, plan, facts)]
    slices, gaps = slice_figures(
        facts.get("axes", []),
        blocks,
        sliced,
        [str(c["name"]) for c in facts["clusters"]],
        facts.get("speaker_names", []),
        {str(facts.get("learnt_view", "native")), plan.primary_view},
        plan.level,
    )
    return {
        "scores": scores,
        "scores_hash": hash_json(scores),
        # A row per speaker is for those who ask: with thousands of them it would drown the rest.
        "slices": as_json([s for s in slices if s.axis != "speaker"]),
        "gaps": as_json(gaps),
        "chance": chance_lines(blocks),
        "human": human_reference(sliced, fold_of, plan, facts),
    }


def _as_json(score: Score) -> dict[str, Any]:
    return {**asdict(score), "notes": list(score.notes)}


def score_block(
    block: Counts,
    name: str,
    computed: str,
    fold_of: Sequence[int],
    plan: AnalysisPlan,
    facts: Mapping[str, Any],
    notes: tuple[str, ...] = (),
) -> Score | None:
    """Score a block in the metric ``computed`` under the metric's ``name``; None where it has no clip or no value."""
    if block.clips == 0:
        return None
    averaged = block.averaged
    estimate = float(value(computed, averaged.sum(axis=0)))
    if not np.isfinite(estimate):
        return None
    # The mean of folds (secondary): each fold over the classes it holds.
    folded = np.stack([averaged[np.array(fold_of) == f].sum(axis=0) for f in sorted(set(fold_of))])
    low: float | None = None
    high: float | None = None
    unit: Unit = "clips" if facts["cluster"] == "clip" else "clusters"
    try:
        made = interval(
            computed, averaged, level=plan.level, n_resamples=plan.resamples, seed=plan.seed, unit=unit
        )
        low, high, method, notes = made.low, made.high, made.method, notes + made.notes
    except CannotSeparate as error:
        method = f"none: {error}"
    per_seed = _finite(value(computed, block.values.sum(axis=1)))
    by_fold = _finite(value(computed, folded))
    return Score(
        **{shared: str(facts.get(shared, "")) for shared in SHARED},
        view=block.view,
        outside=block.outside,
        rows=block.rows,
        metric=name,
        dimension=None if block.target in METRICS else block.target,
        estimate=estimate,
        low=low,
        high=high,
        method=method,
        notes=notes,
        seed_low=min(per_seed, default=estimate),
        seed_high=max(per_seed, default=estimate),
        fold_mean=float(np.mean(by_fold)) if by_fold else None,
        clips=block.clips,
        speakers=int(facts["speakers"]),
        clusters=len(averaged),
        coverage=float(facts["coverage"]),
        seeds=len(facts["seeds"]),
    )


def _means(
    blocks: Sequence[Counts], fold_of: Sequence[int], plan: AnalysisPlan, facts: Mapping[str, Any]
) -> list[Score]:
    """Means over dimensions, where there are at least two that have the metric."""
    found = []
    for rows in ("all", "ok"):
        dimensions = [b for b in blocks if b.rows == rows and b.target not in METRICS and b.clips]
        for metric in DIMENSION_METRICS:
            own = [b for b in dimensions if np.isfinite(value(metric, b.averaged.sum(axis=0)))]
            if len(own) < 2:
                continue
            together = replace(own[0], target=MEAN, values=np.stack([b.values for b in own], axis=2))
            note = f"mean over {', '.join(b.target for b in own)}"
            score = score_block(together, metric, f"mean_{metric}", fold_of, plan, facts, (note,))
            found += [replace(score, clips=max(b.clips for b in own))] if score is not None else []
    return found


def human_reference(
    sliced: Sequence[Counts], fold_of: Sequence[int], plan: AnalysisPlan, facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What one listener scores against the others (``perceived``) or against the intended label, where votes are known."""
    rows = []
    for block in (b for b in sliced if b.axis == LISTENER):
        for metric in METRICS.get(block.target, DIMENSION_METRICS):
            if (score := score_block(block, metric, metric, fold_of, plan, facts)) is not None:
                own = _as_json(score)
                rows.append({"truth": block.group, **{k: own[k] for k in HUMAN}})
    return rows


def chance_lines(blocks: Sequence[Counts]) -> list[dict[str, Any]]:
    """What guessing scores in each view: 1/K of the K classes with a true clip for UA, Σ p² of their shares for WA."""
    return [
        {"view": b.view, **{m: chance(m, b.averaged.sum(axis=0)) for m in ("ua", "wa")}}
        for b in blocks
        if b.categorical and b.rows == "all" and b.outside == "wrong" and b.clips
    ]


def _finite(values: Array) -> list[float]:
    return [float(v) for v in values if np.isfinite(v)]
