"""Claims derived from everything published: the proposed systems against the strongest of their rivals, task by task."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bench.cards.analysis_plan import AnalysisPlan
from bench.errors import BenchError, DataError
from bench.leaderboard.claims.contest import (
    is_proposed,
    rival_cells,
    rival_groups,
    score_asked,
    speaks_to,
    standing_version,
    unpaired,
)
from bench.leaderboard.claims.rules import ClaimQuestion, ClaimRules, read_rules
from bench.leaderboard.evidence import Cell, Evidence, by_cell, read_evidence
from bench.leaderboard.history import EXACT, VersionPair, VersionSpread, version_spread
from bench.leaderboard.lazy_records import stored_record
from bench.leaderboard.publication import Board
from bench.scoring.comparisons import run_family
from bench.scoring.pair_results import PairResult
from bench.scoring.records import CountsKey, Record
from bench.scoring.rescoring import TOLERANCE
from bench.storage.hashing import hash_json

Side = Literal["ahead", "behind", "level"]
FAMILY = "claim"


@dataclass(frozen=True)
class Contestant:
    """A system as one published record has it."""

    system: str
    track: str
    publication: str
    record: str
    code_version: str
    seeds: int
    seeded: bool
    """Whether another seed would answer otherwise."""
    estimate: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Claim:
    """How a proposed system stands to the strongest of its rivals on one task.

    ``pairing`` is the test, proposed less rival, with p adjusted over all ``rivals`` that could be tested; None where there is none, and
    ``untested`` says why. ``contradicting`` are published versions by which the side is another one.
    """

    id: str
    question: ClaimQuestion
    task: str
    pool: str
    track: str
    proposed: Contestant
    rival: Contestant | None
    rivals: tuple[str, ...]
    tied: tuple[str, ...]
    """Rivals with the score of the strongest."""
    elsewhere: tuple[str, ...]
    """Rivals on other clips of the task, which cannot be set beside it."""
    replaced: tuple[str, ...]
    """Rivals of which nothing stands any more: their records were replaced by others' or left out of a later run."""
    metric: str
    view: str
    pairing: PairResult | None
    untested: str
    spread: VersionSpread
    contradicting: tuple[VersionPair, ...]

    @property
    def difference(self) -> float:
        """Proposed less rival; 0 without a rival."""
        return self.proposed.estimate - self.rival.estimate if self.rival else 0.0

    @property
    def side(self) -> Side:
        """Where the proposed system stands by its score."""
        if abs(self.difference) < EXACT:
            return "level"
        return "ahead" if self.difference > 0 else "behind"

    @property
    def confirmed(self) -> bool:
        """Whether the test bears the side out."""
        return self.pairing is not None and self.pairing.kind in ("better", "worse")

    @property
    def figures(self) -> frozenset[str]:
        """Every figure that a sentence about it may name, as it is written: in points, unsigned."""
        found = [self.difference, self.spread.low, self.spread.high] if self.spread.pairs else [self.difference]  # fmt: skip
        for c in (self.proposed, self.rival):
            found += [x for x in (c.estimate, c.low, c.high) if x is not None] if c else []
        if p := self.pairing:
            ends = [getattr(p, name) for name in vars(p) if name.endswith(("low", "high"))]
            found += [x for x in ends if x is not None]
        return frozenset(f"{abs(100 * x):.1f}" for x in found)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "claim": self.id,
            "question": self.question.id,
            "task": self.task,
            "track": self.track,
            "proposed": asdict(self.proposed),
            "rival": asdict(self.rival) if self.rival else None,
            "rivals": list(self.rivals),
            "tied": list(self.tied),
            "elsewhere": list(self.elsewhere),
            "replaced": list(self.replaced),
            "metric": self.metric,
            "view": self.view,
            "outside": self.question.outside,
            "side": self.side,
            "confirmed": self.confirmed,
            "difference": self.difference if self.rival else None,
            "test": self.pairing.as_json() if self.pairing else None,
            "untested": self.untested,
            "versions": [asdict(p) for p in self.spread.pairs],
            "sign_depends_on_the_version": bool(self.spread.pairs) and self.spread.sign_depends,
            "contradicting": [asdict(p) for p in self.contradicting],
        }


@dataclass(frozen=True)
class ClaimLedger:
    """All claims, and what they were derived from."""

    root: Path
    rules: ClaimRules
    evidence: tuple[Evidence, ...]
    claims: tuple[Claim, ...]

    def of(self, question: str) -> list[Claim]:
        """Claims of one question, by task."""
        return [c for c in self.claims if c.question.id == question]

    @property
    def cells(self) -> dict[Cell, list[Evidence]]:
        """Everything published, by what it measured."""
        return by_cell(self.evidence)


RunFamily = Callable[
    [str, Sequence[Record], Sequence[tuple[str, str]], Sequence[str], Collection[CountsKey]], list[PairResult]
]
"""Tests a family: :func:`bench.scoring.comparisons.run_family`, or the same with a memory."""


def derive_ledger(
    root: Path, evidence: Sequence[Evidence] | None = None, test: RunFamily = run_family
) -> ClaimLedger:
    """Answer every question of ``claims.yaml`` from every record published in a folder of results.

    Args:
        root: the folder, studies in it included.
        evidence: everything published in it, where it was read before.
        test: tests a family of comparisons.

    Returns:
        The claims.

    Raises:
        UsageError: no questions, or nothing is published.
        DataError: a proposed system that no record holds, or a record that was changed by hand.
    """
    rules = read_rules(root)
    evidence = tuple(read_evidence(root) if evidence is None else evidence)
    for e in evidence:
        _require_untouched(e)
    plan = Board(root).rules.plan
    for pattern in rules.proposed:
        if not any(fnmatch.fnmatchcase(e.facts.system, pattern) for e in evidence):
            raise DataError(f"{root / 'claims.yaml'}: proposes {pattern!r}, of which no record is published; name a system that was measured")  # fmt: skip
    claims = [c for q in rules.questions for c in _answers(q, rules, evidence, plan, test)]
    return ClaimLedger(root, rules, evidence, tuple(claims))


def _require_untouched(e: Evidence) -> None:
    """Raise :class:`DataError` where scores are not those that were written: studies carry no seal."""
    if e.facts.scores_hash != hash_json([s.as_json() for s in e.facts.scores]):
        raise DataError(f"{e.path}: was changed after it was written: its scores have another hash; restore it, or score the run again")  # fmt: skip


def _answers(
    question: ClaimQuestion,
    rules: ClaimRules,
    evidence: Sequence[Evidence],
    plan: AnalysisPlan,
    test: RunFamily,
) -> list[Claim]:
    cells = by_cell([e for e in evidence if speaks_to(e, question)])
    claims = []
    for cell, versions in sorted(cells.items(), key=lambda item: (item[0][1], item[0][0])):
        own = standing_version(versions)
        asked = (own is not None and own.facts.protocol, own is not None and own.facts.training)
        if own is None or not is_proposed(cell[0], rules) or asked != (question.protocol, question.training):
            continue
        rivals = rival_cells(cells, cell, rules)
        groups = rival_groups(question, own, rivals)
        several = sum(is_proposed(s, rules) and t == cell[1] for s, t, *_ in cells) > 1
        for track, members in groups.items():
            if own.score(*score_asked(question, own, plan)) is None:
                continue  # of such answers it has none
            name = "/".join(
                [question.id, *([track] if track else []), cell[1], *([cell[0]] if several else [])]
            )
            claims.append(_claim(name, question, track, own, versions, members, plan, test))
    return claims


def _claim(
    name: str,
    question: ClaimQuestion,
    track: str,
    own: Evidence,
    versions: Sequence[Evidence],
    cells: Sequence[Sequence[Evidence]],
    plan: AnalysisPlan,
    test: RunFamily,
) -> Claim:
    score = score_asked(question, own, plan)
    standing = [e for c in cells if (e := standing_version(c)) is not None and e.score(*score) is not None]
    met = [e for e in standing if e.facts.content_hash == own.facts.content_hash]
    elsewhere = tuple(sorted(e.facts.system for e in standing if e not in met))
    gone = tuple(sorted(c[0].facts.system for c in cells if not any(e.stands for e in c) and _superseded(c)))
    best = max(met, key=lambda e: (_estimate(e, score), e.facts.system), default=None)
    tied = tuple(sorted(e.facts.system for e in met if best and e is not best and _same(e, best, score)))
    pairing, untested = _tested(own, best, met, score, plan, test) if best else (None, "")
    by_system = {c[0].facts.system: c for c in cells}
    spread = _spread(versions, by_system[best.facts.system] if best else (), score)
    claim = Claim(
        name, question, own.facts.task, own.facts.pool, track, _contestant(own, score),
        _contestant(best, score) if best else None, tuple(sorted(e.facts.system for e in met)), tied, elsewhere, gone,
        score[0], score[1], pairing, untested, spread, (),
    )  # fmt: skip
    others = [(s, c) for s, c in by_system.items() if best and s != best.facts.system]
    return replace(claim, contradicting=_contradicting(claim, versions, others, score))


def _superseded(cell: Sequence[Evidence]) -> bool:
    return any(e.standing == "superseded" for e in cell)


def _contradicting(
    claim: Claim,
    versions: Sequence[Evidence],
    others: Sequence[tuple[str, Sequence[Evidence]]],
    score: tuple[str, str, str],
) -> tuple[VersionPair, ...]:
    """Versions of the two that have another sign, and, of a system said to be ahead of all rivals, those of any that leave it behind."""
    found = list(claim.spread.against(claim.difference))
    if claim.side == "ahead":
        for system, cell in others:
            spread = _spread(versions, cell, score)
            found += [replace(p, second=f"{p.second}: {system}") for p in spread.against(claim.difference)]
    return tuple(found)


def _spread(
    versions: Sequence[Evidence], cell: Sequence[Evidence], score: tuple[str, str, str]
) -> VersionSpread:
    metric, view, outside = score
    return version_spread(versions, cell, metric, view, outside=outside)


def _estimate(e: Evidence, score: tuple[str, str, str]) -> float:
    row = e.score(*score)
    assert row is not None  # those without one were left out
    return row.estimate


def _same(a: Evidence, b: Evidence, score: tuple[str, str, str]) -> bool:
    return abs(_estimate(a, score) - _estimate(b, score)) < EXACT


def _contestant(e: Evidence, score: tuple[str, str, str]) -> Contestant:
    row = e.score(*score)
    assert row is not None
    facts = e.facts
    return Contestant(
        facts.system, facts.track, e.publication, e.path.stem, facts.code_version, len(facts.seeds), facts.card.seeds,
        row.estimate, row.low, row.high,
    )  # fmt: skip


def _tested(
    own: Evidence,
    best: Evidence,
    met: Sequence[Evidence],
    score: tuple[str, str, str],
    plan: AnalysisPlan,
    test: RunFamily,
) -> tuple[PairResult | None, str]:
    """Test the proposed system against all rivals that it can be paired with; the result against the strongest, or why there is none."""
    if reason := unpaired(own, best, plan):
        return None, reason
    able = [e for e in met if not unpaired(own, e, plan)]
    metric, view, outside = score
    records = [_record(e, plan) for e in (own, *able)]
    pairs = [(own.facts.system, e.facts.system) for e in able]
    key = (view, outside, "all", "category")
    try:
        found = test(FAMILY, records, pairs, (metric,), {key})
    except BenchError as error:
        return None, str(error)
    _require_as_written(own, able, found, score)
    pairing = next((p for p in found if p.system_b == best.facts.system), None)
    return pairing, "" if pairing else "this corpus has too few clusters, or the two share no such view"


def _record(e: Evidence, plan: AnalysisPlan) -> Record:
    """The record, to be tested under the board's plan."""
    record = stored_record(e.path, e.facts)
    return replace(record, facts=e.facts.model_copy(update={"plan": plan}))


def _require_as_written(
    own: Evidence, rivals: Sequence[Evidence], found: Sequence[PairResult], score: tuple[str, str, str]
) -> None:
    """Raise :class:`DataError` where records say other scores than their statistics, from which differences are computed."""
    by_system: Mapping[str, Evidence] = {e.facts.system: e for e in rivals}
    for p in found:
        other = by_system[p.system_b]
        written = _estimate(own, score) - _estimate(other, score)
        if abs(written - p.difference) > TOLERANCE:
            raise DataError(
                f"{other.path}: its score and that of {own.path} differ by {written:.6f}, their statistics by {p.difference:.6f}; "
                "one of the two was changed by hand: restore it, or score the run again"
            )
