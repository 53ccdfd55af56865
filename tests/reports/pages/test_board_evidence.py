"""What rests on more than the board: claims, studies and the history of cells, on its pages and in its commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli.app import app
from bench.leaderboard import Board
from tests.forging import EARLIER, NOT_OF_A_PART

PUBLISHED = Path(__file__).resolve().parents[3] / "results"
TASK = "nemo-subset.pl"
KEPT = {
    "quick": ("meralion-ser-small", "whisper-tiny.en-superb"),
    "studies/probes": ("whisper-tiny.en-linear", "whisper-tiny.en-superb"),
}


@pytest.fixture
def results(tmp_path: Path, cache: Path) -> Path:
    """One task of the board with a study of it, and the project's own questions."""
    root = tmp_path / "results"
    for name, systems in KEPT.items():
        folder = root / name
        shutil.copytree(PUBLISHED / (EARLIER if name == "quick" else name), folder, ignore=NOT_OF_A_PART)
        for path in (folder / "records").iterdir():
            if not any(path.name.startswith(f"{s}__{TASK}__within") for s in systems):
                path.unlink()
    shutil.copyfile(PUBLISHED / "claims.yaml", root / "claims.yaml")
    (root / "board.yaml").write_text("competing: statistics\n")
    Board(root).publications()[0].seal()
    return root


def said(*words: str) -> tuple[int, str, str]:
    """Run a command; its exit code, output and errors."""
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.stdout, done.stderr + str(done.exception or "")


def test_the_board_shows_what_studies_hold_against_it(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    code, _, errors = said("leaderboard", "build", "--results", str(results), "-o", str(out))
    assert code == 0, errors
    index = (out / "index.html").read_text()
    assert 'href="studies.html"' in index
    assert "whisper-tiny.en-linear beats meralion-ser-small by 7.7 points of UA" in index
    studies = (out / "studies.html").read_text()
    assert "studies/probes" in studies
    assert "whisper-tiny.en-linear" in studies
    assert studies.count("2 of 16") == 1, "how much of its plan is there is said once"
    assert "2 of 16 published, 14 not published" in studies
    assert "When the plan was made was not logged" in studies
    assert '<th scope="col">CCC</th>' not in studies, "nobody rated valence here: no empty column"
    for page in (f"task-{TASK}.html", "system-whisper-tiny.en-superb.html"):
        text = (out / page).read_text()
        assert "Earlier and other values" in text
        assert "46.6" in text
        assert "46.2" in text
    assert "whisper-tiny.en-linear" not in (out / f"task-{TASK}.html").read_text(), (
        "studies are not on the board"
    )


def test_a_study_that_was_touched_stops_the_board(results: Path, tmp_path: Path) -> None:
    path = results / "studies/probes/records" / f"whisper-tiny.en-linear__{TASK}__within__clean.json"
    facts = json.loads(path.read_text())
    facts["scores"][0]["estimate"] = 0.1
    path.write_text(json.dumps(facts))
    code, listed, _ = said("leaderboard", "validate", "--results", str(results), "--json")
    assert code == 1
    (problem,) = json.loads(listed)["problems"]
    assert problem["publication"] == "studies/probes"
    assert "was changed after it was written" in problem["sentence"]
    code, _, errors = said("leaderboard", "build", "--results", str(results), "-o", str(tmp_path / "site"))
    assert code == 1
    assert "was changed after it was written" in errors


def test_the_history_of_a_cell_is_listed(results: Path) -> None:
    words = ("leaderboard", "history", "whisper-tiny.en-superb", TASK, "--results", str(results))
    code, listed, _ = said(*words, "--json")
    assert code == 0
    (history,) = json.loads(listed)
    assert [v["publication"] for v in history["versions"]] == ["quick", "studies/probes"]
    assert history["values"] == 2
    code, shown, _ = said(*words)
    assert code == 0
    assert "within, clean: 2 versions, 2 values" in shown
    code, _, errors = said("leaderboard", "history", "whisper-tiny", TASK, "--results", str(results))
    assert code != 0
    assert "no published record of the system 'whisper-tiny'" in errors


def test_claims_without_questions_say_what_is_missing(results: Path) -> None:
    (results / "claims.yaml").unlink()
    code, _, errors = said("claims", "--results", str(results))
    assert code != 0
    assert "claims.yaml: missing; it says which systems are proposed" in errors


def test_a_record_of_a_study_can_be_taken_back_too(results: Path) -> None:
    stem = f"whisper-tiny.en-linear__{TASK}__within__clean"
    words = ("leaderboard", "retract", f"studies/probes/{stem}", "--why", "a test", "--results", str(results))
    code, _, errors = said(*words)
    assert code == 0, errors
    assert json.loads((results / "studies/probes/retracted.json").read_text()) == {stem: "a test"}
    code, _, errors = said("leaderboard", "retract", stem, "--why", "a test", "--results", str(results))
    assert code != 0, "without its path a record is looked for on the board alone"
    code, listed, _ = said("claims", "--results", str(results), "--json")
    assert code == 0
    assert "whisper-tiny.en-linear" not in listed


def test_why_records_of_a_study_were_taken_back_is_not_repeated_in_their_rows(
    results: Path, tmp_path: Path
) -> None:
    folder, out = results / "studies/probes", tmp_path / "site"
    stems = sorted(path.stem for path in (folder / "records").glob("*.json"))
    (folder / "retracted.json").write_text(json.dumps(dict.fromkeys(stems, "made by a wrong table")))
    code, _, errors = said("leaderboard", "build", "--results", str(results), "-o", str(out))
    assert code == 0, errors
    page = (out / "studies.html").read_text()
    assert "made by a wrong table" in page
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    assert table.count(">retracted</span>") == len(stems) == 2
    assert "made by a wrong table" not in table
