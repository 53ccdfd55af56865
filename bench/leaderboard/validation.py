"""Which published records may be believed: everything about them checked as far as what is at hand allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.cards.analysis_plan import AnalysisPlan
from bench.errors import BenchError, DataError
from bench.leaderboard.consistency import require_consistent
from bench.leaderboard.lazy_records import stored_record
from bench.leaderboard.outcomes import where_else
from bench.leaderboard.plan_evidence import PublishedPlans
from bench.leaderboard.publication import Board, Publication, plan_of
from bench.leaderboard.registration import NOT_REGISTERED, RegistrationCheck, Registrations
from bench.leaderboard.same_names import naming_fault
from bench.leaderboard.superseding import superseded_faults
from bench.leaderboard.table_evidence import require_possible, require_tables
from bench.scoring.outcomes import RecordOutcome
from bench.scoring.plan_seen import plan_words
from bench.scoring.record_schema import RecordFacts
from bench.scoring.recording import figures_code
from bench.scoring.records import Record, read_facts, read_record
from bench.scoring.rescoring import Checked, from_record, from_tables
from bench.storage.bounded_files import bounded_json, require_bounded_parquet, require_bounded_statistics
from bench.storage.hashing import digest, hash_file, hash_json
from bench.tasks.rebuilding import RebuiltTasks, corpora_at_hand

Badge = Literal["statistics", "tables", "labels"]
BADGES: Mapping[Badge, str] = {
    "statistics": "every score follows from the additive statistics in the record",
    "tables": "every score follows from the statistics, and these agree with the prediction tables beside them",
    "labels": "the statistics were counted again from the prediction tables and the labels of the corpus, and every score follows",
}
"""What a badge says was checked; each includes the one before."""
BINDING = ("primary_view", "primary_metric", "margin", "level", "coverage_floor", "population")
"""What a plan must have in common with the board's, or verdicts and intervals would not mean the same."""
RESOLUTION = ("resamples", "permutations")
MOST_TIMES = 100
"""How much finer than the board's a plan may be: resamples are memory and time of whoever checks."""


@dataclass(frozen=True)
class BoardRecord:
    """A published record that passed: from where, what was checked, and why it no longer stands, if it was retracted."""

    publication: str
    path: Path
    record: Record
    badge: Badge
    retracted: str = ""
    registration: RegistrationCheck = NOT_REGISTERED

    @property
    def imported(self) -> bool:
        """Whether the predictions were made elsewhere."""
        return self.record.facts.imported is not None

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        facts = self.record.facts
        fields = ("system", "task", "protocol", "training", "track", "condition", "coverage", "matrix_hash")
        return {
            "publication": self.publication,
            "record": self.path.stem,
            **{k: getattr(facts, k) for k in fields},
            "badge": self.badge,
            "imported": self.imported,
            "retracted": self.retracted,
            "pre_registered": self.registration.shown,
            "registration": self.registration.words,
            "plan": plan_words(facts),
        }


@dataclass(frozen=True)
class BoardProblem:
    """Why something published is refused: one sentence, and where."""

    publication: str
    record: str
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Validation:
    """What passed and what did not; a board is built only when nothing was refused."""

    records: tuple[BoardRecord, ...]
    problems: tuple[BoardProblem, ...]
    outcomes: tuple[RecordOutcome, ...] = ()
    """What became of every record that the publications planned; those of a publication that is refused are not told."""

    @property
    def standing(self) -> list[Record]:
        """Records that count: those that were not retracted."""
        return [r.record for r in self.records if not r.retracted]


class Believed:
    """Remembers, in a folder of the cache, which record files were found to follow from their statistics."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def record(self, path: Path, facts: RecordFacts) -> Record:
        """Read a record that says ``facts`` and check it, unless these very bytes were checked by this very code before."""
        if self._folder is None:
            return self._checked(path).record
        mark = self._folder / digest(hash_file(path), hash_file(path.with_suffix(".parquet")), figures_code())
        if mark.exists():
            return stored_record(path, facts)
        checked = self._checked(path)
        if checked.note:
            return checked.record
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        return stored_record(path, facts)

    def _checked(self, path: Path) -> Checked:
        require_possible(path, read_record(path))  # before anything is computed from it
        return from_record(path)


def validate(board: Board, data: Sequence[Path] = (), *, cache: Path | None = None) -> Validation:
    """Check everything that is published.

    Args:
        board: folder of publications.
        data: folders of prepared corpora (else SERBENCH_DATA): records of these are counted again from their tables.
        cache: folder that holds which files were checked before; None checks all of them anew.

    Returns:
        The records that passed, and a problem for each that did not.

    Raises:
        UsageError: nothing is published there, or ``board.yaml`` is not valid.
    """
    rules = board.rules
    believed = Believed(cache)
    records: list[BoardRecord] = []
    problems: list[BoardProblem] = []
    outcomes: list[RecordOutcome] = []
    corpora = corpora_at_hand(board.root, data)
    registrations = Registrations(board.root)
    for publication in board.publications():
        try:
            publication.require_own_files()
            described, retracted = _described(publication), publication.retractions()
            plan_fault(plan_of(described, publication.folder.matrix), rules.plan, publication.folder.matrix)
        except BenchError as error:
            problems.append(BoardProblem(publication.name, "", str(error)))
            continue
        if fault := publication.broken_seal():
            problems.append(BoardProblem(publication.name, "", fault))
        plans = PublishedPlans(publication, described)
        problems += [BoardProblem(publication.name, "", fault) for fault in plans.faults]
        problems += [BoardProblem(publication.name, stem, said) for stem, said in superseded_faults(publication, believed.record)]  # fmt: skip
        tasks = RebuiltTasks(corpora, None)
        for path in publication.record_paths():
            try:
                record, badge = _check(
                    path, publication, described, believed, tasks, {c.card.name for c in corpora}
                )
                plans.require(path, record.facts)
            except BenchError as error:
                problems.append(BoardProblem(publication.name, path.stem, str(error)))
            else:
                registered = registrations.of(record.facts, publication.folder.tables)
                why = retracted.get(path.stem, "")
                records.append(BoardRecord(publication.name, path, record, badge, why, registered))
        outcomes += plans.outcomes(
            [(r.record.facts, r.retracted) for r in records if r.publication == publication.name]
        )
    problems += _disagreements(records)
    return Validation(tuple(records), tuple(problems), tuple(where_else(outcomes)))


def _described(publication: Publication) -> Mapping[str, Any]:
    described = publication.described()
    if hash_json(described["matrix"]) != described["matrix_hash"]:
        raise DataError(
            f"{publication.folder.matrix}: the matrix was changed after it was run: its hash is not {described['matrix_hash']}"
        )
    if described.get("limit") is not None:
        raise DataError(f"{publication.folder.matrix}: only a part of the corpora was run (--limit)")
    return described


def plan_fault(plan: AnalysisPlan, wanted: AnalysisPlan, path: Path) -> None:
    """Raise :class:`DataError` unless a plan keeps to the board's.

    Args:
        plan: that a publication was run with.
        wanted: the board's.
        path: the publication's matrix, for the sentences.

    Raises:
        DataError: it judges otherwise, resamples less, or so much that checking would take too long.
    """
    for name in BINDING:
        if getattr(plan, name) != getattr(wanted, name):
            raise DataError(
                f"{path}: was planned with {name} {getattr(plan, name)}, this board's is {getattr(wanted, name)}; run it with the board's plan"
            )
    for name in RESOLUTION:
        if getattr(plan, name) < getattr(wanted, name):
            raise DataError(
                f"{path}: was planned with {getattr(plan, name)} {name}, this board asks for {getattr(wanted, name)} at least"
            )
        if getattr(plan, name) > MOST_TIMES * getattr(wanted, name):
            raise DataError(
                f"{path}: was planned with {getattr(plan, name)} {name}, which would take this board's machine too long; "
                f"at most {MOST_TIMES} times {getattr(wanted, name)}"
            )


def _check(
    path: Path,
    publication: Publication,
    described: Mapping[str, Any],
    believed: Believed,
    tasks: RebuiltTasks,
    corpora: set[str],
) -> tuple[Record, Badge]:
    """Check one record from the cheapest to the dearest; returns it with what was checked."""
    bounded_json(path)
    facts = read_facts(path)
    planned = plan_of(described, publication.folder.matrix)
    if facts.matrix_hash != described["matrix_hash"] or facts.plan != planned:
        raise DataError(
            f"{path}: was scored under another plan (matrix hash {facts.matrix_hash}) than {publication.folder.matrix.name} "
            f"beside it ({described['matrix_hash']}); score the run again and publish it whole"
        )
    require_consistent(path, facts)
    require_bounded_parquet(path.with_suffix(".parquet"))
    require_bounded_statistics(
        path,
        seeds=len(facts.seeds),
        blocks=[(len(facts.cluster_names(b.axis)), len(b.labels), len(b.sums or ())) for b in facts.blocks],
    )
    try:
        record = believed.record(path, facts)
        if not publication.folder.tables.is_dir() or not (facts.table or facts.tables):
            return record, "statistics"
        require_tables(path, record, publication.folder.tables)
        if facts.corpus not in corpora:
            return record, "tables"
        return from_tables(path, publication.folder.tables, tasks).record, "labels"
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, BenchError):
            raise
        raise DataError(
            f"{path}: its parts do not fit together ({type(error).__name__}: {str(error)[:120]}); score the run again"
        ) from None


def _disagreements(records: Sequence[BoardRecord]) -> Iterator[BoardProblem]:
    """Records that cannot stand on one board: the same place taken twice, or other folds or clips of the same task."""
    places: dict[tuple[str, ...], BoardRecord] = {}
    splits: dict[tuple[str, str], BoardRecord] = {}
    for r in (r for r in records if not r.retracted):
        facts = r.record.facts
        place = (r.record.system, r.record.task, r.record.regime, facts.condition)
        first = places.setdefault(place, r)
        if first is not r:
            yield BoardProblem(
                r.publication, r.path.stem,
                f"{r.path}: {first.path} already has this system on this task; retract one of the two, or give the system another name",
            )  # fmt: skip
        first = splits.setdefault((r.record.task, facts.protocol), r)
        if fault := naming_fault(r.path, facts, first.path, first.record.facts):
            yield BoardProblem(r.publication, r.path.stem, fault)
            continue
        for name, what in (("content_hash", "clips, labels or speakers"), ("folds_hash", "folds")):
            if getattr(facts, name) != getattr(first.record.facts, name):
                yield BoardProblem(
                    r.publication, r.path.stem,
                    f"{r.path}: was scored on other {what} of {r.record.task} than {first.path}; one board has one version of a task",
                )  # fmt: skip
                break
