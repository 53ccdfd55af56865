"""The attentive probe: a head that needs frames, on frame features, all folds × learning rates × seeds at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import UsageError
from bench.features.probes import ProbeOutcome, ProbeTask, Progress
from bench.features.probes.attention_head import AttentiveHead
from bench.features.probes.learning_rate_search import Search, TrialKey


@dataclass(frozen=True)
class AttentiveProbe:
    """Layer weights, projection to ``hidden``, attentive statistics pooling over frames, linear.

    ``attention`` is the width of the hidden layer that scores frames; ``standardise`` scales features by the frames of the
    fitted rows (without it a probe on Whisper tiny.en hardly learns: its features differ little from clip to clip). How long it trains, and how its learning rate is
    chosen: :class:`bench.features.probes.learning_rate_search.Search`. Its card keeps frames (``features: {pooled: false}``).
    """

    learning_rates: Sequence[float] = (3e-4, 1e-3, 3e-3)
    hidden: int = 128
    attention: int = 64
    batch_size: int = 32
    max_steps: int = 300
    evaluate_every: int = 20
    patience: int = 4
    clip: float | None = 1.0
    refit: bool = True
    standardise: bool = True
    class_weights: bool = False
    device: str = "cpu"

    def run(self, task: ProbeTask, progress: Progress) -> dict[TrialKey, ProbeOutcome]:
        """Answer every (fold index, seed). Deterministic on a machine for a seed and a fixed number of threads.

        Raises:
            UsageError: the task has no frames.
        """
        if task.frames is None:
            raise UsageError("the probe 'attentive' reads frames: set 'pooled: false' in its card's features")
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
        design = AttentiveHead(
            task.frames, self.hidden, self.attention, standardise=self.standardise, device=self.device
        )
        return search.run(task, design, progress)
