"""YAML into validated types, with errors that name the file, the line, the key and the nearest valid name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from bench.cards.plain_words import Place, allowed_words, expectation, found_words, told_once
from bench.errors import UsageError, nearest

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Keys are text as written (a label code ``01`` is not 1), and ``no`` is a language, not false."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [
            (tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"
        ]
        for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
        mapping: dict[str, Any] = super().construct_mapping(node, deep)
        return mapping


LineNumbers = dict[tuple[str | int, ...], int]
MOST_CHARACTERS = 4 << 20
MOST_PLACES = 200_000
"""Keys and entries of a file once its aliases are written out: a few lines of aliases of aliases can mean billions."""
DEEPEST = 100
"""Levels of nesting; the parser itself would run out of stack some thousands further down, and take the process along."""


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$", max_length=80)]

SystemName = Annotated[
    str, Field(pattern=r"^([a-z0-9][a-z0-9-]{0,38}/)?[a-z0-9][a-z0-9._+-]*$", max_length=120)
]
"""A name of the suite's own systems, or ``owner/name``: whose system it is stands before the stroke."""


class Strict(BaseModel):
    """Base of every card: frozen, and no key it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


def as_text(value: Any) -> Any:
    """Identifiers are text: YAML's 3, 03 and 2026-01-01 are what was written, as far as YAML still knows it."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Card = TypeVar("Card", bound=Strict)


def read_typed(path: Path, model: type[Card]) -> Card:
    """Read a YAML file into ``model``; raises :class:`UsageError` naming file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: is a folder; name the .yaml file itself") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    return parse_typed(text, str(path), model)


def path_hint(name: str, what: str) -> str:
    """The end of a sentence about a name that nobody knows: a path may have been meant.

    Args:
        name: as it was typed.
        what: kind of file, for example ``card``.
    """
    if Path(name).is_dir():
        return f"{name} is a folder here: a {what} of your own is named by its file (.yaml)"
    if Path(name).is_file():
        return f"{name} is a file here, but the file of a {what} ends in .yaml"
    return f"or give the path of a {what} (.yaml)"


def parse_typed(text: str, source: str, model: type[Card]) -> Card:
    """Parse YAML text into ``model``.

    Args:
        text: the whole file.
        source: what names it in errors.
        model: the type it must have.

    Returns:
        The validated model.

    Raises:
        UsageError: not YAML, or not such a model; names line and key, and the nearest valid name.
    """
    lines: LineNumbers = {}
    try:
        _require_shallow(text, source)
        data = _load(text, lines, source)
    except RecursionError:
        raise UsageError(f"{source}: a part of it refers to itself") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise UsageError(
            f"{source}, {where}: not valid YAML ({getattr(error, 'problem', None) or error})"
        ) from None
    except (ValueError, OverflowError) as error:  # what looks like a date or a number, and is none
        raise UsageError(f"{source}: holds a value that is none ({error}); put it in quotes") from None
    return check_typed(data, lines, source, model)


def check_typed(data: Any, lines: LineNumbers, source: str, model: type[Card]) -> Card:
    """Make ``model`` of the values of a YAML text.

    Args:
        data: the values.
        lines: where keys and entries stand in the text, by their place in the values; empty where there is no text.
        source: what names it in errors.
        model: the type it must have.

    Returns:
        The validated model.

    Raises:
        UsageError: not such a model; names line and key, and the nearest valid name.
    """
    if not isinstance(data, dict):
        found = "an empty file" if data is None else found_words(data)
        raise UsageError(f"{source}: expected keys and values ({model.__name__}), found {found}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UsageError("\n".join(_explained(error, data, model, lines, source))) from None


def _load(text: str, lines: LineNumbers, source: str) -> Any:
    """Values of a YAML text, composed once: its places go into ``lines`` before anything is made of it."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _collect_lines(node, (), lines, source)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _require_shallow(text: str, source: str) -> None:
    """Raise :class:`UsageError` for a text too long or nested too deeply to be composed."""
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"{source}: {len(text):,} characters; at most {MOST_CHARACTERS:,} are read")
    # A level needs a bracket of its own, or a column of its own further in (twice: a list may stand at its key's column).
    leading = max(len(line) - len(line.lstrip(" \t-?:\ufeff")) for line in text.splitlines() or [""])
    if text.count("[") + text.count("{") + 2 * (leading + 1) <= DEEPEST:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise UsageError(f"{source}: nested deeper than {DEEPEST} levels; no file of this suite is")


def _collect_lines(node: Any, path: tuple[str | int, ...], lines: LineNumbers, source: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if len(lines) > MOST_PLACES:
        raise UsageError(
            f"{source}: means more than {MOST_PLACES:,} keys and entries once its aliases are written out; write out what is needed"
        )
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise UsageError(
                    f"{source}, line {key.start_mark.line + 1}: a key must be a word, not a list or a table"
                )
            if key.value in seen:
                line = key.start_mark.line + 1
                raise UsageError(f"{source}, line {line}: key {key.value!r} stands twice; keep one")
            seen.add(key.value)
            lines[(*path, key.value)] = key.start_mark.line + 1
            _collect_lines(value, (*path, key.value), lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            _collect_lines(value, (*path, i), lines, source)


MOST_FAULTS = 5
"""How many of a file's faults are told at once."""


def _explained(
    error: ValidationError, data: Any, model: type[BaseModel], lines: LineNumbers, source: str
) -> list[str]:
    """One sentence for each of the first faults, with its line."""
    said = []
    for place, faults in told_once(error, data)[:MOST_FAULTS]:
        line = next((lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in lines), None)
        where = source if line is None else f"{source}, line {line}"
        said.append(f"{where}: {_fault(place, faults, model)}")
    return said


def _fault(place: Place, faults: list[ErrorDetails], model: type[BaseModel]) -> str:
    first, key = faults[0], ".".join(map(str, place))
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {nearest(str(place[-1])[:200], _fields_at(model, place[:-1]))}"
    if first["type"] == "missing":
        return f"key {key!r} is missing"
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, ValidationError):  # a part that is only checked once it is put together
        deeper, found = told_once(inner, None)[0]
        return _fault((*place, *deeper), found, model)
    own = next((f for f in faults if f["type"] in ("value_error", "assertion_error")), None)
    if own is not None:
        return f"{key or model.__name__}: {expectation(own)}"
    if len(faults) == 1 and first["type"] in ("literal_error", "enum"):
        known = allowed_words(first)
        return f"{key}: {found_words(first['input'])} is not allowed; {nearest(str(first['input'])[:200], known)}"
    expected = ", or ".join(dict.fromkeys(expectation(f) for f in faults))
    return f"{key or model.__name__}: expected {expected}, found {found_words(first['input'])}"


def _fields_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Field names of the model nested at a location."""
    for part in location:
        if isinstance(part, int) or part not in model.model_fields:
            continue
        nested = _nested_model(model.model_fields[str(part)].annotation)
        if nested is not None:
            model = nested
    return list(model.model_fields)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _nested_model(a)) is not None), None)
