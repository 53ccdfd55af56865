"""The lock that keeps two drivers out of one folder, whoever started them; it goes with its process, however that ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from bench.storage.atomic import clear_os_errors


@contextmanager
def exclusive(folder: Path, lock: str, busy: str) -> Iterator[None]:
    """Hold a folder, which is made where there is none, for this process alone.

    Args:
        folder: what is held.
        lock: name of the lock file in it, which stays there.
        busy: the sentence for whoever comes second.

    Raises:
        BenchError: another process, or another driver in this one, holds it; or it cannot be written.
    """
    from filelock import FileLock, Timeout

    hold = FileLock(folder / lock)
    with clear_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            hold.acquire(timeout=0)
        except Timeout:
            raise BenchError(busy) from None
    try:
        yield
    finally:
        hold.release()
