"""Scores computed again, without any model: from the statistics inside records, or from prediction tables and labels.

``records``: everything a record says must follow from the additive statistics beside it. Needs no corpus, no weights and
no journal, so it works on published records. ``tables``: the statistics themselves are counted again from the prediction
tables and the labels of the prepared corpus. What does not agree is named; what is given back was computed just now.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.errors import DataError, UsageError
from bench.scoring.counting import count_all, whole_table
from bench.scoring.figures import Figures, chance_lines, figures
from bench.scoring.predictions import PredictionTable, read_table
from bench.scoring.record_schema import (
    ChanceLine,
    Gap,
    GuessLevel,
    ListenerScore,
    RecordFacts,
    ScoreRow,
    SubgroupScore,
)
from bench.scoring.recording import figures_code
from bench.scoring.records import Counts, Record, read_record
from bench.scoring.reference_levels import learnt_labels
from bench.storage.hashing import hash_file, hash_json
from bench.storage.run_folder import RunFolder
from bench.tasks import Task
from bench.tasks.rebuilding import RebuiltTasks

RescoringSource = Literal["records", "tables"]
Row = ScoreRow | SubgroupScore | Gap | ListenerScore

TOLERANCE = 1e-9
"""How far a stored figure may lie from the computed one: other processors round otherwise."""
ROW_KEY = ("view", "outside", "rows", "metric", "dimension", "axis", "group", "truth")
DEFINED = (
    "estimate",
    "seed_low",
    "seed_high",
    "fold_mean",
    "clips",
    "speakers",
    "clusters",
    "coverage",
    "gap",
)
"""Fields whose meaning is fixed by the schema."""


@dataclass(frozen=True)
class Checked:
    """A record whose figures were computed again. ``note`` says what an earlier version had computed otherwise."""

    path: Path
    record: Record
    note: str = ""


def record_paths(path: Path) -> list[Path]:
    """Return the records under a run, a published folder of records, or the folder that holds them.

    Raises:
        UsageError: the folder is none of these.
    """
    folder = RunFolder(path)
    found = folder.records if folder.records.is_dir() else path
    paths = [p for p in sorted(found.glob("*.json")) if p.with_suffix(".parquet").exists()]
    if not paths and not folder.journal.exists():
        raise UsageError(
            f"{path}: is no run and holds no records; make one with: serbench run MATRIX --out {path}"
        )
    return paths


def rescore(
    path: Path, source: RescoringSource = "records", data: Sequence[Path] = (), *, by_clip: bool = False
) -> list[Checked]:
    """Compute everything again that the records of a folder say.

    Args:
        path: a run, a published folder of records, or the folder that holds them.
        source: what to compute from: the statistics inside ``records``, or prediction ``tables`` and labels.
        data: folders of prepared corpora; blank for SERBENCH_DATA, else where the run found them.
        by_clip: take clips as independent instead of the task's clusters, which needs the tables. It understates the
            uncertainty wherever speakers have several clips, and every figure so made says so.

    Returns:
        The records as they were computed just now, by file name.

    Raises:
        UsageError: no run and no records there.
        DataError: a record says what its statistics, or the tables and labels, do not.
    """
    paths = record_paths(path)
    if source == "records" and not by_clip:
        return [from_record(p) for p in paths]
    tables = RunFolder(path).tables
    if not tables.is_dir():
        raise UsageError(f"{path}: holds no prediction tables; use --from records")
    tasks = RebuiltTasks.of_run(path, data)
    return [from_tables(p, tables, tasks, by_clip=by_clip) for p in paths]


def from_record(path: Path, record: Record | None = None) -> Checked:
    """Compute a record again from the statistics beside it; raises :class:`DataError` where it says anything else.

    ``record`` is what ``path`` holds, for those who have read it.
    """
    record = read_record(path) if record is None else record
    return _checked(path, record, figures(record.facts, record.blocks, record.slices))


def from_tables(path: Path, folder: Path, tasks: RebuiltTasks, *, by_clip: bool = False) -> Checked:
    """Count a record's statistics again from its prediction tables and its task's labels, and its figures from these.

    Args:
        path: the record.
        folder: where its prediction tables lie.
        tasks: the tasks whose labels are at hand.
        by_clip: take clips as independent instead of the task's clusters.

    Returns:
        The record as it was computed just now.

    Raises:
        DataError: it says what its tables and labels do not.
    """
    record = read_record(path)
    facts = record.facts
    task = rebuilt(path, facts, tasks)
    parts: dict[int, list[PredictionTable]] = {s: [] for s in facts.seeds}
    for cell, table_hash in facts.tables.items():
        table = folder / f"{cell}.parquet"
        if not table.is_file() or hash_file(table) != table_hash:
            raise DataError(
                f"{table}: {'changed since' if table.is_file() else 'missing, though'} {path.name} was scored from it; "
                "restore it, or run the matrix again"
            )
        read = read_table(table)
        parts.setdefault(int(read.identity["seed"]), []).append(read)
    seeds = [whole_table(task, facts.protocol, seed, own) for seed, own in parts.items()]
    if by_clip:
        counted = count_all(task, seeds, facts.plan, by_clip=True)
        own = facts.model_copy(update={**counted.described(), "cluster": "clip"})
        return Checked(path, Record(_with(own, figures(own, counted.blocks, ())), counted.blocks))
    # Records of schema 1 named their clusters by the folds.
    counted = count_all(task, seeds, facts.plan, salt=task.folds_hash if facts.schema_version == 1 else None)
    for block in (*record.blocks, *record.slices):
        _require_same(path, block, (*counted.blocks, *counted.slices))
    whole = Record(facts.model_copy(update={**counted.described()}), counted.blocks, counted.slices)
    return _checked(path, whole, figures(whole.facts, whole.blocks, whole.slices))


def _require_same(path: Path, stored: Counts, counted: Iterable[Counts]) -> None:
    """Raise :class:`DataError` unless what was counted again holds the very sums of the record."""
    identity = (stored.key, stored.axis, stored.group)
    again = next((b for b in counted if (b.key, b.axis, b.group) == identity), None)
    if again is None or not (
        again.values.shape == stored.values.shape
        and np.allclose(again.values, stored.values, rtol=TOLERANCE, atol=TOLERANCE)
    ):
        where = " ".join(filter(None, (*stored.key, stored.axis, stored.group)))
        raise DataError(
            f"{path}: its statistics ({where}) are not what its prediction tables and the corpus's labels give"
        )


def _checked(path: Path, record: Record, computed: Figures) -> Checked:
    """Compare what a record says with what was computed just now; give back the latter."""
    stored = record.facts
    same_code = stored.figures_code == figures_code()
    faults: list[str] = []
    replaced = 0
    sections: tuple[tuple[str, Sequence[Row], Sequence[Row]], ...] = (
        ("scores", stored.scores, computed.scores),
        ("slices", stored.slices, computed.slices),
        ("gaps", stored.gaps, computed.gaps),
        ("human", stored.human, computed.human),
    )
    for section, stored_rows, computed_rows in sections:
        if section not in stored.model_fields_set:
            continue  # schema 1 had scores only
        written = [r.as_json() for r in stored_rows]
        computed_by_key = {_key(row): row for row in (r.as_json() for r in computed_rows)}
        if len({_key(r) for r in written}) < len(written):
            faults.append(f"a row of {section} stands in it twice")
        for row in written:
            again = computed_by_key.get(_key(row))
            if again is None:
                faults.append(f"{_words(row)} stands in it, and its statistics hold no such score")
                continue
            faults += [_fault(row, again, f) for f in DEFINED if f in row and not _close(row[f], again[f])]
            # What else a row says (intervals and how they were made, best and worst group) a later version may compute
            # by a better method: then the record's own is replaced. By this very version it must be the same.
            differing = [f for f in again if f not in DEFINED and not _close(row.get(f, _NOTHING), again[f])]
            differing += [f for f in DEFINED if f in again and f not in row]
            replaced += bool(differing) and not same_code
            faults += [_fault(row, again, f) for f in differing if same_code]
        lacking = set(computed_by_key) - {_key(r) for r in written}
        if lacking and same_code:
            faults.append(f"{len(lacking)} row(s) of {section} are missing from it")
    faults += _chance_faults(stored.chance, chance_lines(record.blocks))
    faults += _training_faults(stored, record)
    if "reference_levels" in stored.model_fields_set:
        faults += _level_faults(stored.reference_levels, computed.reference_levels)
    if not faults and stored.scores_hash != hash_json([r.as_json() for r in stored.scores]):
        faults.append("a score row differs from what was written")
    if faults:
        raise DataError(
            f"{path}: was changed after it was written: {faults[0]}"
            + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")
            + "; restore it, or score the run again"
        )
    note = (
        f"{path.name}: {replaced} figure(s) computed again by this version; the record's own were made by {stored.code_version}"
        if replaced
        else ""
    )
    return Checked(path, Record(_with(stored, computed), record.blocks, record.slices), note)


def _with(facts: RecordFacts, computed: Figures) -> RecordFacts:
    return facts.model_copy(update=vars(computed))


def _chance_faults(stored: Sequence[ChanceLine], computed: Sequence[ChanceLine]) -> Iterator[str]:
    lines = {c.view: c for c in computed}
    for line in stored:
        again = lines.get(line.view)
        for metric in ("ua", "wa"):
            value, expected = getattr(line, metric), getattr(again, metric, None)
            if not _close(value, expected):
                yield f"chance of {line.view} is {value} ({metric}), its statistics give {expected}"


def _level_faults(stored: Sequence[GuessLevel], computed: Sequence[GuessLevel]) -> Iterator[str]:
    again = {(x.rule, x.view, x.outside): x for x in computed}
    said = {(x.rule, x.view, x.outside): x for x in stored}
    if len(said) < len(stored):
        yield "a reference level stands in it twice"
    for key in dict.fromkeys([*said, *again]):
        words = f"the level of {key[0]} guessing in view {key[1]} ({key[2]})"
        if key not in said:
            yield f"{words} is missing from it"
        elif key not in again:
            yield f"{words} stands in it, and does not follow from what it holds"
        else:
            for metric in ("ua", "wa"):
                value, expected = getattr(said[key], metric), getattr(again[key], metric)
                if not _close(value, expected):
                    yield f"{words} is {value} ({metric}), its statistics give {expected}"


def _training_faults(stored: RecordFacts, record: Record) -> Iterator[str]:
    """What was learnt from within a corpus follows from the counts of the folds that are not tested."""
    if not stored.training_labels:
        return
    follows = learnt_labels(stored.model_copy(update={"training_labels": ()}), record.blocks)
    said = {t.fold: t.clips for t in stored.training_labels}
    for fold, counts in follows.items():
        if said.get(fold) != counts:
            yield f"fold {fold} is said to learn from {said.get(fold)}, its statistics leave {counts} for that"


def rebuilt(path: Path, facts: RecordFacts, tasks: RebuiltTasks) -> Task:
    """Build the task that a record was scored on again.

    Args:
        path: the record.
        facts: what it says.
        tasks: the tasks whose labels are at hand.

    Returns:
        The task, with the labels that were offered.

    Raises:
        DataError: its corpus is not at hand, or is not what was scored.
    """
    learnt = None if facts.learnt_view == "native" else (facts.learnt_view, facts.labels_offered)
    return tasks.of(
        path,
        facts.task,
        facts.protocol,
        corpus=facts.corpus,
        content_hash=facts.content_hash,
        folds_hash=facts.folds_hash,
        learnt=learnt,
    )


_NOTHING = object()


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(k) for k in ROW_KEY)


def _words(row: Mapping[str, Any]) -> str:
    return " ".join(
        str(row[k])
        for k in ("axis", "group", "truth", "metric", "dimension", "view", "outside", "rows")
        if row.get(k)
    )


def _fault(row: Mapping[str, Any], again: Mapping[str, Any], field: str) -> str:
    state = f"is {row[field]}" if field in row else "is missing"
    return f"{field} of {_words(row)} {state}, its statistics give {again[field]}"


def _close(a: object, b: object) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return a == b
