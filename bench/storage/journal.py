"""What has been done in a run: an SQLite journal that only the driver writes."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.errors import BenchError
from bench.storage.atomic import clear_os_errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cells (
  cell TEXT PRIMARY KEY, system TEXT NOT NULL, task TEXT NOT NULL, protocol TEXT NOT NULL, condition TEXT NOT NULL,
  fold TEXT NOT NULL, seed INTEGER NOT NULL, state TEXT NOT NULL, table_hash TEXT, notes TEXT, error TEXT, transient INTEGER,
  seconds REAL, ended REAL, memory_bytes INTEGER, gpu_memory_bytes INTEGER, joules REAL);
CREATE TABLE IF NOT EXISTS jobs (
  number INTEGER PRIMARY KEY, session TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
  clips INTEGER NOT NULL, seconds REAL NOT NULL, work_seconds REAL NOT NULL, started REAL NOT NULL, error TEXT);
CREATE TABLE IF NOT EXISTS sessions (
  session TEXT PRIMARY KEY, started REAL NOT NULL, wall_seconds REAL, workers INTEGER, facts TEXT);
"""
_FIRST_COLUMNS = "cell,system,task,protocol,condition,fold,seed,state,table_hash,notes,error"
_ADDED_COLUMNS = {
    "transient": "INTEGER", "seconds": "REAL", "ended": "REAL", "memory_bytes": "INTEGER", "gpu_memory_bytes": "INTEGER", "joules": "REAL",
}  # fmt: skip
"""Of cells, what journals of earlier versions lack."""
_CELL_COLUMNS = ",".join((_FIRST_COLUMNS, *_ADDED_COLUMNS))
_JOB_COLUMNS = "session,kind,name,key,clips,seconds,work_seconds,started,error"
_PUT_CELL = f"INSERT OR REPLACE INTO cells ({_CELL_COLUMNS}) VALUES ({','.join('?' * (_CELL_COLUMNS.count(',') + 1))})"
_PUT_JOB = f"INSERT INTO jobs ({_JOB_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)"
_Statement = tuple[str, list[tuple[Any, ...]]]
_MOVE_AWAY = (
    "move journal.sqlite out of the run's folder, and run the same command again: finished tables are then predicted again, and "
    "nothing else is lost"
)


@dataclass(frozen=True)
class CellRow:
    """A cell's state: ``done`` with the hash of its table, or ``failed`` with its error."""

    cell: str
    system: str
    task: str
    protocol: str
    condition: str
    fold: str
    seed: int
    state: str
    table_hash: str | None
    notes: str | None
    error: str | None
    transient: bool | None = None
    """Of a failure: whether its cause lies outside the cell, so that another time may do; None where nobody said."""
    seconds: float | None = None
    """Its share of the job that it was computed in: the job's seconds by the number of its cells. None where nobody said."""
    ended: float | None = None
    """When that job ended, in seconds since the epoch."""
    memory_bytes: int | None = None
    """Most resident memory of the worker's process during the job."""
    gpu_memory_bytes: int | None = None
    """Most memory of the GPU that the worker's tensors took during the job."""
    joules: float | None = None
    """Its share of what the GPU used during the job, all that ran on it included."""


@dataclass(frozen=True)
class JobRow:
    """One finished piece of work: ``work_seconds`` is the part spent in decoders and models."""

    session: str
    kind: str
    name: str
    key: str
    clips: int
    seconds: float
    work_seconds: float
    started: float
    error: str | None = None


class Journal:
    """The journal of one run folder. Each method is one transaction; a kill leaves the last finished one.

    Args:
        path: of the SQLite file, which is made where there is none.
        read_only: write nothing at all: a file that is not there is an error. See :func:`reading`.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        if not read_only:
            with clear_os_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if read_only:
                self._db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
            else:
                self._db = sqlite3.connect(path)
                self._db.executescript("PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;" + _SCHEMA)
            found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            named = {row[1] for row in self._db.execute("PRAGMA table_info(cells)")}
        except sqlite3.DatabaseError as error:
            raise BenchError(
                f"{path}: the journal cannot be opened ({error}); check the folder's permissions, or where the file is damaged {_MOVE_AWAY}"
            ) from None
        if found != "ok":
            self._db.close()
            raise BenchError(f"{path}: the journal is damaged ({' '.join(str(found).split())}); {_MOVE_AWAY}")
        self._begun = bool(named)
        self._lacks = [column for column in _ADDED_COLUMNS if column not in named]
        self._gathered: list[_Statement] | None = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def cells(self) -> dict[str, CellRow]:
        """Return all cells by key."""
        if not self._begun:
            return {}
        added = ["NULL" if column in self._lacks else column for column in _ADDED_COLUMNS]
        rows = self._read(f"SELECT {','.join((_FIRST_COLUMNS, *added))} FROM cells")
        said = _FIRST_COLUMNS.count(",") + 1
        return {row[0]: CellRow(*(*row[:said], _said(row[said]), *row[said + 1 :])) for row in rows}

    def record(self, cells: Iterable[CellRow], job: JobRow) -> None:
        """Write the outcome of one job: all its cells, or none."""
        self._make_room()
        statements = (
            (_PUT_CELL, [tuple(vars(c).values()) for c in cells]),
            (_PUT_JOB, [tuple(vars(job).values())]),
        )
        if self._gathered is None:
            self._write(*statements)
        else:
            self._gathered += statements

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write what is recorded inside the block as one transaction: syncing a disk may take longer than a short job.

        What was recorded when something goes wrong in the block is written all the same.
        """
        self._make_room()
        self._gathered = []
        try:
            yield
        finally:
            gathered, self._gathered = self._gathered, None
            if gathered:
                self._write(*gathered)

    def begin(self, session: str, workers: int, facts: str) -> None:
        """Note that a driver starts, now.

        Args:
            session: its id.
            workers: processes it starts.
            facts: machine and packages, as JSON.
        """
        self._write(("INSERT INTO sessions VALUES (?,?,NULL,?,?)", [(session, time.time(), workers, facts)]))

    def end(self, session: str, wall_seconds: float) -> None:
        """Note that a driver ended in good order."""
        self._write(("UPDATE sessions SET wall_seconds=? WHERE session=?", [(wall_seconds, session)]))

    def jobs(self) -> list[JobRow]:
        """Return all finished pieces of work, oldest first."""
        rows = self._read(f"SELECT {_JOB_COLUMNS} FROM jobs ORDER BY number") if self._begun else []
        return [JobRow(*row) for row in rows]

    def sessions(self) -> list[Mapping[str, Any]]:
        """Return all drivers that worked on this run, oldest first."""
        names = ("session", "started", "wall_seconds", "workers", "facts")
        rows = self._read(f"SELECT {','.join(names)} FROM sessions ORDER BY started") if self._begun else []
        return [dict(zip(names, row, strict=True)) for row in rows]

    def adopt(
        self, cells: Iterable[CellRow], jobs: Iterable[JobRow], sessions: Iterable[Mapping[str, Any]]
    ) -> None:
        """Take over what another journal holds: all of it, or nothing. Sessions that are here already bring nothing twice.

        Args:
            cells: of the other journal.
            jobs: of the other journal.
            sessions: of the other journal.
        """
        self._make_room()
        known = {s["session"] for s in self.sessions()}
        new = [s for s in sessions if s["session"] not in known]
        self._write(
            (_PUT_CELL, [tuple(vars(c).values()) for c in cells]),
            (_PUT_JOB, [tuple(vars(j).values()) for j in jobs if j.session not in known]),
            ("INSERT INTO sessions VALUES (?,?,?,?,?)", [tuple(s.values()) for s in new]),
        )

    def _make_room(self) -> None:
        """Add the columns that journals of earlier versions lack; whoever only reads them changes nothing."""
        for column in self._lacks:
            self._write((f"ALTER TABLE cells ADD COLUMN {column} {_ADDED_COLUMNS[column]}", [()]))
        self._lacks = []

    def _read(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql).fetchall()
        except sqlite3.DatabaseError as error:
            raise BenchError(f"the journal cannot be read ({error}); {_MOVE_AWAY}") from None

    def _write(self, *statements: _Statement) -> None:
        try:
            with self._db:
                for sql, rows in statements:
                    self._db.executemany(sql, rows)
        except sqlite3.DatabaseError as error:
            raise BenchError(
                f"the journal cannot be written ({error}): is the disk full or the folder read-only? What is finished is kept; run the same command again"
            ) from None


@contextmanager
def reading(path: Path) -> Iterator[Journal]:
    """Read a journal, whoever writes it, and change no byte of its folder.

    What a killed driver left half written must be rolled back before anything can be read; that is done in a copy.

    Args:
        path: of a journal that exists.
    """
    unfinished = path.with_name(f"{path.name}-journal")
    with tempfile.TemporaryDirectory() as aside:
        try:
            journal = Journal(path, read_only=True)
        except BenchError:
            if not unfinished.exists():
                raise
            for file in (path, unfinished):
                shutil.copy(file, aside)
            journal = Journal(Path(aside) / path.name)
        with journal:
            yield journal


def _said(flag: int | None) -> bool | None:
    """A flag as it was written: yes, no, or nothing said."""
    return None if flag is None else bool(flag)
