"""What is published can be trusted: added whole, checked, taken back with a reason; whatever was touched is named."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import BenchError, DataError, UsageError
from bench.leaderboard import Board, Publication, add_run, retract, validate
from bench.leaderboard.evidence import read_evidence
from bench.leaderboard.history import history_of
from bench.scoring.records import read_record
from bench.storage.bounded_files import bounded_json, require_bounded_parquet
from bench.storage.hashing import hash_file, hash_json
from tests.forging import EARLIER

PUBLISHED = Path(__file__).resolve().parents[3] / "results"
OLD = Path(__file__).resolve().parents[1] / "scoring" / "records"
RULES = "plan: {resamples: 1000, permutations: 1000}\n"
RECORD = "majority__tones.ms__within__clean.json"


@pytest.fixture
def board(run: Path, tmp_path: Path) -> Board:
    """A board with one small publication, as a contributor would send it."""
    board = Board(tmp_path / "results")
    board.root.mkdir()
    (board.root / "board.yaml").write_text(RULES)
    for path in (run / "records").glob("*.json"):
        # Tests also run on changed code, whose records could not be published.
        path.write_text(path.read_text().replace(".dirty", ""))
    add_run(run, board)
    return board


def only(board: Board) -> Publication:
    (publication,) = board.publications()
    return publication


def problems(board: Board, data: list[Path] | None = None) -> list[str]:
    return [p.sentence for p in validate(board, data or []).problems]


def forge(board: Board, change: Callable[[dict[str, Any]], None], *, name: str = RECORD) -> None:
    """Change a record, mend every hash that guards it, and seal it again: all that a forger can do."""
    publication = only(board)
    path = publication.folder.records / name
    facts = json.loads(path.read_text())
    change(facts)
    facts["scores_hash"] = hash_json(facts["scores"])
    path.write_text(json.dumps(facts))
    publication.seal()


def test_a_run_is_published_checked_and_named_by_what_was_checked(board: Board, finished_run: Path) -> None:
    publication = only(board)
    assert publication.name == "small"
    assert len(publication.record_paths()) == 2
    assert len(list(publication.folder.tables.glob("*.parquet"))) == 2
    assert {r.badge for r in validate(board).records} == {"tables"}
    found = validate(board, [finished_run / "data"])
    assert found.problems == ()
    assert {r.badge for r in found.records} == {"labels"}
    assert len(found.standing) == 2


def test_without_tables_the_badge_says_so(run: Path, board: Board) -> None:
    add_run(run, board, tables=False)
    assert not only(board).folder.tables.exists()
    assert {r.badge for r in validate(board).records} == {"statistics"}


def test_what_this_project_published_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    found = validate(Board(PUBLISHED))
    assert found.problems == ()
    assert len(found.records) >= 31
    assert {r.badge for r in found.records} == {"attested"}
    assert len(found.competing) == len(found.standing), "all of it was checked against the corpora"


@pytest.mark.real
def test_what_this_project_published_follows_from_real_labels(real_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    board = Board(tmp_path / "results")
    shutil.copytree(
        PUBLISHED / EARLIER, board.root / "quick", ignore=shutil.ignore_patterns("attested", "retracted.json")
    )
    for path in sorted((board.root / "quick/records").glob("*")):
        if "nemo-subset" not in path.name:
            path.unlink()
    only(board).seal()
    found = validate(board, [real_corpora])
    assert found.problems == ()
    assert {r.badge for r in found.records} == {"labels"}


def test_a_synthetic_or_limited_record_stays_behind(run: Path, tmp_path: Path) -> None:
    for path in (run / "records").glob("*.json"):
        facts = json.loads(path.read_text())
        path.write_text(json.dumps({**facts, "publishable": False, "obstacles": ["the corpus is synthetic"]}))
    with pytest.raises(DataError, match="nothing to publish: the corpus is synthetic"):
        add_run(run, Board(tmp_path / "results"))


def test_a_retracted_record_is_kept_with_its_reason(run: Path, board: Board) -> None:
    with pytest.raises(UsageError, match="needs its reason"):
        retract(board, "small/majority__tones.ms__within__clean", "  ")
    with pytest.raises(UsageError, match=r"no published record 'majorty'; .*small/"):
        retract(board, "majorty", "typo")
    retract(board, "majority__tones.ms__within__clean", "trained on\nthe test clips")
    found = validate(board)
    assert found.problems == ()
    assert {r.record.system: r.retracted for r in found.records} == {
        "majority": "trained on the test clips",
        "chance": "",
    }
    assert [r.system for r in found.standing] == ["chance"]
    add_run(run, board)
    assert only(board).retractions(), "publishing again does not bring it back"


def test_publishing_again_keeps_what_it_replaces(run: Path, board: Board) -> None:
    assert add_run(run, board).superseded == (), "nothing changed"
    path = run / "records" / RECORD
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"code_version": "99.0.0"}))
    retract(board, f"small/{path.stem}", "a slip")
    assert add_run(run, board).superseded == (path.stem,)
    assert problems(board) == []
    (history,) = history_of(read_evidence(board.root), "majority", "tones.ms")
    assert [(v.code_version, v.reason) for v in history.versions] == [
        ("99.0.0", "a slip"),
        (facts["code_version"], "a slip"),
    ]
    kept = board.root / "small/superseded"
    (record,) = kept.rglob(RECORD)
    record.write_text(record.read_text().replace("99.0.0", "98.0.0") + " ")
    (problem,) = problems(board)
    assert "was changed by hand after it was published; restore" in problem
    shutil.rmtree(kept)
    (problem,) = problems(board)
    assert "was published and is gone" in problem


def test_publishing_another_matrix_under_a_taken_name_is_refused(run: Path, board: Board) -> None:
    described = json.loads((run / "matrix.json").read_text())
    described["matrix"]["description"] = "another"
    described["matrix_hash"] = hash_json(described["matrix"])
    (run / "matrix.json").write_text(json.dumps(described))
    with pytest.raises(UsageError, match="was published from another matrix"):
        add_run(run, board)
    for name in ("../out", "a/b", "", "UPPER", ".hidden"):
        with pytest.raises(UsageError):
            board.publication(name)


def test_files_changed_removed_or_added_by_hand_break_the_seal(board: Board) -> None:
    publication = only(board)
    path = publication.folder.records / RECORD
    whole = path.read_text()
    path.write_text(whole.replace('"title"', '"titel"'))
    assert any("was changed by hand after it was published" in p for p in problems(board))
    path.write_text(whole)
    statistics = path.with_suffix(".parquet")
    content = statistics.read_bytes()
    path.unlink()
    assert any("was published and is gone" in p for p in problems(board))
    path.write_text(whole)
    (publication.folder.records / "extra.json").write_text("{}")
    assert any("was put here by hand" in p for p in problems(board))
    (publication.folder.records / "extra.json").unlink()
    statistics.write_bytes(content[:-1])
    assert any("missing or changed" in p or "not a Parquet" in p for p in problems(board))
    statistics.write_bytes(content)
    publication.seal_path.unlink()
    assert any("published.json: missing" in p for p in problems(board))


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "coverage": (lambda f: f.update(coverage=0.5), "says coverage 0.5, but the share of ok rows is 1.0"),
    "floor": (
        lambda f: f.update(coverage=0.5, statuses={"ok": f["clips"] // 2, "refused": f["clips"] // 2}, seeds=[0]),
        "may not be published: coverage 0.500 is under the floor of 0.95",
    ),
    "provenance": (lambda f: f.pop("code_version"), "says nothing of 'code_version'"),
    "identity": (lambda f: f.update(system_identity=""), "system_identity: expected text of the form"),
    "dirty": (lambda f: f.update(code_version="0.1.0+gabc.dirty"), "uncommitted changes"),
    "folds": (lambda f: f.update(folds_hash="0" * 32), "was made with folds_hash"),
    "content": (lambda f: f.update(content_hash="0" * 32), "was made with content_hash"),
    "plan hash": (lambda f: f.update(matrix_hash="0" * 32), "was scored under another plan"),
    "plan": (lambda f: f["plan"].update(margin=0.2), "was scored under another plan"),
    "synthetic": (lambda f: f["corpus_card"].update(synthetic=True), "says synthetic False, but"),
    "track": (lambda f: f.update(track="probed"), r"says track \(record\) 'probed'"),
    "contamination": (lambda f: f.update(contamination="seen"), "by its cards it is"),
    "system": (lambda f: f.update(system="winner"), "says the file name"),
    "other file": (lambda f: f["statistics"].update(file="../x.parquet"), "statistics.file: expected a name without slashes"),
    "score": (lambda f: f["scores"][0].update(estimate=0.9), "estimate of ua native wrong all is 0.9"),
    "tables": (lambda f: f.update(tables={}), "tables: expected at least one entry"),
    "cell": (lambda f: f.update(tables={"../../x": "0" * 32}), "tables"),
    "limit": (lambda f: f.update(limited=True), "only a part of the corpus"),
    "types": (lambda f: f.update(seeds="all"), "seeds: expected a list"),
    "clusters": (lambda f: f["clusters"].append(f["clusters"][0]), "says clusters 8, but the number of different ones"),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forgery_is_named_in_one_sentence(board: Board, forgery: str) -> None:
    change, expected = FORGERIES[forgery]
    forge(board, change)
    (sentence,) = [p for p in problems(board) if RECORD in p]
    assert re.search(expected, sentence), sentence
    assert "\n" not in sentence


def test_a_plan_changed_together_with_its_records_is_refused(board: Board) -> None:
    publication = only(board)
    described = json.loads(publication.folder.matrix.read_text())
    described["matrix"]["plan"]["margin"] = 0.2
    publication.folder.matrix.write_text(json.dumps(described))
    publication.seal()
    assert any("the matrix was changed after it was run" in p for p in problems(board))
    described["matrix_hash"] = hash_json(described["matrix"])
    publication.folder.matrix.write_text(json.dumps(described))
    publication.seal()
    assert any("margin 0.2, this board's is 0.02" in p for p in problems(board))
    for resamples, message in ((10**15, "too long"), (1000, "this board asks for 2000 at least")):
        described["matrix"]["plan"] |= {"margin": 0.02, "resamples": resamples}
        described["matrix_hash"] = hash_json(described["matrix"])
        publication.folder.matrix.write_text(json.dumps(described))
        (board.root / "board.yaml").write_text("plan: {resamples: 2000, permutations: 1000}\n")
        assert any(message in p for p in problems(board))


def change_statistics(
    board: Board, change: Callable[[list[dict[str, Any]]], None], name: str = RECORD
) -> None:
    """Change the additive statistics, and make everything in the record follow from them."""
    from bench.scoring.figures import figures
    from bench.scoring.records import write_record

    path = only(board).folder.records / name
    statistics = path.with_suffix(".parquet")
    rows = pq.read_table(statistics).to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(statistics)), statistics)
    facts = json.loads(path.read_text())
    facts["statistics"]["hash"] = hash_file(statistics)
    path.write_text(json.dumps(facts))
    record = read_record(path)
    computed = figures(record.facts, record.blocks, record.slices)
    write_record(path, record.facts.model_copy(update=vars(computed)), [*record.blocks, *record.slices])
    only(board).seal()


def test_better_statistics_are_caught_by_the_tables_and_by_the_labels(
    board: Board, finished_run: Path
) -> None:
    def gift(rows: list[dict[str, Any]]) -> None:
        """Every wrong answer of the native view becomes a right one."""
        for row in rows:
            if row["target"] == "category" and row["prediction"] is not None:
                row["prediction"] = row["truth"]

    change_statistics(board, gift)
    assert any("its tables hold" in p for p in problems(board))
    shutil.rmtree(only(board).folder.tables)
    only(board).seal()
    assert problems(board) == [], "from a record alone, nobody can know"


@pytest.mark.parametrize("value", [-5.0, 1e6, 1e308, float("nan")])
def test_impossible_statistics_are_refused(board: Board, value: float) -> None:
    statistics = only(board).folder.records / RECORD.replace(".json", ".parquet")
    table = pq.read_table(statistics)
    values = table["value"].to_pylist()
    values[0] = value
    pq.write_table(table.set_column(table.column_names.index("value"), "value", pa.array(values)), statistics)
    path = statistics.with_suffix(".json")
    facts = json.loads(path.read_text())
    facts["statistics"]["hash"] = hash_file(statistics)
    path.write_text(json.dumps(facts))
    only(board).seal()
    (sentence,) = problems(board)
    assert re.search(r"hold a negative count|the task has 42|is no number", sentence), sentence


def test_swapped_truths_are_caught_by_the_labels(board: Board, finished_run: Path) -> None:
    def swap(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["target"] == "category" and row["truth"] in ("happy", "sad"):
                row["truth"] = {"happy": "sad", "sad": "happy"}[row["truth"]]

    change_statistics(board, swap, "chance__tones.ms__within__clean.json")
    assert any("the corpus's labels give" in p for p in problems(board, [finished_run / "data"]))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [x for k, v in value.items() for x in leaves(v, (*path, k))]
    if isinstance(value, list):
        return [x for i, v in enumerate(value) for x in leaves(v, (*path, i))]
    return [path]


SCORED = ("scores", "slices", "gaps", "human")
NUMBERS = (
    "estimate",
    "seed_low",
    "seed_high",
    "low",
    "high",
    "clips",
    "speakers",
    "clusters",
    "coverage",
    "gap",
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_a_score_is_caught(board: Board, data: st.DataObject) -> None:
    path = only(board).folder.records / RECORD
    whole = path.read_text()
    facts = json.loads(whole)
    places = [
        p for p in leaves({k: facts[k] for k in SCORED})
        if p[-1] in NUMBERS and isinstance(_at(facts, p), int | float)
    ]  # fmt: skip
    place = data.draw(st.sampled_from(places))
    old = _at(facts, place)
    new = data.draw(st.floats(-2, 2).filter(lambda x: abs(x - old) > 1e-6 * max(1, abs(old))))
    try:
        forge(board, lambda f: _at(f, place[:-1]).__setitem__(place[-1], new))
        assert problems(board), (place, old, new)
    finally:
        path.write_text(whole)
        only(board).seal()


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_junk_anywhere_in_a_record_never_ends_in_a_traceback(board: Board, data: st.DataObject) -> None:
    path = only(board).folder.records / RECORD
    whole = path.read_text()
    place = data.draw(st.sampled_from(leaves(json.loads(whole))))
    short = place[: data.draw(st.integers(1, len(place)))]
    facts = copy.deepcopy(json.loads(whole))
    _at(facts, short[:-1])[short[-1]] = data.draw(JUNK)
    try:
        path.write_text(json.dumps(facts))
        for sentence in problems(board):
            assert "\n" not in sentence
            assert len(sentence) < 1000
    finally:
        path.write_text(whole)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"estimate": NaN}', "NaN is no number"),
        ('{"estimate": 1e999}', "out of range"),
        ('{"n": ' + "9" * 10_000 + "}", "not the JSON"),
        ("\x00\xff", "not the JSON"),
        ('{"name": "\\ud800"}', "surrogates not allowed"),
        ("", "not the JSON"),
    ],
)
def test_hostile_json_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        bounded_json(path)


def test_files_that_would_exhaust_memory_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    with path.open("wb") as stream:
        stream.truncate(17 << 20)
    with pytest.raises(DataError, match="it was not read"):
        bounded_json(path)
    table = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": pa.array(np.zeros(5_000_000, dtype=np.int8))}), table)
    assert table.stat().st_size < 100_000
    with pytest.raises(DataError, match="announces 5,000,000 rows"):
        require_bounded_parquet(table)
    link = tmp_path / "link.json"
    link.symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="found a link"):
        bounded_json(link)


def test_blocks_that_announce_too_much_are_refused(board: Board) -> None:
    forge(board, lambda f: f["blocks"].extend([{**f["blocks"][0], "labels": ["x"] * 1000}] * 20_000))
    assert any("blocks" in p for p in problems(board))
    forge(board, lambda f: f.update(blocks=[{**f["blocks"][0], "labels": [str(i) for i in range(1000)]}] * 9))
    assert any("announce" in p for p in problems(board))


def test_the_same_place_cannot_be_taken_twice(run: Path, board: Board) -> None:
    with pytest.raises(DataError, match="nothing to publish: equal to small/"):
        add_run(run, board, "again")
    shutil.copytree(only(board).folder.root, board.root / "again")
    assert sum("already has this system on this task" in p for p in problems(board)) == 2
    retract(board, "again/majority__tones.ms__within__clean", "sent twice")
    retract(board, "again/chance__tones.ms__within__clean", "sent twice")
    assert problems(board) == []


@pytest.mark.parametrize("schema", ["schema1", "schema2"])
def test_records_of_every_schema_can_stand_on_a_board(tmp_path: Path, schema: str) -> None:
    board = Board(tmp_path / "results")
    root = board.root / "old"
    shutil.copytree(OLD / schema, root / "records")
    (path,) = (root / "records").glob("*.json")
    facts = json.loads(path.read_text())
    described = {"matrix": {"name": "old", "plan": facts["plan"]}, "limit": None}
    described["matrix_hash"] = hash_json(described["matrix"])
    (root / "matrix.json").write_text(json.dumps(described))
    path.write_text(
        json.dumps({**facts, "matrix_hash": described["matrix_hash"], "code_version": "0.1.0+g1"})
    )
    only(board).seal()
    (board.root / "board.yaml").write_text("plan: {resamples: 1000, permutations: 1000}\n")
    found = validate(board)
    assert found.problems == ()
    assert [r.badge for r in found.records] == ["statistics"]


def test_an_empty_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is published here"):
        validate(Board(tmp_path))
    with pytest.raises(BenchError, match="no such folder"):
        validate(Board(tmp_path / "none"))
