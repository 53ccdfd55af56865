"""Records without what must not leave the machine they were made on: free text is cleaned, everything else must be clean."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

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
        part = getattr(facts, name)
        plain = part.model_dump(mode="json", by_alias=True) if isinstance(part, BaseModel) else part
        found = list(scrubber.places(plain, name))
        if not found:
            continue
        if lasting := next((p for p in found if p.where in _NAMES), None):
            raise _cannot(path, lasting)
        try:
            clean = scrubber.json(plain)
            update[name] = (
                type(part).model_validate(clean) if isinstance(part, BaseModel) else type(part)(clean)
            )
        except (ValidationError, ValueError):
            raise _cannot(path, found[0]) from None
    return facts.model_copy(update=update)


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
        part = facts.model_dump(mode="json", by_alias=True, include={name})
        if found := next(scrubber.places(part), None):
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
            f"{path}: {found.where} holds {found.kind}, and its hash is in every record, so it cannot be taken out; write it relative to "
            "the matrix file and run again with the same --out: what is finished is kept"
        )


def _cannot(path: Path, found: Place) -> DataError:
    return DataError(
        f"{path}: {found.where} holds {found.kind}, which cannot be taken out without changing what the record is; "
        "change the card or the name it comes from and run again: what is finished is kept"
    )
