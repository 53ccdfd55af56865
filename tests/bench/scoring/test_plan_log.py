"""The plan log: what is a change and what is not, and what the log refuses to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.cards.analysis_plan import AnalysisPlan
from bench.errors import DataError
from bench.scoring import plan_log
from bench.scoring.outcomes import RecordOutcome, outcome_words
from bench.scoring.plan_log import PlanLogEntry, extend_plan_log, read_plan_log
from bench.scoring.plan_seen import change_words, plan_seen
from bench.storage.run_folder import RunFolder

ENTRY = {"systems": ["a", "b"], "tasks": ["*"], "protocol": "within", "seeds": [0]}
STEM = "a__tones.ms__within__clean"
RECORDS = {STEM: (0,), "b__tones.ms__within__clean": (0,), "a__other.ms__within__clean": (0,)}


def matrix(**plan: object) -> dict[str, Any]:
    written = AnalysisPlan.model_validate(plan).model_dump(mode="json")
    return {"name": "m", "description": "", "entries": [ENTRY], "conditions": ["clean"], "plan": written}


def extend(
    folder: RunFolder, asked: dict[str, Any], records: dict[str, tuple[int, ...]] = RECORDS, cells: int = 0
) -> tuple[PlanLogEntry, bool]:
    keys = {f"{i:016x}" for i in range(cells)}
    return extend_plan_log(folder, asked, records, finished=keys, asked=keys)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_what_a_later_version_writes_as_it_always_was_is_no_change(folder: RunFolder) -> None:
    older = matrix()
    del older["plan"]["permutations"], older["conditions"]
    extend(folder, older)
    now = matrix()
    now["entries"] = [{**ENTRY, "view": "seven"}]
    entry, new = extend(folder, now, cells=6)
    assert new, "its hashes are others"
    assert entry.changes == ()
    seen = plan_seen(read_plan_log(folder.plan_log), "a", STEM)
    assert seen is not None
    assert (seen.cells, seen.changes) == (0, ())


def test_a_name_and_a_description_decide_nothing(folder: RunFolder) -> None:
    extend(folder, matrix())
    entry, _ = extend(folder, {**matrix(), "description": "better words"}, cells=6)
    assert [c.what for c in entry.changes] == ["description"]
    assert plan_log.only_inert(entry.changes)
    assert plan_seen(read_plan_log(folder.plan_log), "a", STEM).changes == ()  # type: ignore[union-attr]


def test_a_task_that_is_added_changes_no_comparison_on_another(folder: RunFolder) -> None:
    extend(folder, matrix())
    more = {**RECORDS, "a__third.ms__within__clean": (0,), "b__other.ms__within__clean": (0,)}
    entry, _ = extend(folder, matrix(), more, cells=6)
    assert [(c.what, c.new) for c in entry.changes] == [
        ("records", "5 (2 added, first a__third.ms__within__clean)")
    ]
    log = read_plan_log(folder.plan_log)
    assert plan_seen(log, "a", STEM).changes == ()  # type: ignore[union-attr]
    (change,) = plan_seen(log, "a", "a__other.ms__within__clean").changes  # type: ignore[union-attr]
    assert change_words(change) == "systems added: b"
    assert (change.cells, change.of) == (6, 6)


def test_a_clock_that_went_back_writes_nothing(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    extend(folder, matrix())
    before = folder.plan_log.read_bytes()
    monkeypatch.setattr(plan_log.time, "gmtime", lambda: (2001, 1, 1, 0, 0, 0, 0, 1, 0))
    with pytest.raises(DataError, match="later than this machine's clock"):
        extend(folder, matrix(margin=0.1), cells=6)
    assert extend(folder, matrix(), cells=6)[1] is False, "the same plan needs no entry"
    assert folder.plan_log.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 2, "entries": [1]}', '{"schema": 1, "entries": [1]}', '{"schema": 1, "entries": {"a": 1}}', "[" * 5000])  # fmt: skip
def test_what_is_no_log_ends_in_a_sentence(folder: RunFolder, text: str) -> None:
    folder.plan_log.write_text(text)
    with pytest.raises(DataError, match=r"plan_log\.json"):
        read_plan_log(folder.plan_log)


def test_a_link_is_no_log(folder: RunFolder, tmp_path: Path) -> None:
    folder.plan_log.symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="found a link"):
        read_plan_log(folder.plan_log)


def test_a_matrix_nested_without_end_ends_in_a_sentence(folder: RunFolder) -> None:
    extend(folder, matrix())
    stored = json.loads(folder.plan_log.read_text())
    text = json.dumps(stored).replace('"description": ""', '"description": ' + "[" * 700 + "]" * 700)
    folder.plan_log.write_text(text)
    with pytest.raises(DataError, match=r"plan_log\.json"):
        read_plan_log(folder.plan_log)


def test_outcomes_are_counted_by_what_was_planned() -> None:
    def outcome(state: str, reason: str = "", *, planned: bool = True) -> RecordOutcome:
        return RecordOutcome("a", "t.en", "within", "clean", state, reason, planned=planned)  # type: ignore[arg-type]

    rest = [outcome("failed", "x"), outcome("failed", "y"), outcome("blocked", "no server")]
    assert outcome_words([outcome("scored"), outcome("scored", planned=False), *rest]) == (
        "1 of 4 scored, 2 failed, 1 blocked (a: no server)"
    )
    assert outcome_words([]) == "0 of 0 scored"
