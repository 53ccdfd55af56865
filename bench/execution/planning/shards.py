"""Cutting a matrix for job arrays: every shard finds its own part from the plan alone, without speaking to the others."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bench.cards.system import SystemCard
from bench.errors import UsageError
from bench.execution.planning.plan import RecordPlan
from bench.storage.hashing import hash_json

_SECONDS_PER_CLIP = {"reference": 0.0001, "acoustic": 0.003, "trained": 0.12}
"""Of a fit, by family of system: rough, and the same on every machine, since all shards must cut alike."""
_OTHER = 0.03


@dataclass(frozen=True, order=True)
class Shard:
    """One of so many parts of a matrix."""

    number: int
    of: int

    def __str__(self) -> str:
        """As it is asked for: ``2/4``."""
        return f"{self.number}/{self.of}"


def parse_shard(text: str) -> Shard:
    """Read ``i/n``.

    >>> parse_shard("2/4")
    Shard(number=2, of=4)

    Raises:
        UsageError: it is no part of a whole.
    """
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(
            f"--shard {text!r}: expected i/n with i from 1 to n, like 2/4 for the second of four parts"
        )
    return Shard(int(found[1]), int(found[2]))


def cells_of_shard(records: Iterable[RecordPlan], shard: Shard) -> set[str]:
    """Keys of the cells that a shard computes.

    What shares a pass of one encoder over one corpus stays together, so that no pass is made twice; so do the conditions of
    one fit. The longest parts are dealt first, each to the shard that has the least so far.

    Args:
        records: of the whole plan, those of blocked systems too: a machine that lacks weights must cut like the others.
        shard: which part.
    """
    parts = _parts(records)
    heaviest_first = sorted(parts.items(), key=lambda p: (-p[1].seconds, p[0]))
    loads = [(0.0, number) for number in range(1, shard.of + 1)]
    mine: set[str] = set()
    for _, part in heaviest_first:
        load, number = heapq.heappop(loads)
        heapq.heappush(loads, (load + part.seconds, number))
        if number == shard.number:
            mine |= part.cells
    return mine


@dataclass
class _Share:
    """What must stay in one shard."""

    seconds: float
    cells: set[str]


def _parts(records: Iterable[RecordPlan]) -> dict[str, _Share]:
    """The smallest parts of a plan, by a name that is the same on every machine."""
    joined = _Joined()
    members: dict[str, list[tuple[RecordPlan, list[Any]]]] = {}
    for record in records:
        for name, cells in _units(record, joined):
            members.setdefault(name, []).append((record, cells))
    parts: dict[str, _Share] = {}
    for name, found in members.items():
        part = parts.setdefault(joined.root(name), _Share(0.0, set()))
        for record, cells in found:
            part.cells |= {c.key for c in cells}
            rate = _SECONDS_PER_CLIP.get(record.system.card.family, _OTHER)
            part.seconds += (
                rate * max(len(record.task), 1) * (len(cells) if record.system.card.features is None else 1)
            )
    return parts


def _units(record: RecordPlan, joined: _Joined) -> Iterable[tuple[str, list[Any]]]:
    """The units of a record: by fit without an encoder; with one, all its cells, joined with whoever shares the pass."""
    encoder = pass_of(record.system.card)
    if encoder is None:
        by_fit: dict[str, list[Any]] = {}
        for cell in record.cells:
            # Not the fit's hash: it covers weights, which a machine may lack.
            unit = "/".join((*cell.identity, cell.fold_name, str(cell.seed)))
            by_fit.setdefault(f"fit {unit}", []).append(cell)
        return list(by_fit.items())
    corpora = [
        t.partition("@")[0].rpartition(".")[0] for t in (record.task.name, *(s.task for s in record.sources))
    ]
    names = [f"pass {encoder} {corpus}" for corpus in dict.fromkeys(corpora)]
    for other in names[1:]:
        joined.join(names[0], other)
    return [(names[0], list(record.cells))]


def pass_of(card: SystemCard) -> str | None:
    """What tells one encoder's passes from another's, by its card alone; None without an encoder."""
    spec = card.features
    if spec is None:
        return None
    weights = card.weights.model_dump(mode="json") if card.weights else None
    return hash_json([spec.encoder, spec.params, weights])


class _Joined:
    """Names that belong together, however they were joined."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def root(self, name: str) -> str:
        """The name that stands for all that belong together: the first in alphabetical order."""
        while (above := self._above.get(name, name)) != name:
            name = above
        return name

    def join(self, a: str, b: str) -> None:
        """Let two belong together."""
        first, second = sorted((self.root(a), self.root(b)))
        self._above[second] = first
