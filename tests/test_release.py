"""A stranger can license, cite, contribute and release; what nobody has decided yet stands behind one placeholder."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bench.version import __version__
from tests.command import command
from tests.release_check import PLACEHOLDER, ROOT, WANTED, faults


def test_everything_but_the_owners_name_is_ready_for_a_release() -> None:
    found = [f for f in faults() if PLACEHOLDER not in f]
    assert found == []


def test_the_check_fails_while_the_placeholder_stands() -> None:
    open_ = [f for f in faults() if PLACEHOLDER in f]
    assert any(f.startswith("pyproject.toml") for f in open_)
    assert any(f.startswith("SECURITY.md") for f in open_)


def test_the_check_names_a_missing_file_another_version_and_another_tag(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace(__version__, "9.9.9"), encoding="utf-8")
    found = faults(tmp_path, "v1.0.0")
    assert {f"{n}: missing" for n in WANTED if n != "CITATION.cff" and n != "CHANGELOG.md"} <= set(found)
    assert f"pyproject.toml: says version 9.9.9, bench/version.py {__version__}" in found
    assert f"CHANGELOG.md: says nothing of {__version__}" in found
    assert f"the tag v1.0.0 is not v{__version__}" in found


def test_workflows_are_yaml_with_read_only_tokens_and_a_deadline() -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert {w.stem for w in workflows} >= {"board", "tests", "release"}
    for path in workflows:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert read["permissions"] == {"contents": "read"}, path.name
        assert all("timeout-minutes" in job for job in read["jobs"].values()), path.name
        assert "{{ secrets" not in path.read_text(encoding="utf-8"), path.name


def test_code_and_results_have_licences_that_the_metadata_names() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")[:200]
    assert "CC-BY-4.0" in (ROOT / "results" / "LICENSE").read_text(encoding="utf-8")
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "Apache-2.0" in readme
    assert "CC-BY-4.0" in readme


def test_the_version_is_one_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serbench = command(monkeypatch, capsys)
    assert serbench("--version").out.startswith(__version__)
