"""What became of every record that a matrix planned: scored, or what stood in the way. Nothing planned goes unmentioned."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.scoring.plan_log import PlanLog, steps
from bench.scoring.record_schema import CountedFacts
from bench.storage.journal import CellRow
from bench.storage.run_folder import RunFolder
from bench.tasks.names import regime

OutcomeState = Literal[
    "scored", "blocked", "refused", "failed", "unscorable", "unfinished", "not run", "left out", "retracted", "not published"
]  # fmt: skip
RecordPlace = tuple[str, str, str, str]
"""System, task, protocol with training, condition: what tells records apart."""
_LONGEST = 120
"""Characters of a reason in a sentence; the whole of it is for the list."""
_SHOWN = 2
"""Systems that a count of outcomes names; of more it says how many."""


@dataclass(frozen=True)
class RecordOutcome:
    """A record that was planned (or imported: not ``planned``), and whether it came to be. ``reason`` says why it did not."""

    system: str
    task: str
    protocol: str
    condition: str
    state: OutcomeState
    reason: str = ""
    publication: str = ""
    planned: bool = True

    @property
    def place(self) -> RecordPlace:
        """What tells it apart."""
        return self.system, self.task, self.protocol, self.condition


@dataclass(frozen=True)
class RunRemains:
    """What a run folder holds of what became of its plan.

    ``described`` is its ``matrix.json``, ``unscored`` the reasons of complete records that could not be scored, by stem;
    ``systems`` are names that are known otherwise, to take stems apart by.
    """

    described: Mapping[str, Any]
    records: Sequence[CountedFacts]
    cells: Sequence[CellRow] = ()
    unscored: Mapping[str, str] = field(default_factory=dict)
    log: PlanLog = ()
    systems: Collection[str] = ()

    @property
    def blocked(self) -> dict[str, str]:
        """Why systems could not run, by system."""
        return texts(self.described.get("blocked"))

    @property
    def refused(self) -> dict[str, str]:
        """Why records cannot be planned, by stem."""
        return texts(self.described.get("refused"))

    @property
    def planned(self) -> list[str]:
        """Stems of the records that the plan has, refused ones included."""
        listed = self.described.get("records")
        stems = map(str, listed if isinstance(listed, list) else ())
        return list(dict.fromkeys((*stems, *self.refused)))

    @property
    def dropped(self) -> dict[str, str]:
        """Stems that an earlier plan had when there were results already, and this one has not, with the reason in words."""
        now = set(self.planned)
        return {
            stem: f"planned at first, left out of the plan after {after.cells} of {after.of} cells were computed"
            for before, after in steps(self.log)
            for stem in before.records
            if stem not in now and stem not in after.records
        }


def texts(value: Any) -> dict[str, str]:
    """A mapping of texts, from JSON that may hold anything."""
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def unscored_of(folder: RunFolder) -> dict[str, str]:
    """Why complete records of a run could not be scored, by file stem; nothing where no such note was left."""
    try:
        return texts(json.loads(folder.unscored.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def place_of(facts: CountedFacts) -> RecordPlace:
    """What tells a record apart."""
    return facts.system, facts.task, regime(facts.protocol, facts.training), facts.condition


def owners(records: Iterable[CountedFacts]) -> dict[str, str]:
    """What systems were called where they ran, and the names with an owner under which they were published."""
    return {f.system.rpartition("/")[2]: f.system for f in records if "/" in f.system}


def run_outcomes(run: RunRemains) -> tuple[RecordOutcome, ...]:
    """Say of every record that a run planned what became of it.

    Args:
        run: what its folder holds.

    Returns:
        An outcome per record that was planned, at any time, and per record that is there, sorted.
    """
    scored = {place_of(f): f for f in run.records}
    # A system that was published under its owner's name was planned, and ran, without it.
    owned = owners(run.records)
    by_record: dict[RecordPlace, list[CellRow]] = defaultdict(list)
    for row in run.cells:
        by_record[owned.get(row.system, row.system), row.task, row.protocol, row.condition].append(row)
    known = {row.system for row in run.cells} | {f.system for f in run.records} | {*run.blocked, *run.systems}

    def placed(reasons: Mapping[str, str]) -> dict[RecordPlace, str]:
        return {place(stem): reason for stem, reason in reasons.items()}

    def place(stem: str) -> RecordPlace:
        system, *rest = split_stem(stem, known)
        return owned.get(system, system), *rest  # type: ignore[return-value]  # the other three parts of a place

    refused, unfit, dropped = placed(run.refused), placed(run.unscored), placed(run.dropped)
    planned = {place(s) for s in run.planned}
    found = []
    for key in sorted(planned | set(dropped) | set(scored)):
        if key in scored:
            state, reason = _SCORED
        elif key in dropped:
            state, reason = "left out", dropped[key]
        elif key in unfit:
            state, reason = "unscorable", unfit[key]
        else:
            state, reason = _state(by_record[key], refused.get(key), run.blocked.get(key[0]))
        imported = key in scored and scored[key].imported is not None
        found.append(RecordOutcome(*key, state, reason, planned=key in planned or not imported))
    return tuple(found)


_SCORED: tuple[OutcomeState, str] = ("scored", "")


def _state(cells: Sequence[CellRow], refused: str | None, blocked: str | None) -> tuple[OutcomeState, str]:
    latest = latest_cells(cells)
    failed = [row for row in latest if row.state == "failed"]
    if failed:
        return "failed", f"{len(failed)} of the {len(latest)} cells tried failed"
    if refused is not None:
        return "refused", refused
    if blocked is not None:
        return "blocked", blocked
    if latest:
        return "unfinished", f"{len(latest)} cells are done, no record was scored"
    return "not run", "left out so far (--only, or the run was stopped)"


def latest_cells(cells: Sequence[CellRow]) -> list[CellRow]:
    """Keep the newest row of each fold and seed: rows of earlier code stay in the journal under other keys."""
    return list({(row.fold, row.seed): row for row in cells}.values())


def split_stem(stem: str, systems: Collection[str]) -> RecordPlace:
    """Take the name of a record apart: system, task, protocol, condition.

    A system's name may itself hold ``__``: where there is a choice, a known system decides.

    >>> split_stem("my__svm__emodb.de__within__clean", {"my__svm"})
    ('my__svm', 'emodb.de', 'within', 'clean')
    >>> split_stem("alice~svm__emodb.de__within__clean", set())[0]
    'alice/svm'
    """
    rest, protocol, condition = ["", "", "", *stem.rsplit("__", 2)][-3:]
    parts = rest.replace("~", "/").split("__")
    splits = [("__".join(parts[:i]), "__".join(parts[i:])) for i in range(1, len(parts))]
    system, task = next((s for s in splits if s[0] in systems), splits[0] if splits else (rest, ""))
    return system, task, protocol, condition


@dataclass(frozen=True)
class OutcomeCount:
    """Planned records that came to the same end for the same reason."""

    state: OutcomeState
    reason: str
    systems: tuple[str, ...]
    records: int


def count_outcomes(outcomes: Iterable[RecordOutcome]) -> list[OutcomeCount]:
    """Count what was planned and not scored by state and reason, the most frequent first."""
    groups: dict[tuple[OutcomeState, str], list[RecordOutcome]] = defaultdict(list)
    for o in outcomes:
        if o.planned and o.state != "scored":
            groups[o.state, o.reason].append(o)
    counts = [
        OutcomeCount(state, reason, tuple(sorted({o.system for o in own})), len(own))
        for (state, reason), own in groups.items()
    ]
    return sorted(counts, key=lambda c: (-c.records, c.state, c.reason))


def outcome_words(outcomes: Sequence[RecordOutcome], done: str = "scored") -> str:
    """Say how much of what was planned came to be, and what became of the rest: a clause without a full stop.

    Args:
        outcomes: of a run, or of everything published.
        done: the word for what came to be.

    >>> x = RecordOutcome("a", "t.en", "within", "clean", "scored")
    >>> y = RecordOutcome("b", "t.en", "within", "clean", "blocked", "needs a server")
    >>> outcome_words([x, y])
    '1 of 2 scored, 1 blocked (b: needs a server)'
    """
    planned = [o for o in outcomes if o.planned]
    scored = sum(o.state == "scored" for o in planned)
    by_state = Counter(o.state for o in planned if o.state != "scored")
    parts = [f"{scored} of {len(planned)} {done}"]
    counts = count_outcomes(outcomes)
    for state, number in by_state.most_common():
        own = [c for c in counts if c.state == state]
        why = _why(own[0]) if len(own) == 1 else ""
        parts.append(f"{number} {state}{why}")
    return ", ".join(parts)


def _why(count: OutcomeCount) -> str:
    """The one reason of a state in short, with its systems where these are few."""
    if not count.reason or count.state not in ("blocked", "refused", "retracted", "unscorable"):
        return ""
    named = count.systems if len(count.systems) <= _SHOWN else (f"{len(count.systems)} systems",)
    first = count.reason.partition(": ")[0]
    # What stands in the way comes first, then what to do; a lone word before the colon only names a task or a file.
    told = first if " " in first else count.reason
    return f" ({', '.join(named)}: {told if len(told) <= _LONGEST else told[:_LONGEST] + '…'})"


_PATH = re.compile(r"(?<![\w/.:])~?(?:/[^\s/'\",;:()]+)+/(?=[^\s/])")


def without_folders(text: str) -> str:
    """A sentence with the folders of this machine taken out of its paths, for publication.

    >>> without_folders("no weights in /home/ann/models/tiny; see https://example.org/a/b")
    'no weights in …/tiny; see https://example.org/a/b'
    """
    return _PATH.sub("…/", text)
