"""What a preparation found wrong or odd: one flat list, so that nothing is dropped without a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ProblemKind = Literal[
    "missing audio",
    "undecodable",
    "truncated",
    "same sound",
    "conflicting labels",
    "unknown label",
    "listed twice",
    "ambiguous",
    "no match",
    "no row",
    "bad cell",
    "promise",
    "hours",
    "uneven speaker",
    "changed",
    "gone",
    "sample rates",
    "channels",
    "name",
    "silent",
    "clipped",
    "channels cancel",
    "offset",
    "length",
    "doubled",
    "empty join",
]
NOTES: frozenset[ProblemKind] = frozenset(
    {"hours", "sample rates", "channels", "name", "uneven speaker", "silent", "length", "doubled"}
)
"""Kinds that are worth knowing and no fault."""


@dataclass(frozen=True, order=True)
class PreparationProblem:
    """One finding: its kind, the file (or table, or speaker) it is about, and a sentence."""

    kind: ProblemKind
    where: str
    message: str
    known: bool = False
    """Published as broken: the card lists the file under ``layout: known``."""

    @property
    def fault(self) -> bool:
        """Whether the corpus is not as it should be."""
        return self.kind not in NOTES and not self.known


def faults(problems: Sequence[PreparationProblem]) -> int:
    """Count the faults."""
    return sum(p.fault for p in problems)
