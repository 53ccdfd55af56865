"""What stands below a task's scores: what the intervals speak of, what guessing and a listener reach, what to beware of."""

from __future__ import annotations

from collections.abc import Sequence

from bench.cards.caution import TRAP
from bench.cli.printing import console, figure
from bench.cli.results.words import metric_words, setting_words, with_interval
from bench.scoring.record_schema import ListenerScore, ScoreRow
from bench.scoring.records import Record
from bench.scoring.reference_levels import RULES, level_of
from bench.statistics.populations import SPEAKERS, population_words

WIDER_SHOWN = ("ua", "ccc")
"""Metrics whose intervals over a wider population are printed; all of them stand in ``--json``."""


def print_population(rows: Sequence[ScoreRow], record: Record) -> None:
    """What the intervals speak of, and, where the plan asks for more than speakers, the intervals over that."""
    unit = f"{record.facts.cluster}s"
    console().print(f"intervals speak of {population_words(SPEAKERS, clusters=unit)}", soft_wrap=True)
    main = [
        s
        for s in rows
        if s.rows == "all" and s.outside == "wrong" and s.view in {record.facts.main_view, "dimensions"}
    ]
    by_speaker = [f"{_setting(s)} {_of_speakers(s)}" for s in main if s.by_speaker is not None]
    if by_speaker:
        console().print(f"UA averaged over speakers: {'; '.join(by_speaker)}", soft_wrap=True)
    for s in main:
        if s.population_low is not None and s.metric in WIDER_SHOWN:
            span = f"[{figure(s.population_low)}, {figure(s.population_high)}]"
            words = population_words(s.population, clusters=unit)
            console().print(f"{_setting(s)} {metric_words(s)}, for {words}: {span}", soft_wrap=True)
    for text in dict.fromkeys(
        f"{s.system}: {x}" for s in main if s.metric in WIDER_SHOWN for x in s.population_lacking
    ):
        console().print(f"the plan asks for more, which is not known of {text}", soft_wrap=True)


def _setting(row: ScoreRow) -> str:
    usual = {"", "within", "clean"}
    return " ".join((row.system, *(x for x in (row.protocol, row.training, row.condition) if x not in usual)))


def _of_speakers(row: ScoreRow) -> str:
    span = (
        ""
        if row.by_speaker_low is None
        else f" [{figure(row.by_speaker_low)}, {figure(row.by_speaker_high)}]"
    )
    return f"{figure(row.by_speaker)}{span}"


def print_reference_levels(records: Sequence[Record]) -> None:
    """What rules that hear nothing score in the main view, setting by setting, and what one listener does."""
    lines = [line for r in records for line in _guesses(r, several=len({_taught(x) for x in records}) > 1)]
    first = records[0].facts
    wanted = {first.main_view, "dimensions"}
    lines += [
        f"{_listener(row)} scores {metric_words(row)} {with_interval(row)} on {row.clips} clips"
        for row in first.human
        if row.view in wanted and row.metric in {"ua", "ccc"}
    ]
    lines += [f"beware: {c.sentence}" for r in records for c in r.facts.cautions_here if c.badge != TRAP]
    for line in dict.fromkeys(lines):
        console().print(line, soft_wrap=True, markup=False)


def _guesses(record: Record, *, several: bool) -> list[str]:
    facts, view = record.facts, record.facts.main_view
    where = f" ({setting_words(facts)})" if several else ""
    levels = [(r, level_of(record, view, "wrong", r)) for r in RULES]
    return [
        f"guessing scores UA {figure(x.ua)}, WA {figure(x.wa)} in view {view}{where}: {RULES[rule]}"
        for rule, x in levels
        if x is not None
    ]


def _taught(record: Record) -> tuple[str, str]:
    return record.facts.protocol, record.facts.training


def _listener(row: ListenerScore) -> str:
    if row.truth == "intended":
        return "one listener against the intended label"
    if row.dimension is not None:
        return "one listener's rating against the mean of the others'"
    return "one listener against the majority of the others"
