"""A matrix cut into shards and merged is the matrix run at once; what cannot be merged is one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError, UsageError
from bench.execution.driver import run_matrix
from bench.execution.merging import merge_shards
from bench.execution.planning.forecast import forecast
from bench.execution.planning.shards import Shard, parse_shard
from bench.execution.progress import Reporter
from bench.scoring.plan_log import read_plan_log
from bench.storage.journal import Journal
from bench.storage.run_folder import RunFolder
from tests.slow_runs import records, settings, tables, write_slow_bench

MATRIX = """
name: kill
entries:
  - {systems: [./slow.yaml, majority, egemaps-linear, egemaps-svm], seeds: [0, 1]}
plan: {resamples: 1000, permutations: 1000}
"""
PARTS = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the whole run and its three shards, each computed with a cache of its own."""
    folder = tmp_path_factory.mktemp("shards")
    write_slow_bench(folder)
    (folder / "kill.yaml").write_text(MATRIX)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.delenv("SERBENCH_DATA", raising=False)
        patch.syspath_prepend(str(folder))
        patch.setenv("SERBENCH_CACHE", str(folder / "cache"))
        asked = replace(settings(folder, "whole"), workers=1)
        assert run_matrix(asked, Reporter()).failed == ()
        for number in range(1, PARTS + 1):
            patch.setenv("SERBENCH_CACHE", str(folder / f"cache-{number}"))
            part = replace(asked, out=folder / f"part-{number}", shard=Shard(number, PARTS))
            assert run_matrix(part, Reporter()).failed == ()
        patch.setenv("SERBENCH_CACHE", str(folder / "cache"))
        yield folder


def parts(folder: Path) -> list[Path]:
    return [folder / f"part-{n}" for n in range(1, PARTS + 1)]


def jobs(run: Path) -> list[tuple[str, int]]:
    with Journal(RunFolder(run).journal) as journal:
        return [(j.key, j.clips) for j in journal.jobs()]


def test_merged_shards_are_the_whole_run_byte_for_byte(made: Path, tmp_path: Path) -> None:
    summary = merge_shards(parts(made)[::-1], tmp_path / "merged", Reporter())
    assert (summary.computed, summary.failed, summary.kept) == (0, (), 25)
    assert tables(tmp_path / "merged") == tables(made / "whole")
    assert records(tmp_path / "merged") == records(made / "whole")
    assert (tmp_path / "merged" / "matrix.json").read_bytes() == (made / "whole" / "matrix.json").read_bytes()
    (entry,) = read_plan_log(tmp_path / "merged" / "plan_log.json")
    assert (entry.cells, entry.of) == (0, 25)
    # What was forecast of the shards is the whole, too.
    dealt = [
        forecast(replace(settings(made, "none"), shard=Shard(n, PARTS))).cells for n in range(1, PARTS + 1)
    ]
    assert (sum(dealt), forecast(settings(made, "none")).cells) == (25, 25)
    # Nothing was done twice, an encoder's pass for two systems included, and every shard had something to do.
    encoded = [clips for part in parts(made) for key, clips in jobs(part) if key.startswith("encode")]
    assert sum(encoded) == 36
    assert all(tables(part) for part in parts(made))
    assert sum(len(tables(part)) for part in parts(made)) == 25
    # Merging again changes nothing, and the run goes on as any run.
    before = len(jobs(tmp_path / "merged"))
    again = merge_shards(parts(made), tmp_path / "merged", Reporter())
    assert (again.kept, len(jobs(tmp_path / "merged"))) == (25, before)
    whole = replace(settings(made, "whole"), out=tmp_path / "merged", workers=1)
    assert run_matrix(whole, Reporter()).computed == 0


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("one twice", "overlap: both are shard 2/3"),
        ("one missing", "1 of 3 shards are not named: 2/3"),
        ("a whole run", "is no shard but a whole run"),
        ("no run", "is no run"),
        ("another count", "was cut into 3 for one and into 4 for the other"),
        ("another limit", "their limits are None and 7"),
        ("another matrix", "the matrix 'kill' was changed between them"),
        ("a foreign matrix", "their matrices are 'kill' and 'other'"),
        (
            "a cell missing",
            "is not complete, 1 of its cells are missing; go on with: serbench run kill --shard 2/3",
        ),
        ("a cell failed", "first failure: the server is away"),
        ("other code", "were computed by other code, packages, weights or data than are here"),
        ("a damaged table", "is not the table that was written"),
        ("a lost table", "is missing, though its cell was computed"),
        ("another answer", "their answers differ"),
        ("another plan log", "do not tell of the same plans"),
        ("into itself", "is one of the shards"),
        ("being worked on", "another serbench is working on this run"),
    ],
)
def test_what_cannot_be_merged_is_told_in_one_sentence(
    made: Path, tmp_path: Path, what: str, said: str
) -> None:
    runs = parts(made)
    odd, out = tmp_path / "odd", tmp_path / "merged"
    if what == "one missing":
        runs = [runs[0], runs[2]]
    elif what == "no run":
        runs.append(tmp_path)
    elif what == "into itself":
        out = runs[1]
    elif what == "a whole run":
        runs[1] = made / "whole"
    else:
        shutil.copytree(runs[1], odd)
        runs = [*runs, odd] if what == "one twice" else [runs[0], odd, runs[2]]
        spoil(odd, what, other=runs[0])
    held = RunFolder(odd).locked() if what == "being worked on" else nullcontext()
    with held, pytest.raises(BenchError) as error:
        merge_shards(runs, out, Reporter())
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    if out.exists() and out != made / "part-2":
        with Journal(RunFolder(out).journal) as journal:
            assert len(journal.cells()) < 25


def spoil(run: Path, what: str, other: Path) -> None:
    """Change one thing in a copy of a shard."""
    import sqlite3

    def change(name: str, **values: object) -> None:
        path = run / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    def journal(sql: str, *values: object) -> None:
        with sqlite3.connect(run / "journal.sqlite") as base:
            base.execute(sql, values)
        base.close()

    matrix = json.loads((run / "matrix.json").read_text())["matrix"]
    one = sorted((run / "tables").glob("*.parquet"))[0]
    if what == "another count":
        change("asked.json", shard="2/4")
    elif what == "another limit":
        change("asked.json", limit=7)
    elif what == "another matrix":
        change("matrix.json", matrix={**matrix, "plan": {**matrix["plan"], "margin": 0.07}})
    elif what == "a foreign matrix":
        change("matrix.json", matrix={**matrix, "name": "other"})
    elif what == "a cell missing":
        journal("DELETE FROM cells WHERE cell=?", one.stem)
    elif what == "a cell failed":
        journal(
            "UPDATE cells SET state='failed', transient=1, error='the server is away' WHERE cell=?", one.stem
        )
    elif what == "other code":
        journal("UPDATE cells SET cell='0' || substr(cell, 2) || 'x' WHERE cell=?", one.stem)
    elif what == "a damaged table":
        one.write_bytes(one.read_bytes()[:-1])
    elif what == "a lost table":
        one.unlink()
    elif what == "another answer":
        with Journal(RunFolder(other).journal) as theirs:
            cell = next(iter(theirs.cells()))
        columns = "system,task,protocol,condition,fold,seed,state,table_hash,notes,error,transient"
        journal(f"INSERT INTO cells (cell,{columns}) SELECT ?,{columns} FROM cells LIMIT 1", cell)
    elif what == "another plan log":
        (run / "plan_log.json").unlink()


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "1/2/3", "-1/3", "1.5/3", "", "１/３"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected i/n"):
        parse_shard(text)
