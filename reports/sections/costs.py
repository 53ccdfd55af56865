"""What a score costs: parameters, and seconds of computing for an hour of audio as this run measured them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports import formatting
from reports.charts.chart import Chart, Scale, value_scale
from reports.data.comparisons import TaskComparison
from reports.data.run_data import WorkDone
from reports.data.shared_features import features_key

NAMED = 12
LETTER = 7.0
"""Width of a letter of a name, px."""
"""Systems named inside a chart; the table names all."""


@dataclass(frozen=True)
class Cost:
    """One system: mean score over pools, over how many tasks, and what it costs. None where it is not known."""

    system: str
    track: str
    score: float
    tasks: int
    parameters: int | None
    seconds_per_hour: float | None


@dataclass(frozen=True)
class Costs:
    """The table and the charts that show it; a chart needs two systems with a figure."""

    rows: tuple[Cost, ...]
    tasks: int
    metric: str
    charts: tuple[Chart, ...]


def quality_and_cost(
    shown: Sequence[tuple[TaskComparison, Subject]], work: Mapping[str, WorkDone], hours: Mapping[str, float]
) -> Costs | None:
    """Average each system's primary score over pools of clean ``within`` and zero-shot tasks, beside its cost.

    Systems are compared on the tasks that all of them have where there is one.

    Args:
        shown: comparisons, each with the subject shown first.
        work: system → seconds of encoding and fitting in this run.
        hours: system → hours of audio it was run on.

    Returns:
        Table and charts; None where no system that competes has such a score, or the systems share no task.
    """
    usable = [
        (c, s) for c, s in shown if c.condition == "clean" and c.protocol != "transfer" and s.metric != "ccc"
    ]
    of_system: dict[str, dict[str, tuple[str, float]]] = defaultdict(dict)
    cards: dict[str, tuple[str, int | None]] = {}
    for comparison, subject in usable:
        for r in comparison.records:
            row = subject.row(r)
            if row is not None and r.facts.track != "reference" and "@" not in r.task:
                of_system[r.system][r.task] = (r.facts.pool, row.estimate)
                cards[r.system] = (r.facts.track, r.facts.card.parameters)
    if not of_system:
        return None
    everywhere = max(len(t) for t in of_system.values())
    complete = {s: t for s, t in of_system.items() if len(t) == everywhere}
    tasks = set.intersection(*(set(t) for t in complete.values()))
    rates = seconds_per_hour([r for c, _ in usable for r in c.records], work, hours)
    rows = []
    for system, scores in complete.items():
        pools: dict[str, list[float]] = defaultdict(list)
        for task in sorted(tasks):
            pool, estimate = scores[task]
            pools[pool].append(estimate)
        if not pools:
            return None
        mean = sum(sum(p) / len(p) for p in pools.values()) / len(pools)
        track, parameters = cards[system]
        rows.append(Cost(system, track, mean, len(tasks), parameters, rates.get(system)))
    rows.sort(key=lambda c: (-c.score, c.system))
    metric = formatting.METRIC_TITLES[usable[0][1].metric]
    charts = (
        _chart(rows, [c.parameters for c in rows], "parameters", metric),
        _chart(rows, [c.seconds_per_hour for c in rows], "seconds per hour of audio", metric),
    )
    return Costs(tuple(rows), len(tasks), metric, tuple(c for c in charts if c is not None))


def seconds_per_hour(
    records: Sequence[Record], work: Mapping[str, WorkDone], hours: Mapping[str, float]
) -> dict[str, float]:
    """Seconds of computing for an hour of audio: encoding, which systems on the same features share, and fitting.

    Args:
        records: of the systems.
        work: system → seconds of encoding and fitting in this run.
        hours: system → hours of audio it was run on.

    Returns:
        System → seconds; without those that did not work in this run, or whose features came from an earlier one.
    """
    features = {r.system: features_key(r) for r in records}
    found = {}
    for system, own in features.items():
        if not hours.get(system) or system not in work:
            continue
        seconds = work[system].fit_seconds / hours[system]
        if own:
            sharing = [s for s, f in features.items() if f == own and s in work]
            encoding = sum(work[s].encode_seconds for s in sharing)
            if not encoding:
                continue
            seconds += encoding / max(hours.get(s, 0.0) for s in sharing)
        if seconds:
            found[system] = seconds
    return found


def hours_of_audio(records: Sequence[Record]) -> dict[str, float]:
    """Hours of audio that each system was run on, by its corpora's cards; nothing where one does not say."""
    by_system: dict[str, dict[tuple[str, str], float | None]] = defaultdict(dict)
    for r in records:
        by_system[r.system][r.facts.corpus, r.facts.condition] = r.facts.corpus_card.hours
    return {s: sum(h for h in own.values() if h) for s, own in by_system.items() if all(own.values())}


def _chart(rows: Sequence[Cost], costs: Sequence[float | None], title: str, metric: str) -> Chart | None:
    given = [(r, c) for r, c in zip(rows, costs, strict=True) if c is not None]
    above = [math.log10(c) for _, c in given if c]
    if len(given) < 2 or not above:
        return None
    low, high = math.floor(min(above)), math.ceil(max(above) + 1e-9)
    high = max(high, low + 1)
    ticks = tuple((float(i), power(i)) for i in range(low, high + 1))
    if any(c == 0 for _, c in given):
        low -= 1  # a logarithmic axis has no zero: it stands apart, at the left edge
        ticks = ((float(low), "0"), *ticks)
    known = [(r, math.log10(c) if c else float(low)) for r, c in given]
    y = value_scale([r.score for r, _ in known], f"{metric}, %", percent=True)
    alt = f"{metric} against {title}: " + "; ".join(
        f"{r.system} {formatting.number(r.score)} at {short(c) if c else '0'}" for r, c in given
    )
    chart = Chart(alt, Scale(low, high, ticks, title), y, width=340, height=260)
    for r, c in known:
        chart.dots(f"dots of-{r.track}", [(c, r.score)], r.system)
    _name(chart, [(r.system, c, r.score) for r, c in known[:NAMED]], (low + high) / 2)
    return chart


def _name(chart: Chart, named: Sequence[tuple[str, float, float]], middle: float) -> None:
    """Write names beside their dots, above or below, wherever no earlier name stands; else not at all."""
    taken: list[tuple[float, float, float]] = []
    for name, x, y in named:
        width = LETTER * len(name)
        start = chart.x(x) - (width if x > middle else 0)
        for up in (8.0, -17.0, 22.0, -31.0):
            height = chart.y(y) - up
            if all(abs(height - h) > 13 or start > b or start + width < a for a, b, h in taken):
                chart.word(x, y, name, anchor="end" if x > middle else "start", style="name", up=up)
                taken.append((start, start + width, height))
                break


def power(exponent: int) -> str:
    """Write a power of ten shortly.

    >>> power(7), power(2), power(-1)
    ('10 M', '100', '0.1')
    """
    return short(10.0**exponent)


def short(value: float) -> str:
    """Write a large number with three digits at most.

    >>> short(8208384), short(94_700_000), short(0.5)
    ('8.21 M', '94.7 M', '0.5')
    """
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
