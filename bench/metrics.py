"""The scores, for sequences of labels or numbers: unweighted and plain accuracy, macro-F1, concordance, Pearson.

Thin shells over :mod:`bench.additive`, whose statistics and vectorised ``value`` are offered here too.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.additive import (
    METRICS,
    Array,
    Codes,
    InputError,
    Metric,
    confusion_statistics,
    finite_numbers,
    metric_named,
    moment_statistics,
    precisions,
    recalls,
    require_equal_lengths,
    value,
)
from bench.errors import CannotSeparate

__all__ = [
    "METRICS",
    "InputError",
    "Metric",
    "concordance_cc",
    "confusion_statistics",
    "macro_f1",
    "moment_statistics",
    "pearson_cc",
    "precisions",
    "recalls",
    "statistics_of",
    "unweighted_accuracy",
    "value",
    "weighted_accuracy",
]

Column = Sequence[Any] | NDArray[Any]
"""One entry per clip: labels (text, or anything hashable), or numbers."""


def unweighted_accuracy(truth: Column, prediction: Column, *, labels: Column | None = None) -> float:
    """Mean per-class recall (UA, UAR), 0..1: :math:`\\frac1K \\sum_k h_k / n_k` over classes with a true clip.

    :param truth: true label per clip
    :param prediction: answered label per clip; None (no answer) and a name outside ``labels`` count as wrong
    :param labels: the classes of the task; None takes those in ``truth``. Classes without a true clip are left out.
    :raises InputError: unequal lengths, nothing to score, a truth that is missing or not in ``labels``

    Equals scikit-learn's ``balanced_accuracy_score`` (Schuller et al., Interspeech 2009, made it the field's measure).

    >>> unweighted_accuracy(["sad", "sad", "happy", "happy"], ["sad", None, "happy", "happy"])
    0.75
    """
    return _categorical("ua", truth, prediction, labels)


def weighted_accuracy(truth: Column, prediction: Column, *, labels: Column | None = None) -> float:
    """Share of clips answered correctly (WA, plain accuracy), 0..1. Arguments as :func:`unweighted_accuracy`.

    >>> weighted_accuracy(["sad", "sad", "sad", "happy"], ["sad", "sad", None, "happy"])
    0.75
    """
    return _categorical("wa", truth, prediction, labels)


def macro_f1(truth: Column, prediction: Column, *, labels: Column | None = None) -> float:
    """Mean over classes with a true clip of :math:`F_k = 2 h_k / (n_k + m_k)`, 0..1; m counts answers of the class.

    Arguments as :func:`unweighted_accuracy`. A class that is never answered has F1 0. Equals scikit-learn's ``f1_score``
    with ``average="macro"``, ``zero_division=0`` and ``labels`` set to the classes in truth: without that argument
    scikit-learn also averages in a 0 for each class that was only ever answered.

    >>> macro_f1(["sad", "sad", "happy"], ["sad", "happy", "happy"])
    0.6666666666666666
    """
    return _categorical("macro_f1", truth, prediction, labels)


def concordance_cc(truth: Column, prediction: Column) -> float:
    """Lin's concordance correlation coefficient, −1..1, over all clips given, with population (1/N) moments.

    :math:`\\rho_c = 2 s_{xy} / (s_x^2 + s_y^2 + (\\bar x - \\bar y)^2)` (Lin, Biometrics 45, 1989, 255–268). With n − 1
    moments, as some libraries compute it, the value is smaller in size: the means' difference weighs less.

    A constant prediction (or truth) scores 0, as the formula says.

    :raises InputError: unequal lengths, nothing to score, None, NaN or infinity anywhere
    :raises CannotSeparate: truth and prediction are one and the same constant: 0/0

    >>> concordance_cc([0.0, 0.5, 1.0], [0.25, 0.5, 0.75])
    0.8
    """
    return _dimensional("ccc", truth, prediction)


def pearson_cc(truth: Column, prediction: Column) -> float:
    """Pearson's correlation coefficient, −1..1. Errors as :func:`concordance_cc`; undefined for any constant.

    >>> pearson_cc([0.0, 0.5, 1.0], [0.25, 0.5, 0.75])
    1.0
    """
    return _dimensional("pearson", truth, prediction)


def statistics_of(
    metric: str | Metric,
    truth: Column,
    prediction: Column,
    clusters: Codes,
    *,
    n_clusters: int,
    labels: Column | None = None,
) -> Array:
    """Additive statistics (clusters, …) of the kind the metric needs, float64, from labels or numbers per clip.

    ``clusters`` (clips,) are codes below ``n_clusters``. Moments are centred on the mean truth, so they add up and
    compare only with moments of the same clips. Errors as the metric's own function.
    """
    if metric_named(metric).kind == "moments":
        require_equal_lengths(truth=len(truth), prediction=len(prediction), clusters=len(clusters))
        centre = float(finite_numbers("truth", truth).mean())
        return moment_statistics(truth, prediction, clusters, n_clusters=n_clusters, centre=centre)
    require_equal_lengths(truth=len(truth), prediction=len(prediction), clusters=len(clusters))
    order = _classes(truth, labels)
    given = [order.get(answer, -1) for answer in entries(prediction)]
    counts = confusion_statistics(
        _true_codes(truth, order), given, clusters, n_labels=len(order), n_clusters=n_clusters
    )
    return counts.astype(np.float64)


def entries(column: Column) -> list[Hashable]:
    """List a column's entries as plain Python objects."""
    return list(column.tolist() if isinstance(column, np.ndarray) else column)


def is_missing(entry: Hashable) -> bool:
    """Whether an entry is None, or NaN: how a table reader spells an empty text field."""
    return entry is None or entry != entry


def _categorical(metric: str, truth: Column, prediction: Column, labels: Column | None) -> float:
    require_equal_lengths(truth=len(truth), prediction=len(prediction))
    one_cluster = np.zeros(len(truth), dtype=np.int64)
    counts = statistics_of(metric, truth, prediction, one_cluster, n_clusters=1, labels=labels)
    return float(value(metric, counts[0]))


def _dimensional(metric: str, truth: Column, prediction: Column) -> float:
    require_equal_lengths(truth=len(truth), prediction=len(prediction))
    one_cluster = np.zeros(len(truth), dtype=np.int64)
    score = float(value(metric, statistics_of(metric, truth, prediction, one_cluster, n_clusters=1)[0]))
    if np.isnan(score):
        reason = (
            "truth and prediction are one constant" if metric == "ccc" else "truth or prediction is constant"
        )
        raise CannotSeparate(
            f"The {METRICS[metric].title} of these {len(truth)} clips is undefined (0/0): {reason}."
            " Give clips whose values differ."
        )
    return score


def _classes(truth: Column, labels: Column | None) -> dict[Hashable, int]:
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
