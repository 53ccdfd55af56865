"""One difference over many tasks, and claims that hold over all of them: pools of recordings are the units.

**Synthesis.** The difference of two systems is another on every corpus. A random-effects model takes the differences of k pools as draws
around a mean, with a spread τ between pools beside each pool's own error: τ² after Paule and Mandel, the mean's error after Hartung,
Knapp, Sidik and Jonkman with Student's t on k − 1 degrees of freedom, never below what the pools' own errors give. Tasks of one
pool share their speakers: their differences are averaged, and so are their errors, which is exact where they move together and too
large otherwise. (statsmodels does the arithmetic.)

**Claims over all tasks.** A family of tests errs in 5 % of the cases on its own; of 40 families in which nothing is true, some errs
with a chance of 1 − 0.95⁴⁰ = 87 %. Here each of M pools gets the M-th part of the level, and the tasks of a pool share its part; a pool in which all is
shown hands its part on (sequential rejection: Goeman & Solari, Annals of Statistics 38, 2010, 3782–3810). With one test per
pool this is Holm's method.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import CannotSeparate, InputError
from bench.statistics.intervals import require_level

FEWEST_POOLS_COMBINED = 3
"""Of two pools the spread between pools has one degree of freedom, and nothing follows."""


@dataclass(frozen=True)
class TaskDifference:
    """A difference of two systems on one task with its standard error, both in the metric's unit."""

    pool: str
    task: str
    difference: float
    standard_error: float


@dataclass(frozen=True)
class Synthesis:
    """The mean difference over pools like these, with its interval at ``level``; what another pool would show; how pools differ.

    ``tau`` is the standard deviation of true differences between pools (the metric's unit), ``i_squared`` its share of the
    variance that is seen (0..1), ``heterogeneity_p`` Cochran's test that there is none. ``predicted_low`` to ``predicted_high``
    is where the true difference on one more pool lies, about: few pools tell little of τ (of six, it held a seventh 89 % of the time).
    """

    difference: float
    low: float
    high: float
    p_value: float
    predicted_low: float
    predicted_high: float
    tau: float
    i_squared: float
    heterogeneity_p: float
    level: float
    pools: tuple[TaskDifference, ...]
    """One per pool; ``task`` names its tasks."""
    left_out: tuple[str, ...] = ()
    """Tasks without an error of their own."""


def synthesise(differences: Iterable[TaskDifference], *, level: float = 0.95) -> Synthesis:
    """Combine the differences of two systems over pools of recordings.

    Args:
        differences: one per task.
        level: coverage of the intervals, 0..1.

    Returns:
        The random-effects synthesis.

    Raises:
        InputError: a task twice, or a number that is none.
        CannotSeparate: fewer than three pools with an error.

    Source: Paule and Mandel, Journal of Research of the National Bureau of Standards 87, 1982, 377–385; Hartung and Knapp,
    Statistics in Medicine 20, 2001, 3875–3889; Röver, Knapp and Friede, BMC Medical Research Methodology 15, 2015, 99, for the
    bound from below; Higgins, Thompson and Spiegelhalter, Journal of the Royal Statistical Society A 172, 2009, 137–159,
    for the prediction.
    """
    # Imported here: listing systems must not wait for statsmodels.
    from scipy.stats import t as student
    from statsmodels.stats.meta_analysis import combine_effects

    require_level(level)
    pools, left_out = _by_pool(differences)
    k = len(pools)
    if k < FEWEST_POOLS_COMBINED:
        raise CannotSeparate(
            f"There are {k} pool(s) of recordings with a difference and its error ({', '.join(p.pool for p in pools) or 'none'});"
            f" differences are combined over pools from {FEWEST_POOLS_COMBINED} on."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of intervals per pool, which are not used
        found = combine_effects(
            np.array([p.difference for p in pools]),
            np.array([p.standard_error**2 for p in pools]),
            method_re="iterated",
        )
    mean, tau2 = float(found.mean_effect_re), max(0.0, float(found.tau2))
    error = float(found.sd_eff_w_re) * math.sqrt(max(1.0, float(found.scale_hksj_re)))
    half = float(student.ppf((1 + level) / 2, k - 1)) * error
    spread = float(student.ppf((1 + level) / 2, max(1, k - 2))) * math.sqrt(tau2 + error**2)
    return Synthesis(
        difference=mean,
        low=mean - half,
        high=mean + half,
        p_value=float(2 * student.sf(abs(mean) / error, k - 1)),
        predicted_low=mean - max(half, spread),
        predicted_high=mean + max(half, spread),
        tau=math.sqrt(tau2),
        i_squared=max(0.0, float(found.i2)),
        heterogeneity_p=float(found.test_homogeneity().pvalue),
        level=level,
        pools=pools,
        left_out=left_out,
    )


def _by_pool(differences: Iterable[TaskDifference]) -> tuple[tuple[TaskDifference, ...], tuple[str, ...]]:
    pools: dict[str, list[TaskDifference]] = defaultdict(list)
    seen: set[str] = set()
    left_out = []
    for d in differences:
        if d.task in seen:
            raise InputError(f"The task {d.task} has two differences: give one per task.")
        seen.add(d.task)
        if not math.isfinite(d.difference) or not math.isfinite(d.standard_error) or d.standard_error < 0:
            raise InputError(
                f"The difference on {d.task} is {d.difference} with a standard error of {d.standard_error}."
            )
        if d.standard_error == 0:
            left_out.append(d.task)
        else:
            pools[d.pool].append(d)
    made = tuple(
        TaskDifference(
            pool,
            ", ".join(sorted(d.task for d in own)),
            float(np.mean([d.difference for d in own])),
            float(np.mean([d.standard_error for d in own])),
        )
        for pool, own in sorted(pools.items())
    )
    return made, tuple(sorted(left_out))


def chance_of_a_false_claim(families: int, level: float = 0.95) -> float:
    """Chance that some of independent families of tests claims something false, were nothing true: 1 − level^families.

    >>> round(chance_of_a_false_claim(40), 2)
    0.87
    """
    return 1 - level**families


Hypothesis = tuple[str, str]
"""A family of tests (a task, in whatever setting) and what it claims (a pair)."""


def adjusted_over_pools(pools: Mapping[str, Mapping[Hypothesis, float]]) -> dict[Hypothesis, float]:
    """Adjust p-values that each hold for their family over all families, pools of recordings counted once.

    Args:
        pools: by pool, the adjusted p-value (max-T) of every hypothesis of every family in it, 0..1.

    Returns:
        p-values by hypothesis: whoever claims those up to α errs anywhere with a chance of at most α.

    Raises:
        InputError: a p-value outside 0..1, a pool without hypotheses, or a hypothesis in two pools.

    Source: Goeman and Solari, Annals of Statistics 38, 2010, 3782–3810.

    >>> adjusted_over_pools({"p": {("t", "A−B"): 0.01}, "q": {("u", "A−B"): 0.04}})
    {('t', 'A−B'): 0.02, ('u', 'A−B'): 0.04}
    """
    shared = {pool: _within_pool(pool, own) for pool, own in pools.items()}
    if len({h for own in shared.values() for h in own}) < sum(map(len, shared.values())):
        raise InputError("A hypothesis stands in two pools: a task belongs to one.")
    m = len(shared)
    # A pool hands its part on once all it holds is claimed: at its largest p, times the pools that are left then.
    largest = sorted(max(own.values()) for own in shared.values())
    thresholds = [0.0, *np.maximum.accumulate([q * (m - i) for i, q in enumerate(largest)]).tolist()]
    return {
        h: min(1.0, min(max(q * (m - gone), thresholds[gone]) for gone in range(m)))
        for own in shared.values()
        for h, q in own.items()
    }


def _within_pool(pool: str, own: Mapping[Hypothesis, float]) -> dict[Hypothesis, float]:
    """Tasks of one pool share its part of the level equally."""
    if not own:
        raise InputError(f"The pool {pool} has no hypothesis.")
    families = len({family for family, _ in own})
    for (family, claim), p in own.items():
        if not 0 <= p <= 1:
            raise InputError(f"The p-value of {claim} on {family} is {p}; it must lie in 0..1.")
    return {h: p * families for h, p in own.items()}


def combined_words(found: Synthesis, unit: str, figures: Sequence[str]) -> str:
    """Say a synthesis in one sentence.

    Args:
        found: the synthesis.
        unit: of the difference.
        figures: difference, low, high, predicted low and high, τ, as they are to be read.

    Returns:
        A sentence without the systems' names.
    """
    difference, low, high, least, most, tau = figures
    share = f"{100 * found.i_squared:.0f} % of the variance seen lies between pools (τ {tau})"
    return (
        f"over {len(found.pools)} pools the mean difference is {difference} {unit}, {100 * found.level:g} % interval {low} to {high}"
        f" (p = {found.p_value:.2g}); on one more pool it would lie roughly in {least} to {most}; {share}"
    )
