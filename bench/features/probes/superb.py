"""The SUPERB emotion probe on pooled features: every fold × learning rate × seed trained at once.

``standardise`` is off because SUPERB does not do it: layers enter at their own scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bench.features.probes import ProbeTask
from bench.features.probes.learning_rate_search import GradientProbe
from bench.features.probes.pooled_head import PooledHead


@dataclass(frozen=True)
class SuperbProbe(GradientProbe):
    """s3prl's emotion head (projection to ``hidden`` = 256, Adam, batches of 32, gradient norm at most 1).

    Parameters: :class:`bench.features.probes.learning_rate_search.GradientProbe`.
    """

    learning_rates: Sequence[float] = (3e-4, 1e-3, 3e-3)

    def head_family(self, task: ProbeTask) -> PooledHead:
        """SUPERB's head on the means over frames, on the device to train on."""
        features = torch.from_numpy(np.ascontiguousarray(task.features)).to(self.device)
        return PooledHead(features, self.hidden, standardise=self.standardise)
