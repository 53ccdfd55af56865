"""The classes of a network by their canonical names, and where each goes among the labels on offer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.cards.labels import label_table
from bench.errors import CannotRun
from bench.protocols import Array

NO_CATEGORIES = ("none",)
"""The one class of a network that was trained on dimensions alone: a placeholder, and no answer."""


def canonical_names(own: Sequence[str]) -> list[str]:
    """Canonical names of a network's classes, by the label table; a name that it does not know stays as it is.

    Raises :class:`bench.errors.CannotRun` where no more are known than unknown: what an unknown class is given is left
    out, so of ``NEU, HAP, SAD, ANG`` sad alone would be left, and be every answer.

    >>> canonical_names(["Happiness", "Sadness", "whispering"])
    ['happy', 'sad', 'whispering']
    """
    table = label_table()
    found = [table.canonical(name) for name in own]
    unknown = [name for name, known in zip(own, found, strict=True) if known is None]
    if unknown and 2 * len(unknown) >= len(own):
        raise CannotRun(
            f"the network names its classes {', '.join(own)}, and the label table knows no {', '.join(unknown)}; "
            "give them names of tasks/labels.yaml, like neutral or happy, in id2label of its config.json"
        )
    return [known or name for name, known in zip(own, found, strict=True)]


def shares(own: Sequence[str], offered: Sequence[str]) -> Array | None:
    """Matrix (own, offered): where each of the network's classes goes; None for a network without categories.

    A label on offer takes the classes of its own name, else those of its place among the seven (calm: neutral); labels
    that take the same class share it evenly.

    Raises:
        CannotRun: the network's names are not known, or none of the labels on offer is among them.

    >>> shares(["Neutral", "Sadness"], ["sad", "calm"]).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if tuple(own) == NO_CATEGORIES:
        return None
    if not offered:
        return np.zeros((len(own), 0))
    table, names = label_table(), canonical_names(own)
    taken = [o if o in names else table.place("seven", o) for o in offered]
    matrix = np.array([[float(t == name) for t in taken] for name in names]).reshape(len(own), len(offered))
    counts = matrix.sum(axis=1, keepdims=True)
    if not counts.any():
        raise CannotRun(
            f"the network knows {', '.join(own)}, and none of the labels on offer: {', '.join(offered)}"
        )
    return np.asarray(np.divide(matrix, counts, out=np.zeros_like(matrix), where=counts > 0))
