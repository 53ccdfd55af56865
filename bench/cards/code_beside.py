"""Code that lies beside a card of one's own is found without being installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

from bench.cards.system import SystemCard
from bench.errors import UsageError
from bench.storage.source_code import split_dotted

PACKAGE_CARDS = "systems"
"""Folder inside a package that holds its cards."""


def make_importable(card: SystemCard, path: Path) -> None:
    """Let a card's modules be imported from where its file lies: its folder, or the one that its package lies in.

    The folder is put at the end of the path of imports, so that it hides nothing; processes that are started from here have it too.

    Args:
        card: the system.
        path: its file.

    Raises:
        UsageError: another module of the same name is imported first.
    """
    folder = path.resolve().parent
    for dotted in (card.adapter, card.features.encoder if card.features else None):
        if dotted is None:
            continue
        top = split_dotted(dotted)[0].partition(".")[0]
        found = _found(top)
        if _holds(folder, top):
            if found is None:
                _append(folder)
            elif folder not in found.parents:
                raise UsageError(
                    f"{path} names the module {top!r}, which lies beside it and is hidden by {found}: give it another name"
                )
        elif found is None and folder.name == PACKAGE_CARDS and _holds(folder.parent.parent, top):
            _append(folder.parent.parent)


def _holds(folder: Path, module: str) -> bool:
    return (folder / f"{module}.py").is_file() or (folder / module / "__init__.py").is_file()


def _found(module: str) -> Path | None:
    """The file that an import of a top-level module runs; None where there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # a module that was put into sys.modules by hand
        return None
    return None if spec is None else Path(spec.origin or module).resolve()


def _append(folder: Path) -> None:
    sys.path.append(str(folder))
    importlib.invalidate_caches()
