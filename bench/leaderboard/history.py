"""The history of a cell: every value that was published for a system on a task, by which code, with which seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.audio.conditions import CLEAN
from bench.errors import UsageError, nearest
from bench.leaderboard.evidence import Cell, Evidence, Standing, by_cell
from bench.scoring.pair_results import PairResult
from bench.tasks.names import regime

EXACT = 1e-12
"""Scores this close are one value."""


@dataclass(frozen=True)
class CellVersion:
    """One published value of a cell. ``same_clips`` and ``same_weights`` are whether it has clips and folds, and weights, of the first one listed."""

    publication: str
    record: str
    standing: Standing
    reason: str
    code_version: str
    seeds: tuple[int, ...]
    metric: str
    view: str
    estimate: float
    low: float | None
    high: float | None
    matrix_hash: str
    system_identity: str
    weights_hash: str | None
    same_clips: bool
    same_weights: bool

    @property
    def remarks(self) -> tuple[str, ...]:
        """What must stand beside it."""
        said = (
            ("" if self.same_clips else "other clips or folds"),
            ("" if self.same_weights else "other weights"),
            (f"retracted: {self.reason}" if self.reason else ""),
        )
        return tuple(filter(None, said))

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"seeds": list(self.seeds)}


@dataclass(frozen=True)
class CellHistory:
    """All published values of a cell, the board's first."""

    system: str
    task: str
    protocol: str
    training: str
    condition: str
    versions: tuple[CellVersion, ...]

    @property
    def regime(self) -> str:
        """Protocol and what was learnt from, in one word."""
        return regime(self.protocol, self.training)

    @property
    def values(self) -> int:
        """How many different values were published."""
        return len({round(v.estimate, 9) for v in self.versions})

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"versions": [v.as_json() for v in self.versions], "values": self.values}


def histories(evidence: Sequence[Evidence]) -> dict[Cell, CellHistory]:
    """The history of every cell that has a score."""
    made = {}
    for cell, records in by_cell(evidence).items():
        first = records[0].facts
        versions = tuple(v for e in records if (v := _version(e, records[0])) is not None)
        if versions:
            made[cell] = CellHistory(
                first.system, first.task, first.protocol, first.training, first.condition, versions
            )
    return made


def history_of(evidence: Sequence[Evidence], system: str, task: str) -> list[CellHistory]:
    """The history of a system on a task, under every protocol and condition.

    Args:
        evidence: everything published.
        system: its name.
        task: its name.

    Returns:
        A history per protocol, training set and condition.

    Raises:
        UsageError: no record names the system, the task, or the two together.
    """
    for kind, name, known in (
        ("system", system, {e.facts.system for e in evidence}),
        ("task", task, {e.facts.task for e in evidence}),
    ):
        if name not in known:
            raise UsageError(f"no published record of the {kind} {name!r}; {nearest(name, known)}")
    found = [h for (s, t, *_), h in histories(evidence).items() if (s, t) == (system, task)]
    if not found:
        tasks = {e.facts.task for e in evidence if e.facts.system == system}
        raise UsageError(f"{system} was never published on {task}; it was on {', '.join(sorted(tasks))}")
    return sorted(found, key=lambda h: h.condition != CLEAN)


def _version(e: Evidence, first: Evidence) -> CellVersion | None:
    row = e.headline
    if row is None:
        return None
    facts = e.facts
    return CellVersion(
        publication=e.publication,
        record=e.path.stem,
        standing=e.standing,
        reason=e.reason,
        code_version=facts.code_version,
        seeds=facts.seeds,
        metric=row.metric,
        view=row.view,
        estimate=row.estimate,
        low=row.low,
        high=row.high,
        matrix_hash=facts.matrix_hash,
        system_identity=facts.system_identity,
        weights_hash=facts.weights_hash,
        same_clips=same_clips(e, first),
        same_weights=facts.weights_hash == first.facts.weights_hash,
    )


def same_clips(a: Evidence, b: Evidence) -> bool:
    """Whether two records were scored on the same clips, labels, speakers and folds."""
    return (a.facts.content_hash, a.facts.folds_hash) == (b.facts.content_hash, b.facts.folds_hash)


@dataclass(frozen=True)
class VersionPair:
    """Two systems' difference as one version of each has it: first less second, in the metric's unit."""

    first: str
    second: str
    first_code: str
    second_code: str
    difference: float


@dataclass(frozen=True)
class VersionSpread:
    """How far a difference moves over published versions that met on the same clips; retracted ones do not count."""

    pairs: tuple[VersionPair, ...]

    @property
    def low(self) -> float:
        """The least difference."""
        return min(p.difference for p in self.pairs)

    @property
    def high(self) -> float:
        """The largest difference."""
        return max(p.difference for p in self.pairs)

    @property
    def sign_depends(self) -> bool:
        """Whether the sign is one thing by some versions and another by others."""
        return len({_sign(p.difference) for p in self.pairs}) > 1

    def against(self, difference: float) -> tuple[VersionPair, ...]:
        """Versions by which the sign is not that of ``difference``."""
        return tuple(p for p in self.pairs if _sign(p.difference) != _sign(difference))

    def words(self, first: str, second: str, *, percent: bool = True) -> str:
        """Say how far it moves, and whether its sign does; nothing where each system has one version.

        Args:
            first: name of the system that comes first in the difference.
            second: name of the one that is taken from it.
            percent: the metric is a share, written in points.

        >>> pair = VersionPair("quick", "studies/a", "1", "2", 0.006)
        >>> VersionSpread((pair, VersionPair("quick", "quick", "1", "1", -0.001))).words("a", "b")
        'Over their published versions, a less b runs from −0.1 to 0.6 points: the sign depends on the version.'
        """
        if len(self.pairs) < 2:
            return ""
        low, high = (_figure(x, percent) for x in (self.low, self.high))
        unit = " points" if percent else ""
        moves = f"runs from {low} to {high}{unit}" if low != high else f"stays {low}{unit}"
        end = ": the sign depends on the version." if self.sign_depends else "."
        return f"Over their published versions, {first} less {second} {moves}{end}"


def version_spread(
    first: Sequence[Evidence],
    second: Sequence[Evidence],
    metric: str,
    view: str,
    *,
    outside: str = "wrong",
    dimension: str | None = None,
) -> VersionSpread:
    """The difference of two cells by every version of each, on the same clips and folds.

    Args:
        first: versions of one cell.
        second: versions of the other.
        metric: short name, like ``ua``.
        view: label space.
        outside: what became of answers outside the view.
        dimension: of CCC.

    Returns:
        A difference per pair of versions; none where the two never met on the same clips.
    """
    pairs = []
    for a in first:
        for b in second:
            rows = [e.score(metric, view, outside, dimension) for e in (a, b)]
            if "retracted" in (a.standing, b.standing) or not same_clips(a, b) or rows[0] is None or rows[1] is None:  # fmt: skip
                continue
            difference = rows[0].estimate - rows[1].estimate
            pairs.append(
                VersionPair(
                    a.publication, b.publication, a.facts.code_version, b.facts.code_version, difference
                )
            )
    return VersionSpread(tuple(pairs))


def spread_of(p: PairResult, cells: Mapping[Cell, Sequence[Evidence]]) -> VersionSpread:
    """How far the difference of a verdict moves over the published versions of its two systems.

    Args:
        p: the verdict.
        cells: everything published, by cell.

    Returns:
        A difference per pair of versions; none where each has one.
    """
    versions = [
        cells.get((system, p.task, _own_regime(p, protocol), p.condition), ())
        for system, protocol in ((p.system_a, p.protocol_a), (p.system_b, p.protocol_b))
    ]
    if len(versions[0]) * len(versions[1]) < 2:
        return VersionSpread(())  # most cells were published once
    return version_spread(
        versions[0], versions[1], p.metric, p.view, outside=p.outside, dimension=p.dimension
    )


def _own_regime(p: PairResult, protocol: str) -> str:
    """The regime of one side of a pair: what was learnt from belongs to the side that was transferred."""
    return regime(
        protocol, p.training.strip(" /") if protocol == "transfer" or p.protocol_a == p.protocol_b else ""
    )


def _sign(difference: float) -> int:
    return 0 if abs(difference) < EXACT else (1 if difference > 0 else -1)


def _figure(value: float, percent: bool) -> str:
    written = f"{100 * value:.1f}" if percent else f"{value:.2f}"
    return ("0.0" if percent else "0.00") if float(written) == 0 else written.replace("-", "−")
