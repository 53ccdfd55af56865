"""The lines a score is drawn against: a guess over what was on offer, and what one listener scores against the same truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.scoring.record_schema import ListenerScore, ScoreRow
from bench.scoring.records import Record
from bench.scoring.reference_levels import RULES, Rule, level_of
from bench.scoring.subject import Subject

Standing = Literal["above", "not shown above", "below"]
"""Where a score's interval lies: wholly above the line, across it, or wholly below."""
OLD_RULE = "1/K of the K true classes: the record does not say what was on offer"


@dataclass(frozen=True, order=True)
class GuessLine:
    """What guessing scores, 0..1, and by which rule, in words."""

    value: float
    words: str


def guess_line(subject: Subject, record: Record) -> GuessLine | None:
    """The line that a record's score is held against.

    UA: a uniform guess over the labels on offer. WA: the best of the rules that hear nothing, since the commonest class alone
    scores more than a uniform guess. No other metric has a line: it would depend on how one guesses.

    Args:
        subject: metric and view.
        record: of any schema.

    Returns:
        The line; None where there is none.
    """
    if subject.metric not in ("ua", "wa") or not subject.counted(record):
        return None
    rules: tuple[Rule, ...] = ("uniform",) if subject.metric == "ua" else ("uniform", "prior", "majority")
    known = [
        (x.ua if subject.metric == "ua" else x.wa, RULES[rule])
        for rule in rules
        if (x := level_of(record, subject.view, subject.outside, rule)) is not None
    ]
    if known:
        return GuessLine(*max(known))
    noted = next((c for c in record.facts.chance if c.view == subject.view), None)
    if noted is None:
        return None
    return GuessLine(noted.ua if subject.metric == "ua" else noted.wa, OLD_RULE)


def shared_line(subject: Subject, records: Sequence[Record]) -> GuessLine | None:
    """The line of all these records, where it is one: other labels on offer make another line."""
    lines = {guess_line(subject, r) for r in records}
    return lines.pop() if len(lines) == 1 else None


def height_above(estimate: float, line: GuessLine | None) -> float:
    """How far a score stands above a line on the way to a perfect one, 0..1; where guessing is always right, nothing is shown.

    >>> round(height_above(0.6, GuessLine(0.2, "")), 9), height_above(1.0, GuessLine(1.0, "")), height_above(0.3, None)
    (0.5, 0.0, 0.3)
    """
    floor = line.value if line is not None else 0.0
    return 0.0 if floor >= 1 else min(max((estimate - floor) / (1 - floor), 0.0), 1.0)


def standing(row: ScoreRow, line: GuessLine | None) -> Standing | None:
    """Where a score stands; None without a line or an interval.

    A reference system that answers by rule has no interval where its score is constant by construction: then it is below where it is.
    """
    if line is None:
        return None
    if row.low is None or row.high is None:
        return "below" if row.track == "reference" and row.estimate < line.value - 1e-9 else None
    if row.low > line.value:
        return "above"
    return "below" if row.high < line.value else "not shown above"


def best_guess(subject: Subject, record: Record) -> GuessLine | None:
    """The most that any rule scores that hears nothing: in a view, the commonest label can be worth more than a uniform guess."""
    if subject.metric not in ("ua", "wa"):
        return None
    known = [
        (x.ua if subject.metric == "ua" else x.wa, words)
        for rule, words in RULES.items()
        if (x := level_of(record, subject.view, subject.outside, rule)) is not None
    ]
    return GuessLine(*max(known)) if known else None


CLEARLY = 0.9
"""Share of a uniform guess's UA below which priors are said to run against the test side; folds alone take a hundredth."""


def against_priors(subject: Subject, record: Record) -> tuple[GuessLine, GuessLine] | None:
    """What going by the training side's frequencies scores, and a uniform guess, in UA, where the first is clearly less.

    What is frequent on the training side is then rare on the test side, and priors run against it.
    """
    levels = {r: level_of(record, subject.view, subject.outside, r) for r in RULES}
    majority, prior, uniform = (levels[r] for r in ("majority", "prior", "uniform"))
    if majority is None or prior is None or uniform is None:
        return None
    learnt = min(GuessLine(majority.ua, RULES["majority"]), GuessLine(prior.ua, RULES["prior"]))
    blind = GuessLine(uniform.ua, RULES["uniform"])
    return (learnt, blind) if learnt.value < CLEARLY * blind.value else None


def listeners_of(record: Record, subject: Subject) -> list[ListenerScore]:
    """What one listener scores on the subject, by what is taken as true."""
    wanted = (subject.view, subject.metric, subject.dimension)
    return [h for h in record.facts.human if (h.view, h.metric, h.dimension) == wanted]


def human_line(subject: Subject, record: Record) -> float | None:
    """What one listener scores against the truth that systems are scored against.

    Dimensions are what listeners heard. Of categories the corpus's card says whether they are what was intended or what was perceived; a
    listener against another truth is another figure, and no line.
    """
    truth = "perceived" if subject.dimension is not None else record.facts.corpus_card.truth
    return next((h.estimate for h in listeners_of(record, subject) if h.truth == truth), None)
