"""Folders of a run and of the cache, and the lock that keeps two drivers apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.storage.atomic import remove_unfinished
from bench.storage.locking import exclusive


@dataclass(frozen=True)
class RunFolder:
    """Where the parts of a run lie."""

    root: Path

    @property
    def journal(self) -> Path:
        """The SQLite journal."""
        return self.root / "journal.sqlite"

    @property
    def tables(self) -> Path:
        """Prediction tables, one per cell."""
        return self.root / "tables"

    @property
    def records(self) -> Path:
        """Scored records."""
        return self.root / "records"

    @property
    def superseded(self) -> Path:
        """Records that the plan no longer has, as they were last scored: nothing that was computed is thrown away."""
        return self.root / "superseded"

    @property
    def work(self) -> Path:
        """Checkpoints of fits that are not finished."""
        return self.root / "work"

    @property
    def log(self) -> Path:
        """What workers and libraries print."""
        return self.root / "run.log"

    @property
    def status(self) -> Path:
        """What the workers are doing, while a driver works; not for publication."""
        return self.root / "status.json"

    @property
    def planned(self) -> Path:
        """The cells of every record as the last driver planned them; not for publication."""
        return self.root / "planned.json"

    @property
    def sidecar(self) -> Path:
        """Times, hardware and package versions."""
        return self.root / "sidecar.json"

    @property
    def matrix(self) -> Path:
        """The matrix as it was run, with the data it found."""
        return self.root / "matrix.json"

    @property
    def plan_log(self) -> Path:
        """Every plan this run was asked to follow, with its time and the cells that were finished by then; only added to."""
        return self.root / "plan_log.json"

    @property
    def unscored(self) -> Path:
        """Complete records that could not be scored, by file stem, with the reason."""
        return self.root / "unscored.json"

    @property
    def data(self) -> Path:
        """Where this machine holds the prepared corpora, by name; not for publication."""
        return self.root / "data.json"

    @property
    def names(self) -> Path:
        """The keys under which names are published, a file per corpus and language; not for publication."""
        return self.root / "names"

    @property
    def copies(self) -> Path:
        """Of a publication: marks by which a holder learns in how many clips his copy of a corpus differs."""
        return self.root / "copies.json"

    @property
    def asked(self) -> Path:
        """How this run was asked for on this machine: where relative card paths start, parameters set, limit, data folders."""
        return self.root / "asked.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; a second driver is refused. What a killed one was writing goes."""
        busy = f"{self.root}: another serbench is working on this run; wait for it, or choose another --out"
        with exclusive(self.root, ".lock", busy):
            remove_unfinished(self.root)
            yield


def open_run(path: Path) -> RunFolder:
    """Return a run that exists.

    Raises:
        UsageError: the folder is no run.
    """
    folder = RunFolder(path)
    if not folder.journal.exists():
        if folder.records.is_dir():
            raise UsageError(
                f"{path}: holds records but no {folder.journal.name}, so they were published and the run is elsewhere; "
                f"give the run's folder, or make pages of what is published with: serbench leaderboard build --results {path.parent}"
            )
        raise UsageError(
            f"{path}: is no run (no {folder.journal.name} in it); make one with: serbench run MATRIX --out {path}"
        )
    return folder


def cache_folder() -> Path:
    """Return where decoded audio and features are kept: SERBENCH_CACHE, else the user's cache folder."""
    if named := os.environ.get("SERBENCH_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serbench"
