"""What a record may say of when its plan was made: as much as the plan log of its run shows, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from bench.scoring.plan_log import PlanLog, PlanLogEntry, follows, plan_changes, steps
from bench.scoring.record_schema import CountedFacts, PlanChange, PlanSeen

FIXED = "the analysis was fixed before the results: this run's plan log shows it with no cell computed"
UNLOGGED = "when the plan was made was not logged"
ELSEWHERE = "the predictions were made elsewhere, so nothing shows whether the plan or the answers came first"


def plan_seen(log: PlanLog, system: str, stem: str) -> PlanSeen | None:
    """Derive from a plan log what a record says of its plan.

    Args:
        log: of the run, its last entry being the plan that judges the record.
        system: the record's system.
        stem: its file stem, which begins with the system.

    Returns:
        None where nothing was logged.
    """
    if not log:
        return None
    last = log[-1]
    first = next(e for e in log if follows(e, last))
    place = stem.removeprefix(system.replace("/", "~"))
    return PlanSeen(
        plan_hash=last.plan_hash,
        cells=first.cells,
        of=first.of,
        logged_from=log[0].cells,
        changes=tuple(c for before, now in steps(log) for c in _changes(before, now, place)),
    )


def _changes(before: PlanLogEntry, now: PlanLogEntry, place: str) -> Iterator[PlanChange]:
    """Changes that a record rests on: the analysis plan, and who is compared with it on how many seeds."""
    for c in plan_changes(before.plan, now.plan):
        yield _change(now, c.what, c.old, c.new)
    was, is_now = _family(before.records, place), _family(now.records, place)
    if not was or not is_now:
        return  # a comparison that was planned only now, or no longer is
    for what, names in (
        ("systems added", set(is_now) - set(was)),
        ("systems left out", set(was) - set(is_now)),
    ):
        if names:
            yield _change(now, what, "", _listed(sorted(names)))
    for name in sorted(set(was) & set(is_now)):
        if was[name] and is_now[name] and was[name] != is_now[name]:
            yield _change(now, f"seeds of {name}", _listed(was[name]), _listed(is_now[name]))


def _change(now: PlanLogEntry, what: str, old: str, new: str) -> PlanChange:
    return PlanChange(what=what, old=old, new=new, cells=now.cells, of=now.of)


def _family(records: Mapping[str, tuple[int, ...]], place: str) -> Mapping[str, tuple[int, ...]]:
    """Seeds by system of the records of one task, training and condition: those whose stems end alike."""
    return {stem.removesuffix(place): seeds for stem, seeds in records.items() if stem.endswith(place)}


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))[:2000]


def fixed_before(facts: CountedFacts) -> bool:
    """Whether a record's log shows its plan, as it stands, with no cell computed."""
    seen = facts.plan_seen
    return facts.imported is None and seen is not None and not seen.cells and not seen.changes


def plan_words(facts: CountedFacts) -> str:
    """Say when a record's plan was made, as far as its log shows: a clause without a full stop."""
    seen = facts.plan_seen
    if facts.imported is not None:
        return "; ".join([ELSEWHERE, *_changed(seen)])
    if seen is None:
        return UNLOGGED
    if fixed_before(facts):
        return FIXED
    late = (
        [f"{UNLOGGED}: {seen.logged_from} cells existed when the run's log began"] if seen.logged_from else []
    )
    return "; ".join([*late, *_changed(seen)])


def _changed(seen: PlanSeen | None) -> list[str]:
    changes = seen.changes if seen is not None else ()
    return [
        f"the analysis was changed after {cells} of {of} cells were computed: "
        + ", ".join(map(change_words, own))
        for (cells, of), own in groupby(changes, key=lambda c: (c.cells, c.of))
    ]


def change_words(change: PlanChange) -> str:
    """Say a change: ``margin 0.02 -> 0.05``."""
    return f"{change.what} {change.old} -> {change.new}" if change.old else f"{change.what}: {change.new}"
