"""What a published record must look like before anything is computed from it: types, names, hashes, provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.cards.corpus import Protocol
from bench.cards.system import Track
from bench.errors import DataError
from bench.scoring.records import SCHEMA_VERSION
from bench.storage.hashing import HASH

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
