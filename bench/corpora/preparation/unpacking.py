"""Archives unpacked so that they can do no harm: nothing outside the folder, nothing endless."""

from __future__ import annotations

import calendar
import gzip
import lzma
import math
import os
import posixpath
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench.errors import DataError
from bench.storage.atomic import clear_os_errors
from bench.storage.hashing import digest

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
FOREIGN = (".rar", ".7z")
BLOCK = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What no archive of speech exceeds."""

    members: int = 3_000_000
    ratio: float = 200.0
    """Unpacked bytes per packed byte, once more than ``free`` bytes are unpacked. PCM silence packs about 1:1000, speech 1:2."""
    free: int = 256 << 20


@dataclass
class _Budget:
    """Counts what comes out of an archive, and stops it in time."""

    archive: Path
    limits: Limits
    members: int = 0
    bytes: int = 0
    disk: int = 0
    packed: int = field(init=False)

    def __post_init__(self) -> None:
        self.packed = self.archive.stat().st_size

    def member(self) -> None:
        self.members += 1
        if self.members > self.limits.members:
            raise DataError(
                f"{self.archive}: holds more than {self.limits.members:,} files; this is no speech corpus"
            )

    def take(self, size: int) -> None:
        self.bytes += size
        if self.bytes > self.limits.free and self.bytes > self.limits.ratio * self.packed:
            raise DataError(
                f"{self.archive}: unpacks to more than {self.limits.ratio:g} times its size; this looks like a decompression bomb. "
                "If you trust it, unpack it yourself and give the folder"
            )
        if self.bytes > self.disk:
            raise DataError(
                f"{self.archive}: needs more than the {self.disk / 2**30:.1f} GiB that are free; free some space, "
                "or choose another disk with --out"
            )


def is_archive(name: str) -> bool:
    """Whether a file name is that of an archive that can be unpacked here."""
    return name.lower().endswith(ARCHIVES)


def unpack(
    archive: Path, folder: Path, limits: Limits | None = None, step: Callable[[int], object] = int
) -> None:
    """Unpack a zip or tar archive; one that is refused leaves nothing.

    Files keep the time that the archive gives them, so that unpacking twice gives the same fingerprints.
    A folder that was unpacked from this very file before is left as it is.

    Args:
        archive: the file.
        folder: made anew.
        limits: what no archive of speech exceeds; None: the usual ones.
        step: called with 1 for each member.

    Raises:
        DataError: damaged, encrypted, a member that would lie outside the folder, or too much of anything.
    """
    status = archive.stat()
    done = folder.with_name(folder.name + ".done")
    mark = f"{status.st_size}/{status.st_mtime_ns}"
    if folder.is_dir() and done.exists() and done.read_text(encoding="utf-8") == mark:
        return
    done.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    with clear_os_errors(folder):
        folder.mkdir(parents=True)
        budget = _Budget(archive, limits or Limits(), disk=shutil.disk_usage(folder).free)
        try:
            members = _zip(archive, budget) if zipfile.is_zipfile(archive) else _tar(archive, budget)
            for name, stream, mtime in members:
                _write(folder, name, stream, mtime, budget)
                step(1)
        except (
            zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, RecursionError,
        ) as error:  # fmt: skip
            shutil.rmtree(folder, ignore_errors=True)
            why = str(error).partition("\n")[0].rstrip(": ")
            raise DataError(
                f"{archive}: the archive is damaged ({why}); get it again, or unpack what can be saved and give the folder"
            ) from None
        except OSError as error:
            # bz2 says of damaged data that it is an OSError without a number; the system's own refusals have one.
            shutil.rmtree(folder, ignore_errors=True)
            if error.errno is not None and not isinstance(error, OCCUPIED):
                raise
            if error.errno is None:
                raise DataError(
                    f"{archive}: the archive is damaged ({error}); get it again, or unpack what can be saved and give the folder"
                ) from None
            raise DataError(f"{archive}: holds {error.filename!r} both as a file and as a folder") from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        done.write_text(mark, encoding="utf-8")


def safe_member(archive: Path, name: str) -> str:
    """Return a member's path inside the folder, in composed Unicode.

    Raises:
        DataError: the path leads out of the folder.
    """
    path = unicodedata.normalize("NFC", name.replace("\\", "/"))
    parts = [p for p in path.split("/") if p not in ("", ".")]
    drive = len(path) > 1 and path[1] == ":"
    if path.startswith("/") or drive or ".." in parts or "\0" in path or not parts:
        raise DataError(
            f"{archive}: the member {name!r} would lie outside the folder; the archive is refused, nothing was unpacked"
        )
    return "/".join(map(short_name, parts))


LONGEST_NAME = 200
"""Bytes of a file or folder name that every disk takes (255 is usual), less what is put before and behind it."""


def short_name(name: str) -> str:
    """Shorten a name that no disk takes; its ending stays, and a hash keeps two long names apart.

    >>> len(short_name("a" * 300 + ".wav")), short_name("a.wav")
    (200, 'a.wav')
    """
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) <= LONGEST_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    ending = f"~{digest(raw, length=4)}" + (f".{suffix}" if dot and len(suffix.encode()) <= 8 else "")
    head = (stem or name).encode("utf-8", "surrogateescape")[: LONGEST_NAME - len(ending.encode())]
    return head.decode("utf-8", "ignore") + ending


OCCUPIED = (FileExistsError, IsADirectoryError, NotADirectoryError)


def _write(folder: Path, name: str, stream: IO[bytes], mtime: float, budget: _Budget) -> None:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with stream, target.open("wb") as out:
        while block := stream.read(BLOCK):
            budget.take(len(block))
            out.write(block)
    os.utime(target, (mtime, mtime))


def _zip(archive: Path, budget: _Budget) -> Iterator[tuple[str, IO[bytes], float]]:
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        names = {safe_member(archive, _zip_name(i)): i for i in infos if not i.is_dir()}
        declared = sum(i.file_size for i in infos)
        _Budget(archive, budget.limits, disk=budget.disk).take(declared)
        for name, info in names.items():
            budget.member()
            if info.flag_bits & 1:
                raise DataError(
                    f"{archive}: is encrypted; unpack it with the owner's password and give the folder as --source"
                )
            if stat.S_ISLNK(info.external_attr >> 16):
                aim = _link_target(archive, name, opened.read(info).decode("utf-8", "replace"))
                if aim not in names or stat.S_ISLNK(names[aim].external_attr >> 16):
                    continue  # a link to a folder or to another link: what it shows is unpacked under its own name
                info = names[aim]
            try:
                stream = opened.open(info)
            except (NotImplementedError, RuntimeError) as error:
                raise DataError(
                    f"{archive}: {name}: cannot be unpacked here ({error}); unpack it yourself"
                ) from None
            yield name, stream, _zip_time(info)


def _zip_time(info: zipfile.ZipInfo) -> float:
    """Time of a member: zip times have no zone, and read as UTC they are the same everywhere. Month 0 and day 0 are 1980's first."""
    year, month, day, hour, minute, second = info.date_time
    try:
        return float(
            max(calendar.timegm((year, max(month, 1), max(day, 1), hour, minute, second, 0, 0, 0)), 0)
        )
    except (ValueError, OverflowError):
        return ZIP_EPOCH


ZIP_EPOCH = 315532800.0
"""1 January 1980, before which no zip member was made."""


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name; many tools write UTF-8 without saying so, which zipfile reads as code page 437."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _tar(archive: Path, budget: _Budget) -> Iterator[tuple[str, IO[bytes], float]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            budget.member()
            name = (
                safe_member(archive, member.name)
                if not member.isdir() or member.name not in (".", "./")
                else ""
            )
            if member.isdir():
                continue
            if member.issym() or member.islnk():
                base = member.linkname if member.issym() else f"/{member.linkname}"
                _link_target(archive, name, base, absolute=member.islnk())
            elif not member.isreg():
                raise DataError(
                    f"{archive}: the member {name!r} is a device or a pipe; the archive is refused"
                )
            try:
                stream = opened.extractfile(member)
            except KeyError:
                stream = None
            if stream is not None:
                yield name, stream, _tar_time(member.mtime)
        # tarfile stops at the end of the archive; the checksum of what packs it stands behind that.
        while opened.fileobj is not None and (block := opened.fileobj.read(BLOCK)):
            budget.take(len(block))


def _tar_time(mtime: float) -> float:
    """Time of a member, within what file systems hold."""
    return float(min(max(mtime, 0), MOST_TIME)) if math.isfinite(mtime) else 0.0


MOST_TIME = float(2**33)
"""The year 2242."""


def _link_target(archive: Path, name: str, aim: str, *, absolute: bool = False) -> str:
    """Return where a link inside an archive leads; refuse one that leads out of it."""
    if absolute:
        path = posixpath.normpath(aim.lstrip("/"))
    else:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), aim))
    if (aim.startswith("/") and not absolute) or path.startswith(("/", "..")):
        raise DataError(
            f"{archive}: the link {name!r} leads out of the folder (to {aim!r}); the archive is refused"
        )
    return path
