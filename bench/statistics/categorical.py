"""Categories: confusion counts per cluster, and UA, WA and macro-F1 as functions of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import CannotSeparate, InputError, UsageError
from bench.protocols import Array
from bench.statistics.metric import Metric, StatisticsKind
from bench.statistics.validation import (
    Codes,
    codes,
    integers,
    ratio,
    real_array,
    require_equal_lengths,
    shown,
)

CONFUSION = StatisticsKind(
    "confusion",
    axes=2,
    wanted="(…, K, K + 1) confusion counts",
    fits=lambda shape: len(shape) == 2 and shape[0] >= 1 and shape[1] == shape[0] + 1,
    truth=lambda table: table.sum(axis=-1),
)


def confusion_statistics(
    truth: ArrayLike, prediction: ArrayLike, clusters: ArrayLike, *, n_labels: int, n_clusters: int
) -> Codes:
    """Confusion counts per cluster, int64 (clusters, n_labels, n_labels + 1), from integer codes (clips,).

    A prediction code of −1, or of ``n_labels`` and above, counts in the last column: a wrong answer of no class.

    Args:
        truth: (clips,) code of the true class, 0..n_labels − 1.
        prediction: (clips,) code of the predicted class.
        clusters: (clips,) codes below ``n_clusters``.
        n_labels: how many classes there are.
        n_clusters: how many clusters there are.

    Returns:
        int64 (n_clusters, n_labels, n_labels + 1): row = true class, column = predicted class.

    Raises:
        InputError: unequal lengths, or truth or cluster codes out of range.
    """
    true, cluster = codes("truth", truth, n_labels), codes("clusters", clusters, n_clusters)
    given = integers("prediction", prediction).astype(np.int64)
    require_equal_lengths(truth=len(true), prediction=len(given), clusters=len(cluster))
    column = np.where((given < 0) | (given >= n_labels), n_labels, given)
    cell = (cluster * n_labels + true) * (n_labels + 1) + column
    counts = np.bincount(cell, minlength=n_clusters * n_labels * (n_labels + 1))
    return counts.astype(np.int64).reshape(n_clusters, n_labels, n_labels + 1)


def recalls(confusion: ArrayLike) -> Array:
    """Recall per class, (…, K): correct clips of a class among its true clips; NaN for a class without any.

    >>> recalls([[8, 2, 0], [1, 3, 1]])
    array([0.8, 0.6])
    """
    table = _counts(confusion)
    return ratio(_hits(table), table.sum(axis=-1))


def precisions(confusion: ArrayLike) -> Array:
    """Precision per class, (…, K): correct clips among those answered with the class; NaN when it was never answered.

    >>> precisions([[8, 2, 0], [2, 3, 1]])
    array([0.8, 0.6])
    """
    table = _counts(confusion)
    return ratio(_hits(table), table.sum(axis=-2)[..., :-1])


def only_present_classes(confusion: Array) -> Array:
    """Drop the classes without a true clip anywhere in (…, K, K + 1): answers naming them move to the last column."""
    present = confusion.reshape(-1, *confusion.shape[-2:]).sum(axis=(0, 2)) > 0
    if present.all():
        return confusion
    kept = confusion[..., present, :]
    columns = np.append(present, False)
    other = kept[..., ~columns].sum(axis=-1, keepdims=True)
    return np.concatenate([kept[..., columns], other], axis=-1)


def _counts(confusion: ArrayLike) -> Array:
    table = real_array("confusion", confusion)
    if (
        table.ndim < 2
        or not CONFUSION.fits(table.shape[-2:])
        or not (np.isfinite(table) & (table >= 0)).all()
    ):
        raise InputError(
            f"confusion must be {CONFUSION.wanted}, finite and 0 or more; found {shown(table)} of shape {table.shape}."
        )
    return table


def _hits(table: Array) -> Array:
    return np.diagonal(table, axis1=-2, axis2=-1)


def _halves(c: Array) -> tuple[Array, Array]:
    # Slices, for np.split takes ten times as long on arrays of a few classes, and boards ask for thousands.
    k = c.shape[-1] // 2
    return c[..., :k], c[..., k:]


def _thirds(c: Array) -> tuple[Array, Array, Array]:
    k = c.shape[-1] // 3
    return c[..., :k], c[..., k : 2 * k], c[..., 2 * k :]


# Each metric: its components, its parts, its gradient. Per class: h hits, n true clips, both = n + answers.


def _ua_components(table: Array) -> Array:
    return np.concatenate([_hits(table), table.sum(axis=-1)], axis=-1)


def _ua_parts(c: Array) -> Array:
    h, n = _halves(c)
    return ratio(h, n)


def _ua_gradient(c: Array) -> Array:
    h, n = _halves(c)
    per_hit = 1 / (n.shape[-1] * n)
    return np.concatenate([per_hit, -per_hit * h / n], axis=-1)


def _ua_least_variance(c: Array) -> float:
    return _two_clips(_halves(c)[1])


def _f1_least_variance(c: Array) -> float:
    return _two_clips(_thirds(c)[2])


def _two_clips(n: Array) -> float:
    """Variance that one more clip right for A alone, and one for B alone, would bring: 2 · mean of 1/(K n_k)².

    Source: Bonett and Price, Journal of Educational and Behavioral Statistics 37, 2012, 479–488: one is added to either
    count of discordant clips.
    """
    return float(2 * (1 / (len(n) * n) ** 2).mean())


def _wa_components(table: Array) -> Array:
    return np.stack([_hits(table).sum(axis=-1), table.sum(axis=(-2, -1))], axis=-1)


def _f1_components(table: Array) -> Array:
    hits, true, said = _hits(table), table.sum(axis=-1), table.sum(axis=-2)[..., :-1]
    return np.concatenate([hits, true + said, true], axis=-1)


def _f1_parts(c: Array) -> Array:
    h, both, n = _thirds(c)
    return np.where(n > 0, ratio(2 * h, both), np.nan)


def _f1_gradient(c: Array) -> Array:
    h, both, n = _thirds(c)
    per_hit = 2 / (n.shape[-1] * both)
    return np.concatenate([per_hit, -per_hit * h / both, np.zeros_like(n)], axis=-1)


def _true_clips(table: Array) -> Array:
    return np.asarray(table.sum(axis=-1))


def _all_clips(table: Array) -> Array:
    return np.asarray(table.sum(axis=(-2, -1)))[..., np.newaxis]


CONFUSION_METRICS = (
    Metric(
        "ua", "unweighted accuracy", CONFUSION, 0.0, 1.0,
        _ua_components, _ua_parts, _ua_gradient, _true_clips,
        linear=True, least_variance=_ua_least_variance,
    ),
    # Plain accuracy is the unweighted accuracy of one class that holds every clip.
    Metric(
        "wa", "weighted accuracy", CONFUSION, 0.0, 1.0,
        _wa_components, _ua_parts, _ua_gradient, _all_clips,
        linear=True, least_variance=_ua_least_variance,
    ),
    Metric(
        "macro_f1", "macro-F1", CONFUSION, 0.0, 1.0,
        _f1_components, _f1_parts, _f1_gradient, _true_clips,
        least_variance=_f1_least_variance,
    ),
)  # fmt: skip


def chance(metric: str, confusion: ArrayLike) -> float:
    """What answers that know nothing of the clip score, for one table (K, K + 1) of which only the true clips count.

    UA: 1/K, K the classes with true clips, however the answers are spread. WA: :math:`\\sum_k p_k^2`, answers drawn from the
    marginals of the truth (always answering the largest class reaches its share instead: the system ``majority``).

    Args:
        metric: "ua" or "wa".
        confusion: (K, K + 1) counts.

    Returns:
        The expected score of guessing, 0..1.

    Raises:
        UsageError: another metric: its chance depends on the rule of answering.
        CannotSeparate: a table without any clip.

    >>> chance("ua", [[6, 0, 0], [1, 1, 0]]), chance("wa", [[6, 0, 0], [1, 1, 0]])
    (0.5, 0.625)
    """
    if not isinstance(metric, str) or metric not in {"ua", "wa"}:
        raise UsageError(
            f"The chance level of {shown(metric)} depends on how one guesses; it is defined for ua and wa."
        )
    clips = _counts(confusion).sum(axis=-1)
    if not clips.sum():
        raise CannotSeparate("There is no chance level without clips: the confusion table is empty.")
    return float(1 / (clips > 0).sum() if metric == "ua" else ((clips / clips.sum()) ** 2).sum())
