"""``serbench score`` and ``serbench compare``: what a run's records say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cli.printing import console, figure, print_json, print_table
from bench.comparing import compare_pair
from bench.errors import DataError
from bench.records import read_facts, read_records
from bench.workspace import open_run


def headline_rows(records: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one row per record: the plan's primary metric and view, with CCC where there is any; best first per task."""
    rows = []
    for facts in records:
        plan = facts["plan"]
        main = _find(facts["scores"], plan["primary_metric"], plan["primary_view"])
        ccc = [s["estimate"] for s in facts["scores"] if s["metric"] == "ccc" and s["rows"] == "all"]
        if main is None and not ccc:
            continue
        empty = {
            "estimate": None,
            "low": None,
            "high": None,
            "speakers": facts["speakers"],
            "seeds": len(facts["seeds"]),
        }
        rows.append({**facts, **(main or empty), "ccc": ccc})
    yield from sorted(rows, key=lambda r: (r["task"], r["protocol"], -(r["estimate"] or 0.0), r["system"]))


def _find(scores: Sequence[Mapping[str, Any]], metric: str, view: str) -> Mapping[str, Any] | None:
    wanted = {"metric": metric, "view": view, "outside": "wrong", "rows": "all"}
    return next((s for s in scores if all(s[k] == v for k, v in wanted.items())), None)


def score(run: Path, *, as_json: bool) -> None:
    """Print a run's scores."""
    folder = open_run(run)
    scores = [row for p in sorted(folder.records.glob("*.json")) for row in read_facts(p)["scores"]]
    if as_json:
        print_json(scores)
        return
    if not scores:
        raise DataError(f"{run}: holds no record yet; let serbench run finish a system on a task first")
    shown = [s for s in scores if s["rows"] == "all" or s["coverage"] < 1]
    for task in sorted({s["task"] for s in shown}):
        print_table(
            task,
            (
                "system",
                "protocol",
                "view",
                "outside",
                "rows",
                "metric",
                "estimate",
                "interval",
                "over seeds",
                "clips",
                "coverage",
            ),
            [
                (
                    s["system"],
                    s["protocol"],
                    s["view"],
                    s["outside"],
                    s["rows"],
                    s["metric"] if s["dimension"] is None else f"{s['metric']} {s['dimension']}",
                    figure(s["estimate"]),
                    f"{figure(s['low'])} – {figure(s['high'])}",
                    f"{figure(s['seed_low'])} – {figure(s['seed_high'])}" if s["seeds"] > 1 else "",
                    s["clips"],
                    figure(s["coverage"]),
                )
                for s in shown
                if s["task"] == task
            ],
            right=("estimate", "clips", "coverage"),
        )
        console().print()


def compare(run: Path, a: str, b: str, task: str | None, *, as_json: bool) -> None:
    """Print the comparison of two systems."""
    pairings = compare_pair(read_records(open_run(run).records), a, b, task)
    if as_json:
        print_json([p.as_json() for p in pairings])
        return
    print_table(
        f"{a} − {b}",
        (
            "task",
            "view",
            "outside",
            "metric",
            "difference",
            "95 % interval",
            "p",
            "p (max-T)",
            "p (Holm)",
            "least p",
            "verdict",
            "family",
        ),
        [
            (
                p.task,
                p.view,
                p.outside,
                p.metric if p.dimension is None else f"{p.metric} {p.dimension}",
                f"{p.difference:+.3f}",
                f"{p.low:+.3f} – {p.high:+.3f}",
                f"{p.p_value:.2g}",
                f"{p.p_adjusted:.2g}",
                f"{p.p_holm:.2g}",
                f"{p.smallest_p:.2g}",
                p.verdict,
                f"{p.family} ({p.family_size})",
            )
            for p in pairings
        ],
        right=("difference", "p", "p (max-T)", "p (Holm)", "least p"),
    )
    for p in pairings:
        if p.view == "native" and p.metric == "ua":
            console().print(p.sentence, soft_wrap=True)
