"""What became of every record that the publications of a board planned, from what lies in them: nothing is left out in silence."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, ValidationError

from bench.audio.conditions import CLEAN
from bench.cards.registry import corpus_cards
from bench.cards.typed_yaml import Strict
from bench.errors import DataError
from bench.leaderboard.publication import Publication
from bench.scoring.outcomes import (
    OutcomeState,
    RecordOutcome,
    RecordPlace,
    RunRemains,
    latest_cells,
    owners,
    place_of,
    run_outcomes,
    texts,
    unscored_of,
    without_folders,
)
from bench.scoring.plan_log import PlanLog, read_plan_log
from bench.scoring.record_schema import RecordFacts, Text
from bench.storage.atomic import write_json
from bench.storage.bounded_files import bounded_json
from bench.storage.journal import CellRow, Journal
from bench.storage.run_folder import RunFolder
from bench.tasks import match_tasks
from bench.tasks.names import record_stem, regime, training_name

OUTCOMES_SCHEMA = 1
GONE = "its record is not in the publication"
UNKNOWN = "the publication does not say what became of it"
_ERROR = 300
"""Characters of an error that is published."""
_PUBLIC: Mapping[OutcomeState, tuple[OutcomeState, str]] = {
    "unscorable": ("failed", "could not be scored: "),
    "unfinished": ("not published", ""),
    "not run": ("not published", ""),
    "left out": ("not published", ""),
}
"""What a state of a run is called where it is published, and what stands before its reason."""


class NotedOutcome(Strict):
    """What became of a planned record when its run was published."""

    system: Text
    task: Text
    protocol: Text
    condition: Text
    state: OutcomeState
    reason: Text = ""
    planned: bool = True

    @property
    def place(self) -> RecordPlace:
        """What tells the record apart."""
        return self.system, self.task, self.protocol, self.condition


class OutcomesFile(Strict):
    """``outcomes.json`` of a publication."""

    schema_version: Annotated[int, Field(alias="schema", ge=1, le=OUTCOMES_SCHEMA)]
    matrix_hash: Text
    records: tuple[NotedOutcome, ...]


def outcomes_to_publish(
    source: RunFolder,
    described: Mapping[str, Any],
    records: Sequence[RecordFacts],
    left_out: Mapping[RecordPlace, str],
) -> tuple[RecordOutcome, ...]:
    """Say what became of every planned record of a run, as it is published beside the records.

    Args:
        source: the run; a publication that is sealed or copied again has no journal, and what it noted before is kept.
        described: its ``matrix.json``.
        records: every record of the run.
        left_out: why records are not published, by place.

    Returns:
        An outcome per record that was planned or is there.

    Raises:
        DataError: its plan log, or what it noted before, is damaged.
    """
    found = _of_run if source.journal.exists() else _of_copy
    return tuple(
        replace(o, state="not published", reason=left_out[o.place]) if o.place in left_out else _publicly(o)
        for o in found(source, described, records)
    )


def write_outcomes(target: Publication, matrix_hash: str, outcomes: Sequence[RecordOutcome]) -> None:
    """Write outcomes into a publication.

    Args:
        target: the publication.
        matrix_hash: of the matrix that planned the records.
        outcomes: what became of them.
    """
    noted = tuple(NotedOutcome(**{n: getattr(o, n) for n in NotedOutcome.model_fields}) for o in outcomes)
    written = OutcomesFile.model_validate(
        {"schema": OUTCOMES_SCHEMA, "matrix_hash": matrix_hash, "records": noted}
    )
    write_json(target.outcomes_path, written.model_dump(mode="json", by_alias=True))


def _of_run(
    source: RunFolder, described: Mapping[str, Any], records: Sequence[RecordFacts]
) -> Iterator[RecordOutcome]:
    with Journal(source.journal) as journal:
        cells = list(journal.cells().values())
    remains = RunRemains(described, records, cells, unscored_of(source), read_plan_log(source.plan_log))
    by_record: dict[RecordPlace, list[CellRow]] = defaultdict(list)
    for row in cells:
        by_record[row.system, row.task, row.protocol, row.condition].append(row)
    for o in run_outcomes(remains):
        failed = [row for row in latest_cells(by_record[o.place]) if row.state == "failed"]
        told = " ".join((failed[0].error or "no message").split()) if failed else ""
        yield replace(o, reason=f"{o.reason}: {told[:_ERROR]}") if o.state == "failed" else o


def _of_copy(
    source: RunFolder, described: Mapping[str, Any], records: Sequence[RecordFacts]
) -> Iterator[RecordOutcome]:
    """What a publication noted before and what lies in it; it has no journal that could say more."""
    log = read_plan_log(source.plan_log)
    scored = {place_of(f) for f in records}
    noted = {n.place: n for n in _noted(Publication(source), described)}
    for o in run_outcomes(RunRemains(described, records, log=log, systems={p[0] for p in noted})):
        before = noted.pop(o.place, None)
        if o.place in scored or before is None:
            yield o if o.state != "not run" else replace(o, state="not published", reason=UNKNOWN)
        else:
            yield _as_noted(before, o.planned)
    for before in noted.values():
        yield _as_noted(before, before.planned)


def _as_noted(noted: NotedOutcome, planned: bool) -> RecordOutcome:
    """What was noted of a record that is not there: one that was published once is gone now."""
    gone = noted.state == "scored"
    return RecordOutcome(
        *noted.place,
        "not published" if gone else noted.state,
        GONE if gone else noted.reason,
        planned=planned,
    )


def _noted(publication: Publication, described: Mapping[str, Any]) -> tuple[NotedOutcome, ...]:
    """What ``outcomes.json`` says; nothing where there is none or it is of another matrix.

    Raises:
        DataError: it is damaged.
    """
    path = publication.outcomes_path
    if not path.exists() and not path.is_symlink():
        return ()
    try:
        read = OutcomesFile.model_validate(bounded_json(path))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "it"
        raise DataError(
            f"{path}: {where} is not as this version writes it; publish the run again with: serbench leaderboard add"
        ) from None
    return read.records if read.matrix_hash == described["matrix_hash"] else ()


def require_outcomes(publication: Publication, described: Mapping[str, Any], stems: Collection[str]) -> None:
    """Raise :class:`DataError` where ``outcomes.json`` is damaged, stale, or says otherwise than the folder.

    Args:
        publication: whose file it is; one without it was published by an earlier version, and is not asked for it.
        described: its ``matrix.json``.
        stems: of the records that lie in it.

    Raises:
        DataError: the file is of another matrix, names a record as scored that is not there, or calls one blocked or refused
            that the run did not.
    """
    path = publication.outcomes_path
    if not path.exists() and not path.is_symlink():
        if publication.folder.plan_log.exists():
            raise DataError(
                f"{path}: missing, though a plan log was published; publish the run again with: serbench leaderboard add"
            )
        return
    noted = _noted(publication, described)
    if not noted:
        raise DataError(
            f"{path}: is of another matrix than {publication.folder.matrix.name} beside it; publish the run again"
        )
    told = {"blocked": texts(described.get("blocked")), "refused": texts(described.get("refused"))}
    for n in noted:
        stem, bare = record_stem(*n.place), n.system.rpartition("/")[2]
        names = {n.system, stem, bare, record_stem(bare, n.task, n.protocol, n.condition)}
        if n.state in told and not names & set(told[n.state]):
            raise DataError(
                f"{path}: says that {stem} is {n.state}, {publication.folder.matrix.name} beside it does not; publish the run again"
            )
        if (n.state == "scored") != (stem in stems):
            raise DataError(
                f"{path}: says that {stem} is {n.state}, but its record {'lies' if stem in stems else 'does not lie'} beside it; publish the run again"
            )


def published_outcomes(
    publication: Publication,
    described: Mapping[str, Any],
    log: PlanLog,
    records: Sequence[RecordFacts],
    retracted: Mapping[RecordPlace, str],
) -> list[RecordOutcome]:
    """Say what became of every record that a publication planned, whatever became of the files that tell it.

    Args:
        publication: the publication.
        described: its ``matrix.json``.
        log: its plan log.
        records: the records that lie in it and passed.
        retracted: why records of these were retracted.

    Returns:
        An outcome per record that its matrix, its log, its ``outcomes.json`` or the folder itself knows.
    """
    noted = {n.place: n for n in _noted(publication, described)}
    systems = {f.system for f in records} | {n.system for n in noted.values()} | _named_systems(described)
    known: dict[RecordPlace, RecordOutcome] = {}
    for o in run_outcomes(RunRemains(described, records, log=log, systems=systems)):
        if o.place in retracted:
            known[o.place] = replace(o, state="retracted", reason=retracted[o.place])
        elif o.state == "not run":
            known[o.place] = replace(o, state="not published", reason=UNKNOWN)
        else:
            known[o.place] = _publicly(o)
    for place, n in noted.items():
        if known.get(place) is None or known[place].state not in ("scored", "retracted"):
            known[place] = _as_noted(n, n.planned)
    owned = owners(records)
    for system, task, how, condition in list(implied_places(described, known)):
        place = (owned.get(system, system), task, how, condition)
        known.setdefault(place, RecordOutcome(*place, "not published", UNKNOWN))
    return [replace(known[p], publication=publication.name) for p in sorted(known)]


def _publicly(outcome: RecordOutcome) -> RecordOutcome:
    """An outcome of a run in the words, and without the folders, in which it is published."""
    state, before = _PUBLIC.get(outcome.state, (outcome.state, ""))
    return replace(outcome, state=state, reason=without_folders(before + outcome.reason))


def where_else(outcomes: Sequence[RecordOutcome]) -> list[RecordOutcome]:
    """Say of planned records that were not published here where else on the board they stand."""
    places: dict[RecordPlace, str] = {o.place: o.publication for o in outcomes if o.state == "scored"}
    return [
        replace(o, reason=f"it stands in the publication {places[o.place]}")
        if o.state == "not published" and o.place in places
        else o
        for o in outcomes
    ]


def _entries(described: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = described["matrix"].get("entries")
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _listed(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else []


def _named_systems(described: Mapping[str, Any]) -> set[str]:
    """Systems that the entries of a matrix name outright: neither patterns nor files."""
    names = {name for entry in _entries(described) for name in _listed(entry.get("systems"))}
    return {n for n in names if not set(n) & set("*?[/") and not n.endswith((".yaml", ".yml"))}


def implied_places(described: Mapping[str, Any], known: Collection[RecordPlace]) -> Iterator[RecordPlace]:
    """Expand the entries of a matrix over the systems and tasks that are known of it, as far as that needs no data.

    A list of planned records that was shortened by hand is found by it. Transfers and stand-ins depend on what was at hand,
    so they are left to what the run wrote down.

    Args:
        described: a ``matrix.json``.
        known: places of records that are known already; they say which systems, and which tasks of its corpora there are.
    """
    tasks = sorted({task.partition("@")[0] for _, task, _, _ in known if "." in task})
    systems = {system for system, _, _, _ in known} | _named_systems(described)
    for entry in _entries(described):
        if entry.get("protocol") not in ("within", "zero-shot") or entry.get("stands_in_for"):
            continue
        how = regime(entry["protocol"], training_name("", "native", str(entry.get("train_condition", CLEAN))))
        conditions = _listed(entry.get("conditions") or described["matrix"].get("conditions")) or [CLEAN]
        offered = [t for t in tasks if entry.get("synthetic") or not _is_synthetic(t)]
        for pattern in _listed(entry.get("systems")):
            for system in fnmatch.filter(sorted(systems), pattern):
                for task in {t for p in _listed(entry.get("tasks")) for t in match_tasks(p, offered)}:
                    for condition in conditions:
                        yield system, task, how, condition


def _is_synthetic(task: str) -> bool:
    corpus = task.rpartition(".")[0]
    card = corpus_cards().get(corpus)
    return corpus == "synthetic" or (card is not None and card.synthetic)
