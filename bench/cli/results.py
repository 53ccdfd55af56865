"""``serbench score`` and ``serbench compare``: what a run's records say, computed again on the spot."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cards.caution import TRAP
from bench.cli.printing import console, figure, print_json, print_table
from bench.cli.results_extra import (
    everything,
    metric_words,
    print_languages,
    print_ranking,
    print_slices,
    setting_words,
)
from bench.errors import BenchError, DataError, UsageError
from bench.protocols import DIMENSIONS
from bench.scoring.across_tasks import (
    ClaimsOverTasks,
    PairOverPools,
    claims_over_tasks,
    in_main_view,
    over_pools,
    pools_of,
)
from bench.scoring.clip_answers import Agreement, agreements
from bench.scoring.comparisons import compare_pair
from bench.scoring.pair_results import PairResult
from bench.scoring.record_schema import ListenerScore, RecordFacts, ScoreRow
from bench.scoring.records import Record
from bench.scoring.reference_levels import RULES, level_of
from bench.scoring.rescoring import RescoringSource, rescore
from bench.statistics.families import CANNOT_SEPARATE
from bench.statistics.populations import SPEAKERS, population_words
from bench.tasks.names import regime

if TYPE_CHECKING:
    from reports.data.comparisons import TaskComparison


@dataclass(frozen=True)
class ResultsQuery:
    """Where results are to come from: records or tables, the folders of prepared corpora, clips as units or not."""

    run: Path
    source: RescoringSource = "records"
    data: tuple[Path, ...] = ()
    item_level: bool = False

    def records(self) -> list[Record]:
        """Compute all records again; what an earlier version had computed otherwise goes to standard error."""
        checked = rescore(self.run, self.source, self.data, by_clip=self.item_level)
        for note in (c.note for c in checked if c.note):
            print(note, file=sys.stderr)
        return [c.record for c in checked]


@dataclass(frozen=True)
class Headline:
    """A record's score in the plan's primary metric and view (None: it has none), and its CCC by dimension where it has any."""

    facts: RecordFacts
    estimate: float | None
    low: float | None
    high: float | None
    ccc: tuple[float | None, ...]


def headlines(records: Sequence[RecordFacts]) -> list[Headline]:
    """One headline per record that has a score for it; best first per task."""
    rows = []
    for facts in records:
        plan = facts.plan
        wanted = (plan.primary_metric, facts.main_view, "wrong", "all")
        main = next((s for s in facts.scores if (s.metric, s.view, s.outside, s.rows) == wanted), None)
        found = {
            s.dimension: s.estimate
            for s in facts.scores
            if s.metric == "ccc" and s.rows == "all" and s.dimension != "mean"
        }
        if main is not None or found:
            estimate, low, high = (main.estimate, main.low, main.high) if main else (None, None, None)
            ccc = tuple(found.get(d) for d in DIMENSIONS) if found else ()
            rows.append(Headline(facts, estimate, low, high, ccc))

    def place(row: Headline) -> tuple[str, str, float, str]:
        return row.facts.task, row.facts.protocol, -(row.estimate or 0.0), row.facts.system

    return sorted(rows, key=place)


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
        _print_yardsticks(of_task)
        _print_population(own, of_task[0])
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
        cells = [_with_interval(line[m]) if m in line else "" for m in present]
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


def _print_population(rows: Sequence[ScoreRow], record: Record) -> None:
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


WIDER_SHOWN = ("ua", "ccc")
"""Metrics whose intervals over a wider population are printed; all of them stand in ``--json``."""


def _of_speakers(row: ScoreRow) -> str:
    span = (
        ""
        if row.by_speaker_low is None
        else f" [{figure(row.by_speaker_low)}, {figure(row.by_speaker_high)}]"
    )
    return f"{figure(row.by_speaker)}{span}"


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


def _print_yardsticks(records: Sequence[Record]) -> None:
    """What rules that hear nothing score in the main view, setting by setting, and what one listener does."""
    lines = [line for r in records for line in _guesses(r, several=len({_taught(x) for x in records}) > 1)]
    first = records[0].facts
    wanted = {first.main_view, "dimensions"}
    lines += [
        f"{_listener(row)} scores {metric_words(row)} {_with_interval(row)} on {row.clips} clips"
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


def _with_interval(row: ScoreRow | ListenerScore) -> str:
    """An estimate with its interval, which no table may tear apart."""
    span = "no interval" if row.low is None else f"[{figure(row.low)}, {figure(row.high)}]"
    return f"{figure(row.estimate)} {span}".replace(" ", "\N{NO-BREAK SPACE}")


def compare(query: ResultsQuery, a: str, b: str, task: str | None, *, as_json: bool) -> None:
    """Print the comparison of two systems.

    Args:
        query: which records, computed from what.
        a: the system whose score comes first in the difference.
        b: the system whose score is taken from it.
        task: its name; None: every task both ran.
        as_json: print JSON instead of tables.
    """
    records = query.records()
    pairings = compare_pair(records, a, b, task)
    same = {(x.task, x.regime, x.condition): x for x in agreements(query.run, records, a, b)}
    main = in_main_view(pairings, records)
    combined = over_pools(main, pools_of(records))
    metric = records[0].facts.plan.primary_metric
    claims = claims_over_tasks([p for p in main if p.metric == metric], pools_of(records))
    if as_json:
        print_json([p.as_json() | _agreement(p, same) | _over_tasks(p, combined, claims) for p in pairings])
        return
    for heading in dict.fromkeys(_heading(p) for p in pairings):
        print_table(
            f"{a} − {b} on {heading}",
            (
                "view", "outside", "metric", "difference", f"{100 * pairings[0].level:g} % simultaneous", "pair alone", "p", "p (max-T)",
                "p (Holm)", "least p", "seen 4 in 5", "verdict", "family",
            ),
            [_comparison(p) for p in pairings if _heading(p) == heading],
            right=("difference", "p", "p (max-T)", "p (Holm)", "least p", "seen 4 in 5"),
        )  # fmt: skip
        console().print()
    console().print(
        "The simultaneous interval decides: it holds every pair of the family at once. The interval of the pair alone does not.",
        soft_wrap=True,
    )
    # The finest view first: later ones say the same of fewer classes.
    finest = {
        (p.task, p.protocol, p.training, p.condition): p for p in reversed(pairings) if p.metric == "ua"
    }
    for p in reversed(finest.values()):
        console().print(p.sentence, soft_wrap=True)
        if (share := _agreement(p, same)["agreement"]) is not None:
            console().print(f"They give the same label to {100 * share:.1f} % of the clips both answered.")
    _print_over_tasks(combined, claims)
    _print_cautions(records, pairings)


def _print_cautions(records: Sequence[Record], pairings: Sequence[PairResult]) -> None:
    """What a reader of these verdicts must know of the tasks they rest on."""
    tested = {(p.task, s) for p in pairings for s in (p.system_a, p.system_b)}
    for line in dict.fromkeys(
        f"beware, {r.task}: {c.sentence}"
        for r in records
        if (r.task, r.system) in tested
        for c in r.facts.cautions_here
        if c.badge != TRAP
    ):
        console().print(line, soft_wrap=True, markup=False)


def _over_tasks(
    p: PairResult, combined: Sequence[PairOverPools], claims: ClaimsOverTasks | None
) -> dict[str, Any]:
    """What JSON says of a pair beyond its task: its p-value over all tasks compared, and the synthesis it is part of."""
    adjusted = next((c.p_value for c in claims.claims if c.pair is p), None) if claims else None
    setting = " ".join(filter(None, (p.protocol, p.training)))
    own = next(
        (
            c
            for c in combined
            if (c.setting, c.condition, c.metric, c.dimension)
            == (setting, p.condition, p.metric, p.dimension)
        ),
        None,
    )
    own = own if p.outside == "wrong" else None
    return {"p_over_tasks": adjusted, "over_tasks": own.as_json() if own else None}


def _print_over_tasks(combined: Sequence[PairOverPools], claims: ClaimsOverTasks | None) -> None:
    """The pair over all tasks: mean difference over pools in UA and CCC, and which verdicts stand over all of them."""
    shown = [c for c in combined if c.metric in {"ua", "ccc"}]
    if not shown:
        return
    console().print("Over all tasks:")
    for row in shown:
        console().print(f"  {row.setting} {row.condition}: {row.sentence}", soft_wrap=True)
    if claims is not None:
        console().print(f"  {claims.sentence}", soft_wrap=True)


def _agreement(p: PairResult, same: Mapping[tuple[str, str, str], Agreement]) -> dict[str, float | None]:
    found = same.get((p.task, regime(p.protocol, p.training), p.condition))
    return {"agreement": found.share if found else None}


def _heading(p: PairResult) -> str:
    return f"{p.task}, {setting_words(p)}, {p.clusters} {p.unit}"


def _comparison(p: PairResult) -> tuple[str, ...]:
    return (
        p.view,
        p.outside,
        p.metric if p.dimension is None else f"{p.metric} {p.dimension}",
        f"{p.difference:+.3f}",
        _ends(p.simultaneous_low, p.simultaneous_high),
        _ends(p.low, p.high),
        f"{p.p_value:.2g}",
        f"{p.p_adjusted:.2g}",
        f"{p.p_holm:.2g}",
        f"{p.smallest_p:.2g}",
        figure(p.detectable_difference),
        "cannot separate" if p.verdict == CANNOT_SEPARATE else p.verdict,
        f"{p.family} ({p.family_size})",
    )


def _ends(low: float, high: float) -> str:
    return f"[{low:+.3f}, {high:+.3f}]".replace(" ", "\N{NO-BREAK SPACE}")


LARGE_FOR_MAIL = 10_000_000
"""Bytes above which many mail servers refuse an attachment."""


def report_as_one_file(
    run: Path, path: Path, data: tuple[Path, ...], against: Path | None, *, audio: bool, out: Path | None
) -> None:
    """Write a run's report into one file, and say how large it is.

    Args:
        run: folder of a run.
        path: the file.
        data: folders of prepared corpora; without any, those of SERBENCH_DATA.
        against: an earlier run to compare with; None: no such page.
        audio: players for missed clips were asked for, which one file cannot have.
        out: a folder of pages was asked for, which goes without the file.

    Raises:
        UsageError: ``audio`` or ``out`` was asked for as well.
    """
    from reports.pages.report import write_single_file

    if audio or out is not None:
        raise UsageError(
            "--single-file is for sending away: it has no players (--audio) and no folder (--out); give it alone"
        )
    size = write_single_file(run, path, data=data, against=against)
    large = (
        f"; many mail servers refuse so much, send a part of it (serbench report {run})"
        if size > LARGE_FOR_MAIL
        else ""
    )
    console().print(f"{path}: {size / 1e6:.1f} MB{large}", soft_wrap=True)
