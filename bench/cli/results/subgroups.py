"""Beside the scores: slices and gaps, macro scores by language, ranks across tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.cli.printing import console, figure, print_table
from bench.cli.results.words import metric_words, setting_words, span_words
from bench.scoring.record_schema import Gap
from bench.scoring.records import Record


def print_languages(records: Sequence[Record]) -> None:
    """Macro scores by language, where there are several: the plan's primary metric and view."""
    from bench.scoring.aggregates import by_language

    rows, _ = by_language(records)
    if not records or len({m.language for m in rows}) < 2:
        return
    metric = records[0].facts.plan.primary_metric
    views = {(str(r.facts.protocol), r.facts.training): r.facts.main_view for r in records}
    shown = [m for m in rows if (m.view, m.metric) == (views[m.protocol, m.training], metric)]
    print_table(
        f"{metric.upper()} by language: mean over pools of recordings, then over languages",
        ("system", "track", "protocol", "training", "condition", "view", "language", "estimate", "interval", "pools", "tasks"),
        [
            (
                m.system, m.track, m.protocol, m.training, m.condition, m.view,
                m.language if m.languages == 1 else f"all {m.languages}", figure(m.estimate),
                "–" if m.low is None else f"{figure(m.low)} – {figure(m.high)}", m.pools, len(m.tasks),
            )
            for m in shown
        ],
        right=("estimate", "pools", "tasks"),
    )  # fmt: skip
    console().print()


def print_ranking(records: Sequence[Record]) -> None:
    """Average ranks over pools with Friedman's and Nemenyi's tests, per track and setting, from six pools on."""
    from bench.scoring.aggregates import rankings

    for found in rankings(records):
        if isinstance(found.ranks, str):
            if found.pools >= 2:
                console().print(f"{found.title}: no ranks across tasks: {found.ranks}", soft_wrap=True)
            continue
        ranks = found.ranks
        best = "; ".join(
            f"{n} {figure(r, 2)}" for n, r in zip(ranks.systems, ranks.average_ranks, strict=True)
        )
        console().print(
            f"{found.title}: average ranks over {len(ranks.pools)} pools: {best}. Friedman p = {ranks.p_value:.2g}; ranks further"
            f" apart than {figure(ranks.critical_difference, 2)} differ (Nemenyi)"
            + (f"; not on every task: {', '.join(ranks.left_out)}" if ranks.left_out else ""),
            soft_wrap=True,
        )


def everything(records: Sequence[Record]) -> dict[str, Any]:
    """Scores, slices and gaps of every record, and what lies across records, as JSON values."""
    from bench.scoring.aggregates import by_condition, by_language, rankings

    macro, language_gaps = by_language(records)
    return {
        "scores": [row.as_json() for r in records for row in r.scores],
        "slices": [_who(r) | row.as_json() for r in records for row in r.facts.slices],
        "gaps": [_who(r) | row.as_json() for r in records for row in r.facts.gaps],
        "absent": [
            _who(r) | {"axis": a.axis, "reason": a.absent} for r in records for a in r.facts.axes if a.absent
        ],
        "languages": [m.as_json() for m in macro],
        "ranks": [r.as_json() for r in rankings(records)],
        "across": [g.as_json() for g in (*language_gaps, *by_condition(records))],
    }


def _who(record: Record) -> dict[str, str]:
    names = ("system", "task", "protocol", "training", "track", "condition")
    return {n: getattr(record.facts, n) for n in names}


def print_slices(records: Sequence[Record]) -> None:
    """Print the slices of every task, then all gaps, then what could not be sliced and why."""
    from bench.scoring.aggregates import by_condition, by_language

    for task in sorted({r.task for r in records}):
        views = {r.facts.main_view for r in records if r.task == task} | {"dimensions"}
        print_table(
            f"{task}: slices",
            ("system", "setting", "axis", "group", "metric", "estimate", "interval", "clips", "clusters"),
            [
                (r.system, setting_words(r.facts), s.axis, s.group, metric_words(s),
                 figure(s.estimate), span_words(s), s.clips, s.clusters)
                for r in records
                for s in r.facts.slices
                if r.task == task and s.view in views and s.metric != "wa"
            ],
            right=("estimate", "clips", "clusters"),
        )  # fmt: skip
        console().print()
    across = (*by_language(records)[1], *by_condition(records))
    own = [(r.task, r.system, setting_words(r.facts), g) for r in records for g in r.facts.gaps]
    _print_gaps([*own, *((g.task, g.system, setting_words(g), g.gap) for g in across)], records)
    absent = [(r.task, a) for r in records for a in r.facts.axes if a.absent]
    for reason in dict.fromkeys(f"{task}: no slices by {a.axis}: {a.absent}" for task, a in absent):
        console().print(reason, soft_wrap=True)


def _print_gaps(gaps: Sequence[tuple[str, str, str, Gap]], records: Sequence[Record]) -> None:
    """Print gaps, each with its task, system and setting."""
    views = {r.facts.main_view for r in records} | {"dimensions"}
    print_table(
        "gap between the best and the worst group (interval of the spread of the true values)",
        ("task", "system", "setting", "axis", "metric", "best", "worst", "gap", "interval", "groups", "left out"),
        [
            (
                task, system, setting, g.axis, metric_words(g), f"{_name(g, g.best)} {figure(g.best_estimate)}",
                f"{_name(g, g.worst)} {figure(g.worst_estimate)}", figure(g.gap), span_words(g), g.groups, g.left_out,
            )
            for task, system, setting, g in gaps
            if g.view in views and g.metric not in {"wa", "macro_f1"}
        ],
        right=("gap", "groups", "left out"),
    )  # fmt: skip


def _name(gap: Gap, group: str) -> str:
    """A group's name; of a speaker's hash the beginning."""
    return group[:8] if gap.axis == "speaker" else group
