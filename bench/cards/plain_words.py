"""What is wrong with a value, in this suite's words: what was expected, what was found, and where it stands in the file."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]

_KINDS = {
    "string_type": "text",
    "string_sub_type": "text",
    "string_unicode": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of usual size",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "none_required": "nothing",
    "dict_type": "keys and values",
    "mapping_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "dataclass_type": "keys and values",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "iterable_type": "a list",
    "bytes_type": "text",
    "invalid_key": "a key that is text",
    "json_invalid": "JSON",
    "json_type": "JSON",
    "date_type": "a date",
    "date_parsing": "a date",
    "date_from_datetime_parsing": "a date",
    "datetime_type": "a date",
    "datetime_parsing": "a date",
}
_LIMITS = {
    "greater_than": ("more than {}", "gt"),
    "greater_than_equal": ("{} or more", "ge"),
    "less_than": ("less than {}", "lt"),
    "less_than_equal": ("{} or less", "le"),
    "string_too_short": ("text of at least {} character(s)", "min_length"),
    "string_too_long": ("text of at most {} characters", "max_length"),
}
_FORMS = {
    r"^[a-z0-9][a-z0-9._+-]*$": "a name of small letters, digits and . _ + -, which begins with a letter or digit",
    r"^([a-z0-9][a-z0-9-]{0,38}/)?[a-z0-9][a-z0-9._+-]*$": "a name of small letters, digits and . _ + -, which begins with a letter or digit (owner/name where it is somebody's)",
    r"^([a-z0-9][a-z0-9-]{0,38}/)?[^/\\\x00-\x1f]+$": "a name without slashes and control characters (owner/name where it is somebody's)",
    r"^[^/\\\x00-\x1f]+$": "a name without slashes and control characters",
    r"^[0-9][0-9A-Za-z.+-]{0,60}$": "a version that begins with a digit, such as 0.2.0",
    r"^[0-9][0-9A-Za-z.+-]*$": "a version that begins with a digit, such as 0.2.0",
    r"^[a-z0-9-]+$": "small letters, digits and hyphens",
    r"^https?://": "an address that begins with http:// or https://",
    r"^[0-9a-f]{64}$": "64 of the digits 0-9 and a-f",
    r"^[0-9a-f]{32}$": "32 of the digits 0-9 and a-f",
    r"^[a-z0-9][a-z0-9 -]{1,39}$": "2 to 40 small letters, digits, spaces and strokes, beginning with a letter or digit",
}
"""Forms that text must have, by the regular expressions of cards."""
SHOWN = 80


def expectation(error: ErrorDetails) -> str:
    """What a value should have been: the end of "expected …"; of a fault told by a check of this suite, its own sentence.

    >>> try:
    ...     from pydantic import TypeAdapter; TypeAdapter(int).validate_python("x")
    ... except ValidationError as error:
    ...     print(expectation(error.errors()[0]))
    a whole number
    """
    kind, context = error["type"], error.get("ctx", {})
    if kind in _KINDS:
        return _KINDS[kind]
    if kind in _LIMITS:
        words, limit = _LIMITS[kind]
        value = context[limit]
        return words.format(f"{value:,}" if isinstance(value, int) else f"{value:g}")
    if kind in ("too_short", "too_long"):
        limit, words = ("min_length", "least") if kind == "too_short" else ("max_length", "most")
        return f"at {words} {context[limit]} entries" if context[limit] != 1 else f"at {words} one entry"
    if kind == "string_pattern_mismatch":
        return _FORMS.get(str(context["pattern"]), f"text of the form {context['pattern']}")
    if kind in ("literal_error", "enum"):
        return " or ".join(allowed_words(error))
    if kind in ("value_error", "assertion_error"):
        return shortened(" ".join(str(context.get("error", error["msg"])).split()))
    return "another value"


def shortened(sentence: str) -> str:
    """A sentence whose quotations from a file are cut to their beginnings.

    >>> len(shortened("'" + "a" * 5000 + "' is no name"))
    94
    """
    # Short quotations are consumed too, or what stands between two of them would look like one.
    quoted = r"(?<!\w)'([^']*)'(?!\w)"
    return re.sub(quoted, lambda q: q[0] if len(q[1]) <= SHOWN else f"'{q[1][:SHOWN]}…'", sentence)


def allowed_words(error: ErrorDetails) -> list[str]:
    """The words that a value of few may be."""
    return str(error.get("ctx", {})["expected"]).replace("'", "").replace(" or ", ", ").split(", ")


def _key(key: Any) -> str:
    """A key, short and on one line, whatever signs are in it."""
    plain = str(key)[:20]
    return plain if plain.isprintable() else repr(plain)[1:-1]


def found_words(value: Any) -> str:
    r"""A value as a file has it, for the end of "found …".

    >>> found_words(None), found_words(True), found_words({"a": 1}), found_words([1, 2])
    ('nothing', 'true', 'keys and values (a)', 'a list of 2')
    >>> found_words({"a\nb": 1})
    'keys and values (a\\nb)'
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        keys = ", ".join(_key(k) for k in list(value)[:3]) + (", …" if len(value) > 3 else "")
        return f"keys and values ({keys})" if value else "no keys and values ({})"
    if isinstance(value, list | tuple | set | frozenset):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, datetime.date):
        return f"the date {value} (in quotes it is text)"
    if isinstance(value, str):
        shown = repr(value)
        return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
    if isinstance(value, int | float):
        return ".nan" if value != value else f"{value}"[:SHOWN]
    return "something else"


def place_in(data: Any, location: Sequence[str | int]) -> Place:
    """Where a fault stands in the data: the library also names its own functions and the kinds it tried, which no file has."""
    found: list[str | int] = []
    at = data
    for position, part in enumerate(location):
        if (isinstance(at, Mapping) and part in at) or (
            isinstance(at, list | tuple) and isinstance(part, int) and 0 <= part < len(at)
        ):
            at = at[part]  # type: ignore[index]  # a key of a table, or a number of a list
        elif (
            position == len(location) - 1
            and isinstance(at, Mapping)
            and isinstance(part, str)
            and part.isidentifier()
        ):
            at = None  # a key that is missing
        else:
            continue
        found.append(part)
    return tuple(found)


def told_once(error: ValidationError, data: Any) -> list[tuple[Place, list[ErrorDetails]]]:
    """Faults by place: of a value that could have been of several kinds, all that were tried; of its parts, those alone."""
    faults: dict[Place, list[ErrorDetails]] = {}
    for found in error.errors(include_url=False):
        faults.setdefault(place_in(data, found["loc"]), []).append(found)
    deep = [p for p in faults if any(len(q) > len(p) and q[: len(p)] == p for q in faults)]
    return [(place, found) for place, found in faults.items() if place not in deep]
