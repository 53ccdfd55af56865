"""Splits that nobody can attack: train, validation and test share no speaker, session or dialogue.

Clips that share any of these are one group (connected components), groups are dealt to folds so that labels and
genders are balanced, and every split is checked again by :func:`check_disjoint` before it is used.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.identity import digest

MIN_GROUPS = 3
"""One group each to train, to choose and to test on."""
MIN_DEV_GROUPS = 2
MIN_DEV_SHARE = 0.1


@dataclass(frozen=True)
class Fold:
    """Row indices of one fold, each sorted: train and dev are empty for a zero-shot task."""

    name: str
    train: NDArray[np.intp]
    dev: NDArray[np.intp]
    test: NDArray[np.intp]


def groups_of(columns: Sequence[Sequence[str]]) -> NDArray[np.intp]:
    """Number the connected components of clips that share a non-blank value in any column.

    >>> groups_of([["a", "a", "b", "c"], ["1", "2", "2", ""]]).tolist()
    [0, 0, 0, 1]
    """
    n = len(columns[0])
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for column in columns:
        first: dict[str, int] = {}
        for i, value in enumerate(column):
            if value:
                a, b = root(first.setdefault(value, i)), root(i)
                parent[max(a, b)] = min(a, b)
    roots = np.array([root(i) for i in range(n)])
    return np.unique(roots, return_inverse=True)[1].astype(np.intp)


def build_folds(
    groups: NDArray[np.intp],
    balanced: Sequence[Sequence[str | None]],
    folds: int | Literal["loso"],
    *,
    what: str,
    usable: NDArray[np.bool_] | None = None,
) -> list[Fold]:
    """Deal groups to folds, and give each fold validation groups from the folds that follow it.

    ``balanced`` are columns (labels, genders) whose values are to be spread evenly over the folds; ``what`` names the
    task in errors; ``usable`` rows are those that can be learnt from, of which validation must have some. With fewer groups than ``folds`` there are as many folds as groups.
    """
    n_groups = int(groups.max()) + 1
    if n_groups < MIN_GROUPS:
        raise DataError(
            f"{what}: its clips form {n_groups} group(s) that share no speaker, session or dialogue; at least "
            f"{MIN_GROUPS} are needed for training. It can serve zero-shot systems only (if session or dialogue ids are "
            "local to a speaker, say so on the card: split: {session_scope: speaker})"
        )
    k = n_groups if folds == "loso" else min(folds, n_groups)
    counts = np.concatenate([_value_counts(groups, column, n_groups) for column in balanced], axis=1)
    fold_of = np.arange(n_groups) if k == n_groups else _deal(counts, k)
    return assemble_folds(groups, fold_of[groups], [str(f) for f in range(k)], usable)


def assemble_folds(
    groups: NDArray[np.intp],
    fold_of_row: NDArray[np.intp],
    names: Sequence[str],
    usable: NDArray[np.bool_] | None = None,
) -> list[Fold]:
    """Turn a test-fold number per clip into folds with validation groups taken from the next test folds.

    Validation grows fold by fold until it has two groups and a tenth of the clips that can be learnt from.
    """
    k = len(names)
    rows = np.arange(len(groups))
    heard = np.ones(len(groups), dtype=bool) if usable is None else usable
    made = []
    for f in range(k):
        test = fold_of_row == f
        dev = np.zeros(len(groups), dtype=bool)
        for step in range(1, k - 1):
            dev |= fold_of_row == (f + step) % k
            enough = len(set(groups[dev & heard])) >= MIN_DEV_GROUPS
            enough &= (dev & heard).sum() >= MIN_DEV_SHARE * (~test & heard).sum()
            if enough or (k - 2 - step < MIN_DEV_GROUPS and (dev & heard).any()):
                break
        made.append(Fold(names[f], rows[~test & ~dev], rows[dev], rows[test]))
    return made


def _value_counts(
    groups: NDArray[np.intp], values: Sequence[str | None], n_groups: int
) -> NDArray[np.float64]:
    names = sorted({x or "" for x in values})
    place = {name: i for i, name in enumerate(names)}
    counts = np.zeros((n_groups, len(names)))
    np.add.at(counts, (groups, np.array([place[x or ""] for x in values])), 1)
    return counts


def _deal(counts: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Deal groups, largest first, each to the fold that stays closest to an even share of every value."""
    totals = counts.sum(axis=0)
    share = counts / np.maximum(totals, 1)
    order = sorted(range(len(counts)), key=lambda g: (-counts[g].sum(), digest(str(g))))
    filled = np.zeros((k, counts.shape[1]))
    members = np.zeros(k)
    fold_of = np.zeros(len(counts), dtype=np.intp)
    for place, g in enumerate(order):
        cost = ((filled + share[g]) ** 2).sum(axis=1) - (filled**2).sum(axis=1)
        if len(order) - place <= int((members == 0).sum()):
            cost[members > 0] = np.inf  # the groups that are left must fill the folds that are empty
        fold = int(np.argmin(cost))
        fold_of[g], filled[fold], members[fold] = fold, filled[fold] + share[g], members[fold] + 1
    return fold_of


def check_disjoint(folds: Sequence[Fold], columns: dict[str, Sequence[str]], *, what: str) -> None:
    """Check the invariant of every split.

    Raises:
        DataError: a speaker, session or dialogue stands on two sides of a fold, or a clip is tested twice or never;
            the message names the offenders.
    """
    tested = Counter(int(i) for fold in folds for i in fold.test)
    n = len(next(iter(columns.values())))
    if len(tested) != n or max(tested.values(), default=0) > 1:
        raise DataError(
            f"{what}: {sum(c > 1 for c in tested.values())} clips are tested twice and {n - len(tested)} never"
        )
    for fold in folds:
        sides = {"train": fold.train, "validation": fold.dev, "test": fold.test}
        for kind, values in columns.items():
            seen: dict[str, set[str]] = defaultdict(set)
            for side, rows in sides.items():
                for i in rows:
                    if values[i]:
                        seen[values[i]].add(side)
            torn = sorted(value for value, where in seen.items() if len(where) > 1)
            if torn:
                first = torn[0]
                raise DataError(
                    f"{what}, fold {fold.name}: {len(torn)} {kind}(s) stand on several sides of the split, first {first!r} "
                    f"({' and '.join(sorted(seen[first]))}); every {kind} must stay on one side"
                )


def folds_hash(clip_ids: Sequence[str], folds: Sequence[Fold]) -> str:
    """Hash who is trained, validated and tested on where."""
    return digest(
        *(
            digest(
                fold.name,
                *(f"{side}:{clip_ids[i]}" for side in ("train", "dev", "test") for i in getattr(fold, side)),
            )
            for fold in folds
        )
    )
