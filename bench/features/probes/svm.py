"""The SVM probe: an RBF support vector machine for categories, support vector regression for dimensions.

On standardised features, kernel width 1 / (dims × variance); C (and the layer, where there are several) is chosen by
inner splits over speakers. Deterministic: seeds do not enter.

Probabilities are the softmax of the one-against-rest scores that scikit-learn derives from the pairwise votes. Their
largest entry is the SVM's own answer, with equal votes decided by the scores (scikit-learn's ``break_ties``). Platt
scaling does not promise that, and costs five more fits drawn at random. They are not calibrated; the notes say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.features.probes import IntArray, ProbeOutcome, ProbeTask, softmax
from bench.features.probes.grid_search import FeatureMatrix, run_grid_search
from bench.protocols import Progress

C_GRID = (1.0, 3.0, 10.0, 30.0, 100.0)
"""From the library's default upwards: below it a machine on a few hundred clips underfits."""
DIMENSION_C_GRID = (0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class SvmProbe:
    """Support vector machines with inverse strengths ``c`` (categories) and ``dimension_c`` (dimensions).

    ``epsilon`` is the half-width of the regression's free tube, in units of the 0..1 scale; ``class_weight`` is None
    or ``"balanced"``.
    """

    c: Sequence[float] = C_GRID
    dimension_c: Sequence[float] = DIMENSION_C_GRID
    epsilon: float = 0.05
    class_weight: str | None = None

    def run(self, task: ProbeTask, progress: Progress) -> dict[tuple[int, int], ProbeOutcome]:
        """Answer every (fold index, seed); seeds of one fold share the outcome."""
        outcomes = run_grid_search(
            task,
            progress,
            fit_classifier=self._fit_machine,
            class_strengths=sorted(self.c),
            fit_regressor=self._fit_regression,
            dimension_strengths=sorted(self.dimension_c),
        )
        for outcome in outcomes.values():
            outcome.notes["probabilities"] = "softmax of decision scores, not calibrated"
        return outcomes

    def _fit_machine(self, x: FeatureMatrix, codes: IntArray, strength: float) -> _Machine:
        from sklearn.svm import SVC

        model = SVC(C=strength, class_weight=self.class_weight)
        return _Machine(model.fit(x, codes))

    def _fit_regression(
        self, x: FeatureMatrix, values: FeatureMatrix, strength: float
    ) -> Callable[[FeatureMatrix], FeatureMatrix]:
        from sklearn.svm import SVR

        predict: Callable[[FeatureMatrix], FeatureMatrix] = (
            SVR(C=strength, epsilon=self.epsilon).fit(x, values).predict
        )
        return predict


@dataclass(frozen=True)
class _Machine:
    model: Any

    def probabilities(self, x: FeatureMatrix) -> FeatureMatrix:
        scores = self.model.decision_function(x)
        # Two classes give one score, positive for the second.
        return softmax(np.stack([np.zeros_like(scores), scores], axis=1) if scores.ndim == 1 else scores)
