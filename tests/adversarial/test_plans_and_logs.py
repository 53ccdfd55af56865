"""Ways to make the suite say that a plan came first when it did not: other plans, damaged and edited logs. Each ends in the truth."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError
from bench.scoring.plan_log import PlanLogEntry, extend_plan_log, read_plan_log
from bench.scoring.plan_seen import ELSEWHERE, FIXED, UNLOGGED, fixed_before, plan_words
from bench.scoring.record_schema import ImportOrigin
from bench.storage.run_folder import RunFolder
from reports.pages.report import write_report
from tests.adversarial.planned import Runner, edit


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
