"""Scores leave the suite in forms that other programs read: every form is read back by somebody else's parser."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results
from pybtex.database import parse_string
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

from bench.scoring.record_schema import SourceDescription
from bench.scoring.records import Record, read_records
from reports.data.comparisons import compare_systems
from reports.exports import bibtex, csv_text, latex_tables, model_index, score_rows, tex, write_exports

PUBLISHED = Path(__file__).resolve().parents[2] / "results/quick/records"
HOSTILE = '=cmd|"/c calc"!A1\n<script>\u202eevil}\\input{/etc/passwd}%$&_#^~'


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [r for r in read_records(PUBLISHED) if r.task in ("indowave.id", "emodb.de")]


@pytest.fixture(scope="module")
def folder(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports")
    write_exports(records, compare_systems(records), out)
    return out


def hostile(record: Record) -> Record:
    facts = record.facts
    names = {"system": HOSTILE, "task": HOSTILE}
    card = {"title": HOSTILE, "citation": HOSTILE, "source": "javascript:alert(1)"}
    changed = {
        **names,
        "corpus_card": facts.corpus_card.model_copy(update=card),
        "scores": tuple(s.model_copy(update=names) for s in facts.scores),
    }
    return replace(record, facts=facts.model_copy(update=changed))


def test_the_three_tables_hold_the_same_figures_as_the_records(folder: Path, records: list[Record]) -> None:
    wanted = [(s.system, s.task, s.metric, s.estimate) for r in records for s in r.scores]
    rows = json.loads((folder / "scores.json").read_text())
    parquet = pq.read_table(folder / "scores.parquet").to_pylist()
    with (folder / "scores.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    for read in (rows, parquet, lines):
        assert [(r["system"], r["task"], r["metric"], float(r["estimate"])) for r in read] == wanted
    assert {bool(r["imported"]) for r in rows} == {False}


def test_a_spreadsheet_runs_nothing(records: list[Record]) -> None:
    text = csv_text(score_rows([hostile(records[0])]))
    for row in csv.reader(io.StringIO(text)):
        assert not any(cell.startswith(("=", "+", "-", "@")) and not _is_number(cell) for cell in row)
    assert "\u202e" not in text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def tabulars(text: str) -> list[LatexEnvironmentNode]:
    nodes, _, _ = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    tables = [n for n in nodes if n.isNodeType(LatexEnvironmentNode)]
    assert all(n.environmentname == "table" for n in tables)
    return [n for t in tables for n in t.nodelist if n.isNodeType(LatexEnvironmentNode)]


def test_latex_tables_parse_and_show_every_system_with_its_interval(
    folder: Path, records: list[Record]
) -> None:
    text = (folder / "tables.tex").read_text()
    made = tabulars(text)
    assert len(made) == 2
    for tabular, task in zip(made, ("emodb.de", "indowave.id"), strict=True):
        inner = tabular.latex_verbatim()
        assert all(r.system.replace("_", r"\_") in inner for r in records if r.task == task)
        rows = [line for line in inner.splitlines() if line.strip().endswith(r"\\")]
        assert all(line.count("&") - line.count(r"\&") == 4 for line in rows)
    assert "68.6 to 83.0" in text


def test_latex_holds_against_hostile_names(records: list[Record]) -> None:
    group = [hostile(records[0]), *(hostile(r) for r in records[1:2])]
    text = latex_tables(compare_systems(group[:1]))
    (tabular,) = tabulars(text)
    assert r"\input" not in text
    assert "textbackslash{}input" in tabular.latex_verbatim()
    assert tex("a_b & 50 %") == r"a\_b \& 50 \%"


def test_the_model_index_is_one_that_the_hub_reads(folder: Path, records: list[Record]) -> None:
    for system in {r.system for r in records}:
        text = (folder / f"model-index/{system}.yaml").read_text()
        data = yaml.safe_load(text)
        name, results = model_index_to_eval_results(data["model-index"])
        assert name == system
        own = {(s.task, s.metric): s.estimate for r in records if r.system == system for s in r.scores if s.view == "native" and s.rows == "all"}  # fmt: skip
        assert {(r.dataset_config, r.metric_type) for r in results} == {
            k for k in own if k[1] in ("ua", "wa")
        }
        assert all(r.metric_value == own[r.dataset_config, r.metric_type] for r in results)
        card = ModelCard(f"---\n{text}---\n# {system}\n")
        assert isinstance(card.data, ModelCardData)
        assert card.data.eval_results is not None
        assert len(card.data.eval_results) == len(results)


def test_a_hostile_title_stays_a_string_in_the_model_index(records: list[Record]) -> None:
    text = model_index(HOSTILE, [hostile(records[0])])
    data = yaml.safe_load(text)
    assert list(data) == ["model-index"]
    assert data["model-index"][0]["name"] == HOSTILE


def test_the_corpora_are_cited(folder: Path, records: list[Record]) -> None:
    entries = parse_string((folder / "corpora.bib").read_text(), "bibtex").entries
    assert set(entries) == {"emodb", "indowave"}
    assert entries["emodb"].fields["year"] == "2005"
    assert entries["indowave"].fields["doi"] == "10.17632/j9ytfdzy27"
    (entry,) = parse_string(bibtex([hostile(records[0])]), "bibtex").entries.values()
    assert "url" not in entry.fields
    assert r"\input" not in str(entry.fields["title"]).replace("textbackslash{}input", "")


def test_what_a_transfer_learnt_from_is_cited_too(records: list[Record]) -> None:
    source = SourceDescription(task="nemo.pl", clips=1, speakers=1, left_out=0)
    learnt = replace(records[0], facts=records[0].facts.model_copy(update={"sources": (source,)}))
    assert "nemo" in parse_string(bibtex([learnt]), "bibtex").entries


def test_the_same_records_give_the_same_bytes(folder: Path, records: list[Record], tmp_path: Path) -> None:
    for path in write_exports(records, compare_systems(records), tmp_path):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()
