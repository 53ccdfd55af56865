"""Whether a record may be published."""

from __future__ import annotations

from bench.cards.analysis_plan import AnalysisPlan
from bench.cards.corpus import CorpusCard


def publish_obstacles(corpus: CorpusCard, limited: bool, coverage: float, plan: AnalysisPlan) -> list[str]:
    """Say why a record must not be published; empty when it may."""
    found = []
    if corpus.synthetic:
        found.append("the corpus is synthetic")
    if limited:
        found.append("only a part of the corpus was run (--limit)")
    if coverage < plan.coverage_floor:
        found.append(f"coverage {coverage:.3f} is under the floor of {plan.coverage_floor}")
    return found
