"""What a reader must know before trusting a record: may it be published, and had the system seen the corpus?"""

from __future__ import annotations

from bench.cards import CorpusCard, SystemCard
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


def contamination(system: SystemCard, corpus: CorpusCard) -> str:
    """Say what the system's weights had seen of a corpus before: seen, same corpus, unseen or undisclosed."""
    if system.training_corpora == "undisclosed":
        return "undisclosed"
    splits = {t.split for t in system.training_corpora if t.corpus in {corpus.name, corpus.pool_name}}
    if not splits:
        return "unseen"
    return "seen" if splits & {"all", "test"} else "same corpus"
