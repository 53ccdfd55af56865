"""From a finished run to published records, and from a published record to a retracted one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.corpora.copies import CopyMarks
from bench.corpora.naming import read_marks, write_marks
from bench.errors import DataError, UsageError, nearest
from bench.leaderboard.attestations import FOLDER, attestation_path, kept_attestations
from bench.leaderboard.card_identity import owned
from bench.leaderboard.evidence import STUDIES, publication_name, studies
from bench.leaderboard.newcomers import Newcomers, Taken, choose, owned_facts, stem_of
from bench.leaderboard.outcomes import outcomes_to_publish, write_outcomes
from bench.leaderboard.publication import Board, Publication
from bench.leaderboard.published_record import write_publishable
from bench.leaderboard.staging import (
    copy_published,
    is_published,
    made_publishable,
    require_published,
    scrub_file,
    staged,
    write_beside,
)
from bench.leaderboard.superseding import keep_superseded
from bench.scoring.outcomes import RecordOutcome, RecordPlace, place_of
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import read_facts
from bench.scoring.rescoring import record_paths
from bench.storage.atomic import clear_os_errors, write_json
from bench.storage.run_folder import RunFolder
from bench.storage.scrubbing import Scrubber


@dataclass(frozen=True)
class Added:
    """What was published, what was not (file stems with the reason), and what became of all that was planned.

    ``left_out`` may not be published, ``skipped`` stands on the board already.
    """

    publication: Publication
    published: tuple[str, ...]
    left_out: dict[str, str]
    skipped: dict[str, str] = field(default_factory=dict)
    outcomes: tuple[RecordOutcome, ...] = ()
    superseded: tuple[str, ...] = ()
    """Records that were replaced, and are kept as the cell's history."""


def add_run(
    run: Path,
    board: Board,
    name: str | None = None,
    *,
    tables: bool = True,
    only: Mapping[str, Sequence[str]] | None = None,
    owner: str = "",
    taken: Taken = "refuse",
    data: Sequence[Path] = (),
) -> Added:
    """Publish a run's records, with their prediction tables beside them, as ``<board>/<name>/``.

    Clips, speakers and folds get the names that only holders of the corpus can make, the tables of a record become one, and what
    must not leave this machine is taken out of all texts. The run itself stays as it is.

    Records that may not be published (synthetic, limited, under the coverage floor, of a name that is another's) stay behind, and are
    named with their reason, as are those that stand on the board already. A publication of the same name is replaced as a whole
    when it came from the same matrix; its retractions stay, and records that are replaced are kept under ``superseded/``.

    Args:
        run: folder of a finished run.
        board: where it is published.
        name: of the publication; blank for the matrix's.
        tables: whether prediction tables are published, too.
        only: patterns by ``system``, ``task``, ``protocol``, ``condition``; the rest of the run is not looked at.
        owner: put before the names of systems that are not the suite's own.
        taken: what becomes of a shipped system's record whose place is taken by other answers.
        data: folders of prepared corpora, for records of earlier schemas, whose names have to be made anew; else
            SERBENCH_DATA, else where the run found them.

    Returns:
        What was published, and what was left out and why.

    Raises:
        UsageError: no run, or a name that another matrix has taken.
        DataError: not one record may be published, a place is taken, or a record holds what must not leave this machine and
            cannot be taken out.
    """
    source = RunFolder(run)
    paths = record_paths(run)
    if not source.matrix.is_file():
        raise UsageError(
            f"{run}: has no {source.matrix.name}, so its plan is unknown; give the folder of a run"
        )
    described = Publication(source).described()
    target = board.publication(name or str(described["matrix"].get("name", "")))
    if target.folder.matrix.exists() and target.described()["matrix_hash"] != described["matrix_hash"]:
        raise UsageError(
            f"{target.folder.root}: was published from another matrix; choose another --name, or retract its records first"
        )
    facts = {p: read_facts(p) for p in paths}
    if run.resolve() == target.folder.root.resolve():
        return _sealed_again(source, target, described, facts)
    found = choose(facts, board, target, only=only, owner=owner, taken=taken)
    if not found.chosen:
        reasons = [*found.left_out.values(), *found.skipped.values()] or ["the run holds no record yet"]
        raise DataError(f"{run}: nothing to publish: {'; '.join(list(dict.fromkeys(reasons))[:4])}")
    retracted = target.retractions() if target.retractions_path.exists() else {}
    if lost := sorted(set(retracted) - {stem_of(f) for f in found.chosen.values()}):
        raise UsageError(
            f"{target.folder.root}: {lost[0]} was retracted there and the run no longer has it, so it would vanish; choose another --name"
        )
    named = [owned_facts(f, owner) for f in facts.values()]
    outcomes = outcomes_to_publish(source, described, named, _unpublished(facts, found, owner))
    scrubber = Scrubber.of_this_machine([run.absolute()])
    with clear_os_errors(target.folder.root), staged(target) as staging:
        _write_records(found, source, staging, scrubber, owner=owner, tables=tables, data=data)
        write_beside(source, staging, described, scrubber)
        write_outcomes(Publication(staging), described["matrix_hash"], outcomes)
        scrub_file(Publication(staging).outcomes_path, scrubber)
        fresh = sorted(staging.records.glob("*.json"))
        superseded = keep_superseded(target, fresh) if target.seal_path.is_file() else ()
    _keep_attestations(target)
    target.seal()
    published = tuple(p.stem for p in fresh)
    return Added(target, published, dict(found.left_out), dict(found.skipped), outcomes, superseded)


def _write_records(
    found: Newcomers,
    source: RunFolder,
    staging: RunFolder,
    scrubber: Scrubber,
    *,
    owner: str,
    tables: bool,
    data: Sequence[Path],
) -> None:
    """Write the chosen records as they are published, and the marks of the corpora's copies."""
    marks: dict[str, CopyMarks] = read_marks(source.copies) if source.copies.is_file() else {}
    for path, named in found.chosen.items():
        if is_published(named):
            copy_published(path, named, f"{stem_of(named)}.json", source, staging, tables=tables)
            continue
        made = made_publishable(path, read_facts(path), source, data)
        if owner:
            made = replace(
                made, facts=owned(made.facts, owner), path=path.with_name(f"{stem_of(named)}.json")
            )
        write_publishable(made, staging, scrubber, tables=tables)
        marks[made.corpus_language] = made.names.marks
    write_marks(staging.copies, marks)


def _unpublished(facts: Mapping[Path, RecordFacts], found: Newcomers, owner: str) -> dict[RecordPlace, str]:
    """Why records of the run are not published, by what tells them apart."""
    reasons = {**found.left_out, **found.skipped}
    return {
        place_of(owned_facts(own, owner)): reasons.get(path.stem, "left out (--only)")
        for path, own in facts.items()
        if path not in found.chosen
    }


def _sealed_again(source: RunFolder, target: Publication, described: Mapping[str, Any], facts: Mapping[Path, RecordFacts]) -> Added:  # fmt: skip
    """Seal a published folder that was made by copying."""
    for path, own in facts.items():
        if not own.publishable:
            raise DataError(
                f"{target.folder.root}: holds a record that may not be published: {path.stem}: {'; '.join(own.obstacles)}"
            )
    require_published(list(facts), facts)
    outcomes = outcomes_to_publish(source, described, list(facts.values()), {})
    write_outcomes(target, described["matrix_hash"], outcomes)
    target.seal()
    return Added(target, tuple(p.stem for p in facts), {}, {}, outcomes)


def _keep_attestations(target: Publication) -> None:
    """Keep what people vouched for and published again in the same bytes; the rest of their word is void."""
    root = target.folder.root
    kept = kept_attestations(root, {p.stem: p for p in target.record_paths()})
    shutil.rmtree(root / FOLDER, ignore_errors=True)
    for attester, made in kept.items():
        write_json(attestation_path(root, attester), made)


def retract(board: Board, record: str, why: str) -> Publication:
    """Mark a published record as withdrawn, with the reason; it is kept, and shown as such.

    Args:
        board: where it is published.
        record: ``NAME/STEM`` (``studies/NAME/STEM`` of a study), or a stem that only one publication has.
        why: the reason, one sentence.

    Returns:
        The publication that holds it.

    Raises:
        UsageError: no such record, several of that name, or no reason.
    """
    reason = " ".join(why.split())
    if not reason:
        raise UsageError("a retraction needs its reason: --why 'what was wrong'")
    name, _, stem = record.removesuffix(".json").rpartition("/")
    studied = studies(board.root) if name.startswith(f"{STUDIES}/") else []
    published = {publication_name(board.root, p): p for p in studied or board.publications()}
    places = {
        title: p
        for title, p in published.items()
        if (not name or title == name) and stem in {r.stem for r in p.record_paths()}
    }
    if not places:
        known = [f"{n}/{r.stem}" for n, p in published.items() for r in p.record_paths()]
        raise UsageError(f"no published record {record!r}; {nearest(record, known, shown=4)}")
    if len(places) > 1:
        raise UsageError(f"{stem} stands in {', '.join(places)}; say which: {next(iter(places))}/{stem}")
    (publication,) = places.values()
    write_json(publication.retractions_path, {**publication.retractions(), stem: reason})
    return publication
