"""What each output of a released head means: a class by its canonical name, a dimension on its scale, or nothing here.

The names are those of ``id2label`` in the folder's ``config.json``. A name goes through the label table; one that the table does
not know must be explained on the card, as a class or as none (null): what an unknown class is given would be lost silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.meralion_ser.class_names import shares
from bench.cards.labels import fold_name, label_table
from bench.errors import UsageError, nearest
from bench.protocols import DIMENSIONS, Array

Scale = tuple[float, float]
SAY_SCALE = "say on the card between which numbers they lie, as params.scale: [1, 5]"


@dataclass(frozen=True)
class HeadOutputs:
    """A head's outputs, told apart.

    Args:
        names: of all outputs, as the folder has them.
        classes: column → canonical name, or None for a class that is ignored.
        dimensions: dimension → column.
        scales: dimension → (low, high) as the network answers them.
    """

    names: tuple[str, ...]
    classes: Mapping[int, str | None]
    dimensions: Mapping[str, int]
    scales: Mapping[str, Scale]

    @property
    def kept(self) -> list[int]:
        """Columns of the classes that count."""
        return [column for column, name in self.classes.items() if name is not None]

    def places(self, offered: Sequence[str]) -> Array | None:
        """Matrix (classes, offered): where each class column goes; None for a head without classes.

        A class goes to the label of its own name; a label without a class of its own takes that of its place among the seven
        (calm: neutral), and so does a class without a label (excited: happy). The rows of ignored classes are empty.

        Raises:
            CannotRun: none of the labels on offer is among the classes.
        """
        if not self.kept:
            return None
        table, columns = label_table(), list(self.classes)
        names = [str(self.classes[c]) for c in self.kept]
        found = shares(tuple(dict.fromkeys(names)), offered)
        assert found is not None
        rows = {name: row.copy() for name, row in zip(dict.fromkeys(names), found, strict=True)}
        for name, row in rows.items():
            if offered and not row.any():
                place = table.place("seven", name)
                row[:] = [place is not None and table.place("seven", label) == place for label in offered]
                row /= max(1.0, row.sum())
        empty = np.zeros(len(offered))
        return np.stack([rows.get(self.classes[c] or "", empty) for c in columns])

    def in_unit(self, outputs: Array) -> Array:
        """Dimensions (clips, 3) in 0..1 from outputs (clips, outputs), NaN for those that the head does not have."""
        found = np.full((len(outputs), len(DIMENSIONS)), np.nan)
        for place, name in enumerate(DIMENSIONS):
            if name in self.dimensions:
                low, high = self.scales[name]
                found[:, place] = np.clip((outputs[:, self.dimensions[name]] - low) / (high - low), 0.0, 1.0)
        return found


def head_outputs(
    names: Sequence[str],
    *,
    labels: Mapping[str, str | None],
    dimensions: Mapping[str, Any],
    scale: Any,
    regression: bool,
) -> HeadOutputs:
    """Tell a head's outputs apart by their names and by what the card says of them.

    Args:
        names: of the outputs, in order.
        labels: name of an output → canonical label (or a synonym), or None for a class that is no emotion here.
        dimensions: ``valence``, ``arousal``, ``dominance`` → name or index of the output; those named so need no mention.
        scale: ``[low, high]``, or one such pair per dimension.
        regression: the folder says that its outputs are numbers and no classes.

    Returns:
        Columns of classes and of dimensions.

    Raises:
        UsageError: an output that nothing explains, a name that the network does not have, a missing or impossible scale.
    """
    where = _columns_of_dimensions(names, dimensions)
    rest = {i: name for i, name in enumerate(names) if i not in where.values()}
    said = _said_of(rest, labels)
    classes = {i: said[i] if i in said else label_table().canonical(name) for i, name in rest.items()}
    silent = [i for i in rest if classes[i] is None and i not in said]
    numbers = [i for i in rest if regression and not (i in said and said[i] is None)]
    if numbers:
        raise UsageError(
            f"the network's outputs are numbers ({', '.join(names)}), and nothing says what {_shown(names, numbers)} "
            f"{'is' if len(numbers) == 1 else 'are'}: name the dimensions on the card, as "
            "params.dimensions: {valence: 0, arousal: 1, dominance: 2} (by index or by name)"
        )
    if silent:
        example = names[silent[0]]
        raise UsageError(
            f"the network's classes are {', '.join(names)}, and the label table knows no {_shown(names, silent)}: say on the "
            f"card what they are, as params.labels: {{{example}: angry}}, with null for a class that is no emotion here"
        )
    return HeadOutputs(tuple(names), classes, where, _scales(where, scale))


def _columns_of_dimensions(names: Sequence[str], given: Mapping[str, Any]) -> dict[str, int]:
    if not isinstance(given, Mapping):
        raise UsageError(f"params.dimensions is {given!r}; expected {{valence: 0, arousal: 1, dominance: 2}}")
    unknown = [str(d) for d in given if d not in DIMENSIONS]
    if unknown:
        raise UsageError(f"params.dimensions names {unknown[0]!r}; {nearest(unknown[0], DIMENSIONS)}")
    folded = [fold_name(name) for name in names]
    found = {d: folded.index(d) for d in DIMENSIONS if d in folded and d not in given}
    for dimension, place in given.items():
        if isinstance(place, int) and not isinstance(place, bool) and 0 <= place < len(names):
            found[dimension] = place
        elif isinstance(place, str) and fold_name(place) in folded:
            found[dimension] = folded.index(fold_name(place))
        else:
            raise UsageError(
                f"params.dimensions: {dimension} is {place!r}; expected one of the network's outputs, "
                f"{', '.join(names)} or 0 to {len(names) - 1}"
            )
    if len({*found.values()}) < len(found):
        raise UsageError("params.dimensions gives one output to two dimensions")
    return found


def _said_of(rest: Mapping[int, str], labels: Mapping[str, Any]) -> dict[int, str | None]:
    """What the card says of outputs, by column."""
    if not isinstance(labels, Mapping):
        raise UsageError(f"params.labels is {labels!r}; expected names, as {{ANG: angry}}")
    table, found = label_table(), dict[int, str | None]()
    for raw, meant in labels.items():
        columns = [i for i, name in rest.items() if fold_name(name) == fold_name(str(raw))]
        if not columns:
            raise UsageError(
                f"params.labels names {raw!r}, which is no class of the network; {nearest(str(raw), [*rest.values()])}"
            )
        canonical = None if meant is None else table.canonical(str(meant))
        if meant is not None and canonical is None:
            raise UsageError(f"params.labels: {raw} is said to be {meant!r}; {table.near(str(meant))}")
        found |= dict.fromkeys(columns, canonical)
    return found


def _scales(dimensions: Mapping[str, int], scale: Any) -> dict[str, Scale]:
    if not dimensions:
        if scale is not None:
            raise UsageError("params.scale is given, and the network answers no dimension")
        return {}
    if scale is None:
        raise UsageError(f"the network answers {', '.join(dimensions)}: {SAY_SCALE}")
    given = scale if isinstance(scale, Mapping) else dict.fromkeys(dimensions, scale)
    odd = sorted(set(map(str, given)) - set(dimensions))
    if odd:
        raise UsageError(f"params.scale names {odd[0]!r}; the network answers {', '.join(dimensions)}")
    missing = [d for d in dimensions if d not in given]
    if missing:
        raise UsageError(f"params.scale does not say where {missing[0]} lies; {SAY_SCALE}")
    return {d: _pair(d, given[d]) for d in dimensions}


def _pair(dimension: str, given: Any) -> Scale:
    numbers = isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 2
    if not numbers or not all(isinstance(x, int | float) and not isinstance(x, bool) for x in given):
        raise UsageError(f"params.scale of {dimension} is {given!r}; expected two numbers, as [1, 5]")
    low, high = map(float, given)
    if not (np.isfinite([low, high]).all() and low < high):
        raise UsageError(f"params.scale of {dimension} is {given!r}; expected the lower number first")
    return low, high


def _shown(names: Sequence[str], columns: Sequence[int]) -> str:
    return ", ".join(names[i] for i in columns)
