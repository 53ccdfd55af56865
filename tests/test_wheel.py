"""The built wheel works where no clone is: in an environment that holds what it asks for and nothing else, it runs a small matrix.

Nothing is fetched: the packages that the wheel requires, and those that these require, are linked from the environment of
the tests (gigabytes of torch need not lie on the disk twice). What the wheel forgets to ask for is missing there.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import write_tone_corpus

ROOT = Path(__file__).resolve().parent.parent


def required(
    requirements: list[str], extras: frozenset[str], known: set[tuple[str, str]]
) -> Iterator[Distribution]:
    """Every installed distribution that these requirements lead to."""
    for requirement in map(Requirement, requirements):
        wanted = [{"extra": extra} for extra in sorted({"", *extras})]
        if requirement.marker is not None and not any(requirement.marker.evaluate(w) for w in wanted):
            continue
        key = (canonicalize_name(requirement.name), ",".join(sorted(requirement.extras)))
        if key in known:
            continue
        known.add(key)
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:  # another platform's
            continue
        yield found
        yield from required(found.requires or [], frozenset(requirement.extras), known)


def link(distributions: Iterator[Distribution], site: Path) -> None:
    """Link each distribution's top-level files and folders into ``site``."""
    ours = Path(sysconfig.get_path("purelib"))
    for found in distributions:
        tops = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        for top in tops:
            if (ours / top).exists() and not (site / top).exists():
                (site / top).symlink_to(ours / top)


def require_no_trace_of_this_machine(wheel: Path) -> None:
    """The wheel names no path of the machine that built it, nor its host, nor its user."""
    paths = {str(ROOT), str(Path.home()), sys.prefix} - {"/", "/root"}
    host = re.compile(rf"(?<![\w.-]){re.escape(socket.gethostname())}(?![\w-])".encode())
    with zipfile.ZipFile(wheel) as packed:
        for name in packed.namelist():
            content = packed.read(name)
            assert not any(p.encode() in content for p in paths), name
            assert socket.gethostname() == "localhost" or not host.search(content), name
        assert {n for n in packed.namelist() if n.endswith("py.typed")} == {
            f"{room}/py.typed" for room in ("bench", "adapters", "reports", "tasks")
        }


@pytest.mark.slow
def test_the_wheel_in_an_empty_environment_runs_a_matrix(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment |= {"SERBENCH_CACHE": str(tmp_path / "cache")}
    environment.pop("SERBENCH_DATA", None)

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    require_no_trace_of_this_machine(wheel)
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"))
    pip = (sys.executable, "-m", "pip", "--python", str(tmp_path / "venv/bin/python"))
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (metadata,) = site.glob("ser_bench-*.dist-info")
    asked = Distribution.at(metadata).requires or []
    link(required(asked, frozenset(), set()), site)
    run(*pip, "check")

    write_tone_corpus(tmp_path / "data" / "tones", dimensions=True)
    (tmp_path / "small.yaml").write_text(
        "name: small\nentries:\n  - systems: [majority, chance, egemaps-linear]\n"
    )
    serbench = str(tmp_path / "venv/bin/serbench")
    run(serbench, "run", "small.yaml", "--data", "data", "--out", "run")
    scores = json.loads(run(serbench, "score", "run", "--json"))
    assert {s["system"] for s in scores} == {"majority", "chance", "egemaps-linear"}
    tones = [
        s["estimate"]
        for s in scores
        if (s["system"], s["metric"], s["view"]) == ("egemaps-linear", "ua", "native")
    ]
    assert min(tones) > 0.9, "pitch alone tells these tones apart"
    report = run(serbench, "report", "run").strip()
    assert (tmp_path / report).is_file()
    assert "ser-bench" in (tmp_path / report).read_text(encoding="utf-8")
    run(serbench, "new", "adapter", "my-model")
    assert (tmp_path / "my-model/my_model_adapter/systems/my-model.yaml").is_file(), (
        "the templates are in the wheel"
    )
    where = run(str(tmp_path / "venv/bin/python"), "-c", "import bench; print(bench.__file__)")
    assert str(tmp_path) in where, "the wheel's own code must have run, not the clone's"
