"""From one entry per clip (labels, numbers, probabilities) to additive statistics, and to a score."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from numbers import Number
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
from bench.statistics.validation import rectangle, require_sequence, shown

Column = Sequence[Any] | NDArray[Any]
"""One entry per clip: labels (text, or anything hashable), numbers, or rows of numbers."""
_ARGUMENTS = {"soft": ("votes", "probabilities"), "calibration": ("truth", "probabilities")}
"""What the two columns are called in complaints, by kind of statistics, where not truth and prediction."""
_ROUNDING = 1e-9
"""Rounding may take a score this far out of its metric's range."""


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
    found = float(value(chosen, pooled_statistics(chosen, truth, prediction, labels=labels)))
    if np.isnan(found) and chosen.kind in {"moments", "dimensions"}:
        constant = "truth and prediction are one" if chosen.name.endswith("ccc") else "truth or prediction is"
        raise CannotSeparate(
            f"The {chosen.title} of these {len(truth)} clips is undefined (0/0): {constant} constant."
            " Give clips whose values differ."
        )
    if not chosen.minimum - _ROUNDING <= found <= chosen.maximum + _ROUNDING:
        raise CannotSeparate(
            f"The {chosen.title} of these {len(truth)} clips is lost in rounding ({found:g} came out): the values are too"
            " small, or too close to each other. Give them in a larger unit."
        )
    return found


def pooled_statistics(
    metric: str | Metric, truth: Column, prediction: Column, *, labels: Column | None = None
) -> Array:
    """Additive statistics of all clips together.

    Args:
        metric: name or metric.
        truth: (clips,) labels, numbers or votes.
        prediction: (clips,) answers of the same kind.
        labels: the classes, in order; None: those in ``truth``.

    Returns:
        The statistics of one cluster that holds every clip; its axes are the metric's.

    Raises:
        InputError: as :func:`score`.
    """
    chosen = metric_named(metric)
    first, second = _ARGUMENTS.get(chosen.kind, ("truth", "prediction"))
    require_sequence(first, truth)
    require_sequence(second, prediction)
    require_equal_lengths(**{first: len(truth), second: len(prediction)})
    one_cluster = np.zeros(len(truth), dtype=np.int64)
    found: Array = statistics_of(chosen, truth, prediction, one_cluster, n_clusters=1, labels=labels)[0]
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
    for name, column in (("truth", truth), ("prediction", prediction), ("clusters", clusters)):
        require_sequence(name, column)
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
        width = rectangle("probabilities", prediction).shape[1]
        if width != len(order):
            raise InputError(f"labels names {len(order)} classes, the probabilities have {width} columns.")
        return calibration_statistics(true, prediction, clusters, n_clusters=n_clusters)
    answers = label_entries("prediction", prediction)
    _require_kind("prediction", answers, "the classes", order)
    given = [order.get(answer, -1) for answer in answers]
    counts = confusion_statistics(true, given, clusters, n_labels=len(order), n_clusters=n_clusters)
    return counts.astype(np.float64)


def label_entries(name: str, column: Column) -> list[Hashable]:
    """List a column of labels (or groups) as plain Python objects; masked entries as None.

    Args:
        name: of the argument, for the message.
        column: (clips,) labels.

    Returns:
        One hashable entry per clip.

    Raises:
        InputError: no flat sequence, or an entry that is no name: a list, an array, a tensor.
    """
    require_sequence(name, column)
    if getattr(column, "ndim", 1) != 1:
        raise InputError(
            f"{name} must be flat, one name per clip; found {type(column).__name__} {tuple(column.shape)}."  # type: ignore[union-attr]
        )
    if hasattr(column, "to_pylist"):
        found: list[Any] = column.to_pylist()
    else:
        found = list(column.tolist() if isinstance(column, np.ndarray) else column)
    if not set(map(type, found)) <= _PLAIN:
        for clip, entry in enumerate(found):
            if not _is_name(entry):
                raise InputError(
                    f"{name}[{clip}] is {shown(entry)} ({type(entry).__name__}); every clip needs one name, such as text or"
                    " a whole number."
                )
    return found


def is_missing(entry: Hashable) -> bool:
    """Whether an entry is None, NaN, NaT or pandas' NA: how a table reader spells an empty field."""
    if entry is None:
        return True
    try:
        return bool(entry != entry)
    except TypeError:
        # Whether pandas' NA differs from itself is NA again, which has no truth value.
        return True


_PLAIN = {str, int, bool, float, type(None)}
"""Types that are names, or missing, without a closer look."""


def _is_name(entry: object) -> bool:
    if hasattr(entry, "ndim") and not isinstance(entry, np.generic):
        # A tensor hashes by its address: no two would be one class.
        return False
    try:
        hash(entry)
    except TypeError:
        return False
    return True


def _kind_of(entry: Hashable) -> str:
    """What sort of label this is. True, 1 and 1.0 are equal, and so of one sort; 1 and "1" are not."""
    if isinstance(entry, str):
        return "text"
    if isinstance(entry, Number | np.bool_):
        return "number"
    return type(entry).__name__


def _require_kind(name: str, found: Sequence[Hashable], whose: str, names: Iterable[Hashable]) -> None:
    """Raise :class:`InputError` where a label is of another sort than the first of ``names``: it could never be right."""
    first = next((e for e in names if not is_missing(e)), None)
    if first is None or set(map(type, found)) <= {type(first), type(None)}:
        return
    wanted = _kind_of(first)
    wrong = [clip for clip, e in enumerate(found) if not is_missing(e) and _kind_of(e) != wanted]
    if wrong:
        odd = found[wrong[0]]
        raise InputError(
            f"{name}[{wrong[0]}] is {shown(odd)} ({_kind_of(odd)}; {len(wrong)} such entries), but {whose} are of another type:"
            f" {shown(first)} ({wanted}). Give all labels as one type."
        )


def class_codes(truth: Column, labels: Column | None) -> dict[Hashable, int]:
    """Code of each class: ``labels`` in their order, or the classes in ``truth`` in order of appearance.

    Raises:
        InputError: ``labels`` names a class twice or has no name for one; labels, or they and the truth, are of several
            types.
    """
    true = label_entries("truth", truth)
    if labels is None:
        names = list(dict.fromkeys(e for e in true if not is_missing(e)))
        _require_kind("truth", true, "the labels before it", names)
    else:
        names = label_entries("labels", labels)
        if blank := [place for place, name in enumerate(names) if is_missing(name)]:
            raise InputError(f"labels[{blank[0]}] is {shown(names[blank[0]])}; every class needs a name.")
        _require_kind("labels", names, "those before it", names)
        _require_kind("truth", true, "the labels", names)
    order = {name: code for code, name in enumerate(names)}
    if len(order) != len(names):
        raise InputError(f"labels names a class twice: {shown(names)}.")
    return order


def _true_codes(truth: Column, order: dict[Hashable, int]) -> list[int]:
    true = label_entries("truth", truth)
    wrong = [clip for clip, name in enumerate(true) if is_missing(name) or name not in order]
    if wrong:
        known = ", ".join(str(name) for name in list(order)[:12]) + (", …" if len(order) > 12 else "")
        raise InputError(
            f"truth[{wrong[0]}] is {shown(true[wrong[0]])} ({len(wrong)} such clips), which is none of the classes"
            f" ({known or 'there are none'}). Score only clips whose true label is among the labels."
        )
    return [order[name] for name in true]
