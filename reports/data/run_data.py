"""What a run folder holds, read once: its plan, its records, and what became of everything that was planned."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bench.errors import DataError
from bench.execution.planning.matrix import Matrix
from bench.scoring.records import Record, read_records
from bench.storage.journal import CellRow, Journal
from bench.storage.run_folder import RunFolder, open_run
from bench.storage.scrubbing import Scrubber
from reports.data.private_words import without_private_words

State = Literal["scored", "unscorable", "failed", "cannot run here", "unfinished", "not run"]
MACHINE_FACTS = {
    "processor": "processor",
    "cores": "cores",
    "memory_gib": "memory, GiB",
    "devices": "devices",
    "python": "Python",
    "system": "system",
}


@dataclass(frozen=True)
class RecordOutcome:
    """A planned record, and whether it came to be. ``reason`` says why it did not."""

    system: str
    task: str
    protocol: str
    condition: str
    state: State
    reason: str = ""


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
    stems = [str(s) for s in described["records"]]
    blocked = {str(k): str(v) for k, v in described["blocked"].items()}
    refused = {str(k): str(v) for k, v in described.get("refused", {}).items()}
    outcomes = _outcomes(stems, records, cells, blocked, refused, _unscored(folder))
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


def _unscored(folder: RunFolder) -> dict[str, str]:
    """Why complete records could not be scored, by file stem; nothing where no such note was left."""
    try:
        noted = json.loads(folder.unscored.read_text(encoding="utf-8"))
        return {str(k): str(v) for k, v in noted.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _outcomes(
    stems: Sequence[str],
    records: Sequence[Record],
    cells: Sequence[CellRow],
    blocked: Mapping[str, str],
    refused: Mapping[str, str],
    unscored: Mapping[str, str],
) -> tuple[RecordOutcome, ...]:
    scored = {(r.system, r.task, r.regime, r.facts.condition) for r in records}
    by_record: dict[tuple[str, str, str, str], list[CellRow]] = defaultdict(list)
    for row in cells:
        by_record[row.system, row.task, row.protocol, row.condition].append(row)
    known = {row.system for row in cells} | {r.system for r in records} | set(blocked)
    planned = dict.fromkeys([split_stem(s, known) for s in stems] + sorted(scored))
    reasons = {split_stem(s, known): reason for s, reason in refused.items()}
    unfit = {split_stem(s, known): reason for s, reason in unscored.items()}
    return tuple(
        RecordOutcome(*key, "unscorable", unfit[key])
        if key in unfit and key not in scored
        else RecordOutcome(
            *key, *_state(key, scored, by_record[key], reasons.get(key) or blocked.get(key[0]))
        )
        for key in sorted(planned)
    )


def split_stem(stem: str, systems: set[str]) -> tuple[str, str, str, str]:
    """Take the name of a record apart: system, task, protocol, condition.

    A system's name may itself hold ``__``: where there is a choice, a known system decides.

    >>> split_stem("my__svm__emodb.de__within__clean", {"my__svm"})
    ('my__svm', 'emodb.de', 'within', 'clean')
    """
    rest, protocol, condition = stem.rsplit("__", 2)
    parts = rest.split("__")
    splits = [("__".join(parts[:i]), "__".join(parts[i:])) for i in range(1, len(parts))]
    system, task = next((s for s in splits if s[0] in systems), splits[0] if splits else (rest, ""))
    return system, task, protocol, condition


def _state(
    key: tuple[str, str, str, str],
    scored: set[tuple[str, str, str, str]],
    cells: Sequence[CellRow],
    blocked: str | None,
) -> tuple[State, str]:
    latest = _latest(cells)
    failed = sum(row.state == "failed" for row in latest)
    if key in scored:
        return "scored", ""
    if failed:
        return "failed", f"{failed} of the {len(latest)} cells tried failed"
    if blocked is not None:
        return "cannot run here", blocked
    if latest:
        return "unfinished", f"{len(latest)} cells are done, no record was scored"
    return "not run", "left out so far (--only, or the run was stopped)"


def _latest(cells: Sequence[CellRow]) -> list[CellRow]:
    """Keep the newest row of each fold and seed: rows of earlier code stay in the journal under other keys."""
    return list({(row.fold, row.seed): row for row in cells}.values())


def _failures(outcomes: Sequence[RecordOutcome], cells: Sequence[CellRow]) -> tuple[Failure, ...]:
    """Group the failed cells of records that are missing by their error."""
    missing = {(o.system, o.task, o.protocol, o.condition) for o in outcomes if o.state == "failed"}
    hit: dict[tuple[str, str, str, str, str], list[str]] = defaultdict(list)
    for key in sorted(missing):
        own = [row for row in cells if (row.system, row.task, row.protocol, row.condition) == key]
        for row in _latest(own):
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
