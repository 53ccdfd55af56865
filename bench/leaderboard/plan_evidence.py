"""Whether what published records say of their plans follows from the plan log that was published with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.leaderboard.outcomes import published_outcomes, require_outcomes
from bench.leaderboard.publication import Publication
from bench.scoring.outcomes import RecordOutcome, place_of
from bench.scoring.plan_log import PlanLog, read_plan_log
from bench.scoring.plan_seen import FIXED, plan_seen, plan_words
from bench.scoring.record_schema import PLAN_LOGGED_SINCE, CountedFacts, RecordFacts

FIXED_AS_PUBLISHED = "the analysis was fixed before the results: the plan log published with them shows it with no cell computed"
_AGAIN = "run the matrix again and publish the run whole"


class PublishedPlans:
    """What a publication shows of its plans and of what became of them; ``faults`` are sentences about what is not sound.

    Args:
        publication: the publication.
        described: its ``matrix.json``.
    """

    def __init__(self, publication: Publication, described: Mapping[str, Any]) -> None:
        self._publication, self._described = publication, described
        self.faults: list[str] = []
        self._log: PlanLog | None = None
        try:
            self._log = published_log(publication, described)
            require_outcomes(publication, described, {p.stem for p in publication.record_paths()})
        except DataError as error:
            self.faults.append(str(error))

    def require(self, path: Path, facts: RecordFacts) -> None:
        """Raise :class:`DataError` where a record says otherwise than a sound log; see :func:`require_plan_seen`."""
        if self._log is not None:
            require_plan_seen(path, facts, self._log)

    def outcomes(self, records: Sequence[tuple[RecordFacts, str]]) -> list[RecordOutcome]:
        """Say what became of everything planned; nothing where the files that tell it are at fault.

        Args:
            records: those that passed, each with the reason of its retraction, or none.
        """
        if self._log is None or self.faults:
            return []
        retracted = {place_of(f): why for f, why in records if why}
        return published_outcomes(
            self._publication, self._described, self._log, [f for f, _ in records], retracted
        )


def published_log(publication: Publication, described: Mapping[str, Any]) -> PlanLog:
    """Read the plan log of a publication and hold it against the matrix beside it.

    Args:
        publication: whose log it is.
        described: its ``matrix.json``.

    Returns:
        The log; empty where none was published.

    Raises:
        DataError: it is damaged, or ends with another matrix or other planned records.
    """
    path = publication.folder.plan_log
    log = read_plan_log(path)
    if not log:
        return log
    if log[-1].matrix_hash != described["matrix_hash"]:
        raise DataError(
            f"{path}: ends with the matrix {log[-1].matrix_hash}, {publication.folder.matrix.name} beside it has {described['matrix_hash']}; {_AGAIN}"
        )
    listed = described.get("records")
    stems = set(map(str, listed if isinstance(listed, list) else ()))
    if other := sorted(stems ^ set(log[-1].records)):
        where = publication.folder.matrix if other[0] not in stems else path
        raise DataError(
            f"{where}: says nothing of {other[0]} ({len(other)} in all), which the other of {publication.folder.matrix.name} and "
            f"{path.name} plans; {_AGAIN}"
        )
    return log


def require_plan_seen(path: Path, facts: RecordFacts, log: PlanLog) -> None:
    """Raise :class:`DataError` unless what a record says of its plan is what the log beside it shows.

    Args:
        path: the record.
        facts: what it says.
        log: the plan log of its publication.

    Raises:
        DataError: it claims more, less or something else.
    """
    seen = facts.plan_seen
    if facts.schema_version < PLAN_LOGGED_SINCE:
        if seen is not None or facts.cells_code:
            raise DataError(
                f"{path}: has schema {facts.schema_version}, which says nothing of when a plan was seen, and says it; it was changed by hand"
            )
        if log and facts.imported is None:
            raise DataError(f"{path}: was scored before the plan log beside it was begun; {_AGAIN}")
        return
    if seen is None:
        if log and facts.imported is None:
            raise DataError(
                f"{path}: says nothing of when its plan was seen, though a plan log lies beside it; {_AGAIN}"
            )
        return
    if not log:
        raise DataError(
            f"{path}: says when its plan was seen, but no plan log lies beside it to show it; {_AGAIN}"
        )
    # An imported record is not scored again when others are planned later: it may follow from an earlier state of the log.
    ends = range(len(log), 0, -1) if facts.imported is not None else (len(log),)
    if not any(plan_seen(log[:end], facts.system, path.stem) == seen for end in ends):
        raise DataError(
            f"{path}: what it says of when its plan was seen does not follow from the plan log beside it; {_AGAIN}"
        )


def published_plan_words(facts: CountedFacts) -> str:
    """Say when the plan of a published record was made: a board has many plan logs, and none of a run of its own.

    Args:
        facts: of the record.

    Returns:
        A clause without a full stop.
    """
    words = plan_words(facts)
    return FIXED_AS_PUBLISHED if words == FIXED else words
