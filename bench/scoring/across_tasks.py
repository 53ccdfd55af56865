"""Two systems over all tasks: the difference as a synthesis over pools, and the claims that hold over all tasks at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.errors import CannotSeparate
from bench.scoring.pair_results import NO_VERDICT, PairResult, difference_figure
from bench.scoring.records import Record
from bench.statistics.families import better_or_worse
from bench.statistics.synthesis import (
    Hypothesis,
    Synthesis,
    TaskDifference,
    adjusted_over_pools,
    chance_of_a_false_claim,
    combined_words,
    synthesise,
)

PairKey = tuple[str, str, str, str, str, str | None]
"""Systems A and B, regime (protocol and training), condition, metric, dimension."""


@dataclass(frozen=True)
class PairOverPools:
    """Two systems in one setting and metric over all tasks; ``found`` is the synthesis, or why there is none."""

    system_a: str
    system_b: str
    setting: str
    condition: str
    metric: str
    dimension: str | None
    found: Synthesis | str

    @property
    def sentence(self) -> str:
        """The outcome in plain words."""
        if isinstance(self.found, str):
            return f"{self.system_a} and {self.system_b} are not combined over tasks: {self.found}"
        percent = self.metric != "ccc"
        unit = (
            f"points of {self.metric.upper().replace('_', '-')}" if percent else f"of CCC ({self.dimension})"
        )
        f = self.found
        numbers = (f.difference, f.low, f.high, f.predicted_low, f.predicted_high, f.tau)
        words = combined_words(f, unit, [difference_figure(x, percent) for x in numbers])
        left = f"; without an error of their own, and left out: {', '.join(f.left_out)}" if f.left_out else ""
        return f"{self.system_a} less {self.system_b}: {words}{left}."

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        own = asdict(self)
        if isinstance(self.found, str):
            return {**own, "found": None, "none": self.found}
        return own


@dataclass(frozen=True)
class ClaimOverTasks:
    """A tested pair with its p-value over all tasks, and whether its verdict still stands then."""

    pair: PairResult
    p_value: float

    @property
    def ahead(self) -> str:
        """The system that is better, and by less than the margin where that is said."""
        return self.pair.system_a if better_or_worse(self.pair.verdict) > 0 else self.pair.system_b

    @property
    def behind(self) -> str:
        """The system that is worse."""
        return self.pair.system_b if better_or_worse(self.pair.verdict) > 0 else self.pair.system_a

    @property
    def holds(self) -> bool:
        """Whether a verdict of better or worse stands over all tasks."""
        return better_or_worse(self.pair.verdict) != 0 and self.p_value <= round(1 - self.pair.level, 12)


@dataclass(frozen=True)
class ClaimsOverTasks:
    """All claims of some families, and what they would risk without a correction over tasks."""

    claims: tuple[ClaimOverTasks, ...]
    families: int
    pools: int
    level: float
    out_of_reach: int
    """Families whose smallest possible p is too large to be claimed over so many pools, whatever the difference."""

    @property
    def standing(self) -> tuple[ClaimOverTasks, ...]:
        """Verdicts that hold over all tasks."""
        return tuple(c for c in self.claims if c.holds)

    @property
    def sentence(self) -> str:
        """What was claimed, what stands, and the risk, in plain words."""
        alone = sum(better_or_worse(c.pair.verdict) != 0 for c in self.claims)
        risk = chance_of_a_false_claim(self.families, self.level)
        return (
            f"{self.families} families of tests on {self.pools} pools, each of which errs in at most {100 * (1 - self.level):g} % of"
            f" cases: were no two systems different, some would claim a difference with a chance of up to {100 * risk:.0f} %."
            f" Corrected over all tasks, pools counted once, {len(self.standing)} of {alone} verdicts stand."
            + (
                f" On {self.out_of_reach} of the families too few speakers were tested for any claim over so many pools."
                if self.out_of_reach
                else ""
            )
        )


def pools_of(records: Iterable[Record]) -> dict[str, str]:
    """The pool of recordings that each task is cut from."""
    return {r.task: r.facts.pool for r in records}


def in_main_view(pairs: Iterable[PairResult], records: Iterable[Record]) -> list[PairResult]:
    """Keep the pairs that the plan puts first: of categories its primary view with answers outside wrong, and dimensions."""
    views = {(r.task, r.facts.training): r.facts.main_view for r in records}

    def wanted(p: PairResult) -> bool:
        known = {v for (task, training), v in views.items() if task == p.task and training in p.training}
        return p.outside == "wrong" and (p.dimension is not None or p.view in known)

    return [p for p in pairs if wanted(p)]


def over_pools(pairs: Iterable[PairResult], pools: Mapping[str, str]) -> list[PairOverPools]:
    """Combine every pair's differences over pools, setting by setting and metric by metric.

    Args:
        pairs: tested pairs, one per task, setting and metric (:func:`in_main_view`); further splits of a task (``@loso``) and those without a verdict take
            no part.
        pools: the pool of each task.

    Returns:
        A row per pair, setting and metric that met on two tasks or more.
    """
    met: dict[PairKey, dict[str, PairResult]] = defaultdict(dict)
    for p in pairs:
        if "@" not in p.task and p.verdict != NO_VERDICT:
            key, seen = _key(p)
            met[key].setdefault(p.task, seen)
    made = []
    for (a, b, setting, condition, metric, dimension), own in met.items():
        if len(own) < 2:
            continue
        level = next(iter(own.values())).level
        terms = [TaskDifference(pools[t], t, p.difference, p.standard_error) for t, p in own.items()]
        try:
            found: Synthesis | str = synthesise(terms, level=level)
        except CannotSeparate as error:
            found = str(error)
        made.append(PairOverPools(a, b, setting, condition, metric, dimension, found))
    return made


def _key(p: PairResult) -> tuple[PairKey, PairResult]:
    """What a pair is combined by, and the pair seen from the system whose name comes first."""
    setting = " ".join(filter(None, (p.protocol, p.training)))
    turned = p if p.system_a < p.system_b else p.turned()
    return (
        turned.system_a, turned.system_b, setting, p.condition, p.metric, p.dimension,
    ), turned  # fmt: skip


def claims_over_tasks(pairs: Sequence[PairResult], pools: Mapping[str, str]) -> ClaimsOverTasks | None:
    """Ask which verdicts stand over all tasks at once.

    Args:
        pairs: all tested pairs of the families that are looked at.
        pools: the pool of each task.

    Returns:
        Every pair with its p-value over all of them; None where no pair was tested.
    """
    tested = [p for p in pairs if p.verdict != NO_VERDICT]
    if not tested:
        return None
    by_pool: dict[str, dict[Hypothesis, float]] = defaultdict(dict)
    for p in tested:
        by_pool[pools[p.task]][_hypothesis(p)] = p.p_adjusted
    adjusted = adjusted_over_pools(by_pool)
    alpha = round(1 - tested[0].level, 12)
    bars = {pool: len(by_pool) * len({family for family, _ in own}) for pool, own in by_pool.items()}
    powerless = {_hypothesis(p)[0] for p in tested if p.smallest_p * bars[pools[p.task]] > alpha}
    return ClaimsOverTasks(
        tuple(ClaimOverTasks(p, adjusted[_hypothesis(p)]) for p in tested),
        len({family for family, _ in adjusted}),
        len(by_pool),
        tested[0].level,
        len(powerless),
    )


def _hypothesis(p: PairResult) -> Hypothesis:
    family = (
        p.task,
        p.protocol,
        p.training,
        p.condition,
        p.view,
        p.outside,
        p.metric,
        p.dimension or "",
        p.family,
    )
    return "\x1f".join(family), f"{p.system_a}\x1f{p.system_b}"
