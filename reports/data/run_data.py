"""What a run folder holds, read once: its plan, its records, and what became of everything that was planned."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import DataError
from bench.execution.planning.matrix import Matrix
from bench.scoring.outcomes import (
    RecordOutcome,
    RunRemains,
    latest_cells,
    run_outcomes,
    unscored_of,
)
from bench.scoring.plan_log import read_plan_log
from bench.scoring.records import Record, read_records
from bench.storage.journal import CellRow, Journal
from bench.storage.run_folder import RunFolder, open_run
from bench.storage.scrubbing import Scrubber
from reports.data.private_words import without_private_words

MACHINE_FACTS = {
    "processor": "processor",
    "cores": "cores",
    "memory_gib": "memory, GiB",
    "devices": "devices",
    "python": "Python",
    "system": "system",
}


@dataclass(frozen=True)
class Failure:
    """One error, and the cells (fold, seed) it hit."""

    system: str
    task: str
    protocol: str
    condition: str
    cells: tuple[str, ...]
    error: str


@dataclass(frozen=True)
class Machine:
    """Where the run was last worked on."""

    facts: tuple[tuple[str, str], ...]
    packages: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class WorkDone:
    """Seconds spent on a system in this run, over all sessions and workers."""

    encode_seconds: float
    fit_seconds: float


@dataclass(frozen=True)
class RunData:
    """Everything a report is made from."""

    matrix: Matrix
    limit: int | None
    corpora: tuple[str, ...]
    records: tuple[Record, ...]
    outcomes: tuple[RecordOutcome, ...]
    failures: tuple[Failure, ...]
    machine: Machine | None
    work: Mapping[str, WorkDone]

    @property
    def synthetic(self) -> bool:
        """Whether any record was made on synthetic audio."""
        return any(r.facts.synthetic for r in self.records)


def read_run_data(path: Path) -> RunData:
    """Read a run folder.

    Raises:
        UsageError: the folder is no run.
        DataError: its plan is missing or unreadable, or a record is damaged.
    """
    folder = open_run(path)
    described = _described(folder)
    try:
        matrix = Matrix.model_validate(described["matrix"])
    except ValidationError as error:
        raise DataError(
            f"{folder.matrix}: the matrix of this run is not one this version knows ({error.error_count()} problems); run the matrix again"
        ) from None
    records = tuple(
        without_private_words(read_records(folder.records), Scrubber.of_this_machine([path.absolute()]))
    )
    with Journal(folder.journal) as journal:
        cells = list(journal.cells().values())
        machine = _machine(journal.sessions())
        seconds: dict[str, float] = defaultdict(float)
        for job in journal.jobs():
            seconds[job.key] += job.seconds
    outcomes = run_outcomes(
        RunRemains(
            described=described,
            records=[r.facts for r in records],
            cells=cells,
            unscored=unscored_of(folder),
            log=read_plan_log(folder.plan_log),
        )
    )
    systems = {o.system for o in outcomes}
    return RunData(
        matrix=matrix,
        limit=described["limit"],
        corpora=tuple(str(c) for c in described["corpora"]),
        records=records,
        outcomes=outcomes,
        failures=_failures(outcomes, cells),
        machine=machine,
        work={s: WorkDone(seconds[f"encode {s}"], seconds[f"fit {s}"]) for s in sorted(systems)},
    )


def _described(folder: RunFolder) -> dict[str, Any]:
    try:
        described = json.loads(folder.matrix.read_text(encoding="utf-8"))
        missing = {"matrix", "limit", "corpora", "records", "blocked"} - set(described)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{folder.matrix}: the plan of this run cannot be read ({error}); run the matrix again with the same --out, what is finished is kept"
        ) from None
    if missing:
        raise DataError(f"{folder.matrix}: lacks {', '.join(sorted(missing))}; run the matrix again")
    return dict(described)


def _failures(outcomes: Sequence[RecordOutcome], cells: Sequence[CellRow]) -> tuple[Failure, ...]:
    """Group the failed cells of records that are missing by their error."""
    missing = {(o.system, o.task, o.protocol, o.condition) for o in outcomes if o.state == "failed"}
    hit: dict[tuple[str, str, str, str, str], list[str]] = defaultdict(list)
    for key in sorted(missing):
        own = [row for row in cells if (row.system, row.task, row.protocol, row.condition) == key]
        for row in latest_cells(own):
            if row.state == "failed":
                hit[*key, row.error or "no message"].append(f"fold {row.fold} seed {row.seed}")
    return tuple(Failure(*key[:4], tuple(sorted(where)), key[4]) for key, where in hit.items())


def _machine(sessions: Sequence[Mapping[str, Any]]) -> Machine | None:
    if not sessions:
        return None
    try:
        noted = json.loads(sessions[-1]["facts"] or "{}")
        packages = tuple((str(k), str(v)) for k, v in sorted(noted.get("packages", {}).items()))
        shown = tuple(
            (name.replace("_", " "), _plain(noted[name])) for name in MACHINE_FACTS if name in noted
        )
    except (ValueError, AttributeError, TypeError):
        return None
    return Machine(shown, packages)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
