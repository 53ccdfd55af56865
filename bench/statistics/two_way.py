"""Standard errors for wider populations than speakers: sentences crossed with them, seeds, whole trainings.

With ψ the influence of a cell (speaker p × sentence q) on the metric or on a difference of two, variances are added by
inclusion and exclusion (Cameron, Gelbach & Miller, Journal of Business & Economic Statistics 29, 2011, 238–249):

    V = V_speakers + max(0, V_sentences − V_cells) + Σ over systems max(0, V_seeds − what single units bring of it)

V_speakers and V_sentences are exact delete-one jackknives over speakers and over sentences, each with all seeds averaged.
V_cells is what one cell brings beyond its speaker and its sentence: N/(N − P − Q + 1) Σ e², e the residuals of ψ from
speakers' and sentences' effects, on N cells. In the balanced case V is then the usual unbiased estimate of crossed random effects
(MS_P + MS_Q − MS_PQ)/N·… of an analysis of variance; the raw squares of the paper's V_cells would take 1/Q of the
speakers' part away with it, a sixth with six sentences.

A part that comes out negative counts as 0: what is drawn beside speakers never makes an interval narrower. Student's t has
Satterthwaite's degrees of freedom, never fewer than the least of a part's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import CannotSeparate, InputError
from bench.protocols import Array
from bench.statistics.additive import Metric, metric_named, only_present_classes
from bench.statistics.degrees import satterthwaite_degrees, t_degrees
from bench.statistics.intervals import occupied
from bench.statistics.populations import Factor, Population, factors_of, population_of
from bench.statistics.resampling import Jackknifed, jackknife

Codes = NDArray[np.intp]
SWEEPS = 50
"""Alternating projections that take speakers' and sentences' effects out of the cells; a balanced table needs one."""


@dataclass(frozen=True)
class CrossedTable:
    """One system's statistics cell by cell: a cell holds what one speaker (cluster) said of one sentence.

    ``values`` (seeds, cells, …) in the metric's kind, ``speaker`` and ``sentence`` (cells,) say where a cell lies, numbered
    from 0. ``sentence`` is None where scripts are not known: then a cell is a speaker. ``fit`` (speakers,) numbers the fit
    that answered a speaker's clips (the fold), None where one fit answered all or nothing was trained.
    """

    values: Array
    speaker: Codes
    sentence: Codes | None = None
    fit: Codes | None = None
    seeded: bool = True
    """False: another seed would answer the same."""
    no_sentences: str = "what is said is not known clip by clip"
    """Why ``sentence`` is None."""
    released: bool = False
    """Trained elsewhere, once: what other trainings would have given is not known."""

    def by(self, codes: Codes) -> Array:
        """Sums over the cells of one code, (seeds, codes, …)."""
        return _summed(self.values, codes)


@dataclass(frozen=True)
class PopulationError:
    """An estimate with its standard error over a population.

    ``population`` is what the error covers, which is less than was asked where ``lacking`` says why. ``parts`` are variances by
    source, ``degrees`` of Student's t.
    """

    estimate: float
    standard_error: float
    degrees: float
    population: str
    parts: dict[str, float]
    lacking: tuple[str, ...] = ()

    @property
    def jackknifed(self) -> Jackknifed:
        """The estimate and its error, for what makes intervals of jackknifed values."""
        return Jackknifed(self.estimate, self.standard_error, 0)


def population_error(
    metric: str | Metric, population: Population, systems: Sequence[CrossedTable]
) -> PopulationError:
    """Standard error of one system's value, or of the difference of two, over a population.

    Args:
        metric: its name, or the metric.
        population: what is drawn anew in thought.
        systems: one, or two on the same cells (the first less the second). Their seeds may differ in number, and are
            independent between systems.

    Returns:
        The estimate (averaged over seeds first) and its error; what the tables do not hold is not in it, and said.

    Raises:
        CannotSeparate: fewer than two speakers with clips, or a metric that is undefined.
        InputError: two systems on other cells.
    """
    chosen = metric_named(metric)
    _require_shared(systems)
    speakers = _tables(chosen, [s.by(s.speaker).mean(axis=0) for s in systems])
    found = jackknife(chosen, *(chosen.components(t) for t in speakers))
    if not np.isfinite([found.estimate, found.standard_error]).all():
        raise CannotSeparate(f"The {chosen.title} is undefined (0/0): answers, or the truth, do not vary.")
    least = t_degrees(chosen, speakers[0])
    parts, terms = {"speakers": found.standard_error**2}, [(found.standard_error**2, least)]
    known: list[Factor] = []
    lacking: list[str] = []
    for factor in factors_of(population):
        added = {"sentences": _sentences, "seeds": _seeds, "trainings": _trainings}[factor](
            chosen, systems, parts
        )
        if isinstance(added, str):
            lacking.append(added)
            continue
        known.append(factor)
        parts[factor] = max(0.0, added.variance)
        terms += added.terms
    variance = sum(parts.values())
    degrees = max(_satterthwaite(variance, terms), min([df for v, df in terms if v > 0], default=least))
    return PopulationError(
        found.estimate, math.sqrt(variance), degrees, population_of(tuple(known)), parts, tuple(lacking)
    )


@dataclass(frozen=True)
class _Added:
    """What a factor adds to the variance, and the estimated variances behind it with their degrees of freedom."""

    variance: float
    terms: list[tuple[float, float]]


def _satterthwaite(variance: float, terms: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a combination of mean squares, subtracted ones among them (Satterthwaite 1946)."""
    below = sum(v**2 / df for v, df in terms)
    return variance**2 / below if below > 0 else satterthwaite_degrees(*zip(*terms, strict=True))


@dataclass(frozen=True)
class CrossedParts:
    """Variances of an estimate by speakers, by sentences, and what single cells bring to both; degrees of freedom of the latter two."""

    sentences: float
    cells: float
    sentence_degrees: float
    cell_degrees: float


def crossed_parts(metric: Metric, systems: Sequence[CrossedTable]) -> CrossedParts | None:
    """What sentences and single cells bring to the variance of a value, or of a difference of two.

    Args:
        metric: what is scored.
        systems: one, or two on the same cells.

    Returns:
        Variances in the squared unit; None where sentences are not crossed with speakers, or the metric is undefined without one.
    """
    first = systems[0]
    if first.sentence is None:
        return None
    try:
        sentences = _tables(
            metric, [s.by(s.sentence).mean(axis=0) for s in systems if s.sentence is not None]
        )
    except CannotSeparate:
        return None
    found = jackknife(metric, *(metric.components(t) for t in sentences))
    influence = [_influences(metric, s.values.mean(axis=0)[np.newaxis])[0][0] for s in systems]
    cells = _residual_variance(influence[0] - sum(influence[1:]), first.speaker, first.sentence)
    if cells is None or not math.isfinite(found.standard_error):
        return None
    return CrossedParts(found.standard_error**2, cells[0], t_degrees(metric, sentences[0]), cells[1])


def _sentences(metric: Metric, systems: Sequence[CrossedTable], parts: dict[str, float]) -> _Added | str:
    if systems[0].sentence is None:
        return f"{systems[0].no_sentences}: these sentences"
    found = crossed_parts(metric, systems)
    if found is None:
        return "too little is said by several to tell sentences from speakers: these sentences"
    return _Added(
        found.sentences - found.cells,
        [(found.sentences, found.sentence_degrees), (found.cells, found.cell_degrees)],
    )


def _residual_variance(influence: Array, rows: Codes, columns: Codes) -> tuple[float, float] | None:
    """Variance that single cells bring to the sum, and its degrees of freedom; None where nothing is crossed."""
    used = influence != 0
    n = len(influence)
    free = n - len(np.unique(rows)) - len(np.unique(columns)) + 1
    if free <= 0 or not used.any():
        return None
    rest = influence.astype(np.float64)
    row_sizes, column_sizes = (np.maximum(np.bincount(c), 1) for c in (rows, columns))
    for _ in range(SWEEPS):
        before = rest
        rest = rest - (np.bincount(rows, rest) / row_sizes)[rows]
        rest = rest - (np.bincount(columns, rest) / column_sizes)[columns]
        if np.abs(rest - before).max() < 1e-12:
            break
    return float(n / free * (rest**2).sum()), float(free)


def _seeds(metric: Metric, systems: Sequence[CrossedTable], parts: dict[str, float]) -> _Added | str:
    variance, terms = 0.0, list[tuple[float, float]]()
    drawn = [s for s in systems if s.seeded]
    if any(len(s.values) < 2 for s in drawn):
        return "of a system whose seeds matter one is known: these weights"
    for system in drawn:
        seeds = len(system.values)
        influence, values = _influences(metric, system.values)
        brought = _over_seeds(influence, system.speaker)
        if "sentences" in parts and system.sentence is not None:
            brought += _over_seeds(influence, system.sentence)
            brought -= float(influence.var(axis=0, ddof=1).sum() / seeds)
        added = max(0.0, float(values.var(ddof=1)) / seeds - brought)
        variance += added
        terms.append((added, seeds - 1.0))
    return _Added(variance, terms)


def _summed(values: Array, codes: Codes) -> Array:
    """Sums of (seeds, cells, …) over the cells of one code, (seeds, codes, …)."""
    sums = np.zeros((int(codes.max()) + 1, len(values), *values.shape[2:]))
    np.add.at(sums, codes, np.moveaxis(values, 1, 0))
    return np.moveaxis(sums, 0, 1)


def _over_seeds(influence: Array, codes: Codes) -> float:
    """Variance over seeds that units bring singly to the mean of seeds, from influences (seeds, cells)."""
    sums = _summed(influence, codes)
    return float(sums.var(axis=0, ddof=1).sum() / len(influence))


def _trainings(metric: Metric, systems: Sequence[CrossedTable], parts: dict[str, float]) -> _Added | str:
    """Whole fits as clusters, with all they answered; where one fit answered everything, its seeds."""
    if any(s.released for s in systems):
        return "of weights as released no other training is known: these weights"
    fit = next((s.fit for s in systems if s.fit is not None), None)
    if fit is None or len(np.unique(fit)) < 2:
        return _seeds(metric, systems, parts)
    by_fit = _tables(metric, [s.by(fit[s.speaker]).mean(axis=0) for s in systems])
    found = jackknife(metric, *(metric.components(t) for t in by_fit))
    if not math.isfinite(found.standard_error):
        return f"the {metric.title} is undefined without one of the fits: these weights"
    # Fits hold speakers whole, so what speakers and fits have in common is the speakers' part itself.
    fits = _Added(
        found.standard_error**2 - parts["speakers"], [(found.standard_error**2, t_degrees(metric, by_fit[0]))]
    )
    seeded = _seeds(metric, systems, parts)
    return fits if isinstance(seeded, str) or fits.variance >= seeded.variance else seeded


def _influences(metric: Metric, table: Array) -> tuple[Array, Array]:
    """Influence of every cell on its seed's value, (seeds, cells), and the seeds' values, from statistics (seeds, cells, …)."""
    components = metric.components(only_present_classes(table) if metric.kind == "confusion" else table)
    totals = components.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        influence = np.stack(
            [own @ metric.gradient(total) for own, total in zip(components, totals, strict=True)]
        )
    return np.nan_to_num(influence), np.asarray(metric.strict(totals))


def _tables(metric: Metric, systems: Sequence[Array]) -> list[Array]:
    """Statistics (units, …) of systems without empty units and classes; the same of each."""
    return list(occupied(metric, np.stack(systems)))


def _require_shared(systems: Sequence[CrossedTable]) -> None:
    first = systems[0]
    for other in systems[1:]:
        if not np.array_equal(first.speaker, other.speaker) or (first.sentence is None) != (
            other.sentence is None
        ):
            raise InputError(
                "The two systems were not counted over the same cells of speakers and sentences."
            )
