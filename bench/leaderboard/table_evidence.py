"""What prediction tables prove without anybody's labels: that they are the record's own, and answer as often as it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.errors import DataError
from bench.scoring.predictions import PredictionTable, read_table
from bench.scoring.published_tables import published_cells
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import LISTENER, Record
from bench.storage.bounded_files import require_bounded_parquet
from bench.storage.hashing import hash_file

IDENTITY = (
    "system", "task", "protocol", "training", "condition", "train_condition", "system_identity", "folds_hash",
    "content_hash",
)  # fmt: skip
"""What a table says of itself that must be what its record says."""


def require_possible(path: Path, record: Record) -> None:
    """Raise :class:`DataError` where additive statistics are none: not finite, negative counts, more clips than there are."""
    for block in (*record.blocks, *record.slices):
        where = " ".join(filter(None, (*block.key, block.axis, block.group)))
        if not np.isfinite(block.values).all():
            raise DataError(f"{path}: its statistics ({where}) hold a value that is no number")
        if not block.categorical and "n" not in block.sums:
            raise DataError(f"{path}: its statistics ({where}) do not say how many clips they sum over")
        counts = block.values if block.categorical else block.values[..., block.sums.index("n")]
        if (counts < 0).any():
            raise DataError(f"{path}: its statistics ({where}) hold a negative count")
        if block.axis != LISTENER and block.clips > record.facts.clips:
            raise DataError(
                f"{path}: its statistics ({where}) count {block.clips} clips, the task has {record.facts.clips}"
            )


def require_tables(path: Path, record: Record, folder: Path) -> None:
    """Raise :class:`DataError` unless a record's prediction tables are whole, its own, and agree with its statistics.

    Labels are not needed: every clip is answered once per seed, statuses are as often as noted, and each answer is given
    no more rarely than the confusion counts say.

    Args:
        path: the record, for the sentences.
        record: what it says, with its statistics.
        folder: where the prediction tables lie.

    Raises:
        DataError: a table is missing, too big, of another record, or does not agree.
    """
    facts = record.facts
    parts: dict[int, list[PredictionTable]] = {}
    for read in _own_tables(path, facts, folder):
        for name in IDENTITY:
            own, wanted = read.identity.get(name), getattr(facts, name)
            if name in read.identity and own != wanted:
                raise DataError(
                    f"{read.origin}: was made with {name} {own!r}, but {path.name} says {wanted!r}; score the run again"
                )
        parts.setdefault(int(read.identity.get("seed", -1)), []).append(read)
    if sorted(parts) != sorted(facts.seeds):
        raise DataError(f"{path}: names seeds {list(facts.seeds)}, its tables were made with {sorted(parts)}")
    clips = [sorted(c for t in own for c in t.clip_ids) for own in parts.values()]
    if any(own != clips[0] for own in clips) or len(set(clips[0])) != len(clips[0]):
        raise DataError(f"{path}: its tables do not answer the same clips once for every seed")
    if "clips" in facts.task.partition("@")[2].split("@"):
        return  # segments were put together before they were counted
    _require_counts(path, record, parts)


def _own_tables(path: Path, facts: RecordFacts, folder: Path) -> Iterator[PredictionTable]:
    """The tables of a record's cells: from its one file, or from the file of each cell in what was published before schema 4."""
    if facts.table is not None:
        if facts.table.file != f"{path.stem}.parquet":
            raise DataError(
                f"{path}: names the table {facts.table.file!r}; its own is called {path.stem}.parquet"
            )
        require_bounded_parquet(folder / facts.table.file)
        cells = [c for c in published_cells(path, facts, folder) if not c.variant]
        if len(cells) != facts.folds * len(facts.seeds):
            raise DataError(
                f"{folder / facts.table.file}: holds {len(cells)} cells, the record has {facts.folds} fold(s) times {len(facts.seeds)} seed(s)"
            )
        yield from (c.table for c in cells)
    for cell, table_hash in facts.tables.items():
        table = folder / f"{cell}.parquet"
        require_bounded_parquet(table)
        if hash_file(table) != table_hash:
            raise DataError(f"{table}: is not the table that {path.name} was scored from")
        yield read_table(table)


def _require_counts(path: Path, record: Record, parts: Mapping[int, Sequence[PredictionTable]]) -> None:
    facts = record.facts
    statuses = Counter(s for own in parts.values() for t in own for s in t.statuses)
    if dict(statuses) != {k: v for k, v in facts.statuses.items() if v}:
        raise DataError(f"{path}: says its statuses are {facts.statuses}, its tables hold {dict(statuses)}")
    block = record.block(facts.learnt_view, "wrong", "all", "category")
    if block is None:
        return
    for i, seed in enumerate(facts.seeds):
        answers = Counter(a for t in parts[seed] for a in t.answers)
        given = block.values[i].sum(axis=(0, 1))
        for label, count in zip(block.labels, given, strict=False):
            if count > answers[label] + 1e-9:
                raise DataError(
                    f"{path}: counts {count:g} answers {label!r} for seed {seed}, its tables hold {answers[label]}"
                )
