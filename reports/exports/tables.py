"""Scores, tests and ranks as tables for other programs: CSV, JSON, Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record
from bench.storage.atomic import replacing, write_text
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
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def score_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row per score of every record, with what tells records apart."""
    rows = []
    for record in records:
        shared = {name: getattr(record.facts, name) for name in FACTS}
        for score in record.scores:
            row = {**score.as_json(), **shared, "imported": record.facts.imported is not None}
            rows.append({name: row.get(name) for name in COLUMNS})
    return rows


def pair_rows(comparisons: Iterable[TaskComparison]) -> list[dict[str, Any]]:
    """One row per pair that was tested, inside a track or as the plan names it across, in every subject of its comparison."""
    return [
        p.as_json() | _marks(comparison)
        for comparison in comparisons
        for subject in comparison.subjects
        for p in (
            *(p for track in comparison.tracks for p in comparison.within(subject, track)),
            *comparison.across(subject),
        )
    ]


def rank_rows(comparisons: Iterable[TaskComparison]) -> list[dict[str, Any]]:
    """One row per system of a track in every subject of its comparison: its score, and the best and worst rank that the tests leave open.

    Where nothing was tested, and where the split leaks, ranks are None.
    """
    rows = []
    for comparison in comparisons:
        shared = {"task": comparison.task, "protocol": comparison.protocol, "condition": comparison.condition}
        for subject in comparison.subjects:
            asked = {"view": subject.view, "metric": subject.metric, "dimension": subject.dimension}
            for track in comparison.tracks:
                for record in comparison.members(subject, track) if track != "reference" else ():
                    score, rank = subject.row(record), comparison.rank(subject, track, record.system)
                    if score is None:
                        continue
                    rows.append(
                        shared | asked | _marks(comparison) | {
                            "track": track, "system": record.system, "estimate": score.estimate, "low": score.low, "high": score.high,
                            "rank_best": rank and rank.best, "rank_worst": rank and rank.worst, "systems": rank and rank.of,
                            "level": comparison.plan.level, "clips": score.clips,
                        }
                    )  # fmt: skip
    return rows


def _marks(comparison: TaskComparison) -> dict[str, bool]:
    return {"synthetic": comparison.facts.synthetic, "limited": comparison.facts.limited}


def write_tests(comparisons: Sequence[TaskComparison], out: Path, words: Scrubber) -> list[Path]:
    """Write tests and ranks as CSV and Parquet: ``pairs`` and ``ranks``.

    Args:
        comparisons: what was compared.
        out: a folder, made where it is missing.
        words: what must not leave this machine.

    Returns:
        The four files.
    """
    paths = []
    for name, columns, rows in (
        ("pairs", PAIR_COLUMNS, pair_rows(comparisons)),
        ("ranks", RANK_COLUMNS, rank_rows(comparisons)),
    ):
        told = [words.json({column: row[column] for column in columns}) for row in rows]
        write_text(out / f"{name}.csv", csv_text(told, columns))
        write_parquet(out / f"{name}.parquet", told, columns)
        paths += [out / f"{name}.csv", out / f"{name}.parquet"]
    return paths


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> str:
    """Write rows as CSV; text that a spreadsheet would run as a formula gets an apostrophe in front."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        text = formatting.unhidden(value)
        return f"'{text}" if value.startswith(_FORMULA) else text
    return value


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows as Parquet, with the same types however many rows there are.

    Args:
        path: the file.
        rows: one mapping per row; what a row lacks is null.
        columns: their names, in order.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {name: kind for names, kind in ((_NUMBERS, pa.float64()), (_COUNTS, pa.int64()), (_FLAGS, pa.bool_())) for name in names}  # fmt: skip
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary, compression="zstd")
