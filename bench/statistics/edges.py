"""What so few errors can prove: the least an interval must admit near the ends of a metric's range.

A system without an error on n clips has a jackknife error of 0, and yet a true score of 1 − 3/n would show none one time in
twenty. Over clusters the same happens whenever the few errors spare most of them. So every interval of UA, WA, recall and
macro-F1 holds at least the exact binomial one of as many independent clips.

UA is a sum of counts with unequal weights, w_c = 1/(C n_c) for a clip of class c. With e_c the rarer outcome (errors where the
score is above one half, else right answers), y = Σ w_c e_c and v = Σ w_c² e_c, Fay and Feuer match the scaled count y²/v to a
gamma distribution; here to the beta distribution of Clopper and Pearson, whose range is finite:

    lower end of the rarer outcome   Beta(α/2; y²/v, y/v − y²/v + 1)
    upper end                        the same with 1 − α/2, after one more outcome of average weight: y + φ w̄, φ v + φ² mean(w²)

(that average: Tiwari, Clegg and Zou). Where one class is rare this spreads its doubt over all; so neither end lies further out than
the ends of single classes, added as independent errors (Zou and Donner), have it. With equal classes, and for WA, this is Clopper and Pearson's interval of n/φ clips. φ is
the design effect, the larger one of two:

* the jackknife's variance over the binomial one, times 1 + (z² + 1)/2 · (1/h − 1/h₀), where the outcomes lie in h = (Σ_g e_g)² / Σ_g e_g²
  clusters and so many would have lain in h₀ by chance, 1/h₀ = 1/G + (1 − 1/G) v/y²: to first order what Student's t on h clusters
  has more than on h₀;
* 1 + 1/(1 + k) + (0.1 (m − 1) − 1)₊ (1 − k/30)₊ / (1 + k/2) with k = y²/v outcomes: few cannot show how they crowd. m clips of a cluster count as m / (1 + 0.1 (m − 1)) ones
  at an intraclass correlation of 0.1 (Kish), which nineteen of twenty tables of the published records stay below; the more
  outcomes there are, the less is supposed.

What it covered: ``results/validity/README.md``.

A metric of another kind (CCC, Brier, …) varies between clusters unless its answers are perfect, or constant. Perfect ones prove
that a share of at most ε = 1 − (α/2)^(φ/n) of clips is otherwise, φ = 2: the far end lies ε of the range away.

Sources: Clopper and Pearson, Biometrika 26, 1934, 404–413; Fay and Feuer, Statistics in Medicine 16, 1997, 791–801; Tiwari,
Clegg and Zou, Statistical Methods in Medical Research 15, 2006, 547–569; Zou and Donner, Statistics in
Medicine 27, 2008, 1693–1702; Kish, Survey Sampling, 1965, for the design effect of clusters; Korn and Graubard, Survey Methodology 24, 1998,
193–201, for the design effect under a binomial bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.errors import CannotSeparate
from bench.protocols import Array
from bench.statistics.metric import Metric
from bench.statistics.resampling import effective_clusters

NO_VARIATION_EFFECT = 2.0
"""Design effect taken where nothing varies, so that none can be estimated."""
LIKELY_CORRELATION = 0.1
"""Intraclass correlation of errors within clusters that is supposed where few errors show none: of 2,016 tables of the published
records it was .013 in the middle, .072 in one of ten and .108 in one of twenty."""
ENOUGH_OUTCOMES = 30
"""From so many on, the jackknife's variance is taken as it is: they show how they crowd."""
ROUNDING = 1e-9
"""A score this close to an end of its range lies on it."""


@dataclass(frozen=True)
class Edge:
    """The least that an interval must hold."""

    low: float
    high: float


def edge_of(metric: Metric, table: Array, estimate: float, standard_error: float, level: float) -> Edge:
    """Least interval of a score, which near an end of its range is the wider one.

    Args:
        metric: of the score.
        table: statistics (clusters, …) of clusters with clips and classes with true clips.
        estimate: the score.
        standard_error: its jackknife error over clusters.
        level: coverage, 0..1.

    Returns:
        The least interval: the estimate alone where a metric that is no count varies between clusters.

    Raises:
        CannotSeparate: the score is constant by construction, or nothing bounds it.
    """
    if metric.kind == "confusion":
        if standard_error == 0.0 and _one_answer(table):
            raise _without(
                metric, estimate, "constant by construction", "every clip was given one and the same class"
            )
        return _binomial(metric, table, estimate, standard_error, level)
    if standard_error > 0.0:
        return Edge(estimate, estimate)
    if min(estimate - metric.minimum, metric.maximum - estimate) > ROUNDING:
        raise _without(metric, estimate, "constant by construction", "no cluster's answers move it")
    if not np.isfinite(metric.maximum - metric.minimum):
        raise _without(metric, estimate, "without any error", "what one would cost has no bound")
    clips = float(metric.sizes(table).sum(axis=0).min())
    open_share = 1 - ((1 - level) / 2) ** (NO_VARIATION_EFFECT / max(clips, NO_VARIATION_EFFECT))
    return Edge(
        estimate - open_share * (estimate - metric.minimum),
        estimate + open_share * (metric.maximum - estimate),
    )


def _without(metric: Metric, estimate: float, what: str, why: str) -> CannotSeparate:
    return CannotSeparate(f"The {metric.title} of {estimate:.4g} is {what}, and has no interval: {why}.")


def _one_answer(table: Array) -> bool:
    """Whether every clip of several classes was answered with one class: the score follows from the clips alone."""
    said = table.sum(axis=(0, 1)) > 0
    return table.shape[1] > 1 and bool(said[:-1].sum() == 1) and not said[-1]


def _binomial(metric: Metric, table: Array, estimate: float, standard_error: float, level: float) -> Edge:
    clips = metric.sizes(table).sum(axis=0)
    right = np.diagonal(table, axis1=-2, axis2=-1)
    if len(clips) == 1:
        right = right.sum(axis=1, keepdims=True)
    hits = right.sum(axis=0)
    few_errors = estimate > 0.5
    weights = 1 / (len(clips) * clips)
    rarer = np.maximum(metric.sizes(table) - right if few_errors else right, 0.0)
    seen = rarer.sum(axis=0)
    share = 1 - estimate if few_errors else estimate
    counted = float(weights @ seen)
    # Macro-F1 weighs the same errors a little otherwise than UA, whose weights are taken.
    spread = float(weights**2 @ seen) * (share / counted if counted > 0 else 1.0)
    if counted == 0.0:
        share = 0.0
    outcomes = share**2 / spread if spread > 0 else 0.0
    tail = (1 - level) / 2
    binomial = estimate * (1 - estimate) * float(weights**2 @ clips)
    crowding = standard_error**2 / binomial if binomial > 0 else 0.0
    clusters = effective_clusters(metric.sizes(table))
    effect = max(
        crowding * _unsure(rarer @ weights, outcomes, clusters, tail),
        _supposed(float(clips.sum()) / clusters, outcomes),
    )
    lower = _beta_quantile(tail, share, effect * spread) if share > 0 else 0.0
    upper = _beta_quantile(
        1 - tail,
        share + effect * float(weights.mean()),
        effect * spread + effect**2 * float((weights**2).mean()),
    )
    together = Edge(1 - upper, 1 - lower) if few_errors else Edge(lower, upper)
    if len(clips) == 1:
        return together
    apart = _class_by_class(clips / effect, hits / effect, estimate, tail)
    return Edge(max(together.low, apart.low), min(together.high, apart.high))


def _unsure(where: Array, outcomes: float, clusters: float, tail: float) -> float:
    """Factor of a design effect that was seen in fewer of the clusters than chance would have it.

    Args:
        where: weighted count of the rarer outcome in each cluster, (clusters,).
        outcomes: effective number of outcomes.
        clusters: effective number of all.
        tail: probability beyond either end.
    """
    from scipy.special import ndtri

    if outcomes == 0:
        return 1.0
    by_chance = 1 / clusters + (1 - 1 / clusters) / outcomes
    fewer = float((where**2).sum() / where.sum() ** 2) - by_chance
    return 1 + (float(ndtri(tail)) ** 2 + 1) / 2 * max(0.0, fewer)


def _supposed(clips: float, outcomes: float) -> float:
    """Design effect that is supposed of clusters of so many clips as long as few outcomes show another."""
    crowded = max(0.0, LIKELY_CORRELATION * (clips - 1) - (NO_VARIATION_EFFECT - 1))
    still = max(0.0, 1 - outcomes / ENOUGH_OUTCOMES) / (1 + outcomes / 2)
    return 1 + (NO_VARIATION_EFFECT - 1) / (1 + outcomes) + crowded * still


def _class_by_class(clips: Array, hits: Array, estimate: float, tail: float) -> Edge:
    """Clopper and Pearson's ends of each class, whose distances from its recall add up as independent errors do.

    A class of one clip leaves its own recall open, and nothing of the others'.

    Args:
        clips: (classes,) clips over the design effect.
        hits: (classes,) right answers over the design effect.
        estimate: the score that the ends are set around.
        tail: probability beyond either end.

    Returns:
        The ends.
    """
    from scipy.special import betaincinv

    wrong, recall = np.maximum(clips - hits, 0.0), hits / clips
    low = np.where(hits > 0, betaincinv(np.maximum(hits, 1e-9), wrong + 1, tail), 0.0)
    high = np.where(wrong > 0, betaincinv(hits + 1, np.maximum(wrong, 1e-9), 1 - tail), 1.0)
    below, above = (float(np.sqrt((x**2).sum())) / len(clips) for x in (recall - low, high - recall))
    return Edge(max(estimate - below, 0.0), min(estimate + above, 1.0))


def _beta_quantile(probability: float, share: float, spread: float) -> float:
    """Quantile of Beta(y²/v, y/v − y²/v + 1), whose first parameter is a count of outcomes among y/v clips."""
    # Imported here: listing systems must not wait for scipy.
    from scipy.special import betaincinv

    outcomes, clips = share**2 / spread, share / spread
    # Below one clip's worth of evidence the second parameter would fall to 0, and the end lies at 1.
    return float(betaincinv(outcomes, max(clips - outcomes + 1, 1e-9), probability))
