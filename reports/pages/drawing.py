"""Pages of a big board drawn by all cores: further processes fill the memory of pages from its end."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from bench.scoring.records import Record

WORTH_A_PROCESS = 24
"""Pages to draw from which on another process pays."""
MOST_PROCESSES = 8


@dataclass(frozen=True)
class PlannedPage:
    """A page that can be drawn by itself: its file, what decides it, and how it is made of a name."""

    file: str
    key: str
    records: Sequence[Record]
    make: Callable[[str], str]
    name: str


class PageMemory(Protocol):
    """Keeps pages by what decides them, for other processes too."""

    def __call__(self, key: str, records: Sequence[Record], make: Callable[[str], str], name: str) -> str:
        """Give a page back, or make it."""

    def holds(self, key: str, records: Sequence[Record]) -> bool:
        """Whether the page is there."""


@contextmanager
def drawn_ahead(memory: PageMemory, planned: Sequence[PlannedPage]) -> Iterator[None]:
    """While this process draws pages from the first on, let others draw them from the last on, into the memory.

    They are copies of this process (fork) and share what it has read. None of them is waited for: what they have not drawn when
    this process comes to it, it draws itself, so a copy that fails or hangs costs time and nothing else. Where processes cannot be
    copied, and where there is little to draw, nothing happens.

    Args:
        memory: of pages.
        planned: all of them, in the order in which this process draws.
    """
    missing = [p for p in planned if not memory.holds(p.key, p.records)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    others = min(cores, MOST_PROCESSES, len(missing) // WORTH_A_PROCESS + 1) - 1
    if others < 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield
        return
    copies = multiprocessing.get_context("fork")
    started = [
        copies.Process(target=_draw, args=(memory, missing[::-1][i::others]), daemon=True)
        for i in range(others)
    ]
    try:
        for process in started:
            process.start()
        yield
    finally:
        for process in started:
            if process.pid is not None:
                process.terminate()
                process.join()


def _draw(memory: PageMemory, pages: Sequence[PlannedPage]) -> None:
    for page in pages:
        if memory.holds(page.key, page.records):
            return  # the others have come this far
        try:
            memory(page.key, page.records, page.make, page.name)
        except Exception:  # noqa: BLE001 - whatever it was, the process that was copied meets it again, and tells
            return
