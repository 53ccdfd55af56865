"""Parameters of a card against what a constructor says it takes: YAML reads ``no`` as a word and ``6e-4`` as text."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.errors import UsageError

EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number (with a point before an exponent: 6.0e-4)",
}
PLAIN = (bool, int, float, str, types.NoneType)


def check_parameters(made: Callable[..., Any], given: Mapping[str, Any], what: str) -> None:
    """Hold the plain parameters of ``made`` (bool, int, float, str; a literal, a sequence of them, a union) to their annotation.

    Raises:
        UsageError: one is something else; names all that are.
    """
    wrong = []
    for name, kinds in _plain_kinds(made).items():
        if name in given and not any(_is(given[name], kind) for kind in kinds):
            wrong.append(f"{name}: found {given[name]!r}, expected {' or '.join(map(_expected, kinds))}")
    if wrong:
        raise UsageError(f"{what}: {'; '.join(wrong)}")


def _expected(kind: Any) -> str:
    if kind is str or kind is types.NoneType:
        return "text" if kind is str else "nothing"
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    return (
        EXPECTED[kind]
        if kind in EXPECTED
        else f"a list with {_expected(typing.get_args(kind)[0])} or more of them"
    )


def _is(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    if typing.get_origin(kind) is Sequence:
        inside = typing.get_args(kind)[0]
        return isinstance(value, list | tuple) and len(value) > 0 and all(_is(v, inside) for v in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _plain_kinds(made: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
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
        if all(kind in PLAIN or _is_made_of_plain(kind) for kind in kinds):
            found[name] = kinds
    return found


def _is_made_of_plain(kind: Any) -> bool:
    origin = typing.get_origin(kind)
    return origin is typing.Literal or (origin is Sequence and typing.get_args(kind)[0] in PLAIN)
