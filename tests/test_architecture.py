"""The plan of the house: which room may know which, that nothing goes round in circles, and that listing stays light."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tasks", "bench", "adapters", "reports")
MAY_IMPORT = {
    "tasks": {"tasks"},
    "bench": {"bench", "tasks"},
    "adapters": {"adapters", "bench"},
    "reports": {"reports", "bench"},
}
LAYERS = {
    "bench": {
        "version": 0, "errors": 0, "protocols": 0,
        "storage": 1, "statistics": 1,
        "cards": 2, "audio": 2,
        "corpora": 3, "features": 3,
        "tasks": 4, "metrics": 3, "significance": 4,
        "scoring": 5,
        "execution": 6, "leaderboard": 6,
        "contract": 7, "registry": 7, "__init__": 7, "cli": 7,
    },
    "reports": {"charts": 0, "data": 0, "formatting": 1, "sections": 2, "exports": 3, "figures": 4, "pages": 4, "__init__": 5},
}  # fmt: skip
"""Room (a folder, or a file beside the folders) → layer. An import goes to a lower layer or stays in its room; lazy
imports and those under ``TYPE_CHECKING`` count. ``docs/architecture.md`` says what each room is for."""
ADAPTERS = {
    "meralion_ser": {"transformers_encoder"},
    "s3prl_upstream": {"transformers_encoder"},
    # Released networks answer by the rules that MERaLiON-SER's own released one does: which class goes to which label, what is no number.
    "transformers_classifier": {"transformers_encoder", "meralion_ser"},
    "audio_lm": {
        "meralion_ser"
    },  # the kinds of settings, and the state of a training that goes on after a kill
}
"""Families of adapters that may know another one."""
FRONTS = {"bench.contract", "bench.registry", "bench.cli"}
"""Doors for people outside; nothing inside comes in through them."""


def modules(*packages: str) -> dict[str, Path]:
    """Dotted names of all modules of some packages, with their files."""
    found = {}
    for package in packages or PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(path: Path) -> set[str]:
    """Modules of the suite that a file imports anywhere, lazily or not; a name taken from a package counts as the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are spelled out, not relative"
            inner = {f"{node.module}.{a.name}" for a in node.names}
            found |= {name if name in MODULES else node.module for name in inner}
    return {name for name in found if name.partition(".")[0] in PACKAGES}


def room(module: str) -> str:
    """The room that a module lies in: the second part of its name."""
    return [*module.split("."), "__init__"][1]


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_down_the_layers(module: str) -> None:
    package = module.partition(".")[0]
    layers, own = LAYERS.get(package, {}), room(module)
    if package == "bench":
        assert own in layers, f"{module} lies in a room that the plan does not have"
    for name in sorted(imported(MODULES[module])):
        other = name.partition(".")[0]
        if (package, own) == ("bench", "cli"):
            continue  # the command line may import everything
        assert other in MAY_IMPORT[package], f"{module} imports {name}"
        if other == package and room(name) != own:
            if layers:
                assert layers[room(name)] < layers[own], f"{module} (layer {layers[own]}) imports {name}"
            else:
                assert package != "adapters" or room(name) in ADAPTERS.get(own, ()), (
                    f"{module} imports {name}"
                )
        assert name != f"{package}.{own}" or name == module or MODULES[name].name != "__init__.py", (
            f"{module} comes in through its own room's front {name}; import the module that has it"
        )


def test_nothing_goes_round_in_circles() -> None:
    graph = {name: imported(path) - {name} for name, path in MODULES.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_nothing_inside_comes_in_through_a_door_for_people_outside() -> None:
    for name, path in MODULES.items():
        for other in imported(path):
            front = ".".join(other.split(".")[:2])
            assert front not in FRONTS or name.startswith(front), f"{name} imports {other}"


def classes(package: str) -> Iterator[tuple[str, str]]:
    """(class, module) of every class at the top of a module."""
    for name, path in modules(package).items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                yield node.name, name


def test_a_class_name_means_one_thing() -> None:
    homes = defaultdict(list)
    for name, module in classes("bench"):
        homes[name].append(module)
    assert not {name: found for name, found in homes.items() if len(found) > 1}


def test_there_is_one_table_of_metrics() -> None:
    defined = [
        name
        for name, path in modules("bench", "reports").items()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == "METRICS"
    ]
    assert defined == ["bench.statistics.additive"]


ROOMS = sorted({r for r in LAYERS["bench"] if (ROOT / "bench" / r).is_dir()})


@pytest.mark.parametrize("name", [r for r in ROOMS if r != "cli"])
def test_a_rooms_front_offers_what_it_says(name: str) -> None:
    front = import_module(f"bench.{name}")
    typed = {
        alias.asname
        for node in ast.walk(ast.parse(MODULES[f"bench.{name}"].read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bench.")
        for alias in node.names
    }
    assert set(front.__all__) == typed, "what type checkers see is what is there"
    for offered in front.__all__:
        assert getattr(front, offered) is not None
    assert (front.__doc__ or "").count("\n") < 3, "a room's job is one sentence"


def test_docs_name_every_room_and_nothing_that_is_not_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \d \| `bench/(\w+)/` \| (.+?) \|", text, flags=re.MULTILINE))
    assert sorted(rows) == ROOMS
    for name, job in rows.items():
        said = import_module(f"bench.{name}").__doc__ or ""
        assert said.strip().rstrip(".").lower() == job.strip().rstrip(".").replace("`", "").lower(), name
    layers = {n: int(k) for k, n in re.findall(r"^\| (\d) \| `bench/(\w+)/`", text, flags=re.MULTILINE)}
    assert layers == {r: LAYERS["bench"][r] for r in ROOMS}
    named = set(re.findall(r"`((?:bench|adapters|reports|tasks|results|tests|docs)/[\w./*-]*)`", text))
    assert len(named) > 30
    for path in sorted(named):
        assert list(ROOT.glob(path.rstrip("/"))), f"docs/architecture.md names {path}, which is not there"


def is_there(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = dotted.split(".")
    at = max(i for i in range(1, len(parts) + 1) if ".".join(parts[:i]) in MODULES)
    found: object = import_module(".".join(parts[:at]))
    for part in parts[at:]:
        if not hasattr(found, part):
            return part in getattr(found, "__annotations__", {})
        found = getattr(found, part)
    return True


def test_docs_and_docstrings_name_nothing_that_is_not_there() -> None:
    marked = r"`[~!]?((?:bench|adapters|reports)(?:\.\w+)+)(?::\w+)?`"
    for path in [*MODULES.values(), ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for dotted in set(re.findall(marked, path.read_text(encoding="utf-8"))):
            assert is_there(dotted), f"{path.relative_to(ROOT)} names {dotted}, which is not there"


COMMANDS = "bench.cli.commands."
"""Modules whose public functions are commands: their docstring is the text of ``--help``, where Typer lists the options itself."""


def takes(function: ast.FunctionDef | ast.AsyncFunctionDef, *, bound: bool) -> int:
    """How many parameters a function has, without ``self`` or ``cls`` where it is ``bound``."""
    parameters = function.args
    return len(parameters.posonlyargs) + len(parameters.args) + len(parameters.kwonlyargs) - bound


def without_arguments(module: str, body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    """Public functions, methods and constructors of three or more parameters without ``Args:`` in their docstring."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
            text = "".join(ast.get_docstring(n) or "" for n in (node, *made))
            if any(takes(n, bound=True) >= 3 for n in made) and "Args:" not in text:
                yield f"{module}.{node.name}"
            yield from without_arguments(module, node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
            command = module.startswith(COMMANDS)
            many = takes(node, bound=bool(owner) and not static) >= 3
            if many and not command and "Args:" not in (ast.get_docstring(node) or ""):
                yield f"{module}.{owner}{node.name}"


def test_whoever_takes_three_arguments_or_more_says_what_they_are() -> None:
    silent = [
        name
        for module, path in modules("bench", "adapters", "reports").items()
        for name in without_arguments(module, ast.parse(path.read_text(encoding="utf-8")).body)
    ]
    assert not silent, f"without Args: in the docstring: {', '.join(silent)}"


def test_every_public_function_among_the_commands_can_be_typed() -> None:
    from bench.cli.app import COMMANDS as ALONE
    from bench.cli.app import GROUPS

    typed = {f"{c.__module__}.{c.__name__}" for c in ALONE}
    typed |= {
        f"{c.callback.__module__}.{c.callback.__name__}"
        for group in GROUPS.values()
        for c in group.registered_commands
        if c.callback is not None
    }
    written = {
        f"{module}.{node.name}"
        for module, path in MODULES.items()
        if module.startswith(COMMANDS)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
    assert written == typed


def test_the_engine_knows_no_system_and_no_corpus_by_name() -> None:
    names = {p.stem for p in (ROOT / "adapters/systems").glob("*.yaml")} | {
        p.stem for p in (ROOT / "tasks/corpora").glob("*.yaml")
    }
    names -= {
        "synthetic",
        "majority",
        "chance",
    }  # the built-in corpus has a generator; the other two are also plain words
    for path in modules("bench").values():
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
