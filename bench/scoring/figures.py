"""From additive statistics to figures: everything a record says is computed here, from what the record itself holds.

So a record can be checked by anyone: :func:`figures` of its statistics must give its scores again.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.errors import CannotSeparate
from bench.scoring.record_schema import (
    ChanceLine,
    CountedFacts,
    Gap,
    GuessLevel,
    ListenerScore,
    ScoreRow,
    SubgroupScore,
)
from bench.scoring.records import LISTENER, Counts, thin_classes, unit_of
from bench.scoring.reference_levels import reference_levels
from bench.scoring.sentences import cells_of, crossed_table
from bench.scoring.subgroups import slice_figures
from bench.statistics.additive import metric_named, value
from bench.statistics.categorical import chance
from bench.statistics.intervals import Interval, Unit, interval, mean_interval, score_interval
from bench.statistics.populations import SPEAKERS
from bench.statistics.two_way import population_error
from bench.storage.hashing import hash_json

CATEGORY_METRICS = ("ua", "wa", "macro_f1")
DIMENSION_METRICS = ("ccc", "pearson", "rmse")
METRICS_OF_TARGET = {
    "category": CATEGORY_METRICS,
    "votes": ("cross_entropy", "kullback_leibler", "jensen_shannon"),
    "calibration": ("ece", "brier"),
}
"""What each target is scored in; any other target is a dimension."""
COMPARED_METRICS = (*CATEGORY_METRICS, "ccc")
"""Those that systems are tested in, and that are averaged over languages."""
MEAN = "mean"
"""Stands for a dimension: the mean over all dimensions that have the metric."""


@dataclass(frozen=True)
class Figures:
    """What a record says: all that is computed from its statistics."""

    scores: tuple[ScoreRow, ...]
    scores_hash: str
    slices: tuple[SubgroupScore, ...]
    gaps: tuple[Gap, ...]
    reference_levels: tuple[GuessLevel, ...]
    human: tuple[ListenerScore, ...]


def metrics_of(target: str) -> tuple[str, ...]:
    """Return the metrics that statistics of a target are scored in.

    >>> metrics_of("calibration"), metrics_of("valence")
    (('ece', 'brier'), ('ccc', 'pearson', 'rmse'))
    """
    return METRICS_OF_TARGET.get(target, DIMENSION_METRICS)


def figures(facts: CountedFacts, blocks: Sequence[Counts], sliced: Sequence[Counts]) -> Figures:
    """Compute what a record says.

    Args:
        facts: the record's own: its plan, clusters with their folds, seeds and coverage.
        blocks: statistics of the whole.
        sliced: statistics of groups of clips, and of listeners.

    Returns:
        Every figure, in the order of the statistics.
    """
    folds = sorted({c.fold for c in facts.clusters})
    fold_of = [folds.index(c.fold) for c in facts.clusters]
    scores = [
        s.model_copy(
            update=_beyond(s, metric, b, cells_of(b, sliced), facts) | _by_speaker(metric, b, sliced, facts)
        )
        for b in blocks
        for metric in metrics_of(b.target)
        if (s := score_block(b, metric, metric, fold_of, facts)) is not None
    ]
    scores += _means(blocks, sliced, fold_of, facts)
    slices, gaps = slice_figures(facts, blocks, sliced)
    return Figures(
        scores=tuple(scores),
        scores_hash=hash_json([s.as_json() for s in scores]),
        # A row per speaker is for those who ask: with thousands of them it would drown the rest.
        slices=tuple(s for s in slices if s.axis != "speaker"),
        gaps=tuple(gaps),
        reference_levels=tuple(reference_levels(facts, blocks)),
        human=tuple(human_scores(sliced, fold_of, facts)),
    )


def score_block(
    block: Counts,
    name: str,
    computed: str,
    fold_of: Sequence[int],
    facts: CountedFacts,
    notes: tuple[str, ...] = (),
) -> ScoreRow | None:
    """Score one block.

    Args:
        block: statistics of the whole, of a group, or of listeners.
        name: the metric's name in the row.
        computed: the metric that is computed.
        fold_of: each cluster's fold, by number.
        facts: the record's own.
        notes: what a reader of the score should know.

    Returns:
        The row; None where the block has no clip, or the metric no value.
    """
    plan = facts.plan
    if block.clips == 0:
        return None
    averaged = block.averaged
    # The mean of folds (secondary): each fold over the classes it holds.
    folded = [averaged[np.array(fold_of) == f].sum(axis=0) for f in sorted(set(fold_of))]
    sums = [averaged.sum(axis=0), *folded, *block.values.sum(axis=1)]
    estimate, *others = value(computed, np.stack(sums)).tolist()
    if not np.isfinite(estimate):
        return None
    low: float | None = None
    high: float | None = None
    try:
        ci = _interval(
            computed,
            averaged.tobytes(),
            averaged.shape,
            plan.level,
            plan.resamples,
            plan.seed,
            unit_of(facts),
        )
        low, high, method, notes = ci.low, ci.high, ci.method, notes + ci.notes
    except CannotSeparate as error:
        method = f"none: {error}"
    if computed in ("ua", "macro_f1") and facts.cluster != "clip":
        notes += thin_classes(block, f"{facts.cluster}s")
    by_fold, per_seed = _finite(others[: len(folded)]), _finite(others[len(folded) :])
    return ScoreRow(
        system=facts.system,
        task=facts.task,
        protocol=facts.protocol,
        training=facts.training,
        track=facts.track,
        condition=facts.condition,
        view=block.view,
        outside=block.outside,
        rows=block.rows,
        metric=name,
        dimension=None if block.target in METRICS_OF_TARGET else block.target,
        estimate=estimate,
        low=low,
        high=high,
        method=method,
        notes=notes,
        seed_low=min(per_seed, default=estimate),
        seed_high=max(per_seed, default=estimate),
        fold_mean=float(np.mean(by_fold)) if by_fold else None,
        clips=block.clips,
        speakers=facts.speakers,
        clusters=len(averaged),
        coverage=facts.coverage,
        seeds=len(facts.seeds),
    )


@functools.lru_cache(maxsize=64)
def _interval(
    metric: str, table: bytes, shape: tuple[int, ...], level: float, resamples: int, seed: int, unit: Unit
) -> Interval:
    """The interval of a table of float64, remembered: where every clip was answered, ``all`` and ``ok`` are one table, and so are views often."""
    statistics = np.frombuffer(table, dtype=np.float64).reshape(shape)
    return interval(metric, statistics, level=level, n_resamples=resamples, seed=seed, unit=unit)


def _beyond(
    row: ScoreRow, metric: str, block: Counts, cells: Counts | None, facts: CountedFacts
) -> dict[str, Any]:
    """What a row says of the plan's population: an interval never narrower than that over speakers, and what is not known."""
    population = facts.plan.population
    if population == SPEAKERS or row.low is None or row.high is None:
        return {"population": SPEAKERS}
    try:
        found = population_error(metric, population, [crossed_table(facts, block, cells)])
    except CannotSeparate as error:
        return {"population": SPEAKERS, "population_lacking": (str(error),)}
    if found.population == SPEAKERS:
        return {"population": SPEAKERS, "population_lacking": found.lacking}
    low, high = score_interval(metric_named(metric), found.jackknifed, facts.plan.level, found.degrees)
    return {
        "population": found.population,
        "population_low": min(low, row.low),
        "population_high": max(high, row.high),
        "population_lacking": found.lacking,
    }


def _by_speaker(
    metric: str, block: Counts, sliced: Sequence[Counts], facts: CountedFacts
) -> dict[str, float | None]:
    """UA of each speaker alone, averaged over speakers, with Student's t interval."""
    own = next((b for b in sliced if b.axis == "speaker" and b.key == block.key), None)
    if metric != "ua" or (own is None and facts.cluster != "speaker"):
        return {}
    values = value(metric, (own or block).averaged)
    values = values[np.isfinite(values)]
    mean, low, high = mean_interval(values, facts.plan.level)
    return {"by_speaker": mean, "by_speaker_low": low, "by_speaker_high": high}


def _means(
    blocks: Sequence[Counts], sliced: Sequence[Counts], fold_of: Sequence[int], facts: CountedFacts
) -> list[ScoreRow]:
    """Means over dimensions, where there are at least two that have the metric."""
    scores = []
    for rows in ("all", "ok"):
        dimensions = [b for b in blocks if b.rows == rows and b.target not in METRICS_OF_TARGET and b.clips]
        for metric in DIMENSION_METRICS:
            with_metric = [b for b in dimensions if np.isfinite(value(metric, b.averaged.sum(axis=0)))]
            if len(with_metric) < 2:
                continue
            together = replace(
                with_metric[0], target=MEAN, values=np.stack([b.values for b in with_metric], axis=2)
            )
            apart = [cells_of(b, sliced) for b in with_metric]
            crossed = [c for c in apart if c is not None]
            cells = (
                replace(crossed[0], target=MEAN, values=np.stack([c.values for c in crossed], axis=2))
                if len(crossed) == len(apart)
                else None
            )
            note = f"mean over {', '.join(b.target for b in with_metric)}"
            score = score_block(together, metric, f"mean_{metric}", fold_of, facts, (note,))
            if score is not None:
                clips = {"clips": max(b.clips for b in with_metric)}
                beyond = _beyond(score, f"mean_{metric}", together, cells, facts)
                scores.append(score.model_copy(update=clips | beyond))
    return scores


def human_scores(
    sliced: Sequence[Counts], fold_of: Sequence[int], facts: CountedFacts
) -> list[ListenerScore]:
    """What one listener scores against the others (``perceived``) or against the intended label, where votes are known.

    Args:
        sliced: statistics, those of listeners among them.
        fold_of: each cluster's fold, by number.
        facts: the record's own.

    Returns:
        A row per truth, view and metric.
    """
    rows = []
    shared = [name for name in ListenerScore.model_fields if name != "truth"]
    for block in (b for b in sliced if b.axis == LISTENER):
        for metric in metrics_of(block.target):
            if (score := score_block(block, metric, metric, fold_of, facts)) is not None:
                rows.append(ListenerScore(truth=block.group, **{k: getattr(score, k) for k in shared}))
    return rows


def chance_lines(blocks: Sequence[Counts]) -> list[ChanceLine]:
    """What schemas 1 and 2 say of guessing: 1/K of the K classes with a true clip for UA, Σ p² of their shares for WA."""
    return [
        ChanceLine(view=b.view, **{m: chance(m, b.averaged.sum(axis=0)) for m in ("ua", "wa")})
        for b in blocks
        if b.categorical and b.rows == "all" and b.outside == "wrong" and b.clips
    ]


def _finite(values: Sequence[float]) -> list[float]:
    return [v for v in values if np.isfinite(v)]
