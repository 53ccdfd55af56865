"""Build a system's environment: a virtual environment in the cache, after its user said so."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from bench.cards.system import SystemCard
from bench.errors import CannotRun, UsageError
from bench.execution.environments.interpreter import (
    ALWAYS,
    READY,
    Environment,
    environment_folder,
    find_environment,
    forget_looks,
    python_in,
    python_variable,
)
from bench.execution.environments.requirements import Requirements, read_requirements
from bench.storage.atomic import clear_os_errors, write_json
from bench.storage.locking import exclusive

LAST_LINES = 6
"""Lines of what pip said that the message repeats."""


def build_environment(card: SystemCard, say: Callable[[str], object] = lambda text: None) -> Environment:
    """Build what a card's requirements ask for, or return it where it stands already.

    Calling this is the consent: packages are fetched and their code may run while they are installed.

    Args:
        card: the system.
        say: told what is done.

    Returns:
        The environment, looked at.

    Raises:
        UsageError: the card asks for none, or its file is no list of pins.
        CannotRun: pip could not install what is asked for; repeats what it said.
    """
    if card.requirements is None:
        raise UsageError(f"{card.name} needs no environment of its own: its card names no requirements")
    requirements = read_requirements(card)
    folder = environment_folder(requirements)
    busy = f"{folder} is being built by another process; wait for it"
    with exclusive(folder.parent, f"{folder.name}.lock", busy):
        if (folder / READY).is_file():
            say(f"{folder} holds it already")
        else:
            say(f"building {folder} for {card.name} from {requirements.path}")
            _build(folder, requirements)
    forget_looks()
    return find_environment(card)


def _build(folder: Path, requirements: Requirements) -> None:
    with clear_os_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)  # what a kill left of an earlier attempt
        own_pip = importlib.util.find_spec("pip") is None
        try:
            venv.create(folder, with_pip=own_pip, symlinks=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise CannotRun(
                f"no virtual environment can be made in {folder} ({error}); give a Python of your own by {python_variable('NAME')}"
            ) from None
    python = str(python_in(folder))
    pip = [python, "-m", "pip"] if own_pip else [sys.executable, "-m", "pip", "--python", python]
    own = [
        f"{name}=={version(name)}" if name == "pyarrow" else name
        for name in ALWAYS
        if name not in requirements.pins
    ]
    command = [*pip, "install", "--no-input", "--no-compile", "--quiet", "-r", requirements.path.name, *own]
    done = subprocess.run(
        command,
        cwd=requirements.path.parent,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        said = [line for line in done.stderr.splitlines() if line.strip()][-LAST_LINES:]
        raise CannotRun(
            f"{requirements.path} cannot be installed: {' / '.join(said) or 'pip said nothing'}. Mend the file, or see to the network, "
            "then run the same command"
        )
    write_json(folder / READY, {"requirements": requirements.content_hash, "file": requirements.path.name})
