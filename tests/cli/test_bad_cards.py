"""One bad card is one warning: whatever else there is can still be listed, diagnosed and run."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cards import registry
from tests.cli.test_bad_input import MATRIX
from tests.command import Command
from tests.conftest import write_tone_corpus

BAD = {
    "unknown key": "name: broken\nfamily: trained\ntrack: adapted\nadaptor: a.b:C\n",
    "no YAML": "name: [broken\n",
    "empty": "",
    "a list": "- broken\n",
    "another name": "name: other\nfamily: reference\ntrack: reference\nadapter: a.b:C\n",
    "not UTF-8": "name: brökén\n",
    "wrong kinds": "name: broken\nfamily: 3\ntrack: []\nadapter:\n",
}


def forget() -> None:
    for kept in (registry._shipped, registry._cards_of, registry._corpus_cards):
        kept.cache_clear()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of cards of an installed package that ships a good one, beside the suite's own."""
    cards = tmp_path / "site/strangers_adapters/systems"
    cards.mkdir(parents=True)
    (cards.parent / "__init__.py").write_text("")
    (cards / "good.yaml").write_text(
        "name: good\nfamily: reference\ntrack: reference\nadapter: adapters.baselines:Majority\n"
    )
    info = tmp_path / "site/strangers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[serbench.adapters]\nstrangers = strangers_adapters\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    forget()
    yield cards
    forget()


def write(path: Path, kind: str) -> None:
    path.write_bytes(BAD[kind].encode("latin-1" if kind == "not UTF-8" else "utf-8"))


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_system_card_is_one_warning(serbench: Command, plugin: Path, kind: str) -> None:
    write(plugin / "broken.yaml", kind)
    listed = serbench("list", "systems", "--json")
    assert listed.code == 0
    names = {s["name"] for s in listed.json}
    assert {"good", "majority", "whisper-base-superb"} <= names
    assert all(
        str(plugin / "broken.yaml") in line for line in listed.err.splitlines() if line.startswith("warning")
    )
    assert listed.err.count("warning: ") == 1
    asked = serbench("check", "broken")
    assert str(plugin / "broken.yaml") in asked.sentence


def test_a_bad_system_card_hides_no_other_whose_name_begins_alike(serbench: Command, plugin: Path) -> None:
    write(plugin / "whisper.yaml", "no YAML")
    forget()
    assert registry.load_system("whisper-base-superb").name == "whisper-base-superb"
    write(plugin / "majority.yaml", "no YAML")
    forget()
    listed = serbench("list", "systems", "--json")
    assert "majority" in {s["name"] for s in listed.json}
    assert "two files for 'majority' in systems" in listed.err


def test_a_package_that_is_gone_is_one_warning(serbench: Command, plugin: Path) -> None:
    shutil.rmtree(plugin.parent)
    listed = serbench("list", "systems", "--json")
    assert listed.code == 0
    assert "names no installed module: reinstall its package" in listed.err
    assert "majority" in {s["name"] for s in listed.json}


def test_a_run_and_a_doctor_go_on_beside_a_bad_system_card(
    serbench: Command, plugin: Path, tone_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.cli import doctor_checks
    from bench.cli.doctor_checks import ImportProbe

    write(plugin / "broken.yaml", "wrong kinds")
    matrix = tmp_path / "small.yaml"
    matrix.write_text(MATRIX.replace("[majority, chance]", '["majorit*", good]'))
    done = serbench("run", matrix, "--data", tone_corpus, "--out", tmp_path / "run", "--workers", "1")
    assert done.code == 0, done.err + done.out
    assert "broken.yaml" in done.out + done.err
    assert {s["system"] for s in serbench("score", tmp_path / "run", "--json").json} == {"majority", "good"}
    monkeypatch.setattr(doctor_checks, "torch_probe", lambda: ImportProbe("torch and torchaudio", "", ""))
    found = serbench("doctor", "--data", tone_corpus, "--json")
    assert found.code == 1
    wrong = [f for f in found.json if f["state"] == "wrong" and f["area"] == "systems"]
    assert [f["name"] for f in wrong] == ["system cards"]
    assert "family: 3 is not allowed" in wrong[0]["found"]


@pytest.fixture
def two_corpora(tmp_path: Path) -> Path:
    """A folder of two prepared corpora, ``good`` and ``broken``."""
    for name in ("good", "broken"):
        write_tone_corpus(tmp_path / "data" / name, speakers=5, clips=1)
    return tmp_path / "data"


@pytest.mark.parametrize("kind", ["unknown key", "no YAML", "empty", "wrong kinds", "not UTF-8"])
def test_a_bad_corpus_card_is_one_warning(serbench: Command, two_corpora: Path, kind: str) -> None:
    write(two_corpora / "broken/card.yaml", kind)
    listed = serbench("list", "corpora", "--data", two_corpora, "--json")
    assert listed.code == 0
    assert "good" in {x["name"] for x in listed.json}
    assert listed.err.count("warning: ") == 1
    assert str(two_corpora / "broken/card.yaml") in listed.err


def test_everything_else_goes_on_beside_a_bad_corpus_card(
    serbench: Command, two_corpora: Path, tmp_path: Path
) -> None:
    card = two_corpora / "broken/card.yaml"
    write(card, "wrong kinds")
    listed = serbench("list", "tasks", "--data", two_corpora, "--json")
    assert (listed.code, listed.err.count("warning: "), str(card) in listed.err) == (0, 1, True)
    assert "good.ms" in {x["name"] for x in listed.json}
    assert serbench("corpus", "describe", "good", "--data", two_corpora).code == 0
    assert str(card) in serbench("corpus", "describe", "broken", "--data", two_corpora).sentence
    matrix = tmp_path / "small.yaml"
    matrix.write_text(MATRIX)
    done = serbench("run", matrix, "--data", two_corpora, "--dry-run")
    assert done.code == 0
    assert "broken is left out" in done.out
    assert str(card) in serbench("run", matrix, "--data", two_corpora / "broken", "--dry-run").sentence


def test_a_corpus_whose_table_cannot_be_read_is_one_warning(
    serbench: Command, two_corpora: Path, tmp_path: Path
) -> None:
    data = two_corpora
    (data / "broken/metadata.csv").write_text("nothing\n")
    listed = serbench("list", "tasks", "--data", data, "--json")
    assert listed.code == 0
    assert "has no column 'file_name'" in listed.err
    assert {"good.ms", "broken.ms"} <= {t["name"] for t in listed.json}
    matrix = tmp_path / "small.yaml"
    matrix.write_text(MATRIX)
    done = serbench("run", matrix, "--data", data, "--dry-run")
    assert done.code == 0
    assert "left out" in done.out
    assert (
        "has no column 'file_name'"
        in serbench("run", matrix, "--data", data / "broken", "--dry-run").sentence
    )


def test_a_shipped_corpus_card_or_matrix_that_is_broken_is_one_warning(
    serbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks

    own = shutil.copytree(Path(tasks.__file__).parent, tmp_path / "tasks")
    monkeypatch.setattr("bench.cards.registry.files", lambda name: own)
    forget()
    (own / "corpora/emodb.yaml").write_text("name: emodb\nlanguage: de\n")
    (own / "matrices/quick.yaml").write_text("name: quick\nentries: 3\n")
    try:
        listed = serbench("list", "tasks", "--json")
        assert listed.code == 0
        assert "iemocap.en" in {t["name"] for t in listed.json}
        assert (
            "tasks/corpora/emodb.yaml, line 2: unknown key 'language'; did you mean 'languages'?"
            in listed.err
        )
        listed = serbench("list", "matrices", "--json")
        assert listed.code == 0
        assert "quick.yaml, line 2: entries: expected a list, found 3" in listed.err
        assert listed.json
    finally:
        forget()


def test_a_run_that_cannot_be_read_is_one_warning(
    serbench: Command, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_run / "run", tmp_path / "runs/good")
    for i, text in enumerate(["", "[]", "{}", '{"matrix": 3}']):
        (tmp_path / f"runs/bad{i}").mkdir()
        (tmp_path / f"runs/bad{i}/matrix.json").write_text(text)
    listed = serbench("list", "runs", "--json")
    assert listed.code == 0
    assert [r["run"] for r in listed.json] == ["runs/good"]
    assert listed.err.count("warning: runs/bad") == 4


def foreign(folder: Path, name: str, *, module: bool = False) -> Path:
    """Somebody else's package of that name."""
    file = folder / (f"{name}.py" if module else f"{name}/__init__.py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    return file


@pytest.mark.parametrize("module", [False, True])
@pytest.mark.parametrize("name", ["adapters", "reports", "tasks"])
@pytest.mark.parametrize("words", [["list", "systems"], ["list", "tasks"], ["score", "nowhere"], ["import"]])
def test_a_foreign_package_in_our_place_is_named_at_the_start_of_every_command(
    serbench: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    module: bool,
    words: list[str],
) -> None:
    file = foreign(tmp_path / "other", name, module=module)
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    done = serbench(*words)
    assert done.code == 1
    assert f"error: Python finds the package {name!r} in {file}" in done.sentence


@pytest.mark.parametrize("name", ["adapters", "bench", "reports", "tasks"])
def test_a_foreign_package_behind_ours_is_named_and_the_command_goes_on(
    serbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file = foreign(tmp_path / "other", name)
    monkeypatch.setattr(
        sys, "path", [str(Path(__file__).resolve().parents[2]), *sys.path, str(tmp_path / "other")]
    )
    done = serbench("list", "systems", "--json")
    assert done.code == 0
    assert f"warning: another package {name!r} lies in {file}" in done.err
    assert "majority" in {s["name"] for s in done.json}


def test_the_distribution_of_a_foreign_package_is_named(
    serbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign(tmp_path / "other", "adapters")
    info = tmp_path / "other/adapters-1.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: adapters\nVersion: 1.2.0\n")
    (info / "top_level.txt").write_text("adapters\n")
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    said = serbench("list", "systems").sentence
    assert "(of the distribution adapters)" in said
    assert "pip uninstall -y adapters" in said
    assert serbench("--version").code == 0


def test_files_that_another_package_overwrote_are_seen(
    serbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overwritten = foreign(tmp_path, "adapters")
    files = importlib.metadata.PackagePath("adapters/__init__.py")
    files.hash = importlib.metadata.FileHash("sha256=AAAA")
    files.dist = type("At", (), {"locate_file": lambda self, path: overwritten})()  # type: ignore[assignment]
    dist = type("Dist", (), {"files": [files]})()
    monkeypatch.setattr("bench.cli.own_packages.importlib.metadata.distribution", lambda name: dist)
    assert "Python finds the package 'adapters'" in serbench("list", "systems").sentence


def test_a_folder_of_ones_own_called_tasks_is_no_package(
    serbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other/tasks").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    done = serbench("list", "matrices")
    assert (done.code, done.err) == (0, "")
