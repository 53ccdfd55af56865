"""Jobs for machines that do not see the driver's files: a job with the paths it names, the files it reads, those it made.

A job goes out pickled with its paths written as (root, rest), so that the other machine can put its own folders in their
place; what the job reads travels beside it, once per machine, and what it wrote comes back and is put where it belongs.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from bench.audio.store import DecodedClip
from bench.execution.executors.carriers import Carrier
from bench.execution.jobs import ConditionJob, DecodeJob, EncodeJob, FitJob, Job
from bench.execution.planning.systems import System
from bench.storage.atomic import replacing

RUN = 0
"""Number of the root that is the run's folder."""


@dataclass(frozen=True)
class FileMark:
    """A file as the driver has it."""

    root: int
    rest: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class MadeFile:
    """A file that a job wrote."""

    root: int
    rest: str
    reference: Any
    """What its carrier fetches it by."""


class Roots:
    """Folders that stand for each other on two machines. The last is where everything else lies: ``/`` on the driver.

    Args:
        folders: the run's folder, the cache, and the root of all other files, in this order.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)

    def split(self, path: PurePath) -> tuple[int, str] | None:
        """The root a path lies under, and the rest; None for a relative path, which is not touched."""
        if not path.is_absolute():
            return None
        for number, root in enumerate(self.folders):
            if path.is_relative_to(root):
                return number, str(path.relative_to(root))
        return None

    def join(self, number: int, rest: str) -> Path:
        """The path on this machine."""
        return self.folders[number] / rest

    def pack(self, job: Job) -> bytes:
        """Pickle a job, its paths by their roots."""
        stream = io.BytesIO()
        _Packer(stream, self).dump(job)
        return stream.getvalue()

    def unpack(self, data: bytes) -> Job:
        """The job, with this machine's paths."""
        job: Job = _Unpacker(io.BytesIO(data), self).load()
        return job


class _Packer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, roots: Roots) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._roots = roots

    def persistent_id(self, obj: Any) -> tuple[int, str] | None:
        return self._roots.split(obj) if isinstance(obj, PurePath) else None


class _Unpacker(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, roots: Roots) -> None:
        super().__init__(stream)
        self._roots = roots

    def persistent_load(self, pid: Any) -> Path:
        return self._roots.join(*pid)


def files_of(job: Job) -> list[Path]:
    """The files that a job may read, as far as they are there."""
    wanted = dict.fromkeys(_named(job))
    return [path for path in wanted if path.is_file()]


def _named(job: Job) -> Iterator[Path]:
    if isinstance(job, DecodeJob):
        yield from (job.shard.folder / clip for clip in job.shard.clip_ids)
    elif isinstance(job, ConditionJob):
        yield from _samples([*job.shard.clips, *(clip for _, clip in job.shard.voices)])
    elif isinstance(job, EncodeJob):
        yield from _samples(job.decoded)
        yield from _weights(job.system)
    else:
        yield from _read_by_fit(job)


def _read_by_fit(job: FitJob) -> Iterator[Path]:
    system = job.group.system
    yield from _weights(system)
    if system.feature_key is not None:
        yield from sorted((job.cache / "features" / system.feature_key).glob("*"))
    if system.card.probe is None:
        yield from _samples(job.group.data.decoded)
        for sounding in job.conditioned.values():
            yield from _samples(sounding.values())
        yield from sorted((job.work / job.group.key).rglob("*"))
    if system.card.family == "audio-llm":
        yield from sorted((job.cache / "replies").glob("*.sqlite"))


def _samples(clips: Iterable[DecodedClip]) -> Iterator[Path]:
    return (clip.shard for clip in clips if clip.message is None)


def _weights(system: System) -> Iterator[Path]:
    if system.weights is not None:
        folder = system.weights.folder
        yield from sorted(folder.rglob("*")) if folder.is_dir() else [folder]


def mark(path: Path, roots: Roots) -> FileMark:
    """Describe a file of the driver."""
    status = path.stat()
    place = roots.split(path.absolute())
    assert place is not None, "the last root holds every path"
    return FileMark(*place, status.st_size, status.st_mtime_ns)


class Mirror:
    """A machine's copies of the driver's files, and what jobs add to them; for one job at a time.

    Args:
        folder: that holds them.
        carrier: fetches them.
        shared: folder in which the workers of this machine keep what they fetched, for each other: weights come once per machine.
    """

    def __init__(self, folder: Path, carrier: Carrier, shared: Path) -> None:
        self.roots = Roots([folder / "run", folder / "cache", folder / "files"])
        self._carrier, self._shared = carrier, shared
        self._have: dict[tuple[int, str], FileMark] = {}
        self._before: dict[Path, tuple[int, int]] = {}

    def receive(self, files: Sequence[FileMark], references: Sequence[Any]) -> None:
        """Fetch the files that are not here, or are here as they were before.

        Args:
            files: that a job reads.
            references: to each, in the same order.
        """
        for file, reference in zip(files, references, strict=True):
            if self._have.get((file.root, file.rest)) != file:
                path = self.roots.join(file.root, file.rest)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._fetch(file, reference, path)
                self._have[file.root, file.rest] = file

    def _fetch(self, file: FileMark, reference: Any, path: Path) -> None:
        path.unlink(missing_ok=True)  # it may be another name of a shared file, which stays as it is
        shared = self._shared / f"{self._carrier.name(reference)}-{file.mtime_ns}"
        # A fit's checkpoints and a data base of replies are written to, each by its worker.
        own = file.root == RUN or path.suffix == ".sqlite"
        with contextlib.suppress(OSError):
            if not own:
                path.hardlink_to(shared)
                return
        self._carrier.fetch(reference, path)
        os.utime(path, ns=(file.mtime_ns, file.mtime_ns))
        # Another worker may be first, or end and clean up; and not every disk has links.
        with contextlib.suppress(OSError):
            if not own:
                self._shared.mkdir(parents=True, exist_ok=True)
                shared.hardlink_to(path)

    def begin(self) -> None:
        """Note what is here before a job."""
        self._before = dict(self._present())

    def made(self) -> list[MadeFile]:
        """What the job wrote or changed, in the run's folder and in the cache."""
        found = []
        for path, state in self._present():
            if self._before.get(path) != state:
                place = self.roots.split(path)
                assert place is not None
                found.append(MadeFile(*place, self._carrier.send_back(path)))
                self._have.pop(place, None)
        return found

    def _present(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        for root in self.roots.folders[:2]:
            for path in sorted(root.rglob("*")):
                unfinished = path.name.startswith(".") and path.name.endswith(".tmp")
                if path.is_file() and not unfinished and not path.name.endswith(("-journal", "-wal", "-shm")):
                    status = path.stat()
                    yield path, (status.st_size, status.st_mtime_ns)


def take_in(
    files: Iterable[MadeFile], job: Job, roots: Roots, carrier: Carrier
) -> Iterator[tuple[Path, Any]]:
    """Put what a job made elsewhere where it belongs; a data base is added to the one that is there.

    Args:
        files: that it wrote.
        job: as the driver has it.
        roots: of the driver.
        carrier: fetches them.

    Yields:
        Each file that is here now as it was made there, and its reference.
    """
    for file in files:
        path = roots.join(file.root, file.rest)
        if path.suffix == ".sqlite" and path.exists():
            with tempfile.TemporaryDirectory() as folder:
                other = Path(folder) / path.name
                carrier.fetch(file.reference, other)
                _add_rows(path, other)
        else:
            with replacing(path) as temporary:
                carrier.fetch(file.reference, temporary)
            yield path, file.reference
    if isinstance(job, FitJob):  # finished: its checkpoints are gone where it ran, too
        shutil.rmtree(job.work / job.group.key, ignore_errors=True)


def _add_rows(path: Path, other: Path) -> None:
    """Add the rows of another copy of a data base that this one lacks; both have the same tables."""
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as base:
        base.execute("ATTACH DATABASE ? AS other", (str(other),))
        with base:
            names = base.execute(
                "SELECT name FROM other.sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'"
            )
            for (name,) in names.fetchall():
                quoted = '"' + str(name).replace('"', '""') + '"'
                base.execute(f"INSERT OR IGNORE INTO main.{quoted} SELECT * FROM other.{quoted}")
