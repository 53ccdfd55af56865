"""Facts about this machine and its packages, for the sidecar: they explain times, they decide nothing."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

import psutil

PACKAGES = (
    "ser-bench", "torch", "torchaudio", "transformers", "s3prl", "datasets", "peft", "opensmile", "scikit-learn",
    "scipy", "numpy", "pyarrow", "soundfile", "soxr", "av",
)  # fmt: skip


def machine_facts(devices: Sequence[str]) -> dict[str, Any]:
    """Return hardware, operating system and package versions as JSON values."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": psutil.cpu_count(logical=True),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "devices": list(devices),
        "packages": package_versions(),
    }


def processor_name() -> str:
    """Return the processor's name as the kernel gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:  # noqa: PTH123 - a kernel file
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def package_versions() -> dict[str, str]:
    """Return the versions of the packages whose arithmetic or file formats matter."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
