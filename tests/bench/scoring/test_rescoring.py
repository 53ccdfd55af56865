"""What a record says can be computed again: from the record alone, and from tables and labels; what was changed is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.errors import DataError, UsageError
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.scoring.predictions import METADATA_KEY, SCHEMA, read_table
from bench.scoring.record_schema import SCHEMA_VERSION
from bench.scoring.records import read_facts, read_record
from bench.scoring.rescoring import Checked, rescore
from bench.storage.hashing import hash_file, hash_json
from tests.conftest import write_tone_corpus

OLD = Path(__file__).with_name("records") / "schema1"
NEW = OLD.with_name("schema2")
PUBLISHED = Path(__file__).resolve().parents[3] / "results" / "quick"


def figures_of(checked: list[Checked]) -> dict[str, Any]:
    return {
        f"{c.path.name} {section} {i} {name}": v
        for c in checked
        for section in ("scores", "slices", "gaps", "chance")
        for i, row in enumerate(getattr(c.record.facts, section))
        for name, v in row.as_json().items()
    }


def test_the_two_ways_agree_to_twelve_digits(run: Path) -> None:
    records, tables = figures_of(rescore(run)), figures_of(rescore(run, "tables"))
    assert records.keys() == tables.keys()
    numbers = {k: v for k, v in records.items() if isinstance(v, float)}
    assert len(numbers) > 500
    assert numbers == pytest.approx({k: tables[k] for k in numbers}, rel=0, abs=1e-12)
    assert {k: v for k, v in records.items() if k not in numbers} == {
        k: v for k, v in tables.items() if k not in numbers
    }


@pytest.mark.real
def test_the_two_ways_agree_on_real_speech(
    real_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "two.yaml").write_text(
        "name: two\nentries:\n  - systems: [majority, chance]\n    seeds: [0, 1]\n"
    )
    settings = RunSettings(
        str(tmp_path / "two.yaml"),
        data=(real_corpora,),
        out=tmp_path / "run",
        only={"task": ["nemo*"]},
        workers=1,
    )
    assert run_matrix(settings, Reporter()).failed == ()
    records, tables = rescore(tmp_path / "run"), rescore(tmp_path / "run", "tables", [real_corpora])
    assert {g.axis for g in records[0].record.facts.gaps} == {
        "gender",
        "duration",
        "emotion",
        "speaker",
    }
    numbers = {k: v for k, v in figures_of(records).items() if isinstance(v, float)}
    again = figures_of(tables)
    assert numbers == pytest.approx({k: again[k] for k in numbers}, rel=0, abs=1e-12)


def test_the_published_results_follow_from_their_records() -> None:
    checked = rescore(PUBLISHED)
    assert len(checked) == len(list((PUBLISHED / "records").glob("*.json")))


def edit(path: Path, change: Callable[[dict[str, Any]], None], *, seal: bool = False) -> None:
    """Change a record's JSON; ``seal`` also mends the hash that guards the scores, as a forger would."""
    facts = json.loads(path.read_text())
    change(facts)
    if seal:
        facts["scores_hash"] = hash_json(facts["scores"])
    path.write_text(json.dumps(facts))


@pytest.mark.parametrize("seal", [False, True])
@pytest.mark.parametrize("field", ["estimate", "high", "clips", "seed_high"])
def test_a_score_edited_by_hand_is_named(run: Path, field: str, seal: bool) -> None:
    path = run / "records" / "majority__tones.ms__within__clean.json"
    forged = 99 if field == "clips" else 0.99
    edit(path, lambda facts: facts["scores"][0].update({field: forged}), seal=seal)
    for source in ("records", "tables"):
        with pytest.raises(
            DataError, match=rf"{path.name}: was changed .*{field} of ua native wrong all is {forged}"
        ):
            rescore(run, source)  # type: ignore[arg-type]


def test_an_edited_slice_and_a_removed_or_added_row_are_named_too(run: Path) -> None:
    path = run / "records" / "chance__tones.ms__within__clean.json"
    whole = path.read_text()
    edit(path, lambda facts: facts["slices"][0].update(estimate=1.0))
    with pytest.raises(DataError, match="estimate of emotion"):
        rescore(run)
    path.write_text(whole)
    edit(path, lambda facts: facts["scores"].pop(), seal=True)
    with pytest.raises(DataError, match=r"1 row\(s\) of scores are missing"):
        rescore(run)
    path.write_text(whole)
    edit(path, lambda facts: facts["scores"].append({**facts["scores"][0], "view": "eight"}), seal=True)
    with pytest.raises(DataError, match="its statistics hold no such score"):
        rescore(run)
    path.write_text(whole)
    edit(path, lambda facts: facts["scores"][0].update(method="none"))
    with pytest.raises(DataError, match="method of ua native wrong all is none"):
        rescore(run)


def test_statistics_that_do_not_follow_from_the_tables_are_noticed(run: Path) -> None:
    # A forger who changes the statistics and every figure and hash is caught where tables and labels are at hand.
    path = run / "records" / "majority__tones.ms__within__clean.json"
    table = pq.read_table(path.with_suffix(".parquet"))
    values = np.array(table["value"].to_pylist())
    values[0] += 1
    pq.write_table(
        table.set_column(table.column_names.index("value"), "value", pa.array(values)),
        path.with_suffix(".parquet"),
    )
    edit(path, lambda facts: facts["statistics"].update(hash=hash_file(path.with_suffix(".parquet"))))
    with pytest.raises(DataError, match="are not what its prediction tables and the corpus's labels give"):
        rescore(run, "tables")


def test_published_records_need_no_run_around_them(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "records", tmp_path / "board" / "records")
    assert len(rescore(tmp_path / "board")) == len(rescore(tmp_path / "board" / "records")) == 2
    with pytest.raises(UsageError, match="holds no prediction tables; use --from records"):
        rescore(tmp_path / "board", "tables")
    with pytest.raises(UsageError, match="is no run and holds no records"):
        rescore(tmp_path)


def test_records_of_schema_1_are_read_and_scored_again() -> None:
    (checked,) = rescore(OLD)
    facts = read_facts(OLD / "majority__indowave.id__within__clean.json")
    assert facts.schema_version == 1
    assert checked.record.scores[0].estimate == facts.scores[0].estimate
    assert {s.metric for s in checked.record.scores} >= {s.metric for s in facts.scores}
    assert checked.record.facts.chance == (), "schema 1 had none"
    levels = {(x.view, x.rule): x.ua for x in checked.record.facts.reference_levels if x.outside == "wrong"}
    assert levels["native", "uniform"] == pytest.approx(0.2), "it follows from the five labels on offer"
    assert levels["four", "uniform"] == pytest.approx(0.2), (
        "where four of five labels lie in a view, a guess is right as often"
    )
    row = next(s for s in facts.scores if (s.view, s.metric, s.rows) == ("native", "ua", "all"))
    assert levels["native", "majority"] == pytest.approx(row.estimate), (
        "the record is that of the system majority"
    )
    assert checked.record.slices == ()
    assert checked.record.facts.slices == ()


def test_records_of_schema_2_stay_readable() -> None:
    # Written when schema 2 was made; a later version may compute intervals otherwise, and then says so.
    (checked,) = rescore(NEW)
    facts = read_facts(NEW / "majority__tones.ms__within__clean.json")
    assert facts.schema_version == 2
    for section in ("scores", "slices", "gaps", "human"):
        stored, computed = getattr(facts, section), getattr(checked.record.facts, section)
        assert stored
        name = "gap" if section == "gaps" else "estimate"
        assert [getattr(r, name) for r in computed] == pytest.approx(
            [getattr(r, name) for r in stored], abs=1e-12
        )
    assert {s.metric for s in facts.scores} >= {
        "rmse",
        "ece",
        "brier",
        "cross_entropy",
        "jensen_shannon",
    }
    assert {b.axis for b in checked.record.slices} == {"gender", "listener"}


def test_records_of_schema_3_stay_readable() -> None:
    # A transfer to a corpus of four classes in the view, seven labels on offer, written when schema 3 was made.
    (checked,) = rescore(OLD.with_name("schema3"))
    facts = checked.record.facts
    assert facts.schema_version == 3
    levels = {(x.view, x.outside, x.rule): x.ua for x in facts.reference_levels}
    assert levels["seven", "wrong", "uniform"] == pytest.approx(1 / 7)
    assert levels["seven", "wrong", "majority"] == facts.scores[0].estimate == 0.0, (
        "angry is learnt most, and never true"
    )
    assert facts.training_labels[0].clips["angry"] == 335
    assert {c.badge for c in facts.cautions} == {"trap", "few speakers", "length tells labels"}
    assert {c.badge for c in facts.cautions_here} == {"trap", "few speakers"}, "what is learnt elsewhere"


def test_a_record_of_the_future_is_refused(run: Path) -> None:
    path = run / "records" / "chance__tones.ms__within__clean.json"
    edit(path, lambda facts: facts.update(schema=99))
    with pytest.raises(
        DataError, match=f"record schema 99, this version reads up to {SCHEMA_VERSION}; update"
    ):
        read_record(path)


def test_another_corpus_under_the_same_name_is_refused(run: Path, tmp_path: Path) -> None:
    write_tone_corpus(tmp_path / "elsewhere" / "tones", speakers=7, dimensions=True, seed=1)
    with pytest.raises(
        DataError, match=r"scored on other .*, another copy of tones.ms: 42 of 42 clips differ; use"
    ):
        rescore(run, "tables", [tmp_path / "elsewhere"])
    write_tone_corpus(tmp_path / "other" / "bells")
    with pytest.raises(DataError, match="the labels of 'tones' are needed"):
        rescore(run, "tables", [tmp_path / "other"])


def first_table(run: Path) -> Path:
    facts = read_facts(run / "records" / "majority__tones.ms__within__clean.json")
    return run / "tables" / f"{sorted(facts.tables)[0]}.parquet"


def test_a_changed_or_missing_prediction_table_is_named(run: Path) -> None:
    table = first_table(run)
    table.write_bytes(table.read_bytes() + b" ")
    with pytest.raises(DataError, match=f"{table.name}: changed since majority"):
        rescore(run, "tables")
    table.unlink()
    with pytest.raises(DataError, match=f"{table.name}: missing, though majority"):
        rescore(run, "tables")


def rewritten(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """Change the rows of a prediction table and leave everything else."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(table.schema.metadata)), path)
    assert METADATA_KEY in pq.read_schema(path).metadata
    return path


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda rows: rows.append(rows[0]), "stands in it twice"),
        (lambda rows: rows[1].update(label="furious"), "is answered with a label that was not offered; offered: happy"),
        (lambda rows: rows[1].update(probabilities=[0.5, 0.4, 0.3]), "probabilities that are not finite, non-negative"),
        (lambda rows: rows[1].update(probabilities=[0.5, 0.5]), "needs 3 probabilities"),
        (lambda rows: rows[2].update(status="lost"), "has an unknown status; known: ok"),
        (lambda rows: rows[0].update(valence=1.5), r"has a dimension outside 0\.\.1"),
    ],
)  # fmt: skip
def test_a_faulty_prediction_table_is_named_with_its_clips(
    run: Path, change: Callable[[list[dict[str, Any]]], None], fault: str
) -> None:
    path = rewritten(first_table(run), change)
    with pytest.raises(DataError, match=f"{path.name}: clip .*{fault}.*") as caught:
        read_table(path)
    assert "(1 such clip(s))" in str(caught.value)


def test_tables_that_do_not_fit_together_are_named(run: Path) -> None:
    path = run / "records" / "majority__tones.ms__within__clean.json"
    facts = read_facts(path)
    dropped = sorted(facts.tables)[0]

    def forget(facts: dict[str, Any]) -> None:
        del facts["tables"][dropped]

    edit(path, forget)
    with pytest.raises(DataError, match=r"of 42 missing, first 'audio/.*' \(no table of fold \d\)"):
        rescore(run, "tables")
    edit(
        path,
        lambda facts: facts["tables"].update({dropped: hash_file(run / "tables" / f"{dropped}.parquet")}),
    )
    table = first_table(run)
    rewritten(table, lambda rows: rows[0].update(clip_id="audio/of-another-corpus.wav"))
    edit(path, lambda facts: facts["tables"].update({table.stem: hash_file(table)}))
    with pytest.raises(DataError, match=r"answers 'audio/of-another-corpus\.wav'"):
        rescore(run, "tables")


def test_clips_taken_as_independent_are_marked_and_surer(run: Path) -> None:
    usual, single = rescore(run), rescore(run, by_clip=True)
    for one, other in zip(usual, single, strict=True):
        a, b = one.record.scores[0], other.record.scores[0]
        assert b.estimate == pytest.approx(a.estimate, abs=1e-12)
        if b.low is None:
            # The majority's UA is constant, over speakers and over clips.
            assert "constant by construction" in b.method
            continue
        assert b.method == "jackknife-t over clips"
        assert "clips were taken as independent" in b.notes[0]
        assert b.clusters == b.clips
