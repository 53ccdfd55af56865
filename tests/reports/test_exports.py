"""Scores leave the suite in forms that other programs read: every form is read back by somebody else's parser."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results
from pybtex.database import parse_string
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

from bench.cards.registry import corpus_cards
from bench.scoring.record_schema import SourceDescription
from bench.scoring.records import Record, read_records
from reports.data.comparisons import TaskComparison, compare_systems
from reports.exports import latex
from reports.exports.citations import bibtex
from reports.exports.latex import latex_tables, tex
from reports.exports.model_cards import model_index
from reports.exports.tables import csv_text, score_rows
from reports.exports.writing import write_exports

PUBLISHED = Path(__file__).resolve().parents[2] / "results/quick/records"
HOSTILE = '=cmd|"/c calc"!A1\n<script>\u202eevil}\\input{/etc/passwd}%$&_#^~'


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [r for r in read_records(PUBLISHED) if r.task in ("indowave.id", "emodb.de")]


@pytest.fixture(scope="module")
def comparisons(records: list[Record]) -> list[TaskComparison]:
    return compare_systems(records)


@pytest.fixture(scope="module")
def folder(
    records: list[Record], comparisons: list[TaskComparison], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("exports")
    write_exports(records, comparisons, out)
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
        assert all(line.count("&") - line.count(r"\&") == 5 for line in rows)
    assert "50.0 to 74.6" in text


def test_latex_has_the_joint_intervals_that_decide(folder: Path, comparisons: list[TaskComparison]) -> None:
    first = next(c for c in comparisons if c.task == "emodb.de")
    subject = first.subjects[0]
    (pair,) = (
        p for p in first.within(subject, "probed") if {p.system_a, p.system_b} == {"whisper-base-linear", "egemaps-svm"}
    )  # fmt: skip
    pair = pair if pair.system_a == "egemaps-svm" else pair.turned()
    low, high = (
        f"{100 * x:+.1f}".replace("-", r"\ensuremath{-}")
        for x in (pair.simultaneous_low, pair.simultaneous_high)
    )
    row = next(
        x for x in (folder / "tables.tex").read_text().splitlines() if x.strip().startswith("egemaps-svm")
    )
    assert f"[{low}, {high}]" in row
    assert (pair.low, pair.high) != (pair.simultaneous_low, pair.simultaneous_high)
    pairs = (folder / "pairs.tex").read_text()
    nodes, _, _ = LatexWalker(pairs, tolerant_parsing=False).get_latex_nodes()
    tables = [n for n in nodes if n.isNodeType(LatexEnvironmentNode)]
    assert [t.environmentname for t in tables] == ["longtable"] * 2
    tested = len(first.within(subject, "probed")) + len(first.across(subject))
    assert tables[0].latex_verbatim().count(" less ") == tested


def test_of_a_long_list_of_systems_the_pairs_of_the_first_stand_in_latex(
    comparisons: list[TaskComparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latex, "SYSTEMS_IN_FULL", 2)
    comparison = next(c for c in comparisons if c.task == "emodb.de")
    members = len(comparison.members(comparison.subjects[0], "probed"))
    text = latex.latex_pairs([comparison])
    shown = len(comparison.across(comparison.subjects[0])) + members - 1
    assert text.count(" less ") == shown
    assert f"% {members * (members - 1) // 2 - (members - 1)} more pairs of this track" in text


def test_tests_and_ranks_are_there_as_parquet(folder: Path, comparisons: list[TaskComparison]) -> None:
    pairs = pq.read_table(folder / "pairs.parquet").to_pylist()
    with (folder / "pairs.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    tested = [p for c in comparisons for s in c.subjects for p in c.tested(s)]
    assert sorted((p["task"], p["system_a"], p["system_b"], p["p_adjusted"]) for p in pairs) == sorted(
        (p.task, p.system_a, p.system_b, p.p_adjusted) for p in tested
    )
    assert [float(x["simultaneous_low"]) for x in lines] == [p["simultaneous_low"] for p in pairs]
    ranks = pq.read_table(folder / "ranks.parquet").to_pylist()
    first = comparisons[0]
    wanted = first.rank(first.subjects[0], "probed", "egemaps-svm")
    (own,) = (r for r in ranks if (r["task"], r["system"]) == (first.task, "egemaps-svm"))
    assert wanted is not None
    assert (own["rank_best"], own["rank_worst"], own["systems"]) == (wanted.best, wanted.worst, wanted.of)
    assert {r["track"] for r in ranks} == {"adapted", "probed"}


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
        facts = {r.task: r.facts for r in records if r.system == system}
        for r in results:
            assert r.dataset_revision == facts[r.dataset_config].content_hash
            assert r.dataset_args["source"] == facts[r.dataset_config].corpus_card.source
            assert facts[r.dataset_config].matrix_hash in r.source_name
        card = ModelCard(f"---\n{text}---\n# {system}\n")
        assert isinstance(card.data, ModelCardData)
        assert card.data.eval_results is not None
        assert len(card.data.eval_results) == len(results)


def test_a_hostile_title_stays_a_string_in_the_model_index(records: list[Record]) -> None:
    text = model_index(HOSTILE, [hostile(records[0])], "https://example.org/board")
    data = yaml.safe_load(text)
    assert {r["source"]["url"] for r in data["model-index"][0]["results"]} == {"https://example.org/board"}
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


def test_bibtex_has_nothing_to_warn_of(records: list[Record], tmp_path: Path) -> None:
    cards = [*corpus_cards().values(), corpus_cards()["emodb"].model_copy(update={"name": "EMODB"})]
    cards.append(cards[0].model_copy(update={"name": "a b", "citation": "Speech, and noise: a corpus"}))
    cards.append(cards[0].model_copy(update={"name": "a-b", "citation": ""}))
    made = [replace(records[0], facts=records[0].facts.model_copy(update={"corpus": c.name, "corpus_card": c})) for c in cards]  # fmt: skip
    text = bibtex(made)
    entries = parse_string(text, "bibtex").entries
    assert len(entries) == len(cards), "keys that differ in capitals alone are one key to BibTeX"
    for entry in entries.values():
        assert entry.persons.get("author") or entry.fields["key"], "what it is sorted by"
        assert entry.fields["title"]
        assert entry.fields["year"]
    assert [str(p) for p in entries["crema-d"].persons["author"]] == ["{Cao}", "others"]
    assert not entries["sg-ecmt"].persons, "the name of a model is no author"
    assert entries["cameo"].fields["eprint"] == "2505.11051"
    assert "ASED_V1" in entries["ased"].fields["url"], "an address is taken letter by letter"
    if program := shutil.which("bibtex"):
        (tmp_path / "corpora.bib").write_text(text, encoding="utf-8")
        for style in ("plain", "abbrv", "alpha", "apalike", "ieeetr", "acm"):
            (tmp_path / "a.aux").write_text(
                f"\\relax\n\\citation{{*}}\n\\bibdata{{corpora}}\n\\bibstyle{{{style}}}\n"
            )
            done = subprocess.run([program, "a"], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert "Warning" not in done.stdout + done.stderr, style
            assert done.returncode == 0, done.stdout


def test_what_a_transfer_learnt_from_is_cited_too(records: list[Record]) -> None:
    source = SourceDescription(task="nemo.pl", clips=1, speakers=1, left_out=0)
    learnt = replace(records[0], facts=records[0].facts.model_copy(update={"sources": (source,)}))
    assert "nemo" in parse_string(bibtex([learnt]), "bibtex").entries


def test_the_same_records_give_the_same_bytes(
    folder: Path, records: list[Record], comparisons: list[TaskComparison], tmp_path: Path
) -> None:
    for path in write_exports(records, comparisons, tmp_path):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()
