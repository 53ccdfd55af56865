"""Whether a published record agrees with itself, its cards and its plan."""

from __future__ import annotations

from pathlib import Path

from bench.cards.contamination import contamination
from bench.errors import DataError
from bench.leaderboard.card_identity import name_fault, weights_fault
from bench.scoring.record_schema import KEYED_SINCE, RecordFacts
from bench.scoring.recording import publish_obstacles
from bench.tasks import split_task_name
from bench.tasks.names import record_stem, regime

Doubled = tuple[tuple[str, object], tuple[str, object]]
"""Something said in two places: what it is called and says here, and there."""


def require_consistent(path: Path, facts: RecordFacts) -> None:
    """Raise :class:`DataError` where a record contradicts itself, hides what it is, or may not be published."""
    for stated, expected in _doubled(path, facts):
        if stated[1] != expected[1]:
            raise DataError(
                f"{path}: says {stated[0]} {stated[1]!r}, but {expected[0]} is {expected[1]!r}; it was changed by hand"
            )
    if "dirty" in facts.code_version:
        raise DataError(
            f"{path}: was made by code with uncommitted changes ({facts.code_version}); commit them and run again"
        )
    _require_cards(path, facts)


def _doubled(path: Path, facts: RecordFacts) -> list[Doubled]:
    """What a record says twice: both must be the same."""
    card, corpus = facts.card, facts.corpus_card
    total = sum(facts.statuses.values())
    names = facts.cluster_names()
    stem = record_stem(facts.system, facts.task, regime(facts.protocol, facts.training), facts.condition)
    tested = len({c.fold for c in facts.clusters})
    pairs: list[Doubled] = [
        (("the file name", path.stem), ("what its content names", stem)),
        (("statistics in", facts.statistics.file), ("the file beside it", f"{path.stem}.parquet")),
        (("coverage", facts.coverage), ("the share of ok rows", facts.statuses.get("ok", 0) / max(1, total))),
        (("answers in all", total), ("its number of clips times seeds", facts.clips * len(facts.seeds))),
        (("clusters", len(names)), ("the number of different ones", len(set(names)))),
        (("seeds", len(facts.seeds)), ("the number of different ones", len(set(facts.seeds)))),
        (("tested folds", tested), ("the number of folds, at most,", min(tested, facts.folds))),
        (("track (record)", facts.track), ("track on the system card", card.track)),
        (("family (record)", facts.family), ("family on the system card", card.family)),
        (("system", facts.system), ("the card's name", card.name)),
        (("corpus", facts.corpus), ("the corpus card's name", corpus.name)),
        (("pool", facts.pool), ("the corpus card's", corpus.pool_name)),
        (("synthetic", facts.synthetic), ("the corpus card's word", corpus.synthetic)),
        (("language", facts.language), ("its task's", split_task_name(facts.task)[1])),
        (("clusters by", facts.cluster), ("the corpus card's word", corpus.cluster)),
    ]  # fmt: skip
    leaking = ", ".join(dict.fromkeys(f"{leak.kind}s" for leak in facts.leaks))
    known = {"official split"} | ({f"leaks {leaking}"} if leaking else set())
    badges = sorted(known & set(facts.badges))
    pairs.append((("badges", sorted(facts.badges)), ("those that a split gives", badges)))
    pairs += [*_offered(facts), *_tables(facts)]
    for k in ("system", "task", "protocol", "track", "condition"):
        expected = (f"{k} of the record", getattr(facts, k))
        pairs += [((f"{k} in a score", getattr(r, k)), expected) for r in facts.scores]
    return pairs


def _tables(facts: RecordFacts) -> list[Doubled]:
    """Before schema 4 a table per cell; since then one, and nothing of those with clip ids that the run keeps."""
    if facts.schema_version < KEYED_SINCE and facts.table is None:
        return [(("tables", len(facts.tables)), ("folds times seeds", facts.folds * len(facts.seeds)))]
    private = ("tables of the run", bool(facts.tables or facts.inputs_hash))
    return [(private, ("what a record says of them once serbench leaderboard add published it", False))]


def _offered(facts: RecordFacts) -> list[Doubled]:
    """The labels on offer beside those that the statistics count: the corpus's own, or some at least of a view's."""
    counted = [b for b in facts.blocks if b.target == "category" and not b.axis]
    if facts.learnt_view != "native":
        offered = ("labels on offer", bool(facts.labels_offered))
        return [(offered, ("that there are classes to choose from", True))] if counted else []
    native = [b.labels for b in counted if b.view == "native"]
    stated = ("labels on offer", list(facts.labels_offered))
    return [(stated, ("what its statistics count", list(native[0])))] if native else []


def _require_cards(path: Path, facts: RecordFacts) -> None:
    """What follows from the cards: whether it may be published, and what had been seen of the corpus before."""
    card, corpus = facts.card, facts.corpus_card
    for fault in (name_fault(facts), weights_fault(facts)):
        if fault:
            raise DataError(f"{path}: {fault}")
    obstacles = publish_obstacles(corpus, facts.limited, facts.coverage, facts.plan)
    if obstacles or facts.obstacles or not facts.publishable:
        reasons = obstacles or facts.obstacles or ["it says so itself"]
        raise DataError(f"{path}: may not be published: {reasons[0]}")
    known = contamination(card, corpus, split_task_name(facts.task)[2])
    if facts.contamination != known:
        raise DataError(
            f"{path}: calls its contamination {facts.contamination!r}, but by its cards it is {known!r}; score the run again"
        )
