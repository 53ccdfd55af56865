"""From a finished run to published records, and from a published record to a retracted one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bench.errors import DataError, UsageError, nearest
from bench.leaderboard.outcomes import outcomes_to_publish, write_outcomes
from bench.leaderboard.publication import Board, Publication
from bench.leaderboard.superseding import keep_superseded
from bench.scoring.outcomes import RecordOutcome, place_of
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import read_facts
from bench.scoring.rescoring import record_paths
from bench.storage.atomic import clear_os_errors, write_json
from bench.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Added:
    """What was published, what could not be (file stems with the reason), and what became of all that was planned."""

    publication: Publication
    published: tuple[str, ...]
    left_out: dict[str, str]
    outcomes: tuple[RecordOutcome, ...] = ()
    superseded: tuple[str, ...] = ()
    """Records that were replaced, and are kept as the cell's history."""


def add_run(run: Path, board: Board, name: str | None = None, *, tables: bool = True) -> Added:
    """Publish a run's records, with their prediction tables beside them, as ``<board>/<name>/``.

    Records that may not be published (synthetic, limited, under the coverage floor) stay behind, and are named with their
    reason. A publication of the same name is replaced as a whole when it came from the same matrix; its retractions stay, and
    records that are replaced are kept under ``superseded/``.

    Args:
        run: folder of a finished run.
        board: where it is published.
        name: of the publication; blank for the matrix's.
        tables: whether prediction tables are published, too.

    Returns:
        What was published, and what was left out and why.

    Raises:
        UsageError: no run, or a name that another matrix has taken.
        DataError: not one record may be published.
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
        write_outcomes(target, described["matrix_hash"], outcomes)
        target.seal()  # published folders that were made by copying
        return Added(target, tuple(p.stem for p in chosen), {}, outcomes)
    superseded = keep_superseded(target, chosen) if target.seal_path.is_file() else ()
    with clear_os_errors(target.folder.root):
        _copy(source, target, chosen, facts, tables=tables)
        write_outcomes(target, described["matrix_hash"], outcomes)
    target.seal()
    return Added(target, tuple(p.stem for p in chosen), left_out, outcomes, superseded)


def _copy(
    source: RunFolder, target: Publication, chosen: list[Path], facts: dict[Path, RecordFacts], *, tables: bool
) -> None:  # fmt: skip
    for part in (target.folder.records, target.folder.tables):
        shutil.rmtree(part, ignore_errors=True)
    target.folder.records.mkdir(parents=True)
    cells: dict[str, None] = {}
    for path in chosen:
        shutil.copyfile(path, target.folder.records / path.name)
        shutil.copyfile(path.with_suffix(".parquet"), target.folder.records / f"{path.stem}.parquet")
        cells |= dict.fromkeys(facts[path].tables)
    for path in (source.matrix, source.sidecar, source.plan_log):
        (target.folder.root / path.name).unlink(missing_ok=True)
        if path.is_file():
            shutil.copyfile(path, target.folder.root / path.name)
    if tables:
        target.folder.tables.mkdir()
        for cell in cells:
            # The variants of a cell (prompts, orders) lie beside it, under its key.
            for path in sorted(source.tables.glob(f"{cell}*.parquet")):
                shutil.copyfile(path, target.folder.tables / path.name)


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
