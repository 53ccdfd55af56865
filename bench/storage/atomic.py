"""Files that are either whole or not there, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.errors import BenchError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
"""Names that :func:`replacing` gives."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary sibling to write to; on leaving, sync it and rename it to ``path``; on failure, remove it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    with clear_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that a kill left in a folder, which nobody else may be writing to."""
    for path in folder.rglob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def clear_os_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals about an output path into one clear sentence."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full: free some space",
            errno.EDQUOT: "the disk quota is used up: free some space",
            errno.EFBIG: "a file may not grow that large here: raise the limit (ulimit -f)",
            errno.EROFS: "the file system is read-only: choose another folder with --out or SERBENCH_CACHE",
            errno.EACCES: "no permission to write there: choose another folder with --out or SERBENCH_CACHE",
            errno.EPERM: "no permission to write there: choose another folder with --out or SERBENCH_CACHE",
            errno.ENOENT: "the folder does not exist and cannot be made: choose another one",
            errno.EEXIST: "a file stands where a folder is needed: choose another folder",
            errno.EISDIR: "a folder stands where a file is needed: name a file",
            errno.ENOTDIR: "a file stands where a folder is needed: choose another folder",
        }
        reason = reasons.get(error.errno or 0)
        if reason is None:
            raise
        raise BenchError(
            f"{path}: cannot be written, {reason}. What is finished is kept; run the same command again"
        ) from error
