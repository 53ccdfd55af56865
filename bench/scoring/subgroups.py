"""Scores of groups of clips: by gender, speaker, emotion and duration, with the gap between the best and the worst group.

Counts of a slice lie beside the whole in a record's statistics, so everything here follows from a record alone. The gap
is the spread of the groups' true values, max − min. Its interval comes from intervals of every pair of groups that hold
together (Bonferroni over the m pairs): with L and U their ends, max(0, max L) ≤ gap ≤ max U with the stated
confidence. The error of a pair is
    sqrt(se_1² + se_2²), jackknife over each group's own clusters, t with Welch–Satterthwaite degrees of freedom, where no
    cluster has clips in both groups (a speaker has one gender), and
    the jackknife of the difference itself, a cluster left out of both at once, where clusters cross the groups (a speaker
    has short and long clips).
That the two groups were chosen for being best and worst is thereby accounted for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.cards.corpus import MOST_GROUPS
from bench.corpora.further_groups import bands
from bench.corpora.metadata import why_unknown
from bench.corpora.naming import Naming
from bench.errors import CannotSeparate
from bench.protocols import SAMPLE_RATE, Array
from bench.scoring.record_schema import AxisDescription, CountedFacts, Gap, SubgroupScore
from bench.scoring.records import Counts
from bench.statistics.additive import Metric, metric_named, only_present_classes, value
from bench.statistics.degrees import satterthwaite_degrees, t_degrees
from bench.statistics.edges import edge_of
from bench.statistics.intervals import difference_interval, interval
from bench.statistics.resampling import Jackknifed, jackknife
from bench.statistics.sign_flips import least_variance
from bench.tasks import Task

AXES = ("gender", "duration", "emotion", "speaker")
DURATIONS = ("short", "middle", "long")
"""Terciles of the task's clip lengths."""
UNKNOWN = "unknown"
"""The group of clips whose gender, or what else the card slices by, the corpus leaves blank; it is scored, and takes no part in the gap."""


@dataclass(frozen=True)
class SubgroupAxis:
    """One way to sort a task's clips into groups. ``absent`` says why it cannot be done here.

    ``codes`` (clips,) are places in ``groups``, −1 for none; None where groups follow from the whole (emotion: its
    classes; speaker: its clusters). ``edges`` in seconds: of a duration, shortest | short | middle | long.
    """

    name: str
    groups: tuple[str, ...] = ()
    codes: NDArray[np.intp] | None = None
    edges: tuple[float, ...] = ()
    absent: str = ""

    def described(self) -> AxisDescription:
        """Return what a record keeps of it; speakers' names lie elsewhere, hashed."""
        groups = () if self.name == "speaker" else self.groups
        return AxisDescription(axis=self.name, groups=groups, edges_seconds=self.edges, absent=self.absent)


def axes_of(task: Task, names: Naming | None = None) -> list[SubgroupAxis]:
    """Sort a task's clips along every axis it has; ``names`` says how speakers are named, None: as they are now."""
    known = [_genders(task), _durations(task), _emotions(task), _speakers(task, names or task.names)]
    return [*known, *(_further(task, k) for k in range(len(task.card.slices)))]


def _further(task: Task, place: int) -> SubgroupAxis:
    """Groups by one of the columns that the card names under ``slices``: bands in their order, else values in alphabetical order."""
    column, edges = list(task.card.slices.items())[place]
    names = [groups[place] or UNKNOWN for groups in task.sliced]
    order = [*(bands(edges) or sorted(set(names) - {UNKNOWN})), UNKNOWN]
    groups = tuple(g for g in order if g in set(names))
    if groups in ((), (UNKNOWN,)):
        return SubgroupAxis(column, absent=why_unknown(column, column, task.carried))
    if len(groups) > MOST_GROUPS:
        why = f"{column} has {len(groups)} values, more than {MOST_GROUPS} groups; give edges of bands on the card"
        return SubgroupAxis(column, absent=why)
    return SubgroupAxis(column, groups, np.array([groups.index(g) for g in names], dtype=np.intp))


def _genders(task: Task) -> SubgroupAxis:
    names = [g or UNKNOWN for g in task.genders]
    groups = tuple(sorted(set(names), key=lambda g: (g == UNKNOWN, g)))
    if groups == (UNKNOWN,):
        return SubgroupAxis("gender", absent=why_unknown("gender", "gender", task.carried))
    return SubgroupAxis("gender", groups, np.array([groups.index(g) for g in names], dtype=np.intp))


def _durations(task: Task) -> SubgroupAxis:
    seconds = np.array([d.samples / SAMPLE_RATE for d in task.decoded])
    decoded = seconds > 0
    if not decoded.any():
        return SubgroupAxis("duration", absent="no clip has audio")
    low, one, two, high = (float(q) for q in np.quantile(seconds[decoded], [0, 1 / 3, 2 / 3, 1]))
    codes = np.where(decoded, (seconds > one).astype(np.intp) + (seconds > two), -1)
    if len(set(codes[decoded].tolist())) < len(DURATIONS):
        return SubgroupAxis(
            "duration", absent=f"clips are too alike in length ({low:.2f} to {high:.2f} s) to form terciles"
        )
    return SubgroupAxis("duration", DURATIONS, codes, tuple(round(x, 4) for x in (low, one, two, high)))


def _emotions(task: Task) -> SubgroupAxis:
    return SubgroupAxis("emotion", task.labels, absent="" if task.labels else "the task has no categories")


def _speakers(task: Task, names: Naming) -> SubgroupAxis:
    if not any(task.speakers):
        return SubgroupAxis("speaker", absent=why_unknown("speakers", "speaker", task.carried))
    if task.speakers == task.clusters:
        return SubgroupAxis("speaker")
    hashed = [names.speaker(s) if s else "" for s in task.speakers]
    groups = tuple(sorted(set(hashed) - {""}))
    index_of = {name: i for i, name in enumerate(groups)}
    return SubgroupAxis("speaker", groups, np.array([index_of.get(h, -1) for h in hashed], dtype=np.intp))


def slice_figures(
    facts: CountedFacts, blocks: Sequence[Counts], sliced: Sequence[Counts]
) -> tuple[list[SubgroupScore], list[Gap]]:
    """Compute all slices and gaps of a record from its statistics.

    Args:
        facts: the record's own: its axes, clusters and speakers (hashed), and the views whose slices were counted.
        blocks: statistics of the whole.
        sliced: statistics of the groups.

    Returns:
        Scores of groups, a row per speaker among them, and gaps between the best and the worst group.
    """
    slices: list[SubgroupScore] = []
    gaps: list[Gap] = []
    block_of = {(b.key, b.axis, b.group): b for b in sliced}
    shown = {facts.learnt_view, facts.plan.primary_view, "dimensions"}
    wholes = [b for b in blocks if b.rows == "all" and b.outside == "wrong" and b.view in shown]
    for axis in (a for a in facts.axes if not a.absent):
        for whole in wholes:
            for metric in _metrics(axis.axis, whole):
                if axis.axis == "speaker":
                    block = block_of.get((whole.key, "speaker", ""), whole)
                    names = facts.speaker_names if block is not whole else facts.cluster_names()
                    groups = {n: s[np.newaxis] for n, s in zip(names, block.averaged, strict=True)}
                elif axis.axis == "emotion":
                    groups = {n: _one_class(whole.averaged, k) for k, n in enumerate(whole.labels)}
                else:
                    parts = ((g, block_of.get((whole.key, axis.axis, g))) for g in axis.groups)
                    groups = {g: b.averaged for g, b in parts if b is not None}
                scores = _slices(axis.axis, whole, metric, groups, facts.plan.level)
                slices += scores
                gaps += _gap(axis.axis, whole, metric, groups, scores, facts.plan.level)
    return slices, gaps


def _metrics(axis: str, block: Counts) -> tuple[str, ...]:
    if axis == "emotion":
        return ("recall",) if block.categorical else ()
    if block.categorical:
        return ("ua", "wa")
    return ("ccc",) if block.view == "dimensions" else ()


def _computed(metric: str) -> Metric:
    """The recall of a class is the unweighted accuracy of that class alone."""
    return metric_named("ua" if metric == "recall" else metric)


def _one_class(averaged: Array, k: int) -> Array:
    """Counts (clusters, 1, 2) of one class: answered right, answered otherwise."""
    right = averaged[:, k, k]
    return np.stack([right, averaged[:, k].sum(axis=-1) - right], axis=-1)[:, np.newaxis]


def _slices(
    axis: str, whole: Counts, metric: str, groups: Mapping[str, Array], level: float
) -> list[SubgroupScore]:
    chosen = _computed(metric)
    scores: list[SubgroupScore] = []
    if not groups:
        return scores
    estimates = value(chosen, np.stack([s.sum(axis=0) for s in groups.values()])).tolist()
    for (name, statistics), estimate in zip(groups.items(), estimates, strict=True):
        clips = chosen.sizes(statistics)
        if clips.sum() == 0 or not np.isfinite(estimate):
            continue
        low: float | None = None
        high: float | None = None
        occupied = int((clips.sum(axis=-1) > 0).sum())
        if axis == "speaker":
            method = "none: one speaker is one cluster"
        else:
            try:
                ci = interval(chosen, statistics, level=level)
                low, high = ci.low, ci.high
                method = "; ".join((ci.method, *ci.notes))
            except CannotSeparate as error:
                method = f"none: {error}"
        scores.append(
            SubgroupScore(
                axis=axis,
                group=name,
                view=whole.view,
                metric=metric,
                dimension=None if whole.categorical else whole.target,
                estimate=estimate,
                low=low,
                high=high,
                method=method,
                clips=round(float(clips.sum())),
                clusters=occupied,
                classes=int((clips.sum(axis=0) > 0).sum()) if metric == "ua" else None,
            )
        )
    return scores


def _gap(
    axis: str,
    whole: Counts,
    metric: str,
    groups: Mapping[str, Array],
    slices: Sequence[SubgroupScore],
    level: float,
) -> list[Gap]:
    chosen = _computed(metric)
    present = int((chosen.sizes(whole.averaged).sum(axis=0) > 0).sum())
    fit = {
        s.group: s.estimate
        for s in slices
        if s.group != UNKNOWN and (s.classes is None or s.classes == present)
    }
    if len(fit) < 2:
        return []
    low: float | None = None
    high: float | None = None
    if axis == "speaker":
        method = "none: one speaker is one cluster"
    else:
        try:
            low, high, method = gap_interval(chosen, [groups[g] for g in fit], level)
        except CannotSeparate as error:
            method = f"none: {error}"
    dimension = None if whole.categorical else whole.target
    return [gap_of(axis, (whole.view, metric, dimension), fit, (low, high, method), len(slices) - len(fit))]


def gap_of(
    axis: str,
    subject: tuple[str, str, str | None],
    values: Mapping[str, float],
    spread: tuple[float | None, float | None, str],
    left_out: int = 0,
) -> Gap:
    """Describe the gap between the best and the worst of some groups.

    Args:
        axis: what sorts the groups.
        subject: view, metric and dimension (None for categories).
        values: the groups' values; of equals the first counts as best, the last as worst.
        spread: low and high end of the gap's interval, and how it was made or why there is none.
        left_out: how many groups take no part.

    Returns:
        The gap.
    """
    view, metric, dimension = subject
    best, worst = max(values, key=lambda n: values[n]), min(reversed(list(values)), key=lambda n: values[n])
    low, high, method = spread
    return Gap(
        axis=axis,
        view=view,
        metric=metric,
        dimension=dimension,
        best=best,
        worst=worst,
        best_estimate=values[best],
        worst_estimate=values[worst],
        gap=values[best] - values[worst],
        low=low,
        high=high,
        method=method,
        groups=len(values),
        left_out=left_out,
    )


def gap_interval(metric: Metric, groups: Sequence[Array], level: float) -> tuple[float, float, str]:
    """Interval (low, high, method) of max − min over groups' true values, from statistics (clusters, …) per group.

    All groups' arrays have the same clusters; a cluster without clips in a group does not belong to it.

    Args:
        metric: what the groups are scored in.
        groups: statistics per group, each (clusters, …).
        level: coverage, 0..1.

    Returns:
        Low and high end in the metric's own unit, and how they were made.

    Raises:
        CannotSeparate: a group with clips of fewer than two clusters.
    """
    table = np.stack(groups)
    if metric.kind == "confusion":
        table = only_present_classes(table)
    pairs = list(combinations(range(len(table)), 2))
    ends = [_pair(metric, table[a], table[b], 1 - (1 - level) / len(pairs)) for a, b in pairs]
    low = max(0.0, *(max(found[0], -found[1]) for found in ends))
    high = max(max(found[1], -found[0]) for found in ends)
    kind = "crossed" if any(crossed for _, _, crossed in ends) else "nested"
    return low, high, f"jackknife-t of {len(pairs)} pair(s) of groups, {kind} in clusters, Bonferroni"


def _pair(metric: Metric, a: Array, b: Array, level: float) -> tuple[float, float, bool]:
    """Ends of the interval of a − b, and whether some cluster has clips in both."""
    present = [metric.sizes(s).sum(axis=-1) > 0 for s in (a, b)]
    if min(int(o.sum()) for o in present) < 2:
        raise CannotSeparate("a group has clips of fewer than two clusters")
    degrees = [t_degrees(metric, s[o]) for s, o in zip((a, b), present, strict=True)]
    components = [metric.components(s) for s in (a, b)]
    crossed = bool((present[0] & present[1]).any())
    if crossed:
        either = present[0] | present[1]
        jackknifed, df = jackknife(metric, components[0][either], components[1][either]), min(degrees)
        if jackknifed.standard_error == 0.0:
            least = sum(least_variance(metric, c) for c in components) / 2
            jackknifed = replace(jackknifed, standard_error=math.sqrt(least))
    else:
        first, second = (jackknife(metric, c[o]) for c, o in zip(components, present, strict=True))
        jackknifed, df = independent_difference((first, degrees[0]), (second, degrees[1]))
    if not np.isfinite([jackknifed.estimate, jackknifed.standard_error]).all():
        raise CannotSeparate("a group's value or its error is undefined")
    low, high = difference_interval(metric, jackknifed, level, df)
    if not crossed:
        open_low, open_high = _least_difference(
            metric, [s[o] for s, o in zip((a, b), present, strict=True)], level
        )
        low, high = min(low, open_low), max(high, open_high)
    return low, high, crossed


def _least_difference(metric: Metric, groups: Sequence[Array], level: float) -> tuple[float, float]:
    """What the errors of two groups, as few as they are, leave open of their difference, from statistics (clusters, …) each.

    Each group's least interval ends l to u, their values v: v_a − v_b lies between v_a − v_b − √((v_a − l_a)² + (u_b − v_b)²) and the
    same with the other ends (Newcombe, Statistics in Medicine 17, 1998, 873–890, method 10). Two groups without any error thus
    have a gap that may be above 0.
    """
    ends = []
    for group in groups:
        found = jackknife(metric, metric.components(group))
        edge = edge_of(metric, group, found.estimate, found.standard_error, level)
        ends.append((found.estimate, found.estimate - edge.low, edge.high - found.estimate))
    (first, below, above), (second, other_below, other_above) = ends
    difference = first - second
    return difference - math.hypot(below, other_above), difference + math.hypot(above, other_below)


def independent_difference(
    a: tuple[Jackknifed, float], b: tuple[Jackknifed, float]
) -> tuple[Jackknifed, float]:
    """Difference of two independent values, each with its degrees of freedom (Welch 1947, Satterthwaite 1946)."""
    (first, df_first), (second, df_second) = a, b
    squares = first.standard_error**2, second.standard_error**2
    difference = Jackknifed(
        first.estimate - second.estimate, float(np.sqrt(sum(squares))), first.undefined + second.undefined
    )
    return difference, satterthwaite_degrees(squares, (df_first, df_second))
