"""Ways to make the suite say that a plan came first, or that all of it was done, when neither is so. Each ends in the truth."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.leaderboard import Board, Publication, add_run, validate
from bench.leaderboard.outcomes import GONE
from bench.leaderboard.registration import Registrations, register_plan
from bench.scoring.comparisons import run_family
from bench.scoring.outcomes import outcome_words
from bench.scoring.plan_log import PlanLogEntry, extend_plan_log, read_plan_log
from bench.scoring.plan_seen import ELSEWHERE, FIXED, UNLOGGED, fixed_before, plan_words
from bench.scoring.record_schema import ImportOrigin, RecordFacts
from bench.scoring.records import read_facts
from bench.storage.run_folder import RunFolder
from reports.pages.board import write_board
from reports.pages.report import write_report
from tests.command import command

MATRIX = (
    "name: small\nsynthetic: never\nentries:\n  - {{systems: {systems}, seeds: {seeds}}}\nplan: {{{plan}}}\n"
)
RESAMPLES = "resamples: 1000, permutations: 1000"


@dataclass(frozen=True)
class Runner:
    """A finished run of ``majority`` and ``chance`` that may be run again under another plan."""

    folder: RunFolder
    data: Path
    notes: list[str]

    def again(self, *, systems: str = "[majority, chance]", seeds: str = "[0, 1]", **plan: object) -> None:
        """Run again with another matrix."""
        asked = ", ".join([RESAMPLES, *(f"{k}: {v}" for k, v in plan.items())])
        path = self.folder.root.with_name("again.yaml")
        path.write_text(MATRIX.format(systems=systems, seeds=seeds, plan=asked))
        reporter = Reporter()
        reporter.note = self.notes.append  # type: ignore[method-assign]
        run_matrix(RunSettings(str(path), data=(self.data,), out=self.folder.root, workers=1), reporter)

    def replan(self, **plan: object) -> None:
        """Note another plan in the log, as a run would, and compute nothing."""
        (first,) = read_plan_log(self.folder.plan_log)
        matrix = {**first.matrix, "plan": {**first.matrix["plan"], **plan}}
        keys = {f"{i:016x}" for i in range(15)}
        extend_plan_log(self.folder, matrix, first.records, finished=keys, asked=keys)

    def facts(self, system: str = "majority") -> RecordFacts:
        """The record of a system."""
        (path,) = self.folder.records.glob(f"{system}__*.json")
        return read_facts(path)

    def words(self, system: str = "majority") -> str:
        """What its record says of its plan."""
        return plan_words(self.facts(system))

    @property
    def bytes(self) -> dict[str, bytes]:
        """All records."""
        return {p.name: p.read_bytes() for p in sorted(self.folder.records.iterdir())}


@pytest.fixture
def runner(run: Path, finished_run: Path) -> Runner:
    return Runner(RunFolder(run), finished_run / "data", [])


def test_a_run_under_one_plan_may_say_that_it_came_first(runner: Runner) -> None:
    (entry,) = read_plan_log(runner.folder.plan_log)
    assert (entry.cells, entry.of, entry.note, entry.changes) == (0, 15, "", ())
    assert runner.words() == FIXED
    before, log = runner.bytes, runner.folder.plan_log.read_bytes()
    runner.again()
    assert runner.bytes == before, "a second start under the same plan changes no record"
    assert runner.folder.plan_log.read_bytes() == log, "and adds nothing to the log"


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({"margin": 0.05}, "margin 0.02 -> 0.05"),
        ({"primary_view": "seven", "level": 0.9}, "primary_view native -> seven, level 0.95 -> 0.9"),
        ({"primary_metric": "wa"}, "primary_metric ua -> wa"),
        ({"across_tracks": "[[majority, chance]]"}, "across_tracks none -> majority against chance"),
    ],
)
def test_a_finished_run_judged_by_another_plan_says_so(
    runner: Runner, plan: dict[str, object], told: str
) -> None:
    runner.again(**plan)
    said = f"the analysis was changed after 15 of 15 cells were computed: {told}"
    assert runner.words() == said
    assert not fixed_before(runner.facts())
    assert any(said in note for note in runner.notes), "the user is told while it happens"


def test_going_back_to_the_first_plan_does_not_make_the_detour_unseen(runner: Runner) -> None:
    runner.again(margin=0.05)
    runner.again()
    assert runner.words() == (
        "the analysis was changed after 15 of 15 cells were computed: margin 0.02 -> 0.05, margin 0.05 -> 0.02"
    )
    assert runner.facts().plan_seen.cells == 0, "that plan was first seen before there was a cell"  # type: ignore[union-attr]


def test_a_rival_left_out_or_added_after_the_results_is_named(runner: Runner) -> None:
    runner.again(systems="[majority]")
    assert "systems left out: chance" in runner.words()
    runner.again()
    assert "systems added: chance" in runner.words()


def test_a_seed_chosen_after_the_results_is_named(runner: Runner) -> None:
    runner.again(seeds="[1]")
    assert "seeds of chance 0, 1 -> 1" in runner.words("chance")
    assert "seeds of chance 0, 1 -> 1" in runner.words("majority"), (
        "it was compared with the one whose seed was chosen"
    )


def test_a_log_taken_away_says_how_many_cells_existed(runner: Runner) -> None:
    runner.folder.plan_log.unlink()
    runner.again()
    (entry,) = read_plan_log(runner.folder.plan_log)
    assert entry.note == "not logged before; 15 cells existed"
    assert runner.words() == f"{UNLOGGED}: 15 cells existed when the run's log began"


def test_a_journal_taken_away_with_the_log_hides_no_cell(runner: Runner) -> None:
    runner.folder.plan_log.unlink()
    runner.folder.journal.unlink()
    runner.again()
    assert runner.words() == f"{UNLOGGED}: 15 cells existed when the run's log began"


def test_tables_and_journal_taken_away_leave_what_the_log_has_seen(runner: Runner) -> None:
    runner.again(margin=0.05)
    runner.folder.journal.unlink()
    shutil.rmtree(runner.folder.tables)
    runner.again(margin=0.04)
    assert runner.words().endswith(
        "after 15 of 15 cells were computed: margin 0.02 -> 0.05, margin 0.05 -> 0.04"
    )


def test_a_plan_changed_before_there_was_a_result_was_fixed_before_the_results(
    runner: Runner, finished_run: Path, tmp_path: Path
) -> None:
    fresh = Runner(RunFolder(tmp_path / "fresh"), finished_run / "data", [])
    matrix = read_plan_log(runner.folder.plan_log)[0].matrix
    other = {**matrix, "plan": {**matrix["plan"], "margin": 0.03}}
    extend_plan_log(fresh.folder, other, {}, finished=(), asked=())
    fresh.again()
    assert len(read_plan_log(fresh.folder.plan_log)) == 2
    assert fresh.words() == FIXED


def edit(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    stored = json.loads(path.read_text())
    change(stored["entries"])
    path.write_text(json.dumps(stored))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e[1].update(cells=0), "entry 2 was changed after it was written"),
        (lambda e: e[1]["matrix"]["plan"].update(margin=0.02), "entry 2 holds another matrix than its hashes name"),
        (lambda e: e.pop(0), "entry 1 does not follow the one before it"),
        (lambda e: e.reverse(), "does not follow the one before it"),
        (lambda e: e.clear(), "is no plan log of this version"),
        (lambda e: e[0].pop("records"), "records is not as a plan log has it"),
        (lambda e: e[0].update(time="yesterday"), "time is not as a plan log has it"),
        (lambda e: e[0].update(cells="many"), "cells is not as a plan log has it"),
    ],
)  # fmt: skip
def test_an_edited_log_is_found(
    runner: Runner, change: Callable[[list[dict[str, Any]]], object], said: str
) -> None:
    runner.replan(margin=0.05)
    edit(runner.folder.plan_log, change)
    with pytest.raises(DataError, match="restore the file as the run wrote it") as found:
        read_plan_log(runner.folder.plan_log)
    assert said in str(found.value)


def test_an_edited_log_stops_the_run_before_anything_is_written(runner: Runner) -> None:
    before = runner.bytes
    edit(runner.folder.plan_log, lambda entries: entries[0].update(of=16))
    with pytest.raises(DataError, match="entry 1 was changed after it was written"):
        runner.again(margin=0.05)
    assert runner.bytes == before


def rehash(entries: list[dict[str, Any]]) -> None:
    """All that a patient forger can do: give every entry the hash that it must have."""
    before = None
    for entry in entries:
        entry["previous"] = before
        entry["hash"] = before = PlanLogEntry.model_validate(entry).content_hash


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e[0].update(cells=15, of=20), None),
        (lambda e: e[0].update(cells=16, of=20), "fewer than the 16 before it"),
        (lambda e: e[0].update(time="2999-01-01T00:00:00Z"), "before the 2999-01-01T00:00:00Z of the one before it"),
        (lambda e: e[1].update(changes=[]), "tells other changes than those between its matrices"),
        (lambda e: e[1].update(of=3), "has 15 finished cells of 3"),
    ],
)  # fmt: skip
def test_a_log_with_mended_hashes_still_runs_forward(
    runner: Runner, change: Callable[[list[dict[str, Any]]], object], said: str | None
) -> None:
    runner.replan(margin=0.05)
    edit(runner.folder.plan_log, lambda entries: (change(entries), rehash(entries)))
    if said is None:
        assert len(read_plan_log(runner.folder.plan_log)) == 2
        return
    with pytest.raises(DataError, match=said):
        read_plan_log(runner.folder.plan_log)


RULES = "plan: {resamples: 1000, permutations: 1000}\n"


@pytest.fixture
def board(run: Path, tmp_path: Path) -> Board:
    """An empty board with rules that the small run keeps to."""
    made = Board(tmp_path / "results")
    made.root.mkdir()
    (made.root / "board.yaml").write_text(RULES)
    publishable(run)
    return made


def publishable(run: Path) -> None:
    """Tests also run on changed code, whose records could not be published."""
    for path in (run / "records").glob("*.json"):
        path.write_text(path.read_text().replace(".dirty", ""))


def sentences(board: Board) -> list[str]:
    return [p.sentence for p in validate(board).problems]


def said(board: Board) -> str:
    found = validate(board)
    assert found.problems == ()
    return outcome_words(found.outcomes, "published")


def only(board: Board) -> Publication:
    (publication,) = board.publications()
    return publication


def drop(folder: Path, system: str) -> None:
    """Make the records of a system disappear."""
    for path in folder.glob(f"{system}__*"):
        path.unlink()


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


def test_pages_say_fixed_only_where_the_log_shows_it(runner: Runner, tmp_path: Path) -> None:
    def page(out: str) -> str:
        return write_report(runner.folder.root, tmp_path / out).read_text()

    assert "was fixed before the results" in page("before")
    runner.again(margin=0.05)
    changed = page("after")
    assert "fixed before" not in changed
    assert "after 15 of 15 cells were computed: margin 0.02 -&gt; 0.05" in changed
    for path in runner.folder.records.glob("*.json"):
        facts = json.loads(path.read_text())
        del facts["plan_seen"], facts["cells_code"]
        path.write_text(json.dumps({**facts, "schema": 2}))
    old = page("old")
    assert "fixed before" not in old
    assert "hen the plan was made was not logged" in old


def test_predictions_made_elsewhere_never_came_after_the_plan(runner: Runner) -> None:
    facts = runner.facts()
    origin = ImportOrigin(table="t.csv", hash="0" * 32, rows=1)
    assert fixed_before(facts)
    assert plan_words(facts.model_copy(update={"imported": origin})) == ELSEWHERE


def git(folder: Path, *arguments: str) -> str:
    made = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(folder), *made, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return done.stdout.strip()


def commit(folder: Path, words: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", words)
    return git(folder, "rev-parse", "--short=10", "HEAD")


def claim(run: Path, scored: str, answered: str | None = None) -> None:
    """Make records say that code of these revisions scored them and answered their cells."""
    for path in (run / "records").glob("*.json"):
        facts = json.loads(path.read_text())
        facts |= {"code_version": f"0.3.0+g{scored}", "cells_code": [f"0.3.0+g{answered or scored}"]}
        path.write_text(json.dumps(facts))


def badges(run: Path, board: Board, *, tables: bool = False) -> set[tuple[bool, str]]:
    """What the board would say of the run's records, were they published now."""
    folder = RunFolder(run)
    looked_up = Registrations(board.root)
    at_hand = folder.tables if tables else folder.root / "not published"
    found = (looked_up.of(read_facts(p), at_hand) for p in folder.records.glob("*.json"))
    return {(f.shown, f.words) for f in found}


def test_a_plan_is_pre_registered_only_where_git_shows_it(
    run: Path, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook of another repository
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / ".gitignore").write_text("run/\nresults/small/\n")
    before = commit(tmp_path, "Code")
    claim(run, before)
    assert badges(run, board) == {(False, "")}, "nobody registered anything"
    matrix = json.loads((run / "matrix.json").read_text())["matrix"]
    path, new = register_plan(board.root, matrix)
    assert new
    ((shown, words),) = badges(run, board)
    assert not shown
    assert "was not yet committed" in words
    registered = commit(tmp_path, "Plan")
    ((shown, words),) = badges(run, board)
    assert not shown, "the code that scored is older than the plan"
    later = commit(tmp_path, "More code")
    claim(run, later)
    assert badges(run, board) == {(True, "")}
    claim(run, later, answered=before)
    ((shown, words),) = badges(run, board)
    assert not shown, "cells that were answered before the plan are not made newer by scoring them again"
    claim(run, registered)
    assert badges(run, board) == {(True, "")}
    add_run(run, board, tables=False)
    assert {r.as_json()["pre_registered"] for r in validate(board).records} == {True}
    ((shown, words),) = badges(run, board, tables=True)
    assert not shown, "the tables say which code wrote them, and it is not known here"
    assert "not known in this repository" in words
    whole = path.read_text()
    path.write_text(whole.replace('"package"', '"package" '))
    ((shown, words),) = badges(run, board)
    assert not shown, "the file that was committed is another"
    path.write_text(whole.replace("small", "other"))
    assert "was edited" in badges(run, board).pop()[1]
    path.write_text(whole)
    for version, why in (
        ("0.3.0", "names no revision"),
        ("0.3.0+gabcdef0123", "is not known in this repository"),
    ):
        claim(run, registered)
        for record in (run / "records").glob("*.json"):
            record.write_text(record.read_text().replace(f"0.3.0+g{registered}", version))
        assert why in badges(run, board).pop()[1]


def test_a_shallow_clone_or_no_git_cannot_show_a_registration(
    run: Path, board: Board, tmp_path: Path
) -> None:
    register_plan(board.root, json.loads((run / "matrix.json").read_text())["matrix"])
    claim(run, "abcdef0123")
    assert "is in no git work tree" in badges(run, board).pop()[1]
    origin = tmp_path / "origin"
    (origin / "results").mkdir(parents=True)
    shutil.copytree(board.root / "plans", origin / "results/plans")
    git(origin, "init", "-q", "-b", "main")
    commit(origin, "Plan")
    claim(run, commit(origin, "Code"))
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{origin}", "shallow")
    clone = Board(tmp_path / "shallow/results")
    (clone.root / "board.yaml").write_text(RULES)
    assert "the clone is shallow" in badges(run, clone).pop()[1]


def test_registering_twice_changes_nothing_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serbench = command(monkeypatch, capsys)
    (tmp_path / "mine.yaml").write_text(
        MATRIX.format(systems="['majority', '*-superb']", seeds="[0]", plan=RESAMPLES)
    )
    asked = ("plan", "register", tmp_path / "mine.yaml", "--results", tmp_path / "results")
    done = serbench(*asked)
    assert "commit it before the data are touched" in done.out
    (path,) = (tmp_path / "results/plans").iterdir()
    written = json.loads(path.read_text())
    assert path.name == f"small-{written['matrix_hash']}.json"
    assert {"majority", "fbank-superb"} <= set(written["systems"])
    before = path.read_bytes()
    assert serbench(*asked, "--json").json["new"] is False
    assert path.read_bytes() == before
    path.write_text(path.read_text().replace("within", "zero-shot"))
    assert "was edited" in serbench(*asked).sentence
    path.write_text("{}")
    assert "is not as serbench plan register writes it" in serbench(*asked).sentence
    assert "unknown matrix" in serbench("plan", "register", "no-such").sentence
