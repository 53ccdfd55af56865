"""``serbench power``: how many speakers, clips and seeds it takes to see a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.cli.printing import console, print_json, print_table
from bench.errors import DataError, UsageError
from bench.scoring.designs import TYPICAL, TaskSpread, median_spread, task_spreads
from bench.scoring.records import Record, read_record
from bench.scoring.rescoring import record_paths
from bench.statistics.power import (
    Design,
    DifferenceSpread,
    difference_seen,
    power_of,
    speakers_needed,
)

CLIPS = (10, 20, 50, 100)
SEEDS = (1, 3, 5)
PLOTTED = (4, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 65, 80, 100, 150, 200, 300)
"""Speakers along the plot."""


@dataclass(frozen=True)
class PowerQuery:
    """What is to be seen, how surely, and how it varies: from records, or as given (points)."""

    records: Path | None
    metric: str
    points: float
    power: float
    pairs: int
    level: float
    task: str | None = None
    systems: tuple[str, str] | None = None
    between: float | None = None
    within: float | None = None
    training: float | None = None
    clips: tuple[float, ...] = CLIPS
    seeds: tuple[int, ...] = SEEDS

    def require_possible(self) -> None:
        """Raise :class:`UsageError` with the first option that cannot be meant, in the units in which it was typed."""
        faults = [
            (
                not 0 < self.points <= 100,
                f"--difference {self.points:g}: expected points above 0, at most 100",
            ),
            (
                not 0 < self.power < 1,
                f"--power {100 * self.power:g}: expected per cent between 0 and 100, like 80",
            ),
            (
                not 0.5 < self.level < 1,
                f"--level {self.level:g}: expected a share between 0.5 and 1, like 0.95",
            ),
            *((not 0 < n < math.inf, f"--clips {n:g}: expected a number above 0") for n in self.clips),
            *((n < 1, f"--seeds {n}: expected 1 or more") for n in self.seeds),
            *(
                (
                    value is not None and not 0 <= value < math.inf,
                    f"--{name} {value}: expected points, 0 or more",
                )
                for name, value in (
                    ("between", self.between),
                    ("within", self.within),
                    ("training", self.training),
                )
            ),
            (
                self.records is None and (self.task is not None or self.systems is not None),
                "--task and --systems choose among records, and none are named: serbench power RUN, or a folder of publications",
            ),
        ]
        for wrong, sentence in faults:
            if wrong:
                raise UsageError(sentence)

    def given(self) -> DifferenceSpread | None:
        """The spread that was given; None where it comes from records."""
        if self.between is None and self.within is None:
            return None
        if self.between is None or self.within is None:
            raise UsageError(
                "give both --between and --within, in points: how much speakers' differences vary, and what one clip adds"
            )
        return DifferenceSpread(self.between / 100, self.within / 100, (self.training or 0.0) / 100)


@dataclass(frozen=True)
class NeededRow:
    """Speakers needed with so many clips each and so many seeds (1: for the weights at hand); None: no number suffices."""

    clips: float
    seeds: int
    speakers: int | None


def plan_power(query: PowerQuery, *, plot: Path | None, as_json: bool) -> None:
    """Print what it takes to see a difference.

    Args:
        query: what is to be seen, and how it varies.
        plot: where a drawing of the power goes (SVG); None: nowhere.
        as_json: print JSON instead of tables.

    Raises:
        UsageError: nothing says how differences vary, or an odd number.
        DataError: no records there.
    """
    query.require_possible()
    difference = query.points / 100
    spread, tasks = query.given(), list[TaskSpread]()
    if spread is None:
        if query.records is None:
            spread = TYPICAL
        else:
            tasks = task_spreads(_records(query.records), query.metric, task=query.task, pair=query.systems)
            spread = median_spread([t.typical for t in tasks])
        if query.training is not None:
            spread = replace(spread, training=query.training / 100)
    needed = _needed(query, spread, difference)
    if plot is not None:
        draw_power(plot, query, spread, difference)
    if as_json:
        print_json(_as_json(query, spread, tasks, needed, difference))
        return
    _print_tasks(query, tasks, difference)
    _print_needed(query, spread, needed)
    if plot is not None:
        console().print(f"drawn: {plot}", soft_wrap=True)


def _records(path: Path) -> list[Record]:
    """Records of a run or publication, or of all publications under a folder."""
    try:
        paths = record_paths(path)
    except UsageError:
        paths = [p for p in sorted(path.rglob("records/*.json")) if p.with_suffix(".parquet").exists()]
    if not paths:
        raise DataError(f"{path}: holds no records; name a run, a publication, or a folder of publications")
    return [read_record(p) for p in paths]


def _needed(query: PowerQuery, spread: DifferenceSpread, difference: float) -> list[NeededRow]:
    made = []
    for clips in query.clips if spread.clips_known else query.clips[:1]:
        for seeds in query.seeds if spread.training else (1,):
            design = Design(2, clips, seeds, query.pairs, query.level)
            found = speakers_needed(_over(spread, seeds), design, difference, power=query.power)
            made.append(NeededRow(clips, seeds, found))
    return made


def _over(spread: DifferenceSpread, seeds: int) -> DifferenceSpread:
    """With one training nothing can be said of others: the claim is about the weights at hand."""
    return replace(spread, training=0.0) if seeds == 1 else spread


def _as_json(
    query: PowerQuery,
    spread: DifferenceSpread,
    tasks: Sequence[TaskSpread],
    needed: Sequence[NeededRow],
    difference: float,
) -> dict[str, Any]:
    return {
        "metric": query.metric,
        "difference": difference,
        "power": query.power,
        "level": query.level,
        "pairs": query.pairs,
        "spread": asdict(spread),
        "needed": [asdict(row) for row in needed],
        "tasks": [
            t.as_json() | {"seen": _seen(query, t), "speakers_needed": _speakers(query, t, difference)}
            for t in tasks
        ],
    }


def _seen(query: PowerQuery, task: TaskSpread) -> float | None:
    """What the speakers, clips and seeds that a task has would see, with the weights at hand."""
    spread = replace(task.typical, training=0.0)
    return difference_seen(
        spread, Design(task.speakers, task.clips, 1, query.pairs, query.level), power=query.power
    )


def _speakers(query: PowerQuery, task: TaskSpread, difference: float) -> int | None:
    spread = replace(task.typical, training=0.0)
    return speakers_needed(
        spread, Design(2, task.clips, 1, query.pairs, query.level), difference, power=query.power
    )


def _print_tasks(query: PowerQuery, tasks: Sequence[TaskSpread], difference: float) -> None:
    if not tasks:
        return
    print_table(
        f"differences of {query.metric.upper()} in these records: standard deviations in points (median pair), and what follows",
        (
            "task", "protocol", "pairs", "between speakers", "one clip", "one training", "speakers", "clips each",
            f"sees, {100 * query.power:g} %", f"speakers for {query.points:g}",
        ),
        [
            (
                t.task if t.dimension is None else f"{t.task} {t.dimension}", t.protocol, len(t.pairs),
                _points(t.typical.between), _points(t.typical.within) if t.typical.clips_known else "in speakers",
                _points(t.typical.training) if t.typical.training else "–", t.speakers, f"{t.clips:.0f}",
                _points(_seen(query, t)), _speakers(query, t, difference) or "out of reach",
            )
            for t in tasks
        ],
        right=("pairs", "between speakers", "one clip", "one training", "speakers", "clips each", f"sees, {100 * query.power:g} %", f"speakers for {query.points:g}"),
    )  # fmt: skip
    console().print()


def _print_needed(query: PowerQuery, spread: DifferenceSpread, needed: Sequence[NeededRow]) -> None:
    seeds = list(dict.fromkeys(row.seeds for row in needed))
    print_table(
        f"speakers needed to see {query.points:g} points of {query.metric.upper()} with {100 * query.power:g} %",
        ("clips of each speaker", *(_seed_words(s) for s in seeds)),
        [
            (
                f"{clips:g}" if spread.clips_known else "as in these records",
                *(
                    next(r.speakers or "out of reach" for r in needed if (r.clips, r.seeds) == (clips, s))
                    for s in seeds
                ),
            )
            for clips in dict.fromkeys(row.clips for row in needed)
        ],
        right=tuple(_seed_words(s) for s in seeds),
    )
    family = (
        f"one of {query.pairs} pairs tested together (Bonferroni, which max-T stays below)"
        if query.pairs > 1
        else "one pair"
    )
    trainings = (
        f"one training {_points(spread.training)}" if spread.training else "and the weights are those at hand"
    )
    console().print(
        f"{family}, level {query.level:g}; speakers' differences vary by {_points(spread.between)} points, one clip by "
        f"{_points(spread.within)}, {trainings}. More such speakers, these sentences.",
        soft_wrap=True,
    )


def _seed_words(seeds: int) -> str:
    return "these weights" if seeds == 1 else f"other trainings, {seeds} seeds"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def draw_power(path: Path, query: PowerQuery, spread: DifferenceSpread, difference: float) -> None:
    """Draw the power against the number of speakers, weights at hand, a line per number of clips: equal questions, equal bytes.

    Args:
        path: the file.
        query: what is to be seen.
        spread: how the difference varies.
        difference: the true difference, in the metric's unit.

    Raises:
        UsageError: the file's name does not end in .svg.
    """
    if path.suffix != ".svg":
        raise UsageError(f"{path}: the plot is SVG; give a name that ends in .svg")
    import io

    import matplotlib

    from bench.storage.atomic import write_text

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    spread = _over(spread, 1)
    with matplotlib.rc_context({"svg.hashsalt": "power", "svg.fonttype": "none", "font.size": 9}):
        drawing = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = drawing.add_subplot()
        for clips in query.clips if spread.clips_known else query.clips[:1]:
            powers = [
                100 * power_of(spread, Design(g, clips, 1, query.pairs, query.level), difference)
                for g in PLOTTED
            ]
            label = f"{clips:g} clips of each" if spread.clips_known else "clips as in these records"
            axes.plot(PLOTTED, powers, marker="o", markersize=3, label=label)
        axes.axhline(100 * query.power, color="#555555", linewidth=0.8, linestyle="--")
        axes.set_xscale("log")
        axes.set_xticks([5, 10, 20, 50, 100, 200], ["5", "10", "20", "50", "100", "200"])
        axes.set_xlabel("speakers")
        axes.set_ylabel(f"power to see {query.points:g} points, %")
        axes.set_ylim(0, 102)
        axes.legend(frameon=False)
        stream = io.StringIO()
        drawing.savefig(stream, format="svg", metadata={"Date": None})
    write_text(path, stream.getvalue())
