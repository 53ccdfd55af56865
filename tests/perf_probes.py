"""How fast probes train: 105 at once against one after another, and against s3prl's way of doing it.

CPU seconds of one thread, so that what else runs on the machine weighs less, and seconds by the clock with all cores for both
sides; ratios are taken within one repeat. Compiling, once per machine, is not counted. Needs EmoDB (7 classes) and Whisper tiny.en:
nothing is measured without SERBENCH_DATA and SERBENCH_WEIGHTS.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bench.features.probes.batched_adam import Objective, Schedule, Trial, train_heads
from bench.features.probes.learning_rate_search import NO_ROWS
from bench.features.probes.losses import CrossEntropy
from bench.features.probes.pooled_head import PooledHead
from tests.perf_training import multiplied_per_second
from tests.superb_parity import BATCH, CORPUS, HIDDEN, WEIGHTS, Material, load, seconds_per_s3prl_step

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SEEDS = range(3)
STEPS = 60
REPEATS = 3
FULL = 500
"""Steps of a whole training, for the extrapolation."""
Row = tuple[str, tuple[float, ...], str, str]
Clock = Callable[[], float]


class OneHead(torch.nn.Module):
    """The head as torch would write it."""

    def __init__(self, layers: int, dims: int, outputs: int) -> None:
        super().__init__()
        self.mix = torch.nn.Parameter(torch.zeros(layers))
        self.first, self.last = torch.nn.Linear(dims, HIDDEN), torch.nn.Linear(HIDDEN, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pooled (clips, layers, dims) → (clips, outputs)."""
        scores: torch.Tensor = self.last(
            self.first(torch.einsum("l,nld->nd", torch.softmax(self.mix, dim=0), x))
        )
        return scores


def one_after_another(
    x: torch.Tensor,
    labels: torch.Tensor,
    outputs: int,
    trials: list[Trial],
    clock: Clock = time.process_time,
) -> float:
    """Seconds to train these heads alone, with torch's modules, autograd and Adam."""
    started = clock()
    for trial in trials:
        random = np.random.default_rng(trial.seed)
        head = OneHead(x.shape[1], x.shape[2], outputs)
        optimizer = torch.optim.Adam(head.parameters(), lr=trial.learning_rate)
        for _ in range(trial.steps):
            rows = torch.from_numpy(random.permutation(trial.train_rows)[:BATCH])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(x[rows]), labels[rows]).backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
    return clock() - started


def all_at_once(
    x: torch.Tensor,
    labels: torch.Tensor,
    outputs: int,
    trials: list[Trial],
    clock: Clock = time.process_time,
) -> float:
    """Seconds to train these heads with the suite's trainer."""
    started = clock()
    train_heads(PooledHead(x, HIDDEN), trials, CrossEntropy(labels, outputs), Schedule(batch_size=BATCH))
    return clock() - started


class TorchSteps(PooledHead):
    """The same heads, every step in torch's terms: what trains on other devices."""

    def step_kernel(self, objective: Objective) -> None:
        """None, whatever the device."""


def compiled_against_torch(
    x: torch.Tensor, labels: torch.Tensor, outputs: int, trials: list[Trial], clock: Clock = time.process_time
) -> float:
    """How many times faster the compiled steps train these heads than the batched steps in torch's terms."""
    seconds = []
    for family in (TorchSteps(x, HIDDEN), PooledHead(x, HIDDEN)):
        started = clock()
        train_heads(family, trials, CrossEntropy(labels, outputs), Schedule(batch_size=BATCH))
        seconds.append(clock() - started)
    return seconds[0] / seconds[1]


def adam_alone(parameters: int, heads: int, steps: int) -> float:
    """CPU seconds of Adam's walk over the parameters and nothing else: no exact way to train these heads goes without it."""
    matrices = [torch.rand(heads, parameters) for _ in range(4)]
    counts = torch.zeros(heads)
    lists = [list(matrix.unbind()) for matrix in matrices]
    started = time.process_time()
    for _ in range(steps):
        counts += 1
        torch._fused_adam_(
            *lists, [], list(counts.unbind()), lr=1e-3, beta1=0.9, beta2=0.999,
            weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip
    return time.process_time() - started


def operations(clips: int, layers: int, dims: int, outputs: int) -> int:
    """Of the products of one head's step, forward and backward, the two linear layers multiplied before they meet the data.

    W₂W₁, W₂ᵀ∂(W₂W₁) and ∂(W₂W₁)W₁ᵀ; scores, their gradient by clips and by W₂W₁; layers mixed, and the gradient of the mix.
    """
    return 2 * (3 * outputs * HIDDEN * dims + 3 * clips * outputs * dims + 2 * clips * layers * dims)


def measure() -> list[Row]:
    """The figures; none without the corpus and the weights."""
    data, weights = os.environ.get("SERBENCH_DATA"), os.environ.get("SERBENCH_WEIGHTS")
    if not (data and weights and (Path(data) / CORPUS).is_dir() and (Path(weights) / WEIGHTS).is_dir()):
        return []
    return _figures(load())


def _figures(material: Material) -> list[Row]:
    x, labels = torch.from_numpy(material.pooled), torch.from_numpy(material.labels)
    trials = [
        Trial(fold.train, NO_ROWS, rate, seed, STEPS)
        for fold in material.folds
        for rate in RATES
        for seed in SEEDS
    ]
    few = [Trial(material.folds[0].train, NO_ROWS, 1e-3, 0, 3)]
    for warm_up in (one_after_another, all_at_once):
        warm_up(x, labels, material.n_labels, few)
    ratios, walks, floors, s3prl_ratios, compiled = [], [], [], [], []
    products = STEPS * len(trials) * operations(BATCH, x.shape[1], x.shape[2], material.n_labels)
    rate = multiplied_per_second()
    head = OneHead(x.shape[1], x.shape[2], material.n_labels)
    parameters = sum(p.numel() for p in head.parameters())
    for _ in range(REPEATS):
        together = all_at_once(x, labels, material.n_labels, trials)
        alone = one_after_another(x, labels, material.n_labels, trials)
        ratios.append(alone / together)
        compiled.append(compiled_against_torch(x, labels, material.n_labels, trials))
        walk = adam_alone(parameters, len(RATES) * len(SEEDS), STEPS * len(material.folds))
        walks.append(alone / walk)
        floors.append(alone / (walk + products / rate))
        step = seconds_per_s3prl_step(material, material.folds[0])
        heads_per_rate = len(trials) / len(RATES)
        theirs = step * FULL * heads_per_rate
        ours = together / len(RATES) * FULL / STEPS + material.encode_seconds
        s3prl_ratios.append(theirs / ours)
    cores = len(os.sched_getaffinity(0))
    by_the_clock = with_all_cores(x, labels, material.n_labels, trials, cores)
    return [
        (
            f"{len(trials)} probes at once / one after another, both on all {cores} cores, by the clock",
            by_the_clock,
            "× faster",
            "at least 20",
        ),
        ("the same, both on one core, CPU seconds", tuple(ratios), "× faster", "at least 20"),
        (
            "compiled steps / the same steps in torch's terms, one core, CPU seconds",
            tuple(compiled),
            "× faster",
            "at least 1.3, or the compiled ones go",
        ),
        ("one core: if Adam's walk over the parameters were all", tuple(walks), "×", "none"),
        (
            f"one core: with the products too, at this core's {rate / 1e9:.0f} GFLOP/s (the floor)",
            tuple(floors),
            "×",
            "none",
        ),
        (
            f"a learning rate: s3prl's way ({FULL} steps extrapolated) / ours, the pass over the audio included",
            tuple(s3prl_ratios),
            "× faster",
            "at least 100",
        ),
    ]


def with_all_cores(
    x: torch.Tensor, labels: torch.Tensor, outputs: int, trials: list[Trial], cores: int
) -> tuple[float, ...]:
    """How many times faster by the clock, torch's threads and the suite's being as many as cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        return tuple(
            one_after_another(x, labels, outputs, trials, time.perf_counter)
            / all_at_once(x, labels, outputs, trials, time.perf_counter)
            for _ in range(REPEATS)
        )
    finally:
        torch.set_num_threads(before)


def main() -> None:
    """Measure and print."""
    from bench.cli.printing import print_table
    from bench.execution.worker import quiet_single_thread

    quiet_single_thread()
    torch.set_num_threads(1)
    rows = [
        (
            what,
            f"{sorted(values)[len(values) // 2]:.3g} {unit}",
            f"{min(values):.3g} – {max(values):.3g}",
            target,
        )
        for what, values, unit, target in measure()
    ]
    print_table("", ("figure", "median", "spread", "target"), rows)


if __name__ == "__main__":
    main()
