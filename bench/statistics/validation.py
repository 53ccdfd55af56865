"""Checks of arrays that callers hand to the statistics: every complaint names the argument and the clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import InputError
from bench.protocols import Array

Codes = NDArray[np.int64]

SUM_TOLERANCE = 1e-4
"""Probabilities may miss a sum of one by this much (float16 and float32 do); they are then divided by their sum."""


def require_equal_lengths(**lengths: int) -> None:
    """Raise :class:`InputError` unless all named lengths are equal and positive."""
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"Arguments must have one entry per clip, in the same order: {listed}.")
    if not next(iter(lengths.values())):
        raise InputError(f"There is nothing to score: {' and '.join(lengths)} are empty.")


def finite_numbers(name: str, values: ArrayLike) -> Array:
    """Give ``values`` as a flat float64 array, or raise :class:`InputError`: text, None, NaN or infinity among them."""
    found = np.asarray(values)
    if found.ndim != 1 or found.dtype.kind not in "iufbO":
        raise InputError(f"{name} must be a flat sequence of numbers; found {found.dtype} {found.shape}.")
    try:
        array = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a flat sequence of numbers: {error}.") from error
    wrong = np.flatnonzero(~np.isfinite(array))
    if wrong.size:
        raise InputError(
            f"{name}[{wrong[0]}] is {found[wrong[0]]} ({wrong.size} such clips), but every clip needs a finite number."
        )
    return array


def codes(name: str, given: ArrayLike, size: int) -> Codes:
    """Give integer codes (clips,) as int64, or raise :class:`InputError`: not flat, no integers, out of 0..size − 1.

    Args:
        name: of the argument, for the message.
        given: (clips,) integers.
        size: codes run from 0 to size − 1.

    Returns:
        int64 (clips,).

    Raises:
        InputError: not flat, no integers, or out of range.
    """
    array = np.asarray(given)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(
            f"{name} must be a flat sequence of integer codes; found {array.dtype} {array.shape}."
        )
    wrong = np.flatnonzero((array < 0) | (array >= size))
    if wrong.size:
        raise InputError(
            f"{name}[{wrong[0]}] is {array[wrong[0]]}, but codes run from 0 to {size - 1}"
            f" ({wrong.size} such clips)."
        )
    return array.astype(np.int64)


def distributions(name: str, rows: Any, *, silent: bool = False) -> Array:
    """Give ``rows`` as probabilities (clips, K), each divided by its sum, or raise :class:`InputError`.

    ``silent``: a row that is None or all NaN is a clip without an answer, and becomes the uniform distribution.

    Args:
        name: of the argument, for the message.
        rows: (clips, K) numbers; None for a whole row where ``silent``.
        silent: whether a clip may lack an answer.

    Returns:
        float64 (clips, K), rows sum to one.

    Raises:
        InputError: rows of unequal length, negative or infinite entries, a sum further than 1e-4 from one.
    """
    array = _rectangle(name, rows)
    if silent:
        array[np.isnan(array).all(axis=1)] = 1 / array.shape[1]
    total = _totals(name, array)
    wanted = f"probabilities that sum to one (±{SUM_TOLERANCE:g})"
    _complain(name, array, np.asarray(np.abs(total - 1) > SUM_TOLERANCE), wanted)
    return np.asarray(array / total[:, np.newaxis])


def vote_shares(name: str, rows: Any) -> Array:
    """Give votes (clips, K), counts or shares, as shares of each clip's votes, or raise :class:`InputError`."""
    array = _rectangle(name, rows)
    total = _totals(name, array)
    _complain(
        name, array, np.asarray(total == 0), "at least one vote: leave out clips without votes in the view"
    )
    return np.asarray(array / total[:, np.newaxis])


def without_answer(rows: Any) -> NDArray[np.bool_]:
    """Which rows (clips,) of probabilities are None or all NaN: a clip without an answer."""
    return np.asarray(np.isnan(_rectangle("probabilities", rows)).all(axis=1))


def ratio(above: Array, below: Array) -> Array:
    """Divide, NaN where ``below`` is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(below > 0, above / below, np.nan))


def _rectangle(name: str, rows: Any) -> Array:
    if isinstance(rows, np.ndarray):
        array = rows
    else:
        widths = [len(row) for row in rows if row is not None]
        wrong = [clip for clip, row in enumerate(rows) if row is not None and len(row) != widths[0]]
        if wrong:
            raise InputError(
                f"{name}[{wrong[0]}] has {len(rows[wrong[0]])} numbers ({len(wrong)} such clips), the first row"
                f" {widths[0]}: every row needs one number per class."
            )
        blank = [np.nan] * (widths[0] if widths else 0)
        array = np.asarray([blank if row is None else list(row) for row in rows])
    if array.ndim != 2 or array.dtype.kind not in "iuf" or not array.size:
        raise InputError(f"{name} must be numbers (clips, classes); found {array.dtype} {array.shape}.")
    return array.astype(np.float64)


def _totals(name: str, array: Array) -> Array:
    sound = (np.isfinite(array) & (array >= 0)).all(axis=1)
    _complain(name, array, np.asarray(~sound), "0 or more and finite")
    return np.asarray(array.sum(axis=1))


def _complain(name: str, array: Array, wrong: NDArray[np.bool_], wanted: str) -> None:
    clips = np.flatnonzero(wrong)
    if clips.size:
        first = ", ".join(f"{number:g}" for number in array[clips[0]])
        listed = ", ".join(str(clip) for clip in clips[:5]) + (", …" if clips.size > 5 else "")
        raise InputError(
            f"{name}[{clips[0]}] is [{first}], sum {array[clips[0]].sum():g}; each row must be {wanted}."
            f" Such clips: {listed} ({clips.size} in all)."
        )


def coded(values: Sequence[str | None]) -> tuple[NDArray[np.intp], list[str]]:
    """Number the distinct values in order of appearance: codes (rows,), and the names behind them (None is "").

    >>> coded(["b", "a", "b"])[0].tolist(), coded(["b", "a", "b"])[1]
    ([0, 1, 0], ['b', 'a'])
    """
    if None in (names := dict.fromkeys(values)):
        values = [v or "" for v in values]
        names = dict.fromkeys(values)
    place = dict(zip(names, range(len(names)), strict=True))
    codes = np.fromiter(map(place.__getitem__, values), np.intp, len(values))
    return codes, [name or "" for name in names]
