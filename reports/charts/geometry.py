"""Geometry of the figures: where ticks, bars and markers stand. Templates draw them, in colours of the page.

All lengths are CSS pixels in the figure's own coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PLOT_WIDTH = 264
ROW_HEIGHT = 44
PAD = 12
"""Room left and right of the axis, so that a marker or a tick label at its end is whole."""
MARKER = 5.0
SPARK_WIDTH, SPARK_HEIGHT = 96, 22


@dataclass(frozen=True)
class PlotAxis:
    """A horizontal scale with round ends and a few round ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @property
    def decimals(self) -> int:
        """Decimals that tell its ticks apart."""
        return 2 if self.ticks[1] - self.ticks[0] < 0.0999 else 1

    def x(self, value: float) -> float:
        """Place a value, px; values beyond the ends stand at the ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(PAD + share * (PLOT_WIDTH - 2 * PAD), 2)


def axis_around(values: Sequence[float], *, minimum: float, maximum: float) -> PlotAxis:
    """Choose an axis that holds all values, within the metric's range.

    Args:
        values: scores and ends of intervals; where there are none, the axis holds the whole range.
        minimum: lowest value that the metric can take.
        maximum: highest value that the metric can take.

    Returns:
        An axis with ticks 0.02, 0.05, 0.1, 0.2 or 0.5 apart.

    >>> axis_around([0.143, 0.61, 0.83], minimum=0.0, maximum=1.0).ticks
    (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """
    low, high = (min(values), max(values)) if values else (minimum, maximum)
    step = next(s for s in (0.02, 0.05, 0.1, 0.2, 0.5) if (high - low) / s <= 5 or s == 0.5)
    first = max(math.floor(low / step + 1e-9), math.ceil(minimum / step - 1e-9))
    last = min(math.ceil(high / step - 1e-9), math.floor(maximum / step + 1e-9))
    if last <= first:
        first, last = (first - 1, first) if first * step >= maximum else (first, first + 1)
    ticks = tuple(round(i * step, 10) for i in range(first, last + 1))
    return PlotAxis(ticks[0], ticks[-1], ticks)


@dataclass(frozen=True)
class Bar:
    """An interval with its estimate as a marker, and the chance line of its row (None: no such line), px."""

    marker: str
    low: float | None
    high: float | None
    chance: float | None


def bar(
    axis: PlotAxis,
    estimate: float,
    low: float | None,
    high: float | None,
    *,
    track: str,
    chance: float | None,
) -> Bar:
    """Place one row of a forest plot.

    Args:
        axis: the scale of the plot.
        estimate: the score, in the metric's unit.
        low: lower end of its interval, None where there is none.
        high: upper end of its interval.
        track: decides the marker's shape.
        chance: score of guessing, None where there is no such line.

    Returns:
        The same in px.
    """
    return Bar(
        marker=marker_path(track, axis.x(estimate), ROW_HEIGHT / 2),
        low=None if low is None else axis.x(low),
        high=None if high is None else axis.x(high),
        chance=None if chance is None else axis.x(chance),
    )


def marker_path(track: str, x: float, y: float) -> str:
    """Draw a marker as an SVG path: tracks differ in shape, not in colour alone.

    Args:
        track: a diamond for ``adapted``, a square for ``released``, a bar for ``reference``, else a circle.
        x: its middle, px.
        y: its middle, px.

    Returns:
        The path's ``d``.
    """
    r = MARKER
    shapes = {
        "adapted": f"M{x:g} {y - r - 1:g}l{r + 1:g} {r + 1:g}l{-r - 1:g} {r + 1:g}l{-r - 1:g} {-r - 1:g}z",
        "released": f"M{x - r + 0.5:g} {y - r + 0.5:g}h{2 * r - 1:g}v{2 * r - 1:g}h{1 - 2 * r:g}z",
        "reference": f"M{x - 2:g} {y - r - 1:g}h4v{2 * r + 2:g}h-4z",
    }
    circle = f"M{x - r:g} {y:g}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0z"
    return shapes.get(track, circle)


def sparkline(values: Sequence[float]) -> str:
    """Draw a short series as the points of an SVG polyline.

    >>> sparkline([0.0, 1.0])
    '2,20 94,2'
    """
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    width, height = SPARK_WIDTH - 4, SPARK_HEIGHT - 4
    step = width / max(len(values) - 1, 1)
    return " ".join(
        f"{2 + i * step:.4g},{2 + height * (1 - (v - low) / span):.4g}" for i, v in enumerate(values)
    )
