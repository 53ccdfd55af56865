"""What a stranger may put into a record or a table, each refused in one sentence before anything is built from it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.cards.registry import card_versions
from bench.errors import DataError
from bench.leaderboard import Board, validate
from bench.leaderboard.fold_evidence import require_fold_answers
from bench.scoring.figures import figures
from bench.scoring.published_tables import published_cells
from bench.scoring.recording import figures_code
from bench.scoring.records import read_record, write_record
from bench.scoring.rescoring import from_record
from bench.storage.bounded_files import require_bounded_parquet
from bench.storage.hashing import hash_file, hash_json
from tests.card_versions import KINDS, hashes_of
from tests.forging import EARLIER, NOT_OF_A_PART

ROOT = Path(__file__).resolve().parents[3]
RECORD = "egemaps-svm__indowave.id__within__clean.json"
SPLIT = {"kind": "speaker", "count": 2, "fold": "official", "first": "x", "sides": []}


@pytest.fixture
def board(tmp_path: Path) -> Board:
    folder = tmp_path / "results" / "quick"
    shutil.copytree(ROOT / "results" / EARLIER, folder, ignore=NOT_OF_A_PART)
    for path in (folder / "records").iterdir():
        if path.stem != RECORD.removesuffix(".json"):
            path.unlink()
    return Board(tmp_path / "results")


def refusal(board: Board, change: Callable[[dict[str, Any]], object]) -> str:
    """Change the record, seal the publication again as a forger would, and return why it is refused."""
    path = board.root / "quick" / "records" / RECORD
    facts = json.loads(path.read_text(encoding="utf-8"))
    change(facts)
    path.write_text(json.dumps(facts), encoding="utf-8")
    for publication in board.publications():
        publication.seal()
    problems = validate(board).problems
    return problems[0].sentence if problems else ""


def test_what_is_not_forged_holds(board: Board) -> None:
    assert refusal(board, lambda facts: facts.update(notes=facts["notes"])) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"notes": "junk"}, "notes"),
        ({"notes": {"fold 0": "junk"}}, "notes"),
        ({"sources": "x"}, "sources"),
        ({"sources": None}, "sources"),
        ({"leaks": ["x"]}, "leaks"),
        ({"labels_offered": []}, "labels on offer"),
        ({"labels_offered": ["happy"]}, "labels on offer"),
        ({"chance": "x"}, "chance"),
        ({"axes": [{}]}, "axes"),
        ({"human": [{"view": 1}]}, "human"),
        ({"language": "ta"}, "language"),
        ({"cluster": "session"}, "clusters by"),
        ({"badges": ["checked by NIST"]}, "badges"),
        ({"badges": ["leaks speakers"]}, "badges"),
    ],
)
def test_a_fact_that_would_stop_the_build_or_deceive_is_refused(
    board: Board, change: dict[str, Any], message: str
) -> None:
    found = refusal(board, lambda facts: facts.update(change))
    assert RECORD in found
    assert message in found


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("gaps", {"best_estimate": 1.8}),
        ("gaps", {"worst": "nobody"}),
        ("gaps", {"left_out": 90}),
        ("slices", {"classes": 17}),
        ("slices", {"method": "x"}),
        ("scores", {"method": "exact"}),
    ],
)
def test_whatever_a_page_tells_of_a_score_follows_from_its_statistics(
    board: Board, section: str, change: dict[str, Any]
) -> None:
    """Found by changing every leaf of a record: what stands beside an estimate reached the pages once the record was remembered."""

    def forge(facts: dict[str, Any]) -> None:
        facts[section][0].update(change)
        facts["scores_hash"] = hash_json(facts["scores"])
        facts["figures_code"] = (
            figures_code()
        )  # what this very version computed must be the same to the last row

    path = board.root / "quick" / "records" / RECORD
    record = from_record(path).record  # as this version computes it
    write_record(path, record.facts, [*record.blocks, *record.slices])
    assert f"{next(iter(change))} of" in refusal(board, forge)


def test_a_row_without_a_field_is_refused(board: Board) -> None:
    assert "says nothing of 'gaps.0.best'" in refusal(board, lambda facts: facts["gaps"][0].pop("best"))


@pytest.mark.parametrize("change", [{"best": {}}, {"left_out": []}, {"gap": "large"}])
def test_a_row_of_other_types_is_refused(board: Board, change: dict[str, Any]) -> None:
    assert f"gaps.0.{next(iter(change))}: expected" in refusal(
        board, lambda facts: facts["gaps"][0].update(change)
    )


@pytest.mark.parametrize(
    ("card", "change"),
    [
        ("card", {"parameters": 10**400}),
        ("card", {"parameters": -1}),
        ("corpus_card", {"hours": 1e300}),
        ("corpus_card", {"clips": -1}),
    ],
)
def test_numbers_on_cards_are_numbers_of_something(board: Board, card: str, change: dict[str, Any]) -> None:
    assert "a card or the plan inside" in refusal(board, lambda facts: facts[card].update(change))


@pytest.mark.parametrize("ua", [0.01, 0.9])
def test_a_forged_chance_line_is_refused(board: Board, ua: float) -> None:
    said = refusal(board, lambda facts: facts["reference_levels"][0].update(ua=ua))
    assert "the level of uniform guessing in view native" in said
    assert str(ua) in said


def test_a_score_that_stands_twice_is_refused(board: Board) -> None:
    assert "stands in it twice" in refusal(board, lambda facts: facts["scores"].append(facts["scores"][0]))


def test_an_old_schema_hides_nothing(board: Board) -> None:
    """Records of earlier schemas may stand on a board, under the same checks: a forger must not gain by writing a smaller number."""
    assert "calls its contamination 'seen'" in refusal(
        board, lambda facts: facts.update(schema=1, contamination="seen")
    )
    assert "a card or the plan inside" in refusal(
        board, lambda facts: facts.update(card={**facts["card"], "parameters": "<b>"})
    )


@pytest.mark.parametrize("part", ["sidecar.json", "records", "tables", "records/notes.txt"])
def test_a_publication_holds_no_links(board: Board, tmp_path: Path, part: str) -> None:
    folder = board.root / "quick"
    elsewhere = tmp_path / "elsewhere"
    if part == "records":
        (folder / part).rename(elsewhere)
    else:
        elsewhere.mkdir()
        (folder / part).unlink(missing_ok=True)
    (folder / part).symlink_to(elsewhere)
    (problem,) = validate(board).problems
    assert "is a link" in problem.sentence
    assert part in problem.sentence


def test_a_publication_has_a_plain_name(board: Board) -> None:
    (board.root / "quick").rename(board.root / "Quick <b>")
    (problem,) = validate(board).problems
    assert "cannot name a publication" in problem.sentence


def bomb(path: Path, rows: int, size: int, *, nested: bool = False, announced: bool = True) -> Path:
    """A small file of ``rows`` cells that all mean one text of ``size`` bytes."""
    words = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * size]))
    column = pa.array([["x"]] * rows) if nested else words
    pq.write_table(
        pa.table({"clip_id": [str(i) for i in range(rows)], "reply": column}), path, compression="zstd"
    )
    assert path.stat().st_size < 100_000
    return path


def test_text_that_a_dictionary_repeats_is_measured_as_it_would_be_written_out(tmp_path: Path) -> None:
    for announced in (True, False):
        with pytest.raises(DataError, match=r"its text would take 8,192,0\d\d,\d\d\d bytes"):
            require_bounded_parquet(bomb(tmp_path / "bomb.parquet", 4096, 2_000_000, announced=announced))
    require_bounded_parquet(bomb(tmp_path / "small.parquet", 4096, 2_000))
    with pytest.raises(DataError, match="'reply' holds lists of text"):
        require_bounded_parquet(bomb(tmp_path / "nested.parquet", 10, 1, nested=True))


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits of processes")
def test_it_is_measured_in_little_memory(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.parquet", 4096, 2_000_000)
    script = (
        "import sys\nfrom pathlib import Path\nfrom bench.storage.bounded_files import require_bounded_parquet\n"
        "from bench.errors import DataError\nfrom tests.peak_memory import forget_peak, peak_mebibytes\n"
        "import pyarrow.parquet, pyarrow.compute\nforget_peak()\nbefore = peak_mebibytes()\n"
        "try:\n    require_bounded_parquet(Path(sys.argv[1]))\nexcept DataError:\n    print(peak_mebibytes() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert float(done.stdout) < 200


def change_statistics(board: Board, change: Callable[[list[dict[str, Any]]], object]) -> str:
    """Change the record's statistics, make all that follows from them agree, and return why it is refused."""
    path = board.root / "quick" / "records" / RECORD
    statistics = path.with_suffix(".parquet")
    rows = pq.read_table(statistics).to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(statistics)), statistics)
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["statistics"]["hash"] = hash_file(statistics)
    path.write_text(json.dumps(facts), encoding="utf-8")
    record = read_record(path)
    computed = figures(record.facts, record.blocks, record.slices)
    write_record(path, record.facts.model_copy(update=vars(computed)), [*record.blocks, *record.slices])
    return refusal(board, lambda facts: None)


@pytest.mark.parametrize(
    ("wanted", "value", "message"),
    [
        ({"target": "calibration", "moment": "right"}, 99.0, "hold a right that so many answers cannot have"),
        ({"target": "calibration", "moment": "sum_brier"}, 1e3, "hold a sum_brier that so many answers"),
        ({"axis": "gender", "target": "category"}, 40.0, "by gender .* count more than the whole"),
        (
            {"target": "category", "rows": "all", "axis": ""},
            1.5,
            "count 1.5 clips in one place; clips are counted whole",
        ),
    ],
)
def test_sums_that_no_answers_have_are_refused(
    board: Board, wanted: dict[str, str], value: float, message: str
) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        next(r for r in rows if all(r[k] == v for k, v in wanted.items()))["value"] = value

    assert re.search(message, change_statistics(board, change))


def test_confidences_are_those_of_the_tables(tmp_path: Path) -> None:
    path = ROOT / "results" / EARLIER / "records" / RECORD
    record = read_record(path)
    tables = [
        c.table
        for c in published_cells(path, record.facts, ROOT / "results" / EARLIER / "tables")
        if not c.variant
    ]
    require_fold_answers(path, record, tables)
    record = replace(record, blocks=[b for b in record.blocks if b.target == "calibration"])
    surer = [replace(t, probabilities=np.eye(len(t.labels))[np.zeros(len(t.clip_ids), dtype=int)]) for t in tables]  # fmt: skip
    with pytest.raises(DataError, match="answers of one confidence"):
        require_fold_answers(path, record, surer)
    with pytest.raises(DataError, match="though its table gives no probabilities"):
        require_fold_answers(path, record, [replace(t, probabilities=None) for t in tables])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licence": "free to all"}, "its corpus card is not the one that this suite ships as 'indowave'"),
        ({"speakers": 60}, "its corpus card is not the one that this suite ships as 'indowave'"),
    ],
)
def test_a_shipped_corpus_has_a_shipped_card(board: Board, change: dict[str, Any], message: str) -> None:
    assert message in refusal(board, lambda facts: facts["corpus_card"].update(change))


def test_a_shipped_name_with_other_settings_is_another_system(board: Board) -> None:
    """``serbench run --set`` changes parameters and keeps the name."""
    found = refusal(board, lambda facts: facts["card"]["params"].update(c=[1.0]))
    assert "its card is not the one that this suite ships as 'egemaps-svm' (params" in found


def test_every_card_that_is_shipped_is_noted() -> None:
    """``python -m tests.card_versions`` notes it: without, no record of a changed card could be published."""
    for package, (folder, model) in KINDS.items():
        known = card_versions("systems" if package == "adapters" else "corpora")
        for path in sorted((ROOT / folder).glob("*.yaml")):
            for name, value in hashes_of(path.read_text(encoding="utf-8"), str(path), model).items():
                assert value in known[name], f"{path}: run python -m tests.card_versions"
