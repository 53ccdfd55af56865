"""Moving and scaling predicted dimensions to the mean and variance that the truth has on the training clips."""

from __future__ import annotations

import numpy as np

from bench.protocols import Array


def matched(predicted: Array, truth: Array) -> tuple[Array, Array]:
    """Offset and scale (dimensions,) that give ``predicted`` (clips, dimensions) the mean and variance of ``truth``.

    Taken over the clips whose truth is known and that were answered (neither is NaN). A dimension that fewer than two such
    clips have, or that is answered the same for all of them, stays as it is.

    >>> offset, scale = matched(np.array([[0.4], [0.6]]), np.array([[0.2], [0.8]]))
    >>> (offset + scale * np.array([[0.4], [0.6]])).round(6).tolist()
    [[0.2], [0.8]]
    """
    dimensions = truth.shape[1]
    offset, scale = np.zeros(dimensions), np.ones(dimensions)
    for d in range(dimensions):
        known = ~np.isnan(truth[:, d]) & ~np.isnan(predicted[:, d])
        if known.sum() >= 2 and predicted[known, d].std() > 1e-6:
            scale[d] = truth[known, d].std() / predicted[known, d].std()
            offset[d] = truth[known, d].mean() - scale[d] * predicted[known, d].mean()
    return offset, scale
