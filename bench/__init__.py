"""The engine of ser-bench: corpora, folds, execution, scoring. Knows no corpus and no system by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.execution.in_process import evaluate, load_task
    from bench.version import __version__

__all__ = ["__version__", "evaluate", "load_task"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `serbench --help` and the pure statistics import without the execution stack.
    if name in {"evaluate", "load_task"}:
        from bench.execution import in_process

        return getattr(in_process, name)
    if name == "__version__":
        from bench.version import __version__

        return __version__
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
