"""Tables of studies in Markdown, as ``claims.yaml`` describes them, from the records alone."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import DataError
from bench.leaderboard.claims.rules import (
    ChangesTable,
    DimensionsTable,
    PageTable,
    ScoresTable,
    SeedsTable,
    SourcesTable,
)
from bench.leaderboard.claims.verdicts import planned_verdicts
from bench.protocols import DIMENSIONS
from bench.scoring.pair_results import PairResult
from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record
from bench.statistics.families import CANNOT_SEPARATE


def study_table(table: PageTable, records: Sequence[Record]) -> str:
    """Render a table from the records of its study.

    Args:
        table: what it shows.
        records: of the study.

    Returns:
        Markdown; blank where no record belongs in it.

    Raises:
        DataError: a score that the table needs is in no record.
    """
    if isinstance(table, ScoresTable):
        return _scores(records)
    if isinstance(table, SeedsTable):
        return _seeds(table, records)
    if isinstance(table, ChangesTable):
        return _changes(table, records)
    if isinstance(table, SourcesTable):
        return _captioned(table.caption, _sources(table, records))
    return _captioned(table.caption, _dimensions(table, records))


def _scores(records: Sequence[Record]) -> str:
    """A row per system and what it learnt from, a column per task: UA in the main view with its interval."""
    tasks = sorted({r.task for r in records})
    cells = {(r.facts.training, r.system, r.task): _percent(_main(r)) for r in records}
    lines = [f"| system | learnt from | {' | '.join(tasks)} |", "|---|---|" + "---|" * len(tasks)]
    for training, system in sorted({(training, system) for training, system, _ in cells}):
        learnt = training.replace("-", " ") if training else "the corpus itself"
        row = " | ".join(cells.get((training, system, t), "") for t in tasks)
        lines.append(f"| `{system}` | {learnt} | {row} |")
    return "\n".join(lines)


def _seeds(table: SeedsTable, records: Sequence[Record]) -> str:
    """A row per task: each system's mean over seeds, its least and its most."""
    rows = {(r.task, r.system): _main(r) for r in records}
    named = " | ".join(f"`{s}`" for s in table.systems)
    lines = [f"| {table.head} | {named} |", "|---|" + "---|" * len(table.systems)]
    for task in sorted({r.task for r in records}):
        cells = []
        for system in table.systems:
            s = rows.get((task, system))
            cells.append(
                f"{100 * s.estimate:.1f} ({100 * s.seed_low:.1f} to {100 * s.seed_high:.1f})" if s else ""
            )
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _changes(table: ChangesTable, records: Sequence[Record]) -> str:
    """A row per change within the corpus: UA, and the paired difference to what it is read against."""
    known = {table.base, *(row.system for row in table.rows)}
    own = {r.system: r for r in records if r.facts.protocol == "within" and r.system in known}
    if table.base not in own:
        raise DataError(f"the table of changes is read against {table.base!r}, of which {table.study} has no record")  # fmt: skip
    lines = ["| what differs | system | UA (95 % interval) | difference |", "|---|---|---|---|"]
    lines.append(f"| nothing | `{table.base}` | {_percent(_main(own[table.base]))} |  |")
    shown = [row for row in table.rows if row.system in own]
    pairs = [(row.system, row.against or table.base) for row in shown]
    tested = {(p.system_a, p.system_b): p for p in planned_verdicts(list(own.values()), pairs)}
    for row, pair in zip(shown, pairs, strict=True):
        named = f" (to `{row.against}`)" if row.against else ""
        lines.append(f"| {row.words} | `{row.system}` | {_percent(_main(own[row.system]))} | {_difference(tested[pair])}{named} |")  # fmt: skip
    return "\n".join(lines)


def _sources(table: SourcesTable, records: Sequence[Record]) -> str:
    """A row per training set of the system, scored on a corpus that is none of them."""
    found = [r for r in records if r.facts.protocol == "transfer" and r.system == table.system]
    lines = ["| learnt from | clips | tested on | UA (95 % interval) |", "|---|---|---|---|"]
    for r in sorted(found, key=lambda r: (r.task, len(r.facts.sources), r.facts.training)):
        sources = r.facts.sources
        names, clips = " + ".join(s.task for s in sources), sum(s.clips for s in sources)
        lines.append(f"| {names} | {clips:,} | {r.task} | {_percent(_main(r))} |")
    return "\n".join(lines) if found else ""


def _dimensions(table: DimensionsTable, records: Sequence[Record]) -> str:
    """A row per system and task: CCC and Pearson's r of each dimension, and UA."""
    place = {row.system: i for i, row in enumerate(table.rows)}
    found = sorted((r for r in records if r.system in place), key=lambda r: (place[r.system], r.task))
    asked = " | ".join(f"{d}: CCC; r" for d in DIMENSIONS)
    lines = [f"| what differs | system | task | {asked} | UA |", "|---|---|---|---|---|---|---|"]
    for r in found:
        if not _has_dimensions(r):
            continue
        cells = [
            "; ".join(_decimals(_score(r, metric, "dimensions", d)) for metric in ("ccc", "pearson"))
            for d in DIMENSIONS
        ]
        words = table.rows[place[r.system]].words
        lines.append(f"| {words} | `{r.system}` | {r.task} | {' | '.join(cells)} | {_percent(_main(r))} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _has_dimensions(record: Record) -> bool:
    return any(s.metric == "ccc" for s in record.scores)


def _captioned(caption: str, table: str) -> str:
    return f"{caption}\n\n{table}" if table and caption else table


def _main(record: Record) -> ScoreRow:
    """UA in the record's main view."""
    return _score(record, "ua", record.facts.main_view)


def _score(record: Record, metric: str, view: str, dimension: str | None = None) -> ScoreRow:
    wanted = (metric, view, "wrong", "all", dimension)
    for s in record.scores:
        if (s.metric, s.view, s.outside, s.rows, s.dimension) == wanted:
            return s
    raise DataError(
        f"{record.system} on {record.task} has no {metric} in the view {view}, which a table of claims.yaml shows"
    )


def _percent(s: ScoreRow) -> str:
    if s.low is None or s.high is None:
        return f"{100 * s.estimate:.1f}"
    return f"{100 * s.estimate:.1f} ({100 * s.low:.1f}–{100 * s.high:.1f})".replace("-", "−")


def _decimals(s: ScoreRow) -> str:
    interval = f" ({s.low:.2f} to {s.high:.2f})" if s.low is not None and s.high is not None else ""
    return f"{s.estimate:.2f}{interval}".replace("-", "−")


def _difference(p: PairResult) -> str:
    low, high = p.simultaneous_low, p.simultaneous_high
    points = f"{100 * p.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})".replace("-", "−")
    said = "not separated" if p.verdict == CANNOT_SEPARATE else p.verdict
    return f"{points}, adjusted p = {p.p_adjusted:.2g}: {said}"
