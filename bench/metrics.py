"""The scores, for sequences of labels, numbers or probabilities: accuracies and F1, concordance, soft labels, calibration.

Thin shells over :mod:`bench.statistics.additive`, whose statistics and vectorised ``value`` are offered here too.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import CannotSeparate, UsageError
from bench.protocols import Array
from bench.statistics.additive import (
    METRICS,
    Codes,
    InputError,
    Metric,
    calibration_statistics,
    confusion_statistics,
    dimension_statistics,
    finite_numbers,
    metric_named,
    moment_statistics,
    precisions,
    recalls,
    require_equal_lengths,
    soft_label_statistics,
    value,
)
from bench.statistics.calibration import BINS, ReliabilityPoint, reliability_points
from bench.statistics.categorical import chance

__all__ = [
    "METRICS",
    "ClassScore",
    "InputError",
    "Metric",
    "brier_score",
    "calibration_statistics",
    "chance",
    "concordance_cc",
    "confusion_matrix",
    "confusion_statistics",
    "cross_entropy",
    "dimension_statistics",
    "expected_calibration_error",
    "jensen_shannon",
    "kullback_leibler",
    "macro_f1",
    "mean_over_dimensions",
    "moment_statistics",
    "pearson_cc",
    "per_class",
    "precisions",
    "recalls",
    "reliability_curve",
    "root_mean_square_error",
    "soft_label_statistics",
    "statistics_of",
    "unweighted_accuracy",
    "value",
    "weighted_accuracy",
]

Column = Sequence[Any] | NDArray[Any]
"""One entry per clip: labels (text, or anything hashable), numbers, or rows of numbers."""


@dataclass(frozen=True)
class ClassScore:
    """One class: recall and precision 0..1, None where undefined (no true clip; never answered), and the clips behind them."""

    label: Hashable
    recall: float | None
    precision: float | None
    clips: int
    answers: int


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


def root_mean_square_error(truth: Column, prediction: Column) -> float:
    """Root mean square error (RMSE), 0..∞ in the unit of the ratings. Errors as :func:`concordance_cc`.

    Computed from sums: an error below a ten-millionth of the ratings' own size is rounding, and 0.

    >>> root_mean_square_error([0.0, 0.5, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0])
    0.25
    """
    return _dimensional("rmse", truth, prediction)


def mean_over_dimensions(metric: str, truth: Column, prediction: Column) -> float:
    """Mean over dimensions of "ccc", "pearson" or "rmse", each over the clips rated on it, from (clips, dimensions).

    A truth of NaN leaves that clip out of that dimension. Errors as the metric's own function.

    >>> truth = [[0.0, 0.2], [0.5, 0.4], [1.0, 0.6]]
    >>> round(mean_over_dimensions("rmse", truth, [[0.0, 0.3], [0.5, 0.5], [1.0, 0.7]]), 12)
    0.05
    """
    if f"mean_{metric}" not in METRICS:
        raise UsageError(f"There is no mean over dimensions of {metric!r}: ccc, pearson or rmse.")
    return _dimensional(f"mean_{metric}", truth, prediction)


def cross_entropy(votes: Column, probabilities: Column) -> float:
    """Mean cross-entropy of the listeners' votes and a system's probabilities, nats, 0..∞; less is better.

    :param votes: (clips, K) counts or shares of votes
    :param probabilities: (clips, K), same classes in the same order; None or a row of NaN is no answer, and counts as the
        uniform distribution
    :raises InputError: unequal shapes, a clip without votes, probabilities that do not sum to one

    The probabilities are smoothed by 0.001 of the uniform distribution (:mod:`bench.statistics.soft_labels`), so that a wrong
    certainty has a finite price. Never below the entropy of the votes.

    >>> round(cross_entropy([[3, 1], [0, 4]], [[0.75, 0.25], None]), 4)
    0.6277
    """
    return _soft("cross_entropy", votes, probabilities)


def kullback_leibler(votes: Column, probabilities: Column) -> float:
    """Mean Kullback–Leibler divergence KL(votes‖probabilities), nats, 0..∞: :func:`cross_entropy` less the votes' entropy.

    >>> round(kullback_leibler([[3, 1], [0, 4]], [[0.75, 0.25], None]), 4)
    0.3466
    """
    return _soft("kullback_leibler", votes, probabilities)


def jensen_shannon(votes: Column, probabilities: Column) -> float:
    """Mean Jensen–Shannon divergence of votes and probabilities, nats, 0..ln 2. Arguments as :func:`cross_entropy`.

    Nothing is smoothed: zeros are harmless here. (SciPy's ``jensenshannon`` is the square root of one clip's divergence.)

    >>> round(jensen_shannon([[3, 1], [0, 4]], [[0.75, 0.25], [1, 0]]), 4)
    0.3466
    """
    return _soft("jensen_shannon", votes, probabilities)


def brier_score(truth: Column, probabilities: Column, *, labels: Column) -> float:
    """Mean over clips of :math:`\\sum_k (q_k - [k = truth])^2`, 0..2 (Brier, Monthly Weather Review 78, 1950).

    :param truth: true label per clip
    :param probabilities: (clips, K) in the order of ``labels``; None or a row of NaN is no answer: uniform
    :raises InputError: unequal lengths, a truth not in ``labels``, probabilities that do not sum to one

    >>> round(brier_score(["sad", "happy"], [[0.8, 0.2], [0.4, 0.6]], labels=["sad", "happy"]), 12)
    0.2
    """
    return _calibrated("brier", truth, probabilities, labels)


def expected_calibration_error(truth: Column, probabilities: Column, *, labels: Column) -> float:
    """Top-label calibration error over 15 bins of equally many clips (ECE), 0..1. Arguments as :func:`brier_score`.

    A clip without an answer counts as uniform, and wrong. How the bins are made additive: :mod:`bench.statistics.calibration`.

    >>> round(expected_calibration_error(["sad"] * 4, [[0.8, 0.2]] * 3 + [[0.2, 0.8]], labels=["sad", "happy"]), 12)
    0.05
    """
    return _calibrated("ece", truth, probabilities, labels)


def reliability_curve(
    truth: Column, probabilities: Column, *, labels: Column, bins: int = BINS
) -> tuple[ReliabilityPoint, ...]:
    """Mean confidence and share right in bins of equally many clips, from least to most confident."""
    one_cluster = np.zeros(len(truth), dtype=np.int64)
    sums = statistics_of("ece", truth, probabilities, one_cluster, n_clusters=1, labels=labels)
    return reliability_points(sums[0], bins=bins)


def confusion_matrix(
    truth: Column, prediction: Column, *, labels: Column | None = None
) -> tuple[tuple[Hashable, ...], Codes]:
    """Labels, and counts (K, K + 1): row = true class, column = answer, the last column any other answer or none.

    >>> confusion_matrix(["sad", "sad", "happy"], ["sad", None, "sad"])
    (('sad', 'happy'), array([[1, 0, 1],
           [1, 0, 0]]))
    """
    one_cluster = np.zeros(len(truth), dtype=np.int64)
    counts = statistics_of("ua", truth, prediction, one_cluster, n_clusters=1, labels=labels)
    return tuple(_classes(truth, labels)), counts[0].astype(np.int64)


def per_class(truth: Column, prediction: Column, *, labels: Column | None = None) -> tuple[ClassScore, ...]:
    """Recall and precision of each class. Arguments as :func:`unweighted_accuracy`.

    >>> per_class(["sad", "sad", "happy"], ["sad", None, "sad"])[1]
    ClassScore(label='happy', recall=0.0, precision=None, clips=1, answers=0)
    """
    names, counts = confusion_matrix(truth, prediction, labels=labels)
    columns = zip(
        names, recalls(counts), precisions(counts), counts.sum(axis=1), counts.sum(axis=0), strict=False
    )
    return tuple(
        ClassScore(
            name, None if np.isnan(r) else float(r), None if np.isnan(p) else float(p), int(clips), int(said)
        )
        for name, r, p, clips, said in columns
    )


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

    ``clusters`` (clips,) are codes below ``n_clusters``. Moments are centred on the mean truth, so they add up and
    compare only with moments of the same clips. Soft-label metrics take votes for ``truth`` and probabilities for
    ``prediction``; calibration takes probabilities in the order of ``labels``. Errors as the metric's own function.
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
    order = _classes(truth, labels)
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


def _categorical(metric: str, truth: Column, prediction: Column, labels: Column | None) -> float:
    require_equal_lengths(truth=len(truth), prediction=len(prediction))
    one_cluster = np.zeros(len(truth), dtype=np.int64)
    counts = statistics_of(metric, truth, prediction, one_cluster, n_clusters=1, labels=labels)
    return float(value(metric, counts[0]))


def _soft(metric: str, votes: Column, probabilities: Column) -> float:
    require_equal_lengths(votes=len(votes), probabilities=len(probabilities))
    one_cluster = np.zeros(len(votes), dtype=np.int64)
    return float(value(metric, statistics_of(metric, votes, probabilities, one_cluster, n_clusters=1)[0]))


def _calibrated(metric: str, truth: Column, probabilities: Column, labels: Column) -> float:
    require_equal_lengths(truth=len(truth), probabilities=len(probabilities))
    one_cluster = np.zeros(len(truth), dtype=np.int64)
    sums = statistics_of(metric, truth, probabilities, one_cluster, n_clusters=1, labels=labels)
    return float(value(metric, sums[0]))


def _dimensional(metric: str, truth: Column, prediction: Column) -> float:
    require_equal_lengths(truth=len(truth), prediction=len(prediction))
    one_cluster = np.zeros(len(truth), dtype=np.int64)
    score = float(value(metric, statistics_of(metric, truth, prediction, one_cluster, n_clusters=1)[0]))
    if np.isnan(score):
        reason = (
            "truth and prediction are one constant"
            if metric.endswith("ccc")
            else "truth or prediction is constant"
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
