"""What NVIDIA's GPUs say of themselves, where its library and ``nvidia-ml-py`` are installed; nothing elsewhere."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GpuSight:
    """One GPU as it is now, whoever uses it."""

    number: int
    name: str
    use_percent: int
    """Of the time, some kernel ran."""
    used_bytes: int
    bytes: int


def gpu_sights() -> list[GpuSight]:
    """Every GPU of this machine, as NVML answers; none where it does not."""
    found: list[GpuSight] = []
    with _nvml() as nvml:
        if nvml is None:
            return found
        with suppress(nvml.NVMLError):
            for number in range(nvml.nvmlDeviceGetCount()):
                handle = nvml.nvmlDeviceGetHandleByIndex(number)
                name = nvml.nvmlDeviceGetName(handle)
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                found.append(
                    GpuSight(
                        number=number,
                        name=name.decode() if isinstance(name, bytes) else str(name),
                        use_percent=int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
                        used_bytes=int(memory.used),
                        bytes=int(memory.total),
                    )
                )
    return found


def gpu_joules(device: str) -> float | None:
    """What a GPU has used since its driver was loaded, joules; None where nobody counts it.

    Args:
        device: as a worker names it: ``cuda:N``, counted among the GPUs that CUDA_VISIBLE_DEVICES leaves; others have none.
    """
    if not device.startswith("cuda"):
        return None
    with _nvml() as nvml:
        if nvml is None:
            return None
        with suppress(nvml.NVMLError, ValueError, IndexError):
            handle = _handle(nvml, int(device.partition(":")[2] or 0))
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    return None


def _handle(nvml: Any, number: int) -> Any:
    """NVML counts all GPUs, CUDA only the visible ones, by number or by UUID."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return nvml.nvmlDeviceGetHandleByIndex(number)
    named = [v.strip() for v in visible.split(",") if v.strip()][number]
    return (
        nvml.nvmlDeviceGetHandleByIndex(int(named))
        if named.isdigit()
        else nvml.nvmlDeviceGetHandleByUUID(named)
    )


@contextmanager
def _nvml() -> Iterator[Any]:
    """NVML, ready to be asked; None where it is not there."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # noqa: BLE001 - not installed, no driver, or some other module of that name
        yield None
        return
    try:
        yield nvml
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
