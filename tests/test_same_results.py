"""Two versions of the code are told apart by what they computed, and by nothing that only names them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.same_results import CELL, compare, main

RUN = Path(__file__).parent / "old_versions" / "v0_1_0" / "run"
RECORD = "egemaps-linear__tones.ms__within__clean.json"
PAGE = """<p>Made by ser-bench {version} from the run's records.</p>
<dt>adapter</dt><dd><code>{module}:OpenSmile</code></dd>
<dt>identity</dt><dd><code>{system}</code></dd>
<td><code>{version}</code></td><td><code>{system:.12}</code></td><td><code>{folds}</code></td>
<p>{verdict}</p>
"""
OLD = {
    "version": "0.1.0+g1a2b3c4d5e", "module": "adapters.acoustic", "system": "0" * 32, "folds": "a" * 12,
    "verdict": "egemaps-linear beats chance by 45.2 points",
}  # fmt: skip
NEW_CODE = {"version": "0.2.0+gffffffffff.dirty", "module": "adapters.acoustic.opensmile", "system": "1" * 32}


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A run, and the same one as a later version of the code would have made it: other keys, versions and hashes."""
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        shutil.copytree(RUN, folder)
    keys = {p.stem: p.stem[::-1] for p in sorted((after / "tables").iterdir())}
    for old, new in keys.items():
        table = after / "tables" / f"{old}.parquet"
        described(table, lambda d, new=new: d.update(cell=new, code_version="0.2.0", system_identity="f"))  # type: ignore[misc]
        table.rename(table.with_stem(new))
    for path in (after / "records").glob("*.json"):
        changed(path, lambda f: f.update(code_version="0.2.0", figures_code="f", system_identity="f", inputs_hash="f",
                                         tables={keys[k]: "f" for k in f["tables"]}))  # fmt: skip
        changed(path, lambda f: f["statistics"].update(hash="f"))
    egemaps = after / "records" / RECORD
    changed(egemaps, lambda f: f["card"]["features"].update(encoder="adapters.acoustic.opensmile:OpenSmile"))
    return before, after


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def described(table: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a prediction table says of itself."""
    found = pq.read_table(table)
    identity = json.loads(found.schema.metadata[b"serbench"])
    change(identity)
    pq.write_table(found.replace_schema_metadata({"serbench": json.dumps(identity)}), table)


def column(table: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change the first value of a column."""
    found = pq.read_table(table)
    values = found[name].to_pylist()
    field = found.schema.field(name)
    values[0] = change(values[0])
    pq.write_table(
        found.set_column(found.schema.names.index(name), field, pa.array(values, field.type)), table
    )


def table_of(run: Path, **cell: object) -> Path:
    """The prediction table of one cell."""
    for path in (run / "tables").iterdir():
        identity = json.loads(pq.read_schema(path).metadata[b"serbench"])
        if all(identity[part] == value for part, value in cell.items()):
            return path
    raise AssertionError(cell)


def site(folder: Path, **words: str) -> Path:
    folder.mkdir()
    (folder / "index.html").write_text(PAGE.format(**OLD | words))
    return folder


def test_other_code_with_the_same_answers_differs_in_nothing(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(*runs) == ("4 records and 30 tables", [])
    assert main([str(r) for r in runs]) == 0
    assert capsys.readouterr().out == "4 records and 30 tables: no difference(s) but for names of code\n"


def test_a_score_that_moved_is_named(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = runs[1] / "records" / RECORD
    first = json.loads(path.read_text())["scores"][0]["estimate"]
    changed(path, lambda f: f["scores"][0].update(estimate=first - 2**-53))
    assert main([str(r) for r in runs]) == 1
    line, total = capsys.readouterr().out.splitlines()
    assert line == f"records/{RECORD}: scores[0]: estimate: {first!r} before, {first - 2**-53!r} after"
    assert total.startswith("4 records and 30 tables: 1 difference(s)")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("probabilities", lambda p: [p[0] + 2**-50, p[1] - 2**-50, p[2]]),
        ("valence", lambda v: v + 2**-50),
        ("label", lambda _: "sad"),
        ("status", lambda _: "failed"),
    ],
)
def test_an_answer_that_moved_by_a_bit_is_named_by_its_cell(
    runs: tuple[Path, Path], name: str, change: Callable[[Any], Any]
) -> None:
    column(table_of(runs[1], system="fbank-superb", fold="2", seed=1), name, change)
    (line,) = compare(*runs)[1]
    assert line.startswith(
        f"table of fbank-superb tones.ms within native clean clean fold=2 seed=1: column {name}: 1 of "
    )


def test_what_only_one_run_has_is_named(runs: tuple[Path, Path]) -> None:
    (runs[1] / "records" / RECORD).unlink()
    table_of(runs[0], system="chance", fold="0", seed=0).unlink()
    lines = compare(*runs)[1]
    assert lines == [
        "egemaps-linear__tones.ms__within__clean: only before",
        "chance tones.ms within native clean clean fold=0 seed=0: only after",
    ]


def test_statistics_and_other_hashes_are_no_names_of_code(runs: tuple[Path, Path]) -> None:
    path = runs[1] / "records" / RECORD
    column(path.with_suffix(".parquet"), "value", lambda v: v + 1)
    changed(path, lambda f: f.update(content_hash="f"))
    described(table_of(runs[1], system="majority", fold="1"), lambda d: d.update(folds_hash="f"))
    wheres = [line.partition(" before, ")[0].rsplit(": ", 1)[0] for line in compare(*runs)[1]]
    assert wheres == [
        f"records/{RECORD}: content_hash",
        f"records/{path.stem}.parquet: column value: 1 of {pq.read_metadata(path.with_suffix('.parquet')).num_rows} rows, first row 0",
        "table of majority tones.ms within native clean clean fold=1 seed=0: folds_hash",
    ]


def test_a_table_of_code_before_an_edit_stands_back_behind_the_one_that_was_scored(
    runs: tuple[Path, Path],
) -> None:
    old = table_of(runs[0], system="chance", fold="0", seed=0)
    shutil.copyfile(old, runs[1] / "tables" / old.name)
    column(runs[1] / "tables" / old.name, "valence", lambda v: v / 2)
    assert compare(*runs)[1] == []


def test_every_part_of_a_cell_stands_in_its_table() -> None:
    identity = json.loads(pq.read_schema(next((RUN / "tables").iterdir())).metadata[b"serbench"])
    assert set(CELL) - {"variant"} <= identity.keys()


def test_a_page_of_other_code_is_the_same_page(tmp_path: Path) -> None:
    pages = site(tmp_path / "before"), site(tmp_path / "after", **NEW_CODE)
    assert compare(*pages) == ("1 files of two sites", [])


@pytest.mark.parametrize(
    "words", [{"verdict": "chance beats egemaps-linear"}, {"folds": "b" * 12}, {"module": "elsewhere"}]
)
def test_a_sentence_or_a_hash_of_data_that_changed_in_a_page_is_shown(
    tmp_path: Path, words: dict[str, str]
) -> None:
    pages = site(tmp_path / "before"), site(tmp_path / "after", **NEW_CODE | words)
    (line,) = compare(*pages)[1]
    assert line.startswith("index.html: line ")
    assert next(iter(words.values()))[:9] in line


def test_exports_are_compared_by_content_and_missing_files_are_named(tmp_path: Path) -> None:
    before, after = site(tmp_path / "before"), site(tmp_path / "after")
    for folder, version, score in ((before, "0.1.0+g1a2b3c4", 0.5), (after, "0.2.0+gfff", 0.25)):
        rows = pa.table({"code_version": [version, version], "estimate": [0.0, score]})
        pq.write_table(rows, folder / "scores.parquet")
    (after / "published.html").write_text("")
    assert compare(before, after)[1] == [
        "published.html: only after",
        "scores.parquet: column estimate: 1 of 2 rows, first row 1: 0.5 before, 0.25 after",
    ]


def test_a_page_and_a_run_cannot_be_compared(
    tmp_path: Path, runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(runs[0]), str(site(tmp_path / "page"))]) == 2
    assert "expected two sites" in capsys.readouterr().err
    assert main([str(runs[0])]) == 2
