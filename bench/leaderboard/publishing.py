"""From a finished run to published records, and from a published record to a retracted one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.corpora.copies import CopyMarks
from bench.corpora.naming import names_of_run, read_marks, write_marks
from bench.errors import DataError, UsageError, nearest
from bench.leaderboard.conversion import rescored
from bench.leaderboard.outcomes import outcomes_to_publish, write_outcomes
from bench.leaderboard.publication import Board, Publication
from bench.leaderboard.published_record import Publishable, publishable, write_publishable
from bench.leaderboard.scrubbed_records import require_clean_json
from bench.leaderboard.superseding import keep_superseded
from bench.scoring.outcomes import RecordOutcome, place_of
from bench.scoring.published_tables import published_cells
from bench.scoring.record_schema import KEYED_SINCE, RecordFacts
from bench.scoring.records import read_facts
from bench.scoring.rescoring import record_paths
from bench.storage.atomic import clear_os_errors, write_json
from bench.storage.bounded_files import bounded_json
from bench.storage.run_folder import RunFolder
from bench.storage.scrubbing import Scrubber
from bench.tasks.rebuilding import RebuiltTasks


@dataclass(frozen=True)
class Added:
    """What was published, what could not be (file stems with the reason), and what became of all that was planned."""

    publication: Publication
    published: tuple[str, ...]
    left_out: dict[str, str]
    outcomes: tuple[RecordOutcome, ...] = ()
    superseded: tuple[str, ...] = ()
    """Records that were replaced, and are kept as the cell's history."""


def add_run(
    run: Path, board: Board, name: str | None = None, *, tables: bool = True, data: Sequence[Path] = ()
) -> Added:
    """Publish a run's records, with their prediction tables beside them, as ``<board>/<name>/``.

    Clips, speakers and folds get the names that only holders of the corpus can make, the tables of a record become one, and what
    must not leave this machine is taken out of all texts. The run itself stays as it is.

    Records that may not be published (synthetic, limited, under the coverage floor) stay behind, and are named with their
    reason. A publication of the same name is replaced as a whole when it came from the same matrix; its retractions stay, and
    records that are replaced are kept under ``superseded/``.

    Args:
        run: folder of a finished run.
        board: where it is published.
        name: of the publication; blank for the matrix's.
        tables: whether prediction tables are published, too.
        data: folders of prepared corpora, for records of earlier schemas, whose names have to be made anew; else
            SERBENCH_DATA, else where the run found them.

    Returns:
        What was published, and what was left out and why.

    Raises:
        UsageError: no run, or a name that another matrix has taken.
        DataError: not one record may be published, or one holds what must not leave this machine and cannot be taken out.
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
    left_out = {p.stem: "; ".join(f.obstacles) for p, f in facts.items() if not f.publishable}
    chosen = [p for p in paths if p.stem not in left_out]
    if not chosen:
        reasons = sorted(set(left_out.values())) or ["the run holds no record yet"]
        raise DataError(f"{run}: nothing to publish: {reasons[0]}")
    retracted = target.retractions() if target.retractions_path.exists() else {}
    if lost := sorted(set(retracted) - {p.stem for p in chosen}):
        raise UsageError(
            f"{target.folder.root}: {lost[0]} was retracted there and the run no longer has it, so it would vanish; choose another --name"
        )
    unpublished = {place_of(facts[p]): left_out[p.stem] for p in paths if p.stem in left_out}
    outcomes = outcomes_to_publish(source, described, list(facts.values()), unpublished)
    if run.resolve() == target.folder.root.resolve():
        if left_out:
            raise DataError(
                f"{run}: holds a record that may not be published: {min(left_out)}: {left_out[min(left_out)]}"
            )
        require_published(paths, facts)
        write_outcomes(target, described["matrix_hash"], outcomes)
        target.seal()  # published folders that were made by copying
        return Added(target, tuple(p.stem for p in chosen), {}, outcomes)
    scrubber = Scrubber.of_this_machine([run.absolute()])
    with clear_os_errors(target.folder.root), _staged(target) as staging:
        marks: dict[str, CopyMarks] = read_marks(source.copies) if source.copies.is_file() else {}
        for path in chosen:
            if _is_published(facts[path]):
                _copy_published(path, facts[path], source, staging, tables=tables)
                continue
            made = _made(path, facts[path], source, data)
            write_publishable(made, staging, scrubber, tables=tables)
            marks[made.corpus_language] = made.names.marks
        write_marks(staging.copies, marks)
        _write_beside(source, staging, described, scrubber)
        write_outcomes(Publication(staging), described["matrix_hash"], outcomes)
        _scrub_file(Publication(staging).outcomes_path, scrubber)
        fresh = [staging.records / p.name for p in chosen]
        superseded = keep_superseded(target, fresh) if target.seal_path.is_file() else ()
    target.seal()
    return Added(target, tuple(p.stem for p in chosen), left_out, outcomes, superseded)


def require_published(paths: Sequence[Path], facts: Mapping[Path, RecordFacts]) -> None:
    """Raise :class:`DataError` where a record lies among published ones as a run keeps it, clip ids and all."""
    for path in paths:
        said = facts[path]
        if said.schema_version >= KEYED_SINCE and (said.tables or said.inputs_hash is not None):
            raise DataError(
                f"{path}: is a record as a run keeps it, whose tables hold the corpus's own clip ids; publish the run itself with: "
                "serbench leaderboard add RUN"
            )


def _is_published(facts: RecordFacts) -> bool:
    """Whether a record has the names and the form of published ones already: the folder given is a publication itself."""
    return facts.schema_version >= KEYED_SINCE and not facts.tables and facts.inputs_hash is None


def _copy_published(
    path: Path, facts: RecordFacts, source: RunFolder, staging: RunFolder, *, tables: bool
) -> None:
    for file in (path, path.with_suffix(".parquet")):
        shutil.copyfile(file, staging.records / file.name)
    if facts.table is not None and tables:
        published_cells(path, facts, source.tables)
        staging.tables.mkdir(exist_ok=True)
        shutil.copyfile(source.tables / facts.table.file, staging.tables / facts.table.file)


def scrubbed_matrix(path: Path, described: Mapping[str, Any], scrubber: Scrubber) -> dict[str, Any]:
    """Return ``matrix.json`` as it may be published: the matrix must be clean, what is said beside it is cleaned.

    Args:
        path: the file, for the sentence.
        described: what it holds.
        scrubber: knows what must not leave this machine.

    Raises:
        DataError: the matrix itself holds such a thing; its hash stands in every record.
    """
    require_clean_json(path, described["matrix"], "matrix", scrubber)
    beside = {k: v for k, v in described.items() if k not in ("matrix", "matrix_hash")}
    return {**scrubber.json(beside), "matrix": described["matrix"], "matrix_hash": described["matrix_hash"]}


def _made(path: Path, facts: RecordFacts, source: RunFolder, data: Sequence[Path]) -> Publishable:
    """A run's record, ready to be published; one of an earlier schema is scored again for its names."""
    if facts.schema_version < KEYED_SINCE:
        return rescored(path, source.tables, RebuiltTasks.of_run(source.root, data))
    names = names_of_run(source, f"{facts.corpus}.{facts.language}")
    if names is None or facts.audio is None or names.commitment != facts.audio.commitment:
        state = "is missing" if names is None else "is the key of another copy of the corpus"
        raise DataError(
            f"{source.names / f'{facts.corpus}.{facts.language}.json'}: {state}, and names are published under it; let serbench run make it "
            "again with the same matrix and --out: what is finished is kept"
        )
    return publishable(path, source.tables, names)


def _write_beside(
    source: RunFolder, staging: RunFolder, described: Mapping[str, Any], scrubber: Scrubber
) -> None:
    """Write what lies beside the records: the matrix, times and hardware, and the log of its plans, which is as it is or not at all."""
    write_json(staging.matrix, scrubbed_matrix(source.matrix, described, scrubber))
    if source.sidecar.is_file():
        write_json(staging.sidecar, scrubber.json(bounded_json(source.sidecar)))
    if source.plan_log.is_file():
        require_clean_json(source.plan_log, bounded_json(source.plan_log), "", scrubber)
        shutil.copyfile(source.plan_log, staging.plan_log)


def _scrub_file(path: Path, scrubber: Scrubber) -> None:
    write_json(path, scrubber.json(bounded_json(path)))


@contextmanager
def _staged(target: Publication) -> Iterator[RunFolder]:
    """Give a folder to write a publication into; only when all of it is written does it take the place of what was there."""
    root = target.folder.root
    staging = RunFolder(root.with_name(f".{root.name}.partial"))
    shutil.rmtree(staging.root, ignore_errors=True)
    try:
        staging.records.mkdir(parents=True)
        yield staging
        root.mkdir(exist_ok=True)
        for part in (target.folder.records, target.folder.tables):
            shutil.rmtree(part, ignore_errors=True)
        for file in (target.folder.sidecar, target.folder.plan_log):
            file.unlink(missing_ok=True)
        for part in sorted(staging.root.iterdir()):
            part.replace(root / part.name)
    finally:
        shutil.rmtree(staging.root, ignore_errors=True)


def retract(board: Board, record: str, why: str) -> Publication:
    """Mark a published record as withdrawn, with the reason; it is kept, and shown as such.

    Args:
        board: where it is published.
        record: ``NAME/STEM``, or a stem that only one publication has.
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
    places = {
        p.name: p
        for p in board.publications()
        if (not name or p.name == name) and stem in {r.stem for r in p.record_paths()}
    }
    if not places:
        known = [f"{p.name}/{r.stem}" for p in board.publications() for r in p.record_paths()]
        raise UsageError(f"no published record {record!r}; {nearest(record, known, shown=4)}")
    if len(places) > 1:
        raise UsageError(f"{stem} stands in {', '.join(places)}; say which: {next(iter(places))}/{stem}")
    (publication,) = places.values()
    write_json(publication.retractions_path, {**publication.retractions(), stem: reason})
    return publication
