"""Parameters of a card against what a constructor says it takes: YAML reads ``no`` as a word and ``6e-4`` as text."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bench.errors import UsageError

PLAIN = {
    bool: "true or false",
    int: "a whole number",
    float: "a number (with a point before an exponent: 6.0e-4)",
    str: "text",
    types.NoneType: "nothing",
}
"""Types that a card can give, and what they are called to those who write one."""


def check_parameters(made: Callable[..., Any], given: Mapping[str, Any], what: str) -> None:
    """Hold the plain parameters of ``made`` (bool, int, float, str; a literal, a sequence of them, a union) to their annotation.

    Args:
        made: class or function that the card names.
        given: its parameters as the card has them; names it does not take are left to the call itself.
        what: how the sentence begins: the dotted name of ``made``.

    Raises:
        UsageError: one is something else; names all that are.
    """
    wrong = [
        f"{name}: found {given[name]!r}, expected {' or '.join(map(_expected, _members(hint)))}"
        for name, hint in _annotations(made).items()
        if name in given and all(map(_is_plain, _members(hint))) and not _fits(given[name], hint)
    ]
    if wrong:
        raise UsageError(f"{what}: {'; '.join(wrong)}")


def _annotations(made: Callable[..., Any]) -> dict[str, Any]:
    # A dataclass's fields are annotated where they stand: an inherited one in the module of its base.
    fields = inspect.isclass(made) and dataclasses.is_dataclass(made)
    try:
        return typing.get_type_hints(made if fields or not inspect.isclass(made) else made.__init__)
    except (
        NameError,
        TypeError,
        AttributeError,
    ):  # an adapter from elsewhere may annotate what cannot be resolved
        return {}


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _is_plain(kind: Any) -> bool:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    return origin is typing.Literal or kind in PLAIN or (origin is Sequence and inside[0] in PLAIN)


def _fits(value: Any, hint: Any) -> bool:
    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError:
        return False
    return value not in ([], ())


def _expected(kind: Any) -> str:
    if kind in PLAIN:
        return PLAIN[kind]
    inside = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(repr, inside))
    return f"a list with {_expected(inside[0])} or more of them"
