"""Small charts as typed values: where lines, dots, bars and words stand. A template draws them in the page's colours.

All lengths are CSS pixels in the chart's own coordinates, y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

LEFT, RIGHT, TOP, BOTTOM = 40, 10, 8, 34
"""Room for the words around the frame."""


@dataclass(frozen=True)
class Scale:
    """One axis: its ends in the data, its ticks (value, words), its title."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    title: str


@dataclass(frozen=True)
class Word:
    """A word inside a chart."""

    x: float
    y: float
    anchor: str
    text: str
    style: str = ""
    of: str = ""
    """Whose it is, where a page may fade it."""


@dataclass(frozen=True)
class Chart:
    """A chart in the making: paths (style class, SVG path) and words in a frame. ``alt`` says what it shows."""

    alt: str
    x_scale: Scale
    y_scale: Scale
    width: int = 260
    height: int = 220
    left: int = LEFT
    """Room left of the frame."""
    paths: list[tuple[str, str]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    """Place among the paths → whose it is, where a page may fade it."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the frame."""
        return self.left, TOP, self.width - RIGHT, self.height - BOTTOM

    def x(self, value: float) -> float:
        """Place a value; beyond the ends it stands at the end."""
        left, _, right, _ = self.box
        return round(left + _share(self.x_scale, value) * (right - left), 1)

    def y(self, value: float) -> float:
        """Place a value; beyond the ends it stands at the end."""
        _, top, _, bottom = self.box
        return round(bottom - _share(self.y_scale, value) * (bottom - top), 1)

    def line(self, style: str, points: Iterable[tuple[float, float]]) -> None:
        """Draw a line through points of the data."""
        placed = [f"{self.x(x):g} {self.y(y):g}" for x, y in points]
        if placed:
            self.paths.append((style, "M" + "L".join(placed)))

    def dots(self, style: str, points: Iterable[tuple[float, float]], name: str = "") -> None:
        """Draw points: the style's round line ends make them visible.

        Args:
            style: classes of the style sheet.
            points: (x, y) in the data's units.
            name: whose they are, where a page may fade them.
        """
        if name:
            self.names[len(self.paths)] = name
        self.paths.append((style, "".join(f"M{self.x(x):g} {self.y(y):g}h0" for x, y in points)))

    def area(
        self, style: str, low: Sequence[tuple[float, float]], high: Sequence[tuple[float, float]]
    ) -> None:
        """Fill the room between two lines.

        Args:
            style: classes of the style sheet.
            low: points of the lower line, (x, y) in the data's units.
            high: points of the upper line, in the same order.
        """
        around = [*low, *reversed(high)]
        self.line(style, around)
        if around:
            style, path = self.paths.pop()
            self.paths.append((style, path + "z"))

    def bar(self, style: str, x_low: float, x_high: float, y: float, base: float = 0.0) -> None:
        """Fill a bar from ``base`` to ``y``.

        Args:
            style: classes of the style sheet.
            x_low: left edge, in the data's units.
            x_high: right edge.
            y: the value at the bar's end.
            base: the value it starts from.
        """
        self.area(style, [(x_low, base), (x_high, base)], [(x_low, y), (x_high, y)])

    def arrow(self, style: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw an arrow; one too short for a head is a line.

        Args:
            style: classes of the style sheet.
            start: (x, y) of its tail, in the data's units.
            end: (x, y) of its head.
        """
        (x1, y1), (x2, y2) = [(self.x(x), self.y(y)) for x, y in (start, end)]
        length = math.hypot(x2 - x1, y2 - y1)
        path = f"M{x1:g} {y1:g}L{x2:g} {y2:g}"
        if length > 6:
            cos, sin = (x2 - x1) / length, (y2 - y1) / length
            for side in (1, -1):
                back = (x2 - 6 * cos + side * 3 * sin, y2 - 6 * sin - side * 3 * cos)
                path += f"M{x2:g} {y2:g}L{back[0]:.1f} {back[1]:.1f}"
        self.paths.append((style, path))

    def word(
        self, x: float, y: float, text: str, anchor: str = "start", style: str = "", up: float = 0
    ) -> None:
        """Write a word at a point of the data, ``up`` pixels above it.

        Args:
            x: place, in the data's units.
            y: place, in the data's units.
            text: what is written.
            anchor: which end of the word stands there: ``start``, ``middle`` or ``end``.
            style: classes of the style sheet.
            up: distance above the point, px.
        """
        self.words.append(Word(self.x(x), round(self.y(y) - up, 1), anchor, text, style))


def _share(scale: Scale, value: float) -> float:
    return (min(max(value, scale.low), scale.high) - scale.low) / (scale.high - scale.low)


def unit_scale(title: str, *, percent: bool = False) -> Scale:
    """From 0 to 1 in steps of a quarter, written plainly or in per cent.

    >>> unit_scale("confidence").ticks[1]
    (0.25, '0.25')
    """
    ticks = tuple((i / 4, f"{i * 25}" if percent else f"{i / 4:g}") for i in range(5))
    return Scale(0.0, 1.0, ticks, title)


def count_scale(count: int, title: str, first: int = 0) -> Scale:
    """Count things from ``first``, at most seven of them named.

    Args:
        count: how many things there are, 1 or more.
        title: what the axis is called.
        first: number of the first thing.

    Returns:
        An axis with half a step of room at either end.

    >>> count_scale(13, "layer").ticks
    ((0, '0'), (2, '2'), (4, '4'), (6, '6'), (8, '8'), (10, '10'), (12, '12'))
    """
    step = max(1, math.ceil(count / 7))
    ticks = tuple((i, str(i)) for i in range(first, first + count, step))
    return Scale(first - 0.5, first + count - 0.5, ticks, title)


def value_scale(
    values: Sequence[float], title: str, *, percent: bool = False, floor: float | None = None
) -> Scale:
    """Hold all values between round ends with two to six ticks.

    Args:
        values: what is to be drawn, one value or more.
        title: what the axis is called.
        percent: whether ticks of shares (0..1) are written in per cent.
        floor: a value that the axis must also reach down to.

    Returns:
        An axis whose ends are its first and last tick.

    Raises:
        ValueError: there is no value.

    >>> value_scale([0.61, 0.83], "UA", percent=True).ticks
    ((0.6, '60'), (0.7, '70'), (0.8, '80'), (0.9, '90'))
    """
    low, high = min(values), max(values)
    if floor is not None:
        low = min(low, floor)
    width = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(width))
    step = next(s for s in (step / 5, step / 2, step, 2 * step, 5 * step) if width / s <= 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    digits = max(0, -math.floor(math.log10(step) + 1e-9) - (2 if percent else 0))
    ticks = tuple(
        (round(i * step, 12), f"{i * step * (100 if percent else 1) + 0.0:.{digits}f}".replace("-", "−"))
        for i in range(first, last + 1)
    )
    return Scale(ticks[0][0], ticks[-1][0], ticks, title)
