"""When a plan was made, as far as a run can tell: a log that is only added to, beside the run's journal.

Each entry holds a matrix as it was asked for, what it planned, and how many cells were finished by then. An entry names the
hash of the one before and its own, so that an edited, shortened or reordered log is found. Whoever runs a second plan in a
second folder leaves no trace here: that is what ``serbench plan register`` is for.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from bench.cards.analysis_plan import AnalysisPlan
from bench.cards.typed_yaml import Strict
from bench.errors import DataError
from bench.scoring.record_schema import Count, Hash, Text
from bench.scoring.records import read_facts
from bench.storage.atomic import write_json
from bench.storage.bounded_files import bounded_json
from bench.storage.hashing import HASH, hash_json
from bench.storage.journal import CellRow
from bench.storage.run_folder import RunFolder

LOG_SCHEMA = 1
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_INERT = ("name", "description")
"""What a matrix says that decides neither what is run nor how it is judged."""
_WORDS = 300
"""Characters of a value that a change is told with."""


class LoggedChange(Strict):
    """A part of a matrix, as it was and as it is now, in words."""

    what: Text
    old: Text
    new: Text


class PlanLogEntry(Strict):
    """A plan as a run first saw it, or saw it again after another."""

    time: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """UTC."""
    plan_hash: Hash
    matrix_hash: Hash
    cells: Count
    """Finished cells of the run folder by then, whichever matrix asked for them; imported ones count."""
    of: Count
    """Those cells and the ones that this plan asks for and can compute here."""
    note: Text = ""
    changes: tuple[LoggedChange, ...] = ()
    matrix: dict[str, Any]
    records: dict[str, tuple[int, ...]]
    """Seeds of every planned record, by its file stem; none of a record that was refused."""
    previous: Hash | None
    hash: Hash

    @property
    def content_hash(self) -> str:
        """What ``hash`` must be."""
        return hash_json(self.model_dump(mode="json", exclude={"hash"}))

    @cached_property
    def plan(self) -> Mapping[str, Any]:
        """The analysis plan as this version would write it, so that a new field with its usual value is no change."""
        return _as_written_now(self.matrix["plan"])


PlanLog = tuple[PlanLogEntry, ...]


def read_plan_log(path: Path) -> PlanLog:
    """Read a plan log.

    Args:
        path: ``plan_log.json`` of a run or of a publication.

    Returns:
        Its entries, oldest first; none where there is no such file.

    Raises:
        DataError: it is damaged, was edited, or goes back in time or in cells.
    """
    if not path.exists() and not path.is_symlink():
        return ()
    stored = bounded_json(path)
    if not isinstance(stored, dict) or stored.get("schema") != LOG_SCHEMA or not stored.get("entries"):
        raise DataError(
            f"{path}: is no plan log of this version (schema {LOG_SCHEMA}, with entries){_RESTORE}"
        )
    try:
        log = tuple(PlanLogEntry.model_validate(e) for e in stored["entries"])
    except (ValidationError, TypeError) as error:
        where = error.errors()[0]["loc"] if isinstance(error, ValidationError) else ()
        said = ".".join(map(str, where)) or "an entry"
        raise DataError(f"{path}: {said} is not as a plan log has it{_RESTORE}") from None
    try:
        fault = next(_faults(log), None)
    except RecursionError:
        fault = "a matrix in it is nested too deeply"
    if fault:
        raise DataError(f"{path}: {fault}{_RESTORE}")
    return log


_RESTORE = "; restore the file as the run wrote it: when plans were made cannot be told from an edited log"


def _faults(log: PlanLog) -> Iterator[str]:
    for number, (before, entry) in enumerate(zip((None, *log), log, strict=False), start=1):
        said = f"entry {number} "
        if not isinstance(entry.matrix.get("plan"), dict):
            yield said + "holds no analysis plan"
        elif entry.matrix_hash != hash_json(entry.matrix) or entry.plan_hash != hash_json(
            entry.matrix["plan"]
        ):
            yield said + "holds another matrix than its hashes name"
        elif entry.hash != entry.content_hash:
            yield said + "was changed after it was written: its hash is another"
        elif entry.previous != (before.hash if before else None):
            yield said + "does not follow the one before it: an entry was removed, added or moved"
        elif entry.cells > entry.of:
            yield said + f"has {entry.cells} finished cells of {entry.of}"
        elif before is not None and entry.cells < before.cells:
            yield said + f"has {entry.cells} finished cells, fewer than the {before.cells} before it"
        elif before is not None and entry.time < before.time:
            yield said + f"is dated {entry.time}, before the {before.time} of the one before it"
        elif entry.changes != (changes_between(before, entry.matrix, entry.records) if before else ()):
            yield said + "tells other changes than those between its matrices"


def extend_plan_log(
    folder: RunFolder,
    matrix: Mapping[str, Any],
    records: Mapping[str, Sequence[int]],
    *,
    finished: Collection[str],
    asked: Collection[str],
) -> tuple[PlanLogEntry, bool]:
    """Note a plan before anything is computed under it; a plan that did not change adds nothing.

    Args:
        folder: the run folder, locked by this process.
        matrix: the matrix as JSON values, defaults written out.
        records: seeds of every record that it plans on the corpora at hand, by file stem.
        finished: keys of all finished cells of the folder.
        asked: keys of the cells that the plan asks for and that can be computed here.

    Returns:
        The entry that stands last now, and whether it is new.

    Raises:
        DataError: the log is damaged, or its last entry is dated later than this machine's clock.
    """
    log = read_plan_log(folder.plan_log)
    planned = {stem: tuple(seeds) for stem, seeds in sorted(records.items())}
    last = log[-1] if log else None
    if last is not None and last.matrix_hash == hash_json(matrix) and last.records == planned:
        return last, False
    now = time.strftime(_TIME, time.gmtime())
    if last is not None and now < last.time:
        raise DataError(
            f"{folder.plan_log}: its last entry is dated {last.time}, later than this machine's clock ({now}); set the clock right"
        )
    # What was finished once counts, even where somebody removed it since.
    cells = max(len(finished), last.cells if last else 0)
    draft = PlanLogEntry(
        time=now,
        plan_hash=hash_json(matrix["plan"]),
        matrix_hash=hash_json(matrix),
        cells=cells,
        of=max(cells, len(set(finished) | set(asked))),
        note=f"not logged before; {cells} cells existed" if last is None and cells else "",
        changes=changes_between(last, matrix, planned) if last else (),
        matrix=dict(matrix),
        records=planned,
        previous=last.hash if last else None,
        hash="0" * 16,
    )
    entry = draft.model_copy(update={"hash": draft.content_hash})
    write_plan_log(folder, (*log, entry))
    return entry, True


def write_plan_log(folder: RunFolder, log: PlanLog) -> None:
    """Write a run's plan log anew."""
    entries = [e.model_dump(mode="json") for e in log]
    write_json(folder.plan_log, {"schema": LOG_SCHEMA, "entries": entries})


def joined_plan_logs(logs: Mapping[str, PlanLog]) -> PlanLog:
    """The log of a run that is put together from shards: its plans, each with the cells that all of them had by then.

    Args:
        logs: of the shards, by name; a shard that was begun later lacks the plans before.

    Returns:
        The longest log, its counts summed over the shards; dates are the latest at which a shard noted the plan.

    Raises:
        DataError: the shards saw different plans, or one saw none.
    """
    longest = max(logs, key=lambda name: len(logs[name]))
    seen: list[list[PlanLogEntry]] = [[] for _ in logs[longest]]
    for name, log in logs.items():
        place = -1
        for entry in log:
            place = next(
                (i for i in range(place + 1, len(seen)) if _same_plan(logs[longest][i], entry)), len(seen)
            )
            if place == len(seen):
                raise DataError(_APART.format(name, longest))
            seen[place].append(entry)
        if not log or not _same_plan(log[-1], logs[longest][-1]):
            raise DataError(_APART.format(name, longest))
    return _with_counts(logs, logs[longest], seen)


_APART = (
    "the plan logs of {} and {} do not tell of the same plans, so nobody can say which came before the results; compute the one "
    "that is wrong anew"
)


def _same_plan(one: PlanLogEntry, other: PlanLogEntry) -> bool:
    return one.matrix_hash == other.matrix_hash and one.records == other.records


def _with_counts(
    logs: Mapping[str, PlanLog], longest: PlanLog, seen: Sequence[Sequence[PlanLogEntry]]
) -> PlanLog:
    """The entries of the longest log, with the counts and the latest dates of all."""
    joined: list[PlanLogEntry] = []
    for place, entries in enumerate(seen):
        told = longest[place]
        cells = sum(_cells_by(log, longest[: place + 1]) for log in logs.values())
        before = joined[-1] if joined else None
        cells = max(cells, before.cells if before else 0)
        draft = told.model_copy(
            update={
                "time": max([e.time for e in entries] + ([before.time] if before else [])),
                "cells": cells,
                "of": max(cells, *(e.of for e in entries)),
                "note": f"not logged before; {cells} cells existed" if before is None and cells else "",
                "changes": changes_between(before, told.matrix, told.records) if before else (),
                "previous": before.hash if before else None,
            }
        )
        joined.append(draft.model_copy(update={"hash": draft.content_hash}))
    return tuple(joined)


def _cells_by(log: PlanLog, plans: Sequence[PlanLogEntry]) -> int:
    """Finished cells of a shard when it noted the last of these plans, or the last that it noted of them."""
    known = [e.cells for e in log if any(_same_plan(e, p) for p in plans)]
    return known[-1] if known else 0


def finished_keys(folder: RunFolder, rows: Mapping[str, CellRow]) -> set[str]:
    """Keys of all finished cells of a run: by its journal, its prediction tables (a journal may be lost), and its imports.

    Args:
        folder: the run folder.
        rows: of its journal, by cell.
    """
    found = {key for key, row in rows.items() if row.state == "done"}
    found |= {p.stem for p in folder.tables.glob("*.parquet") if HASH.fullmatch(p.stem)}
    for path in folder.records.glob("*.json"):
        try:
            facts = read_facts(path)
        except DataError:
            continue  # whoever reads records says so
        if facts.imported is not None:
            found |= set(facts.tables)
    return found


def changes_between(
    before: PlanLogEntry, matrix: Mapping[str, Any], records: Mapping[str, Sequence[int]]
) -> tuple[LoggedChange, ...]:
    """What a matrix says and plans otherwise than an entry of the log, the analysis first.

    Args:
        before: the entry.
        matrix: the matrix, JSON values.
        records: seeds of every record it plans, by file stem.
    """
    found = list(plan_changes(before.plan, _as_written_now(matrix["plan"])))
    for name in ("synthetic", "conditions", "entries", *_INERT):
        if name not in before.matrix or name not in matrix:
            continue  # a version that does not write it says nothing of it
        old, new = before.matrix[name], matrix[name]
        if _said_otherwise(old, new):
            shown = (
                (_counted(old), f"{_counted(new)}, not the same")
                if name == "entries"
                else (_value(old), _value(new))
            )
            found.append(LoggedChange(what=name, old=shown[0], new=shown[1]))
    gone, come = sorted(set(before.records) - set(records)), sorted(set(records) - set(before.records))
    if gone or come:
        listed = [f"{len(stems)} {word}, first {stems[0]}" for stems, word in ((come, "added"), (gone, "left out")) if stems]  # fmt: skip
        found.append(
            LoggedChange(
                what="records",
                old=str(len(before.records)),
                new=f"{len(records)} ({'; '.join(listed)})",
            )
        )
    found += _seed_changes(before.records, records)
    return tuple(found)


def _seed_changes(
    old: Mapping[str, Sequence[int]], new: Mapping[str, Sequence[int]]
) -> Iterator[LoggedChange]:
    by_change: dict[tuple[str, str], list[str]] = {}
    for stem in sorted(set(old) & set(new)):
        if old[stem] and new[stem] and tuple(old[stem]) != tuple(new[stem]):
            by_change.setdefault((_value(old[stem]), _value(new[stem])), []).append(stem)
    for (was, now), stems in by_change.items():
        more = f" and {len(stems) - 1} more" if len(stems) > 1 else ""
        yield LoggedChange(what=f"seeds of {stems[0]}{more}", old=was, new=now)


def plan_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[LoggedChange]:
    """Fields of two analysis plans that differ."""
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield LoggedChange(what=name, old=_value(old.get(name)), new=_value(new.get(name)))


def only_inert(changes: Sequence[LoggedChange]) -> bool:
    """Whether changes are of the matrix's name or description alone."""
    return all(c.what in _INERT for c in changes)


def logged_words(entry: PlanLogEntry) -> str:
    """Say what an entry changed, and after how many cells.

    ``the analysis was changed after 39 of 39 cells were computed: margin 0.02 -> 0.05``; where the analysis plan stayed as
    it was it is *what is run* that was changed.
    """
    told = [c for c in entry.changes if c.what not in _INERT]
    subject = "the analysis" if any(c.what in AnalysisPlan.model_fields for c in told) else "what is run"
    words = ", ".join(f"{c.what} {c.old} -> {c.new}" for c in told)
    return f"{subject} was changed after {entry.cells} of {entry.of} cells were computed: {words}"


def follows(entry: PlanLogEntry, before: PlanLogEntry) -> bool:
    """Whether two entries judge alike: their analysis plans say the same."""
    return entry.plan == before.plan


def steps(log: PlanLog) -> Iterator[tuple[PlanLogEntry, PlanLogEntry]]:
    """Entries that came once there were finished cells, each after the one before it."""
    return ((before, now) for before, now in pairwise(log) if now.cells)


def _as_written_now(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return AnalysisPlan.model_validate(plan).model_dump(mode="json")
    except ValidationError:
        return plan  # of a later version: compared as it stands


def _said_otherwise(old: Any, new: Any) -> bool:
    """Whether two parts of matrices differ in what both say: a key that only a later version writes is no change."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) != len(new) or any(map(_said_otherwise, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return any(_said_otherwise(old[k], new[k]) for k in set(old) & set(new))
    return bool(old != new)


def _counted(entries: Any) -> str:
    return str(len(entries)) if isinstance(entries, list) else _value(entries)


def _value(value: Any) -> str:
    """A value as it is told: lists by their members."""
    if isinstance(value, list | tuple):
        text = ", ".join(
            " against ".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for v in value
        )
        text = text or "none"
    else:
        text = "none" if value is None else str(value)
    return text if len(text) <= _WORDS else text[: _WORDS - 1] + "…"
