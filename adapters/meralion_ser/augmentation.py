"""Augmentation of training batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adapters.meralion_ser.batches import Batch
from adapters.meralion_ser.losses import HybridMasks, HybridTargets


@dataclass(frozen=True)
class MixUp:
    """MixUp (Zhang et al. 2018) of frames and labels, for a share of the batches.

    λ ~ Beta(alpha, alpha), one per batch; each clip is mixed with another of its batch as λ x + (1 − λ) x'. The paper:
    probability 0.5, alpha 0.3.
    """

    probability: float = 0.5
    alpha: float = 0.3

    def __call__(self, batch: Batch, classes: int, rng: np.random.Generator) -> Batch:
        """Mix frames, soft categories (batch, classes), dimensions and masks.

        A mixture of a known and an unknown label is unknown: half of its truth is missing. It is as long as the
        longer of its two clips.
        """
        mixes = self.alpha > 0 and rng.random() < self.probability
        if not mixes or len(batch.frames) < 2:
            return batch
        share = float(rng.beta(self.alpha, self.alpha))
        partner = torch.from_numpy(rng.permutation(len(batch.frames)))

        def mixed(x: Tensor) -> Tensor:
            return share * x + (1.0 - share) * x[partner]

        known = batch.masks
        soft = F.one_hot(batch.targets.categories.clamp(min=0), classes).float()
        lengths = batch.lengths
        return Batch(
            batch.indices,
            mixed(batch.frames),
            None if lengths is None else torch.maximum(lengths, lengths[partner]),
            # NaN marks a missing dimension and would survive any mixture.
            HybridTargets(mixed(soft), mixed(torch.nan_to_num(batch.targets.dimensions))),
            HybridMasks(
                known.categories & known.categories[partner], known.dimensions & known.dimensions[partner]
            ),
        )
