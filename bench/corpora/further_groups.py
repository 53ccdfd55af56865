"""Groups of clips by further columns of a table, which a card names under ``slices``: a group per value, or bands between fixed edges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from bench.corpora.identities import blank_nobody


def bands(edges: Sequence[float]) -> tuple[str, ...]:
    """Name the bands between edges; a band holds its lower edge.

    >>> bands([30, 45])
    ('under 30', '30 to under 45', '45 and over')
    """
    if not edges:
        return ()
    words = [f"{e:.12g}" for e in edges]
    between = (f"{low} to under {high}" for low, high in itertools.pairwise(words))
    return (f"under {words[0]}", *between, f"{words[-1]} and over")


def further_groups(cells: Sequence[str | None], edges: Sequence[float]) -> tuple[str, ...]:
    """Sort clips by a column's cells; "" where a cell names nothing, or no number where there are edges.

    Args:
        cells: as written, (clips,).
        edges: of the bands, in the column's own unit, rising; none for a group per value.

    Returns:
        The groups, (clips,).

    >>> further_groups(["29", "30.0", "old", "unknown"], [30, 45])
    ('under 30', '30 to under 45', '', '')
    >>> further_groups(["Asian", " Asian ", "n/a"], [])
    ('Asian', 'Asian', '')
    """
    known, _ = blank_nobody("further column", [(c or "").strip() for c in cells])
    if not edges:
        return known
    names = bands(edges)
    places = {cell: _band(cell, edges, names) for cell in set(known)}
    return tuple(places[c] for c in known)


def _band(cell: str, edges: Sequence[float], names: Sequence[str]) -> str:
    try:
        number = float(cell.replace(",", "."))
    except ValueError:
        return ""
    return names[sum(number >= e for e in edges)] if math.isfinite(number) else ""
