"""What the systems that cannot be run here would take if whatever blocks them were mended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from bench.cards.system import SystemCard
from bench.execution.planning.estimates import Basis, Estimate, Rates
from bench.execution.planning.plan import RecordPlan


def blocked_seconds(records: Sequence[RecordPlan], rates: Rates) -> dict[str, dict[Basis, float]]:
    """Seconds of one worker, by system and by what the estimate rests on; of systems that nothing blocks, nothing.

    A trained system pays for every fit, a probe once for all folds and seeds of a task; a pass of an encoder is paid for once per task
    and condition, by the first system that reads it. What the cache may hold of it already is not taken off.

    Args:
        records: of the plan.
        rates: what work takes here.
    """
    taken: dict[str, dict[Basis, float]] = defaultdict(dict)
    seen: set[tuple[str, ...]] = set()
    for record in records:
        if record.system.blocked is not None:
            own = taken[record.system.name]
            for estimate in _estimates(record, rates, seen):
                own[estimate.basis] = own.get(estimate.basis, 0.0) + estimate.seconds
    return dict(taken)


def _estimates(record: RecordPlan, rates: Rates, seen: set[tuple[str, ...]]) -> Iterator[Estimate]:
    system, clips = record.system, len(record.task)
    card = system.card
    if card.features is not None:
        encoder = system.feature_key or f"{card.features.encoder} {card.features.params} {card.weights}"
        if _new(seen, ("encode", encoder, record.task.name, record.condition)):
            yield rates.estimate(f"encode {card.name}", clips, parameters=card.parameters)
    fits = dict.fromkeys(c.fit for c in record.cells)
    jobs = [" ".join(fits)] if card.probe else list(fits)
    for job in jobs:
        if _new(seen, ("fit", job)):
            yield rates.estimate(
                f"fit {card.name}", clips, family=fit_family(card), parameters=card.parameters
            )


def _new(seen: set[tuple[str, ...]], work: tuple[str, ...]) -> bool:
    fresh = work not in seen
    seen.add(work)
    return fresh


def fit_family(card: SystemCard) -> str:
    """The family by which a system's fits are estimated: an Audio-LLM that is trained here is like no other."""
    return "tuned" if card.trained_here else card.family
