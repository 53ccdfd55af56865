"""Statistics against the answers of every fold: whatever does not depend on the truth is counted again from the tables.

In each fold and seed a record can count no answer, status, confidence or rating more often than the fold's table gives it. Where
every clip of the fold is counted, as in a corpus's own classes, what is counted is thereby exactly what was answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.cards.labels import label_table
from bench.errors import DataError
from bench.leaderboard.own_evidence import CLOSE, name_of
from bench.protocols import DIMENSIONS, Array
from bench.scoring.counting import MID_SCALE, distributions, masked_answers
from bench.scoring.predictions import PredictionTable
from bench.scoring.records import Counts, Record
from bench.statistics.additive import calibration_statistics


def require_fold_answers(path: Path, record: Record, tables: Sequence[PredictionTable]) -> None:
    """Raise :class:`DataError` unless a record counts, fold by fold and seed by seed, what its tables answer.

    Args:
        path: the record, for the sentences.
        record: what it says, with its statistics.
        tables: its prediction tables, which name the fold and the seed that they answer.

    Raises:
        DataError: a fold whose statistics the tables do not give; both figures are named.
    """
    folds = {c.fold for c in record.facts.clusters}
    fold_of = np.array([c.fold for c in record.facts.clusters])
    for table in tables:
        fold, seed = str(table.identity.get("fold")), int(table.identity.get("seed", -1))
        if fold not in folds:
            raise DataError(f"{path}: tests no cluster in fold {fold!r}, which {table.origin} answers")
        i = record.facts.seeds.index(seed)
        for block in record.blocks:
            for fault in _faults(block, block.values[i][fold_of == fold], table):
                raise DataError(
                    f"{path}: its statistics ({name_of(block)}) count {fault} in fold {fold!r}, seed {seed}"
                )


def _faults(block: Counts, values: Array, table: PredictionTable) -> Iterator[str]:
    """What one fold of a block counts and its table does not give; ``values`` are (clusters of the fold, …)."""
    ok = np.array([s == "ok" for s in table.statuses])
    rows = ok if block.rows == "ok" else np.ones(len(ok), dtype=bool)
    if block.categorical:
        yield from _answer_faults(block, values.sum(axis=(0, 1)), table, rows)
    elif block.target == "calibration":
        yield from _confidence_faults(block, values.sum(axis=0), table, rows)
    elif block.target in DIMENSIONS:
        yield from _rating_faults(block, values.sum(axis=0), table, rows)
    else:
        n = values[..., block.sums.index("n")].sum()
        if n > rows.sum() + CLOSE:
            yield f"{n:g} clips, its table holds {rows.sum()}"


def _answer_faults(block: Counts, given: Array, table: PredictionTable, rows: Array) -> Iterator[str]:
    coded = _coder(block)
    if block.outside == "masked":
        if table.probabilities is None:
            yield "answers inside the view alone, though its table gives no probabilities"
            return
        codes = masked_answers(table, coded, len(block.labels))
    else:
        codes = np.array([coded(a) for a in table.answers])
    answered = np.bincount(
        np.where(codes < 0, len(block.labels), codes)[rows], minlength=len(block.labels) + 1
    )
    for label, count, most in zip((*block.labels, None), given, answered, strict=True):
        if count > most + CLOSE:
            yield f"{count:g} answers {'outside its classes' if label is None else repr(label)}, its tables hold {most}"


def _coder(block: Counts) -> Callable[[str | None], int]:
    table, place = label_table(), {label: i for i, label in enumerate(block.labels)}

    def coded(label: str | None) -> int:
        return place.get(table.place(block.view, label) or "", -1) if label is not None else -1

    return coded


def _confidence_faults(block: Counts, given: Array, table: PredictionTable, rows: Array) -> Iterator[str]:
    if table.probabilities is None:
        yield "confidences, though its table gives no probabilities"
        return
    if not rows.any():
        if given.any():
            yield "confidences, though nothing was answered"
        return
    nobody = np.zeros(int(rows.sum()), dtype=np.intp)
    told = calibration_statistics(nobody, distributions(table)[rows], nobody, n_clusters=1)[0]
    n = block.sums.index("n")
    if (given[:, n] > told[:, n] + CLOSE).any():
        bin_ = int((given[:, n] - told[:, n]).argmax())
        yield f"{given[bin_, n]:g} answers of one confidence (bin {block.labels[bin_]}), its tables hold {told[bin_, n]:g}"
    elif abs(given[:, n].sum() - told[:, n].sum()) < CLOSE:
        sums = block.sums.index("sum_confidence")
        if not np.allclose(given[:, sums], told[:, sums], rtol=1e-9, atol=CLOSE):
            yield "confidences that are not those of its tables"


def _rating_faults(block: Counts, given: Array, table: PredictionTable, rows: Array) -> Iterator[str]:
    answers = table.dimensions[:, DIMENSIONS.index(block.target)]
    counted = rows & np.isfinite(answers) if block.rows == "ok" else rows
    rated = np.where(np.isfinite(answers), answers, MID_SCALE)[counted] - MID_SCALE
    n = given[block.sums.index("n")]
    if n > rated.size + CLOSE:
        yield f"{n:g} clips, its tables rate {rated.size}"
        return
    for name, values in (("sum_y", rated), ("sum_yy", rated**2)):
        found, ordered = given[block.sums.index(name)], np.sort(values)
        low, high = ordered[: round(n)].sum(), ordered[rated.size - round(n) :].sum()
        if not low - CLOSE <= found <= high + CLOSE:
            yield f"a {name} of {found:.6g}, the answers in its tables give {low:.6g} to {high:.6g}"
