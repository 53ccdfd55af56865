"""Tables of a task page as typed values: scores, verdicts, recalls, confusions, spreads, statuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.protocols import STATUSES
from bench.scoring.equal_fits import on_same_clips
from bench.scoring.pair_results import PairResult
from bench.scoring.records import Counts, Record
from bench.scoring.subject import Subject
from bench.statistics.additive import recalls, value
from reports.data.comparisons import TaskComparison
from reports.sections.forest_boards import ScoreCell, score_of

CONFUSIONS = 12
"""Confusion matrices on a task page, the best of each track first; a system's page has its own."""
DIFFERENCES = 4
FULL_VERDICTS = 10
"""Systems up to which a matrix of verdicts is written out; larger ones have a sign per pair."""


@dataclass(frozen=True)
class ConfusionRow:
    """Answers to the clips of one true class, as shares of the row; the last is "another, or none"."""

    label: str
    clips: float
    shares: tuple[float | None, ...]


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix, averaged over seeds."""

    system: str
    track: str
    labels: tuple[str, ...]
    rows: tuple[ConfusionRow, ...]


def confusion(record: Record, block: Counts) -> Confusion:
    """Add up the counts of all speakers and write each true class's answers as shares."""
    counts = block.averaged.sum(axis=0)
    sizes = counts.sum(axis=1)
    rows = tuple(
        ConfusionRow(
            label,
            float(sizes[k]),
            tuple(float(c / sizes[k]) if sizes[k] else None for c in counts[k]),
        )
        for k, label in enumerate(block.labels)
    )
    return Confusion(record.system, record.facts.track, block.labels, rows)


@dataclass(frozen=True)
class ConfusionDifference:
    """Confusion matrix of one system minus that of another: shares of the true class, −1..1."""

    first: str
    second: str
    labels: tuple[str, ...]
    rows: tuple[ConfusionRow, ...]


def differences(
    comparison: TaskComparison, subject: Subject, confusions: Sequence[Confusion]
) -> list[ConfusionDifference]:
    """Subtract the second of each track from its first, then the pairs that the plan names across tracks.

    Args:
        comparison: a task under one protocol and condition.
        subject: the categories in which systems are ordered.
        confusions: matrices of its systems; pairs of which one lacks, or that answered other clips, are left out.

    Returns:
        At most :data:`DIFFERENCES` matrices.
    """
    of = {c.system: c for c in confusions}
    record_of = {r.system: r for r in comparison.records}
    members = [comparison.members(subject, t) for t in comparison.tracks if t != "reference"]
    pairs = [(m[0].system, m[1].system) for m in members if len(m) > 1]
    pairs += [(p.system_a, p.system_b) for p in comparison.across(subject)]
    alike = [
        (a, b)
        for a, b in dict.fromkeys(pairs)
        if a in of and b in of and on_same_clips(record_of[a], record_of[b])
    ]
    return [difference(of[a], of[b]) for a, b in alike[:DIFFERENCES]]


def difference(a: Confusion, b: Confusion) -> ConfusionDifference:
    """Subtract the shares of ``b`` from those of ``a``; both have the labels and true clips of one task."""
    rows = tuple(
        ConfusionRow(
            x.label,
            x.clips,
            tuple(None if s is None or t is None else s - t for s, t in zip(x.shares, y.shares, strict=True)),
        )
        for x, y in zip(a.rows, b.rows, strict=True)
    )
    return ConfusionDifference(a.system, b.system, a.labels, rows)


@dataclass(frozen=True)
class RecallTable:
    """Recall of each class by system, with the true clips behind it."""

    labels: tuple[str, ...]
    clips: tuple[int, ...]
    rows: tuple[tuple[Record, tuple[float | None, ...]], ...]


def recall_table(records: Sequence[Record], subject: Subject) -> RecallTable | None:
    """Lay out the recall of every class; None where no record has the view."""
    found = [(r, b) for r in records if (b := subject.block(r)) is not None and b.target == "category"]
    if not found:
        return None
    first = found[0][1]
    rows = tuple(
        (r, tuple(None if np.isnan(x) else float(x) for x in recalls(b.averaged.sum(axis=0))))
        for r, b in found
    )
    clips = tuple(round(float(n)) for n in first.averaged.sum(axis=(0, 2)))
    return RecallTable(first.labels, clips, rows)


@dataclass(frozen=True)
class Spread:
    """One system's primary score by seed and by fold."""

    record: Record
    seeds: tuple[tuple[int, float | None], ...]
    folds: tuple[tuple[str, float | None], ...]
    fold_mean: float | None


def spread(record: Record, subject: Subject) -> Spread | None:
    """Compute the score of each seed (all folds together) and of each fold (mean of counts over seeds)."""
    block, row = subject.block(record), subject.row(record)
    if block is None or row is None:
        return None
    fold_of = np.array([c.fold for c in record.facts.clusters])
    names = sorted(set(fold_of.tolist()), key=lambda name: (len(name), name))
    averaged = block.averaged
    return Spread(
        record,
        tuple(
            (int(seed), _finite(value(subject.metric, v.sum(axis=0))))
            for seed, v in zip(record.facts.seeds, block.values, strict=True)
        ),
        tuple(
            (name, _finite(value(subject.metric, averaged[fold_of == name].sum(axis=0)))) for name in names
        ),
        row.fold_mean,
    )


def _finite(x: Any) -> float | None:
    return float(x) if np.isfinite(x) else None


@dataclass(frozen=True)
class ScoreTable:
    """All systems under one view and outside rule (or one dimension), with any metric asked for."""

    view: str
    outside: str
    dimension: str | None
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[tuple[Record, str, tuple[ScoreCell, ...]], ...]
    """Record, ``all`` or ``ok`` (clips answered), scores in the order of ``metrics``."""


def score_tables(comparison: TaskComparison) -> list[ScoreTable]:
    """Lay out every score of a comparison; rows over answered clips alone where some clip was not."""
    keys = dict.fromkeys((s.view, s.outside, s.dimension) for r in comparison.records for s in r.scores)
    tables = []
    for view, outside, dimension in keys:
        metrics = ("ccc", "pearson") if dimension else ("ua", "wa", "macro_f1")
        target = dimension or "category"
        labels = next(
            (
                b.labels
                for r in comparison.records
                if (b := r.block(view, outside, "all", target)) is not None
            ),
            (),
        )
        main = Subject(view, outside, metrics[0], dimension)
        rows = []
        for track in comparison.tracks:
            for record in comparison.members(main, track):
                for which in ("all", "ok") if record.facts.coverage < 1 else ("all",):
                    given = [Subject(view, outside, m, dimension).row(record, rows=which) for m in metrics]
                    rows.append((record, which, tuple(score_of(g) for g in given)))
        tables.append(ScoreTable(view, outside, dimension, labels, metrics, tuple(rows)))
    return tables


@dataclass(frozen=True)
class VerdictMatrix:
    """Row system minus column system, for every pair of one track's family."""

    track: str
    systems: tuple[str, ...]
    cells: tuple[tuple[PairResult | None, ...], ...]
    smallest_p: float
    clusters: int

    @property
    def full(self) -> bool:
        """Whether each pair is written out."""
        return len(self.systems) <= FULL_VERDICTS


def verdict_matrices(comparison: TaskComparison, subject: Subject) -> list[VerdictMatrix]:
    """Lay out each track's family, best systems first."""
    found = []
    for track in comparison.tracks:
        systems = [r.system for r in comparison.members(subject, track)]
        if not comparison.within(subject, track):
            continue
        seen = {s: comparison.against(subject, track, s) for s in systems}
        first = comparison.within(subject, track)[0]
        cells = tuple(tuple(seen[a].get(b) for b in systems) for a in systems)
        found.append(VerdictMatrix(track, tuple(systems), cells, first.smallest_p, first.clusters))
    return found


@dataclass(frozen=True)
class StatusTable:
    """How many clips ended how, by system, over all seeds."""

    statuses: tuple[str, ...]
    rows: tuple[tuple[Record, tuple[int, ...]], ...]

    @property
    def complete(self) -> bool:
        """Whether every clip was answered and every record can be published: then there is nothing to tabulate."""
        return self.statuses == ("ok",) and all(r.facts.publishable for r, _ in self.rows)


def status_table(records: Sequence[Record]) -> StatusTable:
    """Count statuses; a status that nobody had has no column, ``ok`` always has."""
    shown = tuple(s for s in STATUSES if s == "ok" or any(r.facts.statuses.get(s) for r in records))
    return StatusTable(
        shown, tuple((r, tuple(int(r.facts.statuses.get(s, 0)) for s in shown)) for r in records)
    )
