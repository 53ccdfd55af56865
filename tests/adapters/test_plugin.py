"""A package of somebody else's adds a system: installed, listed, checked, run, without a line changed here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cards.registry import load_system
from bench.execution.contract import check_system
from bench.execution.planning.systems import resolve_system
from tests.conftest import write_tone_corpus

PACKAGE = Path(__file__).parent.parent / "plugin_package"
MATRIX = """\
name: theirs
entries:
  - systems: [zero-crossings, majority]
plan: {resamples: 1000, permutations: 1000}
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder the plug-in is installed in, by pip, as its user would."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", folder / "site", folder / "source"],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder / "site"


def serbench(plugin: Path | None, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a fresh process, with the plug-in on the path or without it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SERBENCH_")}
    environment |= {"SERBENCH_CACHE": str(folder / "cache")}
    environment |= {"PYTHONPATH": str(plugin)} if plugin else {}
    return subprocess.run(
        [sys.executable, "-m", "bench.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_installed_package_adds_its_system_to_the_list(plugin: Path, tmp_path: Path) -> None:
    def listed(where: Path | None) -> set[str]:
        done = serbench(where, tmp_path, "list", "systems", "--json")
        assert done.returncode == 0, done.stderr
        return {row["name"] for row in json.loads(done.stdout)}

    assert listed(plugin) - listed(None) == {"zero-crossings", "filtered-linear"}


def test_its_system_runs_beside_ours_and_wins_on_tones(plugin: Path, tmp_path: Path) -> None:
    write_tone_corpus(tmp_path / "data" / "tones")
    (tmp_path / "theirs.yaml").write_text(MATRIX)
    done = serbench(
        plugin, tmp_path, "run", "theirs.yaml", "--data", "data", "--out", "run", "--workers", "1"
    )
    assert done.returncode == 0, done.stderr
    scored = serbench(plugin, tmp_path, "score", "run", "--json")
    ua = {
        s["system"]: s["estimate"]
        for s in json.loads(scored.stdout)
        if s["metric"] == "ua" and s["view"] == "native" and s["rows"] == "all"
    }
    # The pitch of the tones tells the label: crossings find it nearly always, the majority class on one in three.
    assert ua["zero-crossings"] > 0.9
    assert ua["majority"] == pytest.approx(1 / 3)


def test_its_system_passes_the_contract_test(plugin: Path, tmp_path: Path) -> None:
    done = serbench(plugin, tmp_path, "check", "zero-crossings", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["passed"] is True


def test_weights_inside_its_wheel_are_part_of_its_keys(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resemblyzer's ``pretrained.pt`` could be overwritten, and nothing that was stored from it changed its key."""
    package = plugin / "crossings_plugin"
    monkeypatch.syspath_prepend(str(plugin))

    def keys() -> tuple[str, str | None]:
        system = resolve_system(load_system(str(package / "systems/filtered-linear.yaml")))
        assert system.blocked is None
        assert system.weights is not None
        assert system.weights.file == package / "filters" / "weights.txt"
        return system.identity, system.feature_key

    before, first = keys(), (package / "filters/weights.txt").read_text()
    assert keys() == before
    (package / "filters/weights.txt").write_text("0.5 0.5 0.5\n")
    changed = keys()
    assert changed[0] != before[0]
    assert changed[1] != before[1]
    (package / "filters/weights.txt").write_text(first)
    assert keys() == before, "the content counts, not when it was written"
    report = check_system(load_system(str(package / "systems/filtered-linear.yaml")))
    assert [(c.name, c.seen) for c in report.checks if not c.passed] == []


def test_an_uninstalled_plugin_is_an_unknown_system(tmp_path: Path) -> None:
    done = serbench(None, tmp_path, "check", "zero-crossings")
    assert done.returncode == 2
    assert "unknown system 'zero-crossings'" in done.stderr
    assert "Traceback" not in done.stderr
