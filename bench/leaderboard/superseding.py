"""Records that a later version replaced: kept beside the publication, sealed, so that a cell keeps its history."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.errors import BenchError, DataError
from bench.leaderboard.nameless import drop_names
from bench.leaderboard.publication import Publication
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import read_facts, statistics_path
from bench.storage.atomic import clear_os_errors, write_json
from bench.storage.bounded_files import bounded_json, require_bounded_parquet
from bench.storage.hashing import hash_file
from bench.storage.run_folder import RunFolder


def superseded(publication: Publication) -> list[Publication]:
    """What a publication held before, one folder per code version, by name."""
    folder = publication.folder.superseded
    if not folder.is_dir():
        return []
    return [Publication(RunFolder(p)) for p in sorted(folder.iterdir()) if (p / "records").is_dir() and not p.is_symlink()]  # fmt: skip


def keep_superseded(target: Publication, fresh: Sequence[Path]) -> tuple[str, ...]:
    """Move aside what a publication holds and ``fresh`` records replace, or no longer have.

    A record goes to ``superseded/<code version>/`` with its statistics, the matrix it was run under and the reason why it was retracted, if
    it was. What is not as it was sealed was never published so, and is not kept.

    Args:
        target: the publication that is about to be written anew.
        fresh: the records that it will hold.

    Returns:
        Names of the records that were kept, sorted.
    """
    hashes = {p.stem: hash_file(p) for p in fresh}
    sealed = _sealed(target)
    kept = []
    retracted = target.retractions() if target.retractions_path.exists() else {}
    for path in target.record_paths():
        own = hash_file(path)
        if hashes.get(path.stem) == own or sealed.get(f"{target.folder.records.name}/{path.name}") != own:
            continue
        try:
            facts = read_facts(path)
            statistics = statistics_path(path, facts)
        except DataError:
            continue  # its statistics are not those it was published with
        with clear_os_errors(target.folder.root):
            _keep(target, path, statistics, facts, retracted.get(path.stem, ""))
        kept.append(path.stem)
    return tuple(sorted(kept))


def _sealed(target: Publication) -> dict[str, str]:
    if not target.seal_path.is_file():
        return {}
    noted = bounded_json(target.seal_path)
    files = noted.get("files") if isinstance(noted, dict) else None
    return files if isinstance(files, dict) else {}


def _keep(target: Publication, path: Path, statistics: Path, facts: RecordFacts, reason: str) -> None:
    place = _place(target, path, facts)
    place.folder.records.mkdir(parents=True, exist_ok=True)
    for file in (path, statistics):
        shutil.copyfile(file, place.folder.records / file.name)
    drop_names(place.folder.records / path.name)
    if target.folder.matrix.is_file():
        shutil.copyfile(target.folder.matrix, place.folder.matrix)
    if reason:
        noted = place.retractions() if place.retractions_path.exists() else {}
        write_json(place.retractions_path, {**noted, path.stem: reason})
    place.seal()


def _place(target: Publication, path: Path, facts: RecordFacts) -> Publication:
    """The folder of the record's code version; where another record of that name has its place, one of its own hash, too."""
    version = re.sub(r"[^a-z0-9._+-]", "-", facts.code_version.lower())
    own = hash_file(path)
    named = target.folder.superseded / version
    taken = named / "records" / path.name
    if taken.is_file() and hash_file(taken) != own:
        named = target.folder.superseded / f"{version}-{own[:8]}"
    return Publication(RunFolder(named))


def superseded_faults(
    publication: Publication, check: Callable[[Path, RecordFacts], object]
) -> Iterator[tuple[str, str]]:
    """Records that were superseded and are no longer as they were: name of the record (blank: of the folder), and a sentence.

    Args:
        publication: whose earlier records they are.
        check: raises :class:`BenchError` where a record does not follow from its statistics.
    """
    for earlier in superseded(publication):
        try:
            earlier.require_own_files()
            earlier.retractions()
            fault = earlier.broken_seal()
        except BenchError as error:
            yield "", str(error)
            continue
        if fault:
            yield "", fault.partition("; publish")[0] + f"; restore {earlier.folder.root} from the repository"
            continue
        for path in earlier.record_paths():
            try:
                bounded_json(path)
                require_bounded_parquet(path.with_suffix(".parquet"))
                check(path, read_facts(path))
            except BenchError as error:
                yield path.stem, str(error)
