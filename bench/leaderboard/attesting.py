"""To attest: whoever holds a corpus counts published records of it again and writes down which ones hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import DataError, UsageError, nearest
from bench.leaderboard.attestations import (
    ATTESTER,
    FILE_BYTES,
    Attestation,
    Vouched,
    attestation_path,
    kept_attestations,
)
from bench.leaderboard.publication import Board, Publication
from bench.leaderboard.validation import BoardRecord, validate
from bench.storage.atomic import clear_os_errors, write_json
from bench.storage.bounded_files import bounded_json
from bench.storage.hashing import hash_file
from bench.storage.provenance import code_version


@dataclass(frozen=True)
class Attested:
    """What was attested: the records by publication, the files, and the records that could not be checked, with the reason."""

    records: dict[str, tuple[str, ...]]
    paths: tuple[Path, ...]
    left_out: dict[str, str]


def attest(board: Board, by: str, records: Sequence[str] = (), data: Sequence[Path] = ()) -> Attested:
    """Count published records again from their tables and the corpus's labels, and vouch for those that hold.

    Args:
        board: where they are published.
        by: who vouches: small letters, digits and hyphens, the name that ``board.yaml`` may list.
        records: ``NAME/STEM`` or the name of a publication; blank for all whose corpus is at hand.
        data: folders of prepared corpora (else SERBENCH_DATA).

    Returns:
        What was attested and what was not.

    Raises:
        UsageError: no such record, or a name that cannot be an attester's.
        DataError: a record that was asked for is refused or cannot be checked here; nothing is written then, but what the
            attester had said of records that have changed since is taken back.
    """
    require_name(by)
    for publication in board.publications():
        _take_back_void(publication, by)
    found = validate(board, data)
    chosen = _chosen(found.records, records, {p.name for p in board.publications()})
    faults = [p for p in found.problems if _named(p.publication, p.record, records)]
    if faults and records:
        raise DataError(f"nothing was attested: {faults[0].sentence}")
    left_out = {"/".join(filter(None, (p.publication, p.record))): p.sentence for p in faults}
    left_out |= {r.place: _why_not(r) for r in chosen if r.badge != "labels"}
    checked = [r for r in chosen if r.badge == "labels"]
    if not checked or (records and left_out):
        place, reason = next(iter(left_out.items()), ("", "no record is published"))
        raise DataError(f"nothing was attested: {place + ': ' if place else ''}{reason}")
    by_publication: dict[str, list[BoardRecord]] = {}
    for record in checked:
        by_publication.setdefault(record.publication, []).append(record)
    paths = [_write(board.publication(name), by, own) for name, own in by_publication.items()]
    return Attested(
        {name: tuple(r.path.stem for r in own) for name, own in by_publication.items()},
        tuple(paths),
        left_out,
    )


def require_name(by: str) -> None:
    """Raise :class:`UsageError` unless somebody can be called so."""
    if not re.match(ATTESTER, by):
        raise UsageError(
            f"{by!r} cannot name whoever sends or vouches for records: small letters, digits and single hyphens inside, like an account"
        )


def _chosen(found: Sequence[BoardRecord], asked: Sequence[str], publications: set[str]) -> list[BoardRecord]:
    if not asked:
        return [r for r in found if not r.retracted]
    known = {r.place: r for r in found}
    chosen: dict[str, BoardRecord] = {}
    for name in (a.removesuffix(".json").strip("/") for a in asked):
        if name in publications:
            chosen |= {r.place: r for r in found if r.publication == name and not r.retracted}
        elif name in known:
            chosen[name] = known[name]
        else:
            raise UsageError(f"no published record {name!r} that holds; {nearest(name, known, shown=4)}")
    return list(chosen.values())


def _named(publication: str, record: str, asked: Sequence[str]) -> bool:
    """Whether a problem concerns what was asked for; a publication's own concerns all its records."""
    return not asked or any(a.split("/")[0] == publication and (not record or a in (publication, f"{publication}/{record}")) for a in asked)  # fmt: skip


def _why_not(record: BoardRecord) -> str:
    facts = record.record.facts
    if record.badge == "statistics":
        return "it was published without its prediction tables, so nothing can be counted again"
    return f"its corpus {facts.corpus!r} is not at hand; name it with --data or SERBENCH_DATA"


def _take_back_void(publication: Publication, by: str) -> None:
    """Take back a person's word on records that have changed since: it is void, and would stand in the way of a new one."""
    root = publication.folder.root
    path = attestation_path(root, by)
    if not path.is_file():
        return
    before = bounded_json(path, FILE_BYTES)
    kept = kept_attestations(root, {p.stem: p for p in publication.record_paths()}).get(by)
    with clear_os_errors(path):
        if kept is None:
            path.unlink()
        elif kept != before:
            write_json(path, kept)


def _write(publication: Publication, by: str, records: Sequence[BoardRecord]) -> Path:
    """Write one person's attestation of a publication; what he had vouched for before and still holds stays."""
    root = publication.folder.root
    stems = {p.stem: p for p in publication.record_paths()}
    before = kept_attestations(root, stems).get(by)
    vouched = dict(Attestation.model_validate(before).records) if before else {}
    for r in records:
        facts = r.record.facts
        vouched[r.path.stem] = Vouched(
            record=hash_file(r.path),
            corpus=facts.corpus,
            content_hash=facts.content_hash,
            clips=facts.clips,
            checked="labels",
            code_version=code_version(),
        )
    made = Attestation(by=by, records=dict(sorted(vouched.items())))
    path = attestation_path(root, by)
    with clear_os_errors(path):
        write_json(path, made.model_dump(mode="json", by_alias=True))
    return path
