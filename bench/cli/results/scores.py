"""``serbench score``: a table of scores per task, and what has no record, with its reason."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.printing import console, figure, print_json, print_table
from bench.cli.results.query import ResultsQuery
from bench.cli.results.score_notes import print_population, print_reference_levels
from bench.cli.results.subgroups import everything, print_languages, print_ranking, print_slices
from bench.cli.results.words import with_interval
from bench.errors import BenchError, DataError
from bench.scoring.record_schema import ScoreRow
from bench.scoring.records import Record

if TYPE_CHECKING:
    from reports.data.comparisons import TaskComparison


def score(query: ResultsQuery, *, slices: bool, as_json: bool) -> None:
    """Print a run's scores.

    Args:
        query: which records, computed from what.
        slices: also those of groups of clips, of languages and of conditions.
        as_json: print JSON instead of tables.

    Raises:
        DataError: the run holds no record, and nothing in it says why.
    """
    records = query.records()
    missing = _missing(query.run)
    if as_json:
        rows = [row.as_json() for r in records for row in r.scores]
        print_json(everything(records) if slices else rows)
    elif not records and not missing:
        raise DataError(f"{query.run}: holds no record yet; let serbench run finish a system on a task first")
    else:
        _print_scores(records, query)
        print_languages(records)
        print_ranking(records)
        if slices:
            print_slices(records)
    for line in missing:
        print(line, file=sys.stderr)


def _missing(run: Path) -> list[str]:
    """Say what was planned and has no record, and why."""
    from bench.storage.run_folder import RunFolder
    from reports.data.run_data import read_run_data

    if not RunFolder(run).journal.exists():
        return []
    try:
        outcomes = read_run_data(run).outcomes
    except BenchError as error:
        return [f"what is missing from this run cannot be told: {error}"]
    words = {"unscorable": "not scored", "failed": "failed", "blocked": "skipped", "refused": "skipped"}
    return [
        f"{words.get(o.state, o.state)}: {o.system} on {o.task} ({o.protocol}, {o.condition}): {o.reason}"
        for o in outcomes
        if o.state != "scored"
    ]


TABLES = {
    "categories": ("ua", "wa", "macro_f1"),
    "dimensions": ("ccc", "pearson", "rmse"),
    "probabilities": ("ece", "brier", "cross_entropy", "kullback_leibler", "jensen_shannon"),
}
"""Metrics that stand side by side; a record has one line in each table per view, outside rule and choice of rows."""


ScoreKey = tuple[str | None, ...]


LINE = ("system", "protocol", "training", "condition", "view", "outside", "rows", "dimension")


PLAIN = {"training": "", "condition": "clean", "outside": "wrong", "rows": "all", "dimension": None}
"""Columns that are left out where every line says the same, usual thing."""


def _print_scores(records: Sequence[Record], query: ResultsQuery) -> None:
    from reports.data.comparisons import compare_systems

    scores = [row for r in records for row in r.scores]
    ranks = _ranks(compare_systems(records))
    for task in sorted({s.task for s in scores}):
        own = [s for s in scores if s.task == task and (s.rows == "all" or s.coverage < 1)]
        for name, metrics in TABLES.items():
            if rows := [s for s in own if s.metric in metrics]:
                _print_table(f"{task}: {name}", metrics, rows, ranks)
        of_task = [r for r in records if r.task == task]
        print_reference_levels(of_task)
        print_population(own, of_task[0])
        if query.item_level:
            console().print("clips were taken as independent: intervals are too narrow where speakers repeat")
        console().print()


def _print_table(
    title: str,
    metrics: Sequence[str],
    rows: Sequence[ScoreRow],
    ranks: Mapping[ScoreKey, str],
) -> None:
    present = [m for m in metrics if any(s.metric == m for s in rows)]
    columns = [c for c in LINE if c not in PLAIN or any(getattr(s, c) != PLAIN[c] for s in rows)]
    lines: dict[tuple[object, ...], dict[str, ScoreRow]] = {}
    for s in rows:
        lines.setdefault(tuple(getattr(s, c) for c in LINE), {})[s.metric] = s
    shown = []
    for line in lines.values():
        first = next(iter(line.values()))
        rank = next((ranks[_identity(s)] for s in line.values() if _identity(s) in ranks), "")
        cells = [with_interval(line[m]) if m in line else "" for m in present]
        seeds = f"{figure(first.seed_low)} – {figure(first.seed_high)}" if first.seeds > 1 else ""
        shown.append(
            (*(getattr(first, c) for c in columns), *cells, rank, seeds, first.clips, figure(first.coverage))
        )
    seeded = f"{present[0]} over seeds"
    headed = (*columns, *present, "rank", seeded, "clips", "coverage")
    usual = {"rank": "", seeded: "", "coverage": figure(1.0)}
    telling = [i for i, head in enumerate(headed) if any(row[i] != usual.get(head) for row in shown)]
    print_table(
        title,
        [headed[i] for i in telling],
        [[row[i] for i in telling] for row in shown],
        right=("clips", "coverage"),
    )


def _identity(row: ScoreRow) -> ScoreKey:
    return (
        row.system, row.task, row.protocol, row.training, row.condition, row.view, row.outside, row.rows, row.metric,
        row.dimension,
    )  # fmt: skip


def _ranks(contests: Sequence[TaskComparison]) -> dict[ScoreKey, str]:
    """Rank intervals inside each track, for the subjects that the plan puts first."""
    found = {}
    for contest in contests:
        for subject in contest.subjects:
            for record in contest.records:
                track = record.facts.track
                rank = contest.rank(subject, track, record.system)
                row = subject.row(record)
                if rank is not None and row is not None and rank.of > 1:
                    span = f"{rank.best}" if rank.best == rank.worst else f"{rank.best}–{rank.worst}"
                    found[_identity(row)] = f"{span} of {rank.of}"
    return found
