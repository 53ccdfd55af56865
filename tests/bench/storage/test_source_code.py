"""Keys see all code they rest on: a module, what it imports in its own package however lazily, and nothing beside."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cards.registry import load_system, system_names
from bench.cards.system import SystemCard
from bench.errors import UsageError
from bench.execution.planning import systems
from bench.execution.planning.systems import FEATURE_PACKAGES, resolve_system
from bench.execution.scoring_stage import SCORING_PACKAGES
from bench.scoring.recording import figures_code
from bench.storage import source_code
from bench.storage.hashing import hash_json
from bench.storage.source_code import adapter_hash, closure, closure_hash, package_hash

ROOT = Path(source_code.__file__).resolve().parents[2]

FILES = {
    "__init__.py": "from strange_pkg.always import A\n\ndef lazily():\n    from strange_pkg import never\n",
    "always.py": "A = 1\n",
    "never.py": "N = 1\n",
    "model.py": (
        "from typing import TYPE_CHECKING\nfrom . import relative\nfrom .deep.inner import thing\n"
        "if TYPE_CHECKING:\n    from strange_pkg.types_only import T\n"
        "def run():\n    import strange_pkg.lazy\n    return __import__('strange_pkg.not_a_module')\n"
        "TABLE = {'x': 'strange_pkg.named:Thing', 'prose': 'see strange_pkg.unrelated for more'}\n"
    ),
    "relative.py": "",
    "types_only.py": "",
    "lazy.py": "from strange_pkg.lazier import x\n",
    "lazier.py": "x = 1\n",
    "named.py": "",
    "unrelated.py": "",
    "deep/__init__.py": "from ..beside_deep import y\n",
    "deep/inner.py": "thing = 1\n",
    "deep/other.py": "",
    "beside_deep.py": "y = 1\n",
}
OUTSIDE = {"never", "unrelated", "deep.other"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "strange_pkg"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (tmp_path / "single.py").write_text("import strange_pkg\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    closure_hash.cache_clear()
    package_hash.cache_clear()
    yield folder
    closure_hash.cache_clear()
    package_hash.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] == "strange_pkg"]:
        del sys.modules[name]


def dotted(file: str) -> str:
    return ".".join(p for p in ("strange_pkg", *file.removesuffix(".py").split("/")) if p != "__init__")


def test_a_closure_follows_every_kind_of_import_and_stays_in_its_package(package: Path) -> None:
    expected = {dotted(f) for f in FILES} - {f"strange_pkg.{name}" for name in OUTSIDE}
    assert set(closure("strange_pkg.model")) == expected
    assert set(closure("single")) == {"single"}


@pytest.mark.parametrize("file", FILES)
def test_an_edit_changes_the_hash_of_whatever_rests_on_it_and_of_nothing_else(
    package: Path, file: str
) -> None:
    before = adapter_hash("strange_pkg.model:Model")
    (package / file).write_text(FILES[file] + "\n# edited\n")
    closure_hash.cache_clear()
    changed = adapter_hash("strange_pkg.model:Model") != before
    assert changed == (dotted(file).removeprefix("strange_pkg.") not in OUTSIDE)


def test_a_module_that_is_not_there_is_named(package: Path) -> None:
    for module in ("strange_pkg.modle", "no_such_package_here", "no_such_package_here.x"):
        with pytest.raises(UsageError, match="no module named"):
            closure_hash(module)


def parts_of(card: SystemCard) -> list[str]:
    """The modules whose code decides a card's answers."""
    named = [card.adapter, card.features.encoder if card.features else None]
    own = [source_code.split_dotted(d)[0] for d in named if d is not None]
    return own + (["bench.features.probes"] if card.probe else [])


def key_of(card: SystemCard) -> tuple[str, str | None]:
    system = resolve_system(card, fetch=False)
    return system.identity, system.feature_key


def test_editing_any_module_of_a_shipped_cards_closure_changes_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cards = [load_system(name) for name in system_names()]
    modules = sorted({m for card in cards for m in parts_of(card)} | {"adapters.meralion_ser.trained"})
    needed = {m: set(closure(m).values()) for m in modules}
    before = {m: closure_hash(m) for m in modules}
    read = Path.read_bytes
    for edited in sorted(set().union(*needed.values()) | {ROOT / "bench/cli/app.py"}):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda p, e=edited: read(p) + (b"\n# edited\n" if p == e else b""))  # fmt: skip
            closure_hash.cache_clear()
            for m in modules:
                assert (closure_hash(m) != before[m]) == (edited in needed[m]), (m, edited)
    closure_hash.cache_clear()
    for card in cards:
        key, own = key_of(card), parts_of(card)
        for m in (*own, next(m for m in modules if m not in own)):
            with monkeypatch.context() as patch:
                for place in (systems, source_code):
                    patch.setattr(
                        place, "closure_hash", lambda n, m=m: before[n] + ("+edited" if n == m else "")
                    )
                assert (key_of(card) != key) == (m in own), (card.name, m)


@pytest.mark.slow
def test_what_python_runs_for_an_adapter_is_in_its_closure() -> None:
    """Another way to find it: import each adapter in a process of its own and ask which of its package's modules it holds."""
    cards = [load_system(name) for name in system_names()]
    modules = sorted(
        {m for card in cards for m in parts_of(card) if m.startswith("adapters")}
        | {"adapters.meralion_ser.trained"}
    )
    assert len(modules) >= 7
    # One process loads what is heavy; each adapter is imported in a child of its own.
    program = (
        "import importlib, json, os, sys\nimport torch, transformers\n"
        "for name in sys.argv[1:]:\n"
        "    if os.fork() == 0:\n"
        "        importlib.import_module(name)\n"
        "        held = [m for m in sys.modules if m.partition('.')[0] == 'adapters']\n"
        "        print(json.dumps([name, held]), flush=True)\n"
        "        os._exit(0)\n"
        "    assert os.wait()[1] == 0, name\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *modules], capture_output=True, text=True, check=True, cwd=ROOT
    )
    found = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    assert found.keys() == set(modules)
    for module, held in found.items():
        assert set(held) <= set(closure(module)), module


def test_versions_that_count_are_in_the_key_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    version = importlib.metadata.version
    egemaps, trained = load_system("egemaps-svm"), load_system("meralion-ser-logmel")
    assert "scikit-learn" in egemaps.packages
    assert "peft" in trained.packages
    before = {card.name: key_of(card) for card in (egemaps, trained)}
    for package in (*FEATURE_PACKAGES, "scikit-learn", "peft", "rich"):
        monkeypatch.setattr(
            importlib.metadata,
            "version",
            lambda name, p=package: version(name) + ("+new" if name == p else ""),
        )
        for card in (egemaps, trained):
            counts = package in card.packages or (card.features is not None and package in FEATURE_PACKAGES)
            assert (key_of(card) != before[card.name]) == counts, (card.name, package)


def test_what_figures_tests_and_scores_rest_on_is_in_their_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    def hashes() -> tuple[str, str]:
        for cached in (figures_code, package_hash, closure_hash):
            cached.cache_clear()
        return figures_code(), hash_json([package_hash(p) for p in SCORING_PACKAGES])

    before = hashes()
    read = Path.read_bytes
    for edited, changed in {
        "statistics/categorical.py": (True, True),
        "statistics/intervals.py": (True, True),
        "scoring/human_reference.py": (True, True),
        "scoring/comparisons.py": (True, True),
        "tasks/folds.py": (False, True),
        "cards/labels.py": (False, True),
        "cli/app.py": (False, False),
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda p, e=ROOT / "bench" / edited: read(p) + (b"\n# edited\n" if p == e else b""))  # fmt: skip
            after = hashes()
        assert tuple(a != b for a, b in zip(after, before, strict=True)) == changed, edited
    hashes()
