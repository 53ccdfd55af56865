"""Many small heads trained at once: every head is one row of one matrix of parameters.

What a head computes is its :class:`HeadFamily`'s affair (:mod:`bench.features.probes.pooled_head`, :mod:`bench.features.probes.attention_head`); here
is what all share: minibatches, gradient clipping, Adam, watching validation rows, and dropping heads that have
stopped. Heads do not touch each other: one trained in a stack equals one trained alone. Steps between two looks are taken in
compiled code where the design has it (:mod:`bench.features.probes.cpu_kernels`); elsewhere one by one for all heads beside each other, torch's
fused Adam going over the rows of one learning rate at a time.
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

Slope = Callable[[Tensor], Tensor]
"""Scores → ∂ loss / ∂ scores."""
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's usual constants (Kingma and Ba, 2015), torch's defaults and s3prl's."""


@dataclass(frozen=True)
class Trial:
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

    batch_size: int = 32
    evaluate_every: int = 20
    patience: int = 5
    clip: float | None = 1.0


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
class HeadBatch:
    """A minibatch, rows (clips,), and the heads that learn from it: all learning rates of a fold and seed share one."""

    rows: Tensor
    heads: list[int]


class HeadStack(Protocol):
    """Heads of one design: ``theta`` is (heads, parameters of one head)."""

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
    learning rate, and what the objective knows it by. ``taken`` steps went before.
    """

    rows: IntArray
    streams: IntArray
    rates: NDArray[np.float64]
    known_as: IntArray
    taken: int
    clip: float | None


class StepKernel(Protocol):
    """Steps of a whole stack in place: ``first`` and ``second`` are Adam's moments, as ``heads.theta``."""

    def __call__(self, heads: Any, first: Tensor, second: Tensor, stretch: StepBlock) -> None:
        """Take the steps."""
        ...


class HeadFamily(Protocol):
    """A kind of head, and the clips it looks at. Rows number these clips."""

    @property
    def device(self) -> torch.device:
        """Where the heads train."""
        ...

    def begin(self, lessons: Sequence[Trial], outputs: int) -> Any:
        """A stack with a fresh head per lesson, decided by the lessons' seeds."""
        ...

    def scores(self, heads: Any, rows: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        """Rows (clips,) → (heads, clips, outputs), for all heads or the chosen ones."""
        ...

    def differentiate(self, heads: Any, batches: Sequence[HeadBatch], slope: Slope, gradient: Tensor) -> None:
        """Write ∂ loss / ∂ parameters into ``gradient``, each head on its own minibatch; every head is in one of them.

        ``slope`` turns scores (heads, clips, outputs) into ∂ loss / ∂ scores.
        """
        ...

    def compiled(self, objective: Objective) -> StepKernel | None:
        """Many steps at once in compiled code, where there is some for this objective and device."""
        ...

    def joined(self, stacks: Sequence[Any]) -> Any:
        """One stack of the heads of several."""
        ...

    def at_once(self) -> int:
        """How many heads to train beside each other: more of them would leave the processor's cache, or the memory."""
        ...


@dataclass(frozen=True)
class TrainedHeads:
    """Trained heads: parameters as they stood at ``steps`` (the best watched step, or the last)."""

    heads: HeadStack
    steps: IntArray
    regrets: NDArray[np.float64]


def train_heads(
    design: HeadFamily,
    lessons: Sequence[Trial],
    objective: Objective,
    schedule: Schedule,
    progress: Progress = lambda done, total: None,
) -> TrainedHeads:
    """Train one head per lesson, as many of them at a time as the design likes.

    Equal lessons give equal heads, whatever else is in the batch (to float32 rounding).
    """
    at_once = design.at_once()
    # Heads that share minibatches stay together.
    shared: dict[tuple[int, int], int] = {}
    order = sorted(
        range(len(lessons)),
        key=lambda i: shared.setdefault((id(lessons[i].fit), lessons[i].seed), len(shared)),
    )
    parts = [order[i : i + at_once] for i in range(0, len(order), at_once)]
    total = float(sum(max(lessons[i].steps for i in part) for part in parts))
    trained, before = [], 0.0
    for part in parts:

        def report(step: float, before: float = before) -> None:
            progress(before + step, total)

        trained.append(_train(design, [lessons[i] for i in part], part, objective, schedule, report))
        before += max(lessons[i].steps for i in part)
    progress(total, total)
    places = np.argsort(order)
    return TrainedHeads(
        design.joined([t.heads for t in trained]).take(torch.from_numpy(places).to(design.device)),
        np.concatenate([t.steps for t in trained])[places],
        np.concatenate([t.regrets for t in trained])[places],
    )


def _train(
    design: HeadFamily,
    lessons: Sequence[Trial],
    numbers: Sequence[int],
    objective: Objective,
    schedule: Schedule,
    progress: Callable[[float], None],
) -> TrainedHeads:
    """Train these heads beside each other; ``numbers`` is what the objective knows them by."""
    state = _Training(design, lessons, numbers, objective, schedule)
    most = max(lesson.steps for lesson in lessons)
    looks = set(range(schedule.evaluate_every, most, schedule.evaluate_every)) | {most}
    step = 0
    for stop in sorted(looks | {lesson.steps for lesson in lessons}):
        state.advance(stop - step)
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
        design: HeadFamily,
        lessons: Sequence[Trial],
        known_as: Sequence[int],
        objective: Objective,
        schedule: Schedule,
    ) -> None:
        self._design = design
        self._device = design.device
        self._lessons = lessons
        self._known_as = torch.as_tensor(known_as, device=self._device)
        self._objective = objective
        self._schedule = schedule
        self._active: HeadStack = design.begin(lessons, objective.n_outputs)
        theta = self._active.theta
        self._numbers = torch.arange(len(lessons), device=self._device)
        self._first = torch.zeros_like(theta)
        self._second = torch.zeros_like(theta)
        self._compiled = design.compiled(objective)
        self._gradient = torch.zeros_like(theta) if self._compiled is None else theta[:0]
        self._taken = 0
        self._streams = {
            (id(lesson.fit), lesson.seed): _Stream(lesson.fit, lesson.seed) for lesson in lessons
        }
        self._arrange()
        self._best = self._active.take(self._numbers)
        self._best_step = np.zeros(len(lessons), dtype=np.int64)
        self._regret = np.full(len(lessons), np.inf)
        self._waited = np.zeros(len(lessons), dtype=np.int64)

    def advance(self, steps: int) -> None:
        """So many Adam steps of every active head, each on its own minibatches."""
        if self._compiled is None:
            for _ in range(steps):
                self._step()
            return
        size = self._schedule.batch_size
        streams = np.empty(len(self._numbers), dtype=np.int64)
        for i, (_, positions) in enumerate(self._sharing):
            streams[positions] = i
        stretch = StepBlock(
            np.stack([[stream.take(size) for _ in range(steps)] for stream, _ in self._sharing]),
            streams,
            np.array([self._lessons[number].learning_rate for number in self._numbers.tolist()]),
            self._known_as[self._numbers].cpu().numpy(),
            self._taken,
            self._schedule.clip,
        )
        self._compiled(self._active, self._first, self._second, stretch)
        self._taken += steps

    def _step(self) -> None:
        batches = [
            HeadBatch(torch.from_numpy(stream.take(self._schedule.batch_size)).to(self._device), heads)
            for stream, heads in self._sharing
        ]
        of_head = torch.empty(
            len(self._numbers), self._schedule.batch_size, dtype=torch.int64, device=self._device
        )
        for batch in batches:
            of_head[places(batch.heads)] = batch.rows
        self._design.differentiate(
            self._active, batches, lambda scores: self._slope(scores, of_head), self._gradient
        )
        self._adam()

    def evaluate(self, step: int) -> None:
        """Watch every active head on its validation rows; keep it where it is the best so far."""
        numbers = self._numbers.tolist()
        by_rows: dict[int, list[int]] = {}
        for position, number in enumerate(numbers):
            if len(self._lessons[number].watch):
                by_rows.setdefault(id(self._lessons[number].watch), []).append(position)
        for positions in by_rows.values():
            rows = torch.from_numpy(self._lessons[numbers[positions[0]]].watch).to(self._device)
            scores = self._design.scores(self._active, rows, positions)
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
            chosen = torch.as_tensor(going, dtype=torch.int64, device=self._device)
            self._active = self._active.take(chosen)
            self._numbers = self._numbers[chosen]
            self._first, self._second = self._first[chosen], self._second[chosen]
            if self._compiled is None:
                self._gradient = torch.zeros_like(self._first)
            self._arrange()
        return len(going)

    def result(self) -> TrainedHeads:
        return TrainedHeads(self._best, self._best_step, self._regret)

    def _arrange(self) -> None:
        """Who shares minibatches, and what Adam is to walk over, until heads are dropped."""
        sharing: dict[tuple[int, int], list[int]] = {}
        by_rate: dict[float, list[int]] = {}
        for position, number in enumerate(self._numbers.tolist()):
            lesson = self._lessons[number]
            sharing.setdefault((id(lesson.fit), lesson.seed), []).append(position)
            by_rate.setdefault(lesson.learning_rate, []).append(position)
        # Heads of one fold and seed see the same batches at every learning rate.
        self._sharing = [(self._streams[key], positions) for key, positions in sharing.items()]
        if self._compiled is not None:
            return
        state = (self._active.theta, self._gradient, self._first, self._second)
        # torch wants a count per row; all heads in training have taken the same number of steps.
        self._counts = torch.zeros(len(self._numbers), device=self._device)
        self._by_rate = [
            (rate, [[matrix[i] for i in positions] for matrix in state], [self._counts[i] for i in positions])
            for rate, positions in by_rate.items()
        ]

    def _slope(self, scores: Tensor, rows: Tensor) -> Tensor:
        """∂ loss / ∂ scores, (heads, batch, outputs): a head's loss depends on its own scores only."""
        with torch.enable_grad():
            leaf = scores.detach().requires_grad_()
            total = self._objective.losses(leaf, rows, self._known_as[self._numbers]).sum()
            (slope,) = torch.autograd.grad(total, leaf)
        return slope

    def _adam(self) -> None:
        if self._schedule.clip is not None:
            norms = torch.linalg.vector_norm(self._gradient, dim=1)
            for i in torch.nonzero(norms > self._schedule.clip)[:, 0].tolist():
                self._gradient[i].mul_(self._schedule.clip / (norms[i] + 1e-6))
        self._taken += 1
        self._counts.fill_(self._taken)
        for rate, (theta, gradient, first, second), steps in self._by_rate:
            # What torch.optim.Adam(fused=True) calls, without its bookkeeping, which costs as much as small heads do.
            torch._fused_adam_(
                theta,
                gradient,
                first,
                second,
                [],
                steps,
                lr=rate,
                beta1=BETA_1,
                beta2=BETA_2,
                weight_decay=0.0,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )


def places(heads: list[int]) -> slice | list[int]:
    """These positions as a slice where they follow each other: indexing by it copies nothing."""
    return slice(heads[0], heads[-1] + 1) if heads[-1] - heads[0] + 1 == len(heads) else heads


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


def initial(lessons: Sequence[Trial], zeros: int, linears: Sequence[tuple[int, int]]) -> Tensor:
    """Parameters of fresh heads, (heads, parameters), decided by the lessons' seeds.

    ``zeros`` parameters start at 0 (layer weights), then come weights and biases of linear layers (inputs, outputs) as
    torch draws them, uniform in ±1/√inputs.
    """

    def draw(seed: int) -> NDArray[np.float32]:
        random = np.random.default_rng([seed, 0])
        drawn = [random.uniform(-1.0, 1.0, i * o + o) / np.sqrt(i) for i, o in linears]
        return np.concatenate([np.zeros(zeros), *drawn]).astype(np.float32)

    by_seed = {seed: draw(seed) for seed in {lesson.seed for lesson in lessons}}
    return torch.from_numpy(np.stack([by_seed[lesson.seed] for lesson in lessons]))
