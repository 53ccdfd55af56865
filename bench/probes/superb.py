"""The SUPERB emotion probe on pooled features: every fold × learning rate × seed trained at once.

Category and dimensions have a head each, of the same shape. The category head minimises cross-entropy, the
dimension head the mean over dimensions of 1 − CCC within a minibatch, on sigmoid outputs in 0..1 (Lin, 1989; population
moments). Learning rate and number of steps are those with the lowest loss on the validation clips (cross-entropy; or
1 − CCC over all of them): with few validation speakers a loss is far less coarse than an accuracy.

With ``refit`` (the default) the head is then trained again from the same seed on training and validation clips
together, for the same number of passes over the data: the other probes get the validation clips at the end too, and on
the small corpora here one fold in five is speakers that a benchmark of speakers cannot afford to leave out.

``standardise`` is off because SUPERB does not do it: layers enter at their own scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import DataError
from bench.probes import IntArray, ProbeOutcome, ProbeTask, Progress, softmax
from bench.probes.heads import Heads, Lesson, Objective, Schedule, Trained, train_heads

NO_ROWS = np.zeros(0, dtype=np.int64)
Run = tuple[int, int]
"""Fold index, seed."""


@dataclass(frozen=True)
class SuperbProbe:
    """s3prl's emotion head (projection to ``hidden`` = 256, Adam, batches of 32, gradient norm at most 1).

    ``max_steps`` bounds training at every learning rate; validation loss is looked at every ``evaluate_every``
    steps, and a head stops after ``patience`` looks without improvement. ``class_weights`` weighs the cross-entropy by
    inverse class frequency (s3prl does not). ``device`` is where the heads train.
    """

    learning_rates: Sequence[float] = (3e-4, 1e-3, 3e-3, 1e-2)
    hidden: int = 256
    batch_size: int = 32
    max_steps: int = 500
    evaluate_every: int = 20
    patience: int = 5
    clip: float | None = 1.0
    refit: bool = True
    standardise: bool = False
    class_weights: bool = False
    device: str = "cpu"

    def run(self, task: ProbeTask, progress: Progress) -> dict[Run, ProbeOutcome]:
        """Answer every (fold index, seed). Deterministic for a seed and a fixed number of threads."""
        features = torch.from_numpy(np.ascontiguousarray(task.features)).to(self.device)
        heads = [head for head in (self._category_head(task), self._dimension_head(task)) if head is not None]
        answers: dict[str, dict[Run, tuple[NDArray[np.float64], dict[str, Any]]]] = {}
        for number, head in enumerate(heads):

            def report(done: float, total: float, number: int = number) -> None:
                progress(number + done / total, len(heads))

            answers[head.name] = self._answer(features, task, head, report)
        outcomes = {}
        for run in ((fold, seed) for fold in range(len(task.folds)) for seed in task.seeds):
            given = {name: by_run[run] for name, by_run in answers.items()}
            notes = {name: note for name, (_, note) in given.items()}
            outcomes[run] = ProbeOutcome(
                probabilities=given["category"][0] if "category" in given else None,
                dimensions=given["dimensions"][0] if "dimensions" in given else None,
                notes=notes,
            )
        return outcomes

    def _category_head(self, task: ProbeTask) -> _Head | None:
        if not task.n_labels:
            return None
        fits = [task.labelled(fold.train) for fold in task.folds]
        watches = [task.labelled(fold.dev) for fold in task.folds]
        for number, (fit, watch) in enumerate(zip(fits, watches, strict=True)):
            if len(np.unique(task.labels[fit])) < 2 or not len(watch):
                raise DataError(
                    f"Fold {number} has {len(fit)} labelled training clips of "
                    f"{len(np.unique(task.labels[fit]))} classes and {len(watch)} labelled validation clips: a "
                    "classifier needs two classes to train on and clips to choose on."
                )
        return _Head("category", fits, watches)

    def _dimension_head(self, task: ProbeTask) -> _Head | None:
        known: NDArray[np.bool_] = np.asarray(np.isfinite(task.dimensions).any(axis=1))
        fits = [fold.train[known[fold.train]] for fold in task.folds]
        watches = [fold.dev[known[fold.dev]] for fold in task.folds]
        if any(len(rows) < 2 for rows in fits + watches):
            return None
        return _Head("dimensions", fits, watches)

    def _objective(self, task: ProbeTask, head: _Head, lessons: Sequence[Lesson]) -> Objective:
        if head.name == "dimensions":
            return DimensionObjective(torch.from_numpy(task.dimensions).float().to(self.device))
        labels = torch.from_numpy(task.labels).to(self.device)
        weights = _class_weights(task, lessons) if self.class_weights else None
        return CategoryObjective(labels, task.n_labels, None if weights is None else weights.to(self.device))

    def _answer(
        self, features: Tensor, task: ProbeTask, head: _Head, progress: Progress
    ) -> dict[Run, tuple[NDArray[np.float64], dict[str, Any]]]:
        share = len(self.learning_rates) / (len(self.learning_rates) + 1) if self.refit else 1.0
        runs = [(fold, seed) for fold in range(len(task.folds)) for seed in task.seeds]
        tried = [
            Lesson(head.fits[fold], head.watches[fold], rate, seed, self.max_steps)
            for rate in self.learning_rates
            for fold, seed in runs
        ]
        search = self._train(
            features, task, head, tried, lambda done, total: progress(share * done / total, 1.0)
        )
        # (learning rates, runs): the first of equals, that is, the first rate listed.
        regrets = search.regrets.reshape(len(self.learning_rates), len(runs))
        if not np.isfinite(regrets.min(axis=0)).all():
            raise DataError(
                f"Training the {head.name} head diverged at every learning rate ({list(self.learning_rates)}); give "
                "smaller ones, or standardise: true."
            )
        chosen = [int(rate) * len(runs) + i for i, rate in enumerate(regrets.argmin(axis=0))]
        final: Heads = search.heads.take(torch.as_tensor(chosen, device=features.device))
        if self.refit:
            lessons = [_again(tried[i], int(search.steps[i])) for i in chosen]
            final = self._train(
                features, task, head, _sharing_rows(lessons),
                lambda done, total: progress(share + (1.0 - share) * done / total, 1.0),
            ).heads  # fmt: skip
        mix = final.layer_weights().cpu().numpy()
        answers = {}
        for i, (fold, seed) in enumerate(runs):
            lesson = tried[chosen[i]]
            note = {
                "learning_rate": lesson.learning_rate,
                "steps": int(search.steps[chosen[i]]),
                "dev_loss": round(float(search.regrets[chosen[i]]), 6),
                "refit": self.refit,
                "layer_weights": [round(float(w), 4) for w in mix[i]],
            }
            rows = torch.from_numpy(task.folds[fold].test).to(features.device)
            scores = final.scores(features[rows], [i])[0].double().cpu().numpy()
            answers[fold, seed] = (_answers_of(head, task, scores, fold), note)
        return answers

    def _train(
        self, features: Tensor, task: ProbeTask, head: _Head, lessons: Sequence[Lesson], progress: Progress
    ) -> Trained:
        schedule = Schedule(
            self.hidden, self.batch_size, self.evaluate_every, self.patience, self.clip, self.standardise
        )
        return train_heads(features, lessons, self._objective(task, head, lessons), schedule, progress)


@dataclass(frozen=True)
class _Head:
    """One of the two heads: the rows to fit and to watch, per fold."""

    name: str
    fits: list[IntArray]
    watches: list[IntArray]


@dataclass(frozen=True)
class CategoryObjective:
    """Cross-entropy; ``weights`` (heads, labels) weigh the classes, or None."""

    labels: Tensor
    n_outputs: int
    weights: Tensor | None = None

    def losses(self, scores: Tensor, rows: Tensor, heads: Tensor) -> Tensor:
        """Mean (or weighted mean) cross-entropy of each head's minibatch."""
        target = self.labels[rows]
        each = -torch.log_softmax(scores, dim=-1).gather(-1, target[..., None])[..., 0]
        if self.weights is None:
            return each.mean(dim=1)
        weight = self.weights[heads].gather(1, target)
        return (each * weight).sum(dim=1) / weight.sum(dim=1)

    def regret(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Mean cross-entropy on the watched clips; the mean of the classes' means when classes are weighed."""
        target = self.labels[rows]
        chances = torch.log_softmax(scores.double(), dim=-1)
        each = -chances.gather(-1, target.expand(len(scores), -1)[..., None])[..., 0]
        if self.weights is None:
            return each.mean(dim=1)
        return torch.stack([each[:, target == code].mean(dim=1) for code in torch.unique(target)]).mean(dim=0)


@dataclass(frozen=True)
class DimensionObjective:
    """Mean over the dimensions of 1 − CCC, on sigmoid outputs; ``values`` (clips, 3), NaN where unknown."""

    values: Tensor
    n_outputs: int = 3

    def losses(self, scores: Tensor, rows: Tensor, heads: Tensor) -> Tensor:
        """1 − CCC within each head's minibatch, a dimension with fewer than two known clips left out."""
        return _discordance(torch.sigmoid(scores), self.values[rows])

    def regret(self, scores: Tensor, rows: Tensor) -> Tensor:
        """1 − CCC over all watched clips, mean of the dimensions."""
        truth = self.values[rows].double().expand(len(scores), -1, -1)
        return _discordance(torch.sigmoid(scores.double()), truth)


def _discordance(answer: Tensor, truth: Tensor) -> Tensor:
    """(heads, clips, dimensions) twice → (heads,): mean over dimensions of 1 − CCC, with 1/N moments."""
    known = torch.isfinite(truth)
    count = known.sum(dim=1).clamp(min=1)
    x = torch.where(known, answer, 0.0)
    y = torch.where(known, truth, 0.0)
    mean_x, mean_y = x.sum(dim=1) / count, y.sum(dim=1) / count
    dx = torch.where(known, answer - mean_x[:, None], 0.0)
    dy = torch.where(known, y - mean_y[:, None], 0.0)
    spread = ((dx**2).sum(dim=1) + (dy**2).sum(dim=1)) / count + (mean_x - mean_y) ** 2
    # Lin (1989); the floor only matters where neither side varies, and then the covariance is 0.
    concordance = 2.0 * (dx * dy).sum(dim=1) / count / spread.clamp(min=1e-12)
    usable = (known.sum(dim=1) >= 2).to(answer.dtype)
    return ((1.0 - concordance) * usable).sum(dim=1) / usable.sum(dim=1).clamp(min=1.0)


def _answers_of(head: _Head, task: ProbeTask, scores: NDArray[np.float64], fold: int) -> NDArray[np.float64]:
    """Probabilities, or dimensions in 0..1 with NaN where the fold had nothing to learn a dimension from."""
    if head.name == "category":
        return softmax(scores)
    learnt = np.isfinite(task.dimensions[head.fits[fold]]).sum(axis=0) >= 2
    return np.where(learnt, 1.0 / (1.0 + np.exp(-scores)), np.nan)


def _again(lesson: Lesson, steps: int) -> Lesson:
    """The same lesson on training and validation rows, for as many passes over them."""
    rows = np.concatenate([lesson.fit, lesson.watch])
    passes = round(steps * len(rows) / len(lesson.fit))
    return Lesson(rows, NO_ROWS, lesson.learning_rate, lesson.seed, max(1, passes))


def _sharing_rows(lessons: Sequence[Lesson]) -> list[Lesson]:
    """Equal row arrays made one object, so that statistics and minibatches are shared."""
    known: dict[bytes, IntArray] = {}
    return [
        Lesson(known.setdefault(x.fit.tobytes(), x.fit), x.watch, x.learning_rate, x.seed, x.steps)
        for x in lessons
    ]


def _class_weights(task: ProbeTask, lessons: Sequence[Lesson]) -> Tensor:
    """(heads, labels): total / (classes present × count), 0 for classes without a training clip."""
    weights = np.zeros((len(lessons), task.n_labels), dtype=np.float32)
    for i, lesson in enumerate(lessons):
        counts = np.bincount(task.labels[lesson.fit], minlength=task.n_labels)
        present = counts > 0
        weights[i, present] = len(lesson.fit) / (present.sum() * counts[present])
    return torch.from_numpy(weights)
