"""Who is set beside whom: which records speak to a question, who is a rival, and what may be subtracted from what."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.cards.analysis_plan import AnalysisPlan
from bench.leaderboard.claims.rules import ClaimQuestion, ClaimRules
from bench.leaderboard.evidence import Cell, Evidence
from bench.leaderboard.history import same_clips
from bench.leaderboard.validation import BINDING
from bench.scoring.record_schema import RecordFacts


def is_proposed(system: str, rules: ClaimRules) -> bool:
    """Whether a system is one that the project proposes."""
    return any(fnmatch.fnmatchcase(system, pattern) for pattern in rules.proposed)


def same_encoder(a: RecordFacts, b: RecordFacts) -> bool:
    """Whether two systems rest on the same pretrained weights: by their content, else by where their cards say they come from."""
    if a.weights_hash is not None and b.weights_hash is not None:
        return a.weights_hash == b.weights_hash
    ours, theirs = a.card.weights, b.card.weights
    if ours is None or theirs is None:
        return False
    if ours.hub and theirs.hub:
        return (ours.hub, ours.revision) == (theirs.hub, theirs.revision)
    return ours.local == theirs.local


def own_variant(a: RecordFacts, b: RecordFacts) -> bool:
    """Whether two systems are one method with other parameters: the same weights under the same adapter or probe."""
    ours, theirs = a.card, b.card
    kind = (ours.adapter, ours.probe) == (theirs.adapter, theirs.probe)
    return kind and same_encoder(a, b)


def standing_version(versions: Iterable[Evidence]) -> Evidence | None:
    """Which of a cell's records speaks for it: the board's; else, of studies, the one with the most seeds."""
    able = [e for e in versions if e.stands]
    return min(able, key=lambda e: (e.standing != "board", -len(e.facts.seeds), e.publication), default=None)


def speaks_to(e: Evidence, question: ClaimQuestion) -> bool:
    """Whether a record may speak to a question: its setting, or no training at all; nothing generated, nothing unpublishable."""
    facts = e.facts
    if facts.synthetic or facts.limited or not facts.publishable or facts.condition != question.condition:
        return False
    if not any(fnmatch.fnmatchcase(facts.task, pattern) for pattern in question.tasks):
        return False
    return facts.protocol == "zero-shot" or (facts.protocol, facts.training) == (
        question.protocol,
        question.training,
    )


def rival_groups(
    question: ClaimQuestion, own: Evidence, cells: Sequence[Sequence[Evidence]]
) -> dict[str, list[Sequence[Evidence]]]:
    """Cells of rivals by track.

    Args:
        question: whom it asks after.
        own: the proposed system's record.
        cells: records of every other system on the task.

    Returns:
        Cells by track; one group without a name where tracks are not asked for.
    """
    facts = own.facts

    def chosen(belongs: Callable[[RecordFacts], bool]) -> list[Sequence[Evidence]]:
        # Record by record: a name may have stood for other weights in another publication.
        kept = [[e for e in c if e.facts.track != "reference" and belongs(e.facts)] for c in cells]
        return [c for c in kept if c]

    if question.rivals == "own variants":
        return {"": chosen(lambda f: own_variant(f, facts))}
    if question.rivals == "same encoder":
        return {"": chosen(lambda f: same_encoder(f, facts) and not own_variant(f, facts))}
    others = chosen(lambda f: not own_variant(f, facts))
    tracks = sorted({e.facts.track for c in others for e in c})
    return {t: [kept for c in others if (kept := [e for e in c if e.facts.track == t])] for t in tracks}


def score_asked(question: ClaimQuestion, own: Evidence, plan: AnalysisPlan) -> tuple[str, str, str]:
    """What a question compares in.

    Args:
        question: whose rule for answers outside the view it is.
        own: the proposed system's record, whose main view it is.
        plan: the board's, whose primary metric it is (UA in the place of CCC).

    Returns:
        Metric, view, outside rule.
    """
    metric = plan.primary_metric if plan.primary_metric != "ccc" else "ua"
    return metric, own.facts.main_view, question.outside


def rival_cells(
    cells: Mapping[Cell, Sequence[Evidence]], own: Cell, rules: ClaimRules
) -> list[Sequence[Evidence]]:
    """Cells of other systems on the task.

    Args:
        cells: all that speak to the question.
        own: the proposed system's.
        rules: which systems are proposed.

    Returns:
        A cell per system; of one that ran as the proposed system did and without training as well, the former.
    """
    found: dict[str, Sequence[Evidence]] = {}
    for (system, task, how, _), versions in cells.items():
        if task == own[1] and not is_proposed(system, rules) and (how == own[2] or system not in found):
            found[system] = versions
    return [found[s] for s in sorted(found)]


def unpaired(own: Evidence, other: Evidence, plan: AnalysisPlan) -> str:
    """Say why two records cannot be subtracted clip by clip; blank where they can.

    Args:
        own: the one.
        other: the other.
        plan: under which both must have been scored.
    """
    zero_shot = "zero-shot" in (own.facts.protocol, other.facts.protocol)
    if own.facts.content_hash != other.facts.content_hash:
        return "they were scored on other clips"
    if not zero_shot and not same_clips(own, other):
        return "they were scored on other folds"
    if own.facts.cluster_names() != other.facts.cluster_names():
        return "their clusters carry other names"
    for e in (own, other):
        for name in BINDING:
            if getattr(e.facts.plan, name) != getattr(plan, name):
                return f"{e.publication} was planned with {name} {getattr(e.facts.plan, name)}, the board with {getattr(plan, name)}"
    return ""
