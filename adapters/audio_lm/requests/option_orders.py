"""In which orders the options are shown: balanced over positions, so that a taste for a position can cancel out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def option_orders(labels: Sequence[str], count: int, *, seed: int = 0) -> list[tuple[str, ...]]:
    """Return ``count`` orders of the labels, the table's own first.

    K labels have K rotations, in which every label stands once at every place; they come in a random order drawn by the
    seed. Further orders are rotations of a random permutation, and so on: after every K orders each label has stood
    equally often everywhere.

    Args:
        labels: names on offer, in the table's order.
        count: how many orders.
        seed: of the draws.

    >>> option_orders(["neutral", "happy", "sad"], 3, seed=1)
    [('neutral', 'happy', 'sad'), ('happy', 'sad', 'neutral'), ('sad', 'neutral', 'happy')]
    """
    rng = np.random.default_rng(seed)
    base = list(labels)
    orders: list[tuple[str, ...]] = []
    while len(orders) < count:
        turns = [0, *(int(t) + 1 for t in rng.permutation(len(base) - 1))] if base else [0]
        orders += [tuple(base[turn:] + base[:turn]) for turn in turns]
        base = [base[i] for i in rng.permutation(len(base))]
    return orders[:count]
