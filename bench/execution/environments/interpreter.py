"""Which Python runs an adapter that has an environment of its own, and what is installed there."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from bench.cards.registry import system_card_files
from bench.cards.system import SystemCard
from bench.errors import CannotRun
from bench.execution.environments.requirements import Requirements, read_requirements
from bench.storage.hashing import digest
from bench.storage.run_folder import cache_folder

ALWAYS = ("numpy", "pyarrow")
"""What the other side's half of the protocol needs."""
LOOK_SECONDS = 120
READY = "ready.json"
"""Written last into an environment: one without it was not finished."""
_LOOK = (
    "import importlib.metadata as m, json, sys; "
    "print(json.dumps([sys.version_info[:3], {d.metadata['Name']: d.version for d in m.distributions() if d.metadata['Name']}]))"
)


@dataclass(frozen=True)
class Environment:
    """A Python for one adapter, looked at."""

    system: str
    python: str
    requirements: Requirements
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions by canonical name of the distribution."""

    def versions(self, names: Sequence[str]) -> dict[str, str]:
        """Versions of those of some packages that are installed there."""
        found = {name: self.packages.get(canonicalize_name(name)) for name in names}
        return {name: version for name, version in found.items() if version is not None}


def find_environment(card: SystemCard) -> Environment:
    """Find the Python that a card's requirements ask for: the one that a setting names, else the one built for them.

    Args:
        card: a system with ``requirements``.

    Raises:
        CannotRun: it was not built yet (names the command), or the named one cannot be used or holds other versions.
        UsageError: the requirements file is no list of pins.
    """
    requirements = read_requirements(card)
    variable = python_variable(card.name)
    named = card.python or os.environ.get(variable)
    if named:
        environment = _looked_at(card.name, _absolute(named), requirements)
        _hold_to_pins(environment)
        return environment
    folder = environment_folder(requirements)
    if not (folder / READY).is_file():
        raise CannotRun(
            f"needs an environment of its own for {requirements.path.name}, which is not built yet: serbench env build "
            f"{_called(card)} (or name a Python that holds it in {variable})"
        )
    return _looked_at(card.name, str(python_in(folder)), requirements)


def python_variable(system: str) -> str:
    """The variable that names a system's Python.

    >>> python_variable("my-group/old-net")
    'SERBENCH_PYTHON_MY_GROUP_OLD_NET'
    """
    return f"SERBENCH_PYTHON_{re.sub(r'[^A-Za-z0-9]+', '_', system).upper()}"


def environment_folder(requirements: Requirements) -> Path:
    """Where the environment for some requirements is kept: by their hash, this Python's version, and the protocol's Arrow."""
    python = ".".join(map(str, sys.version_info[:3]))
    key = digest(requirements.content_hash, python, version("pyarrow"), length=8)
    return cache_folder() / "environments" / key


def python_in(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / "bin" / "python"


def _absolute(python: str) -> str:
    """The same program from every folder; links are kept, for a virtual environment is known by its own."""
    return str(Path(python).expanduser().absolute()) if os.sep in python else shutil.which(python) or python


def _called(card: SystemCard) -> str:
    """How a command names the system: by its file, where that is no shipped card's."""
    shipped = {path.resolve() for path in system_card_files().values()}
    return card.name if card.file is None or card.file in shipped else str(card.file)


def _looked_at(system: str, python: str, requirements: Requirements) -> Environment:
    installed, packages = _installed(python, system)
    if installed < (3, 11):
        found = ".".join(map(str, installed))
        raise CannotRun(f"{python} is Python {found}; an environment of {system} needs 3.11 or later")
    if missing := [name for name in ALWAYS if name not in packages]:
        raise CannotRun(
            f"{python} has no {' and no '.join(missing)}, which every environment needs: {python} -m pip install {' '.join(missing)}"
        )
    return Environment(system, python, requirements, packages)


def _hold_to_pins(environment: Environment) -> None:
    """A named Python holds what the file pins: the file's hash is what keys know of it."""
    for name, pin in environment.requirements.pins.items():
        found = environment.packages.get(name)
        if found is None or not SpecifierSet(pin).contains(found, prereleases=True):
            raise CannotRun(
                f"{environment.python} has {f'{name} {found}' if found else f'no {name}'}, and {environment.requirements.path.name} asks "
                f"for {name}{pin}; name another Python in {python_variable(environment.system)}, or unset it and build the environment"
            )


@functools.cache
def _installed(python: str, system: str) -> tuple[tuple[int, ...], dict[str, str]]:
    """Version of an interpreter, and versions of what is installed for it."""
    mend = f"name another one in {python_variable(system)}, or build its environment: serbench env build {system}"
    try:
        done = subprocess.run(
            [python, "-I", "-c", _LOOK],
            capture_output=True,
            text=True,
            timeout=LOOK_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        release, packages = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRun(f"the Python of {system}, {python}, cannot be started ({error}); {mend}") from None
    except (ValueError, IndexError, TypeError):
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing"]
        raise CannotRun(
            f"{python} does not answer like a Python (it said: {said[0][:200]}); {mend}"
        ) from None
    return tuple(release), {canonicalize_name(name): found for name, found in packages.items()}


def forget_looks() -> None:
    """Look anew at every interpreter: one was built."""
    _installed.cache_clear()
