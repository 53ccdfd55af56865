"""The interval of a mean from the intervals of its parts, where nothing but these is at hand.

Of parts with estimates x_i, limits l_i and u_i and weights c_i >= 0, the distances to the limits stand for standard errors at
the limits:

    low = Σ c_i x_i − sqrt(Σ_g (Σ_{i in g} c_i (x_i − l_i))²),    high likewise with u_i − x_i,

groups g being independent and the parts of one group taken as fully correlated, which is too wide otherwise and never too
narrow. The mean of one part has that part's own interval, and no mean leaves the range of its parts' limits.

Source: method of variance estimates recovery, Zou and Donner, Statistics in Medicine 27 (2008), 1693-1702.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PartOfMean:
    """One part of a mean; ``low`` and ``high`` are None where it has no interval."""

    estimate: float
    low: float | None
    high: float | None
    weight: float
    group: Hashable
    """What it is not independent within: the pool of recordings that its task is cut from."""


def interval_of_mean(parts: Sequence[PartOfMean]) -> tuple[float, float | None, float | None]:
    """Add up parts, with the limits that follow from theirs.

    Args:
        parts: at least one, their weights adding up to 1.

    Returns:
        Estimate, low and high in the parts' unit; no limits where a part has none.

    >>> found = interval_of_mean([PartOfMean(0.6, 0.5, 0.7, 0.5, "a"), PartOfMean(0.8, 0.7, 0.9, 0.5, "b")])
    >>> [round(x, 3) for x in found if x is not None]
    [0.7, 0.629, 0.771]
    """
    mean = sum(p.weight * p.estimate for p in parts)
    below: dict[Hashable, float] = defaultdict(float)
    above: dict[Hashable, float] = defaultdict(float)
    for p in parts:
        if p.low is None or p.high is None:
            return mean, None, None
        below[p.group] += p.weight * (p.estimate - p.low)
        above[p.group] += p.weight * (p.high - p.estimate)
    return mean, mean - math.hypot(*below.values()), mean + math.hypot(*above.values())
