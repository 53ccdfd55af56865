"""Rows of a prediction table from elsewhere: CSV, JSON lines or Parquet, one row after the other, nothing taken on trust."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from bench.cards.labels import fold_name, label_table
from bench.corpora.metadata import plain_path
from bench.errors import DataError, UsageError, nearest
from bench.protocols import DIMENSIONS, STATUSES
from bench.storage.bounded_files import require_bounded_parquet, require_plain_file

FILE_BYTES = 512 << 20
LINE_BYTES = 1 << 20
CELL_CHARACTERS = 20_000
MOST_ROWS = 2_000_000
BATCH_ROWS = 4096
SUM_TOLERANCE = 1e-3
"""How far probabilities may sum from one: tables are written with few digits. They are divided by their sum."""
SHARE = "p_"
"""Columns ``p_happy``, ``p_sad``, … hold probabilities, where they are not one column ``probabilities``."""
COLUMNS = ("clip_id", "label", "status", "probabilities", *DIMENSIONS, "reply", "seed", "fold")
ENDINGS = (".csv", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class ImportedRow:
    """One answer, its labels by canonical name or the corpus's own class; ``place`` says where it stood, for messages.

    ``probabilities`` by label, None where none were given; ``dimensions`` in 0..1 with NaN for no answer.
    """

    place: str
    clip_id: str
    label: str | None
    status: str
    probabilities: Mapping[str, float] | None
    dimensions: tuple[float, float, float]
    reply: str | None
    seed: int
    fold: str | None


def read_rows(path: Path, own: Sequence[str] | None = ()) -> Iterator[ImportedRow]:
    """Yield the rows of a table, bounded in memory whatever the file says of itself.

    Columns: ``clip_id`` (or ``file_name``), ``label``, and where there are any ``status``, ``probabilities`` (an object of label
    → share, as JSON text in CSV) or ``p_<label>``, ``valence``, ``arousal``, ``dominance`` (0..1), ``reply``, ``seed``, ``fold``.

    Args:
        path: the table.
        own: class names that the corpus's card declares beside the label table's; None while the corpus is not known yet: names
            are then taken as they are written.

    Raises:
        UsageError: no file, or a format that is not read.
        DataError: a row that cannot be an answer; the message names its line.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: tables are read from {', '.join(ENDINGS)}")
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    readers = {".csv": _csv, ".parquet": _parquet}
    for count, (place, cells) in enumerate(readers.get(path.suffix.lower(), _json_lines)(path)):
        if count >= MOST_ROWS:
            raise DataError(f"{path}: more than {MOST_ROWS:,} rows; import one task at a time")
        yield _row(f"{path}, {place}", cells, own)


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    require_plain_file(path, FILE_BYTES)
    with path.open("r", newline="", encoding="utf-8-sig", errors="strict") as stream:
        previous = csv.field_size_limit(CELL_CHARACTERS)
        try:
            reader = csv.DictReader(stream, strict=True)
            names = reader.fieldnames or []
            if len(set(names)) < len(names):
                raise DataError(f"{path}: a column stands twice in its first line: {', '.join(names)[:200]}")
            for cells in reader:
                place = f"line {reader.line_num}"
                if None in cells or None in cells.values():
                    raise DataError(f"{path}, {place}: expected {len(names)} cells, as the first line has")
                yield place, {k: v for k, v in cells.items() if v != ""}
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not a CSV table in UTF-8 ({error})") from None
        finally:
            csv.field_size_limit(previous)


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    require_plain_file(path, FILE_BYTES)
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                raise DataError(
                    f"{path}, line {number}: longer than {LINE_BYTES:,} bytes; one answer per line"
                )
            if line.strip():
                cells = _json(f"{path}, line {number}", line)
                if not isinstance(cells, dict):
                    raise DataError(f"{path}, line {number}: expected an object, {{…}}")
                yield f"line {number}", {k: v for k, v in cells.items() if v is not None}


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    require_bounded_parquet(path, MOST_ROWS)
    number = 0
    try:
        names = pq.read_schema(path).names
        if len(set(names)) < len(names):
            raise DataError(f"{path}: a column stands twice: {', '.join(names)[:200]}")
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
            for cells in batch.to_pylist():
                number += 1
                yield f"row {number}", {k: v for k, v in cells.items() if v is not None}
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read as Parquet ({str(error)[:120]})") from None


def _json(place: str, text: str | bytes) -> Any:
    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no number")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"a key stands twice among {', '.join(k for k, _ in pairs)[:80]}")
        return found

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except RecursionError:
        raise DataError(f"{place}: nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{place}: not JSON ({str(error)[:120]})") from None


def _row(place: str, given: Mapping[str, Any], own: Sequence[str] | None) -> ImportedRow:
    cells = dict(given)
    if "file_name" in cells:
        cells.setdefault("clip_id", cells.pop("file_name"))
    columns = {k.removeprefix(SHARE): cells.pop(k) for k in list(cells) if str(k).startswith(SHARE)}
    if strange := sorted(str(k) for k in cells if k not in COLUMNS):
        raise DataError(
            f"{place}: unknown column {strange[0][:60]!r}; {nearest(strange[0][:60], [*COLUMNS, 'p_happy'])}"
        )
    clip, reply, fold = (_text(place, name, cells.get(name)) for name in ("clip_id", "reply", "fold"))
    if not clip:
        raise DataError(f"{place}: names no clip (column clip_id)")
    dimensions = tuple(_share(place, d, cells[d]) if d in cells else math.nan for d in DIMENSIONS)
    label = _label(place, _text(place, "label", cells.get("label")), own)
    answered = label is not None or not all(map(math.isnan, dimensions))
    status = _text(place, "status", cells.get("status")) or ("ok" if answered else "failed")
    if status not in STATUSES:
        raise DataError(f"{place}: status {status[:60]!r}; {nearest(status[:60], STATUSES)}")
    if status == "ok" and not answered:
        raise DataError(
            f"{place}: status ok, and neither a label nor a dimension; say unparsed, refused or failed"
        )
    shares = cells.get("probabilities", columns or None)
    if shares and not answered and "status" not in cells:
        raise DataError(
            f"{place}: has probabilities and no label; write the label it answers, or say in status why it answers none"
        )
    return ImportedRow(
        place=place,
        clip_id=plain_path(clip),
        label=label,
        status=status,
        probabilities=_probabilities(place, shares, own),
        dimensions=(dimensions[0], dimensions[1], dimensions[2]),
        reply=reply,
        seed=_seed(place, cells.get("seed", 0)),
        fold=fold,
    )


def _text(place: str, name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{place}: {name} must be text, found {type(value).__name__}")
    text = str(value)
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise DataError(
            f"{place}: {name} holds half a character (a lone surrogate), which is no text; leave it out"
        )
    if len(text) > CELL_CHARACTERS:
        raise DataError(f"{place}: {name} has {len(text):,} characters; at most {CELL_CHARACTERS:,} are read")
    return text


def _label(place: str, raw: str | None, own: Sequence[str] | None) -> str | None:
    if raw is None or not raw.strip():
        return None
    if own is None:
        return raw
    folded = fold_name(raw)
    known = label_table().canonical(raw) or next((x for x in own if fold_name(x) == folded), None)
    if known is None:
        beside = " and which is no class of this corpus's own" if own else ""
        raise DataError(
            f"{place}: {raw[:60]!r} is no emotion the label table knows{beside}; leave the label blank and say status unparsed, or "
            f"{label_table().near(raw[:60], own)}"
        )
    return known


def _number(place: str, name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{place}: {name} must be a finite number, found {str(value)[:60]!r}")
    return number


def _share(place: str, name: str, value: Any) -> float:
    number = _number(place, name, value)
    if not 0 <= number <= 1:
        raise DataError(
            f"{place}: {name} must lie in 0..1, found {number:g}; map the raw scale to 0..1 first"
        )
    return number


def _seed(place: str, value: Any) -> int:
    number = _number(place, "seed", value)
    if number != int(number) or not 0 <= number < 2**31:
        raise DataError(f"{place}: seed must be a whole number from 0 on, found {number:g}")
    return int(number)


def _probabilities(place: str, given: Any, own: Sequence[str] | None) -> dict[str, float] | None:
    if isinstance(given, str):
        given = _json(f"{place}: probabilities", given)
    if isinstance(given, list) and all(isinstance(p, tuple) and len(p) == 2 for p in given):
        given = dict(given)  # a Parquet map
    if given is None or given == {}:
        return None
    if not isinstance(given, dict):
        raise DataError(
            f'{place}: probabilities must be an object of label and share, like {{"happy": 0.7, …}}'
        )
    found: dict[str, float] = {}
    for raw, value in given.items():
        name = _label(place, str(raw), own)
        if name is None or name in found:
            raise DataError(f"{place}: probabilities name {str(raw)[:60]!r} twice, or nothing")
        found[name] = _share(place, f"the probability of {name}", 0.0 if value is None else value)
    total = sum(found.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise DataError(f"{place}: probabilities sum to {total:g}, not to one")
    return {k: v / total for k, v in found.items()}
