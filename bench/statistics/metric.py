"""What a metric is: additive statistics of some kind, and a smooth function of their sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.protocols import Array


@dataclass(frozen=True)
class StatisticsKind:
    """A kind of additive statistics, one array per cluster.

    ``axes`` trailing axes belong to one cluster, of a shape that ``fits`` accepts and ``wanted`` describes. ``truth`` maps
    statistics to the part of them, (…, T), that every system scored on the same clips must share.
    """

    name: str
    axes: int
    wanted: str
    fits: Callable[[tuple[int, ...]], bool]
    truth: Callable[[Array], Array]


@dataclass(frozen=True)
class Metric:
    """A metric as a function of additive statistics.

    ``components`` maps statistics (…, one cluster's axes) linearly to (…, D). ``parts`` maps components to (…, P), NaN
    where undefined: one part per class for UA and macro-F1, per dimension for means over dimensions, else one. The
    metric is the mean of its parts. ``gradient`` (…, D) is that mean's derivative where all parts are defined.
    ``sizes`` maps statistics to the clips behind each part, (…, P). ``maximum`` may be infinite.
    """

    name: str
    title: str
    statistics: StatisticsKind
    minimum: float
    maximum: float
    components: Callable[[Array], Array]
    parts: Callable[[Array], Array]
    gradient: Callable[[Array], Array]
    sizes: Callable[[Array], Array]
    higher_is_better: bool = True
    smooth: bool = True
    """False: kinks where it is estimated, so that swaps studentised by its gradient are no valid test."""
    linear: bool = False
    """Components are P sums and P divisors that follow from the truth: swaps of whole clusters leave the divisors alone."""
    least_variance: Callable[[Array], float] | None = None
    """From summed components (D,): what is added to the variance of a difference, for the clips that did not tell the
    two systems apart and might have; None where values are continuous."""

    @property
    def kind(self) -> str:
        """Name of the kind of statistics."""
        return self.statistics.name

    @property
    def axes(self) -> int:
        """How many trailing axes of an array of statistics belong to one cluster."""
        return self.statistics.axes

    def strict(self, components: Array) -> Array:
        """Value (…) from components (…, D); NaN where any part is undefined (a resample that lacks a class)."""
        return np.asarray(self.parts(components).mean(axis=-1))
