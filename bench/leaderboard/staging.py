"""A publication written beside its place, record by record, before it takes it: nothing half-written is ever published."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.corpora.naming import names_of_run
from bench.errors import DataError
from bench.leaderboard.conversion import rescored
from bench.leaderboard.publication import Publication
from bench.leaderboard.published_record import Publishable, publishable
from bench.leaderboard.scrubbed_records import require_clean_json
from bench.scoring.published_tables import published_cells
from bench.scoring.record_schema import KEYED_SINCE, RecordFacts
from bench.storage.atomic import write_json
from bench.storage.bounded_files import bounded_json
from bench.storage.run_folder import RunFolder
from bench.storage.scrubbing import Scrubber
from bench.tasks.rebuilding import RebuiltTasks


def require_published(paths: Sequence[Path], facts: Mapping[Path, RecordFacts]) -> None:
    """Raise :class:`DataError` where a record lies among published ones as a run keeps it, clip ids and all."""
    for path in paths:
        said = facts[path]
        if said.schema_version >= KEYED_SINCE and (said.tables or said.inputs_hash is not None):
            raise DataError(
                f"{path}: is a record as a run keeps it, whose tables hold the corpus's own clip ids; publish the run itself with: "
                "serbench leaderboard add RUN"
            )


def is_published(facts: RecordFacts) -> bool:
    """Whether a record has the names and the form of published ones already: the folder given is a publication itself."""
    return facts.schema_version >= KEYED_SINCE and not facts.tables and facts.inputs_hash is None


def copy_published(
    path: Path, facts: RecordFacts, name: str, source: RunFolder, staging: RunFolder, *, tables: bool
) -> None:
    """Copy a record that has the form of published ones.

    Args:
        path: the record.
        facts: what it says, under the name of its owner.
        name: file name that it will have.
        source: the publication that it lies in.
        staging: where it goes.
        tables: whether its prediction table goes with it.

    Raises:
        DataError: it would need another name than its table has, or its table was changed.
    """
    if name != path.name:
        raise DataError(
            f"{path}: is published already, and a published record keeps its name; publish the run it came from with --as OWNER"
        )
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


def made_publishable(path: Path, facts: RecordFacts, source: RunFolder, data: Sequence[Path]) -> Publishable:
    """A run's record, ready to be published; one of an earlier schema is scored again for its names.

    Args:
        path: the record.
        facts: what it says.
        source: the run.
        data: folders of prepared corpora, for records of earlier schemas.

    Raises:
        DataError: the key of the names is missing, or of another copy of the corpus.
    """
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


def write_beside(
    source: RunFolder, staging: RunFolder, described: Mapping[str, Any], scrubber: Scrubber
) -> None:
    """Write what lies beside the records: the matrix, times and hardware, and the log of its plans, which is as it is or not at all.

    Args:
        source: the run.
        staging: where it goes.
        described: the run's ``matrix.json``.
        scrubber: knows what must not leave this machine.

    Raises:
        DataError: the matrix or the log holds what must not leave this machine.
    """
    write_json(staging.matrix, scrubbed_matrix(source.matrix, described, scrubber))
    if source.sidecar.is_file():
        write_json(staging.sidecar, scrubber.json(bounded_json(source.sidecar)))
    if source.plan_log.is_file():
        require_clean_json(source.plan_log, bounded_json(source.plan_log), "", scrubber)
        shutil.copyfile(source.plan_log, staging.plan_log)


def scrub_file(path: Path, scrubber: Scrubber) -> None:
    """Take out of a JSON file what must not leave this machine."""
    write_json(path, scrubber.json(bounded_json(path)))


@contextmanager
def staged(target: Publication) -> Iterator[RunFolder]:
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
