"""Tables of a download, read as text: CSV and its kin, JSON, JSON lines, Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.errors import DataError, UsageError, nearest

TableRow = dict[str, str]
FORMATS = {
    ".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet",
}  # fmt: skip
csv.field_size_limit(1 << 30)


class TableSpec(Protocol):
    """How a table is to be read; parts and joins of a layout say it."""

    @property
    def format(self) -> str | None: ...  # noqa: D102
    @property
    def delimiter(self) -> str | None: ...  # noqa: D102
    @property
    def encoding(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def header(self) -> tuple[str, ...] | None: ...  # noqa: D102
    @property
    def records(self) -> str | None: ...  # noqa: D102


def read_table(path: Path, spec: TableSpec, name: str) -> Iterator[TableRow]:
    """Yield a table's rows, every cell as stripped text.

    Args:
        path: the file.
        spec: its format, delimiter, encodings, header and records, as far as the card gives them.
        name: what errors call it.

    Yields:
        Cells by column.

    Raises:
        DataError: the file is not such a table; names file and line.
        UsageError: the suffix tells no format and the card gives none.
    """
    form = spec.format or FORMATS.get(path.suffix.lower())
    if form is None:
        raise UsageError(
            f"{name}: its suffix tells no table format; set 'format' ({nearest('', FORMATS.values())})"
        )
    if form == "parquet":
        yield from _parquet(path, name)
        return
    text = decode_text(path, spec.encoding, name)
    if form in ("json", "jsonl"):
        yield from _json(text, form, spec.records, name)
    elif spec.delimiter == "spaces":
        yield from _spaced(text, spec.header, name)
    else:
        delimiter = {"tab": "\t", None: "\t" if form == "tsv" else ","}.get(spec.delimiter, spec.delimiter)
        yield from _delimited(text, str(delimiter), spec.header, name)


def decode_text(path: Path, encodings: Sequence[str], name: str) -> str:
    """Read a text file in the first encoding that fits.

    Args:
        path: the file.
        encodings: names of encodings, in the order to try them.
        name: what errors call it.

    Returns:
        The text.

    Raises:
        DataError: none fits.
    """
    raw = path.read_bytes()
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except (UnicodeDecodeError, UnicodeError):
            continue
        except LookupError:
            raise UsageError(f"{name}: there is no encoding {encoding!r}; mend the card") from None
    raise DataError(
        f"{name}: is not text in {' or '.join(encodings)}; give the table's 'encoding' on the card, e.g. [utf-8, cp1252]"
    )


def _delimited(text: str, delimiter: str, header: tuple[str, ...] | None, name: str) -> Iterator[TableRow]:
    # A tab-separated file seldom knows quoting: there, a lone quotation mark belongs to the sentence.
    lone = delimiter == "\t" and text.count('"') % 2 == 1
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE if lone else csv.QUOTE_MINIMAL)
    try:
        names = list(header) if header else [h.strip() for h in next(reader, [])]
        for cells in reader:
            if not any(c.strip() for c in cells):
                continue
            if len(cells) > len(names) and any(c.strip() for c in cells[len(names) :]):
                raise DataError(
                    f"{name}, line {reader.line_num}: has {len(cells)} cells, the header {len(names)}; check 'delimiter' on the card"
                )
            padded = [c.strip() for c in cells[: len(names)]] + [""] * (len(names) - len(cells))
            yield dict(zip(names, padded, strict=True))
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num}: not a table ({error})") from None


def _spaced(text: str, header: tuple[str, ...] | None, name: str) -> Iterator[TableRow]:
    lines = [line for line in text.splitlines() if line.strip()]
    names = list(header) if header else lines.pop(0).split() if lines else []
    for line in lines:
        cells = line.split(None, len(names) - 1)
        yield dict(zip(names, cells + [""] * (len(names) - len(cells)), strict=True))


def _json(text: str, form: str, records: str | None, name: str) -> Iterator[TableRow]:
    try:
        value: Any = (
            [json.loads(x) for x in text.splitlines() if x.strip()] if form == "jsonl" else json.loads(text)
        )
    except ValueError as error:
        raise DataError(f"{name}: not valid JSON ({error})") from None
    for step in records.split(".") if records else ():
        if not isinstance(value, dict) or step not in value:
            found = nearest(step, value) if isinstance(value, dict) else f"found {type(value).__name__}"
            raise DataError(f"{name}: has no {step!r} on the way {records!r}; {found}")
        value = value[step]
    if isinstance(value, dict):
        value = [{"key": k, **(v if isinstance(v, dict) else {"value": v})} for k, v in value.items()]
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise DataError(
            f"{name}: expected a list of records, or records by id; give 'records' where they lie deeper"
        )
    for record in value:
        yield flat(record)


def _parquet(path: Path, name: str) -> Iterator[TableRow]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                for record in batch.to_pylist():
                    yield flat(record)
    except pa.ArrowException as error:
        raise DataError(f"{name}: not a Parquet file that can be read ({error})") from None


def flat(record: Mapping[str, Any], prefix: str = "") -> TableRow:
    """Turn a record into text cells; nested records become dotted columns.

    >>> flat({"a": {"b": 1, "c": None}, "d": [1, 2]})
    {'a.b': '1', 'a.c': '', 'd': '[1, 2]'}
    """
    cells: TableRow = {}
    for key, value in record.items():
        if isinstance(value, dict):
            cells |= flat(value, f"{prefix}{key}.")
        else:
            cells[f"{prefix}{key}"] = cell(value)
    return cells


def cell(value: Any) -> str:
    """Write a value as a cell: nothing for null, text as it is, numbers in shortest form, lists as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | bool):
        return json.dumps(value, ensure_ascii=False)
    return "" if isinstance(value, float) and value != value else str(value)
