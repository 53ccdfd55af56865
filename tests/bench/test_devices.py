"""Workers and devices: one worker per GPU, whichever GPUs this machine is said to have."""

from __future__ import annotations

import pytest

from bench import devices
from bench.errors import UsageError


def test_each_gpu_gets_a_worker_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_count", lambda: 3)
    assert devices.worker_devices("auto") == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices.worker_devices("cuda", workers=4) == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert devices.worker_devices("cuda:1") == ["cuda:1"]
    assert devices.worker_devices("cpu", workers=2) == ["cpu", "cpu"]
    with pytest.raises(UsageError, match="numbered from 0"):
        devices.worker_devices("cuda:3")
