"""Whether a published record agrees with itself, its cards and its plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.cards.analysis_plan import AnalysisPlan
from bench.cards.contamination import contamination
from bench.cards.corpus import CorpusCard
from bench.cards.system import ImportedCard, SystemCard
from bench.errors import DataError
from bench.scoring.recording import publish_obstacles
from bench.tasks import split_task_name
from bench.tasks.names import regime


def require_consistent(path: Path, facts: Mapping[str, Any]) -> None:
    """Raise :class:`DataError` where a record contradicts itself, hides what it is, or may not be published."""
    for said, wanted in _doubled(path, facts):
        if said[1] != wanted[1]:
            raise DataError(
                f"{path}: says {said[0]} {said[1]!r}, but {wanted[0]} is {wanted[1]!r}; it was changed by hand"
            )
    if "dirty" in facts["code_version"]:
        raise DataError(
            f"{path}: was made by code with uncommitted changes ({facts['code_version']}); commit them and run again"
        )
    _require_cards(path, facts)


def _doubled(path: Path, facts: Mapping[str, Any]) -> list[tuple[tuple[str, Any], tuple[str, Any]]]:
    """What a record says twice: both must be the same."""
    card, corpus = facts["card"], facts["corpus_card"]
    total = sum(facts["statuses"].values())
    names = [c["name"] for c in facts["clusters"]]
    stem = f"{facts['system']}__{facts['task']}__{regime(facts['protocol'], facts.get('training', ''))}__{facts['condition']}"
    rows = facts["scores"]
    tested = len({c["fold"] for c in facts["clusters"]})
    pairs = [
        (("the file name", path.stem), ("what its content names", stem)),
        (("statistics in", facts["statistics"]["file"]), ("the file beside it", f"{path.stem}.parquet")),
        (("coverage", facts["coverage"]), ("the share of ok rows", facts["statuses"].get("ok", 0) / max(1, total))),
        (("answers in all", total), ("its number of clips times seeds", facts["clips"] * len(facts["seeds"]))),
        (("clusters", len(names)), ("the number of different ones", len(set(names)))),
        (("seeds", len(facts["seeds"])), ("the number of different ones", len(set(facts["seeds"])))),
        (("tested folds", tested), ("the number of folds, at most,", min(tested, facts["folds"]))),
        (("tables", len(facts["tables"])), ("folds times seeds", facts["folds"] * len(facts["seeds"]))),
        (("plan", facts["plan"].get("coverage_floor")), ("its floor of coverage", AnalysisPlan.model_validate(facts["plan"]).coverage_floor)),
    ]  # fmt: skip
    pairs += [
        ((f"{k} (record)", facts[k]), (f"{k} on the system card", card.get(k)))
        for k in ("track", "family")
    ]  # fmt: skip
    pairs.append((("system", facts["system"]), ("the card's name", card.get("name"))))
    pairs.append((("corpus", facts["corpus"]), ("the corpus card's name", corpus.get("name"))))
    pairs.append((("pool", facts["pool"]), ("the corpus card's", corpus.get("pool") or corpus.get("name"))))
    pairs.append((("synthetic", facts["synthetic"]), ("the corpus card's word", corpus.get("synthetic", False))))  # fmt: skip
    pairs.append((("language", facts["language"]), ("its task's", split_task_name(facts["task"])[1])))
    pairs.append((("clusters by", facts["cluster"]), ("the corpus card's word", corpus.get("cluster", "speaker"))))  # fmt: skip
    leaking = ", ".join(dict.fromkeys(f"{leak['kind']}s" for leak in facts.get("leaks", ())))
    known = {"official split"} | ({f"leaks {leaking}"} if leaking else set())
    pairs.append((("badges", sorted(facts.get("badges", ()))), ("those that a split gives", sorted(known & {*facts.get("badges", ())}))))  # fmt: skip
    pairs += _offered(facts)
    for k in ("system", "task", "protocol", "track", "condition"):
        pairs += [((f"{k} in a score", r.get(k)), (f"{k} of the record", facts[k])) for r in rows]
    return pairs


def _offered(facts: Mapping[str, Any]) -> list[tuple[tuple[str, Any], tuple[str, Any]]]:
    """The labels on offer beside those that the statistics count: the corpus's own, or some at least of a view's."""
    own = [b["labels"] for b in facts["blocks"] if b["target"] == "category" and not b.get("axis")]
    offered = facts["labels_offered"]
    if facts.get("learnt_view", "native") != "native":
        return (
            [(("labels on offer", bool(offered)), ("that there are classes to choose from", True))]
            if own
            else []
        )
    native = [b["labels"] for b in facts["blocks"] if b["view"] == "native" and b["target"] == "category" and not b.get("axis")]  # fmt: skip
    return [(("labels on offer", offered), ("what its statistics count", native[0]))] if native else []


def _require_cards(path: Path, facts: Mapping[str, Any]) -> None:
    """What follows from the cards: whether it may be published, and what had been seen of the corpus before."""
    try:
        card = (ImportedCard if facts.get("imported") else SystemCard).model_validate(facts["card"])
        corpus = CorpusCard.model_validate(facts["corpus_card"])
        plan = AnalysisPlan.model_validate(facts["plan"])
    except ValidationError as error:
        raise DataError(
            f"{path}: a card or the plan inside is not one of this version ({error.errors()[0]['msg']})"
        ) from None
    if card.weights is not None and facts["weights_hash"] is None and card.weights.revision is None:
        raise DataError(
            f"{path}: nothing says which weights {card.name} had: neither a revision on its card nor a hash of their content"
        )
    obstacles = publish_obstacles(corpus, facts["limited"], facts["coverage"], plan)
    if obstacles or facts["obstacles"] or not facts["publishable"]:
        reasons = obstacles or facts["obstacles"] or ["it says so itself"]
        raise DataError(f"{path}: may not be published: {reasons[0]}")
    known = contamination(card, corpus, split_task_name(facts["task"])[2])
    if facts["contamination"] != known:
        raise DataError(
            f"{path}: calls its contamination {facts['contamination']!r}, but by its cards it is {known!r}; score the run again"
        )
