"""Records read with suspicion and computed again, what was found remembered, and many of them checked at once.

What is remembered lies in a folder of the cache, outside of what others can write into: a mark there is believed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from bench.leaderboard.lazy_records import stored_record
from bench.leaderboard.neighbours import Truth, truth_of
from bench.leaderboard.own_evidence import require_possible
from bench.leaderboard.table_evidence import require_tables
from bench.scoring.record_schema import RecordFacts
from bench.scoring.recording import figures_code
from bench.scoring.records import Record, read_facts, read_record
from bench.scoring.rescoring import Checked, from_record
from bench.storage.atomic import write_text
from bench.storage.bounded_files import (
    JSON_BYTES,
    PARQUET_BYTES,
    bounded_json,
    require_bounded_parquet,
    require_bounded_statistics,
    require_plain_file,
)
from bench.storage.hashing import digest, hash_file, hash_json
from bench.storage.source_code import package_hash

WORTH_WORKERS = 24
"""Records from which on it pays to start processes, which take about as long as checking so many."""


def bounded_facts(path: Path) -> RecordFacts:
    """Read what a record says, and make sure that its statistics can be read.

    Raises:
        DataError: too large, too deep, not a record, or statistics that announce too much.
    """
    bounded_json(path)
    facts = read_facts(path)
    require_bounded_parquet(path.with_suffix(".parquet"))
    require_bounded_statistics(
        path,
        seeds=len(facts.seeds),
        blocks=[(len(facts.cluster_names(b.axis)), len(b.labels), len(b.sums or ())) for b in facts.blocks],
    )
    return facts


class Believed:
    """Remembers, in a folder of the cache, which record files were found to follow from their statistics, and their truths."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._code = hash_json([figures_code(), package_hash("bench.leaderboard")])
        self._truths: dict[Path, Truth] = {}

    def facts(self, path: Path) -> RecordFacts:
        """Read what a record says: within bounds, unless these very bytes were found within them before.

        Raises:
            DataError: as :func:`bounded_facts` says.
        """
        require_plain_file(path, JSON_BYTES)
        require_plain_file(path.with_suffix(".parquet"), PARQUET_BYTES)
        known = self._folder is not None and self._mark(path).exists()
        return read_facts(path) if known else bounded_facts(path)

    def record(self, path: Path, facts: RecordFacts) -> Record:
        """Read a record that says ``facts`` and check it, unless these very bytes were checked by this very code before."""
        if self._folder is None:
            record = self._checked(path).record
            self._truths[path] = truth_of(record)
            return record
        mark = self._mark(path)
        try:
            self._truths[path] = Truth.from_json(json.loads(mark.read_text(encoding="utf-8")))
            return stored_record(path, facts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # never checked, or noted by something else
        checked = self._checked(path)
        self._truths[path] = truth_of(checked.record)
        if checked.note:
            return checked.record
        write_text(mark, json.dumps(self._truths[path].as_json(), separators=(",", ":")))
        return stored_record(path, facts)

    def truth(self, path: Path) -> Truth:
        """What the record at ``path``, which was believed, says of the truth."""
        return self._truths[path]

    def _checked(self, path: Path) -> Checked:
        record = read_record(path)
        require_possible(path, record)  # before anything is computed from it
        return from_record(path, record)

    def require_tables(self, path: Path, record: Record, folder: Path) -> None:
        """Raise :class:`DataError` unless a record's tables are its own and agree with it, unless these very ones did before.

        Args:
            path: the record.
            record: what it says, believed.
            folder: where its tables lie.
        """
        mark = None if self._folder is None else self._mark(path, "tables")
        if mark is None or not mark.exists() or not _unchanged(record.facts, folder):
            require_tables(path, record, folder)
            if mark is not None:
                write_text(mark, "")

    def knows(self, path: Path, folder: Path | None) -> bool:
        """Whether a record was checked before, with its tables where there are any."""
        if self._folder is None:
            return False
        return self._mark(path).exists() and (
            folder is None or not folder.is_dir() or self._mark(path, "tables").exists()
        )

    def _mark(self, path: Path, *kind: str) -> Path:
        assert self._folder is not None
        return self._folder / digest(
            hash_file(path), hash_file(path.with_suffix(".parquet")), self._code, *kind
        )


def _unchanged(facts: RecordFacts, folder: Path) -> bool:
    """Whether the tables of a record are those that it names."""
    tables = {f"{cell}.parquet": table_hash for cell, table_hash in facts.tables.items()}
    if facts.table is not None:
        tables[facts.table.file] = facts.table.hash
    return all((folder / n).is_file() and hash_file(folder / n) == h for n, h in tables.items())


def check_ahead(records: Sequence[tuple[Path, Path | None]], cache: Path) -> None:
    """Check many records in several processes, which leave in the cache what they found to hold.

    What does not hold is left alone: whoever reads it next finds it unchecked, and says what is wrong.

    Args:
        records: paths of records, each with the folder of its tables, or None where these are not looked at.
        cache: folder of the marks.
    """
    believed = Believed(cache)
    new = [(p, t) for p, t in records if not _known(believed, p, t)]
    workers = min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8
    )
    if workers < 2 or len(new) < WORTH_WORKERS:
        return
    jobs = [(p, t, cache) for p, t in new]
    try:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(_check_one, jobs, chunksize=max(1, min(16, len(jobs) // (4 * workers)))))
    except (BrokenProcessPool, OSError):
        pass  # a process was killed, or none could be started: everything is checked here


def _known(believed: Believed, path: Path, folder: Path | None) -> bool:
    try:
        return believed.knows(path, folder)
    except OSError:
        return False


def _check_one(job: tuple[Path, Path | None, Path]) -> None:
    path, folder, cache = job
    try:
        believed = Believed(cache)
        record = believed.record(path, bounded_facts(path))
        if folder is not None and folder.is_dir():
            believed.require_tables(path, record, folder)
    except Exception:  # noqa: BLE001 - hostile files: whatever it was is found again, and told, by whoever reads the record
        return
