"""Started by path in another environment (``python -I boot.py ORDER``): lets in of the suite what the protocol needs, and the adapter.

Nothing else of the suite's environment is on the path there. The suite's rooms are packages without their fronts, whose lazy
loading needs a package that the environment need not have.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any


class Border(MetaPathFinder):
    """Finds the suite's rooms without their fronts, and the adapter's own package where the suite found it.

    Args:
        suite: folder of ``bench``.
        adapter: file of the adapter's top-level module.
        top: its name.
    """

    def __init__(self, suite: Path, adapter: Path, top: str) -> None:
        self.suite, self.adapter, self.top = suite, adapter, top

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A room of the suite or the adapter's top-level module; None for all others.

        Args:
            fullname: dotted name of what is imported.
            path: where Python would look; not asked.
            target: not asked.
        """
        first, _, rest = fullname.partition(".")
        if first == "bench" and (folder := self.suite.joinpath(*rest.split("."))).is_dir():
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(folder)]
            return spec
        if fullname == self.top and self.top != "bench":
            inside = [str(self.adapter.parent)] if self.adapter.name == "__init__.py" else None
            return importlib.util.spec_from_file_location(
                fullname, self.adapter, submodule_search_locations=inside
            )
        return None


def main(order: dict[str, Any]) -> None:
    """Take standard input and output for the protocol, and serve.

    What the adapter prints goes to standard error, which is the log.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the suite's, which ends this process
    adapter = Path(order["adapter"])
    sys.meta_path.insert(0, Border(Path(order["suite"]), adapter, order["top"]))
    folder = adapter.parent.parent if adapter.name == "__init__.py" else adapter.parent
    if not {"site-packages", "dist-packages"} & set(folder.parts):
        sys.path.append(str(folder))  # modules beside the adapter's
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr  # which keeps nothing back: this process is ended without warning
    from bench.execution.environments.far_side import serve

    serve(incoming, outgoing)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
