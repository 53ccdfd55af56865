"""Systems that hear through one and the same frozen network: their errors are not independent evidence."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

from bench.scoring.records import Record


def features_key(record: Record) -> str:
    """What names a system's features; blank where it has none of a frozen encoder."""
    made = record.facts.card.features
    return (
        json.dumps([made.model_dump(mode="json"), record.facts.weights_hash], sort_keys=True) if made else ""
    )


def same_hearing(records: Sequence[Record]) -> tuple[tuple[int, ...], ...]:
    """Group systems that read the same frozen features, or are the same released weights asked in another way.

    Args:
        records: one per system.

    Returns:
        Places in ``records``, each in one group, groups in the order of their first system.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for k, record in enumerate(records):
        facts = record.facts
        released = (
            f"released {facts.weights_hash}" if facts.track == "released" and facts.weights_hash else ""
        )
        groups[features_key(record) or released or f"alone {k}"].append(k)
    return tuple(tuple(own) for own in groups.values())
