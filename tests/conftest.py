"""Shared fixtures: a private cache, the synthetic corpus, the real corpora and weights where they are."""

from __future__ import annotations

import csv
import importlib
import os
import shutil
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from bench.execution.worker import quiet_single_thread
from tests.command import Command, command
from tests.scheduling import arrange, shares_a_fixture

quiet_single_thread()


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in this hook too
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where workers share the tests, what is set up together stays together, and long tests go first."""
    if hasattr(config, "workerinput"):
        items[:] = arrange(items, shares=shares_a_fixture)


def _first_folder(variable: str) -> Path:
    """Return the first folder of a path list; without it, skip, or fail where real data were promised."""
    value = os.environ.get(variable, "")
    folders = [Path(p).resolve() for p in value.split(os.pathsep) if p]
    if folders and folders[0].is_dir():
        return folders[0]
    reason = f"{variable} names no folder (found {value!r})"
    if os.environ.get("SERBENCH_REQUIRE_REAL"):
        pytest.fail(f"{reason}, and SERBENCH_REQUIRE_REAL asks for it")
    pytest.skip(reason)


PLUGIN = Path(__file__).resolve().parent / "plugin_package"


_LOOKED_AT: dict[str, ModuleType] = {}


def _forget(root: Path) -> None:
    """Forget modules that were imported from below a folder or from the plug-in of tests, and that they are looked for there.

    Each module is looked at once, when it is new: thousands are loaded, and this runs before every test.
    """
    folders = [f"{folder}{os.sep}" for r in (root, PLUGIN) for folder in {str(r), os.path.realpath(r)}]

    def theirs(path: str | None) -> bool:
        return bool(path) and any(f"{path}{os.sep}".startswith(f) for f in folders)

    for name, module in list(sys.modules.items()):
        if _LOOKED_AT.get(name) is module:
            continue
        if theirs(getattr(module, "__file__", None)):
            del sys.modules[name]
        else:
            _LOOKED_AT[name] = module
    sys.path[:] = [p for p in sys.path if not p or not theirs(p)]
    if kept := [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and not theirs(p)]:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    else:
        os.environ.pop("PYTHONPATH", None)
    importlib.invalidate_caches()


@pytest.fixture(autouse=True, scope="module")
def forgotten_modules(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What other files' tests imported from beside their cards is no module here."""
    _forget(tmp_path_factory.getbasetemp().resolve())


@pytest.fixture(autouse=True)
def forgotten_modules_of_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What another test imported from beside its cards is no module here."""
    _forget(tmp_path_factory.getbasetemp().resolve())


def require_folder(folder: Path) -> Path:
    """Return a folder beside the real corpora; without it, skip, or fail where real data were promised."""
    if not folder.is_dir():
        if os.environ.get("SERBENCH_REQUIRE_REAL"):
            pytest.fail(f"{folder} is not here, and SERBENCH_REQUIRE_REAL asks for it")
        pytest.skip(f"{folder} is not here")
    return folder


@pytest.fixture(scope="session")
def real_corpora() -> Path:
    """The folder that holds the prepared real corpora."""
    return _first_folder("SERBENCH_DATA")


@pytest.fixture(scope="session")
def real_data(real_corpora: Path) -> list[Path]:
    """Every folder of prepared real corpora, as a list of --data."""
    named = [Path(p).resolve() for p in os.environ["SERBENCH_DATA"].split(os.pathsep) if p]
    return [require_folder(folder) for folder in named]


@pytest.fixture(scope="session")
def real_corpus(real_data: list[Path]) -> Callable[[str], Path]:
    """Gives a prepared real corpus by its name."""

    def find(name: str) -> Path:
        return next((f / name for f in real_data if (f / name).is_dir()), None) or require_folder(
            real_data[0] / name
        )

    return find


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The folder that holds real pretrained weights, one sub-folder per model."""
    return _first_folder("SERBENCH_WEIGHTS")


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Small inputs like those of public bug reports, which lie beside the real corpora."""
    return require_folder(_first_folder("SERBENCH_DATA").parent / "cases")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, and no data folders from outside."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SERBENCH_CACHE", str(folder))
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    return folder


@pytest.fixture
def serbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path) -> Command:
    """``serbench`` in this process, with a cache of this test's own; returns how it ended (:class:`tests.command.Said`)."""
    return command(monkeypatch, capsys)


def write_tone_corpus(
    folder: Path,
    *,
    speakers: int = 6,
    labels: tuple[str, ...] = ("happy", "sad", "angry"),
    clips: int = 2,
    dimensions: bool = False,
    languages: tuple[str, ...] = ("ms",),
    seed: int = 0,
) -> Path:
    """Write a tiny prepared corpus of 0.4-s tones whose pitch tells the label, with a card beside them."""
    rng = np.random.default_rng(seed)
    time = np.arange(6400) / 16_000
    rows = []
    for s, (k, label), c in product(range(speakers), enumerate(labels), range(clips)):
        name = f"audio/s{s}-{label}-{c}.wav"
        tone = 0.3 * np.sin(2 * np.pi * (150 + 120 * k + 5 * s) * time) + 0.02 * rng.standard_normal(
            time.size
        )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, tone, 16_000)
        row = {
            "file_name": name,
            "speaker": f"0{s}",
            "emotion": label,
            "language": languages[s % len(languages)],
        }
        if dimensions:
            row |= {"valence": 1 + k, "arousal": 5 - k, "dominance": 3}
        rows.append(row)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    scale = "scale: [1, 5]\n" if dimensions else ""
    (folder / "card.yaml").write_text(
        f"name: {folder.name}\nlanguages: [{', '.join(languages)}]\n{scale}", encoding="utf-8"
    )
    return folder


def rewrite(folder: Path, **columns: object) -> None:
    """Set columns of ``metadata.csv``: a function of the row, or a value for all."""
    path = folder / "metadata.csv"
    with path.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row |= {k: str(v(row) if callable(v) else v) for k, v in columns.items()}
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def tone_corpus(tmp_path: Path) -> Path:
    """A tiny prepared corpus called ``tones``."""
    return write_tone_corpus(tmp_path / "data" / "tones")


_SMALL_MATRIX = """
name: small
synthetic: never
entries:
  - {systems: [majority, chance], seeds: [0, 1]}
plan: {resamples: 1000, permutations: 1000}
"""


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two systems on a tiny corpus with categories and dimensions; do not change it."""
    from bench.execution.driver import run_matrix
    from bench.execution.prepared_run import RunSettings
    from bench.execution.progress import Reporter

    folder = tmp_path_factory.mktemp("finished")
    write_tone_corpus(folder / "data" / "tones", speakers=7, dimensions=True)
    (folder / "small.yaml").write_text(_SMALL_MATRIX)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERBENCH_CACHE", str(folder / "cache"))
        patch.delenv("SERBENCH_DATA", raising=False)
        settings = RunSettings(
            str(folder / "small.yaml"), data=(folder / "data",), out=folder / "run", workers=1
        )
        assert run_matrix(settings, Reporter()).failed == ()
    return folder


@pytest.fixture
def run(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run that a test may damage; its corpus lies where the run noted it."""
    shutil.copytree(finished_run / "run", tmp_path / "run")
    monkeypatch.setenv("SERBENCH_CACHE", str(finished_run / "cache"))
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    return tmp_path / "run"
