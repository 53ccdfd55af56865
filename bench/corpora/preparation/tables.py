"""Tables of a download, read as text: CSV and its kin, JSON, JSON lines, Parquet."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.errors import DataError, UsageError, nearest
from bench.storage.file_kinds import ANNEX_POINTER, HEAD, LFS_POINTER, WEB_PAGE, kind_of

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
    @property
    def spaced(self) -> str | None: ...  # noqa: D102


def read_table(
    path: Path, spec: TableSpec, name: str, say: Callable[[str, str], object] = lambda where, what: None
) -> Iterator[TableRow]:
    """Yield a table's rows, every cell as stripped text.

    Args:
        path: the file.
        spec: its format, delimiter, encodings, header and records, as far as the card gives them.
        name: what errors call it.
        say: told of rows that are not like the others: (table, sentence).

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
        yield from _delimited(text, str(delimiter), spec, name, say)


def decode_text(path: Path, encodings: Sequence[str], name: str) -> str:
    """Read a text file in the first encoding that fits.

    An encoding fits when the bytes decode *and* look like it: nearly any bytes of even length are some UTF-16, and an apostrophe of
    Windows with the letter behind it is some Chinese character.

    Args:
        path: the file.
        encodings: names of encodings, in the order to try them.
        name: what errors call it.

    Returns:
        The text.

    Raises:
        DataError: none fits, or the file is a Git LFS pointer or a web page.
    """
    raw = path.read_bytes()
    _refuse_other_kinds(raw[:HEAD], name)
    for encoding in encodings:
        try:
            codec = codecs.lookup(encoding).name
        except LookupError:
            raise UsageError(f"{name}: there is no encoding {encoding!r}; mend the card") from None
        if not looks_like(raw, codec):
            continue
        try:
            return raw.decode(_byte_order(raw, codec)).removeprefix("\ufeff")
        except (UnicodeDecodeError, UnicodeError):
            continue
    raise DataError(
        f"{name}: is not text in {' or '.join(encodings)}; give the table's 'encoding' on the card, e.g. [utf-8, cp1252]"
    )


def _refuse_other_kinds(head: bytes, name: str) -> None:
    kind = kind_of(head)
    if kind in (LFS_POINTER, ANNEX_POINTER, WEB_PAGE):
        raise DataError(f"{name}: is {kind.sentence}")


BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
DOUBLE_BYTE = ("gb", "big5", "euc", "shift_jis", "cp932", "cp949", "cp950", "johab", "hz")


def looks_like(raw: bytes, codec: str) -> bool:
    """Whether bytes look like text in an encoding, beyond that they decode.

    UTF-16 and UTF-32 have a byte order mark, or zero bytes (the tabs, digits and line ends of a table); nothing else has any. In
    the double-byte encodings of East Asia bytes above 127 come in runs, in those of Europe mostly alone between letters.

    Args:
        raw: the bytes.
        codec: name of the encoding, as ``codecs.lookup`` gives it.

    >>> looks_like("It’s".encode("cp1252"), "gb18030"), looks_like("今天".encode("gb18030"), "gb18030")
    (False, True)
    """
    wide = raw.startswith(BYTE_ORDER_MARKS) or b"\0" in raw
    if codec.startswith(("utf-16", "utf-32")):
        return wide
    if wide:
        return False
    if codec.startswith(DOUBLE_BYTE):
        four = rb"[\x81-\xfe][0-9][\x81-\xfe][0-9]" if codec == "gb18030" else rb"(?!)"
        runs = re.findall(rb"[\x80-\xff]+", re.sub(four, b"", raw))
        alone = sum(len(run) == 1 for run in runs)
        return 2 * alone <= len(runs)
    return True


def _byte_order(raw: bytes, codec: str) -> str:
    """UTF-16 without a mark: zeros stand where the high bytes of ASCII are."""
    if codec == "utf-16" and not raw.startswith(BYTE_ORDER_MARKS):
        return "utf-16-be" if raw[::2].count(0) > raw[1::2].count(0) else "utf-16-le"
    return codec


def _delimited(
    text: str, delimiter: str, spec: TableSpec, name: str, say: Callable[[str, str], object]
) -> Iterator[TableRow]:
    # A tab-separated file seldom knows quoting: there, a lone quotation mark belongs to the sentence.
    lone = delimiter == "\t" and text.count('"') % 2 == 1
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE if lone else csv.QUOTE_MINIMAL)
    whole: list[int] = []
    try:
        names = list(spec.header) if spec.header else [h.strip() for h in next(reader, [])]
        for cells in reader:
            if not any(c.strip() for c in cells):
                continue
            if len(cells) > len(names) and any(c.strip() for c in cells[len(names) :]):
                raise DataError(
                    f"{name}, line {reader.line_num}: has {len(cells)} cells, the header {len(names)}; check 'delimiter' on the card"
                )
            if len(cells) == 1 < len(names):
                if spec.spaced in names and (split := _split_at_spaces(cells[0], names, spec.spaced)):
                    cells = split
                else:
                    whole.append(reader.line_num)
            padded = [c.strip() for c in cells[: len(names)]] + [""] * (len(names) - len(cells))
            yield dict(zip(names, padded, strict=True))
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num}: not a table ({error})") from None
    if whole:
        shown = {"\t": "tab"}.get(delimiter, repr(delimiter))
        say(
            name,
            f"{len(whole)} row(s), first line {whole[0]}, have no {shown}, so that only the first of {len(names)} columns is "
            "filled; another delimiter?",
        )


def _split_at_spaces(line: str, names: Sequence[str], spaced: str | None) -> list[str] | None:
    """Split a row that lost its delimiters at spaces; the column ``spaced`` takes those that are left over.

    >>> _split_at_spaces("0017_000001 It is late. Neutral", ["id", "text", "emotion"], "text")
    ['0017_000001', 'It is late.', 'Neutral']
    """
    words = line.split()
    if spaced is None or len(words) < len(names):
        return None
    before = names.index(spaced)
    behind = len(names) - before - 1
    end = len(words) - behind
    return [*words[:before], " ".join(words[before:end]), *words[end:]]


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

    with path.open("rb") as stream:
        _refuse_other_kinds(stream.read(HEAD), name)
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
