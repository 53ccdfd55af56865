"""Statistics against the answers of every fold: whatever does not depend on the truth is counted again from the tables.

In each fold and seed a record can count no answer, status, confidence or rating more often than the fold's table gives it. Where
every clip of the fold is counted, as in a corpus's own classes, what is counted is thereby exactly what was answered.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.cards.labels import label_table
from bench.errors import DataError, quoted
from bench.leaderboard.own_evidence import CLOSE, name_of
from bench.protocols import DIMENSIONS, Array
from bench.scoring.counting import MID_SCALE, distributions, masked_answers
from bench.scoring.predictions import PredictionTable
from bench.scoring.records import Counts, Record
from bench.statistics.additive import calibration_statistics


@dataclass(frozen=True)
class _Fold:
    """The table of one fold and seed, read once: answers as places in its labels (the last place: none), which rows are ok."""

    table: PredictionTable
    answers: NDArray[np.intp]
    ok: NDArray[np.bool_]

    @classmethod
    def of(cls, table: PredictionTable) -> _Fold:
        place: dict[str | None, int] = {label: i for i, label in enumerate(table.labels)}
        answers = np.array([place.get(a, len(table.labels)) for a in table.answers], dtype=np.intp)
        return cls(table, answers, np.array([s == "ok" for s in table.statuses], dtype=bool))

    def rows(self, kind: str) -> NDArray[np.bool_]:
        """Those that a block of ``all`` or ``ok`` rows counts."""
        return self.ok if kind == "ok" else np.ones(len(self.ok), dtype=bool)


def require_fold_answers(path: Path, record: Record, tables: Sequence[PredictionTable]) -> None:
    """Raise :class:`DataError` unless a record counts, fold by fold and seed by seed, what its tables answer.

    Args:
        path: the record, for the sentences.
        record: what it says, with its statistics.
        tables: its prediction tables, which name the fold and the seed that they answer.

    Raises:
        DataError: a fold whose statistics the tables do not give; both figures are named.
    """
    fold_of = np.array([c.fold for c in record.facts.clusters])
    own = {fold: np.flatnonzero(fold_of == fold) for fold in set(fold_of.tolist())}
    for table in tables:
        fold, seed = str(table.identity.get("fold")), int(table.identity.get("seed", -1))
        if fold not in own:
            raise DataError(f"{path}: tests no cluster in fold {quoted(fold)}, which {table.origin} answers")
        i, read = record.facts.seeds.index(seed), _Fold.of(table)
        for block in record.blocks:
            for fault in _faults(block, block.values[i][own[fold]], read):
                raise DataError(
                    f"{path}: its statistics ({name_of(block)}) count {fault} in fold {quoted(fold)}, seed {seed}"
                )


def _faults(block: Counts, values: Array, fold: _Fold) -> Iterator[str]:
    """What one fold of a block counts and its table does not give; ``values`` are (clusters of the fold, …)."""
    if block.categorical:
        yield from _answer_faults(block, values.sum(axis=(0, 1)), fold)
    elif block.target == "calibration":
        yield from _confidence_faults(block, values.sum(axis=0), fold)
    elif block.target in DIMENSIONS:
        yield from _rating_faults(block, values.sum(axis=0), fold)
    else:
        n, most = values[..., block.sums.index("n")].sum(), fold.rows(block.rows).sum()
        if n > most + CLOSE:
            yield f"{n:g} clips, its table holds {most}"


def _answer_faults(block: Counts, given: Array, fold: _Fold) -> Iterator[str]:
    rows, k = fold.rows(block.rows), len(block.labels)
    if block.outside == "masked":
        if fold.table.probabilities is None:
            yield "answers inside the view alone, though its table gives no probabilities"
            return
        codes = masked_answers(fold.table, lambda x: _place(block.view, block.labels, x), k)
    else:
        codes = _places(block.view, block.labels, fold.table.labels)[fold.answers]
    answered = np.bincount(np.where(codes < 0, k, codes)[rows], minlength=k + 1)
    if (given <= answered + CLOSE).all():
        return
    i = int((given - answered).argmax())
    what = "outside its classes" if i == k else repr(block.labels[i])
    yield f"{given[i]:g} answers {what}, its tables hold {answered[i]}"


@functools.lru_cache(maxsize=1024)
def _places(view: str, labels: tuple[str, ...], offered: tuple[str, ...]) -> NDArray[np.intp]:
    """Place in a view of each label on offer, −1 outside it; the last one is that of no answer."""
    return np.array([*(_place(view, labels, x) for x in offered), -1], dtype=np.intp)


def _place(view: str, labels: tuple[str, ...], label: str | None) -> int:
    placed = label_table().place(view, label) if label is not None else None
    return labels.index(placed) if placed in labels else -1


def _confidence_faults(block: Counts, given: Array, fold: _Fold) -> Iterator[str]:
    table, rows = fold.table, fold.rows(block.rows)
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


def _rating_faults(block: Counts, given: Array, fold: _Fold) -> Iterator[str]:
    answers = fold.table.dimensions[:, DIMENSIONS.index(block.target)]
    rows = fold.rows(block.rows)
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
