"""The plan of the house: which room may know which, and that listing commands stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("tasks", "bench", "adapters", "reports")
MAY_IMPORT = {
    "tasks": {"tasks"},
    "bench": {"bench", "tasks"},
    "adapters": {"adapters", "bench"},
    "reports": {"reports", "bench"},
}


def modules() -> list[Path]:
    return [p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Names of modules a file imports anywhere, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    relative = path.relative_to(ROOT)
    if relative.parts[:2] == ("bench", "cli"):
        return  # the command line may import everything
    rooms = {name.split(".")[0] for name in imported(path)} & set(ROOMS)
    assert rooms <= MAY_IMPORT[relative.parts[0]], (
        f"{relative} imports {rooms - MAY_IMPORT[relative.parts[0]]}"
    )


def test_nothing_imports_the_command_line() -> None:
    users = [p.relative_to(ROOT) for p in modules() if any(n.startswith("bench.cli") for n in imported(p))]
    assert all(p.parts[:2] == ("bench", "cli") for p in users)


def test_the_engine_knows_no_system_and_no_corpus_by_name() -> None:
    names = {p.stem for p in (ROOT / "adapters/systems").glob("*.yaml")} | {
        p.stem for p in (ROOT / "tasks/corpora").glob("*.yaml")
    }
    names -= {
        "synthetic",
        "majority",
        "chance",
    }  # the built-in corpus has a generator; the other two are also plain words
    for path in modules():
        if path.is_relative_to(ROOT / "bench"):
            literals = {
                n.value
                for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(n, ast.Constant) and isinstance(n.value, str)
            }
            assert not literals & names, f"{path.relative_to(ROOT)} names {literals & names}"


@pytest.mark.parametrize(
    "command", [["--help"], ["list", "systems"], ["list", "tasks"], ["list", "matrices"], ["run", "--help"]]
)
def test_light_commands_load_no_heavy_package(command: list[str]) -> None:
    program = (
        "import sys\nsys.argv = ['serbench', *sys.argv[1:]]\nfrom bench.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 's3prl', 'sklearn', 'scipy', 'pandas', 'matplotlib', 'datasets', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
