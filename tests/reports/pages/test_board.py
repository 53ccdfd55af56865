"""The board that visitors see: what stands there, what was taken back, what others reported, and nothing that runs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli.app import app
from bench.execution.imports import import_table
from bench.leaderboard import Board, retract, validate
from bench.leaderboard.cache import ComparisonCache
from bench.leaderboard.reported_figures import reported_sources
from bench.scoring.comparisons import run_family
from reports.data.comparisons import compare_systems
from reports.pages import overview
from reports.pages.board import published_run, write_board
from reports.pages.report import write_report
from tests.forging import EARLIER, NOT_OF_A_PART

PUBLISHED = Path(__file__).resolve().parents[3] / "results"
SCRIPT = "<script>alert('owned')</script>"


def rows_of(site: Path) -> dict[str, list[list[object]]]:
    """What the script file of a first page holds."""
    return dict(json.loads((site / "rows.js").read_text().partition("=")[2].rstrip(";\n")))


@pytest.fixture
def board(tmp_path: Path, cache: Path) -> Board:
    """Two tasks of what this project published, on a board of their own."""
    root = tmp_path / "results"
    shutil.copytree(PUBLISHED / EARLIER, root / "quick", ignore=NOT_OF_A_PART)
    for path in (root / "quick/records").iterdir():
        if not any(f"__{task}__" in path.name for task in ("indowave.id", "nemo-subset.pl")):
            path.unlink()
    (root / "board.yaml").write_text("competing: statistics\n")
    board = Board(root)
    board.publications()[0].seal()
    return board


def test_the_board_shows_records_badges_reported_figures_and_downloads(board: Board, tmp_path: Path) -> None:
    retract(board, "egemaps-linear__indowave.id__within__clean", f"wrong labels {SCRIPT}")
    out = tmp_path / "site"
    write_board(validate(board), board, out, run_family)
    page = (out / "published.html").read_text()
    assert SCRIPT not in page
    assert "wrong labels &lt;script&gt;" in page
    assert "every score follows from the additive statistics" in page
    assert "condition clean" in page, "what all records have alike is said once"
    assert '<th scope="col">condition</th>' not in page
    assert '<th scope="col">remark</th>' in page
    for source in reported_sources():
        assert source.address in page
    for name in ("scores.csv", "ranks.parquet", "tables.tex", "corpora.bib", "model-index/egemaps-svm.yaml"):
        assert f'href="exports/{name}"' in page
        assert (out / "exports" / name).is_file()
    assert "Content-Security-Policy" in page
    assert all(
        "this run’s" not in p.read_text() and "this run&#39;s" not in p.read_text()
        for p in out.glob("*.html")
    ), "a board is no run"
    index = (out / "index.html").read_text()
    assert 'href="published.html"' in index
    assert "egemaps-linear" not in (out / "task-indowave.id.html").read_text(), (
        "retracted records do not compete"
    )
    assert "egemaps-linear" in (out / "task-nemo-subset.pl.html").read_text()


def test_reported_figures_never_enter_a_ranking(board: Board, tmp_path: Path) -> None:
    out = tmp_path / "site"
    write_board(validate(board), board, out, run_family)
    for page in out.glob("*.html"):
        if page.name not in (
            "published.html",
            "catalogue.html",
        ):  # the catalogue names systems, and has no figure
            assert "wavlm-large" not in page.read_text()
    assert "wavlm-large" not in (out / "rows.js").read_text()
    scores = json.loads((out / "exports/scores.json").read_text())
    assert not any("wavlm" in row["system"] for row in scores)


def test_reported_figures_are_few_and_cited() -> None:
    sources = reported_sources()
    assert {s.name for s in sources} == {"emobox", "meralion-ser"}
    for source in sources:
        assert source.citation
        assert source.remarks
        assert len(source.figures) <= 30
        assert all(f.split for f in source.figures)


def test_comparisons_are_remembered_by_content(board: Board, tmp_path: Path) -> None:
    records = published_run(validate(board), board.rules).records
    first = ComparisonCache(tmp_path / "memory")
    plain, tested = compare_systems(records), compare_systems(records, first)
    assert first.tested > 0
    again = ComparisonCache(tmp_path / "memory")
    remembered = compare_systems(records, again)
    assert (again.tested, again.remembered) == (0, first.tested)
    assert [c.pairings for c in remembered] == [c.pairings for c in tested] == [c.pairings for c in plain]
    fewer = ComparisonCache(tmp_path / "memory")
    compare_systems([r for r in records if r.system != "egemaps-svm"], fewer)
    assert fewer.tested > 0, "a family that lacks a member is another family"
    for path in (tmp_path / "memory").iterdir():
        path.write_text("{")
    damaged = ComparisonCache(tmp_path / "memory")
    assert [c.pairings for c in compare_systems(records, damaged)] == [c.pairings for c in plain]
    assert damaged.remembered == 0


def test_pages_are_remembered_and_made_anew_when_their_records_change(board: Board, tmp_path: Path) -> None:
    def build(pages: Path | None, out: str) -> dict[str, str]:
        write_board(validate(board), board, tmp_path / out, run_family, pages)
        return {p.name: p.read_text() for p in sorted((tmp_path / out).glob("*.html"))}

    memory = tmp_path / "pages"
    plain = build(None, "a")
    assert build(memory, "b") == plain
    made = len(list(memory.iterdir()))
    assert made == len(plain) - 1, "all but what stands here and the catalogue; the first page is two files"
    assert build(memory, "b") == plain
    assert len(list(memory.iterdir())) == made
    retract(board, "egemaps-svm__indowave.id__within__clean", "a test")
    assert build(memory, "c") == build(None, "d") != plain
    untouched = [n for n in plain if n.startswith("task-nemo")]
    assert len(list(memory.iterdir())) < 2 * made, f"{untouched} did not have to be made again"


def test_exports_lie_until_their_records_change_or_somebody_touches_them(
    board: Board, tmp_path: Path
) -> None:
    def build() -> dict[str, bytes]:
        write_board(validate(board), board, tmp_path / "site", run_family, tmp_path / "memory" / "pages")
        exports = sorted(p for p in (tmp_path / "site" / "exports").rglob("*") if p.is_file())
        return {p.name: p.read_bytes() for p in exports}

    first = build()
    scores = tmp_path / "site" / "exports" / "scores.csv"
    written = scores.stat().st_mtime_ns
    assert build() == first
    assert scores.stat().st_mtime_ns == written
    scores.write_text("system,estimate\nmine,1.0\n")
    assert build() == first
    (scores.parent / "tables.tex").unlink()
    assert build() == first
    retract(board, "egemaps-svm__indowave.id__within__clean", "a test")
    assert build()["scores.csv"] != first["scores.csv"]


def test_the_first_page_of_a_big_board_carries_the_first_systems_and_its_script_file_all(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = validate(board)
    write_board(found, board, tmp_path / "whole", run_family)
    monkeypatch.setattr(overview, "ROWS", 3)
    write_board(found, board, tmp_path / "cut", run_family)
    whole, cut = ((tmp_path / name / "index.html").read_text() for name in ("whole", "cut"))
    assert "further system" not in whole
    rows = [re.findall(r'<tr data-system="([^"]+)"', html) for html in (whole, cut)]
    assert rows[1] == rows[0][:3]
    assert f"{len(rows[0]) - 3} further systems: on the task pages" in cut
    assert len(cut) < len(whole)
    data = [(tmp_path / name / "rows.js").read_text() for name in ("whole", "cut")]
    assert data[0] == data[1]
    assert [s[0] for s in rows_of(tmp_path / "cut")["systems"]] == rows[0]
    pages = [(tmp_path / name / "task-indowave.id.html").read_text() for name in ("whole", "cut")]
    assert pages[0] == pages[1], "the task's page keeps them all"


def test_nothing_is_built_from_what_is_refused(board: Board, tmp_path: Path) -> None:
    path = board.root / "quick/records/majority__indowave.id__within__clean.json"
    path.write_text(path.read_text().replace('"publishable": true', '"publishable": false'))
    done = CliRunner().invoke(
        app, ["leaderboard", "build", "--results", str(board.root), "-o", str(tmp_path / "site")]
    )
    assert done.exit_code == 1
    assert "changed by hand" in str(done.exception)
    assert not (tmp_path / "site").exists()


def test_the_commands_speak_json(board: Board, tmp_path: Path) -> None:
    def run_command(*words: str) -> dict[str, object]:
        done = CliRunner().invoke(app, ["leaderboard", *words, "--results", str(board.root), "--json"])
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.output))

    checked = run_command("validate")
    assert checked["problems"] == []
    stem = "majority__indowave.id__within__clean"
    assert run_command("retract", f"quick/{stem}", "--why", "a test")["retracted"] == {stem: "a test"}
    built = run_command("build", "-o", str(tmp_path / "site"))
    assert built["retracted"] == 1
    assert run_command("build", "-o", str(tmp_path / "site"))["families_tested"] == 0


def test_a_report_exports_its_scores(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["report", str(run), "-o", str(tmp_path / "r"), "--export", str(tmp_path / "e")]
    )
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "e").iterdir()} == {"scores.csv", "scores.json", "scores.parquet", "tables.tex", "pairs.csv", "pairs.parquet", "pairs.tex", "ranks.csv", "ranks.parquet", "corpora.bib", "model-index"}  # fmt: skip
    page = (tmp_path / "r/index.html").read_text()
    for name in ("pairs.csv", "pairs.parquet", "ranks.csv", "ranks.parquet"):
        assert f'href="exports/{name}"' in page
        assert (tmp_path / "r/exports" / name).is_file()


def test_an_imported_system_is_marked_wherever_it_stands_on_a_board(
    run: Path, finished_run: Path, tmp_path: Path
) -> None:
    with (finished_run / "data/tones/metadata.csv").open() as stream:
        lines = [f"{row['file_name']},{row['emotion']}" for row in csv.DictReader(stream)]
    (tmp_path / "said.csv").write_text("\n".join(["clip_id,label", *lines]))
    (tmp_path / "card.yaml").write_text("name: elsewhere\nfamily: audio-llm\ntrack: released\n")
    import_table(run, tmp_path / "said.csv", tmp_path / "card.yaml")
    out = write_report(run, tmp_path / "site").parent
    page = (out / "task-tones.ms.html").read_text()
    row = page[page.index('href="system-elsewhere.html"') :]
    assert '<span class="tag">imported</span>' in row[: row.index("</th>")]
    rows = re.findall(r'<tr data-system="([^"]+)">(.*?)</tr>', (out / "index.html").read_text(), re.DOTALL)
    assert [name for name, row in rows if '<span class="tag">imported</span>' in row] == ["elsewhere"]
    assert [s[0] for s in rows_of(out)["systems"] if s[8]] == ["elsewhere"]
    assert "imported" in (out / "system-elsewhere.html").read_text()
