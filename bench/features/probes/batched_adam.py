"""Many small heads trained at once: every head is one row of one matrix of parameters.

What a head computes is its :class:`HeadFamily`'s affair (:mod:`bench.features.probes.pooled_head`, :mod:`bench.features.probes.attention_head`); here
is what all share: minibatches, gradient clipping, Adam, validation, and dropping heads that have
stopped or are at their last step. Heads do not touch each other: one trained in a stack equals one trained alone. Steps between two looks are taken in
compiled code where the family has it (:mod:`bench.features.probes.cpu_kernels`); elsewhere one by one for all heads beside each other, torch's
fused Adam continuing over the rows of one learning rate at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.features.probes import IntArray
from bench.protocols import Progress

ScoreGradient = Callable[[Tensor], Tensor]
"""Scores → ∂ loss / ∂ scores."""
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's usual constants (Kingma and Ba, 2015), torch's defaults and s3prl's."""


@dataclass(frozen=True)
class Trial:
    """What one head learns: training rows, validation rows (none: train for ``steps``), learning rate, seed, steps."""

    train_rows: IntArray
    val_rows: IntArray
    learning_rate: float
    seed: int
    steps: int


@dataclass(frozen=True)
class Schedule:
    """How all heads of a batch are trained.

    ``decay``: the learning rate falls linearly to 0 over a trial's steps, all of which are taken; the validation rows are
    looked at once, at the end. Otherwise it is constant, and ``patience`` counts evaluations on the validation rows, made
    every ``evaluate_every`` steps, without improvement. ``clip`` bounds the norm of a head's gradient (None: not at all).
    """

    batch_size: int = 32
    evaluate_every: int = 20
    patience: int = 5
    clip: float | None = 1.0
    decay: bool = False

    def rates(self, trial: Trial, first: int, steps: int) -> NDArray[np.float64]:
        """Learning rates of a trial at some of its steps.

        Args:
            trial: whose rate falls, or does not.
            first: the first of these steps, counted from 0.
            steps: how many of them.

        Returns:
            (steps,).
        """
        if not self.decay:
            return np.full(steps, trial.learning_rate)
        return trial.learning_rate * (1.0 - np.arange(first, first + steps) / trial.steps)

    def looks(self, trials: Sequence[Trial]) -> set[int]:
        """Steps after which the validation rows of these trials are looked at."""
        if self.decay:
            return {trial.steps for trial in trials}
        most = max(trial.steps for trial in trials)
        return set(range(self.evaluate_every, most, self.evaluate_every)) | {most}


class Objective(Protocol):
    """A loss per head, and the loss that chooses on validation clips."""

    @property
    def n_outputs(self) -> int:
        """Scores per clip."""
        ...

    def losses(self, scores: Tensor, rows: Tensor, heads: Tensor) -> Tensor:
        """Scores (heads, clips, outputs) and rows (heads, clips) of heads numbered ``heads`` → (heads,).

        Args:
            scores: (heads, clips, outputs).
            rows: (heads, clips) rows of the labels.
            heads: (heads,) numbers of the trials.

        Returns:
            (heads,).
        """
        ...

    def val_loss(self, scores: Tensor, rows: Tensor) -> Tensor:
        """What to make small on validation clips: scores (heads, clips, outputs), rows (clips,) → (heads,)."""
        ...


@dataclass(frozen=True)
class HeadBatch:
    """A minibatch, rows (clips,), and the heads that learn from it: all learning rates of a fold and seed share one."""

    rows: Tensor
    heads: list[int]


class HeadStack(Protocol):
    """Heads of one family: ``theta`` is (heads, parameters of one head)."""

    theta: Tensor

    def take(self, chosen: Tensor) -> HeadStack:
        """Some of the heads, copied."""
        ...

    def layer_weights(self) -> Tensor:
        """(heads, layers), each row sums to one."""
        ...


@dataclass(frozen=True)
class StepBlock:
    """Steps that are taken without looking: ``rows`` (streams, steps, batch) and, per head, the stream it learns from, its
    learning rate at each step (heads, steps), and what the objective knows it by. ``steps_taken`` went before.
    """

    rows: IntArray
    streams: IntArray
    rates: NDArray[np.float64]
    trial_indices: IntArray
    steps_taken: int
    clip: float | None


class StepKernel(Protocol):
    """Steps of a whole stack in place: ``first`` and ``second`` are Adam's moments, as ``heads.theta``."""

    def __call__(self, heads: Any, first: Tensor, second: Tensor, block: StepBlock) -> None:
        """Take the steps."""
        ...


class HeadFamily(Protocol):
    """A kind of head, and the clips it looks at. Rows number these clips."""

    @property
    def device(self) -> torch.device:
        """Where the heads train."""
        ...

    def fresh_heads(self, trials: Sequence[Trial], outputs: int) -> Any:
        """A stack with a fresh head per trial, decided by the trials' seeds."""
        ...

    def scores(self, heads: Any, rows: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        """Rows (clips,) → (heads, clips, outputs), for all heads or the chosen ones.

        Args:
            heads: the stack.
            rows: (clips,) rows of the features.
            chosen: positions of heads in the stack; None for all.

        Returns:
            (heads, clips, outputs).
        """
        ...

    def backward(
        self, heads: Any, batches: Sequence[HeadBatch], score_gradient: ScoreGradient, gradient: Tensor
    ) -> None:
        """Write ∂ loss / ∂ parameters into ``gradient``, each head on its own minibatch; every head is in one of them.

        ``score_gradient`` turns scores (heads, clips, outputs) into ∂ loss / ∂ scores.

        Args:
            heads: the stack; every head is in one of ``batches``.
            batches: minibatches with the positions of the heads that learn from them, all of one size.
            score_gradient: scores (heads, clips, outputs) → ∂ loss / ∂ scores, same shape.
            gradient: (heads, parameters of one head), overwritten.
        """
        ...

    def step_kernel(self, objective: Objective) -> StepKernel | None:
        """Many steps at once in compiled code, where there is some for this objective and device."""
        ...

    def concatenated(self, stacks: Sequence[Any]) -> Any:
        """One stack of the heads of several."""
        ...

    def max_parallel(self) -> int:
        """How many heads to train beside each other: more of them would leave the processor's cache, or the memory."""
        ...


@dataclass(frozen=True)
class TrainedHeads:
    """Trained heads: parameters as they stood at ``steps`` (the best validated step, or the last)."""

    heads: HeadStack
    steps: IntArray
    val_losses: NDArray[np.float64]


def train_heads(
    family: HeadFamily,
    trials: Sequence[Trial],
    objective: Objective,
    schedule: Schedule,
    progress: Progress = lambda done, total: None,
) -> TrainedHeads:
    """Train one head per trial, as many of them at a time as the family says.

    Equal trials give equal heads, whatever else is in the batch (to float32 rounding).

    Args:
        family: the kind of head, on its features.
        trials: what each head learns.
        objective: the loss; its class weights, where it has some, are one row per trial.
        schedule: batch size, validation and clipping.
        progress: called with steps done and steps in all.

    Returns:
        The trained heads, in the order of ``trials``.

    Source: Kingma and Ba, ICLR 2015, for Adam.
    """
    max_parallel = family.max_parallel()
    # Heads that share minibatches stay together.
    shared: dict[tuple[int, int], int] = {}
    order = sorted(
        range(len(trials)),
        key=lambda i: shared.setdefault((id(trials[i].train_rows), trials[i].seed), len(shared)),
    )
    parts = [order[i : i + max_parallel] for i in range(0, len(order), max_parallel)]
    total = float(sum(max(trials[i].steps for i in part) for part in parts))
    trained, before = [], 0.0
    for part in parts:

        def report(step: float, before: float = before) -> None:
            progress(before + step, total)

        trained.append(_train(family, [trials[i] for i in part], part, objective, schedule, report))
        before += max(trials[i].steps for i in part)
    progress(total, total)
    places = np.argsort(order)
    return TrainedHeads(
        family.concatenated([t.heads for t in trained]).take(torch.from_numpy(places).to(family.device)),
        np.concatenate([t.steps for t in trained])[places],
        np.concatenate([t.val_losses for t in trained])[places],
    )


def _train(
    family: HeadFamily,
    trials: Sequence[Trial],
    trial_indices: Sequence[int],
    objective: Objective,
    schedule: Schedule,
    progress: Callable[[float], None],
) -> TrainedHeads:
    """Train these heads beside each other; ``trial_indices`` is what the objective knows them by."""
    state = _Training(family, trials, trial_indices, objective, schedule)
    looks, ends = schedule.looks(trials), {trial.steps for trial in trials}
    # Between looks too, so that progress is told of.
    pauses = range(schedule.evaluate_every, max(ends), schedule.evaluate_every)
    step = 0
    for stop in sorted(looks | ends | set(pauses)):
        state.take_steps(stop - step)
        step = stop
        if step in looks:
            state.evaluate(step)
        if state.drop_finished(step) == 0:
            break
        progress(step)
    return state.result()


class _Training:
    """The heads still in training, Adam's moments, and the best of each head so far."""

    def __init__(
        self,
        family: HeadFamily,
        trials: Sequence[Trial],
        trial_indices: Sequence[int],
        objective: Objective,
        schedule: Schedule,
    ) -> None:
        self._family = family
        self._device = family.device
        self._trials = trials
        self._trial_indices = torch.as_tensor(trial_indices, device=self._device)
        self._objective = objective
        self._schedule = schedule
        self._active: HeadStack = family.fresh_heads(trials, objective.n_outputs)
        theta = self._active.theta
        self._active_trials = torch.arange(len(trials), device=self._device)
        self._first = torch.zeros_like(theta)
        self._second = torch.zeros_like(theta)
        self._step_kernel = family.step_kernel(objective)
        self._gradient = torch.zeros_like(theta) if self._step_kernel is None else theta[:0]
        self._steps_taken = 0
        self._streams = {
            (id(trial.train_rows), trial.seed): _MinibatchStream(trial.train_rows, trial.seed)
            for trial in trials
        }
        self._group_heads()
        self._best = self._active.take(self._active_trials)
        self._best_step = np.zeros(len(trials), dtype=np.int64)
        self._val_loss = np.full(len(trials), np.inf)
        self._looks_without_gain = np.zeros(len(trials), dtype=np.int64)

    def take_steps(self, steps: int) -> None:
        """So many Adam steps of every active head, each on its own minibatches."""
        if self._step_kernel is None:
            for _ in range(steps):
                self._step()
            return
        size = self._schedule.batch_size
        streams = np.empty(len(self._active_trials), dtype=np.int64)
        for i, (_, positions) in enumerate(self._sharing):
            streams[positions] = i
        block = StepBlock(
            np.stack([[stream.take(size) for _ in range(steps)] for stream, _ in self._sharing]),
            streams,
            np.stack(
                [
                    self._schedule.rates(self._trials[number], self._steps_taken, steps)
                    for number in self._active_trials.tolist()
                ]
            ),
            self._trial_indices[self._active_trials].cpu().numpy(),
            self._steps_taken,
            self._schedule.clip,
        )
        self._step_kernel(self._active, self._first, self._second, block)
        self._steps_taken += steps

    def _step(self) -> None:
        batches = [
            HeadBatch(torch.from_numpy(stream.take(self._schedule.batch_size)).to(self._device), heads)
            for stream, heads in self._sharing
        ]
        of_head = torch.empty(
            len(self._active_trials), self._schedule.batch_size, dtype=torch.int64, device=self._device
        )
        for batch in batches:
            of_head[as_slice(batch.heads)] = batch.rows
        self._family.backward(
            self._active, batches, lambda scores: self._score_gradient(scores, of_head), self._gradient
        )
        self._adam()

    def evaluate(self, step: int) -> None:
        """Validation loss of every active head; keep it where it is the best so far."""
        numbers = self._active_trials.tolist()
        by_rows: dict[int, list[int]] = {}
        for position, number in enumerate(numbers):
            trial = self._trials[number]
            if len(trial.val_rows) and (not self._schedule.decay or step == trial.steps):
                by_rows.setdefault(id(trial.val_rows), []).append(position)
        for positions in by_rows.values():
            rows = torch.from_numpy(self._trials[numbers[positions[0]]].val_rows).to(self._device)
            scores = self._family.scores(self._active, rows, positions)
            val_losses = self._objective.val_loss(scores, rows).double().cpu().numpy()
            for position, val_loss in zip(positions, val_losses, strict=True):
                self._record_val_loss(position, numbers[position], float(val_loss), step)

    def _record_val_loss(self, position: int, number: int, val_loss: float, step: int) -> None:
        # NaN compares false: a head that diverged never becomes the best and runs out of patience.
        if val_loss < self._val_loss[number]:
            self._val_loss[number] = val_loss
            self._keep_as_best(position, number, step)
            self._looks_without_gain[number] = 0
        else:
            self._looks_without_gain[number] += 1

    def _keep_as_best(self, position: int, number: int, step: int) -> None:
        self._best.theta[number] = self._active.theta[position]
        self._best_step[number] = step

    def drop_finished(self, step: int) -> int:
        """Take heads out that have no steps or no patience left; returns how many remain."""
        continuing = []
        for position, number in enumerate(self._active_trials.tolist()):
            trial = self._trials[number]
            if not len(trial.val_rows) and step == trial.steps:
                self._keep_as_best(position, number, step)
            if step < trial.steps and self._looks_without_gain[number] < self._schedule.patience:
                continuing.append(position)
        if len(continuing) < len(self._active_trials):
            chosen = torch.as_tensor(continuing, dtype=torch.int64, device=self._device)
            self._active = self._active.take(chosen)
            self._active_trials = self._active_trials[chosen]
            self._first, self._second = self._first[chosen], self._second[chosen]
            if self._step_kernel is None:
                self._gradient = torch.zeros_like(self._first)
            self._group_heads()
        return len(continuing)

    def result(self) -> TrainedHeads:
        return TrainedHeads(self._best, self._best_step, self._val_loss)

    def _group_heads(self) -> None:
        """Who shares minibatches, and what Adam is to walk over, until heads are dropped."""
        sharing: dict[tuple[int, int], list[int]] = {}
        by_rate: dict[tuple[float, int], list[int]] = {}
        numbers = self._active_trials.tolist()
        for position, number in enumerate(numbers):
            trial = self._trials[number]
            sharing.setdefault((id(trial.train_rows), trial.seed), []).append(position)
            by_rate.setdefault((trial.learning_rate, trial.steps), []).append(position)
        # Heads of one fold and seed see the same batches at every learning rate.
        self._sharing = [(self._streams[key], positions) for key, positions in sharing.items()]
        if self._step_kernel is not None:
            return
        state = (self._active.theta, self._gradient, self._first, self._second)
        # torch wants a count per row; all heads in training have taken the same number of steps.
        self._counts = torch.zeros(len(self._active_trials), device=self._device)
        self._by_rate = [
            (
                self._trials[numbers[positions[0]]],
                [[matrix[i] for i in positions] for matrix in state],
                [self._counts[i] for i in positions],
            )
            for positions in by_rate.values()
        ]

    def _score_gradient(self, scores: Tensor, rows: Tensor) -> Tensor:
        """∂ loss / ∂ scores, (heads, batch, outputs): a head's loss depends on its own scores only."""
        with torch.enable_grad():
            leaf = scores.detach().requires_grad_()
            total = self._objective.losses(leaf, rows, self._trial_indices[self._active_trials]).sum()
            (score_gradient,) = torch.autograd.grad(total, leaf)
        return score_gradient

    def _adam(self) -> None:
        if self._schedule.clip is not None:
            norms = torch.linalg.vector_norm(self._gradient, dim=1)
            for i in torch.nonzero(norms > self._schedule.clip)[:, 0].tolist():
                self._gradient[i].mul_(self._schedule.clip / (norms[i] + 1e-6))
        taken = self._steps_taken
        self._steps_taken += 1
        self._counts.fill_(self._steps_taken)
        for trial, (theta, gradient, first, second), steps in self._by_rate:
            # What torch.optim.Adam(fused=True) calls, without its bookkeeping, which costs as much as small heads do.
            torch._fused_adam_(
                theta,
                gradient,
                first,
                second,
                [],
                steps,
                lr=float(self._schedule.rates(trial, taken, 1)[0]),
                beta1=BETA_1,
                beta2=BETA_2,
                weight_decay=0.0,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )


def as_slice(heads: list[int]) -> slice | list[int]:
    """These positions as a slice where they follow each other: indexing by it copies nothing."""
    return slice(heads[0], heads[-1] + 1) if heads[-1] - heads[0] + 1 == len(heads) else heads


class _MinibatchStream:
    """Row indices without end: one shuffled pass over the rows after another."""

    def __init__(self, rows: IntArray, seed: int) -> None:
        self._rows = rows
        self._random = np.random.default_rng([seed, 1])
        self._pending = np.zeros(0, dtype=np.int64)

    def take(self, count: int) -> IntArray:
        while len(self._pending) < count:
            self._pending = np.concatenate([self._pending, self._random.permutation(self._rows)])
        taken, self._pending = self._pending[:count], self._pending[count:]
        return taken


def initial_parameters(trials: Sequence[Trial], zeros: int, linears: Sequence[tuple[int, int]]) -> Tensor:
    """Parameters of fresh heads, (heads, parameters), decided by the trials' seeds.

    ``zeros`` parameters start at 0 (layer weights), then come weights and biases of linear layers (inputs, outputs) as
    torch draws them, uniform in ±1/√inputs.

    Args:
        trials: one per head.
        zeros: parameters that start at 0.
        linears: (inputs, outputs) of each linear layer.

    Returns:
        float32 (heads, zeros + Σ (inputs + 1) · outputs).
    """

    def draw(seed: int) -> NDArray[np.float32]:
        random = np.random.default_rng([seed, 0])
        drawn = [random.uniform(-1.0, 1.0, i * o + o) / np.sqrt(i) for i, o in linears]
        return np.concatenate([np.zeros(zeros), *drawn]).astype(np.float32)

    by_seed = {seed: draw(seed) for seed in {trial.seed for trial in trials}}
    return torch.from_numpy(np.stack([by_seed[trial.seed] for trial in trials]))
