"""Checks of arrays that callers hand to the statistics: every complaint names the argument and the clips."""

from __future__ import annotations

from collections.abc import Mapping, MappingView, Sequence, Set
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import InputError, UsageError
from bench.protocols import Array

Codes = NDArray[np.int64]

SUM_TOLERANCE = 1e-4
"""Probabilities may miss a sum of one by this much (float16 and float32 do); they are then divided by their sum."""


LARGEST = 1e60
"""Numbers beyond this are refused: fourth powers of them, which a correlation takes, leave the range of float64."""
_SHOWN = 60


def shown(entry: object) -> str:
    """What was found, for a complaint: its representation on one line, cut after 60 characters.

    >>> shown("sad"), len(shown(list(range(1000))))
    ("'sad'", 60)
    """
    text = " ".join(repr(entry).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 2] + " …"


def require_sequence(name: str, given: object) -> None:
    """Raise :class:`InputError` unless ``given`` has a length and an order: a list, a tuple, an array, a table's column."""
    ordered = not isinstance(given, str | bytes | bytearray | Mapping)
    if isinstance(given, Set) and not isinstance(given, MappingView):
        ordered = False
    try:
        len(given)  # type: ignore[arg-type]
        iter(given)  # type: ignore[call-overload]
    except TypeError:
        ordered = False
    if not ordered:
        raise InputError(
            f"{name} is {shown(given)} ({type(given).__name__}); it must be a list, a tuple or an array with its entries"
            " in order."
        )


def as_array(name: str, given: Any) -> NDArray[Any]:
    """Give a plain array, or raise :class:`InputError`: rows of unequal length, or nothing that has an order.

    Masked entries become NaN (of numbers) or None.
    """
    require_sequence(name, given)
    if isinstance(given, np.ma.MaskedArray) and np.ma.getmaskarray(given).any():
        if given.dtype.kind in "iufb":
            return np.asarray(np.ma.filled(given.astype(np.float64), np.nan))
        return np.asarray(np.ma.filled(given.astype(object), None))
    try:
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{name} cannot be read as one array of entries of one shape: {error}.") from error


def real_array(name: str, given: Any) -> Array:
    """Give real numbers of any shape as float64, None as NaN, or raise :class:`InputError`: text among them, or ragged."""
    found = as_array(name, given)
    if found.dtype.kind not in "iufbO":
        raise InputError(f"{name} must hold numbers; found {found.dtype} {found.shape}.")
    return _as_floats(name, found)


def _as_floats(name: str, found: NDArray[Any]) -> Array:
    try:
        if found.dtype.kind == "O" and (
            words := [e for e in found.ravel().tolist() if isinstance(e, str | bytes)]
        ):
            # float("0.5") is a number, and a column of numbers as text was not read right.
            raise ValueError(f"{shown(words[0])} is text")
        with np.errstate(over="ignore"):
            return found.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} must hold numbers, and does not: {error}.") from error


def require_whole_number(name: str, given: object, *, least: int) -> None:
    """Refuse an option that is no whole number, or one below ``least``.

    Args:
        name: of the option, for the message.
        given: what was given; a bool is no number.
        least: the smallest value allowed.

    Raises:
        UsageError: another type, or a smaller number.
    """
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < least:
        raise UsageError(
            f"{name} is {shown(given)} ({type(given).__name__}); it must be a whole number, {least} or more."
        )


def is_real(given: object) -> bool:
    """Whether an option is one real number, NaN and infinity among them, and no bool."""
    return isinstance(given, Real) and not isinstance(given, bool)


def require_equal_lengths(**lengths: int) -> None:
    """Raise :class:`InputError` unless all named lengths are equal and positive."""
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"Arguments must have one entry per clip, in the same order: {listed}.")
    if not next(iter(lengths.values())):
        raise InputError(f"There is nothing to score: {' and '.join(lengths)} are empty.")


def finite_numbers(name: str, values: ArrayLike) -> Array:
    """Give ``values`` as a flat float64 array, or raise :class:`InputError`: text, None, NaN or infinity among them."""
    found = as_array(name, values)
    if found.ndim != 1 or found.dtype.kind not in "iufbO":
        raise InputError(f"{name} must be a flat sequence of numbers; found {found.dtype} {found.shape}.")
    array = _as_floats(name, found)
    wrong = np.flatnonzero(~usable(array))
    if wrong.size:
        raise InputError(
            f"{name}[{wrong[0]}] is {shown(found[wrong[0]].item() if found.dtype.kind != 'O' else found[wrong[0]])}"
            f" ({wrong.size} such clips), but every clip needs a finite number (at most {LARGEST:g} in size)."
        )
    return array


def usable(numbers: Array) -> NDArray[np.bool_]:
    """Which numbers can be summed in squares: neither NaN nor infinite, nor beyond 1e60."""
    # A comparison with NaN is False.
    return np.asarray(np.abs(numbers) <= LARGEST)


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
    require_whole_number(f"the number of codes of {name}", size, least=0)
    array = integers(name, given)
    wrong = np.flatnonzero((array < 0) | (array >= size))
    if wrong.size:
        raise InputError(
            f"{name}[{wrong[0]}] is {array[wrong[0]]}, but codes run from 0 to {size - 1}"
            f" ({wrong.size} such clips)."
        )
    return array.astype(np.int64)


def integers(name: str, given: ArrayLike) -> NDArray[Any]:
    """Give a flat array of integers (clips,), or raise :class:`InputError`."""
    array = as_array(name, given)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(
            f"{name} must be a flat sequence of integer codes; found {array.dtype} {array.shape}."
        )
    return array


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
    array = rectangle(name, rows)
    if silent:
        array[np.isnan(array).all(axis=1)] = 1 / array.shape[1]
    total = _totals(name, array)
    wanted = f"probabilities that sum to one (±{SUM_TOLERANCE:g})"
    _complain(name, array, np.asarray(np.abs(total - 1) > SUM_TOLERANCE), wanted)
    return np.asarray(array / total[:, np.newaxis])


def vote_shares(name: str, rows: Any) -> Array:
    """Give votes (clips, K), counts or shares, as shares of each clip's votes, or raise :class:`InputError`."""
    array = rectangle(name, rows)
    total = _totals(name, array)
    _complain(
        name, array, np.asarray(total == 0), "at least one vote: leave out clips without votes in the view"
    )
    return np.asarray(array / total[:, np.newaxis])


def without_answer(rows: Any) -> NDArray[np.bool_]:
    """Which rows (clips,) of probabilities are None or all NaN: a clip without an answer."""
    return np.asarray(np.isnan(rectangle("probabilities", rows)).all(axis=1))


def ratio(above: Array, below: Array) -> Array:
    """Divide, NaN where ``below`` is not positive."""
    undefined = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    return np.asarray(np.divide(above, below, out=undefined, where=below > 0))


def rectangle(name: str, rows: Any) -> Array:
    """Give rows of numbers as float64 (clips, classes), NaN for a row that is None, or raise :class:`InputError`.

    Neither sums nor signs are looked at.
    """
    if isinstance(rows, np.ndarray):
        array = as_array(name, rows)
    else:
        _require_rows(name, rows)
        # A view of a dict has an order and no places; a column of pandas has places of its own.
        rows = list(rows)
        widths = [len(row) for row in rows if row is not None]
        wrong = [clip for clip, row in enumerate(rows) if row is not None and len(row) != widths[0]]
        if wrong:
            raise InputError(
                f"{name}[{wrong[0]}] has {len(rows[wrong[0]])} numbers ({len(wrong)} such clips), the first row"
                f" {widths[0]}: every row needs one number per class."
            )
        blank = [np.nan] * (widths[0] if widths else 0)
        array = as_array(name, [blank if row is None else list(row) for row in rows])
    if array.ndim != 2 or array.dtype.kind not in "iuf" or not array.size:
        raise InputError(f"{name} must be numbers (clips, classes); found {array.dtype} {array.shape}.")
    return array.astype(np.float64)


def _require_rows(name: str, rows: Any) -> None:
    require_sequence(name, rows)
    if hasattr(rows, "columns"):
        raise InputError(
            f"{name} is a {type(rows).__name__}; it must be an array (clips, classes), columns in the order of the classes:"
            " .to_numpy() gives one."
        )
    for clip, row in enumerate(rows):
        if row is not None:
            require_sequence(f"{name}[{clip}]", row)


def _totals(name: str, array: Array) -> Array:
    sound = (usable(array) & (array >= 0)).all(axis=1)
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
