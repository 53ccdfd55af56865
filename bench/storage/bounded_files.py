"""Files from strangers, read within bounds: size, depth, numbers, rows. Each refusal is one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench.errors import DataError

JSON_BYTES = 16 << 20
"""A record of 60 clusters has 50 KB; one of 3,000 speakers about 1 MB."""
PARQUET_BYTES = 64 << 20
PARQUET_ROWS = 4_000_000
PARQUET_UNPACKED = 512 << 20
STATISTICS_CELLS = 40_000_000
"""Places that the blocks of one record may announce: 320 MB of numbers."""


def require_plain_file(path: Path, most: int) -> None:
    """Raise :class:`DataError` unless ``path`` is a file, no link, of at most ``most`` bytes."""
    if path.is_symlink() or not path.is_file():
        raise DataError(f"{path}: expected a file, found {'a link' if path.is_symlink() else 'none'}")
    size = path.stat().st_size
    if size > most:
        raise DataError(
            f"{path}: {size:,} bytes, more than the {most:,} that such a file may have; it was not read"
        )


def bounded_json(path: Path, most: int = JSON_BYTES) -> Any:
    """Read JSON of bounded size and depth whose numbers are all finite.

    Raises:
        DataError: too large, too deep, not JSON, or a number that is none.
    """
    require_plain_file(path, most)
    try:
        text = path.read_bytes()
        read = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        if b"\\ud" in text.lower():
            # Half of a surrogate pair is text that can be neither hashed nor written again.
            json.dumps(read, ensure_ascii=False).encode()
        return read
    except RecursionError:
        raise DataError(f"{path}: nested too deeply to be a record of this suite") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not the JSON of this suite ({str(error)[:200]})") from None


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is out of range")
    return value


def require_bounded_parquet(path: Path, rows: int = PARQUET_ROWS) -> None:
    """Raise :class:`DataError` unless a Parquet file is small enough to be read whole.

    What it announces is not all: text that stands in a dictionary once may be meant a million times. So text is read as
    numbers into its dictionaries first, and measured.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    require_plain_file(path, PARQUET_BYTES)
    try:
        metadata = pq.read_metadata(path)
        unpacked = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a Parquet file ({str(error)[:120]})") from None
    if metadata.num_rows > rows or unpacked > PARQUET_UNPACKED or metadata.num_columns > 100:
        raise DataError(
            f"{path}: announces {metadata.num_rows:,} rows, {metadata.num_columns:,} columns and {unpacked:,} bytes; at most "
            f"{rows:,} rows, 100 columns and {PARQUET_UNPACKED:,} bytes are read"
        )
    meant = _bytes_of_text(path)
    if meant > PARQUET_UNPACKED:
        raise DataError(
            f"{path}: its text would take {meant:,} bytes, written out; at most {PARQUET_UNPACKED:,} are read"
        )


def _bytes_of_text(path: Path) -> int:
    """Bytes that the text columns of a bounded file take once each value is written out."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def is_text(kind: pa.DataType) -> bool:
        if pa.types.is_dictionary(kind):
            return is_text(kind.value_type)
        return bool(
            pa.types.is_string(kind) or pa.types.is_large_string(kind)
            or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        )  # fmt: skip

    def holds_text(kind: pa.DataType) -> bool:
        return is_text(kind) or any(holds_text(kind.field(i).type) for i in range(kind.num_fields))

    try:
        schema = pq.read_schema(path)
        names = [f.name for f in schema if is_text(f.type)]
        nested = [f.name for f in schema if not is_text(f.type) and holds_text(f.type)]
        if nested:
            raise DataError(
                f"{path}: column {nested[0]!r} holds lists of text, which no table of this suite has"
            )
        if not names:
            return 0
        file = pq.ParquetFile(path, read_dictionary=names)
        total = 0
        for i in range(file.num_row_groups):
            for column in file.read_row_group(i, columns=names, use_threads=False).columns:
                for chunk in column.chunks:
                    if not pa.types.is_dictionary(chunk.type):
                        total += int(pc.sum(pc.binary_length(chunk)).as_py() or 0)
                        continue
                    lengths = pc.fill_null(pc.binary_length(chunk.dictionary), 0)
                    total += int(pc.sum(pc.take(lengths, chunk.indices.drop_null())).as_py() or 0)
        return total
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a Parquet file ({str(error)[:120]})") from None


def require_bounded_statistics(path: Path, *, seeds: int, blocks: Sequence[tuple[int, int, int]]) -> None:
    """Refuse a record whose statistics would not fit into memory.

    Args:
        path: the record.
        seeds: how many it has.
        blocks: places (clusters, speakers, or cells of speaker and sentence), labels and named sums of each block that it announces.

    Raises:
        DataError: they announce more than :data:`STATISTICS_CELLS` sums.
    """
    announced = sum(
        seeds * places * max(1, labels) * (sums or max(6, labels + 1)) for places, labels, sums in blocks
    )
    if announced > STATISTICS_CELLS:
        raise DataError(
            f"{path}: its {len(blocks)} blocks announce {announced:,} sums; at most {STATISTICS_CELLS:,} are read"
        )
