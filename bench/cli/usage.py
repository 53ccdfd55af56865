"""What was typed wrong, in one sentence: Typer takes four lines for it, and leaves out what was found."""

from __future__ import annotations

import re
from typing import Any

import typer

WrongUsage: Any = typer.BadParameter.__mro__[2]
"""What Typer raises for wrong usage: the base of its errors, which newer versions keep in a place of their own."""
_OPTION = re.compile(r"Invalid value for '?(?P<name>[^':]+)'?: (?:Value error, )?(?P<why>.*)", re.DOTALL)
EXPECTED = {
    "greater_than_equal": "expected {ge} or more",
    "less_than_equal": "expected {le} or less",
    "int_parsing": "expected a whole number",
    "float_parsing": "expected a number",
}
"""Kinds of mistake by Pydantic's names, as newer versions of Typer find them."""


def sentence(error: Any) -> str:
    """Say which command was given what, what it expected, and where its options are listed.

    >>> sentence(typer.BadParameter("'x' is not one of 'a', 'b'.", param_hint="'--kind'"))
    "serbench: --kind: 'x' is not one of 'a', 'b' (all options: serbench --help)"
    """
    command = error.ctx.command_path if getattr(error, "ctx", None) else "serbench"
    text = error.format_message().strip().rstrip(".")
    if found := _OPTION.fullmatch(text):
        text = f"{found['name']}{_given(error)}: {_expected(error) or found['why']}"
    return f"{command}: {text[:1].lower()}{text[1:]} (all options: {command} --help)"


def is_help(error: Any) -> bool:
    """Whether nothing is wrong but that a group of commands was named without a command: its help answers."""
    return type(error).__name__ == "NoArgsIsHelpError"


def _mistake(error: Any) -> dict[str, Any]:
    listed = getattr(error.__cause__ or error.__context__, "errors", None)
    return (listed() or [{}])[0] if callable(listed) else {}


def _given(error: Any) -> str:
    mistake = _mistake(error)
    return f" {mistake['input']}" if mistake.get("type") in EXPECTED else ""


def _expected(error: Any) -> str:
    mistake = _mistake(error)
    return EXPECTED.get(str(mistake.get("type")), "").format(**mistake.get("ctx", {}))
