"""The prediction table: one Parquet file per cell, one row per test clip, none missing, none twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import DataError
from bench.protocols import DIMENSIONS, STATUSES, Answers, Array
from bench.storage.atomic import replacing
from bench.storage.hashing import digest

SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("probabilities", pa.list_(pa.float64())),
        *(pa.field(d, pa.float64()) for d in DIMENSIONS),
        pa.field("reply", pa.string()),
    ]
)
METADATA_KEY = b"serbench"
PROBABILITY_TOLERANCE = 1e-6


@dataclass(frozen=True)
class PredictionTable:
    """A cell's predictions, checked.

    ``labels`` is the order of ``probabilities`` (clips, labels; NaN rows where the system gave none, or None when it
    never does); ``dimensions`` is (clips, 3) with NaN for no answer; ``identity`` says what made the table.
    """

    clip_ids: tuple[str, ...]
    statuses: tuple[str, ...]
    answers: tuple[str | None, ...]
    labels: tuple[str, ...]
    probabilities: Array | None
    dimensions: Array
    replies: tuple[str | None, ...]
    identity: Mapping[str, Any]
    origin: str = "a table in memory"
    """Where it was read from, for messages."""
    beside: Mapping[str, PredictionTable] = field(default_factory=dict)
    """Tables of its variants, by name, where they did not lie in files of their own."""


def complete_answers(
    clip_ids: Sequence[str],
    asked: Sequence[int],
    answers: Answers,
    silent: Mapping[int, str],
    labels: Sequence[str],
) -> PredictionTable:
    """Turn an adapter's answers on the clips it was asked about into a table over all test clips.

    Args:
        clip_ids: all test clips, in the task's row order.
        asked: numbers of the rows that the adapter was asked about.
        answers: its answers to these, in their order.
        silent: for the other rows, the status that says why they were not asked.
        labels: what was offered, in the order of the probabilities.

    Returns:
        The table, without an identity.

    Raises:
        DataError: the answers break the contract (length, unknown status or label, probabilities that are no
            distribution, dimensions off 0..1).
    """
    _check_answers(answers, len(asked), labels)
    n, rows = len(clip_ids), list(asked)
    statuses: list[str] = [silent.get(i, "") for i in range(n)]
    predicted: list[str | None] = [None] * n
    replies: list[str | None] = [None] * n
    for j, i in enumerate(rows):
        statuses[i], predicted[i] = answers.statuses[j], answers.labels[j]
        replies[i] = answers.replies[j] if answers.replies else None
    probabilities = None
    if answers.probabilities is not None:
        probabilities = np.full((n, len(labels)), np.nan)
        probabilities[rows] = answers.probabilities
    dimensions = np.full((n, len(DIMENSIONS)), np.nan)
    if answers.dimensions is not None:
        dimensions[rows] = answers.dimensions
    return PredictionTable(
        tuple(clip_ids),
        tuple(statuses),
        tuple(predicted),
        tuple(labels),
        probabilities,
        dimensions,
        tuple(replies),
        {},
    )


def _check_answers(answers: Answers, n: int, labels: Sequence[str]) -> None:
    lengths = {"statuses": len(answers.statuses), "labels": len(answers.labels)}
    for name in ("probabilities", "dimensions", "replies"):
        value = getattr(answers, name)
        if value is not None:
            lengths[name] = len(value)
    wrong = {name: length for name, length in lengths.items() if length != n}
    if wrong:
        raise DataError(
            f"the adapter answered {wrong} rows where {n} clips were asked; expected one row per clip, in order"
        )
    unknown = set(answers.statuses) - set(STATUSES)
    if unknown:
        raise DataError(f"the adapter gave the status {sorted(unknown)[0]!r}; known: {', '.join(STATUSES)}")
    strange = {x for x in answers.labels if x is not None} - set(labels)
    if strange:
        raise DataError(
            f"the adapter answered {sorted(strange)[0]!r}, which was not offered; offered: {', '.join(labels)}"
        )
    if answers.probabilities is not None:
        _check_probabilities(answers.probabilities, len(labels))
    if answers.dimensions is not None:
        finite = answers.dimensions[~np.isnan(answers.dimensions)]
        if answers.dimensions.shape[1:] != (len(DIMENSIONS),) or (finite < 0).any() or (finite > 1).any():
            raise DataError(
                f"the adapter's dimensions must be (clips, {len(DIMENSIONS)}) in 0..1 with NaN for no answer"
            )


def _check_probabilities(probabilities: Array, k: int) -> None:
    if probabilities.shape[1:] != (k,):
        raise DataError(
            f"the adapter's probabilities have shape {probabilities.shape}; expected (clips, {k})"
        )
    given = probabilities[~np.isnan(probabilities).all(axis=1)]
    if (
        not np.isfinite(given).all()
        or (given < 0).any()
        or (np.abs(given.sum(axis=1) - 1) > PROBABILITY_TOLERANCE).any()
    ):
        raise DataError(
            "the adapter's probabilities must be finite, non-negative and sum to one in every row (or be all NaN)"
        )


def write_table(path: Path, table: PredictionTable, identity: Mapping[str, Any]) -> None:
    """Write a table atomically; equal predictions and identity give equal bytes.

    Args:
        path: where it goes, ``.parquet``.
        table: the predictions; its own identity is not written.
        identity: what made it, JSON values.
    """
    probabilities = None
    if table.probabilities is not None:
        probabilities = [None if np.isnan(p).any() else p.tolist() for p in table.probabilities]
    columns = [
        pa.array(table.clip_ids, pa.string()),
        pa.array(table.statuses, pa.string()),
        pa.array(table.answers, pa.string()),
        pa.array(probabilities or [None] * len(table.clip_ids), pa.list_(pa.float64())),
        *(
            pa.array([None if np.isnan(x) else x for x in column], pa.float64())
            for column in table.dimensions.T.tolist()
        ),
        pa.array(table.replies, pa.string()),
    ]
    described = json.dumps({**identity, "labels": list(table.labels)}, sort_keys=True, ensure_ascii=False)
    arrow = pa.Table.from_arrays(columns, schema=SCHEMA.with_metadata({METADATA_KEY: described.encode()}))
    with replacing(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def variant_path(table: Path, name: str) -> Path:
    """Return where the table of one variant (prompt, order, repeat) of a cell lies: beside the cell's own."""
    return table.with_name(f"{table.stem}.{digest(name)[:12]}.parquet")


def read_identity(path: Path) -> dict[str, Any]:
    """Read what a table says of itself, without its rows.

    Raises:
        DataError: not a prediction table.
    """
    try:
        return dict(json.loads((pq.read_schema(path).metadata or {})[METADATA_KEY]))
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a prediction table of this suite ({error})") from None


def read_table(path: Path) -> PredictionTable:
    """Read and check a table.

    Raises:
        DataError: not a prediction table; a clip twice; an unknown status or label; probabilities that are no
            distribution; dimensions off 0..1. The message names the file and the clips.
    """
    try:
        arrow = pq.read_table(path)
        identity = json.loads((arrow.schema.metadata or {})[METADATA_KEY])
        labels = tuple(str(label) for label in identity["labels"])
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a prediction table of this suite ({error})") from None
    missing = [f.name for f in SCHEMA if f.name not in arrow.column_names]
    if missing:
        raise DataError(f"{path}: a prediction table without the column {missing[0]!r}")
    clip_ids = tuple(arrow["clip_id"].to_pylist())
    given = arrow["probabilities"].to_pylist()
    _require(
        path,
        clip_ids,
        [p is None or len(p) == len(labels) for p in given],
        f"needs {len(labels)} probabilities",
    )
    probabilities = None
    if any(p is not None for p in given):
        probabilities = np.array([p if p is not None else [np.nan] * len(labels) for p in given])
    table = PredictionTable(
        clip_ids,
        tuple(arrow["status"].to_pylist()),
        tuple(arrow["label"].to_pylist()),
        labels,
        probabilities,
        np.stack([np.array(arrow[d].to_pylist(), dtype=float) for d in DIMENSIONS], axis=1),
        tuple(arrow["reply"].to_pylist()),
        identity,
        str(path),
    )
    check_table(path, table)
    return table


def check_table(path: Path, table: PredictionTable) -> None:
    """Raise :class:`DataError` naming file and clips where rows are none: a clip twice, an unknown status or label, numbers off."""
    clips = table.clip_ids
    times = Counter(clips)
    _require(path, clips, [times[c] == 1 for c in clips], "stands in it twice")
    _require(
        path,
        clips,
        [s in STATUSES for s in table.statuses],
        f"has an unknown status; known: {', '.join(STATUSES)}",
    )
    known = {None, *table.labels}
    _require(
        path, clips, [a in known for a in table.answers],
        f"is answered with a label that was not offered; offered: {', '.join(table.labels)}",
    )  # fmt: skip
    if table.probabilities is not None:
        p = table.probabilities
        sound = np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1)
        sound &= np.abs(p.sum(axis=1) - 1) <= PROBABILITY_TOLERANCE
        _require(
            path, clips, (sound | np.isnan(p).all(axis=1)).tolist(),
            "has probabilities that are not finite, non-negative and one in sum",
        )  # fmt: skip
    with np.errstate(invalid="ignore"):
        inside = (table.dimensions >= 0) & (table.dimensions <= 1)
    _require(
        path,
        clips,
        np.all(inside | np.isnan(table.dimensions), axis=1).tolist(),
        "has a dimension outside 0..1",
    )


def _require(path: Path, clip_ids: Sequence[str], sound: Sequence[bool], fault: str) -> None:
    """Raise :class:`DataError` naming the file and the first clips whose row is not sound."""
    wrong = list(dict.fromkeys(c for c, fine in zip(clip_ids, sound, strict=True) if not fine))
    if wrong:
        shown = ", ".join(map(repr, wrong[:3])) + (", …" if len(wrong) > 3 else "")
        raise DataError(f"{path}: clip {shown} {fault} ({len(wrong)} such clip(s))")
