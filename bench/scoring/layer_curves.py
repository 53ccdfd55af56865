"""The layer curve of a record whose cells hold an answer per layer: what each layer of an encoder is good for."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.cards.analysis_plan import AnalysisPlan
from bench.errors import CannotSeparate
from bench.features.probes import LAYER_VARIANT
from bench.scoring.counting import count, whole_table
from bench.scoring.prompt_variants import TablesBySeed, variant_names, variant_table
from bench.scoring.records import Counts
from bench.statistics.additive import value
from bench.statistics.intervals import interval
from bench.tasks.segments import scored
from bench.tasks.task import Task

METRIC_OF_CATEGORY, METRIC_OF_DIMENSION = "ua", "ccc"


def layer_facts(task: Task, protocol: str, tables: TablesBySeed, plan: AnalysisPlan) -> dict[str, Any]:
    """Return ``layer_curve`` and, where dimensions were answered, ``layer_curve_<dimension>``; {} without layers.

    A curve is a list of {layer, ua or ccc, low, high} in the order of the layers: the pooled test clips of all folds,
    answers other than ok counted, averaged over seeds, in the task's own classes; the interval is by cluster at the
    plan's level, one layer at a time (None where it cannot be given). Layers are numbered as the features hold them.

    Raises:
        DataError: a layer's table is missing, or is not the one that the cell was made with.
    """
    names = [n for n in variant_names(tables) if n.startswith(LAYER_VARIANT)]
    whole, task = task, scored(task)
    clusters = sorted(set(task.clusters))
    place = {name: i for i, name in enumerate(clusters)}
    places = np.array([place[c] for c in task.clusters], dtype=np.intp)
    curves: dict[str, list[dict[str, Any]]] = {}
    for name in sorted(names, key=_layer):
        answers = [
            whole_table(whole, protocol, seed, [variant_table(t, name) for t in parts])
            for seed, parts in tables.items()
        ]
        for block in count(
            task, answers, places, len(clusters), views=(task.view,), outsides=("wrong",), kinds=("all",)
        ):
            curve = "layer_curve" if block.categorical else f"layer_curve_{block.target}"
            curves.setdefault(curve, []).append({"layer": _layer(name), **_point(block, plan)})
    return dict(curves)


def _layer(name: str) -> int:
    return int(name.removeprefix(LAYER_VARIANT))


def _point(block: Counts, plan: AnalysisPlan) -> dict[str, Any]:
    metric = METRIC_OF_CATEGORY if block.categorical else METRIC_OF_DIMENSION
    estimate = float(value(metric, block.averaged.sum(axis=0)))
    point: dict[str, Any] = {metric: estimate if np.isfinite(estimate) else None, "low": None, "high": None}
    try:
        made = interval(metric, block.averaged, level=plan.level)
    except CannotSeparate:
        return point
    return point | {"low": made.low, "high": made.high}
