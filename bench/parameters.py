"""Parameters of a card against what a constructor says it takes: YAML reads ``no`` as a word and ``6e-4`` as text."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from bench.errors import UsageError

EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number (with a point before an exponent: 6.0e-4)",
}


def check_parameters(made: Callable[..., Any], given: Mapping[str, Any], what: str) -> None:
    """Hold the plain parameters of ``made`` (bool, int, float, str; or one of them or None) to their annotation.

    Raises:
        UsageError: one is something else; names all that are.
    """
    wrong = []
    for name, kinds in _plain_kinds(made).items():
        if name in given and not any(_is(given[name], kind) for kind in kinds):
            expected = " or ".join(EXPECTED.get(k, "text" if k is str else "nothing") for k in kinds)
            wrong.append(f"{name}: found {given[name]!r}, expected {expected}")
    if wrong:
        raise UsageError(f"{what}: {'; '.join(wrong)}")


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _plain_kinds(made: Callable[..., Any]) -> dict[str, tuple[type, ...]]:
    """Parameters whose annotation is made of plain types alone."""
    try:
        hints = typing.get_type_hints(made.__init__ if inspect.isclass(made) else made)
    except (
        NameError,
        TypeError,
        AttributeError,
    ):  # an adapter from elsewhere may annotate what cannot be resolved
        return {}
    found = {}
    for name, hint in hints.items():
        union = typing.get_origin(hint) in (types.UnionType, typing.Union)
        kinds = typing.get_args(hint) if union else (hint,)
        if all(kind in (bool, int, float, str, types.NoneType) for kind in kinds):
            found[name] = kinds
    return found
