"""Reasons told once: a hundred systems that lack their weights are one line, not a hundred."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\S*/\S*|--\S+|\b[0-9a-f]{12,}\b|\b\d+(?:\.\d+)?\b")
"""What differs between reasons of one kind: quoted names, paths and addresses, options, hashes, numbers."""


@dataclass(frozen=True)
class ReasonGroup:
    """Systems (or records) that cannot be run for one kind of reason."""

    names: tuple[str, ...]
    reason: str
    """Of the first of them, with what mends it."""
    alike: bool
    """All have this very reason; else one of its kind, with another name or path in it."""

    def words(self, noun: str) -> str:
        """One line.

        Args:
            noun: what the names are, in the singular.
        """
        if len(self.names) == 1:
            return f"{self.names[0]}: {self.reason}"
        first = f"{len(self.names)} {noun}s, {self.names[0]} to {self.names[-1]}"
        return f"{first}: {self.reason}" if self.alike else f"{first}, for example: {self.reason}"


def group_reasons(reasons: Mapping[str, str]) -> list[ReasonGroup]:
    """Put names together whose reasons are of one kind, those of most names first.

    Args:
        reasons: why each name cannot be run.

    >>> [g.words("system") for g in group_reasons({"a": "weights 'x' not found", "b": "weights 'y' not found"})]
    ["2 systems, a to b, for example: weights 'x' not found"]
    """
    kinds: dict[str, dict[str, str]] = {}
    for name, reason in reasons.items():
        kinds.setdefault(_PARTICULAR.sub("…", reason.replace(name, "…")), {})[name] = reason
    groups = [
        ReasonGroup(tuple(met), next(iter(met.values())), len(set(met.values())) == 1)
        for met in kinds.values()
    ]
    return sorted(groups, key=lambda g: -len(g.names))
