"""Records of a big board: their facts in memory, their statistics on disk until somebody looks at them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import Counts, Record, read_blocks, read_facts, statistics_path

KEPT = 128
"""Records whose statistics stay in memory: two tasks of 60 systems, at about 0.2 MB each."""


@dataclass(frozen=True)
class StoredBlocks(Sequence[Counts]):
    """The blocks of a record (those of its slices with ``sliced``), read when they are asked for."""

    path: Path
    sliced: bool

    def _read(self) -> tuple[Counts, ...]:
        return tuple(b for b in _blocks(self.path) if bool(b.axis) == self.sliced)

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[Counts]:
        return iter(self._read())

    @overload
    def __getitem__(self, index: int) -> Counts: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Counts]: ...
    def __getitem__(self, index: int | slice) -> Counts | Sequence[Counts]:
        return self._read()[index]


@functools.lru_cache(maxsize=KEPT)
def _blocks(path: Path) -> tuple[Counts, ...]:
    facts = read_facts(path)
    return tuple(read_blocks(path.with_name(facts.statistics.file), facts))


def stored_record(path: Path, facts: RecordFacts) -> Record:
    """The record at ``path``, which says ``facts``; its statistics must be there unchanged, and are read later.

    Raises:
        DataError: statistics that are not the ones it was written with.
    """
    statistics_path(path, facts)
    return Record(facts, StoredBlocks(path, False), StoredBlocks(path, True))
