"""What forgers do, for tests: a small honest board, a stranger's record on it, and every means to change one and hide it.

A forger can write any file of a publication. So each change here is followed by whatever makes it consistent again: figures computed
from the changed statistics, hashes of statistics and tables, the seal.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.leaderboard import Board, Publication, add_run, attest
from bench.scoring.figures import figures
from bench.scoring.record_schema import TrainingLabels
from bench.scoring.records import read_record, write_record
from bench.scoring.reference_levels import learnt_labels
from bench.storage.hashing import hash_file, hash_json
from tests.conftest import write_tone_corpus

MATRIX = """
name: small
synthetic: never
entries:
  - {systems: [majority, chance], seeds: [0, 1]}
plan: {resamples: 1000, permutations: 1000}
"""
RULES = "plan: {resamples: 1000, permutations: 1000}\nattesters: [owner]\n"
STRANGER = "mallory~clever__tones.ms__within__clean"
HONEST = "chance__tones.ms__within__clean"
CARD = {
    "name": "mallory/clever", "title": "Clever", "family": "acoustic", "track": "probed", "adapter": "clever:Clever",
    "licence": "unknown", "training_corpora": [],
}  # fmt: skip

EARLIER = "studies/quick_of_november"
"""What was published as ``quick`` before runs logged their plans: a part of it can stand alone on a board."""
NOT_OF_A_PART = shutil.ignore_patterns("tables", "attested", "retracted.json")
"""For copies of a publication that keep some of its records: files that speak of all of them stay behind."""


def honest_run(folder: Path) -> Path:
    """Run two reference systems on a corpus of tones that may be published; returns the run. The corpus is ``folder/data``."""
    write_tone_corpus(folder / "data" / "tones", speakers=7, dimensions=True)
    (folder / "small.yaml").write_text(MATRIX)
    settings = RunSettings(str(folder / "small.yaml"), data=(folder / "data",), out=folder / "run", workers=1)
    assert run_matrix(settings, Reporter()).failed == ()
    return clean_code(folder / "run")


def clean_code(run: Path) -> Path:
    """Take the mark of uncommitted changes off a run's records, so that tests publish on any day."""
    for path in (run / "records").glob("*.json"):
        path.write_text(path.read_text().replace(".dirty", ""))
    return run


def honest_board(root: Path, run: Path, data: Path) -> Board:
    """A board of the project's own two records, attested by its owner, and a stranger's that nobody has checked."""
    board = Board(root)
    root.mkdir(parents=True)
    (root / "board.yaml").write_text(RULES)
    add_run(run, board, "own")
    attest(board, "owner", ["own"], [data])
    shutil.copytree(root / "own", root / "sent")
    shutil.rmtree(root / "sent/attested")
    for path in (root / "sent/records").iterdir():
        if path.stem != HONEST:
            path.unlink()
        else:
            path.rename(path.with_name(f"{STRANGER}{path.suffix}"))
    change_tables(board, lambda rows, identity: identity.update(system="clever", system_identity="ab" * 16), keep=True)  # fmt: skip

    def rename(facts: dict[str, Any]) -> None:
        facts |= {"system": CARD["name"], "title": CARD["title"], "family": "acoustic", "track": "probed"}
        facts |= {"card": dict(CARD), "system_identity": "ab" * 16, "contamination": "unseen"}
        facts["statistics"]["file"] = f"{STRANGER}.parquet"
        for score in facts["scores"]:
            score |= {"system": CARD["name"], "track": "probed"}

    change_facts(board, rename)
    noted = json.loads(sent(board).outcomes_path.read_text())
    for outcome in noted["records"]:
        if outcome["system"] == "chance":
            outcome["system"] = CARD["name"]
        else:
            outcome |= {"state": "not published", "reason": "left out"}
    sent(board).outcomes_path.write_text(json.dumps(noted))
    sent(board).seal()
    return board


def sent(board: Board) -> Publication:
    """The stranger's publication."""
    return board.publication("sent")


def record_path(board: Board) -> Path:
    """The stranger's record."""
    return sent(board).folder.records / f"{STRANGER}.json"


def change_facts(board: Board, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the stranger's record says, and seal it again."""
    path = record_path(board)
    facts = json.loads(path.read_text())
    change(facts)
    facts["scores_hash"] = hash_json(facts["scores"])
    path.write_text(json.dumps(facts))
    sent(board).seal()


def change_statistics(
    board: Board,
    change: Callable[[list[dict[str, Any]]], object],
    facts_too: Callable[[dict[str, Any]], object] = lambda facts: None,
) -> None:
    """Change the stranger's statistics (rows of its file), and make every figure and hash follow from them."""
    path = record_path(board)
    statistics = path.with_suffix(".parquet")
    rows = pq.read_table(statistics).to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(statistics)), statistics)
    facts = json.loads(path.read_text())
    facts_too(facts)
    facts["statistics"]["hash"] = hash_file(statistics)
    path.write_text(json.dumps(facts))
    record = read_record(path)
    if record.facts.training_labels:  # what was learnt from follows from the truth, too
        learnt = learnt_labels(record.facts.model_copy(update={"training_labels": ()}), record.blocks)
        told = tuple(TrainingLabels(fold=f, clips=c) for f, c in learnt.items())
        record = replace(record, facts=record.facts.model_copy(update={"training_labels": told}))
    computed = figures(record.facts, record.blocks, record.slices)
    write_record(path, record.facts.model_copy(update=vars(computed)), [*record.blocks, *record.slices])
    sent(board).seal()


def change_tables(
    board: Board, change: Callable[[list[dict[str, Any]], dict[str, Any]], object], *, keep: bool = False
) -> None:
    """Change the stranger's prediction tables (rows and identity), and the hashes of them in its record.

    Those that no record names go, unless ``keep``.
    """
    folder, path = sent(board).folder.tables, record_path(board)
    facts = json.loads(path.read_text())
    table = folder / facts["table"]["file"]
    arrow = pq.read_table(table)
    rows, identity = arrow.to_pylist(), json.loads(arrow.schema.metadata[b"serbench"])
    change(rows, identity)
    schema = arrow.schema.with_metadata({b"serbench": json.dumps(identity).encode()})
    own = folder / f"{path.stem}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), own)
    facts["table"] = {"file": own.name, "hash": hash_file(own)}
    if not keep:
        for other in folder.iterdir():
            if other != own:
                other.unlink()
    path.write_text(json.dumps(facts))
    sent(board).seal()
