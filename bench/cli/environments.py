"""``serbench env build`` and ``--build-environments``: the user's word that a system's packages may be fetched and installed."""

from __future__ import annotations

import fnmatch
import os
import sys

from bench.cards.registry import load_model, load_system, match_systems, with_settings
from bench.cards.system import SystemCard
from bench.cli.printing import console, print_json
from bench.execution.environments.building import build_environment
from bench.execution.environments.interpreter import Environment, python_variable
from bench.execution.planning.matrix import load_matrix
from bench.execution.prepared_run import RunSettings


def build(system: str, *, as_json: bool) -> None:
    """Build a system's environment and say what it holds."""
    made = build_environment(load_model(system), _say)
    if as_json:
        print_json(_as_json(made))
        return
    held = ", ".join(f"{name} {version}" for name, version in sorted(made.packages.items()))
    console().print(f"{made.system} runs in {made.python}: {held}", soft_wrap=True, markup=False)


def build_if_asked_for(system: str) -> None:
    """Build the environment of a system whose card has requirements and for which no Python is named."""
    _build_if_asked_for(load_model(system))


def build_for(settings: RunSettings) -> None:
    """Build the environments of a matrix's systems, those that ``--only`` keeps."""
    matrix, folder = load_matrix(settings.matrix)
    base = settings.cards_from or folder
    patterns = settings.only.get("system", ("*",))
    for name in dict.fromkeys(n for e in matrix.entries for p in e.systems for n in match_systems(p)):
        card = load_system(name, base=base)
        if any(fnmatch.fnmatchcase(card.name, pattern) for pattern in patterns):
            _build_if_asked_for(with_settings(card, settings.settings.get(card.name, {})))


def _build_if_asked_for(card: SystemCard) -> None:
    if card.requirements is not None and not (card.python or os.environ.get(python_variable(card.name))):
        build_environment(card, _say)


def _as_json(made: Environment) -> dict[str, object]:
    return {
        "system": made.system,
        "python": made.python,
        "requirements": str(made.requirements.path),
        "packages": dict(sorted(made.packages.items())),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr)
