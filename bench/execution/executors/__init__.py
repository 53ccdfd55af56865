"""Where jobs run: processes of this machine, or the nodes of a Ray cluster. The driver sees one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.execution.executors.interface import Executor as Executor
    from bench.execution.executors.interface import WorkerLimits as WorkerLimits
    from bench.execution.executors.local import LocalExecutor as LocalExecutor
    from bench.execution.executors.ray_cluster import RayExecutor as RayExecutor

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "interface": ["Executor", "WorkerLimits"],
        "local": ["LocalExecutor"],
        "ray_cluster": ["RayExecutor"],
    },
)
