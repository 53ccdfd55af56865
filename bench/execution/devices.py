"""Which devices there are, and how many workers they carry; found without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess

import psutil

from bench.errors import UsageError

WORKER_MEMORY = 2.5e9
"""Bytes a worker with torch, an encoder and a corpus's features may need."""
MAX_CPU_WORKERS = 16
BATCH_SECONDS = 60.0
"""Audio handed to an encoder at a time on a CPU, and at least on a GPU."""
MOST_BATCH_SECONDS = 1200.0
BYTES_PER_SECOND = 64e6
"""GPU memory that a second of audio may need in a large encoder: 512 channels at 3.2 kHz, several times, in float32."""


def gpu_count() -> int:
    """Count the NVIDIA GPUs this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([v for v in visible.split(",") if v.strip() and v.strip() != "-1"])
    if shutil.which("nvidia-smi") is None:
        return 0
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.splitlines())


def worker_devices(device: str = "auto", workers: int | None = None) -> list[str]:
    """Return the device of each worker: one per GPU where there are some, else CPU workers by cores and memory.

    ``device`` is ``auto``, ``cpu``, ``cuda`` (all GPUs) or ``cuda:N``.

    Raises:
        UsageError: the device is unknown or not there.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: at least one worker is needed")
    kind, _, number = device.partition(":")
    if kind not in {"auto", "cpu", "cuda"} or (number and not (kind == "cuda" and number.isdigit())):
        raise UsageError(f"--device {device}: expected auto, cpu, cuda or cuda:N")
    gpus = 0 if kind == "cpu" else gpu_count()
    if kind == "cuda" and gpus == 0:
        raise UsageError(f"--device {device}: no NVIDIA GPU found; use --device cpu")
    if number and int(number) >= gpus:
        raise UsageError(f"--device {device}: there are {gpus} GPU(s), numbered from 0")
    if gpus:
        names = [f"cuda:{number}"] if number else [f"cuda:{i}" for i in range(gpus)]
        return [names[i % len(names)] for i in range(workers or len(names))]
    return ["cpu"] * (workers or cpu_workers())


def one_device(device: str) -> str:
    """Check the device that one command computes on; ``auto`` is the first GPU, else the CPU.

    Raises:
        UsageError: the device is unknown or not there.
    """
    first = worker_devices(device, 1)[0]
    return first if device == "auto" else device


def cpu_workers() -> int:
    """One worker per core that this process may use, as far as memory carries them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(psutil.virtual_memory().available // WORKER_MEMORY), MAX_CPU_WORKERS))


def batch_seconds(device: str) -> float:
    """Seconds of audio to hand to an encoder at a time: on a GPU by its free memory (running out halves a batch)."""
    if not device.startswith("cuda"):
        return BATCH_SECONDS
    import torch

    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return min(max(free / BYTES_PER_SECOND, BATCH_SECONDS), MOST_BATCH_SECONDS)
