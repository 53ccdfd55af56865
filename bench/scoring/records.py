"""A record: one system on one task under one protocol and condition, scored, with the sums that prove the scores.

JSON for people and boards, Parquet beside it for the additive statistics. Clusters carry hashed names, so that records
of one task pair up and speakers stay private. Anyone can recompute every score and test from a record alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.errors import DataError
from bench.protocols import Array
from bench.scoring.record_schema import (
    BlockDescription,
    CountedFacts,
    RecordFacts,
    ScoredFacts,
    ScoreRow,
    StatisticsFile,
    parse_facts,
)
from bench.statistics.intervals import Unit
from bench.storage.atomic import replacing, write_json
from bench.storage.hashing import hash_file
from bench.tasks.names import regime

MOMENTS = ("n", "sum_x", "sum_y", "sum_xx", "sum_yy", "sum_xy")
"""Names of the six sums of a dimension, x truth and y prediction, both minus 0.5."""

LISTENER = "listener"
"""The axis of blocks that hold listeners' answers in place of a system's; the group says what is taken as true."""

SENTENCE = "sentence"
"""The axis of blocks whose places are cells: what one cluster said of one sentence."""

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
    slice names its ``axis`` (gender, duration, speaker) and its ``group``; on the axis speaker clusters are speakers, on the axis
    sentence cells of cluster and sentence.
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
    """A record's JSON and its statistics. ``file_hash`` names the JSON where a board shows it."""

    facts: RecordFacts
    blocks: Sequence[Counts]
    slices: Sequence[Counts] = ()
    file_hash: str = ""

    @property
    def system(self) -> str:
        """The system's name."""
        return self.facts.system

    @property
    def regime(self) -> str:
        """Protocol and what was learnt from, in one word."""
        return regime(self.facts.protocol, self.facts.training)

    @property
    def task(self) -> str:
        """The task's id."""
        return self.facts.task

    @property
    def scores(self) -> tuple[ScoreRow, ...]:
        """The score rows, one per view × outside × rows × metric, as ``serbench score --json`` gives them."""
        return self.facts.scores

    @property
    def clusters(self) -> tuple[str, ...]:
        """Hashed cluster names, in the order of the statistics."""
        return self.facts.cluster_names()

    @property
    def has_one_seed_of_many(self) -> bool:
        """Whether another seed would answer differently and none was run (old records do not say: no)."""
        card = self.facts.card
        return "seeds" in card.model_fields_set and card.seeds and len(self.facts.seeds) == 1

    @property
    def unit(self) -> Unit:
        """What is taken as independent: the task's clusters; single clips only where somebody asked for it."""
        return unit_of(self.facts)

    def block(self, view: str, outside: str, rows: str, target: str) -> Counts | None:
        """Return one block, or None when the record has none such.

        Args:
            view: ``native``, ``seven``, ``four``, or ``dimensions``.
            outside: what became of answers outside the view, ``wrong`` or ``masked``.
            rows: ``all`` clips, or those answered (``ok``).
            target: ``category``, a dimension, ``votes`` or ``calibration``.

        Returns:
            The statistics, or None.
        """
        return next((b for b in self.blocks if b.key == (view, outside, rows, target)), None)


FEW_HOLDERS = 3
"""A class that no more clusters speak gets a note: intervals of UA over a class of two held the truth 92–93 % of the time."""


def thin_classes(block: Counts, unit: str) -> tuple[str, ...]:
    """Name the classes that only few clusters speak, beside metrics in which a class weighs as much as any other.

    Args:
        block: counts of labels; anything else has no classes.
        unit: what clusters are: speakers, sessions, clips.

    Returns:
        A sentence per class that at most three clusters of more speak.
    """
    if not block.categorical:
        return ()
    clips = block.averaged.sum(axis=-1)
    speaking, holders = int((clips.sum(axis=-1) > 0).sum()), (clips > 0).sum(axis=0)
    return tuple(
        f"class {label} is spoken by {n} of {speaking} {unit}: how it varies between them is hardly known"
        for label, n in zip(block.labels, holders.tolist(), strict=True)
        if 0 < n <= FEW_HOLDERS and n < speaking
    )


def unit_of(facts: CountedFacts) -> Unit:
    """What a record takes as independent."""
    return "clips" if facts.cluster == "clip" else "clusters"


def write_record(path: Path, facts: ScoredFacts, blocks: Sequence[Counts]) -> None:
    """Write a record and its statistics (``.parquet`` beside it), the statistics first.

    Args:
        path: where the JSON goes.
        facts: what it says; blocks and the hash of the statistics are described here, whatever ``facts`` say of them.
        blocks: its statistics, those of slices among them.
    """
    statistics = path.with_suffix(".parquet")
    rows = [row for block in blocks for row in _long(block, facts.seeds, facts.cluster_names(block.axis))]
    columns = [list(c) for c in zip(*rows, strict=True)] if rows else [[] for _ in _SCHEMA]
    table = pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
    )
    with replacing(statistics) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    described = {
        "blocks": tuple(_described(b) for b in blocks),
        "statistics": StatisticsFile(file=statistics.name, hash=hash_file(statistics)),
    }
    write_json(path, RecordFacts(**said_by(facts) | described).as_json())


def said_by(facts: CountedFacts) -> dict[str, Any]:
    """What a record's facts say, by field: what its kind of facts grows from."""
    return {name: getattr(facts, name) for name in facts.model_fields_set}


def _described(block: Counts) -> BlockDescription:
    names = ("view", "outside", "rows", "target", "labels", "sums", "axis", "group")
    return BlockDescription(**{n: getattr(block, n) for n in names})


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
    blocks = read_blocks(statistics_path(path, facts), facts)
    return Record(facts, tuple(b for b in blocks if not b.axis), tuple(b for b in blocks if b.axis))


def statistics_path(path: Path, facts: RecordFacts) -> Path:
    """Where the statistics of the record at ``path`` lie.

    Raises:
        DataError: they are not there, or not the ones that it was written with.
    """
    statistics = path.with_name(facts.statistics.file)
    if not statistics.is_file() or hash_file(statistics) != facts.statistics.hash:
        raise DataError(
            f"{statistics}: missing or changed since {path.name} was written; score the run again"
        )
    return statistics


def read_blocks(statistics: Path, facts: RecordFacts, *, sliced: bool | None = None) -> list[Counts]:
    """Read the statistics of a record whose facts are ``facts``, slices last or wherever the record announces them.

    Args:
        statistics: the Parquet file.
        facts: what the record says.
        sliced: True for the blocks of its slices alone, False for the others alone; None for all.

    Raises:
        DataError: they name what the record does not.
    """
    known = [f.name for f in _SCHEMA if f.type == pa.string()]
    names = [n for n in known if facts.schema_version > 1 or n not in _SINCE_2]
    table = pq.ParquetFile(statistics, read_dictionary=names).read(use_threads=False)
    described = [b for b in facts.blocks if sliced is None or bool(b.axis) == sliced]
    if not described:
        return []
    if sliced is not None and "axis" in table.column_names:
        whole = pc.equal(table["axis"], "")
        table = table.filter(pc.invert(whole) if sliced else whole)
    return _blocks(facts, described, table)


def read_facts(path: Path) -> RecordFacts:
    """Read a record's JSON alone.

    Raises:
        DataError: not a record, a schema of the future, or something about it that is not as it must be.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: not a record of this suite ({error})") from None
    return parse_facts(path, text)


def _blocks(facts: RecordFacts, described: Sequence[BlockDescription], table: pa.Table) -> list[Counts]:
    """Fill the blocks that the JSON announces with the sums of the table; places without a row are 0."""
    blocks = [_empty_block(b, facts) for b in described]
    index_of = {(*b.key, b.axis, b.group): i for i, b in enumerate(blocks)}
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
            block = blocks[index_of[tuple(columns[n][1][columns[n][0][first]] for n in names)]]
            _fill(
                block, {n: (codes[rows], known) for n, (codes, known) in columns.items()}, values[rows], facts
            )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(
            f"the statistics of {facts.system} on {facts.task} name what the record does not: {error}"
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


def _fill(block: Counts, columns: Mapping[str, _Coded], values: Array, facts: RecordFacts) -> None:
    """Put the rows of one block into its array, in which every name has its place."""

    def indices(name: str, known: Sequence[Any]) -> NDArray[np.intp]:
        codes, meaning = columns[name]
        number = {x: i for i, x in enumerate(known)}
        places = np.array([number.get(x, -1) for x in meaning], dtype=np.intp)[codes]
        if (strange := np.flatnonzero(places < 0)).size:
            raise KeyError(meaning[codes[strange[0]]])
        return places

    where = [indices("seed", facts.seeds), indices("cluster", facts.cluster_names(block.axis))]
    if block.labels:
        where.append(indices("truth", block.labels))
    where.append(
        indices("moment", block.sums) if block.sums else indices("prediction", (*block.labels, None))
    )
    block.values[tuple(where)] = values


def _empty_block(described: BlockDescription, facts: RecordFacts) -> Counts:
    labels = described.labels
    sums = (() if labels else MOMENTS) if described.sums is None else described.sums
    shape = (*((len(labels),) if labels else ()), len(sums) or len(labels) + 1)
    return Counts(
        described.view,
        described.outside,
        described.rows,
        described.target,
        labels,
        np.zeros((len(facts.seeds), len(facts.cluster_names(described.axis)), *shape)),
        sums,
        described.axis,
        described.group,
    )


def read_records(folder: Path) -> list[Record]:
    """Read all records of a folder, sorted by file name."""
    return [read_record(p) for p in sorted(folder.glob("*.json"))]
