"""One probe per layer: how much of the emotion each layer of an encoder holds.

Every layer's features, standardised by the rows a probe is fitted to, go under the head of the SUPERB probe alone (a
projection and a linear layer: a linear classifier). All layers × folds × learning rates × seeds train as one batch:
a clip under a layer is a row, a fold under a layer is a fold. A cell's own answer is that of the layer with the lowest
validation loss; each layer's answers stand beside it as a variant ``layer/<index>``, from which the scorer draws
the layer curve over the test speakers. Choosing the best layer of that curve would be choosing on test data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bench.features.probes import LAYER_VARIANT, IntArray, ProbeFold, ProbeOutcome, ProbeTask
from bench.features.probes.learning_rate_search import TrialKey
from bench.features.probes.superb import SuperbProbe
from bench.protocols import Progress


@dataclass(frozen=True)
class LayerwiseProbe(SuperbProbe):
    """The head of :class:`bench.features.probes.superb.SuperbProbe` on each layer alone; parameters as there."""

    learning_rates: Sequence[float] = (3e-4, 1e-3, 3e-3)
    max_steps: int | Literal["superb"] = 300
    standardise: bool = True

    def run(self, task: ProbeTask, progress: Progress) -> dict[TrialKey, ProbeOutcome]:
        """Answer every (fold index, seed) by the layer that did best on validation, with all layers as variants."""
        layers = task.features.shape[1]
        each = super().run(_unrolled(task), progress)
        return {
            (fold, seed): _by_best_layer([each[fold * layers + layer, seed] for layer in range(layers)])
            for fold in range(len(task.folds))
            for seed in task.seeds
        }


def _unrolled(task: ProbeTask) -> ProbeTask:
    """The task with a row per clip × layer and a fold per fold × layer; each row has one layer."""
    clips, layers, dims = task.features.shape

    def rows(of: IntArray, layer: int) -> IntArray:
        unrolled: IntArray = of * layers + layer
        return unrolled

    return ProbeTask(
        features=task.features.reshape(clips * layers, 1, dims),
        labels=np.repeat(task.labels, layers),
        n_labels=task.n_labels,
        dimensions=np.repeat(task.dimensions, layers, axis=0),
        speakers=tuple(speaker for speaker in task.speakers for _ in range(layers)),
        folds=tuple(
            ProbeFold(rows(fold.train, layer), rows(fold.dev, layer), rows(fold.test, layer))
            for fold in task.folds
            for layer in range(layers)
        ),
        seeds=task.seeds,
    )


def _by_best_layer(outcomes: Sequence[ProbeOutcome]) -> ProbeOutcome:
    """Category and dimensions each from the layer with the lowest validation loss (the lowest such layer)."""
    best: dict[str, int] = {}
    notes: dict[str, Any] = {}
    for head, note in outcomes[0].notes.items():
        if "left_out" in note:
            notes[head] = note
            continue
        losses = [outcome.notes[head]["dev_loss"] for outcome in outcomes]
        best[head] = int(np.argmin(losses))
        chosen = {k: v for k, v in outcomes[best[head]].notes[head].items() if k != "layer_weights"}
        notes[head] = {"layer": best[head], **chosen, "dev_loss_by_layer": losses}
    return ProbeOutcome(
        probabilities=outcomes[best["category"]].probabilities if "category" in best else None,
        dimensions=outcomes[best["dimensions"]].dimensions if "dimensions" in best else None,
        notes=notes,
        variants={f"{LAYER_VARIANT}{i}": replace(o, notes={}) for i, o in enumerate(outcomes)},
    )
