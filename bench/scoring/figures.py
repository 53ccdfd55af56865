"""From additive statistics to figures: everything a record says is computed here, from what the record itself holds.

So a record can be checked by anyone: :func:`figures` of its statistics must give its scores again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.additive import value
from bench.errors import CannotSeparate
from bench.identity import hash_json
from bench.intervals import interval
from bench.matrix import Plan
from bench.protocols import Array
from bench.records import Block
from bench.slices import as_json, slice_figures

CATEGORY_METRICS = ("ua", "wa", "macro_f1")
DIMENSION_METRICS = ("ccc", "pearson")
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


def figures(facts: Mapping[str, Any], blocks: Sequence[Block], sliced: Sequence[Block]) -> dict[str, Any]:
    """Compute what a record says: ``scores``, ``slices``, ``gaps`` and ``chance``, as JSON values.

    ``facts`` are the record's own: its plan, clusters with their folds, seeds and coverage.
    """
    plan = Plan.model_validate(facts["plan"])
    folds = sorted({str(c["fold"]) for c in facts["clusters"]})
    fold_of = [folds.index(str(c["fold"])) for c in facts["clusters"]]
    scores = [_as_json(s) for b in blocks for s in score_block(b, fold_of, plan, facts)]
    slices, gaps = slice_figures(
        facts.get("axes", []),
        blocks,
        sliced,
        [str(c["name"]) for c in facts["clusters"]],
        facts.get("speaker_names", []),
        plan.level,
    )
    return {
        "scores": scores,
        "scores_hash": hash_json(scores),
        # A row per speaker is for those who ask: with thousands of them it would drown the rest.
        "slices": as_json([s for s in slices if s.axis != "speaker"]),
        "gaps": as_json(gaps),
        "chance": chance_lines(blocks),
    }


def _as_json(score: Score) -> dict[str, Any]:
    return {**asdict(score), "notes": list(score.notes)}


def score_block(block: Block, fold_of: Sequence[int], plan: Plan, facts: Mapping[str, Any]) -> list[Score]:
    """Score rows of one block: estimate, interval by cluster, range over seeds, mean over folds."""
    if block.clips == 0:
        return []
    averaged = block.averaged
    # The mean of folds (secondary): each fold over the classes it holds.
    folded = np.stack([averaged[np.array(fold_of) == f].sum(axis=0) for f in sorted(set(fold_of))])
    found = []
    for metric in CATEGORY_METRICS if block.target == "category" else DIMENSION_METRICS:
        estimate = float(value(metric, averaged.sum(axis=0)))
        if not np.isfinite(estimate):
            continue
        low: float | None = None
        high: float | None = None
        notes: tuple[str, ...] = ()
        try:
            made = interval(
                metric, averaged, level=plan.level, n_resamples=plan.resamples, seed=plan.seed,
                unit="clips" if facts["cluster"] == "clip" else "clusters",
            )  # fmt: skip
            low, high, method, notes = made.low, made.high, made.method, made.notes
        except CannotSeparate as error:
            method = f"none: {error}"
        per_seed = _finite(value(metric, block.values.sum(axis=1)))
        by_fold = _finite(value(metric, folded))
        found.append(
            Score(
                **{name: str(facts.get(name, "")) for name in SHARED},
                view=block.view,
                outside=block.outside,
                rows=block.rows,
                metric=metric,
                dimension=None if block.categorical else block.target,
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
        )
    return found


def chance_lines(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """What guessing scores in each view: 1/K of the K classes with a true clip for UA, Σ p² of their shares for WA."""
    lines = []
    for block in blocks:
        if block.categorical and block.rows == "all" and block.outside == "wrong" and block.clips:
            shares = block.averaged.sum(axis=(0, 2)) / block.clips
            lines.append(
                {"view": block.view, "ua": float(1 / (shares > 0).sum()), "wa": float((shares**2).sum())}
            )
    return lines


def _finite(values: Array) -> list[float]:
    return [float(v) for v in values if np.isfinite(v)]
