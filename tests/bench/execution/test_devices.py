"""Workers and devices: one worker per GPU, whichever GPUs this machine is said to have."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bench.errors import UsageError
from bench.execution import devices


def test_each_gpu_gets_a_worker_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_count", lambda: 3)
    assert devices.worker_devices("auto") == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices.worker_devices("cuda", workers=4) == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert devices.worker_devices("cuda:1") == ["cuda:1"]
    assert devices.worker_devices("cpu", workers=2) == ["cpu", "cpu"]
    with pytest.raises(UsageError, match="numbered from 0"):
        devices.worker_devices("cuda:3")


@pytest.mark.parametrize(
    ("free", "seconds"), [(1e9, 60.0), (16e9, 250.0), (80e9, 1200.0)], ids=["small", "middle", "large"]
)
def test_a_gpus_batches_go_by_its_free_memory(
    monkeypatch: pytest.MonkeyPatch, free: float, seconds: float
) -> None:
    import torch

    asked: list[str] = []
    memory = SimpleNamespace(mem_get_info=lambda device: (asked.append(str(device)), (free, 80e9))[1])
    monkeypatch.setattr(torch, "cuda", memory)
    assert devices.batch_seconds("cuda:1") == seconds
    assert asked == ["cuda:1"]
    assert devices.batch_seconds("cpu") == 60.0
