"""Where a projector that knows nothing may begin: at the names of the labels.

From random weights, a few hundred clips are spent on finding out that rows of sound mean anything at all. A ridge regression finds
the linear map from a clip's mean row to the embedding of its answer at once, in closed form and from the training clips alone;
what learns afterwards starts there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from torch import Tensor

from bench.errors import DataError

STRENGTHS = tuple(float(x) for x in np.logspace(-1, 5, 25))
"""Of the penalty; the one with the least leave-one-out error is taken."""


def toward_answers(rows: Sequence[Tensor], answers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the linear map whose mean over a clip's rows is the best guess of its answer's embedding.

    A penalised guess lies too near the middle; the map is scaled so that the guesses vary as much as the answers do.

    Args:
        rows: of each clip, as the projector reads them (rows, width).
        answers: embedding of each clip's answer (clips, hidden).

    Returns:
        Weight (hidden, width) and bias (hidden,).

    Raises:
        DataError: one answer for all clips: there is nothing to tell apart.
    """
    heard: NDArray[np.float64] = torch.stack([r.double().mean(dim=0) for r in rows]).cpu().numpy()
    wanted: NDArray[np.float64] = answers.double().cpu().numpy()
    if not np.ptp(wanted, axis=0).any():
        raise DataError(
            "projector_start: answers: all training clips have one answer, and there is nothing to tell apart; "
            "leave projector_start out"
        )
    fitted = RidgeCV(alphas=STRENGTHS).fit(heard, wanted)
    guessed = fitted.predict(heard)
    middle = wanted.mean(axis=0)
    scale = float(np.linalg.norm(wanted - middle)) / max(float(np.linalg.norm(guessed - middle)), 1e-12)
    weight = scale * fitted.coef_
    bias = middle - weight @ heard.mean(axis=0)
    return torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
