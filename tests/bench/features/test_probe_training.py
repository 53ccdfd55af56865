"""Training many heads together equals torch's own modules, autograd and Adam, head by head and step by step, compiled or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.features.probes.batched_adam import (
    Schedule,
    StepBlock,
    TrainedHeads,
    Trial,
    _MinibatchStream,
    initial_parameters,
    train_heads,
)
from bench.features.probes.cpu_kernels import take_steps
from bench.features.probes.learning_rate_search import NO_ROWS
from bench.features.probes.losses import CccLoss, CrossEntropy
from bench.features.probes.pooled_head import PooledHead, PooledHeads
from tests.bench.features.test_probes import make_task
from tests.compiled import compile_kernels

ROOT = Path(__file__).resolve().parents[3]
# One process compiles the kernels, in either precision, and it does so while others' tests need none.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kernels")]


class Alone(torch.nn.Module):
    """The head as torch would write it, one at a time."""

    def __init__(self, theta: torch.Tensor, layers: int, dims: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.mix = torch.nn.Parameter(torch.zeros(layers))
        self.first, self.last = torch.nn.Linear(dims, hidden), torch.nn.Linear(hidden, outputs)
        torch.nn.utils.vector_to_parameters(theta.clone(), self.parameters())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = torch.einsum("l,nld->nd", torch.softmax(self.mix, dim=0), x)
        return self.last(self.first(mixed))


@pytest.mark.parametrize(
    ("standardise", "weighted", "decay", "compiled"),
    [
        (False, False, False, True),
        (True, False, True, True),
        (False, True, True, False),
        (True, True, False, False),
    ],
)
def test_training_all_heads_at_once_equals_training_each_alone_with_torch(
    standardise: bool, weighted: bool, decay: bool, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(PooledHead, "step_kernel", lambda self, objective: None)
    task = make_task(clips=96)
    x, labels = torch.from_numpy(task.features), torch.from_numpy(task.labels)
    trials = [
        Trial(task.folds[fold].train, NO_ROWS, rate, seed, steps)
        for fold, rate, seed, steps in (
            (0, 1e-3, 0, 40),
            (1, 1e-2, 0, 25),
            (1, 1e-2, 7, 40),
            (2, 3e-2, 1, 33),
        )
    ]
    weights = torch.tensor([[1.0, 2.0, 0.5]] * len(trials)) if weighted else None
    schedule = Schedule(batch_size=16, clip=0.5, decay=decay)
    trained = train_heads(
        PooledHead(x, 8, standardise=standardise), trials, CrossEntropy(labels, 3, weights), schedule
    )
    for i, trial in enumerate(trials):
        alone = Alone(initial_parameters([trial], 3, [(12, 8), (8, 3)])[0], 3, 12, 8, 3)
        optimizer = torch.optim.Adam(alone.parameters(), lr=trial.learning_rate)
        falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, trial.steps)
        cross_entropy = torch.nn.CrossEntropyLoss(None if weights is None else weights[i])
        fitted = x[torch.from_numpy(trial.train_rows)]
        mean, deviation = fitted.mean(dim=0), fitted.std(dim=0, correction=0)
        scaled = (x - mean) / deviation if standardise else x
        stream = _MinibatchStream(trial.train_rows, trial.seed)
        for _ in range(trial.steps):
            rows = torch.from_numpy(stream.take(16))
            optimizer.zero_grad()
            cross_entropy(alone(scaled[rows]), labels[rows]).backward()
            torch.nn.utils.clip_grad_norm_(alone.parameters(), 0.5)
            optimizer.step()
            if decay:
                falling.step()
        with torch.no_grad():
            torch.testing.assert_close(trained.heads.scores(x, [i])[0], alone(scaled), rtol=1e-4, atol=1e-4)


def test_the_batched_trainer_equals_a_probe_alone_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(clips=96)
    x, labels = torch.from_numpy(task.features), torch.from_numpy(task.labels)
    fit, other = task.folds[0].train, task.folds[1].train
    every_length = [Trial(fit, NO_ROWS, 1e-2, 3, steps) for steps in range(1, 16)]
    beside = [Trial(other, NO_ROWS, rate, seed, 15) for rate in (1e-3, 3e-2) for seed in (3, 8)]
    monkeypatch.setattr("bench.features.probes.pooled_head.HELD_PARAMETERS", 7 * 12 * 8)
    family = PooledHead(x, 8)
    assert family.max_parallel() == 7, "the heads go in several parts"
    trained = train_heads(family, [*beside, *every_length], CrossEntropy(labels, 3), Schedule(batch_size=16))
    alone = Alone(initial_parameters(every_length[:1], 3, [(12, 8), (8, 3)])[0], 3, 12, 8, 3)
    optimizer = torch.optim.Adam(alone.parameters(), lr=1e-2)
    stream = _MinibatchStream(fit, 3)
    for step in range(15):
        rows = torch.from_numpy(stream.take(16))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(alone(x[rows]), labels[rows]).backward()
        torch.nn.utils.clip_grad_norm_(alone.parameters(), 1.0)
        optimizer.step()
        theta = torch.nn.utils.parameters_to_vector(alone.parameters()).detach()
        torch.testing.assert_close(trained.heads.theta[len(beside) + step], theta, rtol=1e-4, atol=2e-5)


SHAPES = [  # layers, dims, hidden, outputs: blocks that are full, odd, and more than one
    (3, 12, 8, 3),
    (1, 7, 5, 2),
    (4, 9, 6, 11),
]


@pytest.mark.parametrize(("layers", "dims", "hidden", "outputs"), SHAPES)
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("kind", ["plain", "weighted", "standardised", "dimensions"])
def test_compiled_steps_equal_torchs_own_in_double_precision(
    layers: int, dims: int, hidden: int, outputs: int, clip: float | None, kind: str
) -> None:
    random = np.random.default_rng(1)
    x = torch.from_numpy(random.standard_normal((40, layers, dims)))
    labels = torch.from_numpy(random.integers(0, outputs, 40))
    values = random.uniform(0, 1, (40, outputs))
    values[random.random(values.shape) < 0.5] = np.nan
    values[:, 0] = np.nan  # never known: left out of the mean
    truth, importance = torch.from_numpy(values), torch.from_numpy(random.uniform(0.5, 2, (1, outputs)))
    objective = {
        "weighted": CrossEntropy(labels, outputs, importance),
        "dimensions": CccLoss(truth, outputs),
    }.get(kind, CrossEntropy(labels, outputs))
    trial = Trial(np.arange(40), NO_ROWS, 1e-2, 4, 12)
    start = initial_parameters([trial], layers, [(dims, hidden), (hidden, outputs)]).double()
    scaling = None
    if kind == "standardised":
        scaling = torch.stack([x.mean(dim=0), 1 / x.std(dim=0)])[None]
    heads = PooledHeads(start.clone(), layers, dims, hidden, outputs, scaling)
    first, second = torch.zeros_like(start), torch.zeros_like(start)
    stream = _MinibatchStream(trial.train_rows, trial.seed)
    rows = np.stack([[stream.take(16) for _ in range(12)]])
    one = np.zeros(1, dtype=np.int64)
    for taken, part in ((0, rows[:, :5]), (5, rows[:, 5:])):
        block = StepBlock(part, one, np.full((1, part.shape[1]), 1e-2), one, taken, clip)
        kernel = PooledHead(x, hidden).step_kernel(objective)
        assert kernel is not None
        kernel(heads, first, second, block)

    alone = Alone(start[0], layers, dims, hidden, outputs).double()
    torch.nn.utils.vector_to_parameters(start[0].clone(), alone.parameters())
    optimizer = torch.optim.Adam(alone.parameters(), lr=1e-2)
    scaled = x if scaling is None else (x - scaling[0, 0]) * scaling[0, 1]
    for batch in torch.from_numpy(rows[0]):
        optimizer.zero_grad()
        objective.losses(
            alone(scaled[batch])[None], batch[None], torch.zeros(1, dtype=torch.int64)
        ).backward()
        if clip is not None:
            norm = torch.nn.utils.clip_grad_norm_(alone.parameters(), clip)
            assert norm > clip, "the bound is reached"
        optimizer.step()
    expected = torch.nn.utils.parameters_to_vector(alone.parameters()).detach()
    torch.testing.assert_close(heads.theta[0], expected, rtol=0, atol=1e-10)
    assert float((expected - start[0]).abs().max()) > 0.05


def test_compiled_steps_and_torchs_train_the_same_heads_on_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = make_task(clips=96)
    x, labels = torch.from_numpy(task.features), torch.from_numpy(task.labels)
    trials = [
        Trial(task.folds[fold].train, task.folds[fold].dev, rate, seed, 70)
        for fold in range(2)
        for rate in (1e-3, 1e-2, 1e-1)
        for seed in (0, 5)
    ]

    def trained() -> TrainedHeads:
        return train_heads(PooledHead(x, 8), trials, CrossEntropy(labels, 3), Schedule(16, patience=2))

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = trained()
        torch.set_num_threads(3)
        three = trained()
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one.heads.theta, three.heads.theta)
    assert len(set(one.steps.tolist())) > 1, "patience ends some of them early"
    monkeypatch.setattr(PooledHead, "step_kernel", lambda self, objective: None)
    by_torch = trained()
    np.testing.assert_array_equal(by_torch.steps, one.steps)
    torch.testing.assert_close(by_torch.heads.theta, one.heads.theta, rtol=1e-4, atol=1e-4)


def test_a_head_that_diverged_is_not_a_number_when_compiled_too() -> None:
    x = torch.full((8, 1, 4), torch.inf)
    trial = Trial(np.arange(8), NO_ROWS, 1e-2, 0, 3)
    objective = CrossEntropy(torch.arange(8) % 2, 2)
    assert not train_heads(PooledHead(x, 4), [trial], objective, Schedule(4)).heads.theta.isfinite().all()


def test_what_is_compiled_before_the_tests_is_what_probes_use() -> None:
    compile_kernels()
    compiled = set(take_steps.signatures)  # type: ignore[attr-defined]
    task = make_task(clips=48)
    x, labels = torch.from_numpy(task.features), torch.from_numpy(task.labels)
    trials = [Trial(fold.train, NO_ROWS, 1e-2, seed, 2) for fold in task.folds for seed in (0, 5)]
    weights = torch.tensor([[1.0, 2.0, 0.5]] * len(trials))
    values = torch.rand(len(x), 3)
    for objective in (CrossEntropy(labels, 3), CrossEntropy(labels, 3, weights), CccLoss(values, 3)):
        for standardise in (False, True):
            train_heads(PooledHead(x, 8, standardise=standardise), trials, objective, Schedule(16))
    assert set(take_steps.signatures) == compiled  # type: ignore[attr-defined]


COLD_AND_WARM = """
import numpy as np, torch
from bench.features.probes.batched_adam import Schedule, Trial, train_heads
from bench.features.probes.learning_rate_search import NO_ROWS
from bench.features.probes.losses import CrossEntropy
from bench.features.probes.pooled_head import PooledHead
random = np.random.default_rng(0)
x = torch.from_numpy(random.normal(size=(60, 3, 24)).astype(np.float32))
labels = torch.from_numpy(random.integers(0, 4, 60))
weights = torch.tensor([[1.0, 2.0, 0.5, 1.5]])
trials = [Trial(np.arange(60), NO_ROWS, 1e-2, 0, 60)]
for weighted in (None, weights):
    family = PooledHead(x, 256, standardise=weighted is not None)
    print(train_heads(family, trials, CrossEntropy(labels, 4, weighted), Schedule()).heads.theta.numpy().tobytes().hex())
"""


def test_a_process_that_compiles_the_kernels_and_one_that_finds_them_compiled_give_the_same_bytes(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    cold, warm = (
        subprocess.run(
            [sys.executable, "-c", COLD_AND_WARM],
            env=environment, cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout
        for _ in range(2)
    )  # fmt: skip
    assert list(tmp_path.rglob("*.nbc")), "the first process kept what it compiled"
    assert cold == warm
