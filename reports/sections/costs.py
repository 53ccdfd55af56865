"""What a score costs: parameters, and seconds of computing for an hour of audio as this run measured them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports import formatting
from reports.charts.chart import Chart, Scale, Word, value_scale
from reports.data.comparisons import TaskComparison
from reports.data.run_data import WorkDone
from reports.data.shared_features import features_key

NAMED = 12
"""Systems named inside a chart; the table names all."""
LINE, GAP = 14.0, 14.0
"""Height of a name, and room between dots and names, px."""


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
    """Write each name level with its dot or as near as others let it, in the order of the dots, a line between the two.

    Names of dots to the left of the middle stand to the right of them, the others to the left.
    """
    ordered = sorted(((chart.x(x), chart.y(y), name, x > middle) for name, x, y in named), key=lambda n: n[1])
    rights = [x for x, _, _, right in ordered if right]
    lefts = [x for x, _, _, right in ordered if not right]
    _, top, _, bottom = chart.box
    heights = apart([y for _, y, _, _ in ordered], LINE, top + 4, bottom - 4)
    for (x, y, name, right), height in zip(ordered, heights, strict=True):
        edge = min(rights) - GAP if right else max(lefts) + GAP
        chart.names[len(chart.paths)] = name
        chart.paths.append(("leader", f"M{x:g} {y:g}L{edge:g} {height:.1f}"))
        anchor, beside = ("end", edge - 2) if right else ("start", edge + 2)
        chart.words.append(Word(beside, round(height + 4, 1), anchor, name, "name", of=name))


def apart(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move what stands in order as little as puts ``gap`` between neighbours (least squares, by pooling adjacent ones).

    Args:
        heights: where they stand, in ascending order.
        gap: room between two neighbours.
        low: least height.
        high: largest height; all are moved into this room, if it holds them.

    Returns:
        Where they stand then, in the same order.

    >>> apart([10.0, 12.0, 40.0], 10.0, 0, 50)
    [6.0, 16.0, 40.0]
    >>> apart([1.0, 1.0], 10.0, 0.0, 50.0), apart([49.0, 49.0], 10.0, 0.0, 50.0)
    ([0.0, 10.0], [40.0, 50.0])
    """
    pooled: list[tuple[float, int]] = []
    for i, height in enumerate(heights):
        mean, count = height - gap * i, 1
        while pooled and pooled[-1][0] > mean:
            before, n = pooled.pop()
            mean, count = (mean * count + before * n) / (count + n), count + n
        pooled.append((mean, count))
    most = high - gap * (len(heights) - 1)
    return [max(low, min(m, most)) + gap * i for i, m in enumerate(m for m, n in pooled for _ in range(n))]


def power(exponent: int) -> str:
    """Write a power of ten shortly.

    >>> power(7), power(2), power(-1)
    ('10 M', '100', '0.1')
    """
    return short(10.0**exponent)


def short(value: float) -> str:
    """Write a large number with three digits at most: thousands (k), millions (M), billions (B).

    >>> short(8208384), short(8_400_000_000), short(0.5)
    ('8.21 M', '8.4 B', '0.5')
    """
    for size, unit in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
