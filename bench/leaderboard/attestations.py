"""Attestations: that somebody who holds a corpus counted published records again from their tables and its labels.

``attested/ATTESTER.json`` of a publication, one file per person. It names records by the hash of their bytes, so it vouches for no other
version of them. It is no proof: whoever can write into the repository can write one. It counts where ``board.yaml`` lists the
attester, and the people who merge must know that it comes from him.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.cards.plain_words import expectation
from bench.errors import DataError
from bench.scoring.record_schema import Count, Hash, Word
from bench.storage.bounded_files import bounded_json
from bench.storage.hashing import hash_file

ATTESTER = r"^[a-z0-9]([a-z0-9-]{0,37}[a-z0-9])?$"
"""Small letters, digits and hyphens, like an account of a code host."""
FOLDER = "attested"
FILE_BYTES = 4 << 20
_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Vouched(BaseModel):
    """What was checked of one record: its bytes, on which version of the corpus, by which code."""

    model_config = _STRICT
    record: Hash
    """Hash of the record's JSON, which names its statistics and its tables by their hashes."""
    corpus: Word
    content_hash: Hash
    """Clips, labels and speakers that it was counted on."""
    clips: Count
    checked: Literal["labels"]
    code_version: Annotated[str, Field(max_length=80, pattern=r"^[0-9][0-9A-Za-z.+-]*$")]


class Attestation(BaseModel):
    """What one person vouches for in a publication, by the records' file stems."""

    model_config = _STRICT
    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    by: Annotated[str, Field(pattern=ATTESTER)]
    records: Annotated[dict[str, Vouched], Field(max_length=100_000)]


def attestation_path(publication: Path, attester: str) -> Path:
    """Where a person's attestation lies in a publication's folder."""
    return publication / FOLDER / f"{attester}.json"


def read_attestations(publication: Path, stems: Mapping[str, Path]) -> dict[str, dict[str, Vouched]]:
    """Read what people vouch for in a publication.

    Args:
        publication: its folder.
        stems: its records, by file stem.

    Returns:
        Record's stem → attester → what he checked of it.

    Raises:
        DataError: something in the folder that is no attestation, or one of another record or another version.
    """
    folder = publication / FOLDER
    found: dict[str, dict[str, Vouched]] = {}
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir()):
        made = _read(path)
        for stem, vouched in made.records.items():
            again = f"let {made.by} run serbench leaderboard attest again"
            if stem not in stems:
                raise DataError(f"{path}: vouches for {stem!r}, which is no record beside it; {again}")
            if hash_file(stems[stem]) != vouched.record:
                raise DataError(f"{path}: vouches for another version of {stems[stem]}; {again}")
            found.setdefault(stem, {})[made.by] = vouched
    return found


def _read(path: Path) -> Attestation:
    if path.suffix != ".json":
        raise DataError(f"{path}: no attestation; serbench leaderboard attest writes what belongs here")
    try:
        made = Attestation.model_validate(bounded_json(path, FILE_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(p) for p in first["loc"])[:200]
        raise DataError(
            f"{path}: no attestation of this version ({where}: expected {expectation(first)})"
        ) from None
    if made.by != path.stem:
        raise DataError(f"{path}: is by {made.by!r}, so it must be called {made.by}.json")
    return made


def kept_attestations(publication: Path, stems: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """What of the attestations of a publication still holds, JSON by attester: its records were published again.

    Args:
        publication: its folder.
        stems: its records as they are now, by file stem.

    Returns:
        Attester → what to write; people of whose word nothing is left are not among them.
    """
    kept = {}
    folder = publication / FOLDER
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        made = _read(path)
        records = {s: v for s, v in made.records.items() if s in stems and hash_file(stems[s]) == v.record}
        if records:
            kept[made.by] = made.model_copy(update={"records": records}).model_dump(
                mode="json", by_alias=True
            )
    return kept
