"""What has been done in a run: an SQLite journal that only the driver writes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.storage.atomic import clear_os_errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cells (
  cell TEXT PRIMARY KEY, system TEXT NOT NULL, task TEXT NOT NULL, protocol TEXT NOT NULL, condition TEXT NOT NULL,
  fold TEXT NOT NULL, seed INTEGER NOT NULL, state TEXT NOT NULL, table_hash TEXT, notes TEXT, error TEXT, transient INTEGER);
CREATE TABLE IF NOT EXISTS jobs (
  number INTEGER PRIMARY KEY, session TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
  clips INTEGER NOT NULL, seconds REAL NOT NULL, work_seconds REAL NOT NULL, started REAL NOT NULL, error TEXT);
CREATE TABLE IF NOT EXISTS sessions (
  session TEXT PRIMARY KEY, started REAL NOT NULL, wall_seconds REAL, workers INTEGER, facts TEXT);
"""
_CELL_COLUMNS = "cell,system,task,protocol,condition,fold,seed,state,table_hash,notes,error,transient"
_JOB_COLUMNS = "session,kind,name,key,clips,seconds,work_seconds,started,error"
_PUT_CELL = f"INSERT OR REPLACE INTO cells ({_CELL_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
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
    """The journal of one run folder. Each method is one transaction; a kill leaves the last finished one."""

    def __init__(self, path: Path) -> None:
        with clear_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
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
        self._says_transient = "transient" in named
        self._gathered: list[_Statement] | None = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def cells(self) -> dict[str, CellRow]:
        """Return all cells by key."""
        columns = _CELL_COLUMNS if self._says_transient else _CELL_COLUMNS.replace(",transient", ",NULL")
        rows = self._read(f"SELECT {columns} FROM cells")
        return {row[0]: CellRow(*row[:-1], *_said(row[-1])) for row in rows}

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
        rows = self._read(f"SELECT {_JOB_COLUMNS} FROM jobs ORDER BY number")
        return [JobRow(*row) for row in rows]

    def sessions(self) -> list[Mapping[str, Any]]:
        """Return all drivers that worked on this run, oldest first."""
        names = ("session", "started", "wall_seconds", "workers", "facts")
        rows = self._read(f"SELECT {','.join(names)} FROM sessions ORDER BY started")
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
        """Add the column that journals of earlier versions lack; whoever only reads them changes nothing."""
        if not self._says_transient:
            self._write(("ALTER TABLE cells ADD COLUMN transient INTEGER", [()]))
            self._says_transient = True

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


def _said(flag: int | None) -> list[bool | None]:
    """The last column of a cell: yes, no, or nothing said."""
    return [None if flag is None else bool(flag)]
