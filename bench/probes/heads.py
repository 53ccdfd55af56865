"""Many small heads trained at once: the SUPERB emotion head, stacked along a leading axis of heads.

One head is softmax layer weights → linear (dims → hidden) → mean over time → linear (hidden → outputs), as in
s3prl 0.4.18 (``downstream/emotion``: projector 256, mean pooling, Adam, batches of 32, gradient norm clipped at 1).
Nothing nonlinear precedes the mean, so with h̄_l the mean of layer l over a clip's frames

    z = (W₂ W₁) Σ_l w_l h̄_l + (W₂ b₁ + b₂),   w = softmax(a),

and the two matrices can be multiplied before they meet the data. Gradients are written out rather than recorded,
so that all parameters of a head lie in one row of one matrix: torch's fused Adam goes over the rows of one learning
rate at a time (measured, 75 heads of 100,000 parameters: 31 ms a step, against 86 ms written with tensor operations),
and heads that have stopped are dropped by indexing. Heads do not touch each other: one trained in a stack equals one
trained alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.adam import adam

IntArray = NDArray[np.int64]
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's usual constants (Kingma and Ba, 2015), torch's defaults and s3prl's."""


@dataclass(frozen=True)
class Lesson:
    """What one head learns: rows to fit, rows to watch (none: train for ``steps``), learning rate, seed, steps."""

    fit: IntArray
    watch: IntArray
    learning_rate: float
    seed: int
    steps: int


@dataclass(frozen=True)
class Schedule:
    """How all heads of a batch are trained.

    ``patience`` counts evaluations on the watched rows, made every ``evaluate_every`` steps, without improvement.
    ``clip`` bounds the norm of a head's gradient (None: not at all).
    """

    hidden: int = 256
    batch_size: int = 32
    evaluate_every: int = 20
    patience: int = 5
    clip: float | None = 1.0
    standardise: bool = False


class Objective(Protocol):
    """A loss per head, and the quantity to watch."""

    @property
    def n_outputs(self) -> int:
        """Scores per clip."""
        ...

    def losses(self, scores: Tensor, rows: Tensor, heads: Tensor) -> Tensor:
        """Scores (heads, clips, outputs) and rows (heads, clips) of heads numbered ``heads`` → (heads,)."""
        ...

    def regret(self, scores: Tensor, rows: Tensor) -> Tensor:
        """What to make small on watched clips: scores (heads, clips, outputs), rows (clips,) → (heads,)."""
        ...


@dataclass(frozen=True)
class Trained:
    """Trained heads: parameters as they stood at ``steps`` (the best watched step, or the last)."""

    heads: Heads
    steps: IntArray
    regrets: NDArray[np.float64]


class Heads:
    """A stack of heads: parameters (heads, parameters of one head) and what standardises each head's features."""

    def __init__(
        self, theta: Tensor, layers: int, dims: int, hidden: int, outputs: int, scaling: Tensor | None
    ):
        self.theta = theta
        self.shape = (layers, dims, hidden, outputs)
        self.scaling = scaling

    def split(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Views of a (heads, parameters) matrix: a (·, L), W₁ (·, H, D), b₁ (·, H), W₂ (·, K, H), b₂ (·, K)."""
        layers, dims, hidden, outputs = self.shape
        sizes = [layers, hidden * dims, hidden, outputs * hidden, outputs]
        a, w1, b1, w2, b2 = torch.split_with_sizes(flat, sizes, dim=1)
        return a, w1.view(-1, hidden, dims), b1, w2.view(-1, outputs, hidden), b2

    def layer_weights(self) -> Tensor:
        """(heads, layers), each row sums to one."""
        return torch.softmax(self.split(self.theta)[0], dim=1)

    def collapsed(self) -> tuple[Tensor, Tensor]:
        """The product of the two linear layers: (heads, outputs, dims) and (heads, outputs)."""
        _, w1, b1, w2, b2 = self.split(self.theta)
        return torch.bmm(w2, w1), torch.bmm(w2, b1[:, :, None])[:, :, 0] + b2

    def scores(self, pooled: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        """Pooled (clips, layers, dims) → (heads, clips, outputs), for all heads or the chosen ones."""
        heads = self if chosen is None else self.take(torch.as_tensor(chosen, device=self.theta.device))
        weight, bias = heads.collapsed()
        mix = heads.layer_weights()
        answers = []
        for i in range(len(weight)):
            x = pooled if heads.scaling is None else _scaled(pooled, heads.scaling[i])
            answers.append(torch.einsum("l,nld->nd", mix[i], x) @ weight[i].T + bias[i])
        return torch.stack(answers)

    def take(self, chosen: Tensor) -> Heads:
        """Some of the heads, copied."""
        scaling = None if self.scaling is None else self.scaling[chosen]
        return Heads(self.theta[chosen], *self.shape, scaling)


def train_heads(
    features: Tensor,
    lessons: Sequence[Lesson],
    objective: Objective,
    schedule: Schedule,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> Trained:
    """Train one head per lesson, all at once. ``features`` is (clips, layers, dims) on the device to train on.

    Equal lessons give equal heads, whatever else is in the batch (to float32 rounding).
    """
    state = _Training(features, lessons, objective, schedule)
    most = max(lesson.steps for lesson in lessons)
    for step in range(1, most + 1):
        state.step()
        if step % schedule.evaluate_every == 0 or step == most:
            state.evaluate(step)
        if state.drop_finished(step) == 0:
            break
        if step % schedule.evaluate_every == 0:
            progress(step, most)
    progress(most, most)
    return state.result()


class _Training:
    """The heads still in training, Adam's moments, and the best of each head so far."""

    def __init__(
        self, features: Tensor, lessons: Sequence[Lesson], objective: Objective, schedule: Schedule
    ) -> None:
        self._features = features
        self._lessons = lessons
        self._objective = objective
        self._schedule = schedule
        _, layers, dims = features.shape
        theta = _initial(lessons, layers, dims, schedule.hidden, objective.n_outputs).to(features.device)
        scaling = _statistics(features, lessons) if schedule.standardise else None
        self._active = Heads(theta, layers, dims, schedule.hidden, objective.n_outputs, scaling)
        self._numbers = torch.arange(len(lessons), device=features.device)
        self._first = torch.zeros_like(theta)
        self._second = torch.zeros_like(theta)
        self._gradient = torch.zeros_like(theta)
        self._steps = torch.zeros(len(lessons), device=features.device)
        self._streams = {
            (id(lesson.fit), lesson.seed): _Stream(lesson.fit, lesson.seed) for lesson in lessons
        }
        self._best = Heads(theta.clone(), *self._active.shape, scaling)
        self._best_step = np.zeros(len(lessons), dtype=np.int64)
        self._regret = np.full(len(lessons), np.inf)
        self._waited = np.zeros(len(lessons), dtype=np.int64)

    def step(self) -> None:
        """One Adam step of every active head on its own minibatch."""
        rows = self._minibatch()
        self._differentiate(rows)
        self._adam()

    def evaluate(self, step: int) -> None:
        """Watch every active head on its validation rows; keep it where it is the best so far."""
        numbers = self._numbers.tolist()
        by_rows: dict[int, list[int]] = {}
        for position, number in enumerate(numbers):
            if len(self._lessons[number].watch):
                by_rows.setdefault(id(self._lessons[number].watch), []).append(position)
        for positions in by_rows.values():
            rows = torch.from_numpy(self._lessons[numbers[positions[0]]].watch).to(self._features.device)
            scores = self._active.scores(self._features[rows], positions)
            regrets = self._objective.regret(scores, rows).double().cpu().numpy()
            for position, regret in zip(positions, regrets, strict=True):
                self._judge(position, numbers[position], float(regret), step)

    def _judge(self, position: int, number: int, regret: float, step: int) -> None:
        # NaN compares false: a head that diverged never becomes the best and runs out of patience.
        if regret < self._regret[number]:
            self._regret[number] = regret
            self._keep(position, number, step)
            self._waited[number] = 0
        else:
            self._waited[number] += 1

    def _keep(self, position: int, number: int, step: int) -> None:
        self._best.theta[number] = self._active.theta[position]
        self._best_step[number] = step

    def drop_finished(self, step: int) -> int:
        """Take heads out that have no steps or no patience left; returns how many remain."""
        going = []
        for position, number in enumerate(self._numbers.tolist()):
            lesson = self._lessons[number]
            if not len(lesson.watch) and step == lesson.steps:
                self._keep(position, number, step)
            if step < lesson.steps and self._waited[number] < self._schedule.patience:
                going.append(position)
        if len(going) < len(self._numbers):
            chosen = torch.as_tensor(going, dtype=torch.int64, device=self._features.device)
            self._active = self._active.take(chosen)
            self._numbers = self._numbers[chosen]
            self._first, self._second = self._first[chosen], self._second[chosen]
            self._steps = self._steps[chosen]
            self._gradient = torch.zeros_like(self._first)
        return len(going)

    def result(self) -> Trained:
        return Trained(self._best, self._best_step, self._regret)

    def _minibatch(self) -> Tensor:
        """(heads, batch size) row indices; heads of one fold and seed see the same batches at every learning rate."""
        drawn: dict[tuple[int, int], IntArray] = {}
        rows = []
        for number in self._numbers.tolist():
            lesson = self._lessons[number]
            key = (id(lesson.fit), lesson.seed)
            if key not in drawn:
                drawn[key] = self._streams[key].take(self._schedule.batch_size)
            rows.append(drawn[key])
        return torch.from_numpy(np.stack(rows)).to(self._features.device)

    def _differentiate(self, rows: Tensor) -> None:
        heads, batch = rows.shape
        layers, dims, _, outputs = self._active.shape
        x = self._features.index_select(0, rows.flatten()).view(heads, batch, layers, dims)
        if self._active.scaling is not None:
            x = _scaled(x, self._active.scaling[:, :, None])
        x = x.reshape(heads, batch * layers, dims)
        _, w1, b1, w2, _ = self._active.split(self._active.theta)
        weight, bias = self._active.collapsed()
        mix = self._active.layer_weights()
        per_layer = torch.bmm(x, weight.transpose(1, 2)).view(heads, batch, layers, outputs)
        scores = torch.einsum("pl,pblk->pbk", mix, per_layer) + bias[:, None]
        d_scores = self._slope(scores, rows)
        d_mix = torch.einsum("pbk,pblk->pl", d_scores, per_layer)
        spread = (d_scores[:, :, None] * mix[:, None, :, None]).reshape(heads, batch * layers, outputs)
        d_weight = torch.bmm(spread.transpose(1, 2), x)
        d_bias = d_scores.sum(dim=1)
        g_a, g_w1, g_b1, g_w2, g_b2 = self._active.split(self._gradient)
        g_a.copy_(mix * (d_mix - (mix * d_mix).sum(dim=1, keepdim=True)))
        torch.bmm(w2.transpose(1, 2), d_weight, out=g_w1)
        g_w2.copy_(torch.bmm(d_weight, w1.transpose(1, 2)) + d_bias[:, :, None] * b1[:, None])
        g_b1.copy_(torch.bmm(d_bias[:, None], w2)[:, 0])
        g_b2.copy_(d_bias)

    def _slope(self, scores: Tensor, rows: Tensor) -> Tensor:
        """∂ loss / ∂ scores, (heads, batch, outputs): a head's loss depends on its own scores only."""
        with torch.enable_grad():
            leaf = scores.detach().requires_grad_()
            total = self._objective.losses(leaf, rows, self._numbers).sum()
            (slope,) = torch.autograd.grad(total, leaf)
        return slope

    def _adam(self) -> None:
        if self._schedule.clip is not None:
            norms = torch.linalg.vector_norm(self._gradient, dim=1, keepdim=True)
            if bool((norms > self._schedule.clip).any()):
                self._gradient.mul_((self._schedule.clip / (norms + 1e-6)).clamp_(max=1.0))
        by_rate: dict[float, list[int]] = {}
        for position, number in enumerate(self._numbers.tolist()):
            by_rate.setdefault(self._lessons[number].learning_rate, []).append(position)
        for rate, positions in by_rate.items():
            adam(
                [self._active.theta[i] for i in positions],
                [self._gradient[i] for i in positions],
                [self._first[i] for i in positions],
                [self._second[i] for i in positions],
                [],
                [self._steps[i] for i in positions],
                fused=True,
                amsgrad=False,
                beta1=BETA_1,
                beta2=BETA_2,
                lr=rate,
                weight_decay=0.0,
                eps=EPSILON,
                maximize=False,
            )


class _Stream:
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


def _initial(lessons: Sequence[Lesson], layers: int, dims: int, hidden: int, outputs: int) -> Tensor:
    """Parameters as torch's Linear draws them, uniform in ±1/√inputs; equal layer weights. Decided by the seed."""

    def draw(seed: int) -> NDArray[np.float32]:
        random = np.random.default_rng([seed, 0])
        first = random.uniform(-1.0, 1.0, dims * hidden + hidden) / np.sqrt(dims)
        second = random.uniform(-1.0, 1.0, hidden * outputs + outputs) / np.sqrt(hidden)
        return np.concatenate([np.zeros(layers), first, second]).astype(np.float32)

    by_seed = {seed: draw(seed) for seed in {lesson.seed for lesson in lessons}}
    return torch.from_numpy(np.stack([by_seed[lesson.seed] for lesson in lessons]))


def _statistics(features: Tensor, lessons: Sequence[Lesson]) -> Tensor:
    """(heads, 2, layers, dims): mean and 1/deviation of each head's fitted rows; constants are scaled to 0."""
    by_rows: dict[int, Tensor] = {}
    for lesson in lessons:
        if id(lesson.fit) not in by_rows:
            rows = features[torch.from_numpy(lesson.fit).to(features.device)].double()
            deviation, mean = torch.std_mean(rows, dim=0, correction=0)
            inverse = torch.where(deviation > 1e-12 * mean.abs().clamp(min=1.0), 1.0 / deviation, 0.0)
            by_rows[id(lesson.fit)] = torch.stack([mean, inverse]).float()
    return torch.stack([by_rows[id(lesson.fit)] for lesson in lessons])


def _scaled(x: Tensor, scaling: Tensor) -> Tensor:
    mean, inverse = scaling.unbind(dim=-3 if scaling.ndim == 3 else 1)
    return (x - mean) * inverse
