"""One schema for every record: what is on disk reads, says what it said, and what does not belong there is named in a sentence."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cards.registry import corpus_cards, load_system, system_names
from bench.cards.system import ImportedCard
from bench.errors import DataError
from bench.scoring.record_schema import SCHEMA_VERSION, RecordFacts, written_out
from bench.scoring.records import read_facts, read_record, write_record

ROOT = Path(__file__).resolve().parents[3]
OLD = sorted(Path(__file__).with_name("records").glob("*/*.json"))
PUBLISHED = sorted(p for p in ROOT.glob("results/**/records/*.json") if p.with_suffix(".parquet").exists())
RECORD = ROOT / "results/studies/quick_of_november/records/egemaps-svm__indowave.id__within__clean.json"


@pytest.mark.parametrize("path", [*OLD, *PUBLISHED], ids=lambda p: p.stem)
def test_every_record_on_disk_reads_and_says_what_it_said(path: Path) -> None:
    assert read_facts(path).as_json() == json.loads(path.read_text(encoding="utf-8"))


def test_there_are_records_of_every_schema() -> None:
    assert [read_facts(p).schema_version for p in OLD] == [1, 2, 3]
    assert len(PUBLISHED) > 120


def test_a_record_is_written_as_it_was(tmp_path: Path) -> None:
    record = read_record(RECORD)
    write_record(tmp_path / RECORD.name, record.facts, [*record.blocks, *record.slices])
    assert (tmp_path / RECORD.name).read_bytes() == RECORD.read_bytes()


def test_a_record_holds_typed_cards_and_the_plan() -> None:
    facts = read_facts(RECORD)
    assert (facts.plan.level, facts.card.family, facts.corpus_card.cluster) == (0.95, "acoustic", "speaker")
    assert facts.card.packages == (), "what an older record does not say has its default"


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    facts = json.loads(RECORD.read_text(encoding="utf-8"))
    change(facts)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(facts), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(verdict="best"), "says 'verdict', which no record of this version has"),
        (lambda f: f["scores"][0].update(rank=1), "says 'scores.0.rank', which no record"),
        (lambda f: f.update(seeds="all"), "seeds: expected a list, found 'all'"),
        (lambda f: f.update(clips="96"), "clips: expected a whole number, found '96'"),
        (lambda f: f.update(publishable=1), "publishable: expected true or false, found 1"),
        (lambda f: f.update(coverage=1.5), "coverage: expected 1 or less, found 1.5"),
        (lambda f: f["gaps"][0].update(best={}), "gaps.0.best: expected text, found no keys and values ({})"),
        (lambda f: f["gaps"][0].update(left_out=[]), "gaps.0.left_out: expected a whole number"),
        (lambda f: f.update(title="x" * 30_000), "title: expected text of at most 20,000 characters"),
        (lambda f: f["statistics"].update(file="../x.parquet"), "statistics.file: expected a name without slashes"),
        (lambda f: f.pop("code_version"), "says nothing of 'code_version'; score the run again"),
        (lambda f: f["gaps"][0].pop("best"), "says nothing of 'gaps.0.best'; score the run again"),
        (lambda f: f.pop("card"), "says nothing of 'card'; score the run again"),
        (lambda f: f["card"].update(parameters="<b>"), "a card or the plan inside is not one of this version"),
        (lambda f: f["card"].update(warp=9), "a card or the plan inside is not one of this version"),
        (lambda f: f["plan"].update(level=2), "a card or the plan inside is not one of this version"),
        (lambda f: f.update(schema=99, verdict="best"), f"record schema 99, this version reads up to {SCHEMA_VERSION}; update"),
        (lambda f: f.pop("schema"), "not a record of this suite (schema: is missing)"),
        (lambda f: f.update(schema="new"), "not a record of this suite (schema: expected a whole number)"),
    ],
)  # fmt: skip
def test_what_does_not_belong_in_a_record_is_named_in_one_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = changed(tmp_path, change)
    with pytest.raises(DataError) as caught:
        read_facts(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"schema": 2', "[" * 100_000])
def test_what_is_no_record_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match="not a record of this suite"):
        read_facts(tmp_path / "r.json")


def test_an_imported_system_need_not_name_code_of_this_suite(tmp_path: Path) -> None:
    def elsewhere(facts: dict[str, Any]) -> None:
        facts["card"] |= {"adapter": None, "features": None, "probe": None}

    with pytest.raises(DataError, match=r"not one of this version \(expected exactly one"):
        read_facts(changed(tmp_path, elsewhere))
    origin = {"table": "t.csv", "hash": "0" * 32, "rows": 3}
    facts = read_facts(changed(tmp_path, lambda f: (elsewhere(f), f.update(imported=origin))))
    assert isinstance(facts.card, ImportedCard)
    assert facts.imported is not None
    assert facts.imported.rows == 3
    unknown = changed(tmp_path, lambda f: (f["card"].update(warp=9), f.update(imported=origin)))
    with pytest.raises(DataError, match=r"not one of this version \(has 'warp', which no such card has\)"):
        read_facts(unknown)


def test_a_card_is_written_with_all_its_keys_and_reads_again() -> None:
    cards = [*corpus_cards().values(), *(load_system(n) for n in system_names())]
    for card in cards:
        whole = written_out(card)
        written = whole.model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert written == card.model_dump(mode="json", by_alias=True), card.name
        assert type(card).model_validate_json(json.dumps(written)) == card


def test_a_corpus_card_of_the_first_version_reads_whatever_its_layout() -> None:
    """Version 0.1.0 wrote ``from_`` where the card says ``from``."""
    for card in corpus_cards().values():
        assert type(card).model_validate_json(json.dumps(card.model_dump(mode="json"))) == card


def _by_string(tree: ast.AST) -> Iterator[int]:
    """Lines that read something named facts by a constant string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            owner, key = node.value, node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            owner, key = node.func.value, (node.args or [None])[0]
        else:
            continue
        name = getattr(owner, "attr", getattr(owner, "id", ""))
        if name == "facts" and isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield node.lineno


def test_nothing_reads_a_record_by_the_name_of_a_key() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in ("bench", "adapters", "reports")
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in _by_string(ast.parse(path.read_text(encoding="utf-8")))
    ]
    templates = sorted((ROOT / "reports/templates").glob("*.j2"))
    found += [p.name for p in templates for how in ("facts.get(", 'facts["') if how in p.read_text("utf-8")]
    assert found == []
    assert list(_by_string(ast.parse('record.facts["x"]; facts.get("y", 1); facts.clips'))) == [1, 1]


def test_facts_are_frozen() -> None:
    facts = read_facts(RECORD)
    assert isinstance(facts, RecordFacts)
    with pytest.raises(ValueError, match="frozen"):
        facts.clips = 3  # type: ignore[misc]
