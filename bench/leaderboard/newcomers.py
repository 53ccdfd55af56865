"""Which records of a run go onto a board: those asked for, that may be published, and whose place is not taken."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.cards.registry import card_versions
from bench.errors import DataError, UsageError, nearest
from bench.leaderboard.card_identity import bare_name, name_fault, owned, weights_fault
from bench.leaderboard.publication import Board, Publication
from bench.scoring.record_schema import RecordFacts
from bench.scoring.records import read_facts
from bench.tasks.names import record_stem, regime

Taken = Literal["refuse", "drop"]
"""What becomes of a shipped system's record whose place another publication has, with other answers."""
KEYS = ("system", "task", "protocol", "condition")


@dataclass(frozen=True)
class Newcomers:
    """What of a run is published, under the names it will have, and what is not: file stems in the run with the reason.

    ``skipped`` stand on the board already; ``left_out`` may not be published.
    """

    chosen: Mapping[Path, RecordFacts]
    left_out: Mapping[str, str]
    skipped: Mapping[str, str]


def stem_of(facts: RecordFacts) -> str:
    """File stem of a record."""
    return record_stem(facts.system, facts.task, regime(facts.protocol, facts.training), facts.condition)


def choose(
    facts: Mapping[Path, RecordFacts],
    board: Board,
    target: Publication,
    *,
    only: Mapping[str, Sequence[str]] | None = None,
    owner: str = "",
    taken: Taken = "refuse",
) -> Newcomers:
    """Choose what of a run goes into a publication.

    Args:
        facts: the run's records.
        board: where they go.
        target: the publication that they become or replace; its own records take no place.
        only: patterns by ``system``, ``task``, ``protocol``, ``condition``; all records without.
        owner: put before the names of systems that are not the suite's own.
        taken: what becomes of a shipped system's record whose place is taken by other answers.

    Returns:
        What is published and what is not.

    Raises:
        UsageError: a pattern for something else, or one that no record fits.
        DataError: a place is taken; the newcomer is named, and what to do.
    """
    wanted = _wanted(facts, only or {})
    places = _places(board, target)
    left_out: dict[str, str] = {}
    skipped: dict[str, str] = {}
    chosen: dict[Path, RecordFacts] = {}
    for path, own in wanted.items():
        named = owned_facts(own, owner)
        stands = places.get(stem_of(named))
        fault = "" if own.publishable else "; ".join(own.obstacles) or "it says so itself"
        fault = fault or name_fault(named) or weights_fault(named)
        if fault:
            left_out[path.stem] = fault
        elif stands is None:
            chosen[path] = named
        elif reason := _same_place(path, named, stands, taken):
            skipped[path.stem] = reason
    return Newcomers(chosen, left_out, skipped)


def owned_facts(facts: RecordFacts, owner: str) -> RecordFacts:
    """The same record under its owner's name, where it needs one: see :func:`bench.leaderboard.card_identity.owned`."""
    if not owner:
        return facts
    made = owned(facts, owner)
    assert isinstance(made, RecordFacts)
    statistics = facts.statistics.model_copy(update={"file": f"{stem_of(made)}.parquet"})
    return made if made is facts else made.model_copy(update={"statistics": statistics})


def _wanted(facts: Mapping[Path, RecordFacts], only: Mapping[str, Sequence[str]]) -> dict[Path, RecordFacts]:
    if strange := sorted(set(only) - set(KEYS)):
        raise UsageError(f"--only {strange[0]}=…: {nearest(strange[0], KEYS)}")

    def fits(own: RecordFacts) -> bool:
        said = {
            "system": (own.system, bare_name(own.system)),
            "task": (own.task,),
            "protocol": (own.protocol,),
            "condition": (own.condition,),
        }
        return all(
            any(fnmatch.fnmatchcase(word, p) for p in patterns for word in said[key])
            for key, patterns in only.items()
        )

    found = {path: own for path, own in facts.items() if fits(own)}
    if facts and not found:
        shown = ",".join(f"{k}={v}" for k, values in only.items() for v in values)
        raise UsageError(f"--only {shown}: no record of the run fits; its systems are {', '.join(sorted({f.system for f in facts.values()}))}")  # fmt: skip
    return found


def _places(board: Board, target: Publication) -> dict[str, tuple[Path, RecordFacts]]:
    """Records that stand elsewhere on the board, by their stem: one system on one task under one protocol and condition."""
    if not board.root.is_dir():
        return {}
    found: dict[str, tuple[Path, RecordFacts]] = {}
    others = [p for p in board.publications(empty=True) if p.name != target.name]
    for publication in others:
        retracted = publication.retractions()
        for path in publication.record_paths():
            if path.stem not in retracted:
                found.setdefault(path.stem, (path, read_facts(path)))
    return found


def _same_place(path: Path, own: RecordFacts, stands: tuple[Path, RecordFacts], taken: Taken) -> str:
    """Why a record need not be published although it could be; raises where it contradicts the one that stands."""
    there, published = stands
    name = f"{there.parent.parent.name}/{there.stem}"
    for field, what in (("content_hash", "clips, labels or speakers"), ("folds_hash", "folds")):
        if getattr(own, field) != getattr(published, field):
            raise DataError(
                f"{path}: was scored on other {what} of {own.task} than {name}, which stands on this board, and one board has one version "
                f"of a task; prepare the version of {own.corpus} that the board has and run again, or leave it out (--only task=…)"
            )
    if own.system_identity == published.system_identity and _judged(own) == _judged(published):
        return f"equal to {name}: the same system on the same clips and folds under the same plan"
    if own.card.track == "reference" and own.card.name in card_versions("systems"):
        return f"{name} stands there: reference systems are the board's own"
    if taken == "drop" and not own.card.owner:
        return f"{name} stands there, answered by {published.code_version}; to replace it, ask for it to be retracted"
    raise DataError(
        f"{path}: {name} already has {own.system} on {own.task}, answered by other code, settings or weights; publish without it "
        f"(--only system=… or task=…), let the other one be retracted first (serbench leaderboard retract {name} --why …), or give the "
        "system another name"
    )


def _judged(facts: RecordFacts) -> dict[str, object]:
    """The plan without the pairs across tracks, which say nothing of a record alone."""
    return facts.plan.model_dump(exclude={"across_tracks"})
