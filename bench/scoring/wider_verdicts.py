"""What is left of a verdict over the population that the plan names, where that is more than speakers.

The test swaps systems within speakers, so its verdict speaks of more speakers with these sentences and these weights. Over a wider
population a difference is shown where its interval there leaves out 0 too, at a level that counts all pairs of the family
(Bonferroni: 1 − (1 − level)/pairs); equivalence where the interval of two one-sided tests, as strict, lies inside the margin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.errors import CannotSeparate
from bench.scoring.records import Counts, Record
from bench.scoring.sentences import cells_of, crossed_table
from bench.statistics.additive import metric_named
from bench.statistics.intervals import difference_interval
from bench.statistics.paired_tests import CANNOT_SEPARATE, EQUIVALENCE_LEVEL, Comparison
from bench.statistics.populations import SPEAKERS, population_words
from bench.statistics.two_way import CrossedTable, PopulationError, population_error


@dataclass(frozen=True)
class WiderVerdict:
    """A verdict with the population it speaks of, and the interval of the difference there (None where it is speakers alone)."""

    verdict: str
    population: str
    low: float | None
    high: float | None
    lacking: tuple[str, ...]
    notes: tuple[str, ...]


def wider_verdict(
    c: Comparison, pairs: int, a: tuple[Record, Counts], b: tuple[Record, Counts]
) -> WiderVerdict:
    """Ask a comparison's verdict of the plan's population.

    Args:
        c: the comparison, over speakers.
        pairs: how many its family holds.
        a: record and statistics of system A.
        b: the same of B.

    Returns:
        The comparison's own verdict where the plan asks for speakers, or where nothing more is known (which is said).
    """
    population = a[0].facts.plan.population
    if population == SPEAKERS:
        return WiderVerdict(c.verdict, SPEAKERS, None, None, (), c.notes)
    try:
        found = population_error(c.metric, population, _tables(a, b))
    except CannotSeparate as error:
        return WiderVerdict(c.verdict, SPEAKERS, None, None, (str(error),), c.notes)
    if found.population == SPEAKERS:
        return WiderVerdict(c.verdict, SPEAKERS, None, None, found.lacking, c.notes)
    low, high = _ends(c, found, c.level, (c.low, c.high))
    held = _holds(c, found, pairs)
    notes = c.notes if held else (*c.notes, _given_up(c, found))
    verdict = c.verdict if held else CANNOT_SEPARATE
    return WiderVerdict(verdict, found.population, low, high, found.lacking, notes)


def _tables(a: tuple[Record, Counts], b: tuple[Record, Counts]) -> list[CrossedTable]:
    """Both systems' tables, over cells where both records have the same."""
    cells = [cells_of(block, record.slices) for record, block in (a, b)]
    same = a[0].facts.sentence_cells == b[0].facts.sentence_cells and None not in cells
    return [
        crossed_table(record.facts, block, own if same else None)
        for (record, block), own in zip((a, b), cells, strict=True)
    ]


def _ends(
    c: Comparison, found: PopulationError, level: float, least: tuple[float, float]
) -> tuple[float, float]:
    """The interval over the population, never narrower than that over speakers."""
    low, high = difference_interval(metric_named(c.metric), found.jackknifed, level, found.degrees)
    return min(low, least[0]), max(high, least[1])


def _holds(c: Comparison, found: PopulationError, pairs: int) -> bool:
    if c.verdict in ("better", "worse"):
        low, high = difference_interval(
            metric_named(c.metric), found.jackknifed, 1 - (1 - c.level) / pairs, found.degrees
        )
        return not low <= 0 <= high
    if c.verdict == "equivalent" and c.margin is not None:
        strict = 1 - (1 - EQUIVALENCE_LEVEL) / pairs
        low, high = _ends(c, found, strict, (c.low_90, c.high_90))
        return bool(np.abs([low, high]).max() <= c.margin)
    return True


def _given_up(c: Comparison, found: PopulationError) -> str:
    held = population_words(SPEAKERS, clusters="clusters")
    wider = population_words(found.population, clusters="clusters")
    return f"the verdict {c.verdict!r} holds for {held}; for {wider} it does not"
