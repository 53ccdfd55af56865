"""The layer curve of a record whose cells hold an answer per layer: what each layer of an encoder is good for."""

from __future__ import annotations

import numpy as np

from bench.cards.analysis_plan import AnalysisPlan
from bench.errors import CannotSeparate
from bench.features.probes import LAYER_VARIANT
from bench.scoring.counting import count, whole_table
from bench.scoring.prompt_variants import TablesBySeed, variant_names, variant_table
from bench.scoring.record_schema import LayerPoint
from bench.scoring.records import Counts
from bench.statistics.additive import value
from bench.statistics.intervals import interval
from bench.tasks.segments import scored
from bench.tasks.task import Task

LayerCurves = dict[str, tuple[LayerPoint, ...]]
METRIC_OF_CATEGORY, METRIC_OF_DIMENSION = "ua", "ccc"


def layer_facts(task: Task, protocol: str, tables: TablesBySeed, plan: AnalysisPlan) -> LayerCurves:
    """Return ``layer_curve`` and, where dimensions were answered, ``layer_curve_<dimension>``; {} without layers.

    A curve is in the order of the layers: the pooled test clips of all folds,
    answers other than ok counted, averaged over seeds, in the task's own classes; the interval is by cluster at the
    plan's level, one layer at a time (None where it cannot be given). Layers are numbered as the features hold them.

    Args:
        task: what was answered, before segments are put together.
        protocol: of the record.
        tables: by seed, the tables of all folds.
        plan: gives the level.

    Returns:
        The fields of a record's facts that layers decide.

    Raises:
        DataError: a layer's table is missing, or is not the one that the cell was made with.
    """
    names = [n for n in variant_names(tables) if n.startswith(LAYER_VARIANT)]
    whole, task = task, scored(task)
    clusters = sorted(set(task.clusters))
    place = {name: i for i, name in enumerate(clusters)}
    places = np.array([place[c] for c in task.clusters], dtype=np.intp)
    curves: dict[str, list[LayerPoint]] = {}
    for name in sorted(names, key=_layer):
        answers = [
            whole_table(whole, protocol, seed, [variant_table(t, name) for t in parts])
            for seed, parts in tables.items()
        ]
        for block in count(
            task, answers, places, len(clusters), views=(task.view,), outsides=("wrong",), kinds=("all",)
        ):
            curve = "layer_curve" if block.categorical else f"layer_curve_{block.target}"
            curves.setdefault(curve, []).append(_point(_layer(name), block, plan))
    return {name: tuple(points) for name, points in curves.items()}


def _layer(name: str) -> int:
    return int(name.removeprefix(LAYER_VARIANT))


def _point(layer: int, block: Counts, plan: AnalysisPlan) -> LayerPoint:
    metric = METRIC_OF_CATEGORY if block.categorical else METRIC_OF_DIMENSION
    estimate = float(value(metric, block.averaged.sum(axis=0)))
    low: float | None = None
    high: float | None = None
    try:
        ci = interval(metric, block.averaged, level=plan.level)
        low, high = ci.low, ci.high
    except CannotSeparate:
        pass  # a point without an interval
    values = {metric: estimate if np.isfinite(estimate) else None}
    return LayerPoint(layer=layer, low=low, high=high, **values)
