"""What is published names nobody, holds one table per record that a person can open, and old publications become such ones."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from bench.corpora.naming import CorpusNames
from bench.errors import DataError, UsageError
from bench.leaderboard import Board, Publication, add_run, validate
from bench.leaderboard.conversion import FOLLOWS, TAKEN_OVER, convert
from bench.scoring.predictions import read_table
from bench.scoring.published_tables import read_published
from bench.scoring.record_schema import KEYED_SINCE, SCHEMA_VERSION, RecordFacts
from bench.scoring.records import read_facts, read_record
from bench.scoring.rescoring import rescore
from bench.storage.hashing import hash_file
from bench.storage.run_folder import RunFolder
from tests.command import command
from tests.conftest import write_tone_corpus
from tests.old_versions.v0_1_0.make import write_corpus

ROOT = Path(__file__).resolve().parents[3]
OLD = ROOT / "tests/old_versions/v0_1_0/published"
RULES = "plan: {resamples: 1000, permutations: 1000}\n"
STEM = "majority__tones.ms__within__clean"


@pytest.fixture
def board(run: Path, tmp_path: Path) -> Board:
    """A board with the finished run on it."""
    board = Board(tmp_path / "results")
    board.root.mkdir()
    (board.root / "board.yaml").write_text(RULES)
    for path in (run / "records").glob("*.json"):
        path.write_text(path.read_text().replace(".dirty", ""))  # tests also run on changed code
    add_run(run, board)
    return board


def only(board: Board) -> Publication:
    (publication,) = board.publications()
    return publication


def everything_written(folder: Path) -> str:
    """All text of a publication: its JSON, and every text and piece of metadata of its tables."""
    words = [p.read_text(encoding="utf-8") for p in sorted(folder.rglob("*.json"))]
    for path in sorted(folder.rglob("*.parquet")):
        table = pq.read_table(path)
        words += [path.name, str(table.schema.metadata), *(str(c.to_pylist()) for c in table.columns)]
    return "\n".join(words)


def test_nothing_published_names_a_clip_or_a_speaker(run: Path, board: Board) -> None:
    text = everything_written(only(board).folder.root)
    assert not re.search(r"s\d-(happy|sad|angry)|tones/0\d|\.wav", text)
    names = CorpusNames.read(run / "names/tones.ms.json")
    assert names.key.hex() not in text
    facts = read_facts(only(board).folder.records / f"{STEM}.json")
    assert {c.name for c in facts.clusters} == {names.cluster(f"tones/0{i}") for i in range(7)}
    of_run = read_facts(run / f"records/{STEM}.json")
    for private in (*of_run.tables.values(), str(of_run.inputs_hash)):
        assert private not in text, "a hash of tables with clip ids lets a guess of all of them be tried"
    assert read_table(run / "tables" / f"{next(iter(of_run.tables))}.parquet").clip_ids[0].endswith(".wav"), (
        "the run keeps its own"
    )


def test_rows_do_not_stand_in_the_order_of_the_corpus(run: Path, board: Board) -> None:
    for cell in read_published(only(board).folder.tables / f"{STEM}.parquet"):
        assert list(cell.table.clip_ids) == sorted(cell.table.clip_ids)
    names = CorpusNames.read(run / "names/tones.ms.json")
    facts = [read_facts(f / "records" / f"{STEM}.json") for f in (run, only(board).folder.root)]
    folds = [{c.name: c.fold for c in f.clusters} for f in facts]
    dealt = names.folds(sorted({*folds[0].values()}))
    assert {n: dealt[f] for n, f in folds[0].items()} == folds[1]


def test_the_one_table_holds_what_the_cells_held(run: Path, board: Board) -> None:
    of_run = read_facts(run / "records" / "chance__tones.ms__within__clean.json")
    names = CorpusNames.read(run / "names/tones.ms.json")
    cells = [read_table(run / "tables" / f"{c}.parquet") for c in of_run.tables]
    own = {
        (int(t.identity["seed"]), names.clip(c)): (s, a)
        for t in cells
        for c, s, a in zip(t.clip_ids, t.statuses, t.answers, strict=True)
    }
    path = only(board).folder.tables / "chance__tones.ms__within__clean.parquet"
    rows = pq.read_table(path).to_pylist()
    assert {(r["seed"], r["clip"]): (r["status"], r["label"]) for r in rows} == own
    assert {(r["fold"], r["seed"], r["condition"], r["variant"]) for r in rows} == {
        (str(f), s, "clean", "") for f in range(5) for s in (0, 1)
    }
    probabilities = {
        (int(t.identity["seed"]), names.clip(c)): p.tolist()
        for t in cells if t.probabilities is not None for c, p in zip(t.clip_ids, t.probabilities, strict=True)
    }  # fmt: skip
    assert all(
        probabilities.get((r["seed"], r["clip"]), r["probabilities"]) == r["probabilities"] for r in rows
    )


def test_records_and_tables_of_a_publication_give_the_same_figures(
    run: Path, board: Board, finished_run: Path
) -> None:
    root = only(board).folder.root
    data = [finished_run / "data"]
    of_run = {c.path.stem: c.record for c in rescore(run)}
    for checked in (*rescore(root), *rescore(root, "tables", data), *rescore(run, "tables", data)):
        own = of_run[checked.path.stem]
        assert [s.estimate for s in checked.record.scores] == pytest.approx(
            [s.estimate for s in own.scores], abs=1e-12
        )
        assert checked.record.clusters == own.clusters
    assert {r.badge for r in validate(board, data).records} == {"labels"}


def test_the_query_of_the_docs_recomputes_a_published_ua(
    board: Board,
    finished_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    serbench = command(monkeypatch, capsys)
    printed = serbench("corpus", "names", "tones", "--data", str(finished_run / "data")).out
    (tmp_path / "names.csv").write_text(printed)
    assert next(csv.DictReader(io.StringIO(printed)))["emotion"] == "happy"
    assert (
        serbench("corpus", "names", "tones", "--data", str(finished_run / "data"), "--json").json[0]["task"]
        == "tones.ms"
    )
    (query,) = re.findall(
        r"```sql\n(.*?)```", (ROOT / "docs/leaderboard.md").read_text(encoding="utf-8"), re.DOTALL
    )
    table = only(board).folder.tables / "chance__tones.ms__within__clean.parquet"
    query = re.sub(r"'[^']*\.parquet'", f"'{table}'", query).replace(
        "'names.csv'", f"'{tmp_path / 'names.csv'}'"
    )
    ((found,),) = duckdb.connect().execute(query).fetchall()
    record = read_record(only(board).folder.records / "chance__tones.ms__within__clean.json")
    (block,) = [b for b in record.blocks if b.key == ("native", "wrong", "all", "category")]
    counts = block.values[0].sum(axis=0)
    assert found == pytest.approx(float(np.mean(np.diag(counts[:, :-1]) / counts.sum(axis=1))), abs=1e-12)


def test_an_open_corpus_keeps_its_clips_names(cache: Path, tmp_path: Path) -> None:
    from bench.execution.driver import run_matrix
    from bench.execution.prepared_run import RunSettings
    from bench.execution.progress import Reporter

    folder = write_tone_corpus(tmp_path / "data/bells")
    with (folder / "card.yaml").open("a") as card:
        card.write("licence: CC-BY-4.0\naccess: open\nclip_names: open\n")
    (tmp_path / "m.yaml").write_text("name: m\nentries: [{systems: [majority]}]\n" + RULES)
    run_matrix(
        RunSettings(str(tmp_path / "m.yaml"), data=(tmp_path / "data",), out=tmp_path / "run", workers=1),
        Reporter(),
    )
    board = Board(tmp_path / "results")
    add_run(tmp_path / "run", board)
    (table,) = only(board).folder.tables.glob("*.parquet")
    assert set(pq.read_table(table)["clip"].to_pylist()) == {
        f"audio/s{s}-{e}-{c}.wav" for s in range(6) for e in ("happy", "sad", "angry") for c in (0, 1)
    }
    assert len(rescore(only(board).folder.root, "tables", [tmp_path / "data"])) == 1


def test_another_copy_of_the_corpus_is_named_with_the_number_of_clips(
    board: Board, finished_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished_run / "data", tmp_path / "copy")
    for path in sorted((tmp_path / "copy/tones/audio").glob("*.wav"))[:3]:
        wave, rate = soundfile.read(path, dtype="int16")
        soundfile.write(path, wave // 2, rate)
    sentences = [p.sentence for p in validate(board, [tmp_path / "copy"]).problems]
    assert len(sentences) == 2
    assert all("another copy of tones.ms: 3 of 42 clips differ" in s for s in sentences)


def test_two_publications_on_other_copies_cannot_stand_on_one_board(
    run: Path, board: Board, tmp_path: Path
) -> None:
    root = only(board).folder.root
    shutil.copytree(root, board.root / "second")
    names = CorpusNames.read(run / "names/tones.ms.json")
    other = CorpusNames.of_audio([f"{i:032x}" for i in range(42)])
    copies = json.loads((root / "copies.json").read_text())
    copies["copies"]["tones.ms"] = other.marks.as_json()
    (board.root / "second/copies.json").write_text(json.dumps(copies))
    for path in (board.root / "second/records").glob("*.json"):
        facts = json.loads(path.read_text())
        assert facts["audio"] == {"clips": 42, "commitment": names.commitment}
        path.write_text(
            json.dumps(
                facts
                | {"audio": {"clips": 42, "commitment": other.commitment}, "protocol": facts["protocol"]}
            )
        )
    Board(board.root).publication("second").seal()
    assert any(
        "another copy of tones.ms: 42 of 42 clips differ" in p.sentence for p in validate(board).problems
    )


def test_records_copied_from_a_run_by_hand_are_refused(run: Path, board: Board) -> None:
    by_hand = board.root / "by-hand"
    for part in ("records", "tables"):
        shutil.copytree(run / part, by_hand / part)
    shutil.copy(run / "matrix.json", by_hand)
    with pytest.raises(DataError, match=r"is a record as a run keeps it.*serbench leaderboard add RUN"):
        add_run(by_hand, board, "by-hand")
    Publication(board.publication("by-hand").folder).seal()
    assert any(
        "by-hand" in p.sentence and "tables of the run" in p.sentence for p in validate(board).problems
    )


def test_a_publication_can_be_put_on_another_board(board: Board, tmp_path: Path) -> None:
    root = only(board).folder.root
    other = Board(tmp_path / "other")
    other.root.mkdir()
    (other.root / "board.yaml").write_text(RULES)
    add_run(root, other)
    for part in ("records", "tables"):
        pairs = [(p, only(other).folder.root / part / p.name) for p in (root / part).iterdir()]
        assert pairs
        assert all(a.read_bytes() == b.read_bytes() for a, b in pairs)
    assert {r.badge for r in validate(other).records} == {"tables"}
    assert (only(other).folder.copies).read_bytes() == (root / "copies.json").read_bytes()


def test_a_run_without_its_key_says_how_it_is_made_again(run: Path, tmp_path: Path) -> None:
    (run / "names/tones.ms.json").unlink()
    with pytest.raises(DataError, match=r"names/tones.ms.json: is missing.*let serbench run make it again"):
        add_run(run, Board(tmp_path / "results"))
    CorpusNames.of_audio(["ab"] * 3).write(run / "names/tones.ms.json")
    with pytest.raises(DataError, match="is the key of another copy"):
        add_run(run, Board(tmp_path / "results"))
    assert not (tmp_path / "results/small/records").exists(), "what fails leaves nothing half published"


def test_a_changed_or_foreign_table_is_named(board: Board, finished_run: Path) -> None:
    publication = only(board)
    path, other = (
        publication.folder.tables / f"{s}__tones.ms__within__clean.parquet" for s in ("majority", "chance")
    )
    record = publication.folder.records / f"{STEM}.json"
    whole, facts = path.read_bytes(), record.read_text()

    def problem() -> str:
        publication.seal()
        return next(p.sentence for p in validate(board).problems if STEM in p.sentence)

    path.write_bytes(other.read_bytes())
    assert "changed since it was published" in problem()
    record.write_text(json.dumps(json.loads(facts) | {"table": {"file": path.name, "hash": hash_file(path)}}))
    assert "system 'chance'" in problem() or "cells" in problem()
    record.write_text(
        json.dumps(json.loads(facts) | {"table": {"file": other.name, "hash": hash_file(other)}})
    )
    assert f"its own is called {path.name}" in problem()
    record.write_text(facts)
    path.write_bytes(whole)
    rows = pq.read_table(path)
    for damaged, message in (
        (rows.drop_columns(["variant"]), "column 'variant' is missing"),
        (rows.slice(0, 5), "cells"),
        (rows.replace_schema_metadata({}), "not the table of a published record"),
    ):
        pq.write_table(damaged, path)
        record.write_text(
            json.dumps(json.loads(facts) | {"table": {"file": path.name, "hash": hash_file(path)}})
        )
        assert message in problem()


@pytest.fixture
def old(tmp_path: Path, cache: Path) -> Path:
    """A publication of 0.1.0, with its corpus beside it."""
    shutil.copytree(OLD, tmp_path / "old")
    write_corpus(tmp_path / "data")
    return tmp_path / "old"


def comparable(facts: RecordFacts) -> dict[str, Any]:
    return {k: v for k, v in facts.as_json().items() if k in TAKEN_OVER}


def test_an_old_publication_is_converted_once_and_holds(old: Path, tmp_path: Path) -> None:
    data = [tmp_path / "data"]
    before = {p.stem: read_record(p) for p in (old / "small/records").glob("*.json")}
    assert all(r.facts.schema_version < KEYED_SINCE for r in before.values())
    assert {c.state for c in convert(old, data)} == {"converted"}
    for path in (old / "small/records").glob("*.json"):
        now, then = read_record(path), before[path.stem]
        assert now.facts.schema_version == SCHEMA_VERSION
        assert comparable(now.facts).items() >= comparable(then.facts).items(), "who answered stays as it was"
        assert not set(now.clusters) & set(then.clusters)
        for row in then.scores:
            again = next(s for s in now.scores if [getattr(s, k) for k in ("view", "outside", "rows", "metric", "dimension")] == [getattr(row, k) for k in ("view", "outside", "rows", "metric", "dimension")])  # fmt: skip
            assert again.estimate == pytest.approx(row.estimate, abs=1e-12)
    assert len(list((old / "small/tables").iterdir())) == len(before)
    found = validate(Board(old), data)
    assert found.problems == ()
    assert {r.badge for r in found.records} == {"labels"}
    bytes_before = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    assert {c.state for c in convert(old, data)} == {"as it was"}
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == bytes_before


def test_what_cannot_be_converted_is_named_and_left_as_it_is(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serbench = command(monkeypatch, capsys)
    whole = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    done = serbench("leaderboard", "convert", "--results", str(old))
    assert done.code == 1
    assert "the labels of 'tones' are needed" in done.err
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == whole
    first = sorted((old / "small/records").glob("*.json"))[0]
    (old / "small/tables" / f"{next(iter(read_facts(first).tables))}.parquet").unlink()
    outcomes = {c.path.stem: c for c in convert(old, [tmp_path / "data"])}
    assert outcomes[first.stem].state == "left"
    assert "missing" in outcomes[first.stem].reason
    assert {c.state for s, c in outcomes.items() if s != first.stem} == {"converted"}
    assert first.read_bytes() == whole[first]
    with pytest.raises(UsageError, match="holds no published records"):
        list(convert(tmp_path / "data"))


def test_a_record_that_was_set_aside_loses_its_names(old: Path, tmp_path: Path) -> None:
    earlier = Publication(RunFolder(old / "small/superseded/0.1.0+g1"))
    shutil.copytree(old / "small/records", earlier.folder.records)
    shutil.copy(old / "small/matrix.json", earlier.folder.matrix)
    earlier.seal()
    outcomes = list(convert(old, [tmp_path / "data"]))
    assert {c.state for c in outcomes if "superseded" in str(c.path)} == {"nameless"}
    assert {c.state for c in outcomes if "superseded" not in str(c.path)} == {"converted"}
    assert validate(Board(old), [tmp_path / "data"]).problems == (), "seals hold, and figures follow"
    assert {c.state for c in convert(old, [tmp_path / "data"])} == {"as it was"}
    for path in earlier.record_paths():
        record, then = read_record(path), read_record(OLD / "small/records" / path.name)
        text = path.read_text()
        assert not any(name in text for name in (*then.facts.cluster_names(), *then.facts.speaker_names))
        assert [s.estimate for s in record.scores] == [s.estimate for s in then.scores]
        assert all((a.values == b.values).all() for a, b in zip(record.blocks, then.blocks, strict=True))


def test_publishing_over_an_old_publication_keeps_its_figures_without_its_names(
    old: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication = Board(old).publication("small")
    described = json.loads((run / "matrix.json").read_text())
    known = json.loads(publication.folder.matrix.read_text()) | {
        k: described[k] for k in ("matrix", "matrix_hash")
    }
    publication.folder.matrix.write_text(json.dumps(known))
    publication.seal()
    names = {n for p in publication.record_paths() for n in read_facts(p).cluster_names()}
    for path in (run / "records").glob("*.json"):
        path.write_text(path.read_text().replace(".dirty", ""))
    assert len(add_run(run, Board(old)).superseded) == 4
    kept = sorted(publication.folder.superseded.rglob("records/*.json"))
    assert len(kept) == 4
    assert not any(name in p.read_text() for p in kept for name in names)
    assert add_run(run, Board(old)).superseded == (), "the same again replaces nothing"


def test_old_and_new_names_do_not_meet_on_one_board(old: Path, tmp_path: Path) -> None:
    shutil.copytree(old / "small", old / "newer")
    converted = tmp_path / "one"
    shutil.move(old / "newer", converted / "newer")
    list(convert(converted, [tmp_path / "data"]))
    for path in (converted / "newer/records").iterdir():
        if not path.name.startswith("chance"):
            path.unlink()
    for path in (old / "small/records").glob("chance*"):
        path.unlink()
    shutil.move(converted / "newer", old / "newer")
    sentences = [p.sentence for p in validate(Board(old)).problems]
    assert any("serbench leaderboard convert" in s for s in sentences)


def test_every_fact_either_follows_or_is_taken_over() -> None:
    assert not FOLLOWS & TAKEN_OVER
    undecided = (
        set(RecordFacts.model_fields)
        - FOLLOWS
        - TAKEN_OVER
        - {n for n in RecordFacts.model_fields if n.startswith("ua_")}
    )
    assert not undecided, "say in bench/leaderboard/conversion.py what conversion does with these"
