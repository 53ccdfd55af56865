"""How many speakers, clips and trainings it takes to see a difference: design before data.

The difference of two systems, averaged over G speakers with n clips each and over S trainings of each system, has

    se² = σ_b²/G + σ_w²/(G n) + 2 σ_t²/S

σ_b: how much speakers' true differences vary; σ_w: what one clip adds to its speaker's; σ_t: what one training adds to a system's
score (0 where a claim is about the weights at hand). The power of the test is that of Student's t on Satterthwaite's degrees of freedom, by
the non-central t distribution; a family of m pairs is counted by Bonferroni, which max-T stays below. With so few speakers that no pattern
of swaps is rare enough (2^(1 − G) above the level), nothing can be seen.

Source: Raudenbush and Liu, Psychological Methods 5, 2000, 199–213, for designs of this form; Bloom, Evaluation Review 19, 1995, 547–556.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from bench.errors import UsageError
from bench.statistics.additive import Metric, metric_named, only_present_classes
from bench.statistics.degrees import satterthwaite_degrees, student_quantile
from bench.statistics.two_way import CrossedTable, crossed_parts, population_error

MOST_SPEAKERS = 100_000
"""A design that needs more is called out of reach."""
QUANTILES = 400
"""Of the standard error's distribution, in a power: 0.0005 from the exact value at most."""


@dataclass(frozen=True)
class DifferenceSpread:
    """How the difference of two systems varies: standard deviations σ_b, σ_w, σ_t in the metric's unit (0..1 for UA).

    ``clips_known`` is False where clips and speakers could not be told apart: then σ_b holds both, for as many clips per speaker
    as there were.
    """

    between: float
    within: float
    training: float = 0.0
    clips_known: bool = True

    def __post_init__(self) -> None:
        for name in ("between", "within", "training"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UsageError(
                    f"{name} is {getattr(self, name)}; a standard deviation is a finite number of 0 or more"
                )


@dataclass(frozen=True)
class Design:
    """How a difference will be looked for: speakers, clips of each, trainings of each system, pairs tested as one family."""

    speakers: int
    clips: float
    seeds: int = 1
    pairs: int = 1
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.speakers < 2 or self.clips <= 0 or self.seeds < 1 or self.pairs < 1:
            raise UsageError(
                f"a design has two speakers or more, and clips, seeds and pairs above 0; found {self.speakers}, {self.clips}, "
                f"{self.seeds} and {self.pairs}"
            )


def design_error(spread: DifferenceSpread, design: Design) -> tuple[float, float]:
    """Standard error of the difference under a design, in the metric's unit, and its degrees of freedom.

    >>> error, degrees = design_error(DifferenceSpread(0.08, 0.6), Design(20, 42))
    >>> round(error, 4), degrees
    (0.0274, 19.0)
    """
    speakers = (spread.between**2 + spread.within**2 / design.clips) / design.speakers
    trainings = 2 * spread.training**2 / design.seeds
    if trainings == 0 or design.seeds < 2:
        return math.sqrt(speakers + trainings), design.speakers - 1.0
    one = trainings / 2
    df = satterthwaite_degrees(
        (speakers, one, one), (design.speakers - 1.0, design.seeds - 1.0, design.seeds - 1.0)
    )
    return math.sqrt(speakers + trainings), df


def power_of(spread: DifferenceSpread, design: Design, difference: float) -> float:
    """Probability that a true difference is found.

    Args:
        spread: how the difference varies.
        design: how it is looked for.
        difference: the true one, in the metric's unit.

    Returns:
        0..1; with one seed and a spread over trainings there is no test over trainings, and the power is 0.

    >>> round(power_of(DifferenceSpread(0.08, 0.6), Design(40, 42), 0.05), 2)
    0.71
    """
    # Imported here: listing systems must not wait for scipy.
    from scipy.special import chdtri, ndtr

    alpha = round(1 - design.level, 12)
    if 2.0 ** (1 - design.speakers) > alpha or (spread.training > 0 and design.seeds < 2):
        return 0.0
    error, df = design_error(spread, design)
    if error == 0:
        return float(difference != 0)
    critical = student_quantile(1 - alpha / design.pairs / 2, df)
    shift = abs(difference) / error
    # The tails of a non-central t as a mean over the standard error's own distribution, at evenly spaced quantiles: the series
    # of scipy's nct gives NaN for some large shifts.
    tail = (np.arange(QUANTILES) + 0.5) / QUANTILES
    bar = critical * np.sqrt(chdtri(df, tail) / df)
    return float(np.mean(ndtr(shift - bar) + ndtr(-shift - bar)))


def speakers_needed(
    spread: DifferenceSpread, design: Design, difference: float, *, power: float = 0.8
) -> int | None:
    """Fewest speakers with which a true difference is found with some probability.

    Args:
        spread: how the difference varies.
        design: everything but the number of speakers, which is not looked at.
        difference: the true one, in the metric's unit.
        power: the probability, 0..1.

    Returns:
        The number, or None where no number up to 100,000 suffices (more speakers do not help against few trainings).

    >>> speakers_needed(DifferenceSpread(0.08, 0.6), Design(2, 42), 0.05)
    49
    """
    if not 0 < power < 1:
        raise UsageError(f"power is {power}; it lies between 0 and 1, for example 0.8")
    few, enough = 2, MOST_SPEAKERS
    if power_of(spread, replace(design, speakers=enough), difference) < power:
        return None
    while few < enough:
        middle = (few + enough) // 2
        if power_of(spread, replace(design, speakers=middle), difference) >= power:
            enough = middle
        else:
            few = middle + 1
    return few


def difference_seen(spread: DifferenceSpread, design: Design, *, power: float = 0.8) -> float | None:
    """Smallest true difference that a design finds with some probability.

    Args:
        spread: how the difference varies.
        design: how it is looked for.
        power: the probability, 0..1.

    Returns:
        The difference in the metric's unit; None where not even one of 1 (100 points) is found.
    """
    least, most = 0.0, 1.0
    if power_of(spread, design, most) < power:
        return None
    for _ in range(40):
        middle = (least + most) / 2
        least, most = (least, middle) if power_of(spread, design, middle) >= power else (middle, most)
    return most


def spread_of(metric: str | Metric, first: CrossedTable, second: CrossedTable) -> DifferenceSpread:
    """Estimate how the difference of two systems varies from their statistics.

    Where sentences are crossed with speakers, cells tell what single clips bring. Else it is bounded from above for counts of labels, the
    answers of two systems to one clip taken as independent, so that more clips per speaker help at most so much; for
    ratings it is not known.

    Args:
        metric: its name, or the metric.
        first: one system's statistics.
        second: the other's, on the same cells.

    Returns:
        Standard deviations in the metric's unit. At the speakers, clips and seeds at hand they give the error that a comparison has.

    Raises:
        CannotSeparate: fewer than two speakers, or a metric that is undefined.
    """
    chosen = metric_named(metric)
    pair = (first, second)
    whole = population_error(chosen, "speakers x seeds", pair)
    speakers = whole.parts["speakers"]
    training = math.sqrt(_per_training(whole.parts.get("seeds", 0.0), pair))
    tables = [t.by(t.speaker).mean(axis=0) for t in pair]
    sizes = chosen.sizes(tables[0]).sum(axis=-1)
    count, clips = int((sizes > 0).sum()), float(sizes.sum())
    parts = crossed_parts(chosen, pair)
    if parts is not None:
        noise = min(parts.cells, speakers)
    elif chosen.kind == "confusion":
        noise = min(sum(_clip_variance(chosen, t) for t in pair), speakers)
    else:
        return DifferenceSpread(math.sqrt(count * speakers), 0.0, training, clips_known=False)
    return DifferenceSpread(math.sqrt(count * max(0.0, speakers - noise)), math.sqrt(noise * clips), training)


def _per_training(variance: float, pair: tuple[CrossedTable, CrossedTable]) -> float:
    """Variance that one training of one system adds, from what the seeds of both add to the variance of the difference."""
    weights = sum(1 / len(t.values) for t in pair if t.seeded and len(t.values) > 1)
    return variance / weights if weights else 0.0


def _clip_variance(metric: Metric, table: CrossedTable) -> float:
    """Variance that single clips bring to the value of one system: answers drawn anew from each class's answers."""
    total = only_present_classes(table.values.mean(axis=0)).sum(axis=0)
    # The metric's gradient by one more clip of class t answered p, from unit tables.
    k, columns = total.shape
    units = np.eye(k * columns).reshape(k * columns, k, columns)
    slopes = (metric.components(units) @ metric.gradient(metric.components(total))).reshape(k, columns)
    clips = total.sum(axis=1, keepdims=True)
    shares = total / clips
    mean = (shares * slopes).sum(axis=1, keepdims=True)
    return float((clips * shares * (slopes - mean) ** 2).sum())


def require_difference(difference: float) -> float:
    """Give the difference, or raise :class:`~bench.errors.UsageError` where it is none that could be looked for."""
    if not (math.isfinite(difference) and 0 < difference <= 1):
        raise UsageError(
            f"the difference is {difference}; give a number of points above 0, at most 100 (3 for three points)"
        )
    return difference
