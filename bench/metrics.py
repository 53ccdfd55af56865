"""The scores, for sequences of labels, numbers or probabilities: accuracies and F1, concordance, soft labels, calibration.

Thin shells over :mod:`bench.statistics.clip_scores`; the additive statistics behind the scores, and their vectorised
``value``, are offered here too.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from bench.errors import InputError, UsageError
from bench.statistics.additive import (
    METRICS,
    Codes,
    Metric,
    calibration_statistics,
    confusion_statistics,
    dimension_statistics,
    moment_statistics,
    precisions,
    recalls,
    soft_label_statistics,
    value,
)
from bench.statistics.calibration import BINS, ReliabilityPoint, reliability_points
from bench.statistics.categorical import chance
from bench.statistics.clip_scores import Column, class_codes, pooled_statistics, score, statistics_of
from bench.statistics.validation import shown

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

    Equals scikit-learn's ``balanced_accuracy_score``.

    Args:
        truth: true label per clip.
        prediction: predicted label per clip; None (no answer) and a name outside ``labels`` count as wrong.
        labels: the classes of the task; None takes those in ``truth``. Classes without a true clip are left out.

    Returns:
        Mean recall over the classes with a true clip, 0..1.

    Raises:
        InputError: unequal lengths, nothing to score, a truth that is missing or not in ``labels``, labels of
            several types (1 and "1").

    Source: Schuller, Steidl and Batliner, Interspeech 2009, 312–315, made it the field's measure.

    >>> unweighted_accuracy(["sad", "sad", "happy", "happy"], ["sad", None, "happy", "happy"])
    0.75
    """
    return score("ua", truth, prediction, labels=labels)


def weighted_accuracy(truth: Column, prediction: Column, *, labels: Column | None = None) -> float:
    """Share of clips answered correctly (WA, plain accuracy), 0..1.

    Args:
        truth: true label per clip.
        prediction: predicted label per clip; None (no answer) and a name outside ``labels`` count as wrong.
        labels: the classes of the task; None takes those in ``truth``. Classes without a true clip are left out.

    Returns:
        Share of clips, 0..1.

    Raises:
        InputError: unequal lengths, nothing to score, a truth that is missing or not in ``labels``, labels of
            several types (1 and "1").

    >>> weighted_accuracy(["sad", "sad", "sad", "happy"], ["sad", "sad", None, "happy"])
    0.75
    """
    return score("wa", truth, prediction, labels=labels)


def macro_f1(truth: Column, prediction: Column, *, labels: Column | None = None) -> float:
    """Mean over classes with a true clip of :math:`F_k = 2 h_k / (n_k + m_k)`, 0..1; m counts answers of the class.

    A class that is never answered has F1 0. Equals scikit-learn's ``f1_score``
    with ``average="macro"``, ``zero_division=0`` and ``labels`` set to the classes in truth: without that argument
    scikit-learn also averages in a 0 for each class that was only ever answered.

    Args:
        truth: true label per clip.
        prediction: predicted label per clip; None (no answer) and a name outside ``labels`` count as wrong.
        labels: the classes of the task; None takes those in ``truth``. Classes without a true clip are left out.

    Returns:
        Mean F1 over the classes with a true clip, 0..1.

    Raises:
        InputError: unequal lengths, nothing to score, a truth that is missing or not in ``labels``, labels of
            several types (1 and "1").

    >>> macro_f1(["sad", "sad", "happy"], ["sad", "happy", "happy"])
    0.6666666666666666
    """
    return score("macro_f1", truth, prediction, labels=labels)


def concordance_cc(truth: Column, prediction: Column) -> float:
    """Lin's concordance correlation coefficient, −1..1, over all clips given, with population (1/N) moments.

    :math:`\\rho_c = 2 s_{xy} / (s_x^2 + s_y^2 + (\\bar x - \\bar y)^2)`. With n − 1
    moments, as some libraries compute it, the value is smaller in size: the means' difference weighs less.

    A constant prediction (or truth) scores 0, as the formula says.

    Args:
        truth: rating per clip.
        prediction: predicted number per clip, in the same unit.

    Returns:
        The coefficient, −1..1; 0 where one of the two is constant.

    Raises:
        InputError: unequal lengths, nothing to score, None, NaN or infinity anywhere.
        CannotSeparate: truth and prediction are one and the same constant (0/0).

    Source: Lin, Biometrics 45, 1989, 255–268.

    >>> concordance_cc([0.0, 0.5, 1.0], [0.25, 0.5, 0.75])
    0.8
    """
    return score("ccc", truth, prediction)


def pearson_cc(truth: Column, prediction: Column) -> float:
    """Pearson's correlation coefficient, −1..1.

    Args:
        truth: rating per clip.
        prediction: predicted number per clip, in the same unit.

    Returns:
        The coefficient, −1..1.

    Raises:
        InputError: unequal lengths, nothing to score, None, NaN or infinity anywhere.
        CannotSeparate: truth or prediction is constant (0/0).

    >>> pearson_cc([0.0, 0.5, 1.0], [0.25, 0.5, 0.75])
    1.0
    """
    return score("pearson", truth, prediction)


def root_mean_square_error(truth: Column, prediction: Column) -> float:
    """Root mean square error (RMSE), 0..∞ in the unit of the ratings.

    Computed from sums: an error below a ten-millionth of the ratings' own size is rounding, and 0.

    Args:
        truth: rating per clip.
        prediction: predicted number per clip, in the same unit.

    Returns:
        The error in the unit of the ratings, 0..∞.

    Raises:
        InputError: unequal lengths, nothing to score, None, NaN or infinity anywhere.

    >>> root_mean_square_error([0.0, 0.5, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0])
    0.25
    """
    return score("rmse", truth, prediction)


def mean_over_dimensions(metric: str, truth: Column, prediction: Column) -> float:
    """Mean over dimensions of "ccc", "pearson" or "rmse", each over the clips rated on it, from (clips, dimensions).

    A truth of NaN leaves that clip out of that dimension.

    Args:
        metric: "ccc", "pearson" or "rmse".
        truth: (clips, dimensions) ratings, NaN where a clip was not rated.
        prediction: (clips, dimensions), in the same unit.

    Returns:
        Mean of the metric over the dimensions, in the metric's own unit.

    Raises:
        UsageError: another metric.
        InputError: unequal shapes, or a dimension without a rated clip.
        CannotSeparate: the metric is undefined in some dimension.

    >>> truth = [[0.0, 0.2], [0.5, 0.4], [1.0, 0.6]]
    >>> round(mean_over_dimensions("rmse", truth, [[0.0, 0.3], [0.5, 0.5], [1.0, 0.7]]), 12)
    0.05
    """
    if not isinstance(metric, str) or f"mean_{metric}" not in METRICS:
        raise UsageError(f"There is no mean over dimensions of {shown(metric)}: ccc, pearson or rmse.")
    return score(f"mean_{metric}", truth, prediction)


def cross_entropy(votes: Column, probabilities: Column) -> float:
    """Mean cross-entropy of the listeners' votes and a system's probabilities, nats, 0..∞; less is better.

    The probabilities are smoothed by 0.001 of the uniform distribution (:mod:`bench.statistics.soft_labels`), so that a wrong
    certainty has a finite price. Never below the entropy of the votes.

    Args:
        votes: (clips, K) counts or shares of the listeners' votes.
        probabilities: (clips, K), same classes in the same order; None or a row of NaN is no answer, and counts as the
            uniform distribution.

    Returns:
        Mean over clips, nats.

    Raises:
        InputError: unequal shapes, a clip without votes, probabilities that do not sum to one.

    >>> round(cross_entropy([[3, 1], [0, 4]], [[0.75, 0.25], None]), 4)
    0.6277
    """
    return score("cross_entropy", votes, probabilities)


def kullback_leibler(votes: Column, probabilities: Column) -> float:
    """Mean Kullback–Leibler divergence KL(votes‖probabilities), nats, 0..∞: :func:`cross_entropy` less the votes' entropy.

    Args:
        votes: (clips, K) counts or shares of the listeners' votes.
        probabilities: (clips, K), same classes in the same order; None or a row of NaN is no answer, and counts as the
            uniform distribution.

    Returns:
        Mean over clips, nats; 0 for a system that gives the votes' shares, but for the smoothing.

    Raises:
        InputError: unequal shapes, a clip without votes, probabilities that do not sum to one.

    Source: Kullback and Leibler, Annals of Mathematical Statistics 22, 1951, 79–86.

    >>> round(kullback_leibler([[3, 1], [0, 4]], [[0.75, 0.25], None]), 4)
    0.3466
    """
    return score("kullback_leibler", votes, probabilities)


def jensen_shannon(votes: Column, probabilities: Column) -> float:
    """Mean Jensen–Shannon divergence of votes and probabilities, nats, 0..ln 2.

    Nothing is smoothed: zeros are harmless here. (SciPy's ``jensenshannon`` is the square root of one clip's divergence.)

    Args:
        votes: (clips, K) counts or shares of the listeners' votes.
        probabilities: (clips, K), same classes in the same order; None or a row of NaN is no answer, and counts as the
            uniform distribution.

    Returns:
        Mean over clips, nats, 0..ln 2.

    Raises:
        InputError: unequal shapes, a clip without votes, probabilities that do not sum to one.

    Source: Lin, IEEE Transactions on Information Theory 37, 1991, 145–151.

    >>> round(jensen_shannon([[3, 1], [0, 4]], [[0.75, 0.25], [1, 0]]), 4)
    0.3466
    """
    return score("jensen_shannon", votes, probabilities)


def brier_score(truth: Column, probabilities: Column, *, labels: Column) -> float:
    """Mean over clips of :math:`\\sum_k (q_k - [k = truth])^2`, 0..2.

    Args:
        truth: true label per clip.
        probabilities: (clips, K) in the order of ``labels``; None or a row of NaN is no answer: uniform.
        labels: (K,) the classes.

    Returns:
        Mean over clips, 0..2; less is better.

    Raises:
        InputError: unequal lengths, a truth not in ``labels``, probabilities that do not sum to one.

    Source: Brier, Monthly Weather Review 78, 1950, 1–3.

    >>> round(brier_score(["sad", "happy"], [[0.8, 0.2], [0.4, 0.6]], labels=["sad", "happy"]), 12)
    0.2
    """
    return score("brier", truth, probabilities, labels=labels)


def expected_calibration_error(truth: Column, probabilities: Column, *, labels: Column) -> float:
    """Top-label calibration error over 15 bins of equally many clips (ECE), 0..1.

    A clip without an answer counts as uniform, and wrong. How the bins are made additive: :mod:`bench.statistics.calibration`.

    Args:
        truth: true label per clip.
        probabilities: (clips, K) in the order of ``labels``; None or a row of NaN is no answer: uniform, and wrong.
        labels: (K,) the classes.

    Returns:
        Mean |share right − mean confidence| over the bins, 0..1.

    Raises:
        InputError: unequal lengths, a truth not in ``labels``, probabilities that do not sum to one.

    Source: Nguyen and O'Connor, EMNLP 2015; Nixon et al., CVPR workshops 2019.

    >>> round(expected_calibration_error(["sad"] * 4, [[0.8, 0.2]] * 3 + [[0.2, 0.8]], labels=["sad", "happy"]), 12)
    0.05
    """
    return score("ece", truth, probabilities, labels=labels)


def reliability_curve(
    truth: Column, probabilities: Column, *, labels: Column, bins: int = BINS
) -> tuple[ReliabilityPoint, ...]:
    """Mean confidence and share right in bins of equally many clips, from least to most confident.

    Args:
        truth: true label per clip.
        probabilities: (clips, K) in the order of ``labels``; None or a row of NaN is no answer: uniform, and wrong.
        labels: (K,) the classes.
        bins: how many bins of equally many clips.

    Returns:
        One point per bin: mean confidence, share right, clips.

    Raises:
        InputError: unequal lengths, a truth not in ``labels``, probabilities that do not sum to one.
    """
    return reliability_points(pooled_statistics("ece", truth, probabilities, labels=labels), bins=bins)


def confusion_matrix(
    truth: Column, prediction: Column, *, labels: Column | None = None
) -> tuple[tuple[Hashable, ...], Codes]:
    """Labels, and counts (K, K + 1): row = true class, column = answer, the last column any other answer or none.

    Args:
        truth: true label per clip.
        prediction: predicted label per clip; None (no answer) and a name outside ``labels`` count as wrong.
        labels: the classes of the task; None takes those in ``truth``. Classes without a true clip are left out.

    Returns:
        The labels (K,), and int64 counts (K, K + 1).

    Raises:
        InputError: unequal lengths, nothing to score, a truth that is missing or not in ``labels``, labels of
            several types (1 and "1").

    >>> confusion_matrix(["sad", "sad", "happy"], ["sad", None, "sad"])
    (('sad', 'happy'), array([[1, 0, 1],
           [1, 0, 0]]))
    """
    counts = pooled_statistics("ua", truth, prediction, labels=labels)
    return tuple(class_codes(truth, labels)), counts.astype(np.int64)


def per_class(truth: Column, prediction: Column, *, labels: Column | None = None) -> tuple[ClassScore, ...]:
    """Recall and precision of each class.

    Args:
        truth: true label per clip.
        prediction: predicted label per clip; None (no answer) and a name outside ``labels`` count as wrong.
        labels: the classes of the task; None takes those in ``truth``. Classes without a true clip are left out.

    Returns:
        One :class:`ClassScore` per class, in the order of the labels.

    Raises:
        InputError: unequal lengths, nothing to score, a truth that is missing or not in ``labels``, labels of
            several types (1 and "1").

    >>> per_class(["sad", "sad", "happy"], ["sad", None, "sad"])[1]
    ClassScore(label='happy', recall=0.0, precision=None, clips=1, answers=0)
    """
    names, counts = confusion_matrix(truth, prediction, labels=labels)
    columns = zip(
        names, recalls(counts), precisions(counts), counts.sum(axis=1), counts.sum(axis=0), strict=False
    )
    return tuple(
        ClassScore(
            name,
            None if np.isnan(r) else float(r),
            None if np.isnan(p) else float(p),
            int(clips),
            int(answers),
        )
        for name, r, p, clips, answers in columns
    )
