"""Records of a big board: their facts in memory, their statistics on disk until somebody looks at them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import Counts, Record, read_blocks, statistics_path

KEPT = 128
"""Records whose statistics stay in memory: two tasks of 60 systems, at about 0.1 MB each."""


@dataclass(frozen=True)
class StoredBlocks(Sequence[Counts]):
    """The blocks of a record (those of its slices with ``sliced``), read when they are asked for.

    Args:
        path: the record's statistics.
        sliced: which.
        facts: what the record says of its blocks; the path decides whether two are the same.
    """

    path: Path
    sliced: bool
    facts: RecordFacts = field(compare=False, repr=False)

    def __len__(self) -> int:
        return sum(bool(b.axis) == self.sliced for b in self.facts.blocks)

    def __iter__(self) -> Iterator[Counts]:
        return iter(_read(self))

    @overload
    def __getitem__(self, index: int) -> Counts: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Counts]: ...
    def __getitem__(self, index: int | slice) -> Counts | Sequence[Counts]:
        return _read(self)[index]


@functools.lru_cache(maxsize=KEPT)
def _read(stored: StoredBlocks) -> tuple[Counts, ...]:
    return tuple(read_blocks(stored.path, stored.facts, sliced=stored.sliced))


def stored_record(path: Path, facts: RecordFacts) -> Record:
    """The record at ``path``, which says ``facts``; its statistics must be there unchanged, and are read later.

    Raises:
        DataError: statistics that are not the ones it was written with.
    """
    statistics = statistics_path(path, facts)
    _share_field_names(facts)
    return Record(facts, StoredBlocks(statistics, False, facts), StoredBlocks(statistics, True, facts))


_FIELD_NAMES: dict[frozenset[str], set[str]] = {}


def _share_field_names(facts: RecordFacts) -> None:
    """Let rows that were given the same fields hold one set of their names: pydantic keeps a set per row, half of a record's memory."""
    for row in (*facts.scores, *facts.slices):
        names = row.model_fields_set
        object.__setattr__(row, "__pydantic_fields_set__", _FIELD_NAMES.setdefault(frozenset(names), names))
