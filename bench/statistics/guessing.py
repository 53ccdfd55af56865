"""What rules that hear nothing score: expectations from how often each class is true and how often a rule answers it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import CannotSeparate, InputError
from bench.protocols import Array
from bench.statistics.validation import real_array, shown

MOST = 1 + 1e-9
"""How far shares may add up beyond 1: they were rounded."""


def blind_scores(truth: ArrayLike, answered: ArrayLike) -> tuple[float, float]:
    """Expected UA and WA of answers that are drawn without a look at the clip.

    With n_fk the true clips of class k in fold f and a_fk the probability that the rule answers k there,

        UA = mean over classes with clips of Σ_f n_fk a_fk / Σ_f n_fk,    WA = Σ_fk n_fk a_fk / Σ_fk n_fk.

    A uniform guesser over k labels on offer thus scores a UA of 1/k however many classes are true, and answers outside the
    classes count as wrong. A rule that learnt its frequencies from the other folds may score less: where a class is rare in
    the folds that it is learnt from and common in the one tested, priors run against the test side.

    Args:
        truth: true clips, (folds, classes).
        answered: probability of each answer, (folds, classes); what is missing to 1 falls on answers outside.

    Returns:
        UA and WA, 0..1.

    Raises:
        InputError: other shapes, negative counts, or probabilities that are none.
        CannotSeparate: no clip at all.

    >>> blind_scores([[50, 50, 0]], [[1 / 7, 1 / 7, 1 / 7]])
    (0.14285714285714285, 0.14285714285714285)
    >>> blind_scores([[9, 1], [1, 9]], [[0, 1], [1, 0]])
    (0.1, 0.1)
    """
    clips, shares = real_array("truth", truth), real_array("answered", answered)
    if clips.ndim != 2 or clips.shape != shares.shape:
        raise InputError(
            f"truth and answered must both be (folds, classes); found shapes {clips.shape} and {shares.shape}."
        )
    if not (np.isfinite(clips) & (clips >= 0)).all():
        raise InputError(f"truth must be counts of clips, finite and 0 or more; found {shown(clips)}.")
    if not (np.isfinite(shares) & (shares >= 0)).all() or (shares.sum(axis=1) > MOST).any():
        raise InputError(
            f"answered must be probabilities that add up to 1 or less in each fold; found {shown(shares)}."
        )
    of_class = clips.sum(axis=0)
    present = of_class > 0
    if not present.any():
        raise CannotSeparate("There is no reference level without clips: no class has any.")
    hits = (clips * shares).sum(axis=0)
    return _share((hits[present] / of_class[present]).mean()), _share(hits.sum() / of_class.sum())


def _share(value: float | Array) -> float:
    return float(np.clip(value, 0.0, 1.0))
