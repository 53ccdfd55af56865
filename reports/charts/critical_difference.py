"""The critical-difference diagram: average ranks over pools on a line, bars joining systems that cannot be told apart.

After Demšar (JMLR 7, 2006), drawn by hand as SVG in the colour of the surrounding text, so that it suits a light page, a dark
one and paper. Lengths are CSS pixels.
"""

from __future__ import annotations

from html import escape
from math import ceil

from bench.statistics.ranking import AcrossPools

WIDTH = 780
MARGIN = 240
"""Room for names, left and right."""
_TOP, _AXIS, _BAR, _ROW = 30, 62, 9, 24
_LONGEST_NAME = 26
_INK = 'fill="currentColor" stroke="none"'
"""On each text and dot: a style sheet inside the drawing would reach the page around it."""


def critical_difference_svg(found: AcrossPools) -> str:
    """Draw the diagram: best systems on the left; a thick bar joins those closer than the critical difference.

    The left half of the systems is named on the left, the best at the top, the others on the right, the worst at the top.
    """
    names, ranks = found.systems, found.average_ranks
    highest = len(names)

    def x(rank: float) -> float:
        return round(MARGIN + (rank - 1) / (highest - 1) * (WIDTH - 2 * MARGIN), 1)

    below = _AXIS + 14 + _BAR * len(found.groups)
    left = ceil(highest / 2)
    parts = [*_ruler(found, x(1), x(1 + found.critical_difference)), _axis(highest, x(1), x(highest))]
    for place, (first, last) in enumerate(found.groups):
        y = _AXIS + 12 + _BAR * place
        parts.append(
            f'<path d="M{x(ranks[first]) - 3:g} {y}H{x(ranks[last]) + 3:g}" stroke-width="4" stroke-linecap="round"/>'
        )
    for place, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        near = place < left
        row = place if near else highest - 1 - place
        y, edge = below + 16 + _ROW * row, MARGIN - 12 if near else WIDTH - MARGIN + 12
        anchor, side = ("end", -6) if near else ("start", 6)
        parts.append(
            f'<path d="M{x(rank):g} {_AXIS}V{y}H{edge}"/><circle cx="{x(rank):g}" cy="{_AXIS}" r="3.5" fill="currentColor" stroke="none"/>'
        )
        parts.append(
            f'<text {_INK} x="{edge + side}" y="{y + 4}" text-anchor="{anchor}"><title>{escape(name)}</title>{escape(_short(name))}'
            f' <tspan opacity="0.75">{rank:.2f}</tspan></text>'
        )
    height = below + 16 + _ROW * left
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"'
        f' aria-label="{escape(in_words(found))}" fill="none" stroke="currentColor" stroke-width="1"'
        ' font-family="sans-serif" font-size="13">\n'
        f"{body}\n</svg>\n"
    )


def in_words(found: AcrossPools) -> str:
    """Say what the diagram shows, for those who do not see it."""
    ranked = ", ".join(f"{n} {r:.2f}" for n, r in zip(found.systems, found.average_ranks, strict=True))
    runs = [" – ".join((found.systems[first], found.systems[last])) for first, last in found.groups]
    apart = f"Not told apart: {'; '.join(runs)}" if runs else "All are told apart"
    return (
        f"Average ranks over {len(found.pools)} pools of recordings, 1 is best: {ranked}. Critical difference"
        f" {found.critical_difference:.2f}, Friedman test p = {found.p_value:.2g}. {apart}."
    )


def _ruler(found: AcrossPools, start: float, end: float) -> list[str]:
    """The critical difference as a length, above the best end of the axis."""
    # Wider than the whole axis when there is little evidence: drawn to the edge and open there.
    stop = min(end, WIDTH - 8)
    close = f"M{stop:g} {_TOP - 5}V{_TOP + 5}" if stop == end else ""
    return [
        f'<path d="M{start:g} {_TOP - 5}V{_TOP + 5}M{start:g} {_TOP}H{stop:g}{close}"/>',
        f'<text {_INK} x="{start:g}" y="{_TOP - 11}">critical difference {found.critical_difference:.2f}'
        f" ({100 * found.level:g} %, {len(found.pools)} pools)</text>",
    ]


def _axis(highest: int, start: float, end: float) -> str:
    step = (end - start) / (highest - 1)
    # No more than ten numbers, or they touch.
    every = ceil((highest - 1) / 10)
    ticks = "".join(f"M{start + step * i:g} {_AXIS}v-5" for i in range(highest))
    numbers = "".join(
        f'<text {_INK} x="{start + step * i:g}" y="{_AXIS - 9}" text-anchor="middle">{i + 1}</text>'
        for i in range(0, highest, every)
    )
    return f'<path d="M{start:g} {_AXIS}H{end:g}{ticks}"/>{numbers}'


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
