"""What was planned and does not stand in a report, grouped by system and reason."""

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
    """Of several conditions with the same tasks all names, parted by commas."""
    state: str
    reason: str
    tasks: tuple[str, ...]


def missing_records(outcomes: Sequence[RecordOutcome]) -> list[Missing]:
    """Group what was planned and not scored by system and reason; conditions that miss the same tasks stand together."""
    tasks: dict[tuple[str, str, str, str, str], list[str]] = defaultdict(list)
    for o in outcomes:
        if o.planned and o.state != "scored":
            tasks[o.system, o.protocol, o.state, o.reason, o.condition].append(o.task)
    conditions: dict[tuple[str, str, str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (*who, condition), own in tasks.items():
        system, protocol, state, reason = who
        conditions[system, protocol, state, reason, tuple(dict.fromkeys(own))].append(condition)
    return [
        Missing(system, protocol, ", ".join(own), state, reason, missed)
        for (system, protocol, state, reason, missed), own in conditions.items()
    ]
