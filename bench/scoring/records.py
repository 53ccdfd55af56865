"""A record: one system on one task under one protocol and condition, scored, with the sums that prove the scores.

JSON for people and boards, Parquet beside it for the additive statistics. Clusters carry hashed names, so that records
of one task pair up and speakers stay private. Anyone can recompute every score and test from a record alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.cards.labels import VIEWS
from bench.errors import DataError
from bench.protocols import Array
from bench.storage.atomic import replacing, write_json
from bench.storage.hashing import hash_file
from bench.tasks.names import regime

SCHEMA_VERSION = 2
READABLE = (1, 2)
"""Schema 1 had neither slices nor the sums of votes and calibration; what it holds means the same."""
MOMENTS = ("n", "sum_x", "sum_y", "sum_xx", "sum_yy", "sum_xy")
"""Names of the six sums of a dimension, x truth and y prediction, both minus 0.5."""

LISTENER = "listener"
"""The axis of blocks that hold listeners' answers in place of a system's; the group says what is taken as true."""

CountsKey = tuple[str, str, str, str]
"""View, outside rule, rows and target: what tells the blocks of a record apart."""

_SCHEMA = pa.schema(
    [
        ("view", pa.string()),
        ("outside", pa.string()),
        ("rows", pa.string()),
        ("target", pa.string()),
        ("axis", pa.string()),
        ("group", pa.string()),
        ("seed", pa.int64()),
        ("cluster", pa.string()),
        ("truth", pa.string()),
        ("prediction", pa.string()),
        ("moment", pa.string()),
        ("value", pa.float64()),
    ]
)
_SINCE_2 = ("axis", "group")


@dataclass(frozen=True)
class Counts:
    """Additive statistics of one view × outside rule × rows (categories), or of one dimension × rows.

    ``target`` says what ``values`` are: ``category``, (seeds, clusters, K, K + 1) counts of true × answered ``labels``, last
    column "another or none"; a dimension's name (view ``dimensions``) or ``votes``, (seeds, clusters, S) of the named
    ``sums``; ``calibration``, (seeds, clusters, B, S) sums per bin of confidence, the bins being ``labels``. A block of a
    slice names its ``axis`` (gender, duration, speaker) and its ``group``; on the axis speaker clusters are speakers.
    """

    view: str
    outside: str
    rows: str
    target: str
    labels: tuple[str, ...]
    values: Array
    sums: tuple[str, ...] = ()
    axis: str = ""
    group: str = ""

    @property
    def key(self) -> CountsKey:
        """What tells blocks of one slice (or of no slice) apart."""
        return (self.view, self.outside, self.rows, self.target)

    @property
    def averaged(self) -> Array:
        """Statistics averaged over seeds, (clusters, …)."""
        return np.asarray(self.values.mean(axis=0))

    @property
    def clips(self) -> int:
        """How many clips were counted per seed (the largest, where seeds differ in ok rows)."""
        counts = self.values if self.categorical else self.values[..., self.sums.index("n")]
        return round(float(counts.reshape(len(counts), -1).sum(axis=1).max()))

    @property
    def categorical(self) -> bool:
        """Whether these are counts of labels."""
        return self.target == "category"


@dataclass(frozen=True)
class Record:
    """A record's JSON and its statistics."""

    facts: Mapping[str, Any]
    blocks: Sequence[Counts]
    slices: Sequence[Counts] = ()

    @property
    def system(self) -> str:
        """The system's name."""
        return str(self.facts["system"])

    @property
    def regime(self) -> str:
        """Protocol and what was learnt from, in one word."""
        return regime(str(self.facts["protocol"]), str(self.facts.get("training", "")))

    @property
    def task(self) -> str:
        """The task's id."""
        return str(self.facts["task"])

    @property
    def scores(self) -> list[dict[str, Any]]:
        """The score rows, one per view × outside × rows × metric, as ``serbench score --json`` gives them."""
        return list(self.facts["scores"])

    @property
    def clusters(self) -> tuple[str, ...]:
        """Hashed cluster names, in the order of the statistics."""
        return tuple(c["name"] for c in self.facts["clusters"])

    @property
    def has_one_seed_of_many(self) -> bool:
        """Whether another seed would answer differently and none was run (old records do not say: no)."""
        return bool(self.facts.get("card", {}).get("seeds")) and len(self.facts["seeds"]) == 1

    @property
    def unit(self) -> Literal["clusters", "clips"]:
        """What is taken as independent: the task's clusters; single clips only where somebody asked for it."""
        return "clips" if self.facts["cluster"] == "clip" else "clusters"

    def block(self, view: str, outside: str, rows: str, target: str) -> Counts | None:
        """Return one block, or None when the record has none such."""
        return next((b for b in self.blocks if b.key == (view, outside, rows, target)), None)


def main_view(facts: Mapping[str, Any]) -> str:
    """The plan's primary view, or the finest one that a record of transfer was learnt in, where that is coarser."""
    primary, learnt = str(facts["plan"]["primary_view"]), str(facts.get("learnt_view", "native"))
    return max(primary, learnt, key=VIEWS.index)


def write_record(path: Path, facts: Mapping[str, Any], blocks: Sequence[Counts]) -> None:
    """Write ``path`` (JSON) and its statistics (``.parquet`` beside it), the statistics first."""
    statistics = path.with_suffix(".parquet")
    rows = [row for block in blocks for row in _long(block, facts["seeds"], cluster_names(facts, block.axis))]
    columns = [list(c) for c in zip(*rows, strict=True)] if rows else [[] for _ in _SCHEMA]
    table = pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
    )
    with replacing(statistics) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    described = {
        "blocks": [
            {
                "view": b.view,
                "outside": b.outside,
                "rows": b.rows,
                "target": b.target,
                "labels": list(b.labels),
                "sums": list(b.sums),
                "axis": b.axis,
                "group": b.group,
            }
            for b in blocks
        ]
    }
    write_json(
        path, {**facts, **described, "statistics": {"file": statistics.name, "hash": hash_file(statistics)}}
    )


def cluster_names(facts: Mapping[str, Any], axis: str) -> list[str]:
    """Names of a block's clusters, in the order of its statistics."""
    if axis == "speaker":
        return [str(name) for name in facts["speaker_names"]]
    return [str(c["name"]) for c in facts["clusters"]]


def _long(block: Counts, seeds: Sequence[int], clusters: Sequence[str]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    columns: tuple[str | None, ...] = block.sums or (*block.labels, None)
    for seed, cluster, *inner in np.argwhere(block.values != 0).tolist():
        truth = block.labels[inner[0]] if block.labels else None
        last = columns[inner[-1]]
        prediction, moment = (None, last) if block.sums else (last, None)
        value = float(block.values[(seed, cluster, *inner)])
        rows.append(
            (
                *block.key,
                block.axis,
                block.group,
                seeds[seed],
                clusters[cluster],
                truth,
                prediction,
                moment,
                value,
            )
        )
    return rows


def read_record(path: Path) -> Record:
    """Read a record and its statistics.

    Raises:
        DataError: not a record, a schema of the future, or statistics that are not the ones it was written with.
    """
    facts = read_facts(path)
    statistics = path.with_name(facts["statistics"]["file"])
    if not statistics.is_file() or hash_file(statistics) != facts["statistics"]["hash"]:
        raise DataError(
            f"{statistics}: missing or changed since {path.name} was written; score the run again"
        )
    blocks = read_blocks(statistics, facts)
    return Record(facts, tuple(b for b in blocks if not b.axis), tuple(b for b in blocks if b.axis))


def read_blocks(statistics: Path, facts: Mapping[str, Any]) -> list[Counts]:
    """Read the statistics of a record whose facts are ``facts``, slices last or wherever the record announces them.

    Raises:
        DataError: they name what the record does not.
    """
    known = [f.name for f in _SCHEMA if f.type == pa.string()]
    names = [n for n in known if facts["schema"] > 1 or n not in _SINCE_2]
    table = pq.ParquetFile(statistics, read_dictionary=names).read(use_threads=False)
    return _blocks(facts, table)


def read_facts(path: Path) -> dict[str, Any]:
    """Read a record's JSON alone."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        version = facts["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a record of this suite ({error})") from None
    if version not in READABLE:
        raise DataError(
            f"{path}: record schema {version}, this version reads up to {SCHEMA_VERSION}; update ser-bench"
        )
    if "/" in facts["statistics"]["file"] or "\\" in facts["statistics"]["file"]:
        raise DataError(f"{path}: names statistics outside its folder")
    return dict(facts)


def _blocks(facts: Mapping[str, Any], table: pa.Table) -> list[Counts]:
    """Fill the blocks that the JSON announces with the sums of the table; places without a row are 0."""
    blocks = [_empty_block(b, facts) for b in facts["blocks"]]
    place = {(*b.key, b.axis, b.group): i for i, b in enumerate(blocks)}
    if len(table) == 0:
        return blocks
    try:
        columns = {f.name: _coded(table, f.name) for f in _SCHEMA if f.name != "value"}
        values = table["value"].to_numpy()
        names = ("view", "outside", "rows", "target", "axis", "group")
        of_row = np.zeros(len(table), dtype=np.int64)
        for name in names:
            codes, known = columns[name]
            of_row = of_row * len(known) + codes
        order = np.argsort(of_row, kind="stable")
        starts = np.flatnonzero(np.diff(of_row[order], prepend=-1))
        for rows in np.split(order, starts[1:]):
            first = rows[0]
            block = blocks[place[tuple(columns[n][1][columns[n][0][first]] for n in names)]]
            _fill(
                block, {n: (codes[rows], known) for n, (codes, known) in columns.items()}, values[rows], facts
            )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(
            f"the statistics of {facts['system']} on {facts['task']} name what the record does not: {error}"
        ) from None
    return blocks


_Coded = tuple[NDArray[np.intp], list[Any]]


def _coded(table: pa.Table, name: str) -> _Coded:
    """A column as a number per row and what the numbers mean; schema 1 lacked some columns."""
    if name not in table.column_names and name in _SINCE_2:
        return np.zeros(len(table), dtype=np.intp), [""]
    column = table[name].combine_chunks()
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    known = column.dictionary.to_pylist()
    codes = column.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
    return codes.astype(np.intp), [*known, None]


def _fill(block: Counts, columns: Mapping[str, _Coded], values: Array, facts: Mapping[str, Any]) -> None:
    """Put the rows of one block into its array, in which every name has its place."""

    def places(name: str, known: Sequence[Any]) -> NDArray[np.intp]:
        codes, meaning = columns[name]
        used = np.unique(codes)
        number = {x: i for i, x in enumerate(known)}
        table = np.zeros(len(meaning), dtype=np.intp)
        for code in used:
            table[code] = number[meaning[code]]
        return np.asarray(table[codes], dtype=np.intp)

    where = [places("seed", facts["seeds"]), places("cluster", cluster_names(facts, block.axis))]
    if block.labels:
        where.append(places("truth", block.labels))
    where.append(places("moment", block.sums) if block.sums else places("prediction", (*block.labels, None)))
    block.values[tuple(where)] = values


def _empty_block(described: Mapping[str, Any], facts: Mapping[str, Any]) -> Counts:
    labels, axis = tuple(described["labels"]), described.get("axis", "")
    sums = tuple(described.get("sums", () if labels else MOMENTS))
    shape = (*((len(labels),) if labels else ()), len(sums) or len(labels) + 1)
    return Counts(
        described["view"],
        described["outside"],
        described["rows"],
        described["target"],
        labels,
        np.zeros((len(facts["seeds"]), len(cluster_names(facts, axis)), *shape)),
        sums,
        axis,
        described.get("group", ""),
    )


def read_records(folder: Path) -> list[Record]:
    """Read all records of a folder, sorted by file name."""
    return [read_record(p) for p in sorted(folder.glob("*.json"))]
