"""The tables of a published record: all its cells in one Parquet file, named like the record, that a person can open.

A run keeps a table per cell, with the corpus's own clip ids. What is published has one file per record, with fold, seed,
condition and variant as columns, and clips by their published names (``clip``). Rows are sorted by these names: the order of
``metadata.csv`` would give the clips away. Numbers are the very numbers of the cells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.cards.corpus import CorpusCard
from bench.corpora.naming import CorpusNames
from bench.errors import DataError, quoted
from bench.protocols import DIMENSIONS
from bench.scoring.predictions import METADATA_KEY, PredictionTable, check_table, read_table, variant_path
from bench.scoring.record_schema import RecordFacts
from bench.storage.atomic import replacing
from bench.storage.hashing import hash_file

_TEXTS = ("fold", "condition", "variant", "clip", "status", "label", "reply")
PUBLISHED_SCHEMA = pa.schema(
    [
        pa.field("fold", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("condition", pa.string(), nullable=False),
        pa.field("variant", pa.string(), nullable=False),
        pa.field("clip", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("probabilities", pa.list_(pa.float64())),
        *(pa.field(d, pa.float64()) for d in DIMENSIONS),
        pa.field("reply", pa.string()),
    ]
)
PRIVATE = ("variants", "fold", "seed", "labels")
"""What a cell's identity says that a published table says otherwise, or must not say: a hash of a table that holds clip ids is
one that guesses can be tried on."""
CellKey = tuple[int, str, str]


@dataclass(frozen=True)
class CellTable:
    """The table of one cell, or of one variant of it (a way of asking, a layer); ``variant`` is blank for the cell's own."""

    seed: int
    fold: str
    variant: str
    table: PredictionTable

    @property
    def key(self) -> CellKey:
        """What tells it from the others of its record."""
        return (self.seed, self.fold, self.variant)


def clip_namer(card: CorpusCard, names: CorpusNames | None) -> Callable[[str], str]:
    """Return what turns a clip id into its published name: itself where the corpus's card publishes its clips' names.

    Args:
        card: the corpus.
        names: under the key of its audio; None where that is not at hand.

    Raises:
        DataError: the names are needed and not at hand.
    """
    if card.clip_names == "open":
        return str
    if names is None:
        raise DataError(f"the key of the clips of {card.name} is not at hand")
    return names.clip


def cells_of_run(path: Path, facts: RecordFacts, folder: Path) -> list[CellTable]:
    """Read the tables of a record as a run keeps them, and publications before schema 4: a file per cell, variants beside it.

    Args:
        path: the record, for the sentences.
        facts: what it says.
        folder: where the tables lie.

    Raises:
        DataError: one is missing, or not the one that the record was scored from.
    """
    found = []
    for cell, table_hash in facts.tables.items():
        table = folder / f"{cell}.parquet"
        if not table.is_file() or hash_file(table) != table_hash:
            raise DataError(
                f"{table}: {'changed since' if table.is_file() else 'missing, though'} {path.name} was scored from it; "
                "restore it, or run the matrix again"
            )
        read = read_table(table)
        seed, fold = int(read.identity["seed"]), str(read.identity["fold"])
        found.append(CellTable(seed, fold, "", read))
        for name, expected in dict(read.identity.get("variants") or {}).items():
            beside = variant_path(table, name)
            if not beside.is_file() or hash_file(beside) != expected:
                raise DataError(
                    f"{beside}: the table of variant {name!r} is missing or was changed since its cell was made; restore it, or run the matrix again"
                )
            found.append(CellTable(seed, fold, name, read_table(beside)))
    return found


def write_published(
    path: Path,
    cells: Sequence[CellTable],
    condition: str,
    name: Callable[[str], str],
    folds: Mapping[str, str],
) -> None:
    """Write the tables of a record into one file; equal answers and names give equal bytes.

    Args:
        path: where it goes, ``.parquet``.
        cells: its tables, with the corpus's own clip ids.
        condition: of the record.
        name: gives the published name of a clip.
        folds: the published name of each fold.

    Raises:
        DataError: tables that were made with other labels, or two clips of one name.
    """
    labels = cells[0].table.labels
    parts = []
    for cell in sorted(cells, key=lambda c: (c.seed, folds[c.fold], c.variant)):
        if cell.table.labels != labels:
            raise DataError(
                f"{cell.table.origin}: offers the labels {', '.join(cell.table.labels)}, but others of its record offer {', '.join(labels)}"
            )
        parts.append(_rows(cell, condition, name, folds))
    whole = pa.concat_tables(parts).replace_schema_metadata({METADATA_KEY: _described(cells, labels, folds)})
    split = ["probabilities.list.element", *DIMENSIONS]
    with replacing(path) as temporary:
        pq.write_table(
            whole, temporary, compression="zstd", compression_level=15, use_dictionary=list(_TEXTS),
            use_byte_stream_split=split, write_statistics=False,
        )  # fmt: skip


def _rows(cell: CellTable, condition: str, name: Callable[[str], str], folds: Mapping[str, str]) -> pa.Table:
    table, n = cell.table, len(cell.table.clip_ids)
    clips = [name(c) for c in table.clip_ids]
    if len(set(clips)) < n:
        raise DataError(f"{table.origin}: two of its clips have the same published name")
    probabilities: list[list[float] | None] = [None] * n
    if table.probabilities is not None:
        probabilities = [None if np.isnan(p).any() else p.tolist() for p in table.probabilities]
    columns: list[Sequence[Any]] = [
        [folds[cell.fold]] * n, [cell.seed] * n, [condition] * n, [cell.variant] * n, clips, table.statuses, table.answers,
        probabilities, *([None if np.isnan(x) else x for x in d] for d in table.dimensions.T.tolist()), table.replies,
    ]  # fmt: skip
    arrays = [pa.array(c, f.type) for c, f in zip(columns, PUBLISHED_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=PUBLISHED_SCHEMA).sort_by("clip")


def _described(cells: Sequence[CellTable], labels: Sequence[str], folds: Mapping[str, str]) -> bytes:
    """What the cells say of themselves: once where they agree, else by cell."""
    own = [c for c in cells if not c.variant]
    identities = [{k: v for k, v in c.table.identity.items() if k not in PRIVATE} for c in own]
    first = identities[0] if identities else {}
    common = {k: v for k, v in first.items() if all(k in i and i[k] == v for i in identities)}
    apart = [
        {"fold": folds[c.fold], "seed": c.seed, **{k: v for k, v in i.items() if k not in common}}
        for c, i in zip(own, identities, strict=True)
    ]
    apart.sort(key=lambda cell: (cell["seed"], cell["fold"]))
    described = {**common, "labels": list(labels), "cells": apart}
    return json.dumps(described, sort_keys=True, ensure_ascii=False).encode()


def published_cells(path: Path, facts: RecordFacts, folder: Path) -> list[CellTable]:
    """Read the one table of a published record, with published names as clip ids.

    Args:
        path: the record, for the sentences.
        facts: what it says.
        folder: where its table lies.

    Raises:
        DataError: it is missing, or not the one that the record names.
    """
    if facts.table is None:
        raise DataError(f"{path}: names no table of its own")
    table = folder / facts.table.file
    if not table.is_file() or hash_file(table) != facts.table.hash:
        state = (
            "changed since it was published" if table.is_file() else f"missing, though {path.name} names it"
        )
        raise DataError(f"{table}: {state}; restore it, or publish the run again")
    return read_published(table)


def published_identities(path: Path) -> list[dict[str, Any]]:
    """Read what each cell of a published record's table says of itself; the rows are not looked at.

    Raises:
        DataError: not such a table.
    """
    try:
        noted = json.loads((pq.read_schema(path).metadata or {})[METADATA_KEY])
        common = {k: v for k, v in noted.items() if k not in ("labels", "cells")}
        return [common | dict(cell) for cell in noted["cells"]]
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the table of a published record ({error})") from None


def read_published(path: Path) -> list[CellTable]:
    """Read and check the table of a published record: its cells, variants among them, with published names as clip ids.

    Raises:
        DataError: not such a table, or a row that is none; the message names the file and the clips.
    """
    try:
        arrow = pq.read_table(path)
        noted = json.loads((arrow.schema.metadata or {})[METADATA_KEY])
        labels = tuple(str(label) for label in noted["labels"])
        apart = {(int(c["seed"]), str(c["fold"])): c for c in noted["cells"]}
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the table of a published record ({error})") from None
    for wanted in PUBLISHED_SCHEMA:
        found = arrow.schema.field(wanted.name).type if wanted.name in arrow.column_names else None
        if found != wanted.type:
            raise DataError(
                f"{path}: its column {wanted.name!r} is {found or 'missing'}, expected {wanted.type}"
            )
        if not wanted.nullable and arrow[wanted.name].null_count:
            raise DataError(f"{path}: its column {wanted.name!r} has blank places")
    common = {k: v for k, v in noted.items() if k not in ("labels", "cells")}
    return list(_cells(path, arrow, labels, common, apart))


def _cells(
    path: Path,
    arrow: pa.Table,
    labels: tuple[str, ...],
    common: Mapping[str, Any],
    apart: Mapping[tuple[int, str], Mapping[str, Any]],
) -> Iterator[CellTable]:
    """Cut the rows into cells: rows of one cell need not stand together."""
    keys = list(zip(*(arrow[c].to_pylist() for c in ("seed", "fold", "variant")), strict=True))
    rows_of: dict[CellKey, list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    for (seed, fold, variant), rows in rows_of.items():
        part = arrow.take(pa.array(rows, pa.int64()))
        given = part["probabilities"]
        lengths = set(pc.list_value_length(given).drop_null().to_pylist())
        if lengths - {len(labels)}:
            raise DataError(
                f"{path}: a row has {min(lengths - {len(labels)})} probabilities where {len(labels)} labels were offered"
            )
        probabilities = None
        if lengths:
            rows_given = [p if p is not None else [np.nan] * len(labels) for p in given.to_pylist()]
            probabilities = np.array([[np.nan if x is None else x for x in p] for p in rows_given], float)
        table = PredictionTable(
            clip_ids=tuple(part["clip"].to_pylist()),
            statuses=tuple(part["status"].to_pylist()),
            answers=tuple(part["label"].to_pylist()),
            labels=labels,
            probabilities=probabilities,
            dimensions=np.stack([np.array(part[d].to_pylist(), dtype=float) for d in DIMENSIONS], axis=1),
            replies=tuple(part["reply"].to_pylist()),
            identity={**common, **apart.get((seed, fold), {}), "seed": seed, "fold": fold},
            origin=str(path),
        )
        check_table(path, table)
        yield CellTable(seed, fold, variant, table)


def with_clip_ids(
    cells: Sequence[CellTable], clip_of: Mapping[str, str], fold_of: Mapping[str, str]
) -> list[CellTable]:
    """Give the cells of a published table the corpus's own clip ids and fold names again.

    Args:
        cells: as :func:`read_published` gives them.
        clip_of: clip id by published name.
        fold_of: the corpus's name of each fold by its published one.

    Raises:
        DataError: a name that no clip of the task has.
    """
    found = []
    for cell in cells:
        if strange := [c for c in cell.table.clip_ids if c not in clip_of]:
            raise DataError(
                f"{cell.table.origin}: answers {quoted(strange[0])}, which is the published name of no test clip of its task "
                f"({len(strange)} such clips)"
            )
        fold = fold_of.get(cell.fold, cell.fold)
        clips = tuple(clip_of[c] for c in cell.table.clip_ids)
        table = replace(cell.table, clip_ids=clips, identity={**cell.table.identity, "fold": fold})
        found.append(CellTable(cell.seed, fold, cell.variant, table))
    return found
