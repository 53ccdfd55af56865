"""Predictions made elsewhere: scored like those made here, or refused in a sentence that names the line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench.cli.app import app
from bench.corpora.decoded import decode_missing, open_table
from bench.corpora.prepared import open_corpus
from bench.errors import BenchError, DataError, UsageError
from bench.execution.driver import run_matrix
from bench.execution.imports import import_table, read_rows
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.leaderboard import Board, add_run, validate
from bench.scoring.records import read_record
from bench.scoring.rescoring import rescore
from bench.storage.run_folder import cache_folder
from bench.tasks import build_task

CARD = "name: heard-elsewhere\nfamily: audio-llm\ntrack: released\ntitle: Heard elsewhere\n"
LABELS = ("happy", "sad", "angry")


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "card.yaml"
    path.write_text(CARD)
    return path


def clips(finished_run: Path) -> list[dict[str, str]]:
    with (finished_run / "data/tones/metadata.csv").open() as stream:
        return list(csv.DictReader(stream))


def right_but(finished_run: Path, wrong: int = 5) -> list[dict[str, Any]]:
    """Answers that are right but for the first few."""
    return [
        {"clip_id": c["file_name"], "label": "sad" if i < wrong else c["emotion"]}
        for i, c in enumerate(clips(finished_run))
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(dict.fromkeys(k for r in rows for k in r)), restval="")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_the_three_formats_give_the_score_that_was_counted_by_hand(
    run: Path, finished_run: Path, card: Path, tmp_path: Path, ending: str
) -> None:
    rows = right_but(finished_run)
    table = write(tmp_path / f"said{ending}", rows)
    made = import_table(run, table, card)
    truth = [c["emotion"] for c in clips(finished_run)]
    recall = [
        sum(r["label"] == t == x for r, t in zip(rows, truth, strict=True)) / truth.count(x) for x in LABELS
    ]
    score = next(s for s in made.record.scores if s.metric == "ua" and s.view == "native")
    assert score.estimate == pytest.approx(sum(recall) / 3)
    assert score.low < score.estimate < score.high
    assert made.record.facts.imported.rows == len(rows) == 42
    assert made.record.facts.protocol == "zero-shot"
    assert len(rescore(run, "tables", [finished_run / "data"])) == 3


def test_probabilities_dimensions_replies_and_failures_are_kept(
    run: Path, finished_run: Path, card: Path, tmp_path: Path
) -> None:
    rows = []
    for i, row in enumerate(right_but(finished_run, 0)):
        shares = {x: 0.8 if x == row["label"] else 0.1 for x in LABELS}
        rows.append(
            {
                **row,
                "probabilities": json.dumps(shares),
                "valence": 0.1 * (i % 9),
                "reply": f"I hear {row['label']}",
            }
        )
    rows[3] = {"clip_id": rows[3]["clip_id"], "status": "refused", "reply": "<script>alert(1)</script>"}
    made = import_table(run, write(tmp_path / "said.csv", rows), card)
    assert made.record.facts.statuses == {"ok": 41, "refused": 1}
    assert {s.metric for s in made.record.scores} >= {"ua", "brier", "ccc"}
    columns = [
        {**{k: v for k, v in r.items() if k != "probabilities"}, **{f"p_{x}": json.loads(r["probabilities"])[x] for x in LABELS if "probabilities" in r}}
        for r in rows
    ]  # fmt: skip
    again = import_table(run, write(tmp_path / "columns.csv", columns), card)
    assert [s.estimate for s in again.record.scores] == [s.estimate for s in made.record.scores]


def test_an_imported_record_goes_onto_the_board_marked(
    run: Path, finished_run: Path, card: Path, tmp_path: Path
) -> None:
    import_table(run, write(tmp_path / "said.csv", right_but(finished_run)), card)
    for path in (run / "records").glob("*.json"):
        path.write_text(path.read_text().replace(".dirty", ""))
    board = Board(tmp_path / "results")
    board.root.mkdir()
    (board.root / "board.yaml").write_text("plan: {resamples: 1000, permutations: 1000}\n")
    left_out = add_run(run, board).left_out["heard-elsewhere__tones.ms__zero-shot__clean"]
    assert "was imported, so its name needs an owner before it" in left_out
    add_run(run, board, owner="somebody")
    found = validate(board, [finished_run / "data"])
    assert found.problems == ()
    assert {r.record.system: r.imported for r in found.records} == {
        "chance": False,
        "majority": False,
        "somebody/heard-elsewhere": True,
    }
    assert {r.badge for r in found.records} == {"labels"}


def test_running_the_matrix_again_keeps_what_was_imported(
    run: Path, finished_run: Path, card: Path, tmp_path: Path
) -> None:
    made = import_table(run, write(tmp_path / "said.csv", right_but(finished_run)), card)
    before = made.path.read_bytes()
    settings = RunSettings(
        str(finished_run / "small.yaml"), data=(finished_run / "data",), out=run, workers=1
    )
    assert run_matrix(settings, Reporter()).computed == 0
    assert made.path.read_bytes() == before
    assert read_record(made.path).system == "heard-elsewhere"


def folds(finished_run: Path) -> dict[str, str]:
    table = open_table(open_corpus("tones", [finished_run / "data"]), cache_folder())
    decode_missing(table)
    task = build_task(table, "tones.ms", "within")
    return {task.clip_ids[i]: f.name for f in task.folds for i in f.test.tolist()}


def test_a_system_trained_elsewhere_must_have_used_the_suites_folds(
    run: Path, finished_run: Path, card: Path, tmp_path: Path
) -> None:
    card.write_text(CARD.replace("released", "probed"))
    rows = right_but(finished_run)
    with pytest.raises(DataError, match=r"line 2: says no fold; a system trained on tones.ms must"):
        import_table(run, write(tmp_path / "a.csv", rows), card)
    own = folds(finished_run)
    right = [{**r, "fold": own[r["clip_id"]]} for r in rows]
    assert import_table(run, write(tmp_path / "b.csv", right), card).record.facts.folds == 5
    right[7]["fold"] = "3" if right[7]["fold"] != "3" else "2"
    with pytest.raises(DataError, match=r"line 9: .*was tested in fold '[23]', but tones.ms tests it in"):
        import_table(run, write(tmp_path / "c.csv", right), card)


def test_seeds_are_scored_together(run: Path, finished_run: Path, card: Path, tmp_path: Path) -> None:
    rows = [{**r, "seed": s} for s in (0, 7) for r in right_but(finished_run, 5 + s)]
    made = import_table(run, write(tmp_path / "said.csv", rows), card)
    assert made.record.facts.seeds == (0, 7)
    score = made.record.scores[0]
    assert score.seed_low < score.estimate < score.seed_high


Change = Callable[[list[dict[str, Any]]], Any]
FAULTS: dict[str, tuple[Change, str]] = {
    "unknown clip": (lambda r: r[4].update(clip_id="audio/none.wav"), r"line 6: 'audio/none.wav' is no test clip of tones.ms"),
    "traversal": (lambda r: r[4].update(clip_id="../../etc/passwd"), r"line 6: '../../etc/passwd' is no test clip"),
    "missing clip": (lambda r: r.pop(4), r"1 of the 42 test clips of tones.ms have no row with seed 0, first 'audio/"),
    "duplicate": (lambda r: r.append(dict(r[4])), r"line 44: .* is answered again with seed 0, first in .*line 6"),
    "label outside": (lambda r: r[4].update(label="bored"), r"line 6: 'bored' was not on offer in tones.ms \(happy, sad, angry\)"),
    "no emotion": (lambda r: r[4].update(label="hpapy"), r"line 6: 'hpapy' is no emotion .*did you mean 'happy'"),
    "sum": (lambda r: [x.update(p_happy=0.5, p_sad=0.4, p_angry=0.4) for x in r], r"line 2: probabilities sum to 1.3, not to one"),
    "negative": (lambda r: [x.update(p_happy=1.5, p_sad=-0.5, p_angry=0) for x in r], r"line 2: the probability of happy must lie in 0..1"),
    "nan": (lambda r: r[4].update(valence="nan"), r"line 6: valence must be a finite number, found 'nan'"),
    "infinite": (lambda r: r[4].update(arousal="1e999"), r"line 6: arousal must be a finite number"),
    "scale": (lambda r: r[4].update(dominance=4), r"line 6: dominance must lie in 0..1, found 4"),
    "status": (lambda r: r[4].update(status="fine"), r"line 6: status 'fine'"),
    "silent ok": (lambda r: r[4].update(status="ok", label=""), r"line 6: status ok, and neither"),
    "column": (lambda r: r[0].update(lable="x"), r"line 2: unknown column 'lable'; did you mean 'label'"),
    "one seed": (lambda r: r[4].update(seed="1e30"), r"line 6: seed must be a whole number"),
    "seeds": (lambda r: r.extend([{**r[0], "seed": i} for i in range(1, 200)]), r"line 143: more than 100 seeds"),
    "long cell": (lambda r: r[4].update(reply="x" * 200_000), r"not a CSV table in UTF-8 \(field larger"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_line(
    run: Path, finished_run: Path, card: Path, tmp_path: Path, fault: str
) -> None:
    change, said = FAULTS[fault]
    rows = right_but(finished_run)
    change(rows)
    before = sorted((run / "tables").iterdir())
    with pytest.raises(DataError, match=said) as caught:
        import_table(run, write(tmp_path / "said.csv", rows), card)
    assert "\n" not in str(caught.value)
    assert sorted((run / "tables").iterdir()) == before


def test_wrong_usage_says_what_to_do(run: Path, finished_run: Path, card: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "said.csv", right_but(finished_run))
    with pytest.raises(UsageError, match=r"are read from \.csv"):
        import_table(run, tmp_path / "said.xlsx", card)
    with pytest.raises(UsageError, match="no such file"):
        import_table(run, tmp_path / "none.csv", card)
    with pytest.raises(UsageError, match="is no run"):
        import_table(tmp_path, table, card)
    with pytest.raises(UsageError, match=r"no task 'tones.id' at hand; did you mean 'tones.ms'"):
        import_table(run, table, card, task_name="tones.id")
    card.write_text(CARD.replace("heard-elsewhere", "../evil"))
    with pytest.raises(UsageError, match="name"):
        import_table(run, table, card)
    card.write_text("name: majority\nfamily: reference\ntrack: reference\n")
    rows = [{**r, "fold": folds(finished_run)[r["clip_id"]]} for r in right_but(finished_run)]
    with pytest.raises(UsageError, match="this run computed that record itself"):
        import_table(run, write(tmp_path / "b.csv", rows), card)
    strange = write(tmp_path / "strange.csv", [{"clip_id": "x.wav", "label": "sad"}])
    card.write_text(CARD)
    with pytest.raises(DataError, match=r"its clips \('x.wav', …\) are of no task at hand"):
        import_table(run, strange, card)


def test_hostile_files_are_read_within_bounds(tmp_path: Path) -> None:
    line = tmp_path / "long.jsonl"
    line.write_text('{"clip_id": "' + "x" * (2 << 20))
    with pytest.raises(DataError, match="line 1: longer than"):
        list(read_rows(line))
    deep = tmp_path / "deep.jsonl"
    deep.write_text("[" * 200_000 + "\n")
    with pytest.raises(DataError, match=r"nested too deeply|not JSON"):
        list(read_rows(deep))
    bomb = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"clip_id": pa.array(["x"] * 2_500_000)}), bomb)
    assert bomb.stat().st_size < 200_000
    with pytest.raises(DataError, match="announces 2,500,000 rows"):
        list(read_rows(bomb))
    many = tmp_path / "many.csv"
    many.write_text("clip_id,label\n" + "x,sad\n" * 10)
    rows = read_rows(many)
    assert next(rows).clip_id == "x", "rows come one by one, never all at once"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.dictionaries(st.sampled_from(["clip_id", "label", "status", "probabilities", "p_happy", "valence", "reply", "seed", "fold", "x"]), ANYTHING, max_size=6))  # fmt: skip
def test_any_junk_is_an_answer_or_one_sentence(tmp_path: Path, cells: dict[str, Any]) -> None:
    path = tmp_path / "junk.jsonl"
    path.write_text(json.dumps(cells))
    said = ""
    try:
        list(read_rows(path))
    except BenchError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("half.jsonl", '{"clip_id": "a", "label": "sad", "reply": "\\ud800"}', "lone surrogate"),
        ("twice.jsonl", '{"clip_id": "a", "label": "sad", "label": "happy"}', "a key stands twice"),
        ("shares.csv", "clip_id,p_happy,p_sad\na,0.5,0.5\n", "'happy' and 'sad' are equally probable"),
    ],
)
def test_what_could_be_read_in_two_ways_is_not_guessed_at(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        list(read_rows(tmp_path / name))


def test_a_parquet_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.table([["a"], ["sad"], ["happy"]], names=["clip_id", "label", "label"]), tmp_path / "t.parquet"
    )
    with pytest.raises(DataError, match="a column stands twice"):
        list(read_rows(tmp_path / "t.parquet"))


def test_the_command_prints_the_score(run: Path, finished_run: Path, card: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "said.csv", right_but(finished_run))
    done = CliRunner().invoke(app, ["import", str(run), str(table), "--system", str(card), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert said["rows"] == 42
    assert said["scores"][0]["system"] == "heard-elsewhere"
    done = CliRunner().invoke(app, ["score", str(run), "--json"])
    assert "heard-elsewhere" in done.output


@pytest.fixture
def own_classes(finished_run: Path, tmp_path: Path) -> Path:
    """The corpus with two classes that no label table has."""
    data = tmp_path / "own"
    shutil.copytree(finished_run / "data", data)
    (data / "tones/card.yaml").write_text(
        "name: tones\nlanguages: [ms]\nscale: [1, 5]\nclasses: [drawling, clipped-short]\n"
        "labels: {happy: drawling, sad: clipped-short, angry: angry}\n"
    )
    return data


OWN = {"happy": "Drawling", "sad": "clipped_short", "angry": "Anger"}


def own_rows(finished_run: Path) -> list[dict[str, Any]]:
    return [{"clip_id": c["file_name"], "label": OWN[c["emotion"]]} for c in clips(finished_run)]


def test_classes_that_only_the_corpus_has_are_answers_like_any_other(
    run: Path, finished_run: Path, own_classes: Path, card: Path, tmp_path: Path
) -> None:
    rows = own_rows(finished_run)
    shares = [{**r, **{f"p_{x}": 0.8 if r["label"] == x else 0.1 for x in OWN.values()}} for r in rows]
    nested = [
        {**r, "probabilities": {x: 0.8 if r["label"] == x else 0.1 for x in OWN.values()}} for r in rows
    ]
    for path, said in (("said.csv", shares), ("said.jsonl", nested)):
        made = import_table(run, write(tmp_path / path, said), card, data=[own_classes])
        scores = {s.metric: s.estimate for s in made.record.scores if s.view == "native"}
        assert scores["ua"] == 1.0
        assert scores["brier"] == pytest.approx(0.2**2 + 2 * 0.1**2)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("drawlin", r"line 6: 'drawlin' .*no class of this corpus's own; .*did you mean 'drawling'"),
        ("gladd", r"line 6: 'gladd' .*did you mean 'glad' \(our 'happy'\)"),
        ("happy", r"line 6: 'happy' was not on offer in tones.ms \(angry, clipped-short, drawling\)"),
    ],
)
def test_a_label_that_is_neither_canonical_nor_the_corpus_own_is_met_with_a_near_name(
    run: Path, finished_run: Path, own_classes: Path, card: Path, tmp_path: Path, label: str, said: str
) -> None:
    rows = own_rows(finished_run)
    rows[4]["label"] = label
    with pytest.raises(DataError, match=said):
        import_table(run, write(tmp_path / "said.csv", rows), card, data=[own_classes])
