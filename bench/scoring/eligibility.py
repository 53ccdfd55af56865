"""Whether a record may be published."""

from __future__ import annotations

from bench.cards import CorpusCard
from bench.matrix import Plan


def publish_obstacles(corpus: CorpusCard, limited: bool, coverage: float, plan: Plan) -> list[str]:
    """Say why a record must not be published; empty when it may."""
    found = []
    if corpus.synthetic:
        found.append("the corpus is synthetic")
    if limited:
        found.append("only a part of the corpus was run (--limit)")
    if coverage < plan.coverage_floor:
        found.append(f"coverage {coverage:.3f} is under the floor of {plan.coverage_floor}")
    return found
