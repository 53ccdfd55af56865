"""What prediction tables prove without anybody's labels: that they are the record's own, and answer as often as it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.errors import DataError, quoted
from bench.leaderboard.card_identity import bare_name
from bench.leaderboard.fold_evidence import require_fold_answers
from bench.scoring.predictions import PredictionTable, read_table
from bench.scoring.published_tables import published_cells
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import Record
from bench.storage.bounded_files import require_bounded_parquet
from bench.storage.hashing import hash_file

IDENTITY = (
    "system", "task", "protocol", "training", "condition", "train_condition", "system_identity", "folds_hash",
    "content_hash",
)  # fmt: skip
"""What a table says of itself that must be what its record says."""


def answers_segments(facts: RecordFacts) -> bool:
    """Whether a record's tables answer segments of clips, so that counts follow from them only with the corpus."""
    return "clips" in facts.task.partition("@")[2].split("@")


def require_tables(path: Path, record: Record, folder: Path) -> None:
    """Raise :class:`DataError` unless a record's prediction tables are whole, its own, and agree with its statistics.

    Labels are not needed: every clip is answered once per seed, statuses are as often as noted, and whatever the statistics
    hold that does not depend on the truth is what each fold answers (:func:`require_fold_answers`).

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
            # It was answered under the name that the system had where it ran.
            if name == "system" and own == bare_name(str(wanted)):
                continue
            if name in read.identity and own != wanted:
                raise DataError(
                    f"{read.origin}: was made with {name} {quoted(own)}, but {path.name} says {wanted!r}; score the run again"
                )
        parts.setdefault(int(read.identity.get("seed", -1)), []).append(read)
    if sorted(parts) != sorted(facts.seeds):
        raise DataError(f"{path}: names seeds {list(facts.seeds)}, its tables were made with {sorted(parts)}")
    clips = [sorted(c for t in own for c in t.clip_ids) for own in parts.values()]
    if any(own != clips[0] for own in clips) or len(set(clips[0])) != len(clips[0]):
        raise DataError(f"{path}: its tables do not answer the same clips once for every seed")
    if answers_segments(facts):
        return  # put together before they were counted, and only the corpus says which belong to one clip
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
    require_fold_answers(path, record, [t for own in parts.values() for t in own])
