"""The settings on a card: what kinds of value there are, and one sentence for each value that is none of its kind.

pydantic checks; its own words never reach a user: the sentence follows from the constraints of the field.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails

from bench.errors import UsageError, nearest


def _whole(value: object) -> object:
    """numpy's whole numbers are whole numbers too; True is none, though Python counts with it."""
    if isinstance(value, bool):
        raise ValueError
    return int(value) if isinstance(value, numbers.Integral) else value


def _number(value: object) -> object:
    """Text is a number where it reads as one: YAML takes ``6e-4``, without a point, for text."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real | str):
        raise ValueError
    return value


def _no(value: object) -> object:
    """YAML takes a bare ``no`` for false."""
    return "no" if value is False else value


_READ_WHOLE = BeforeValidator(_whole)
_READ_NUMBER = BeforeValidator(_number)
# What is read first stands last: pydantic puts each around those before it.
FromZero = Annotated[int, Field(strict=True, ge=0), _READ_WHOLE]
FromOne = Annotated[int, Field(strict=True, ge=1), _READ_WHOLE]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False), _READ_NUMBER]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False), _READ_NUMBER]
Share = Annotated[float, Field(ge=0, le=1), _READ_NUMBER]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1), _READ_NUMBER]
Switch = Annotated[bool, Field(strict=True)]
"""True or false, and not a word that only looks like it: the text ``false`` is true in Python."""
FolderPath = Annotated[str, Field(strict=True, min_length=1, description="the path of a folder")]
FalseIsNo = BeforeValidator(_no)
"""Put beside the names of a setting of which one is ``no``."""


class CheckedSettings:
    """Base of frozen pydantic dataclasses whose faults are sentences.

    Raises:
        UsageError: values that are not of their field's kind, all of them in one message.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _in_sentences(cls, data: Any, validate: Any) -> Self:
        try:
            checked: Self = validate(data)
        except ValidationError as error:
            raise UsageError("; ".join(_sentence(cls, fault) for fault in error.errors())) from None
        return checked


def _sentence(settings: type, fault: ErrorDetails) -> str:
    names = [field.name for field in dataclasses.fields(settings)]
    place = fault["loc"][0]
    name = names[place] if isinstance(place, int) else place
    if fault["type"] == "unexpected_keyword_argument":
        return f"no parameter {name!r}; {nearest(name, names)}"
    if fault["type"] == "missing":
        return f"parameter {name!r} is missing"
    schema = TypeAdapter(settings).json_schema()["properties"][name]
    return f"{name} is {fault['input']!r}; {_expected(schema)}"


def _expected(schema: Mapping[str, Any]) -> str:
    """How a sentence about a wrong value goes on.

    >>> _expected({"type": "integer", "minimum": 1})
    'expected a whole number from 1 on'
    >>> _expected({"type": "number", "minimum": 0, "exclusiveMaximum": 1})
    'expected a number from 0 to below 1'
    """
    if "anyOf" in schema:
        return f"{_expected(schema['anyOf'][0])}, or null"
    if "enum" in schema:
        return f"use one of {', '.join(schema['enum'])}"
    if schema["type"] in ("integer", "number"):
        return f"expected a {'whole ' if schema['type'] == 'integer' else ''}number {_range(schema)}"
    return f"expected {schema.get('description', 'true or false')}"


def _range(schema: Mapping[str, Any]) -> str:
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    low = f"from {schema['minimum']:g}" if above is None else f"above {above:g}"
    if below is None and "maximum" not in schema:
        return low if above is not None else f"{low} on"
    return f"{low} to {schema['maximum']:g}" if below is None else f"{low} to below {below:g}"


def split_settings(given: Mapping[str, Any], *kinds: type) -> Sequence[Any]:
    """Build several :class:`CheckedSettings` from flat settings, each from those that are its own.

    Args:
        given: every setting by its name.
        kinds: dataclasses of which no two have a field of one name.

    Returns:
        One object of each kind.

    Raises:
        UsageError: settings that do not exist or are not of their kind, all of them in one message.
    """
    fields = [[field.name for field in dataclasses.fields(kind)] for kind in kinds]
    known = [name for names in fields for name in names]
    faults = [f"no parameter {name!r}; {nearest(name, known)}" for name in given if name not in known]
    built = []
    for kind, names in zip(kinds, fields, strict=True):
        try:
            built.append(kind(**{name: given[name] for name in names if name in given}))
        except UsageError as error:
            faults.append(str(error))
    if faults:
        raise UsageError("; ".join(faults))
    return built
