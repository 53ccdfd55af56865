"""The engine of ser-bench: corpora, folds, execution, scoring. Knows no corpus and no system by name.

Every name is loaded when it is first used, so that ``serbench --help`` and the pure statistics start without the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bench.cards.registry import load_system as load_system
    from bench.execution.contract import check_system as check_system
    from bench.execution.in_process import evaluate as evaluate
    from bench.execution.in_process import load_task as load_task
    from bench.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cards.registry": ["load_system"],
        "execution.contract": ["check_system"],
        "execution.in_process": ["evaluate", "load_task"],
        "version": ["__version__"],
    },
)
