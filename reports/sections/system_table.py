"""The one table of a first page: every system with its scores, mean, mean rank, size, licence and what it had met."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.scoring.record_schema import RecordFacts, ScoreRow
from bench.statistics.recovered_intervals import PartOfMean, interval_of_mean
from reports import formatting
from reports.data.reference_lines import guess_line, height_above
from reports.sections.forest_boards import ScoreCell, score_of
from reports.sections.task_columns import TaskColumn

MET = ("seen", "same corpus", "undisclosed", "unseen")
"""What a system had met of a task, worst first."""
_FREE = re.compile(r"\b(apache|mit|bsd|cc0|cc-by|isc|unlicen[cs]e|0bsd)\b", re.IGNORECASE)
_BOUND = re.compile(
    r"non-?commercial|\bnc\b|research|academic|closed|proprietary|gated|personal", re.IGNORECASE
)


ALL_LANGUAGES = "all"


@dataclass(frozen=True)
class MeanScore:
    """A system's mean score: over tasks of one pool, then over a language's pools, then over languages."""

    estimate: float
    low: float | None
    high: float | None
    tasks: int


@dataclass(frozen=True)
class TableCell:
    """A score with its interval, how deep it is coloured, and what the system had met of the corpus."""

    score: ScoreCell
    estimate: float
    depth: float
    met: str


@dataclass(frozen=True)
class MeanRank:
    """Mean over pools of recordings of a system's place in its track, and of the best and worst place the tests leave open."""

    mean: float
    best: float
    worst: float
    of: int | None
    """How many systems its track has, where that is the same everywhere."""
    tasks: int

    @property
    def words(self) -> str:
        """As it stands in a cell."""
        of = f" of {self.of}" if self.of else ""
        return f"{self.mean:.1f} ({self.best:.1f} to {self.worst:.1f}){of}"


@dataclass(frozen=True)
class TableRow:
    """One system."""

    system: str
    facts: RecordFacts
    commercial: bool | None
    """Whether the licence that its card states allows commercial use; None where that cannot be told from its name."""
    mean: ScoreCell | None
    mean_estimate: float | None
    tasks: int
    """On how many of the main columns it was scored."""
    rank: MeanRank | None
    met: tuple[tuple[str, int], ...]
    """What it had met of the main columns' corpora, worst first, and of how many."""
    cells: tuple[TableCell | None, ...]
    """By column, of all columns."""
    seconds_per_hour: float | None
    one_seed: bool

    @property
    def licence(self) -> str:
        """As the card states it."""
        return self.facts.card.licence


@dataclass(frozen=True)
class SystemTable:
    """All systems by track, most supervision first, best mean first."""

    columns: tuple[TaskColumn, ...]
    main: tuple[TaskColumn, ...]
    shown: tuple[TaskColumn, ...]
    rows: tuple[TableRow, ...]
    means: Mapping[tuple[str, str, str], MeanScore]
    """(system, condition, language or ``all``) → mean over pools and languages."""

    @property
    def timed(self) -> bool:
        """Whether anybody's speed is known."""
        return any(r.seconds_per_hour is not None for r in self.rows)

    def row(self, system: str) -> TableRow:
        """The row of a system."""
        return next(r for r in self.rows if r.system == system)


def may_be_sold(licence: str) -> bool | None:
    """Whether a licence, by its name, allows commercial use; None where its name does not tell.

    >>> may_be_sold("Apache-2.0"), may_be_sold("CC-BY-NC-4.0"), may_be_sold("see the model's page")
    (True, False, None)
    """
    if _BOUND.search(licence):
        return False
    return True if _FREE.search(licence) else None


def system_table(
    columns: Sequence[TaskColumn],
    main: Sequence[TaskColumn],
    shown: Sequence[TaskColumn],
    speed: Mapping[str, float],
) -> SystemTable:
    """Lay out every system that was scored.

    Args:
        columns: everything that was scored.
        main: the columns that means and ranks are taken over.
        shown: those of a first look.
        speed: system → seconds of computing for an hour of audio, where it is known.

    Returns:
        The table.
    """
    means = _means(columns, main)
    facts: dict[str, RecordFacts] = {}
    for column in (*main, *columns):
        for system, record in column.records.items():
            facts.setdefault(system, record.facts)
    rows = [_row(s, f, columns, main, means, speed.get(s)) for s, f in facts.items()]
    tracks = list(formatting.TRACK_TITLES)

    def place(row: TableRow) -> tuple[object, ...]:
        track = str(row.facts.track)
        mean = row.mean_estimate
        return (
            tracks.index(track) if track in tracks else 9,
            -row.tasks,
            mean is None,
            -(mean or 0),
            row.system,
        )

    return SystemTable(tuple(columns), tuple(main), tuple(shown), tuple(sorted(rows, key=place)), means)


def _means(
    columns: Sequence[TaskColumn], main: Sequence[TaskColumn]
) -> dict[tuple[str, str, str], MeanScore]:
    """Average by (system, condition, language), and over all languages, from the records' own scores and intervals."""
    if not main:
        return {}
    spoken: dict[tuple[str, str], dict[str, dict[str, list[ScoreRow]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for column in columns:
        if column.plain and column.subject == main[0].subject:
            for system, record in column.records.items():
                if (row := column.subject.row(record)) is not None:
                    spoken[system, column.condition][column.language][record.facts.pool].append(row)
    found = {}
    for (system, condition), languages in spoken.items():
        for language, pools in languages.items():
            found[system, condition, language] = _mean(_parts(pools, 1.0))
        share = 1 / len(languages)
        parts = [p for pools in languages.values() for p in _parts(pools, share)]
        found[system, condition, ALL_LANGUAGES] = _mean(parts)
    return found


def _parts(pools: Mapping[str, Sequence[ScoreRow]], weight: float) -> list[PartOfMean]:
    return [
        PartOfMean(row.estimate, row.low, row.high, weight / len(pools) / len(rows), pool)
        for pool, rows in pools.items()
        for row in rows
    ]


def _mean(parts: Sequence[PartOfMean]) -> MeanScore:
    return MeanScore(*interval_of_mean(parts), len(parts))


def _row(
    system: str,
    facts: RecordFacts,
    columns: Sequence[TaskColumn],
    main: Sequence[TaskColumn],
    means: Mapping[tuple[str, str, str], MeanScore],
    seconds: float | None,
) -> TableRow:
    own = [c for c in main if system in c.records]
    mean = means.get((system, main[0].condition, ALL_LANGUAGES)) if main else None
    percent = bool(main) and formatting.is_percent(main[0].subject)
    met = Counter(c.records[system].facts.contamination for c in own)
    return TableRow(
        system=system,
        facts=facts,
        commercial=may_be_sold(facts.card.licence),
        mean=mean_cell(mean, percent=percent) if mean else None,
        mean_estimate=mean.estimate if mean else None,
        tasks=len(own),
        rank=None if facts.track == "reference" else _mean_rank(system, own),
        met=tuple((m, met[m]) for m in MET if met[m]),
        cells=tuple(_cell(c, system) for c in columns),
        seconds_per_hour=seconds,
        one_seed=any(c.records[system].has_one_seed_of_many for c in own),
    )


def mean_cell(mean: MeanScore, *, percent: bool) -> ScoreCell:
    """Write a mean with its interval."""
    return ScoreCell(
        formatting.number(mean.estimate, percent=percent),
        formatting.span(mean.low, mean.high, percent=percent),
    )


def _cell(column: TaskColumn, system: str) -> TableCell | None:
    record = column.records.get(system)
    row = column.subject.row(record) if record is not None else None
    if record is None or row is None:
        return None
    depth = round(height_above(row.estimate, guess_line(column.subject, record)), 3)
    return TableCell(score_of(row), row.estimate, depth, record.facts.contamination)


def _mean_rank(system: str, own: Iterable[TaskColumn]) -> MeanRank | None:
    """Average places over pools; None where a task was not tested."""
    pools: dict[str, list[tuple[float, int, int]]] = defaultdict(list)
    sizes = set()
    tasks = 0
    for column in own:
        comparison, track = column.comparison_of(system), column.records[system].facts.track
        interval = comparison.rank(column.subject, track, system)
        if interval is None or interval.of < 2:
            continue
        scores = comparison.estimates(column.subject, track)
        mine = column.subject.row(column.records[system])
        assert mine is not None
        ahead, equal = sum(s > mine.estimate for s in scores), sum(s == mine.estimate for s in scores)
        pools[column.facts.pool].append((ahead + (equal + 1) / 2, interval.best, interval.worst))
        sizes.add(interval.of)
        tasks += 1
    if not pools:
        return None
    mean, best, worst = (
        sum(sum(place[i] for place in places) / len(places) for places in pools.values()) / len(pools)
        for i in range(3)
    )
    return MeanRank(mean, best, worst, sizes.pop() if len(sizes) == 1 else None, tasks)
