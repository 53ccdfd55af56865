"""Ways to make a board say that all of a plan was done when it was not. Each ends in the truth."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError
from bench.leaderboard import Board, add_run, validate
from bench.leaderboard.outcomes import GONE
from bench.scoring.comparisons import run_family
from bench.scoring.outcomes import outcome_words
from bench.scoring.plan_seen import UNLOGGED
from reports.pages.board import write_board
from tests.adversarial.planned import Runner, drop, edit, only, publishable, said, sentences


def test_all_of_it_is_all_of_it(run: Path, board: Board) -> None:
    add_run(run, board)
    assert said(board) == "2 of 2 published"
    assert (only(board).folder.plan_log.read_bytes()) == (run / "plan_log.json").read_bytes()


def test_records_deleted_before_they_are_published_are_counted(
    run: Path, board: Board, tmp_path: Path
) -> None:
    drop(run / "records", "chance")
    added = add_run(run, board)
    assert outcome_words(added.outcomes, "published") == "1 of 2 published, 1 not published"
    assert said(board) == "1 of 2 published, 1 not published"
    write_board(validate(board), board, tmp_path / "site", run_family)
    index = (tmp_path / "site/index.html").read_text()
    assert "1 of 2 published, 1 not published" in index
    assert "10 cells are done, no record was scored" in index, "the reason stands in the details"
    assert "Everything that was planned" not in index
    assert "chance" in (tmp_path / "site/system-chance.html").read_text()


def test_records_deleted_from_a_publication_that_is_sealed_again_are_counted(run: Path, board: Board) -> None:
    add_run(run, board)
    folder = only(board).folder
    drop(folder.records, "chance")
    assert any("was published and is gone" in s for s in sentences(board))
    only(board).seal()
    assert any("its record does not lie beside it" in s for s in sentences(board)), (
        "outcomes.json still says scored"
    )
    add_run(folder.root, board, "small")
    assert said(board) == "1 of 2 published, 1 not published"
    assert [o.reason for o in validate(board).outcomes if o.state != "scored"] == [GONE]


def test_a_list_of_planned_records_shortened_by_hand_does_not_shorten_the_plan(
    run: Path, board: Board
) -> None:
    add_run(run, board)
    publication = only(board)
    drop(publication.folder.records, "chance")
    described = json.loads(publication.folder.matrix.read_text())
    described["records"] = [s for s in described["records"] if not s.startswith("chance")]
    publication.folder.matrix.write_text(json.dumps(described))
    publication.outcomes_path.unlink()
    publication.seal()
    assert any("says nothing of chance__tones.ms__within__clean" in s for s in sentences(board))
    publication.folder.plan_log.unlink()
    for path in publication.record_paths():  # and even as if it were of the version before
        facts = json.loads(path.read_text())
        del facts["plan_seen"], facts["cells_code"]
        path.write_text(json.dumps({**facts, "schema": 2}))
    publication.seal()
    assert said(board) == "1 of 2 published, 1 not published"


def test_an_old_publication_tells_what_its_matrix_can_tell(run: Path, board: Board) -> None:
    add_run(run, board)
    publication = only(board)
    described = json.loads(publication.folder.matrix.read_text())
    described["blocked"] = {"chance": "needs a server"}
    publication.folder.matrix.write_text(json.dumps(described))
    drop(publication.folder.records, "chance")
    publication.outcomes_path.unlink()
    publication.folder.plan_log.unlink()
    (path,) = publication.record_paths()
    facts = json.loads(path.read_text())
    del facts["plan_seen"], facts["cells_code"]
    path.write_text(json.dumps({**facts, "schema": 2}))
    publication.seal()
    assert said(board) == "1 of 2 published, 1 blocked (chance: needs a server)"
    assert validate(board).records[0].as_json()["plan"] == UNLOGGED


NEVER = {
    "system": "chance",
    "task": "tones.ms",
    "protocol": "within",
    "condition": "clean",
    "reason": "no server",
}


def test_a_stale_list_of_outcomes_is_refused(run: Path, board: Board) -> None:
    add_run(run, board)
    path = only(board).outcomes_path
    for change, words in (
        ({"matrix_hash": "0" * 32}, "is of another matrix"),
        ({"records": "all of them"}, "records is not as this version writes it"),
        ({"records": []}, "is of another matrix"),
        ({"records": [{**NEVER, "state": "blocked"}]}, "is blocked, matrix.json beside it does not"),
    ):
        whole = path.read_text()
        path.write_text(json.dumps({**json.loads(whole), **change}))
        only(board).seal()
        assert any(words in s for s in sentences(board)), change
        path.write_text(whole)
    path.unlink()
    only(board).seal()
    assert any("missing, though a plan log was published" in s for s in sentences(board))


def test_systems_left_out_of_the_plan_after_the_results_stay_counted(runner: Runner, board: Board) -> None:
    runner.again(systems="[majority]")
    publishable(runner.folder.root)
    add_run(runner.folder.root, board)
    assert said(board) == "1 of 2 published, 1 not published"
    (missing,) = [o for o in validate(board).outcomes if o.state != "scored"]
    assert missing.reason == "planned at first, left out of the plan after 15 of 15 cells were computed"


def test_blocked_refused_and_failed_keep_their_reasons_without_this_machines_folders(
    run: Path, board: Board
) -> None:
    drop(run / "records", "chance")
    described = json.loads((run / "matrix.json").read_text())
    described["blocked"] = {"heard": "no weights in /home/ann/models/tiny"}
    described["refused"] = {"majority__odd.ms__within__clean": "2 speakers only"}
    described["records"] += ["heard__tones.ms__zero-shot__clean", "majority__odd.ms__within__clean"]
    (run / "matrix.json").write_text(json.dumps(described))
    (run / "plan_log.json").unlink()
    with sqlite3.connect(run / "journal.sqlite") as journal:
        journal.execute(
            "UPDATE cells SET state='failed', error='no /nowhere/secret/file here' WHERE system='chance'"
        )
    added = add_run(run, board)
    assert {(o.state, o.reason) for o in added.outcomes} == {
        ("scored", ""),
        ("blocked", "no weights in …/tiny"),
        ("refused", "2 speakers only"),
        ("failed", "10 of the 10 cells tried failed: no …/file here"),
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f["plan_seen"].update(changes=[]), "does not follow from the plan log"),
        (lambda f: f["plan_seen"].update(cells=0), "does not follow from the plan log"),
        (lambda f: f.pop("plan_seen"), "says nothing of when its plan was seen"),
        (lambda f: f.update(schema=2), "was changed by hand"),
        (lambda f: (f.update(schema=2), f.pop("plan_seen"), f.pop("cells_code")), "before the plan log"),
    ],
)
def test_a_record_that_hides_a_change_of_plan_is_refused(
    runner: Runner, board: Board, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    (board.root / "board.yaml").write_text("plan: {resamples: 1000, permutations: 1000, margin: 0.05}\n")
    runner.again(margin=0.05)
    publishable(runner.folder.root)
    add_run(runner.folder.root, board)
    assert {r.as_json()["plan"] for r in validate(board).records} == {runner.words()}
    path = only(board).record_paths()[0]
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    only(board).seal()
    assert any(words in s for s in sentences(board))


def test_a_run_whose_log_is_damaged_replaces_nothing_that_was_published(run: Path, board: Board) -> None:
    add_run(run, board)
    before = only(board).files()
    edit(run / "plan_log.json", lambda entries: entries[0].update(of=99))
    with pytest.raises(DataError, match="was changed after it was written"):
        add_run(run, board)
    assert only(board).files() == before
    assert sentences(board) == []


def test_a_log_left_behind_or_edited_is_missed(run: Path, board: Board) -> None:
    add_run(run, board)
    log = only(board).folder.plan_log
    whole = log.read_text()
    edit(log, lambda entries: entries[0].update(of=99))
    only(board).seal()
    assert any("was changed after it was written" in s for s in sentences(board))
    log.write_text(whole)
    log.unlink()
    only(board).seal()
    assert any("no plan log lies beside it" in s for s in sentences(board))
