"""Planned records that were not scored, grouped by system and reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scoring.outcomes import RecordOutcome


@dataclass(frozen=True)
class Missing:
    """Planned records of one system that were not scored for one and the same reason."""

    system: str
    protocol: str
    condition: str
    state: str
    reason: str
    tasks: tuple[str, ...]


def missing_records(outcomes: Sequence[RecordOutcome]) -> list[Missing]:
    """Group what was planned and not scored by system and reason."""
    groups: dict[tuple[str, str, str, str, str], list[str]] = defaultdict(list)
    for o in outcomes:
        if o.planned and o.state != "scored":
            groups[o.system, o.protocol, o.condition, o.state, o.reason].append(o.task)
    return [Missing(*key, tuple(dict.fromkeys(tasks))) for key, tasks in groups.items()]
