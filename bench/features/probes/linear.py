"""The linear probe: multinomial logistic regression for categories, ridge for dimensions.

Both with an L2 penalty on standardised features; strength and, for encoders with several layers, the layer are
chosen by inner splits over speakers. Deterministic: seeds do not enter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.features.probes import IntArray, ProbeOutcome, ProbeTask, softmax
from bench.features.probes.grid_search import FeatureMatrix, run_grid_search
from bench.protocols import Progress

C_GRID = (0.0003, 0.001, 0.01, 0.1, 1.0)
ALPHA_GRID = (10_000.0, 1_000.0, 100.0, 10.0, 1.0)


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression (inverse strengths ``c``) and ridge (strengths ``alpha``), both from strong to weak.

    ``class_weight`` is scikit-learn's: None, or ``"balanced"`` to weigh classes by 1/frequency.
    """

    c: Sequence[float] = C_GRID
    alpha: Sequence[float] = ALPHA_GRID
    class_weight: str | None = None
    max_iter: int = 1000

    def run(self, task: ProbeTask, progress: Progress) -> dict[tuple[int, int], ProbeOutcome]:
        """Answer every (fold index, seed); seeds of one fold share the outcome."""
        return run_grid_search(
            task,
            progress,
            fit_classifier=self._fit_logistic,
            class_strengths=sorted(self.c),
            fit_regressor=_fit_ridge,
            dimension_strengths=sorted(self.alpha, reverse=True),
        )

    def _fit_logistic(self, x: FeatureMatrix, codes: IntArray, strength: float) -> _Logistic:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=strength, class_weight=self.class_weight, max_iter=self.max_iter)
        return _Logistic(model.fit(x, codes))


@dataclass(frozen=True)
class _Logistic:
    model: Any

    def probabilities(self, x: FeatureMatrix) -> FeatureMatrix:
        scores = self.model.decision_function(x)
        # Two classes give one score, the log-odds of the second.
        return softmax(np.stack([np.zeros_like(scores), scores], axis=1) if scores.ndim == 1 else scores)


def _fit_ridge(
    x: FeatureMatrix, values: FeatureMatrix, strength: float
) -> Callable[[FeatureMatrix], FeatureMatrix]:
    from sklearn.linear_model import Ridge

    predict: Callable[[FeatureMatrix], FeatureMatrix] = Ridge(alpha=strength).fit(x, values).predict
    return predict
