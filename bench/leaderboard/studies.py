"""Studies beside a board: runs that measure again, under another plan, what stands there. They are evidence, and checked as such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError, DataError
from bench.leaderboard.checking import Believed, check_ahead
from bench.leaderboard.evidence import STUDIES, publication_name, studies
from bench.leaderboard.plan_evidence import PublishedPlans
from bench.leaderboard.publication import Publication
from bench.leaderboard.superseding import superseded_faults
from bench.leaderboard.validation import BoardProblem
from bench.scoring.outcomes import RecordOutcome
from bench.scoring.records import Record, read_facts
from bench.storage.bounded_files import bounded_json, require_bounded_parquet
from bench.storage.hashing import hash_json


@dataclass(frozen=True)
class Study:
    """A study as its folder holds it. ``planned`` is how many records its matrix plans."""

    name: str
    title: str
    description: str
    planned: int
    sealed: bool
    records: tuple[Record, ...]
    reasons: tuple[str, ...]
    """Why each record was retracted; blank where it stands."""
    outcomes: tuple[RecordOutcome, ...] = ()
    """What became of every record that it planned."""

    @property
    def codes(self) -> list[str]:
        """Versions of the suite that made it."""
        return sorted({r.facts.code_version for r in self.records})

    @property
    def synthetic(self) -> bool:
        """Whether any of it was measured on generated audio."""
        return any(r.facts.synthetic for r in self.records)


@dataclass(frozen=True)
class CheckedStudies:
    """Studies that were read, and a problem for everything about them that cannot be believed."""

    studies: tuple[Study, ...]
    problems: tuple[BoardProblem, ...]


def check_studies(root: Path, cache: Path | None = None) -> CheckedStudies:
    """Read the studies beside a board: each record's figures must follow from its statistics, its plan be the one beside it.

    A study may be planned otherwise than the board, may hold what cannot be published, and needs no seal; one that it has must hold.

    Args:
        root: folder of results.
        cache: folder that holds which files were checked before; None checks all of them anew.

    Returns:
        The studies by name.
    """
    believed = Believed(cache)
    if cache is not None:
        check_ahead([(p, None) for study in studies(root) for p in study.record_paths()], cache)
    found: list[Study] = []
    problems: list[BoardProblem] = []
    for publication in studies(root):
        try:
            publication.require_own_files()
            described = publication.described()
            if hash_json(described["matrix"]) != described["matrix_hash"]:
                raise DataError(f"{publication.folder.matrix}: the matrix was changed after it was run: its hash is not {described['matrix_hash']}")  # fmt: skip
            retracted = publication.retractions()
            if publication.seal_path.is_file() and (fault := publication.broken_seal()):
                raise DataError(fault)
        except BenchError as error:
            problems.append(BoardProblem(publication_name(root, publication), "", str(error)))
            continue
        plans = PublishedPlans(publication, described)
        problems += [BoardProblem(publication_name(root, publication), "", fault) for fault in plans.faults]
        records: dict[str, Record] = {}
        for path in publication.record_paths():
            try:
                records[path.stem] = _checked(path, described["matrix_hash"], believed)
                plans.require(path, records[path.stem].facts)
            except BenchError as error:
                problems.append(BoardProblem(publication_name(root, publication), path.stem, str(error)))
        problems += [BoardProblem(publication_name(root, publication), s, said) for s, said in superseded_faults(publication, believed.record)]  # fmt: skip
        outcomes = plans.outcomes([(r.facts, retracted.get(stem, "")) for stem, r in records.items()])
        study = _study(publication, described, records, retracted)
        found.append(replace(study, outcomes=tuple(outcomes)))
    return CheckedStudies(tuple(found), tuple(problems))


def _checked(path: Path, matrix_hash: str, believed: Believed) -> Record:
    bounded_json(path)
    require_bounded_parquet(path.with_suffix(".parquet"))
    facts = read_facts(path)
    if facts.matrix_hash != matrix_hash:
        raise DataError(
            f"{path}: was scored under another matrix ({facts.matrix_hash}) than the one beside it ({matrix_hash}); publish the study whole"
        )
    return believed.record(path, facts)


def _study(
    publication: Publication,
    described: Mapping[str, Any],
    records: Mapping[str, Record],
    retracted: Mapping[str, str],
) -> Study:
    planned = described.get("records")
    return Study(
        name=f"{STUDIES}/{publication.name}",
        title=str(described["matrix"].get("name", publication.name)),
        description=str(described["matrix"].get("description", "")),
        planned=len(planned) if isinstance(planned, list) else len(records),
        sealed=publication.seal_path.is_file(),
        records=tuple(records.values()),
        reasons=tuple(retracted.get(stem, "") for stem in records),
    )
