"""What ``serbench score`` shows beside the scores: slices and gaps, macro scores by language, ranks across tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.cli.printing import console, figure, print_table
from bench.scoring.records import Record, main_view


def metric_words(row: Mapping[str, Any]) -> str:
    """Name a row's metric, with its dimension."""
    return str(row["metric"]) if row["dimension"] is None else f"{row['metric']} {row['dimension']}"


def span_words(row: Mapping[str, Any]) -> str:
    """Write a row's interval."""
    return "no interval" if row["low"] is None else f"{figure(row['low'])} – {figure(row['high'])}"


def setting_words(row: Mapping[str, Any]) -> str:
    """Name a row's protocol, what was learnt from, and the condition where it is not the clean one."""
    condition = row["condition"] if row["condition"] != "clean" else ""
    return " ".join(filter(None, (row["protocol"], row["training"], condition)))


def print_languages(records: Sequence[Record]) -> None:
    """Macro scores by language, where there are several: the plan's primary metric and view."""
    from bench.scoring.aggregates import by_language

    rows, _ = by_language(records)
    if not records or len({m.language for m in rows}) < 2:
        return
    metric = records[0].facts["plan"]["primary_metric"]
    views = {
        (str(r.facts["protocol"]), str(r.facts.get("training", ""))): main_view(r.facts) for r in records
    }
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
        "scores": [row for r in records for row in r.scores],
        "slices": [_who(r) | row for r in records for row in r.facts["slices"]],
        "gaps": [_who(r) | row for r in records for row in r.facts["gaps"]],
        "absent": [
            _who(r) | {"axis": a["axis"], "reason": a["absent"]}
            for r in records
            for a in r.facts.get("axes", ())
            if a["absent"]
        ],
        "languages": [m.as_json() for m in macro],
        "ranks": [r.as_json() for r in rankings(records)],
        "across": [g.as_json() for g in (*language_gaps, *by_condition(records))],
    }


def _who(record: Record) -> dict[str, Any]:
    names = ("system", "task", "protocol", "training", "track", "condition")
    return {n: record.facts.get(n, "") for n in names}


def print_slices(records: Sequence[Record]) -> None:
    """Print the slices of every task, then all gaps, then what could not be sliced and why."""
    found = everything(records)
    for task in sorted({r.task for r in records}):
        views = {main_view(r.facts) for r in records if r.task == task} | {"dimensions"}
        rows = [
            s for s in found["slices"] if s["task"] == task and s["view"] in views and s["metric"] != "wa"
        ]
        print_table(
            f"{task}: slices",
            ("system", "setting", "axis", "group", "metric", "estimate", "interval", "clips", "clusters"),
            [
                (s["system"], setting_words(s), s["axis"], s["group"], metric_words(s),
                 figure(s["estimate"]), span_words(s), s["clips"], s["clusters"])
                for s in rows
            ],
            right=("estimate", "clips", "clusters"),
        )  # fmt: skip
        console().print()
    _print_gaps([*found["gaps"], *found["across"]], records)
    for reason in dict.fromkeys(
        f"{a['task']}: no slices by {a['axis']}: {a['reason']}" for a in found["absent"]
    ):
        console().print(reason, soft_wrap=True)


def _print_gaps(gaps: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> None:
    views = {main_view(r.facts) for r in records} | {"dimensions"}
    print_table(
        "gap between the best and the worst group (interval of the spread of the true values)",
        ("task", "system", "setting", "axis", "metric", "best", "worst", "gap", "interval", "groups", "left out"),
        [
            (
                g["task"], g["system"], setting_words(g), g["axis"], metric_words(g), f"{_name(g, 'best')} {figure(g['best_estimate'])}",
                f"{_name(g, 'worst')} {figure(g['worst_estimate'])}", figure(g["gap"]), span_words(g), g["groups"], g["left_out"],
            )
            for g in gaps
            if g["view"] in views and g["metric"] not in {"wa", "macro_f1"}
        ],
        right=("gap", "groups", "left out"),
    )  # fmt: skip


def _name(gap: Mapping[str, Any], which: str) -> str:
    """A group's name; of a speaker's hash the beginning."""
    return str(gap[which])[:8] if gap["axis"] == "speaker" else str(gap[which])
