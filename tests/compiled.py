"""Compile once what each process of the tests would otherwise compile for itself: ``python -m tests.compiled``.

Tests start hundreds of processes. Where Python is told to write no bytecode (``PYTHONDONTWRITEBYTECODE``), every one of them
compiles the suite's modules anew; what lies there already is read. The kernels of the pooled head take some twenty seconds of a
processor, and processes that need them at once each compile their own.
"""

from __future__ import annotations

import compileall
import sys
from pathlib import Path

import numpy as np
import torch

from bench.features.probes.batched_adam import Schedule, Trial, train_heads
from bench.features.probes.learning_rate_search import NO_ROWS
from bench.features.probes.losses import CrossEntropy
from bench.features.probes.pooled_head import PooledHead

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("bench", "adapters", "reports", "tasks")


def compile_kernels() -> None:
    """Train one head for one step, as probes do."""
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 2, 4)).astype(np.float32))
    trial = Trial(np.arange(8), NO_ROWS, 1e-2, 0, 1)
    train_heads(PooledHead(features, 8), [trial], CrossEntropy(torch.arange(8) % 2, 2), Schedule(4))


def main() -> int:
    """Compile both. Returns 1 where a module could not be compiled."""
    whole = [bool(compileall.compile_dir(ROOT / name, quiet=1)) for name in PACKAGES]
    compile_kernels()
    return 0 if all(whole) else 1


if __name__ == "__main__":
    sys.exit(main())
