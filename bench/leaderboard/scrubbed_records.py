"""Records without what must not leave the machine they were made on: free text is cleaned, everything else must be clean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from bench.errors import DataError
from bench.scoring.record_schema import CountedFacts
from bench.storage.scrubbing import Place, Scrubber

FREE = ("title", "obstacles", "warnings", "notes", "card", "corpus_card", "imported")
"""Parts of a record that hold what people and adapters wrote."""
_NAMES = ("card.name", "corpus_card.name")
"""Places among them that say which record it is."""
AnyFacts = TypeVar("AnyFacts", bound=CountedFacts)


def scrubbed_facts(path: Path, facts: AnyFacts, scrubber: Scrubber) -> AnyFacts:
    """Return a record's facts whose free text holds nothing that must not leave this machine.

    Args:
        path: the record, for the sentences.
        facts: what it says.
        scrubber: knows the machine.

    Raises:
        DataError: something stands where it cannot be taken out; the sentence names the place.
    """
    update: dict[str, Any] = {}
    for name in (n for n in FREE if n in facts.model_fields_set):
        plain = part_as_json(facts, name)
        found = list(scrubber.places(plain, name))
        if not found:
            continue
        if lasting := next((p for p in found if p.where in _NAMES), None):
            raise _cannot(path, lasting)
        try:
            update[name] = part_from_json(facts, name, scrubber.json(plain))
        except (ValidationError, ValueError):
            raise _cannot(path, found[0]) from None
    return facts.model_copy(update=update)


def part_as_json(facts: CountedFacts, name: str) -> Any:
    """One part of a record as JSON values, with what it leaves to its defaults."""
    return facts.model_dump(mode="json", by_alias=True, include={name})[name]


def part_from_json(facts: CountedFacts, name: str, value: Any) -> Any:
    """The same part, read from JSON values.

    Args:
        facts: whose part it is; a card stays of its own kind.
        name: of the part.
        value: JSON.

    Raises:
        ValidationError: the part cannot hold it.
    """
    part = getattr(facts, name)
    if isinstance(part, BaseModel):
        return type(part).model_validate(value)
    kind: Any = type(facts).model_fields[name].annotation
    return TypeAdapter(kind).validate_json(json.dumps(value))


def require_clean(path: Path, facts: CountedFacts, scrubber: Scrubber) -> None:
    """Refuse a record that holds what must not leave this machine where it says what it is: that cannot be taken out.

    Args:
        path: the record, for the sentence.
        facts: what it says.
        scrubber: knows the machine.

    Raises:
        DataError: the sentence names the place.
    """
    for name in sorted(facts.model_fields_set - set(FREE)):
        if found := next(scrubber.places(facts.model_dump(mode="json", by_alias=True, include={name})), None):
            raise _cannot(path, found)


def require_clean_json(path: Path, value: Any, where: str, scrubber: Scrubber) -> None:
    """Raise :class:`DataError` where JSON that must stay as it is holds what must not leave this machine.

    Args:
        path: its file, for the sentence.
        value: the JSON.
        where: its place in the file.
        scrubber: knows the machine.
    """
    if found := next(scrubber.places(value, where), None):
        raise DataError(
            f"{path}: {found.where} holds {found.kind}, which hashes of what is published cover, so it cannot be taken out; write it "
            "relative to the matrix file, and run again with another --out: features and stored replies are kept"
        )


def _cannot(path: Path, found: Place) -> DataError:
    return DataError(
        f"{path}: {found.where} holds {found.kind}, which cannot be taken out without changing what the record is; "
        "change the card or the name it comes from and run again: what is finished is kept"
    )
