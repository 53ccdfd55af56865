"""What was learnt from which languages beside what it is tested on: a matrix per system, every score with its interval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.audio.conditions import CLEAN
from bench.cards.labels import VIEWS
from bench.protocols import DIMENSIONS
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from bench.tasks.transfer import OTHER_LANGUAGES, OTHER_POOLS
from reports import formatting
from reports.data.comparisons import TaskComparison
from reports.data.reference_lines import guess_line, height_above, shared_line, standing
from reports.sections.forest_boards import ScoreCell, score_of

OWN = "its own corpus, other speakers"
NOWHERE = "nothing here (zero-shot)"
RULES = {OTHER_LANGUAGES: "all other languages", OTHER_POOLS: "all other corpora"}
BOTH_RULES = "all other corpora, all in other languages"


@dataclass(frozen=True)
class Transferred:
    """A score after learning elsewhere, how deep its colour is, and what was learnt from."""

    score: ScoreCell
    depth: float
    learnt_from: str
    guess: float | None
    """What a guess over the labels on offer scores, where the column has no one value."""
    above_guess: bool | None
    as_above: bool = False
    """Whether both rules learnt from the same corpora here, so that the row above holds the same numbers."""


@dataclass(frozen=True)
class Learnt:
    """One row of a matrix: what was learnt from, and the score on each task tested (None: not run)."""

    title: str
    cells: tuple[Transferred | None, ...]


@dataclass(frozen=True)
class LanguageMatrix:
    """One system: train language × test language."""

    record: Record
    rows: tuple[Learnt, ...]


@dataclass(frozen=True)
class CrossLingual:
    """All of them in one view. ``tasks`` are the columns, by language, with what a guess scores where it is one value."""

    subject: Subject
    tasks: tuple[tuple[str, str, float | None], ...]
    systems: tuple[LanguageMatrix, ...]


def cross_lingual(comparisons: Sequence[TaskComparison]) -> list[CrossLingual]:
    """Lay out every record of transfer with those of the same systems that learnt on the corpus itself.

    A score stands in the view in which the transfer was learnt, where both kinds of record have it.
    """
    records = [r for c in comparisons if c.condition == CLEAN for r in c.records]
    records = [r for r in records if r.facts.track != "reference"]
    moved = [r for r in records if r.facts.protocol == "transfer"]
    found = []
    for subject in _subjects(moved):
        names = {r.system for r in moved if subject.row(r) is not None}
        own = [r for r in records if r.system in names and subject.row(r) is not None]
        tasks = {r.task for r in own if r.facts.protocol == "transfer"}
        own = [r for r in own if r.task in tasks]
        if own:
            found.append(_laid_out(own, subject))
    return found


def _subjects(moved: Sequence[Record]) -> list[Subject]:
    """The finest view that each was learnt in, then the dimensions."""
    views = {str(r.facts.learnt_view) for r in moved}
    chosen = [Subject(v, "wrong", "ua") for v in VIEWS if v in views]
    chosen += [Subject("dimensions", "wrong", "ccc", d) for d in DIMENSIONS]
    return [s for s in chosen if any(s.row(r) is not None for r in moved)]


def _laid_out(records: Sequence[Record], subject: Subject) -> CrossLingual:
    language = {r.task: r.facts.language for r in records}
    tasks = sorted(language, key=lambda t: (formatting.language_name(language[t]), t))
    chance = {t: shared_line(subject, [r for r in records if r.task == t]) for t in tasks}
    by_system: dict[str, list[Record]] = defaultdict(list)
    for r in records:
        by_system[r.system].append(r)
    order = {t: i for i, t in enumerate(formatting.TRACK_TITLES)}
    systems = sorted(by_system, key=lambda s: (order.get(str(by_system[s][0].facts.track), len(order)), s))
    return CrossLingual(
        subject,
        tuple((t, language[t], line.value if (line := chance[t]) else None) for t in tasks),
        tuple(_matrix(by_system[s], tasks, subject, {t for t in tasks if chance[t]}) for s in systems),
    )


def _matrix(
    own: Sequence[Record], tasks: Sequence[str], subject: Subject, one_guess: Collection[str]
) -> LanguageMatrix:
    rows: dict[str, dict[str, Record]] = defaultdict(dict)
    for r in own:
        rows[_title(r)][r.task] = r
    languages, pools = (rows.get(RULES[rule], {}) for rule in (OTHER_LANGUAGES, OTHER_POOLS))
    if languages and _learnt_by_task(languages) == _learnt_by_task(pools):
        # Where no two corpora share a language, the two rules are one, and so are their scores.
        rows[BOTH_RULES] = rows.pop(RULES[OTHER_LANGUAGES])
        del rows[RULES[OTHER_POOLS]]
    same = {t for t, learnt in _learnt_by_task(languages).items() if _learnt_by_task(pools).get(t) == learnt}
    ordered = sorted(rows, key=lambda t: (t != OWN, t in (*RULES.values(), BOTH_RULES), t == NOWHERE, t))
    return LanguageMatrix(
        own[0],
        tuple(
            Learnt(
                t,
                tuple(
                    replace(
                        _cell(rows[t][task], subject, told=task in one_guess),
                        as_above=t == RULES[OTHER_LANGUAGES] and task in same,
                    )
                    if task in rows[t]
                    else None
                    for task in tasks
                ),
            )
            for t in ordered
        ),
    )


def _learnt_by_task(row: Mapping[str, Record]) -> dict[str, set[str]]:
    return {task: {s.task for s in r.facts.sources} for task, r in row.items()}


def _title(record: Record) -> str:
    protocol, training = record.facts.protocol, str(record.facts.training)
    if protocol == "within":
        return OWN
    if protocol == "zero-shot":
        return NOWHERE
    if training in RULES:
        return RULES[training]
    return f"{', '.join(_languages([training]))}: {training}"


def _cell(record: Record, subject: Subject, *, told: bool) -> Transferred:
    row = subject.row(record)
    assert row is not None
    line = guess_line(subject, record)
    found = standing(row, line)
    return Transferred(
        score_of(row),
        round(height_above(row.estimate, line), 3),
        ", ".join(_languages([s.task for s in record.facts.sources])),
        None if line is None or told else line.value,
        None if found is None else found == "above",
    )


def _languages(tasks: Sequence[str]) -> list[str]:
    """Languages of tasks, by the name that ends a task's id."""
    return sorted({formatting.language_name(t.split("@")[0].rpartition(".")[2]) for t in tasks})
