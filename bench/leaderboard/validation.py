"""Which published records may be believed: everything about them checked as far as what is at hand allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bench.cards.analysis_plan import AnalysisPlan
from bench.cards.registry import corpus_cards
from bench.corpora.prepared import PreparedCorpus
from bench.errors import BenchError, DataError
from bench.leaderboard.attestations import Vouched, read_attestations
from bench.leaderboard.card_identity import code_words, known_commits
from bench.leaderboard.checking import Believed, check_ahead
from bench.leaderboard.consistency import require_consistent
from bench.leaderboard.neighbours import disagreements
from bench.leaderboard.outcomes import where_else
from bench.leaderboard.plan_evidence import PublishedPlans, published_plan_words
from bench.leaderboard.publication import Board, BoardRules, Publication, plan_of
from bench.leaderboard.registration import NOT_REGISTERED, RegistrationCheck, Registrations
from bench.leaderboard.same_names import naming_fault
from bench.leaderboard.superseding import superseded_faults
from bench.leaderboard.table_evidence import answers_segments
from bench.scoring.outcomes import RecordOutcome
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import Record
from bench.scoring.rescoring import from_tables
from bench.storage.hashing import hash_json
from bench.tasks.rebuilding import RebuiltTasks, corpora_at_hand

Badge = Literal["statistics", "tables", "attested", "labels"]
BADGES: Mapping[Badge, str] = {
    "statistics": "every score follows from the additive statistics in the record; nothing here says whether these are true",
    "tables": "every score follows from the statistics, and these count what the prediction tables beside them answer, fold by fold; nobody who holds the corpus said whether the true labels are the corpus's",
    "attested": "every score follows from the statistics, and somebody this board accepts says that he counted these again from the tables and the labels of the corpus; nobody did so here",
    "labels": "the statistics were counted again here from the prediction tables and the labels of the corpus, and every score follows",
}
"""What a badge says was checked; each includes the one before."""
TRUST: Mapping[Badge, int] = {"statistics": 0, "tables": 0, "attested": 1, "labels": 2}
"""How sure it is that a record's true labels are the corpus's."""
LEAST: Mapping[str, frozenset[Badge]] = {
    "statistics": frozenset(BADGES),
    "tables": frozenset(BADGES) - {"statistics"},
    "labels": frozenset({"attested", "labels"}),
}
"""Badges with which a record competes, by the board's rule."""
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
    attested: tuple[str, ...] = ()
    """Everybody who vouches for its labels, accepted by the board or not."""
    competes: bool = True
    """Whether it is ranked and tested; else it stands below the line."""
    submitted: str = ""
    """Who sent it, where he says so."""
    code: str = ""
    """What must be said of its code version; blank where its commit is known here."""
    registration: RegistrationCheck = NOT_REGISTERED

    @property
    def imported(self) -> bool:
        """Whether the predictions were made elsewhere."""
        return self.record.facts.imported is not None

    @property
    def place(self) -> str:
        """Publication and record, as ``retract`` and ``attest`` take them."""
        return f"{self.publication}/{self.path.stem}"

    @property
    def trust(self) -> int:
        """How sure its labels are: 2 checked here, 1 attested by somebody the board accepts, 0 neither."""
        return TRUST[self.badge]

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        facts = self.record.facts
        fields = (
            "system",
            "task",
            "protocol",
            "training",
            "track",
            "condition",
            "coverage",
            "matrix_hash",
            "code_version",
        )
        return {
            "publication": self.publication,
            "record": self.path.stem,
            **{k: getattr(facts, k) for k in fields},
            "badge": self.badge,
            "competes": self.competes,
            "attested": list(self.attested),
            "imported": self.imported,
            "submitted": self.submitted,
            "code": self.code,
            "retracted": self.retracted,
            "pre_registered": self.registration.shown,
            "registration": self.registration.words,
            "plan": published_plan_words(facts),
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

    @property
    def competing(self) -> list[BoardRecord]:
        """Those that are ranked and tested."""
        return [r for r in self.records if r.competes and not r.retracted]

    @property
    def below(self) -> list[BoardRecord]:
        """Those that count and are neither ranked nor tested, because too little of them was checked."""
        return [r for r in self.records if not r.competes and not r.retracted]


def validate(
    board: Board, data: Sequence[Path] = (), *, cache: Path | None = None, labels: bool = True
) -> Validation:
    """Check everything that is published.

    Args:
        board: folder of publications.
        data: folders of prepared corpora (else SERBENCH_DATA): records of these are counted again from their tables.
        cache: folder that holds which files were checked before; None checks all of them anew.
        labels: look for corpora; without, as a machine sees the board that holds none.

    Returns:
        The records that passed, and a problem for each that did not.

    Raises:
        UsageError: nothing is published there, or ``board.yaml`` is not valid.
    """
    rules = board.rules
    corpora = [_as_shipped(c) for c in corpora_at_hand(board.root, data)] if labels else []
    if cache is not None:
        check_ahead(
            [(p, own.folder.tables) for own in board.publications() for p in own.record_paths()], cache
        )
    found = _Examined(board, rules, Believed(cache), corpora)
    for publication in board.publications():
        try:
            found.examine(publication)
        except BenchError as error:
            found.problems.append(BoardProblem(publication.name, "", str(error)))
    standing = [r for r in found.records if not r.retracted]
    problems = [*found.problems, *_crowding(standing)]
    fallen: set[int] = set()
    for record, sentence in disagreements(
        [(r, r.record.facts) for r in standing], lambda r: found.believed.truth(r.path)
    ):
        problems.append(BoardProblem(record.publication, record.path.stem, f"{record.path}: {sentence}"))
        fallen.add(id(record))
    records = tuple(r for r in found.records if id(r) not in fallen)
    return Validation(records, tuple(problems), tuple(where_else(found.outcomes)))


def _as_shipped(corpus: PreparedCorpus) -> PreparedCorpus:
    """A corpus under the card that this suite ships by its name, whatever card lies beside its audio: no other is published."""
    return replace(corpus, card=corpus_cards().get(corpus.card.name, corpus.card))


class _Examined:
    """Publications as they are examined, one after the other: what passed, and what did not."""

    def __init__(
        self, board: Board, rules: BoardRules, believed: Believed, corpora: Sequence[PreparedCorpus]
    ) -> None:
        self.rules, self.believed = rules, believed
        self.records: list[BoardRecord] = []
        self.problems: list[BoardProblem] = []
        self.outcomes: list[RecordOutcome] = []
        self._registrations = Registrations(board.root)
        self._corpora, self._names = corpora, {c.card.name for c in corpora}
        self._commits = known_commits(board.root.resolve())

    def examine(self, publication: Publication) -> None:
        """Check a publication and every record in it; raises :class:`BenchError` where the publication itself is none."""
        publication.require_own_files()
        described, retracted = _described(publication), publication.retractions()
        plan_fault(plan_of(described, publication.folder.matrix), self.rules.plan, publication.folder.matrix)
        submission = publication.submission()
        paths = publication.record_paths()
        vouched = read_attestations(publication.folder.root, {p.stem: p for p in paths})
        if fault := publication.broken_seal():
            self.problems.append(BoardProblem(publication.name, "", fault))
        plans = PublishedPlans(publication, described)
        self.problems += [BoardProblem(publication.name, "", fault) for fault in plans.faults]
        earlier = superseded_faults(publication, self.believed.record)
        self.problems += [BoardProblem(publication.name, stem, said) for stem, said in earlier]
        tasks = RebuiltTasks(self._corpora, None)
        for path in paths:
            try:
                record, badge = _check(path, publication, described, self.believed, tasks, self._names)
                plans.require(path, record.facts)
                attested = vouched.get(path.stem, {})
                _require_attested(path, record.facts, attested)
            except BenchError as error:
                self.problems.append(BoardProblem(publication.name, path.stem, str(error)))
                continue
            if badge in ("statistics", "tables") and set(attested) & set(self.rules.attesters):
                badge = "attested"
            self.records.append(
                BoardRecord(
                    publication.name,
                    path,
                    record,
                    badge,
                    retracted.get(path.stem, ""),
                    tuple(sorted(attested)),
                    badge in LEAST[self.rules.competing],
                    "" if submission is None else submission.by,
                    code_words(record.facts.code_version, self._commits),
                    self._registrations.of(record.facts, publication.folder.tables),
                )
            )
        own = [r for r in self.records if r.publication == publication.name]
        self.outcomes += plans.outcomes([(r.record.facts, r.retracted) for r in own])


def _require_attested(path: Path, facts: RecordFacts, attested: Mapping[str, Vouched]) -> None:
    for attester, vouched in attested.items():
        if (vouched.content_hash, vouched.corpus, vouched.clips) != (
            facts.content_hash,
            facts.corpus,
            facts.clips,
        ):
            raise DataError(
                f"{path}: {attester} vouches for it on other clips or labels of {facts.corpus} than it names; let {attester} run "
                "serbench leaderboard attest again"
            )


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
    facts = believed.facts(path)
    planned = plan_of(described, publication.folder.matrix)
    if facts.matrix_hash != described["matrix_hash"] or facts.plan != planned:
        raise DataError(
            f"{path}: was scored under another plan (matrix hash {facts.matrix_hash}) than {publication.folder.matrix.name} "
            f"beside it ({described['matrix_hash']}); score the run again and publish it whole"
        )
    require_consistent(path, facts)
    try:
        record = believed.record(path, facts)
        if not publication.folder.tables.is_dir() or not (facts.table or facts.tables):
            return record, "statistics"
        believed.require_tables(path, record, publication.folder.tables)
        if facts.corpus not in corpora:
            # Segments are put together with the corpus alone: without it their tables prove less.
            return record, "statistics" if answers_segments(facts) else "tables"
        return from_tables(path, publication.folder.tables, tasks).record, "labels"
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, BenchError):
            raise
        raise DataError(
            f"{path}: its parts do not fit together ({type(error).__name__}: {str(error)[:120]}); score the run again"
        ) from None


def _crowding(records: Sequence[BoardRecord]) -> Iterator[BoardProblem]:
    """Records that cannot stand on one board: the same place taken twice, or other folds or clips of the same task.

    What was checked best stands first, then what nobody sent: the newcomer is the one that is told what to do.
    """
    places: dict[tuple[str, ...], BoardRecord] = {}
    splits: dict[tuple[str, str], BoardRecord] = {}
    for r in sorted(records, key=lambda r: (-r.trust, bool(r.submitted))):
        facts = r.record.facts
        place = (r.record.system, r.record.task, r.record.regime, facts.condition)
        first = places.setdefault(place, r)
        if first is not r:
            yield BoardProblem(
                r.publication, r.path.stem,
                f"{r.path}: {first.path} already has this system on this task; publish without it (serbench leaderboard add RUN --only system=…), retract one of the two, or give the system another name",
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
