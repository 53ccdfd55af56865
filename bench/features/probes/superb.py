"""The SUPERB emotion probe on pooled features: every fold × learning rate × seed trained at once.

``standardise`` is off because SUPERB does not do it: layers enter at their own scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from bench.features.probes import ProbeOutcome, ProbeTask, Progress
from bench.features.probes.learning_rate_search import Search, TrialKey
from bench.features.probes.pooled_head import PooledHead


@dataclass(frozen=True)
class SuperbProbe:
    """s3prl's emotion head (projection to ``hidden`` = 256, Adam, batches of 32, gradient norm at most 1).

    How long it trains, and how its learning rate is chosen: :class:`bench.features.probes.learning_rate_search.Search`. ``device`` is where
    the heads train.
    """

    learning_rates: Sequence[float] = (3e-4, 1e-3, 3e-3, 1e-2)
    hidden: int = 256
    batch_size: int = 32
    max_steps: int | Literal["superb"] = 500
    evaluate_every: int = 20
    patience: int = 5
    clip: float | None = 1.0
    refit: bool = True
    standardise: bool = False
    class_weights: bool = False
    device: str = "cpu"

    def run(self, task: ProbeTask, progress: Progress) -> dict[TrialKey, ProbeOutcome]:
        """Answer every (fold index, seed). Deterministic on a machine for a seed and a fixed number of threads."""
        features = torch.from_numpy(np.ascontiguousarray(task.features)).to(self.device)
        search = Search(
            learning_rates=self.learning_rates,
            batch_size=self.batch_size,
            max_steps=self.max_steps,
            evaluate_every=self.evaluate_every,
            patience=self.patience,
            clip=self.clip,
            refit=self.refit,
            class_weights=self.class_weights,
        )
        return search.run(task, PooledHead(features, self.hidden, standardise=self.standardise), progress)
