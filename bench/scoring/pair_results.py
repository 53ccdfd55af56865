"""Two systems on one task, as a test found them: the figures of a pair, and what they say in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from bench.statistics.families import CANNOT_SEPARATE, OPPOSITE
from bench.statistics.populations import SPEAKERS, population_words

SUPERVISION = {
    "reference": "no learning",
    "released": "weights as released",
    "probed": "a frozen encoder with a probe trained on the corpus",
    "adapted": "weights trained on the corpus",
}
NO_VERDICT = "no verdict"
"""What is said where a system may have been trained on the speakers it is tested on."""


@dataclass(frozen=True)
class PairResult:
    """Two systems on one task, view and metric, with the test's outcome; ``difference`` is A − B.

    ``simultaneous_low`` to ``simultaneous_high`` decides better and worse, ``equivalence_low`` to ``equivalence_high`` equivalence within
    ``margin`` (None: not asked for), as ``decided_by`` says in words; ``low`` to ``high`` is of the pair alone and decides
    nothing (:mod:`bench.statistics.families`).

    All but ``redrawn_low`` and ``redrawn_high`` takes the trained weights as they are; these two are the interval with seeds
    drawn anew (:mod:`bench.statistics.seed_variance`), None where neither system has two seeds. ``one_seed`` names the systems of which nothing is
    known but one seed, although another would answer differently; the interval takes them as they are.

    ``drawn`` says what clusters are (speakers, sessions, dialogues), ``population`` is what ``verdict`` speaks of. Where the plan asks for more than speakers, ``population_low`` and ``population_high`` are
    the simultaneous interval over as much of that as is known (``population_lacking`` says what is not): it decides the verdict there.
    """

    system_a: str
    system_b: str
    task: str
    protocol: str
    training: str
    condition: str
    track_a: str
    track_b: str
    protocol_a: str
    protocol_b: str
    view: str
    outside: str
    rows: str
    metric: str
    dimension: str | None
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    p_adjusted: float
    smallest_p: float
    verdict: str
    sentence: str
    family: str
    family_size: int
    clusters: int
    level: float
    equivalence_low: float
    equivalence_high: float
    detectable_difference: float | None
    seeds_a: int
    seeds_b: int
    redrawn_low: float | None
    redrawn_high: float | None
    one_seed: tuple[str, ...]
    unit: str
    notes: tuple[str, ...]
    standard_error: float = math.nan
    drawn: str = "clusters"
    population: str = SPEAKERS
    population_low: float | None = None
    population_high: float | None = None
    population_lacking: tuple[str, ...] = ()
    simultaneous_low: float = math.nan
    simultaneous_high: float = math.nan
    margin: float | None = None
    decided_by: str = ""

    def __post_init__(self) -> None:
        """Take the pair's own interval for the simultaneous one where none is given: of one pair they are of one kind."""
        if math.isnan(self.simultaneous_low):
            object.__setattr__(self, "simultaneous_low", self.low)
            object.__setattr__(self, "simultaneous_high", self.high)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        listed = ("one_seed", "notes", "population_lacking")
        return {**vars(self), **{n: list(getattr(self, n)) for n in listed}}

    def turned(self) -> PairResult:
        """The same pairing seen from B."""
        swapped: dict[str, Any] = {
            "system_a": self.system_b, "system_b": self.system_a, "track_a": self.track_b, "track_b": self.track_a,
            "protocol_a": self.protocol_b, "protocol_b": self.protocol_a,
            "difference": -self.difference, "low": -self.high, "high": -self.low,
            "simultaneous_low": -self.simultaneous_high, "simultaneous_high": -self.simultaneous_low,
            "equivalence_low": -self.equivalence_high, "equivalence_high": -self.equivalence_low,
            "verdict": OPPOSITE.get(self.verdict, self.verdict),
            "seeds_a": self.seeds_b, "seeds_b": self.seeds_a,
            "redrawn_low": _negative(self.redrawn_high), "redrawn_high": _negative(self.redrawn_low),
            "population_low": _negative(self.population_high), "population_high": _negative(self.population_low),
        }  # fmt: skip
        result = replace(self, **swapped)
        return replace(result, sentence=sentence(result))

    @property
    def kind(self) -> str:
        """The verdict without its size: better, worse, equivalent, cannot-separate or no-verdict."""
        if self.verdict == CANNOT_SEPARATE:
            return "cannot-separate"
        return self.verdict.partition(",")[0].replace(" ", "-")

    @property
    def rests_on_seeds(self) -> bool:
        """Whether a verdict of better or worse, and its interval, hold with these seeds and not with any drawn anew."""
        if self.kind not in {"better", "worse"} or self.redrawn_low is None or self.redrawn_high is None:
            return False
        return self.redrawn_low <= 0 <= self.redrawn_high and not self.low <= 0 <= self.high


def sentence(p: PairResult) -> str:
    """Say a pairing's outcome in plain words, its difference in supervision included."""
    percent = p.metric != "ccc"
    unit = "points of " + p.metric.upper().replace("_", "-") if percent else f"of CCC ({p.dimension})"
    ahead, behind = (p.system_a, p.system_b) if p.difference >= 0 else (p.system_b, p.system_a)
    size = f"{difference_figure(abs(p.difference), percent)} {unit}"
    spread = _deciding(p, percent)
    test = f"adjusted p = {p.p_adjusted:.2g}"
    if p.kind in {"better", "worse"}:
        within = f", less than the margin of {_margin(p, percent)}" if "margin" in p.verdict else ""
        outcome = f"{ahead} beats {behind} by {size}{within}, {spread}, {test}"
        if p.rests_on_seeds:
            outcome += f", for these seeds only: were {_whose_seeds(p)} drawn anew, the interval would be {_redrawn(p, percent)}"
    elif p.kind == "equivalent":
        outcome = f"{ahead} and {behind} are equivalent: they differ by {size}, {spread}, inside the margin of {_margin(p, percent)}"
    elif p.verdict == NO_VERDICT:
        outcome = f"{p.notes[-1]} on {ahead} and {behind}, which differ by {size}, {spread}"
    else:
        outcome = f"this corpus cannot separate {ahead} and {behind}: the first is ahead by {size}, {spread}, {test}"
        if p.smallest_p > round(1 - p.level, 12):
            outcome += f", and with {p.clusters} {p.unit} no p is below {p.smallest_p:.2g}"
    if p.one_seed and p.kind in {"better", "worse", "equivalent"}:
        outcome += f". Of {' and '.join(p.one_seed)} one seed is known, and not what others would give"
    if p.track_a != p.track_b:
        a, b = (
            SUPERVISION[track].replace("the corpus", "other corpora")
            if protocol == "transfer"
            else SUPERVISION[track]
            for track, protocol in ((p.track_a, p.protocol_a), (p.track_b, p.protocol_b))
        )
        outcome += f". They differ in supervision: {p.system_a} has {a}, {p.system_b} {b}"
    if p.protocol_a != p.protocol_b:
        outcome += f". They differ in protocol: {p.system_a} ran {p.protocol_a}, {p.system_b} {p.protocol_b}"
    kind = "clips taken as independent, which overstates certainty" if p.unit == "clips" else "clusters"
    usual = {"", "within", "clean"}
    setting = ", ".join(x for x in (p.protocol, p.training, p.condition) if x not in usual)
    if p.population_low is not None and p.population_high is not None:
        low, high = (
            (p.population_low, p.population_high)
            if p.difference >= 0
            else (-p.population_high, -p.population_low)
        )
        outcome += f". Over this population the interval that decides is {difference_figure(low, percent)} to {difference_figure(high, percent)}"
    spoken = population_words(p.population, clusters=p.drawn)
    outcome += "".join(f". Not known: {text}" for text in p.population_lacking)
    return f"On {p.task} ({setting + '; ' if setting else ''}{p.clusters} {kind}; {spoken}), {outcome}."


def _whose_seeds(p: PairResult) -> str:
    """Seeds of which system are drawn anew: one of a single seed is taken as it is."""
    several = [s for s in (p.system_a, p.system_b) if s not in p.one_seed]
    return f"those of {' and '.join(several)}" if p.one_seed and several else "they"


def _deciding(p: PairResult, percent: bool) -> str:
    """Write the interval that the verdict rests on, seen from the system that is ahead."""
    low, high, level = p.simultaneous_low, p.simultaneous_high, p.level
    if p.kind == "equivalent" and p.family_size == 1:
        low, high, level = p.equivalence_low, p.equivalence_high, 2 * p.level - 1
    if p.difference < 0:
        low, high = -high, -low
    simultaneous = "" if p.family_size == 1 else "simultaneous "
    return f"{simultaneous}{100 * level:g} % interval {difference_figure(low, percent)} to {difference_figure(high, percent)}"


def _margin(p: PairResult, percent: bool) -> str:
    margin = p.margin or 0.0
    return f"{100 * margin:g}" if percent else f"{margin:g}"


def _redrawn(p: PairResult, percent: bool) -> str:
    assert p.redrawn_low is not None
    assert p.redrawn_high is not None
    low, high = (p.redrawn_low, p.redrawn_high) if p.difference >= 0 else (-p.redrawn_high, -p.redrawn_low)
    return f"{difference_figure(low, percent)} to {difference_figure(high, percent)}"


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def difference_figure(value: float, percent: bool) -> str:
    """Write a difference in points or in CCC, with a true minus sign."""
    return (f"{100 * value:.1f}" if percent else f"{value:.2f}").replace("-", "−")
