"""Rules for the values on a card: of what kind and in which range each setting is, and the sentence for one that is not."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench.errors import UsageError


class Rule(Protocol):
    """What one setting may be."""

    @property
    def expected(self) -> str:
        """How a sentence about a wrong value goes on: ``expected a number above 0``."""
        ...

    def read(self, value: object) -> Any:
        """Return the value as it is used; raise ValueError for one that breaks the rule."""
        ...


@dataclass(frozen=True)
class Whole:
    """A whole number, ``least`` or more. True and 2.0 are none, though Python counts with them."""

    least: int

    @property
    def expected(self) -> str:
        """See :class:`Rule`."""
        return f"expected a whole number from {self.least} on"

    def read(self, value: object) -> int:
        """See :class:`Rule`."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < self.least:
            raise ValueError
        return int(value)


@dataclass(frozen=True)
class Number:
    """A number between ``least`` and ``most``, either of which may be left out of the range itself.

    Text is taken where it is a number: YAML reads ``6e-4``, without a point, as text.

    >>> Number(0.0, least_too=False).read("6e-4")
    0.0006
    """

    least: float
    most: float = math.inf
    least_too: bool = True
    most_too: bool = True

    @property
    def expected(self) -> str:
        """See :class:`Rule`."""
        low = f"from {self.least:g}" if self.least_too else f"above {self.least:g}"
        if math.isinf(self.most):
            return f"expected a number {low}{' on' if self.least_too else ''}"
        return f"expected a number {low} to {'' if self.most_too else 'below '}{self.most:g}"

    def read(self, value: object) -> float:
        """See :class:`Rule`."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real | str):
            raise ValueError
        number = float(value)
        inside = (number > self.least or (self.least_too and number == self.least)) and (
            number < self.most or (self.most_too and number == self.most)
        )
        if not inside or math.isinf(number):
            raise ValueError
        return number


@dataclass(frozen=True)
class Switch:
    """True or false, and not a word that only looks like it: the text ``false`` is true in Python."""

    @property
    def expected(self) -> str:
        """See :class:`Rule`."""
        return "expected true or false"

    def read(self, value: object) -> bool:
        """See :class:`Rule`."""
        if not isinstance(value, bool):
            raise ValueError
        return value


@dataclass(frozen=True)
class OneOf:
    """One of some names. ``off`` is the one that YAML reads as false when it stands there without quotes."""

    names: Sequence[str]
    off: str | None = None

    @property
    def expected(self) -> str:
        """See :class:`Rule`."""
        return f"use one of {', '.join(self.names)}"

    def read(self, value: object) -> str:
        """See :class:`Rule`."""
        if value is False and self.off is not None:
            return self.off
        if not isinstance(value, str) or value not in self.names:
            raise ValueError
        return value


@dataclass(frozen=True)
class Text:
    """Any text but the empty one."""

    what: str

    @property
    def expected(self) -> str:
        """See :class:`Rule`."""
        return f"expected {self.what}"

    def read(self, value: object) -> str:
        """See :class:`Rule`."""
        if not isinstance(value, str) or not value:
            raise ValueError
        return value


@dataclass(frozen=True)
class OrNull:
    """What another rule takes, or null."""

    rule: Rule

    @property
    def expected(self) -> str:
        """See :class:`Rule`."""
        return f"{self.rule.expected}, or null"

    def read(self, value: object) -> Any:
        """See :class:`Rule`."""
        return None if value is None else self.rule.read(value)


def broken(given: Mapping[str, Any], rules: Mapping[str, Rule]) -> list[str]:
    """Say of each given value that breaks its rule what was found and what is expected.

    >>> broken({"batch": 2.5, "epochs": 3}, {"batch": Whole(1), "epochs": Whole(0)})
    ['batch is 2.5; expected a whole number from 1 on']
    """
    found = []
    for name, rule in rules.items():
        if name in given:
            try:
                rule.read(given[name])
            except (ValueError, OverflowError):
                found.append(f"{name} is {given[name]!r}; {rule.expected}")
    return found


def settle(settings: object, rules: Mapping[str, Rule]) -> None:
    """Put into a frozen dataclass what its rules read in its values.

    Raises:
        UsageError: values that break their rules, all of them in one message.
    """
    refuse(broken(vars(settings), rules))
    for name, rule in rules.items():
        object.__setattr__(settings, name, rule.read(getattr(settings, name)))


def refuse(faults: Sequence[str]) -> None:
    """Raise :class:`bench.errors.UsageError` with all of the sentences, or do nothing where there is none."""
    if faults:
        raise UsageError("; ".join(faults))
