"""What is left of a verdict over the population that the plan names, where that is more than speakers.

The test swaps systems within speakers, so its verdict speaks of more speakers with these sentences and these weights. Over a wider
population the same reading (:func:`bench.statistics.families.verdict_of`) is made of wider intervals: difference ± t · se with the
population's own error and degrees of freedom, at a level that counts all pairs of the family (Bonferroni: 1 − (1 − level)/pairs), and
never narrower than the joint ones over speakers. So a verdict over more is never bolder than the one over speakers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bench.errors import CannotSeparate
from bench.scoring.records import Counts, Record
from bench.scoring.sentences import crossed_tables
from bench.statistics.additive import metric_named
from bench.statistics.families import CANNOT_SEPARATE, Comparison, verdict_of
from bench.statistics.intervals import difference_interval
from bench.statistics.populations import SPEAKERS, population_words
from bench.statistics.two_way import PopulationError, population_error


@dataclass(frozen=True)
class WiderVerdict:
    """A verdict with the population it speaks of, and the interval there that decides it (None where it is speakers alone)."""

    verdict: str
    population: str
    low: float | None
    high: float | None
    lacking: tuple[str, ...]
    notes: tuple[str, ...]

    def decided_by(self, over_speakers: str) -> str:
        """What decided the verdict: the population's interval where there is one, else what decided over speakers."""
        return over_speakers if self.low is None else f"simultaneous interval over {self.population}"


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
        found = population_error(c.metric, population, crossed_tables(a, b))
    except CannotSeparate as error:
        return WiderVerdict(c.verdict, SPEAKERS, None, None, (str(error),), c.notes)
    if found.population == SPEAKERS:
        return WiderVerdict(c.verdict, SPEAKERS, None, None, found.lacking, c.notes)
    wide = _with_least_variance(c, found)
    joint = _ends(c, wide, 1 - (1 - c.level) / pairs, (c.simultaneous_low, c.simultaneous_high))
    verdict = c.verdict
    if verdict != CANNOT_SEPARATE:
        verdict = verdict_of(
            higher_is_better=metric_named(c.metric).higher_is_better,
            simultaneous=joint,
            equivalent=_equivalent(c, wide, pairs),
        )
    notes = c.notes if verdict == c.verdict else (*c.notes, _given_up(c, found))
    return WiderVerdict(verdict, found.population, *joint, found.lacking, notes)


def _with_least_variance(c: Comparison, found: PopulationError) -> PopulationError:
    """Add what a comparison's error holds beyond the jackknife's: clips that did not tell two systems apart and might have."""
    least = max(0.0, c.standard_error**2 - found.parts["speakers"])
    return replace(found, standard_error=math.sqrt(found.standard_error**2 + least))


def _ends(
    c: Comparison, found: PopulationError, level: float, least: tuple[float, float]
) -> tuple[float, float]:
    """The interval over the population, never narrower than that over speakers."""
    low, high = difference_interval(metric_named(c.metric), found.jackknifed, level, found.degrees)
    return min(low, least[0]), max(high, least[1])


def _equivalent(c: Comparison, found: PopulationError, pairs: int) -> bool | None:
    """Whether the interval that decides equivalence lies inside the margin: of two one-sided tests, at a level that counts the pairs."""
    if c.margin is None:
        return None
    level = 1 - 2 * (1 - c.level) / pairs
    low, high = _ends(c, found, level, (c.equivalence_low, c.equivalence_high))
    return -c.margin <= low and high <= c.margin


def _given_up(c: Comparison, found: PopulationError) -> str:
    held = population_words(SPEAKERS, clusters="clusters")
    wider = population_words(found.population, clusters="clusters")
    return f"the verdict {c.verdict!r} holds for {held}; for {wider} it does not"
