"""A table from elsewhere as rows of cells: CSV, JSON or Parquet, in whatever separator and encoding, within bounds.

Nothing is made of the cells here; blank ones are left out.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.corpora.preparation.tables import BYTE_ORDER_MARKS, looks_like
from bench.errors import DataError, UsageError
from bench.execution.imports.remarks import Remarks
from bench.storage.bounded_files import require_bounded_parquet, require_plain_file
from bench.storage.file_kinds import HEAD, kind_of

FILE_BYTES = 512 << 20
WHOLE_JSON_BYTES = 64 << 20
"""A JSON list is read at once, where lines are read one by one."""
LINE_BYTES = 1 << 20
CELL_CHARACTERS = 20_000
MOST_ROWS = 2_000_000
BATCH_ROWS = 4096
SAMPLE_BYTES = 1 << 20
"""By which one encoding is told from another where a table is not UTF-8."""
SEPARATED = (".csv", ".tsv", ".txt")
ENDINGS = (*SEPARATED, ".json", ".jsonl", ".ndjson", ".parquet")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "strokes"}
INDEX_NAMES = ("", "unnamed: 0", "__index_level_0__", "index")
"""What pandas calls the row numbers that it writes beside a table unless told not to."""
OTHER_FORMATS = {
    b"PK\x03\x04": "is a spreadsheet or another packed file, not text: save the sheet as CSV (UTF-8), or unpack it",
    b"\xd0\xcf\x11\xe0": "is a spreadsheet of an old Excel, not text: save the sheet as CSV (UTF-8)",
    b"\x1f\x8b": "is packed with gzip: unpack it first",
    b"PAR1": "is Parquet: let its name end in .parquet",
}

Cells = dict[str, Any]
"""A row by the names of its columns, as the table has them; blank cells are left out."""


def read_cells(path: Path, known: Iterable[str], remarks: Remarks) -> Iterator[tuple[str, Cells]]:
    """Yield where each row stands, and its cells.

    Args:
        path: the table.
        known: names that its columns may have, folded (:func:`fold_column`): by them the separator is told.
        remarks: gets what was read otherwise than it is usually written.

    Raises:
        UsageError: no file, or a format that is not read.
        DataError: not such a table, too large, or a row with more or fewer cells than there are columns.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"{path}: tables are read from {', '.join(ENDINGS)}; save it as one of these")
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    if ending == ".parquet":
        rows = _parquet(path, remarks)
    else:
        require_plain_file(path, FILE_BYTES)
        _require_text(path)
        encoding = _encoding(path, remarks)
        if ending in SEPARATED:
            rows = _separated(path, encoding, frozenset(known), remarks)
        else:
            rows = _json_rows(path, encoding)
    for count, (place, cells) in enumerate(rows):
        if count >= MOST_ROWS:
            raise DataError(f"{path}: more than {MOST_ROWS:,} rows; import one task at a time")
        yield place, cells


def fold_column(name: str) -> str:
    """Write a column's name in one way.

    >>> fold_column(" Clip ID"), fold_column("p_Happy")
    ('clip_id', 'p_happy')
    """
    return "_".join(name.strip().casefold().replace("-", " ").split())


def _require_text(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    for mark, said in OTHER_FORMATS.items():
        if head.startswith(mark):
            raise DataError(f"{path}: {said}")
    kind = None if head.lstrip()[:1] in (b"{", b"[") else kind_of(head)
    if kind is not None:
        raise DataError(f"{path}: is {kind.sentence}")


def _encoding(path: Path, remarks: Remarks) -> str:
    """UTF-8 wherever the bytes are; else what they look like."""
    with path.open("rb") as stream:
        sample = stream.read(SAMPLE_BYTES)
    if sample.startswith(BYTE_ORDER_MARKS) or b"\0" in sample:
        wide = "utf-32" if sample.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) else "utf-16"
        if not sample.startswith(BYTE_ORDER_MARKS):
            # Zeros stand where the high bytes of ASCII are.
            wide = "utf-16-be" if sample[::2].count(0) > sample[1::2].count(0) else "utf-16-le"
        remarks.note(f"the table is read as {wide.upper()}")
        return wide
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as stream:
        try:
            while block := stream.read(SAMPLE_BYTES):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            encoding = next(e for e in ("gb18030", "cp1252", "latin-1") if _fits(sample, e))
            remarks.note(
                f"the table is not UTF-8 and is read as {encoding}; save it as UTF-8 if names look wrong"
            )
            return encoding
    return "utf-8-sig"


def _fits(sample: bytes, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        decoder.decode(sample)
    except UnicodeDecodeError:
        return False
    return looks_like(sample, encoding)


def _separated(
    path: Path, encoding: str, known: frozenset[str], remarks: Remarks
) -> Iterator[tuple[str, Cells]]:
    with path.open("r", newline="", encoding=encoding, errors="strict") as stream:
        previous = csv.field_size_limit(CELL_CHARACTERS)
        try:
            head = stream.readline(LINE_BYTES)
            lines = _after_separator_line(head, stream)
            usual = "\t" if path.suffix.lower() == ".tsv" else ","
            first = next(lines, "")
            separator = _separator(first, known, usual)
            if separator != usual:
                remarks.note(f"its cells stand between {SEPARATORS[separator]}")
            reader = csv.reader(_chained(first, lines), strict=True, delimiter=separator)
            shift = 1 if first is not head else 0
            names = [name.strip() for name in next(reader, [])]
            yield from _numbered(path, names, reader, shift, remarks)
        except (csv.Error, UnicodeError) as error:
            shown = encoding.removesuffix("-sig").upper()
            raise DataError(f"{path}: not a CSV table in {shown} ({error})") from None
        finally:
            csv.field_size_limit(previous)


def _after_separator_line(head: str, stream: Iterable[str]) -> Iterator[str]:
    """The lines of a table, without the line ``sep=;`` by which Excel tells itself the separator."""
    if not head.strip().lower().startswith("sep="):
        yield head
    yield from stream


def _chained(first: str, others: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from others


def _separator(line: str, known: frozenset[str], usual: str) -> str:
    """The separator that makes most known columns of a table's first line, else most columns; the usual one in doubt."""

    def made(separator: str) -> tuple[int, int, bool]:
        try:
            names = [fold_column(n) for n in next(csv.reader([line], delimiter=separator), [])]
        except csv.Error:
            return 0, 0, False
        return sum(n in known or n.startswith("p_") for n in names), len(names), separator == usual

    return max(SEPARATORS, key=made)


def _numbered(
    path: Path, names: list[str], reader: Any, shift: int, remarks: Remarks
) -> Iterator[tuple[str, Cells]]:
    index = _Index(names, remarks)
    _require_once(path, [n for n in names if n], "in its first line")
    for row in reader:
        place = f"line {reader.line_num + shift}"
        if not any(cell.strip() for cell in row):
            continue
        while len(row) > len(names) and not row[-1].strip():  # a separator behind the last cell
            row = row[:-1]
        if len(row) != len(names):
            raise DataError(
                f"{path}, {place}: expected {len(names)} cells, as the first line has, found {len(row)}; "
                "put cells that hold the separator in quotes"
            )
        cells = dict(zip(names, row, strict=True))
        yield place, index.without({k: v.strip() for k, v in cells.items() if v.strip()})


class _Index:
    """The column of row numbers that pandas writes: unnamed or named after nothing, counting up by one."""

    def __init__(self, names: Sequence[str], remarks: Remarks) -> None:
        # What is alone in its table is no row number.
        self._name = next((n for n in names if n.casefold() in INDEX_NAMES and len(names) > 1), None)
        self._last: int | None = None
        self._remarks = remarks

    def without(self, cells: Cells) -> Cells:
        if self._name is None or self._name not in cells:
            return cells
        value = cells[self._name]
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = None
        if number is None or (self._last is not None and number != self._last + 1):
            self._name = None  # not the row numbers after all
            return cells
        self._last = number
        self._remarks.note("a column of row numbers, as pandas writes it, is left out")
        return {k: v for k, v in cells.items() if k != self._name}


def _require_once(path: Path, names: Sequence[str], where: str) -> None:
    if len({fold_column(n) for n in names}) < len(names):
        raise DataError(f"{path}: a column stands twice {where}: {', '.join(names)[:200]}")


def _json_rows(path: Path, encoding: str) -> Iterator[tuple[str, Cells]]:
    with path.open("rb") as stream:
        begins = stream.read(HEAD).decode(encoding, errors="replace").lstrip()[:1]
    if begins == "[":
        yield from _json_list(path, encoding)
    else:
        yield from _json_lines(path, encoding)


def _json_list(path: Path, encoding: str) -> Iterator[tuple[str, Cells]]:
    require_plain_file(path, WHOLE_JSON_BYTES)
    for number, cells in enumerate(json_value(str(path), path.read_bytes().decode(encoding)), 1):
        yield f"entry {number}", _object(f"{path}, entry {number}", cells)


def _json_lines(path: Path, encoding: str) -> Iterator[tuple[str, Cells]]:
    with path.open("rb") as raw:
        stream = raw if encoding == "utf-8-sig" else io.BytesIO(raw.read().decode(encoding).encode())
        number = 0
        while line := stream.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                raise DataError(
                    f"{path}, line {number}: longer than {LINE_BYTES:,} bytes; one answer per line"
                )
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if line.strip():
                cells = json_value(f"{path}, line {number}", line)
                yield f"line {number}", _object(f"{path}, line {number}", cells)


def _object(place: str, cells: Any) -> Cells:
    if not isinstance(cells, dict):
        raise DataError(f"{place}: expected an object, {{…}}, with a clip and its answer")
    return {k: v for k, v in cells.items() if v is not None and v != ""}


def json_value(place: str, text: str | bytes) -> Any:
    """Read JSON in which no key stands twice; NaN is kept, for a sentence about the cell it stands in.

    Raises:
        DataError: not JSON, nested too deeply, an infinite number.
    """

    def constant(name: str) -> float:
        if name == "NaN":
            return math.nan
        raise ValueError(f"{name} is no number")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"a key stands twice among {', '.join(k for k, _ in pairs)[:80]}")
        return found

    try:
        return json.loads(text, parse_constant=constant, object_pairs_hook=once)
    except RecursionError:
        raise DataError(f"{place}: nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{place}: not JSON ({str(error)[:120]})") from None


def _parquet(path: Path, remarks: Remarks) -> Iterator[tuple[str, Cells]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    require_bounded_parquet(path, MOST_ROWS)
    number = 0
    try:
        names = pq.read_schema(path).names
        _require_once(path, names, "in it")
        index = _Index(names, remarks)
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
            for cells in batch.to_pylist():
                number += 1
                yield f"row {number}", index.without({k: v for k, v in cells.items() if v not in (None, "")})
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read as Parquet ({str(error)[:120]})") from None
