"""Whether two versions of the code give the same results: ``python -m tests.same_results BEFORE AFTER``.

BEFORE and AFTER are two sites (a board, a report) or two folders of results (a run, a publication) that two versions made of
the same inputs. What differs is printed, one line each, and the exit status is 1 unless nothing does but names of code:
versions, hashes of source, the modules of a card's classes, and the keys and file hashes that follow from these.

Nothing of the suite is imported, so that any checkout's copy can compare what any other checkout made.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

CODE_FACTS = frozenset({"code_version", "cells_code", "figures_code", "system_identity", "inputs_hash"})
"""Entries of a record that name the code which made it, or follow from that."""
CODE_IDENTITY = frozenset({"code_version", "system_identity", "cell", "card_hash"})
"""Likewise entries of a prediction table's description; a card names modules, so its hash does."""
CELL = (
    "system", "task", "protocol", "training", "view", "train_condition", "condition", "fold", "seed", "variant",
)  # fmt: skip
"""What a cell is, whatever code computed it."""
JOURNAL_CELL = ("system", "task", "protocol", "condition", "fold", "seed")
TEXT = frozenset({".html", ".css", ".js", ".csv", ".json", ".jsonl", ".tex", ".bib", ".yaml", ".md", ".svg", ".txt"})  # fmt: skip
SHOWN = 40
"""Characters shown of a text on either side of its first difference."""

_VERSION = r"\d+\.\d+\.\d+\+g[0-9a-f]+(?:\.dirty)?"
CODE_NAMES: tuple[tuple[str, str], ...] = (
    (rf"{_VERSION}(?:, {_VERSION})*", "VERSION"),
    (r"(ser-bench (?:report )?|<code>)\d+\.\d+\.\d+(?![\w.+])", r"\1VERSION"),
    (r"(<td><code>VERSION</code></td><td><code>)[0-9a-f]{12}(?=</code>)", r"\1SYSTEM"),
    (r"(<dt>identity</dt><dd><code>)[0-9a-f]{32}(?=</code>)", r"\1SYSTEM"),
    (r"\b(?:adapters|bench)(?:\.\w+)+:(?=[A-Za-z_])", "CODE:"),
)
"""Patterns of what names code in a text, and what stands in their place when texts are compared."""

Cell: TypeAlias = tuple[tuple[str, Any], ...]


def main(arguments: Sequence[str]) -> int:
    """Compare two folders, print what differs; 0 where nothing does, 1 where something does, 2 where nothing can be compared."""
    if len(arguments) != 2 or not all(Path(a).is_dir() for a in arguments):
        print("usage: python -m tests.same_results BEFORE AFTER (two folders)", file=sys.stderr)
        return 2
    before, after = map(Path, arguments)
    try:
        compared, differences = compare(before, after)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in differences:
        print(line)
    print(f"{compared}: {len(differences) or 'no'} difference(s) but for names of code")
    return int(bool(differences))


def compare(before: Path, after: Path) -> tuple[str, list[str]]:
    """Compare two sites, or two folders of results.

    Args:
        before: what one version of the code made.
        after: what the other made of the same inputs.

    Returns:
        What was compared, in words, and a line per difference.

    Raises:
        ValueError: the two are not both sites or both folders of results, or hold nothing.
    """
    if all((f / "records").is_dir() or (f / "tables").is_dir() for f in (before, after)):
        return compare_results(before, after)
    if all((f / "index.html").is_file() for f in (before, after)):
        return compare_sites(before, after)
    raise ValueError(
        f"{before} and {after}: expected two sites (index.html in each), or two runs or publications (records/ or tables/ in each)"
    )


def compare_sites(before: Path, after: Path) -> tuple[str, list[str]]:
    """Compare every file of two sites: texts by their bytes once names of code are replaced, Parquet by content.

    Returns:
        What was compared, in words, and a line per difference.
    """
    ours, theirs = (
        {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        for folder in (before, after)
    )
    differences = list(_only_one(ours, theirs))
    shared = sorted(ours.keys() & theirs.keys())
    for name in shared:
        differences += _files(name, ours[name], theirs[name])
    return f"{len(shared)} files of two sites", differences


def compare_results(before: Path, after: Path) -> tuple[str, list[str]]:
    """Compare the tables, records, statistics, matrix and failures of two runs or publications.

    Tables are matched by what their cell is (:data:`CELL`), not by its key, which covers the code; of several that stand for
    one cell, as after an edit of an adapter, the one that a record names counts. Records are matched by file name.

    Returns:
        What was compared, in words, and a line per difference.
    """
    differences = list(_values("matrix.json", *(_json(f / "matrix.json") for f in (before, after))))
    differences += _values("unscored.json", *(_json(f / "unscored.json") for f in (before, after)))
    differences += _values("failed cells", *(_failures(f / "journal.sqlite") for f in (before, after)))
    records = [{p.stem: p for p in (f / "records").glob("*.json")} for f in (before, after)]
    differences += _only_one(*records)
    shared = sorted(records[0].keys() & records[1].keys())
    for stem in shared:
        ours, theirs = (of[stem] for of in records)
        differences += _values(f"records/{stem}.json", record_facts(ours), record_facts(theirs))
        differences += _parquet(
            f"records/{stem}.parquet", *(p.with_suffix(".parquet") for p in (ours, theirs))
        )
    tables = [_tables(f) for f in (before, after)]
    differences += _only_one(*({cell_words(c): p for c, p in of.items()} for of in tables))
    cells = [c for c in tables[0] if c in tables[1]]
    for cell in cells:
        ours, theirs = (of[cell] for of in tables)
        words = f"table of {cell_words(cell)}"
        differences += _values(words, table_facts(ours), table_facts(theirs))
        differences += _parquet(words, ours, theirs)
    return f"{len(shared)} records and {len(cells)} tables", differences


def record_facts(path: Path) -> dict[str, Any]:
    """Read a record's JSON without what names code: of its tables their number, of its statistics the file's name."""
    facts = {k: v for k, v in _json(path).items() if k not in CODE_FACTS}
    facts["tables"] = len(facts.get("tables", ()))
    facts["statistics"] = facts["statistics"]["file"]
    if table := facts.pop("table", None):
        facts["table"] = table["file"]
    facts["card"] = json.loads(without_code_names(json.dumps(facts["card"])))
    return facts


def table_facts(path: Path) -> dict[str, Any]:
    """Read what a prediction table says of itself, without what names code; of its variants the names."""
    identity = _identity(path)
    facts = {k: v for k, v in identity.items() if k not in CODE_IDENTITY}
    if cells := facts.pop("cells", None):  # of a published record: all its cells in one table
        facts["cells"] = [{k: v for k, v in cell.items() if k not in CODE_IDENTITY} for cell in cells]
    return facts | {"variants": sorted(identity.get("variants") or ())}


def without_code_names(text: str) -> str:
    """Replace what names code in a text (:data:`CODE_NAMES`).

    >>> without_code_names("Made by ser-bench 0.1.0+g1a2b3c4 from adapters.acoustic:OpenSmile, with numba 0.68.1")
    'Made by ser-bench VERSION from CODE:OpenSmile, with numba 0.68.1'
    """
    for pattern, stands_in in CODE_NAMES:
        text = re.sub(pattern, stands_in, text)
    return text


def cell_words(cell: Cell) -> str:
    """Name a cell in a line: ``chance tones.ms within clean fold=0 seed=1``.

    >>> cell_words((("system", "chance"), ("training", ""), ("fold", "0")))
    'chance fold=0'
    """
    numbered = {"fold", "seed", "variant"}
    return " ".join(f"{k}={v}" if k in numbered else str(v) for k, v in cell if v not in ("", None))


def _tables(folder: Path) -> dict[Cell, Path]:
    """The prediction table of every cell, those that a record names before others."""
    named = {key for p in (folder / "records").glob("*.json") for key in _json(p).get("tables", ())}
    paths = sorted((folder / "tables").glob("*.parquet"), key=lambda p: (_key(p) not in named, p.name))
    found: dict[Cell, Path] = {}
    for path in paths:
        identity = _identity(path)
        found.setdefault(tuple((part, identity.get(part)) for part in CELL), path)
    return dict(sorted(found.items(), key=lambda item: cell_words(item[0])))


def _key(table: Path) -> str:
    """The key of a table's cell; a variant's table has its own hash behind it."""
    return table.name.partition(".")[0]


def _identity(table: Path) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(pq.read_schema(table).metadata[b"serbench"])
    return described


def _failures(journal: Path) -> dict[str, list[str]]:
    """The errors of failed cells, by what the cell is."""
    if not journal.is_file():
        return {}
    with closing(sqlite3.connect(f"file:{journal.resolve()}?mode=ro", uri=True)) as db:
        rows = db.execute(f"SELECT {','.join(JOURNAL_CELL)},error FROM cells WHERE state='failed'").fetchall()
    found: dict[str, list[str]] = {}
    for *cell, error in rows:
        words = cell_words(tuple(zip(JOURNAL_CELL, cell, strict=True)))
        found.setdefault(words, []).append(without_code_names(str(error)))
    return {words: sorted(errors) for words, errors in found.items()}


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object; {} where there is no such file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _only_one(ours: Mapping[str, Path], theirs: Mapping[str, Path]) -> Iterator[str]:
    """A line per name that only one of two folders has."""
    yield from (f"{name}: only before" for name in sorted(ours.keys() - theirs.keys()))
    yield from (f"{name}: only after" for name in sorted(theirs.keys() - ours.keys()))


def _files(name: str, ours: Path, theirs: Path) -> Iterator[str]:
    if ours.suffix == ".parquet":
        yield from _parquet(name, ours, theirs)
    elif ours.suffix in TEXT:
        # Bytes, not lines: an added carriage return is a difference.
        first, second = (without_code_names(p.read_bytes().decode("utf-8")) for p in (ours, theirs))
        if first != second:
            yield _text_line(name, first, second)
    elif ours.read_bytes() != theirs.read_bytes():
        yield f"{name}: other bytes"


def _text_line(name: str, ours: str, theirs: str) -> str:
    """Say where two texts begin to differ."""
    pairs = zip(ours, theirs, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
    first, second = (t[max(0, at - SHOWN) : at + SHOWN] for t in (ours, theirs))
    return f"{name}: line {ours.count(chr(10), 0, at) + 1}: {first!r} before, {second!r} after"


def _values(where: str, ours: Any, theirs: Any) -> Iterator[str]:
    """A line per place where two JSON values differ; numbers are the same when all their digits are."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            if key not in theirs or key not in ours:
                yield f"{where}: {key}: only {'before' if key in ours else 'after'}"
            else:
                yield from _values(f"{where}: {key}", ours[key], theirs[key])
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            yield from _values(f"{where}[{i}]", a, b)
    elif repr(ours) != repr(theirs):
        yield f"{where}: {_short(ours)} before, {_short(theirs)} after"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 2 * SHOWN else f"{text[: 2 * SHOWN]}…"


def _parquet(name: str, ours: Path, theirs: Path) -> Iterator[str]:
    """A line per column in which two Parquet files differ, in a value or in its type."""
    if not (ours.is_file() and theirs.is_file()):
        if ours.is_file() != theirs.is_file():
            yield f"{name}: only {'before' if ours.is_file() else 'after'}"
        return
    first, second = pq.read_table(ours), pq.read_table(theirs)
    if first.column_names != second.column_names:
        yield f"{name}: columns {first.column_names} before, {second.column_names} after"
        return
    if len(first) != len(second):
        yield f"{name}: {len(first)} rows before, {len(second)} after"
        return
    for column in first.column_names:
        yield from _column(f"{name}: column {column}", first[column], second[column])


def _column(name: str, ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> Iterator[str]:
    if ours.type != theirs.type:
        yield f"{name}: {ours.type} before, {theirs.type} after"
        return
    # The digits of a float tell all its bits, the sign of zero too; NaN is NaN.
    rows = [tuple(without_code_names(repr(x)) for x in c.to_pylist()) for c in (ours, theirs)]
    other = [i for i, (a, b) in enumerate(zip(*rows, strict=True)) if a != b]
    if other:
        i = other[0]
        yield f"{name}: {len(other)} of {len(rows[0])} rows, first row {i}: {rows[0][i]} before, {rows[1][i]} after"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
