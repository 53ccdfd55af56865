"""Scores, tests and ranks as tables for other programs: CSV, JSON, Parquet."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record
from bench.storage.atomic import replacing
from bench.storage.scrubbing import Scrubber
from reports import formatting
from reports.data.comparisons import TaskComparison

EXPORTS = "exports"
"""The folder of these files beside the pages of a report or a board."""
COLUMNS = (*(name for name in ScoreRow.model_fields if name not in ("notes", "population_lacking")), "corpus", "pool", "language", "contamination", "imported", "code_version", "matrix_hash", "synthetic", "limited")  # fmt: skip
PAIR_COLUMNS = (
    "task", "protocol", "training", "condition", "track_a", "track_b", "system_a", "system_b", "view", "metric", "dimension",
    "difference", "simultaneous_low", "simultaneous_high", "low", "high", "level", "p_value", "p_holm", "p_adjusted", "smallest_p",
    "verdict", "decided_by", "margin", "equivalence_low", "equivalence_high", "family", "family_size", "clusters", "unit",
    "synthetic", "limited",
)  # fmt: skip
RANK_COLUMNS = (
    "task", "protocol", "condition", "track", "view", "metric", "dimension", "system", "estimate", "low", "high",
    "rank_best", "rank_worst", "systems", "level", "clips", "synthetic", "limited",
)  # fmt: skip
FACTS = ("corpus", "pool", "language", "contamination", "code_version", "matrix_hash", "synthetic", "limited")
_NUMBERS = [
    "estimate",
    "low",
    "high",
    "seed_low",
    "seed_high",
    "fold_mean",
    "by_speaker",
    "by_speaker_low",
    "by_speaker_high",
    "population_low",
    "population_high",
    "coverage",
    "difference",
    "simultaneous_low",
    "simultaneous_high",
    "level",
    "p_value",
    "p_holm",
    "p_adjusted",
    "smallest_p",
    "margin",
    "equivalence_low",
    "equivalence_high",
]
_COUNTS = ["clips", "speakers", "clusters", "seeds", "family_size", "rank_best", "rank_worst", "systems"]
_FLAGS = ["imported", "synthetic", "limited"]
BATCH = 5_000
"""Rows that are made at once, and a group of the Parquet file."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def score_rows(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """One row per score of every record, with what tells records apart."""
    for record in records:
        shared = {name: getattr(record.facts, name) for name in FACTS}
        for score in record.scores:
            yield {**score.as_json(), **shared, "imported": record.facts.imported is not None}


def pair_rows(comparisons: Iterable[TaskComparison]) -> Iterator[dict[str, Any]]:
    """One row per pair that was tested, inside a track or as the plan names it across, in every subject of its comparison."""
    for comparison in comparisons:
        marks = _marks(comparison)
        for subject in comparison.subjects:
            for track in comparison.tracks:
                yield from (p.as_json() | marks for p in comparison.within(subject, track))
            yield from (p.as_json() | marks for p in comparison.across(subject))


def rank_rows(comparisons: Iterable[TaskComparison]) -> Iterator[dict[str, Any]]:
    """One row per system of a track in every subject of its comparison: its score, and the best and worst rank that the tests leave open.

    Where nothing was tested, and where the split leaks, ranks are None.
    """
    for comparison in comparisons:
        shared = {"task": comparison.task, "protocol": comparison.protocol, "condition": comparison.condition}
        for subject in comparison.subjects:
            asked = {"view": subject.view, "metric": subject.metric, "dimension": subject.dimension}
            for track in comparison.tracks:
                for record in comparison.members(subject, track) if track != "reference" else ():
                    score, rank = subject.row(record), comparison.rank(subject, track, record.system)
                    if score is None:
                        continue
                    yield shared | asked | _marks(comparison) | {
                        "track": track, "system": record.system, "estimate": score.estimate, "low": score.low, "high": score.high,
                        "rank_best": rank and rank.best, "rank_worst": rank and rank.worst, "systems": rank and rank.of,
                        "level": comparison.plan.level, "clips": score.clips,
                    }  # fmt: skip


def _marks(comparison: TaskComparison) -> dict[str, bool]:
    return {"synthetic": comparison.facts.synthetic, "limited": comparison.facts.limited}


def write_scores(records: Iterable[Record], out: Path, words: Scrubber) -> list[Path]:
    """Write the scores as CSV, JSON and Parquet: ``scores``.

    Args:
        records: whose.
        out: a folder, made where it is missing.
        words: what must not leave this machine.

    Returns:
        The three files.
    """
    return _write(out, "scores", COLUMNS, score_rows(records), words, listed=True)


def write_tests(comparisons: Sequence[TaskComparison], out: Path, words: Scrubber) -> list[Path]:
    """Write tests and ranks as CSV and Parquet: ``pairs`` and ``ranks``.

    Args:
        comparisons: what was compared.
        out: a folder, made where it is missing.
        words: what must not leave this machine.

    Returns:
        The four files.
    """
    return [
        *_write(out, "pairs", PAIR_COLUMNS, pair_rows(comparisons), words),
        *_write(out, "ranks", RANK_COLUMNS, rank_rows(comparisons), words),
    ]


def _write(
    out: Path,
    name: str,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    words: Scrubber,
    *,
    listed: bool = False,
) -> list[Path]:
    """Write rows in every form, a batch at a time: a board's hundred thousand rows are never in memory at once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {n: kind for names, kind in ((_NUMBERS, pa.float64()), (_COUNTS, pa.int64()), (_FLAGS, pa.bool_())) for n in names}  # fmt: skip
    # The same types however many rows there are, and of whatever.
    schema = pa.schema([(n, kinds.get(n, pa.string())) for n in columns])
    paths = [
        out / f"{name}.{form}" for form in (("csv", "json", "parquet") if listed else ("csv", "parquet"))
    ]
    with ExitStack() as stack:
        written = {p.suffix: stack.enter_context(replacing(p)) for p in paths}
        lines = stack.enter_context(written[".csv"].open("w", encoding="utf-8", newline=""))
        table = stack.enter_context(pq.ParquetWriter(written[".parquet"], schema, compression="zstd"))
        array = stack.enter_context(written[".json"].open("w", encoding="utf-8")) if listed else None
        lines.write(_csv([columns]))
        between = "[\n"
        for batch in _batches(words.json({n: row.get(n) for n in columns}) for row in rows):
            lines.write(_csv([_cell(v) for v in row.values()] for row in batch))
            table.write_table(pa.Table.from_pylist(batch, schema=schema))
            if array is not None:
                told = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in batch)
                array.write(between + told)
                between = ",\n"
        if array is not None:
            array.write("\n]\n" if between != "[\n" else "[\n\n]\n")
    return paths


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        yield batch


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> str:
    """Write rows as CSV; text that a spreadsheet would run as a formula gets an apostrophe in front."""
    return _csv([columns, *([_cell(row.get(name)) for name in columns] for row in rows)])


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    return _plain(value) if isinstance(value, str) else value


@functools.lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    shown = formatting.unhidden(text)
    return f"'{shown}" if text.startswith(_FORMULA) else shown
