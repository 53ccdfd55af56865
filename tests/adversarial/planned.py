"""A run that can be run again under another plan, and a small board for it: for tests of what is said of plans and outcomes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.leaderboard import Board, Publication, validate
from bench.scoring.outcomes import outcome_words
from bench.scoring.plan_log import extend_plan_log, read_plan_log
from bench.scoring.plan_seen import plan_words
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import read_facts
from bench.storage.run_folder import RunFolder

MATRIX = (
    "name: small\nsynthetic: never\nentries:\n  - {{systems: {systems}, seeds: {seeds}}}\nplan: {{{plan}}}\n"
)
RESAMPLES = "resamples: 1000, permutations: 1000"


@dataclass(frozen=True)
class Runner:
    """A finished run of ``majority`` and ``chance`` that may be run again under another plan."""

    folder: RunFolder
    data: Path
    notes: list[str]

    def again(self, *, systems: str = "[majority, chance]", seeds: str = "[0, 1]", **plan: object) -> None:
        """Run again with another matrix."""
        asked = ", ".join([RESAMPLES, *(f"{k}: {v}" for k, v in plan.items())])
        path = self.folder.root.with_name("again.yaml")
        path.write_text(MATRIX.format(systems=systems, seeds=seeds, plan=asked))
        reporter = Reporter()
        reporter.note = self.notes.append  # type: ignore[method-assign]
        run_matrix(RunSettings(str(path), data=(self.data,), out=self.folder.root, workers=1), reporter)

    def replan(self, **plan: object) -> None:
        """Note another plan in the log, as a run would, and compute nothing."""
        (first,) = read_plan_log(self.folder.plan_log)
        matrix = {**first.matrix, "plan": {**first.matrix["plan"], **plan}}
        keys = {f"{i:016x}" for i in range(15)}
        extend_plan_log(self.folder, matrix, first.records, finished=keys, asked=keys)

    def facts(self, system: str = "majority") -> RecordFacts:
        """The record of a system."""
        (path,) = self.folder.records.glob(f"{system}__*.json")
        return read_facts(path)

    def words(self, system: str = "majority") -> str:
        """What its record says of its plan."""
        return plan_words(self.facts(system))

    @property
    def bytes(self) -> dict[str, bytes]:
        """All records."""
        return {p.name: p.read_bytes() for p in sorted(self.folder.records.iterdir())}


RULES = "plan: {resamples: 1000, permutations: 1000}\n"


def publishable(run: Path) -> None:
    """Tests also run on changed code, whose records could not be published."""
    for path in (run / "records").glob("*.json"):
        path.write_text(path.read_text().replace(".dirty", ""))


def sentences(board: Board) -> list[str]:
    return [p.sentence for p in validate(board).problems]


def said(board: Board) -> str:
    found = validate(board)
    assert found.problems == ()
    return outcome_words(found.outcomes, "published")


def only(board: Board) -> Publication:
    (publication,) = board.publications()
    return publication


def drop(folder: Path, system: str) -> None:
    """Make the records of a system disappear."""
    for path in folder.glob(f"{system}__*"):
        path.unlink()


def edit(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the entries of a plan log by hand."""
    stored = json.loads(path.read_text())
    change(stored["entries"])
    path.write_text(json.dumps(stored))
