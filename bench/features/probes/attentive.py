"""The attentive probe: a head that needs frames, on frame features, all folds × learning rates × seeds at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError
from bench.features.probes import ProbeTask
from bench.features.probes.attention_head import AttentiveHead
from bench.features.probes.learning_rate_search import GradientProbe


@dataclass(frozen=True)
class AttentiveProbe(GradientProbe):
    """Layer weights, projection to ``hidden``, attentive statistics pooling over frames, linear.

    ``attention`` is the width of the hidden layer that scores frames; the other parameters are
    :class:`bench.features.probes.learning_rate_search.GradientProbe`'s. ``standardise`` scales features by the frames of the
    fitted rows (without it a probe on Whisper tiny.en hardly learns: its features differ little from clip to clip). Its
    card keeps frames (``features: {pooled: false}``).
    """

    learning_rates: Sequence[float] = (3e-4, 1e-3, 3e-3)
    hidden: int = 128
    max_steps: int | Literal["superb"] = 300
    patience: int = 4
    standardise: bool = True
    attention: int = 64

    def head_family(self, task: ProbeTask) -> AttentiveHead:
        """The attentive head on the task's frames.

        Raises:
            UsageError: the task has no frames.
        """
        if task.frames is None:
            raise UsageError("the probe 'attentive' reads frames: set 'pooled: false' in its card's features")
        return AttentiveHead(
            task.frames, self.hidden, self.attention, standardise=self.standardise, device=self.device
        )
