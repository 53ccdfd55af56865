"""What the linear and the SVM probe share: one strength (and one layer) chosen on validation, then a refit.

For every fold: the speakers of its training and validation clips are dealt to inner splits, each held out once; a
model is fitted per layer × strength on standardised features, and the pair whose pooled held-out predictions score best
is fitted again to all these clips. One or two validation speakers are a poor judge of a strength (the choice cost
.03 to .05 of UA with ten speakers), so all of them judge. Nothing is random: all seeds of a fold share one outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.errors import CannotSeparate, DataError
from bench.features.probes import IntArray, ProbeFold, ProbeOutcome, ProbeTask
from bench.protocols import DIMENSIONS, Progress
from bench.statistics.clip_scores import score

FeatureMatrix = NDArray[np.float64]


class Classifier(Protocol):
    """A fitted classifier: scores whose row-wise maximum is its answer, and probabilities from them."""

    def probabilities(self, x: FeatureMatrix) -> FeatureMatrix:
        """(clips, dims) → (clips, classes it was fitted to), rows sum to one."""
        ...


FitClassifier = Callable[[FeatureMatrix, IntArray, float], Classifier]
"""(clips, dims), codes 0 … classes − 1 without gaps, strength → fitted classifier."""
FitRegressor = Callable[[FeatureMatrix, FeatureMatrix, float], Callable[[FeatureMatrix], FeatureMatrix]]
"""(clips, dims), (clips,), strength → (clips, dims) → (clips,)."""


INNER_SPLITS = 4
"""How many inner splits judge a layer and a strength, where there are as many speakers."""


@dataclass(frozen=True)
class Choice:
    """The layer and strength that did best on validation, and how well."""

    layer: int
    strength: float
    score: float


def run_grid_search(
    task: ProbeTask,
    progress: Progress,
    *,
    fit_classifier: FitClassifier,
    class_strengths: Sequence[float],
    fit_regressor: FitRegressor,
    dimension_strengths: Sequence[float],
) -> dict[tuple[int, int], ProbeOutcome]:
    """Run a shallow probe on every fold; each seed of a fold gets the same outcome.

    Args:
        task: features, labels of training and validation rows, folds.
        progress: called with folds done and folds in all.
        fit_classifier: fits one strength on standardised features.
        class_strengths: strengths to try, the stronger regularisation first.
        fit_regressor: the same for one dimension.
        dimension_strengths: strengths to try, the stronger regularisation first.

    Returns:
        {(fold index, seed): outcome}.

    Raises:
        DataError: a fold with fewer than two classes or two speakers to train and choose on.
    """
    outcomes: dict[tuple[int, int], ProbeOutcome] = {}
    for number, fold in enumerate(task.folds):
        outcome = _run_fold(task, fold, fit_classifier, class_strengths, fit_regressor, dimension_strengths)
        outcomes |= {(number, seed): outcome for seed in task.seeds}
        progress(number + 1, len(task.folds))
    return outcomes


def _run_fold(
    task: ProbeTask,
    fold: ProbeFold,
    fit_classifier: FitClassifier,
    class_strengths: Sequence[float],
    fit_regressor: FitRegressor,
    dimension_strengths: Sequence[float],
) -> ProbeOutcome:
    notes: dict[str, Any] = {}
    probabilities = None
    if task.n_labels:
        probabilities, choice = _classify(task, fold, fit_classifier, class_strengths)
        notes["category"] = {"layer": choice.layer, "strength": choice.strength, "inner_ua": choice.score}
    columns = [_regress(task, fold, d, fit_regressor, dimension_strengths) for d in range(len(DIMENSIONS))]
    for name, column in zip(DIMENSIONS, columns, strict=True):
        if column is not None:
            notes[name] = {
                "layer": column[1].layer, "strength": column[1].strength, "inner_ccc": column[1].score
            }  # fmt: skip
    if all(column is None for column in columns):
        return ProbeOutcome(probabilities, None, notes)
    unknown = np.full(len(fold.test), np.nan)
    dimensions = np.stack([unknown if column is None else column[0] for column in columns], axis=1)
    return ProbeOutcome(probabilities, dimensions, notes)


def _classify(
    task: ProbeTask, fold: ProbeFold, fit: FitClassifier, strengths: Sequence[float]
) -> tuple[FeatureMatrix, Choice]:
    fitted_rows = task.labelled(fold.fitted)
    splits = _inner_splits(task, fitted_rows)
    if not splits or any(len(np.unique(task.labels[train])) < 2 for train, _ in splits):
        raise DataError(
            f"{len(fitted_rows)} labelled training clips of {len(np.unique(task.labels[fitted_rows]))} classes by "
            f"{len({task.speakers[i] for i in fitted_rows})} speakers: a classifier needs two classes to train on, and clips "
            "of other speakers to choose on."
        )

    def held_out_score(layer: int, strength: float) -> float:
        predictions = np.full(len(task.labels), -1)
        for train, held in splits:
            scaled, scaled_held = _standardised(task, layer, train, held)
            probabilities = _class_probabilities(
                fit, scaled, task.labels[train], strength, scaled_held, task.n_labels
            )
            predictions[held] = probabilities.argmax(axis=1)
        return score("ua", task.labels[fitted_rows], predictions[fitted_rows])

    choice = _best(task.features.shape[1], strengths, held_out_score)
    scaled, scaled_test = _standardised(task, choice.layer, fitted_rows, fold.test)
    return _class_probabilities(
        fit, scaled, task.labels[fitted_rows], choice.strength, scaled_test, task.n_labels
    ), choice


def _inner_splits(task: ProbeTask, rows: IntArray) -> list[tuple[IntArray, IntArray]]:
    """(training rows, held-out rows) by speaker, each row held out once; none with fewer than two speakers.

    Speakers are dealt in turn, those with most clips first, so that the splits are of about equal size.
    """
    counts = Counter(task.speakers[i] for i in rows)
    dealt = sorted(counts, key=lambda speaker: (-counts[speaker], speaker))
    k = min(INNER_SPLITS, len(dealt))
    if k < 2:
        return []
    part = {speaker: place % k for place, speaker in enumerate(dealt)}
    side = np.array([part[task.speakers[i]] for i in rows])
    return [(rows[side != j], rows[side == j]) for j in range(k)]


def _class_probabilities(
    fit: FitClassifier,
    x: FeatureMatrix,
    labels: IntArray,
    strength: float,
    x_test: FeatureMatrix,
    n_labels: int,
) -> FeatureMatrix:
    """Fit to the classes that occur; a class without a training clip has probability 0."""
    present, codes = np.unique(labels, return_inverse=True)
    probabilities = np.zeros((len(x_test), n_labels))
    if len(x_test):
        probabilities[:, present] = fit(x, codes.astype(np.int64), strength).probabilities(x_test)
    return probabilities


def _regress(
    task: ProbeTask, fold: ProbeFold, dimension: int, fit: FitRegressor, strengths: Sequence[float]
) -> tuple[FeatureMatrix, Choice] | None:
    values = task.dimensions[:, dimension]
    fitted_rows = fold.fitted[np.isfinite(values[fold.fitted])]
    splits = _inner_splits(task, fitted_rows)
    if not splits or min(len(train) for train, _ in splits) < 2:
        return None

    def held_out_score(layer: int, strength: float) -> float:
        predictions = np.zeros(len(values))
        for train, held in splits:
            scaled, scaled_held = _standardised(task, layer, train, held)
            predictions[held] = np.clip(fit(scaled, values[train], strength)(scaled_held), 0.0, 1.0)
        return _ccc_or_zero(values[fitted_rows], predictions[fitted_rows])

    choice = _best(task.features.shape[1], strengths, held_out_score)
    scaled, scaled_test = _standardised(task, choice.layer, fitted_rows, fold.test)
    if not len(fold.test):
        return np.zeros(0), choice
    return np.clip(fit(scaled, values[fitted_rows], choice.strength)(scaled_test), 0.0, 1.0), choice


def _ccc_or_zero(truth: FeatureMatrix, predictions: FeatureMatrix) -> float:
    try:
        return score("ccc", truth, predictions)
    except CannotSeparate:  # one and the same constant: no ground to prefer this choice
        return 0.0


def _best(n_layers: int, strengths: Sequence[float], score: Callable[[int, float], float]) -> Choice:
    """The best pair; equal scores go to the stronger regularisation (listed first), then to the lower layer."""
    choices = [Choice(layer, s, score(layer, s)) for s in strengths for layer in range(n_layers)]
    return max(choices, key=lambda choice: choice.score)


def _standardised(
    task: ProbeTask, layer: int, fit_rows: IntArray, other_rows: IntArray
) -> tuple[FeatureMatrix, FeatureMatrix]:
    """Both sets of rows of one layer, with zero mean and unit variance over the first; constants become 0."""
    fitted = task.features[fit_rows, layer].astype(np.float64)
    mean, deviation = fitted.mean(axis=0), fitted.std(axis=0)
    scale = np.where(deviation > 1e-12 * np.maximum(1.0, np.abs(mean)), deviation, np.inf)
    return (fitted - mean) / scale, (task.features[other_rows, layer].astype(np.float64) - mean) / scale
