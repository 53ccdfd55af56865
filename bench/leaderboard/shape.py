"""What a published record must look like before anything is computed from it: types, names, hashes, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.cards.analysis_plan import AnalysisPlan
from bench.cards.contamination import contamination
from bench.cards.corpus import CorpusCard, Protocol
from bench.cards.system import ImportedCard, SystemCard, Track
from bench.errors import DataError
from bench.records import SCHEMA_VERSION
from bench.scoring import publish_obstacles
from bench.storage.hashing import HASH
from bench.tasks import split_task_name
from bench.tasks.names import regime

Hash = Annotated[str, Field(pattern=f"^{HASH.pattern}$")]
Word = Annotated[str, Field(max_length=200, pattern=r"^[^/\\\x00-\x1f]+$")]
Text = Annotated[str, Field(max_length=20_000)]
Count = Annotated[int, Field(ge=0, le=10**9)]


class _Loose(BaseModel):
    """Strictly typed where named; further keys are left alone."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class _Cluster(_Loose):
    name: Hash
    fold: Word


class _Block(_Loose):
    view: Word
    outside: Literal["wrong", "masked"]
    rows: Literal["all", "ok"]
    target: Word
    labels: Annotated[list[Text], Field(max_length=1000)]
    sums: Annotated[list[Text], Field(max_length=100)] = []
    axis: Text = ""
    group: Text = ""


class _Statistics(_Loose):
    file: Word
    hash: Hash


class _Score(_Loose):
    view: Word
    outside: Word
    rows: Word
    metric: Word
    dimension: Word | None
    estimate: float
    low: float | None
    high: float | None
    clips: Count
    speakers: Count
    clusters: Count
    coverage: Annotated[float, Field(ge=0, le=1)]
    seeds: Count


class _Source(_Loose):
    task: Word
    clips: Count
    speakers: Count
    left_out: Count


class _Leak(_Loose):
    kind: Word
    count: Count


class _Chance(_Loose):
    view: Word
    ua: Annotated[float, Field(ge=0, le=1)]
    wa: Annotated[float, Field(ge=0, le=1)]


class _Human(_Loose):
    view: Word
    metric: Word
    dimension: Word | None
    truth: Word
    estimate: float
    low: float | None
    high: float | None


class _Axis(_Loose):
    axis: Word
    groups: Annotated[list[Text], Field(max_length=200_000)]
    edges_seconds: Annotated[list[float], Field(max_length=100)]
    absent: Text


class RecordShape(_Loose):
    """The facts of a record that everything else relies on."""

    schema_version: Annotated[int, Field(alias="schema", ge=1, le=SCHEMA_VERSION)]
    system: Word
    task: Word
    protocol: Protocol
    training: Text = ""
    learnt_view: Literal["native", "seven", "four"] = "native"
    track: Track
    condition: Word
    train_condition: Word = "clean"
    title: Text
    family: Word
    corpus: Word
    pool: Word
    language: Word
    synthetic: bool
    limited: bool
    seeds: Annotated[list[int], Field(min_length=1, max_length=1000)]
    folds: Annotated[int, Field(ge=1, le=100_000)]
    clips: Count
    speakers: Count
    cluster: Literal["speaker", "session", "dialogue"]
    clusters: Annotated[list[_Cluster], Field(min_length=1, max_length=200_000)]
    blocks: Annotated[list[_Block], Field(max_length=20_000)]
    scores: Annotated[list[_Score], Field(min_length=1, max_length=20_000)]
    scores_hash: Hash
    statuses: dict[Word, Count]
    coverage: Annotated[float, Field(ge=0, le=1)]
    publishable: bool
    obstacles: list[Text]
    warnings: list[Text]
    contamination: Word
    statistics: _Statistics
    labels_offered: Annotated[list[Word], Field(max_length=1000)]
    notes: dict[Text, dict[str, Any]] = {}
    sources: Annotated[list[_Source], Field(max_length=10_000)] = []
    leaks: Annotated[list[_Leak], Field(max_length=10_000)] = []
    badges: Annotated[list[Word], Field(max_length=20)] = []
    chance: Annotated[list[_Chance], Field(max_length=20)] = []
    human: Annotated[list[_Human], Field(max_length=1000)] = []
    axes: Annotated[list[_Axis], Field(max_length=100)] = []
    slices: Annotated[list[dict[str, Any]], Field(max_length=200_000)] = []
    gaps: Annotated[list[dict[str, Any]], Field(max_length=10_000)] = []
    speaker_names: Annotated[list[Text], Field(max_length=200_000)] = []
    plan: dict[str, Any]
    card: dict[str, Any]
    corpus_card: dict[str, Any]
    matrix: Word
    matrix_hash: Hash
    system_identity: Hash
    folds_hash: Hash
    content_hash: Hash
    code_version: Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.+-]{0,60}$")]
    weights_hash: Hash | None
    tables: Annotated[dict[Hash, Hash], Field(min_length=1, max_length=100_000)]


def require_shape(path: Path, facts: Any) -> None:
    """Raise :class:`DataError` naming the first thing about a record that is not as it must be."""
    try:
        RecordShape.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "the whole"
        if first["type"] == "missing":
            raise DataError(
                f"{path}: says nothing of {where!r}; score the run again with this version and publish it"
            ) from None
        found = repr(first["input"])
        raise DataError(
            f"{path}: {where}: {first['msg']}, found {found[:80]}{'…' if len(found) > 80 else ''}"
        ) from None


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
