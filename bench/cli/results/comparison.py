"""``serbench compare``: the difference of two systems, task by task and over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.cards.caution import TRAP
from bench.cli.printing import console, figure, print_json, print_table
from bench.cli.results.query import ResultsQuery
from bench.cli.results.words import setting_words
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
from bench.scoring.records import Record
from bench.statistics.families import CANNOT_SEPARATE
from bench.tasks.names import regime


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
