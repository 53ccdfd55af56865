"""From one entry per clip (labels, numbers, probabilities) to additive statistics, and to a score."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import CannotSeparate, InputError, UsageError
from bench.protocols import Array
from bench.statistics.additive import (
    Codes,
    Metric,
    calibration_statistics,
    confusion_statistics,
    dimension_statistics,
    finite_numbers,
    metric_named,
    moment_statistics,
    require_equal_lengths,
    soft_label_statistics,
    value,
)

Column = Sequence[Any] | NDArray[Any]
"""One entry per clip: labels (text, or anything hashable), numbers, or rows of numbers."""
_ARGUMENTS = {"soft": ("votes", "probabilities"), "calibration": ("truth", "probabilities")}
"""What the two columns are called in complaints, by kind of statistics, where not truth and prediction."""


def score(metric: str | Metric, truth: Column, prediction: Column, *, labels: Column | None = None) -> float:
    """Score of all clips together.

    Args:
        metric: a name in :data:`bench.statistics.additive.METRICS`, or a metric.
        truth: (clips,) true labels or numbers, (clips, dimensions) ratings, or (clips, K) votes, as the metric wants.
        prediction: what was predicted, one entry per clip; None is no answer where the metric takes labels or
            probabilities.
        labels: (K,) the classes; None takes those in ``truth``. Ignored by metrics of numbers and votes.

    Returns:
        The value in the metric's own unit.

    Raises:
        InputError: unequal lengths, nothing to score, or entries that the metric cannot take.
        CannotSeparate: a metric of numbers that is undefined for these (0/0).
        UsageError: an unknown metric, or no ``labels`` for a metric of calibration.
    """
    chosen = metric_named(metric)
    first, second = _ARGUMENTS.get(chosen.kind, ("truth", "prediction"))
    require_equal_lengths(**{first: len(truth), second: len(prediction)})
    one_cluster = np.zeros(len(truth), dtype=np.int64)
    statistics = statistics_of(chosen, truth, prediction, one_cluster, n_clusters=1, labels=labels)
    found = float(value(chosen, statistics[0]))
    if np.isnan(found) and chosen.kind in {"moments", "dimensions"}:
        constant = "truth and prediction are one" if chosen.name.endswith("ccc") else "truth or prediction is"
        raise CannotSeparate(
            f"The {chosen.title} of these {len(truth)} clips is undefined (0/0): {constant} constant."
            " Give clips whose values differ."
        )
    return found


def statistics_of(
    metric: str | Metric,
    truth: Column,
    prediction: Column,
    clusters: Codes,
    *,
    n_clusters: int,
    labels: Column | None = None,
) -> Array:
    """Additive statistics (clusters, …) of the kind the metric needs, float64, from one entry per clip.

    Moments are centred on the mean truth, so they add up and
    compare only with moments of the same clips.

    Args:
        metric: a name, or a metric: decides the kind of statistics.
        truth: one entry per clip: label, number, row of ratings or of votes.
        prediction: one entry per clip: label, number, or row of probabilities (calibration: in the order of ``labels``).
        clusters: (clips,) codes below ``n_clusters``.
        n_clusters: how many clusters there are, also those without a clip.
        labels: (K,) the classes; None takes those in ``truth``.

    Returns:
        float64 (n_clusters, …), the trailing axes as :mod:`bench.statistics.additive` lists them.

    Raises:
        InputError: as the metric's own function in :mod:`bench.metrics`.
        UsageError: an unknown metric, or no ``labels`` for a metric of calibration.
    """
    kind = metric_named(metric).kind
    require_equal_lengths(truth=len(truth), prediction=len(prediction), clusters=len(clusters))
    if kind == "moments":
        centre = float(finite_numbers("truth", truth).mean())
        return moment_statistics(truth, prediction, clusters, n_clusters=n_clusters, centre=centre)
    if kind == "dimensions":
        return dimension_statistics(truth, prediction, clusters, n_clusters=n_clusters)
    if kind == "soft":
        return soft_label_statistics(truth, prediction, clusters, n_clusters=n_clusters)
    if kind == "calibration" and labels is None:
        raise UsageError("labels must name the classes, in the order of the columns of the probabilities.")
    order = class_codes(truth, labels)
    true = _true_codes(truth, order)
    if kind == "calibration":
        width = {len(row) for row in prediction if row is not None}
        if width != {len(order)}:
            raise InputError(
                f"labels names {len(order)} classes, the probabilities have {sorted(width)} columns."
            )
        return calibration_statistics(true, prediction, clusters, n_clusters=n_clusters)
    given = [order.get(answer, -1) for answer in entries(prediction)]
    counts = confusion_statistics(true, given, clusters, n_labels=len(order), n_clusters=n_clusters)
    return counts.astype(np.float64)


def entries(column: Column) -> list[Hashable]:
    """List a column's entries as plain Python objects."""
    return list(column.tolist() if isinstance(column, np.ndarray) else column)


def is_missing(entry: Hashable) -> bool:
    """Whether an entry is None, or NaN: how a table reader spells an empty text field."""
    return entry is None or entry != entry


def class_codes(truth: Column, labels: Column | None) -> dict[Hashable, int]:
    """Code of each class: ``labels`` in their order, or the classes in ``truth`` in order of appearance.

    Raises:
        InputError: ``labels`` names a class twice.
    """
    names = (
        dict.fromkeys(e for e in entries(truth) if not is_missing(e)) if labels is None else entries(labels)
    )
    order = {name: code for code, name in enumerate(names)}
    if len(order) != len(names):
        raise InputError(f"labels names a class twice: {list(names)}.")
    return order


def _true_codes(truth: Column, order: dict[Hashable, int]) -> list[int]:
    true = entries(truth)
    wrong = [clip for clip, name in enumerate(true) if is_missing(name) or name not in order]
    if wrong:
        known = ", ".join(str(name) for name in order)
        raise InputError(
            f"truth[{wrong[0]}] is {true[wrong[0]]!r} ({len(wrong)} such clips), which is none of the classes"
            f" ({known or 'there are none'}). Score only clips whose true label is among the labels."
        )
    return [order[name] for name in true]
