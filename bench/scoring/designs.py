"""What published records say of how differences vary, task by task: what the next design is planned from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from bench.errors import CannotSeparate, UsageError
from bench.scoring.comparisons import comparable, families
from bench.scoring.records import Counts, Record
from bench.scoring.sentences import crossed_tables
from bench.statistics.power import DifferenceSpread, spread_of

TYPICAL = DifferenceSpread(between=0.05, within=0.50)
"""What a matrix that was never run is planned with, for the weights at hand: about the median pair of one track in the records
published with the suite (UA, trained on other speakers of the corpus; a test holds it against them)."""
PLANNED_METRICS = ("ua", "wa", "macro_f1", "ccc")


@dataclass(frozen=True)
class PairSpread:
    """How the difference of two systems of one track varies on one task, as their records show it."""

    system_a: str
    system_b: str
    spread: DifferenceSpread


@dataclass(frozen=True)
class TaskSpread:
    """The pairs of a task, and how many speakers, clips of each and seeds stand behind them."""

    task: str
    protocol: str
    metric: str
    dimension: str | None
    speakers: int
    clips: float
    seeds: int
    pairs: tuple[PairSpread, ...]

    @property
    def typical(self) -> DifferenceSpread:
        """The median pair, part by part."""
        return median_spread([p.spread for p in self.pairs])

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "typical": asdict(self.typical)}


def median_spread(spreads: Sequence[DifferenceSpread]) -> DifferenceSpread:
    """Median of each standard deviation, that of trainings over those where it shows; clips are known where they are for all."""
    trainings = [s.training for s in spreads if s.training > 0]
    return DifferenceSpread(
        between=float(np.median([s.between for s in spreads])),
        within=float(np.median([s.within for s in spreads])),
        training=float(np.median(trainings)) if trainings else 0.0,
        clips_known=all(s.clips_known for s in spreads),
    )


def task_spreads(
    records: Iterable[Record],
    metric: str = "ua",
    *,
    task: str | None = None,
    pair: tuple[str, str] | None = None,
) -> list[TaskSpread]:
    """Estimate how differences vary on every task of some records.

    Args:
        records: scored records; conditions other than clean, further splits, synthetic corpora and reference levels take no part.
        metric: what will be compared.
        task: one task only.
        pair: two systems only.

    Returns:
        A row per task, protocol and dimension on which two systems of one track met.

    Raises:
        UsageError: an unknown metric, or no two systems that met.
    """
    if metric not in PLANNED_METRICS:
        raise UsageError(f"designs are planned for {', '.join(PLANNED_METRICS)}; found {metric!r}")
    made: list[TaskSpread] = []
    usable = [
        r
        for r in records
        if r.facts.condition == "clean"
        and not r.facts.synthetic
        and "@" not in r.task
        and r.facts.track != "reference"
        and task in (None, r.task)
    ]
    for group in comparable(usable):
        asked = [
            (a, b)
            for name, _, pairs in families(group)
            if name.startswith("track ")
            for a, b in pairs
            if pair is None or {a, b} == set(pair)
        ]
        made += _of_group({r.system: r for r in group}, asked, metric)
    if not made:
        wanted = " and ".join(
            filter(None, (f"the task {task}" if task else "", "/".join(pair) if pair else ""))
        )
        raise UsageError(
            f"no two systems of one track met in these records{f' for {wanted}' if wanted else ''}; "
            "name records that hold some, or give --between and --within"
        )
    return made


def _of_group(systems: dict[str, Record], pairs: Sequence[tuple[str, str]], metric: str) -> list[TaskSpread]:
    first = next(iter(systems.values()))
    found: dict[str | None, list[PairSpread]] = defaultdict(list)
    sizes: dict[str | None, tuple[int, float]] = {}
    for a, b in pairs:
        for dimension, own in _blocks(systems[a], metric).items():
            other = _blocks(systems[b], metric).get(dimension)
            if other is None:
                continue
            try:
                spread = spread_of(metric, *crossed_tables((systems[a], own), (systems[b], other)))
            except CannotSeparate:
                continue
            found[dimension].append(PairSpread(a, b, spread))
            occupied = max(1, int((own.averaged.reshape(len(own.averaged), -1).sum(axis=1) != 0).sum()))
            sizes[dimension] = occupied, own.clips / occupied
    seeds = max(len(r.facts.seeds) for r in systems.values())
    return [
        TaskSpread(first.task, first.regime, metric, dimension, *sizes[dimension], seeds, tuple(own))
        for dimension, own in found.items()
    ]


def _blocks(record: Record, metric: str) -> dict[str | None, Counts]:
    """What a metric is computed from: the plan's view, or every dimension."""
    if metric == "ccc":
        return {b.target: b for b in record.blocks if b.view == "dimensions" and b.rows == "all"}
    block = record.block(record.facts.main_view, "wrong", "all", "category")
    return {} if block is None else {None: block}


def pairs_of(systems: int) -> int:
    """Pairs of so many systems.

    >>> pairs_of(5)
    10
    """
    return len(list(combinations(range(systems), 2)))
