"""Learning rate chosen on validation speakers, for all folds and seeds of a task as one batch of heads.

Category and dimensions have a head each, of the same family. The category head minimises cross-entropy, the dimension
head the mean over dimensions of 1 − CCC within a minibatch, on sigmoid outputs in 0..1. The learning rate is the one with
the lowest loss on the validation clips (cross-entropy; or 1 − CCC over all of them): with few validation speakers a loss is
far less coarse than an accuracy.

How long to train is not chosen: the rate falls linearly to 0 over a fixed number of steps. At a constant rate the validation
loss of these heads jumps from look to look, so that the last bits of the features, which differ between processors, decide
which look is the lowest (``python -m tests.probe_stability`` measures both ways). ``decay: false`` is that other way, s3prl's.

With ``refit`` the head is then trained again from the same seed on training and validation clips together, for the same
number of passes over the data: the other probes get the validation clips at the end too, and on the small corpora here
one fold in five is speakers that a benchmark of speakers cannot afford to leave out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import DataError
from bench.features.probes import IntArray, ProbeOutcome, ProbeTask, softmax
from bench.features.probes.batched_adam import (
    HeadFamily,
    Objective,
    Schedule,
    TrainedHeads,
    Trial,
    train_heads,
)
from bench.features.probes.losses import CccLoss, CrossEntropy
from bench.protocols import Progress

NO_ROWS = np.zeros(0, dtype=np.int64)
TOO_FEW = "this fold has fewer than two training or validation clips with a dimension"
TrialKey = tuple[int, int]
"""Fold index, seed."""
SUPERB_STEPS, SUPERB_LOOK = 30_000, 1_000
"""SUPERB's emotion recipe: so many steps of 32 clips, the validation set looked at every so many."""


@dataclass(frozen=True)
class GradientProbe(ABC):
    """A probe whose heads are trained by gradient descent: what is search_trials, and for how long.

    Args:
        learning_rates: rates to choose from by validation loss; of equal ones the first.
        hidden: width of the projection.
        batch_size: clips of a minibatch.
        max_steps: steps at every learning rate. ``"superb"``: SUPERB's recipe, 30,000 steps at a constant rate, validated
            every 1,000, never stopped early, the lowest validation loss kept.
        decay: whether the rate falls linearly to 0 over ``max_steps``, which are then all taken. If not, it is constant, and
            the step with the lowest validation loss is kept.
        evaluate_every: at a constant rate, steps between two looks at the validation loss.
        patience: at a constant rate, looks without improvement after which a head stops.
        clip: largest norm of a head's gradient; None for none.
        refit: whether the chosen head is trained again on training and validation clips together.
        standardise: whether each feature is scaled by the rows that a head is fitted to.
        class_weights: whether the cross-entropy is weighed by inverse class frequency (s3prl does not).
        device: where the heads train, ``"cpu"``, ``"cuda:0"`` …
    """

    learning_rates: Sequence[float]
    hidden: int = 256
    batch_size: int = 32
    max_steps: int | Literal["superb"] = 500
    decay: bool = True
    evaluate_every: int = 20
    patience: int = 5
    clip: float | None = 1.0
    refit: bool = True
    standardise: bool = False
    class_weights: bool = False
    device: str = "cpu"

    @abstractmethod
    def head_family(self, task: ProbeTask) -> HeadFamily:
        """The kind of head that this probe trains, on the features of the task."""

    def run(self, task: ProbeTask, progress: Progress) -> dict[TrialKey, ProbeOutcome]:
        """Answer every (fold index, seed). Deterministic on a machine for a seed and a fixed number of threads."""
        family = self.head_family(task)
        heads = [head for head in (self._category_head(task), self._dimension_head(task)) if head is not None]
        predictions: dict[str, dict[TrialKey, tuple[NDArray[np.float64], dict[str, Any]]]] = {}
        for number, head in enumerate(heads):

            def report(done: float, total: float, number: int = number) -> None:
                progress(number + done / total, len(heads))

            predictions[head.name] = self._train_and_predict(family, task, head, report)
        outcomes = {}
        for run in ((fold, seed) for fold in range(len(task.folds)) for seed in task.seeds):
            given = {name: by_run[run] for name, by_run in predictions.items() if run in by_run}
            notes = {name: note for name, (_, note) in given.items()}
            notes |= {name: {"left_out": TOO_FEW} for name in predictions if name not in given}
            outcomes[run] = ProbeOutcome(
                probabilities=given["category"][0] if "category" in given else None,
                dimensions=given["dimensions"][0] if "dimensions" in given else None,
                notes=notes,
            )
        return outcomes

    def _category_head(self, task: ProbeTask) -> _Head | None:
        if not task.n_labels:
            return None
        train_rows = [task.labelled(fold.train) for fold in task.folds]
        val_rows = [task.labelled(fold.dev) for fold in task.folds]
        for number, (train, val) in enumerate(zip(train_rows, val_rows, strict=True)):
            if len(np.unique(task.labels[train])) < 2 or not len(val):
                raise DataError(
                    f"Fold {number} has {len(train)} labelled training clips of "
                    f"{len(np.unique(task.labels[train]))} classes and {len(val)} labelled validation clips: a "
                    "classifier needs two classes to train on and clips to choose on."
                )
        return _Head("category", train_rows, val_rows, list(range(len(train_rows))))

    def _dimension_head(self, task: ProbeTask) -> _Head | None:
        known: NDArray[np.bool_] = np.asarray(np.isfinite(task.dimensions).any(axis=1))
        train_rows = [fold.train[known[fold.train]] for fold in task.folds]
        val_rows = [fold.dev[known[fold.dev]] for fold in task.folds]
        folds = [
            i for i, both in enumerate(zip(train_rows, val_rows, strict=True)) if min(map(len, both)) >= 2
        ]
        return _Head("dimensions", train_rows, val_rows, folds) if folds else None

    def _objective(
        self, task: ProbeTask, head: _Head, trials: Sequence[Trial], device: torch.device
    ) -> Objective:
        if head.name == "dimensions":
            return CccLoss(torch.from_numpy(task.dimensions).float().to(device))
        labels = torch.from_numpy(task.labels).to(device)
        weights = _class_weights(task, trials) if self.class_weights else None
        return CrossEntropy(labels, task.n_labels, None if weights is None else weights.to(device))

    def _train_and_predict(
        self, family: HeadFamily, task: ProbeTask, head: _Head, progress: Progress
    ) -> dict[TrialKey, tuple[NDArray[np.float64], dict[str, Any]]]:
        share = len(self.learning_rates) / (len(self.learning_rates) + 1) if self.refit else 1.0
        runs = [(fold, seed) for fold in head.folds for seed in task.seeds]
        steps = SUPERB_STEPS if self.max_steps == "superb" else self.max_steps
        search_trials = [
            Trial(head.train_rows[fold], head.val_rows[fold], rate, seed, steps)
            for rate in self.learning_rates
            for fold, seed in runs
        ]
        search = self._train(
            family, task, head, search_trials, lambda done, total: progress(share * done / total, 1.0)
        )
        # (learning rates, runs): the first of equals, that is, the first rate listed.
        val_losses = search.val_losses.reshape(len(self.learning_rates), len(runs))
        if not np.isfinite(val_losses.min(axis=0)).all():
            raise DataError(
                f"Training the {head.name} head diverged at every learning rate ({list(self.learning_rates)}); give "
                "smaller ones, or standardise: true."
            )
        chosen = [int(rate) * len(runs) + i for i, rate in enumerate(val_losses.argmin(axis=0))]
        final = search.heads.take(torch.as_tensor(chosen, device=family.device))
        if self.refit:
            trials = [_refit_trial(search_trials[i], int(search.steps[i])) for i in chosen]
            final = self._train(
                family, task, head, _with_shared_rows(trials),
                lambda done, total: progress(share + (1.0 - share) * done / total, 1.0),
            ).heads  # fmt: skip
        mix = final.layer_weights().cpu().numpy()
        predictions = {}
        for i, (fold, seed) in enumerate(runs):
            trial = search_trials[chosen[i]]
            note = {
                "learning_rate": trial.learning_rate,
                "steps": int(search.steps[chosen[i]]),
                "dev_loss": round(float(search.val_losses[chosen[i]]), 6),
                "refit": self.refit,
                "layer_weights": [round(float(w), 4) for w in mix[i]],
            }
            rows = torch.from_numpy(task.folds[fold].test).to(family.device)
            scores = family.scores(final, rows, [i])[0].double().cpu().numpy()
            predictions[fold, seed] = (_predictions_of(head, task, scores, fold), note)
        return predictions

    def _train(
        self, family: HeadFamily, task: ProbeTask, head: _Head, trials: Sequence[Trial], progress: Progress
    ) -> TrainedHeads:
        objective = self._objective(task, head, trials, family.device)
        return train_heads(family, trials, objective, self._schedule(), progress)

    def _schedule(self) -> Schedule:
        if self.max_steps == "superb":
            return Schedule(self.batch_size, SUPERB_LOOK, SUPERB_STEPS, self.clip)
        return Schedule(self.batch_size, self.evaluate_every, self.patience, self.clip, self.decay)


@dataclass(frozen=True)
class _Head:
    """One of the two heads: the rows to fit and to val, per fold, and the folds that have enough of both."""

    name: str
    train_rows: list[IntArray]
    val_rows: list[IntArray]
    folds: list[int]


def _predictions_of(
    head: _Head, task: ProbeTask, scores: NDArray[np.float64], fold: int
) -> NDArray[np.float64]:
    """Probabilities, or dimensions in 0..1 with NaN where the fold had nothing to learn a dimension from."""
    if head.name == "category":
        return softmax(scores)
    learnt = np.isfinite(task.dimensions[head.train_rows[fold]]).sum(axis=0) >= 2
    return np.where(learnt, 1.0 / (1.0 + np.exp(-scores)), np.nan)


def _refit_trial(trial: Trial, steps: int) -> Trial:
    """The same trial on training and validation rows, for as many passes over them."""
    rows = np.concatenate([trial.train_rows, trial.val_rows])
    passes = round(steps * len(rows) / len(trial.train_rows))
    return Trial(rows, NO_ROWS, trial.learning_rate, trial.seed, max(1, passes))


def _with_shared_rows(trials: Sequence[Trial]) -> list[Trial]:
    """Equal row arrays made one object, so that statistics and minibatches are shared."""
    known: dict[bytes, IntArray] = {}
    return [
        Trial(
            known.setdefault(x.train_rows.tobytes(), x.train_rows),
            x.val_rows,
            x.learning_rate,
            x.seed,
            x.steps,
        )
        for x in trials
    ]


def _class_weights(task: ProbeTask, trials: Sequence[Trial]) -> Tensor:
    """(heads, labels): total / (classes present × count), 0 for classes without a training clip."""
    weights = np.zeros((len(trials), task.n_labels), dtype=np.float32)
    for i, trial in enumerate(trials):
        counts = np.bincount(task.labels[trial.train_rows], minlength=task.n_labels)
        present = counts > 0
        weights[i, present] = len(trial.train_rows) / (present.sum() * counts[present])
    return torch.from_numpy(weights)
