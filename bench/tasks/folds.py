"""Splits that nobody can attack: train, validation and test share no speaker, session or dialogue.

Clips that share any of these are one group (connected components), groups are dealt to folds so that labels and
genders are balanced, and every split is checked again by :func:`check_disjoint` before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.statistics.validation import coded
from bench.storage.hashing import digest

MIN_GROUPS = 3
"""One group each to train, to choose and to test on."""
REMAINS = "Protocols zero-shot and transfer (as the test corpus) remain"
"""What a corpus is good for when it cannot be split."""
MOST_IN_ONE_GROUP = 0.8
"""Share of the clips that one group may hold: a fold tests it and learns from the rest."""
MOST_LEFT_OUT = 200
"""More folds than this are not made: each is a fit, and holds the row numbers of the whole corpus."""
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
    shared = []
    for column in columns:
        codes, names = coded(column)
        known = np.array([bool(name) for name in names])[codes] & (np.bincount(codes)[codes] > 1)
        shared.append((np.flatnonzero(known), codes[known], len(names)))
    lowest = np.arange(
        n
    )  # of the rows known to be connected; settles in about as many rounds as ids are chained
    while True:
        before = lowest
        for rows, codes, size in shared:
            first = np.full(size, n, dtype=np.intp)
            np.minimum.at(first, codes, lowest[rows])
            lowest = lowest.copy()
            lowest[rows] = first[codes]
        lowest = lowest[lowest]
        if (lowest == before).all():
            return np.unique(lowest, return_inverse=True)[1].astype(np.intp)


def numbered_by_name(groups: NDArray[np.intp], clip_ids: Sequence[str]) -> NDArray[np.intp]:
    """Renumber groups by their first clip id in alphabetical order, so that folds do not depend on the order of rows.

    >>> numbered_by_name(np.array([0, 0, 1]), ["c", "b", "a"]).tolist()
    [1, 1, 0]
    """
    first: dict[int, str] = {}
    for group, clip in zip(groups.tolist(), clip_ids, strict=True):
        if group not in first or clip < first[group]:
            first[group] = clip
    rank = np.empty(len(first), dtype=np.intp)
    rank[sorted(first, key=lambda g: first[g])] = np.arange(len(first))
    return np.asarray(rank[groups])


def unsplittable(groups: NDArray[np.intp]) -> str | None:
    """Say why groups of clips make no folds: too few of them, or one that holds nearly everything; None where they do.

    In MELD the six main characters and their dialogues tie almost all clips together.

    >>> unsplittable(np.array([0, 1, 2, 2])), unsplittable(np.array([0] * 98 + [1, 2]))[:47]
    (None, 'one group of clips that share speakers, session')
    """
    sizes = np.bincount(groups)
    mend = "(if session or dialogue ids are local to a speaker, say so on the card: split: {session_scope: speaker})"
    if len(sizes) < MIN_GROUPS:
        return (
            f"its clips form {len(sizes)} group(s) that share no speaker, session or dialogue; at least "
            f"{MIN_GROUPS} are needed to train, to choose and to test on. {REMAINS} {mend}"
        )
    if sizes.max() > MOST_IN_ONE_GROUP * sizes.sum():
        return (
            f"one group of clips that share speakers, sessions or dialogues holds {sizes.max()} of {sizes.sum()} clips, so the "
            f"fold that tests it would learn from next to nothing. {REMAINS} {mend}"
        )
    return None


def build_folds(
    groups: NDArray[np.intp],
    balanced: Sequence[Sequence[str | None]],
    folds: int | Literal["loso"],
    *,
    what: str,
    usable: NDArray[np.bool_] | None = None,
) -> list[Fold]:
    """Deal groups to folds, and give each fold validation groups from the folds that follow it.

    Args:
        groups: number of the group of each clip (clips,): clips of one group stay together.
        balanced: columns (labels, genders), an entry per clip, whose values are spread evenly over the folds.
        folds: how many; ``loso``: one per group. With fewer groups there are as many folds as groups.
        what: name of the task, for errors.
        usable: clips that can be learnt from (clips,), of which validation must have some; None: all.

    Raises:
        DataError: too few groups, one that holds nearly everything, or more folds than are made.
    """
    n_groups = int(groups.max()) + 1
    if reason := unsplittable(groups):
        raise DataError(f"{what}: {reason}")
    if folds == "loso" and n_groups > MOST_LEFT_OUT:
        raise DataError(
            f"{what}: leaving one speaker out means {n_groups} fits here; at most {MOST_LEFT_OUT} are made. Ask for the "
            "task without @loso, or give the card a number of folds"
        )
    k = n_groups if folds == "loso" else min(folds, n_groups)
    counts = np.concatenate([value_counts(groups, column, n_groups) for column in balanced], axis=1)
    fold_of = np.arange(n_groups) if k == n_groups else deal(counts, k)
    return assemble_folds(groups, fold_of[groups], [str(f) for f in range(k)], usable)


def assemble_folds(
    groups: NDArray[np.intp],
    fold_of_row: NDArray[np.intp],
    names: Sequence[str],
    usable: NDArray[np.bool_] | None = None,
) -> list[Fold]:
    """Turn a test-fold number per clip into folds with validation groups taken from the next test folds.

    Validation grows fold by fold until it has two groups and a tenth of the clips that can be learnt from.

    Args:
        groups: number of the group of each clip (clips,).
        fold_of_row: number of the fold that tests each clip (clips,).
        names: of the folds.
        usable: clips that can be learnt from (clips,); None: all.
    """
    k = len(names)
    rows = np.arange(len(groups))
    learnable = np.ones(len(groups), dtype=bool) if usable is None else usable
    made = []
    for f in range(k):
        test = fold_of_row == f
        dev = np.zeros(len(groups), dtype=bool)
        for step in range(1, k - 1):
            dev |= fold_of_row == (f + step) % k
            enough = len(np.unique(groups[dev & learnable])) >= MIN_DEV_GROUPS
            enough &= (dev & learnable).sum() >= MIN_DEV_SHARE * (~test & learnable).sum()
            if enough or (k - 2 - step < MIN_DEV_GROUPS and (dev & learnable).any()):
                break
        made.append(Fold(names[f], rows[~test & ~dev], rows[dev], rows[test]))
    return made


def value_counts(
    groups: NDArray[np.intp], values: Sequence[str | None], n_groups: int
) -> NDArray[np.float64]:
    """Count clips by group and value, values in alphabetical order.

    Args:
        groups: number of the group of each clip (clips,).
        values: a value per clip.
        n_groups: how many groups there are.

    Returns:
        Counts (groups, values).
    """
    codes, names = coded(values)
    columns = np.argsort(np.argsort(names))  # alphabetical, so that the order of rows does not matter
    cells = groups * len(names) + columns[codes]
    return (
        np.bincount(cells, minlength=n_groups * len(names)).reshape(n_groups, len(names)).astype(np.float64)
    )


def deal(counts: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Deal groups, largest first, each to the fold that stays closest to an even share of every value.

    ``counts`` is (groups, values). With s_gv the group's share of a value's clips, each choice costs at most what a random
    one would on average, so that Σ_fv (share of v in fold f − 1/k)² ≤ (1 − 1/k) Σ_gv s_gv².
    """
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


@dataclass(frozen=True)
class Leak:
    """Something that stands on several sides of a fold: what kind, how many, and the first by name with its sides.

    No sides: clips without a speaker id, of whom nobody can say where they stand.
    """

    kind: str
    fold: str
    count: int
    first: str
    sides: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The leak in words, with the first offender's name."""
        return self._worded(f", first {self.first!r}")

    @property
    def nameless(self) -> str:
        """The leak in words for publication: whoever it is stays private."""
        return self._worded("")

    def _worded(self, who: str) -> str:
        if not self.sides:
            return f"{self.count} clip(s) have no speaker id, so nobody can say who stands on several sides of the split"
        return f"fold {self.fold}: {self.count} {self.kind}(s) stand on several sides of the split{who} ({' and '.join(self.sides)})"


def find_leaks(
    folds: Sequence[Fold],
    columns: Mapping[str, Sequence[str]],
    sides: Sequence[str] = ("train", "dev", "test"),
) -> list[Leak]:
    """Find what stands on several of the ``sides`` of a fold, per fold and column.

    Args:
        folds: to be checked.
        columns: by kind (speaker, session, …), a value per clip; blank values are nobody.
        sides: of a fold: ``train``, ``dev``, ``test``.

    Returns:
        A leak per fold and kind, the first offender by name.
    """
    found = []
    for kind, values in columns.items():
        codes, names = coded(values)
        for fold in folds:
            present = np.zeros((len(sides), len(names)), dtype=bool)
            for place, side in enumerate(sides):
                present[place, codes[getattr(fold, side)]] = True
            torn = sorted(names[i] for i in np.flatnonzero(present.sum(axis=0) > 1) if names[i])
            if torn:
                where = present[:, names.index(torn[0])]
                stands = sorted(SIDE_NAMES[side] for side, there in zip(sides, where, strict=True) if there)
                found.append(Leak(kind, fold.name, len(torn), torn[0], tuple(stands)))
    return found


SIDE_NAMES = {"train": "train", "dev": "validation", "test": "test"}


def check_disjoint(folds: Sequence[Fold], columns: Mapping[str, Sequence[str]], *, what: str) -> None:
    """Check the invariant of every split.

    Args:
        folds: to be checked.
        columns: by kind (speaker, session, …), a value per clip; blank values are nobody.
        what: name of the task, for errors.

    Raises:
        DataError: a speaker, session or dialogue stands on two sides of a fold, or a clip is tested twice or never;
            the message names the offenders.
    """
    check_tested_once(folds, len(next(iter(columns.values()))), what=what)
    for leak in find_leaks(folds, columns):
        raise DataError(f"{what}, {leak.sentence}; every {leak.kind} must stay on one side")


def check_tested_once(folds: Sequence[Fold], clips: int, *, what: str) -> None:
    """Check that the folds test each of the clips exactly once.

    Args:
        folds: to be checked.
        clips: how many there are.
        what: name of the task, for errors.

    Raises:
        DataError: a clip is tested twice or never.
    """
    tested = np.bincount(np.concatenate([fold.test for fold in folds]), minlength=clips)
    if (tested != 1).any():
        raise DataError(
            f"{what}: {(tested > 1).sum()} clips are tested twice and {(tested == 0).sum()} never"
        )


def folds_hash(clip_ids: Sequence[str], folds: Sequence[Fold]) -> str:
    """Hash who is trained, validated and tested on where, whatever the order of rows and folds."""
    order = np.argsort(np.array(clip_ids))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    everyone = digest("\0".join(clip_ids[i] for i in order.tolist()))
    folded = [
        digest(f.name, *(np.sort(rank[rows]).astype("<i8").tobytes() for rows in (f.train, f.dev, f.test)))
        for f in folds
    ]
    return digest(everyone, *sorted(folded))
