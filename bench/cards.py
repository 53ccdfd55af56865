"""Typed cards: what a corpus is, what a system is. YAML on disk, validated and frozen in memory."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from bench.errors import nearest
from bench.identity import split_dotted
from bench.labels import label_table
from bench.preparation.layout import Layout
from bench.protocols import DIMENSIONS
from bench.typed_yaml import Strict

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$", max_length=80)]
Scale = tuple[float, float]
Track = Literal["reference", "released", "probed", "adapted"]
Protocol = Literal["within", "zero-shot"]


def _text(value: Any) -> Any:
    """Identifiers are text: YAML's 3, 03 and 2026-01-01 are what was written, as far as YAML still knows it."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class Split(Strict):
    """How a corpus is split into folds that share no speaker, session or dialogue."""

    folds: Annotated[int, Field(ge=3, le=100)] | Literal["loso"] = 5
    """Number of folds (three at least: one to train on, one to choose, one to test), or ``loso``: leave one speaker out."""
    session_scope: Literal["corpus", "speaker"] = "corpus"
    """``speaker`` when session ids are local to a speaker (everybody has a session 1)."""
    dialogue_scope: Literal["corpus", "speaker", "session"] = "corpus"


class CorpusCard(Strict):
    """One corpus: where its labels stand, what they mean, who may use it.

    Only ``name`` is needed: raw labels are then matched against the label table, and no dimensions are read.
    """

    name: Name
    title: str = ""
    pool: Name | None = None
    """The recordings this corpus draws from; corpora of one pool share speakers. Its own name unless given."""
    languages: tuple[str, ...] = ()
    """BCP 47. Used for clips whose ``language`` cell is blank when there is exactly one."""
    accents: tuple[str, ...] = ()
    """BCP 47 with regions (``en-SG``): whose speech it is. Task names have the language alone."""
    contains: tuple[Name, ...] = ()
    """Corpora this collection holds second copies of: their pools are its pools."""
    elicitation: Literal["acted", "evoked", "natural", "generated", "unknown"] = "unknown"
    synthetic: bool = False
    labels: dict[str, str | None] = {}
    """Raw label → canonical name; null leaves such clips out of the categories."""
    scale: Scale | dict[str, Scale] | None = None
    """Lowest and highest value of the raw dimension scale, for all three or by dimension."""
    columns: dict[str, str] = {}
    """Our column → the column of ``metadata.csv`` that holds it, e.g. ``script: sentence_id``."""
    cluster: Literal["speaker", "session", "dialogue"] = "speaker"
    split: Split = Split()
    licence: str = "unknown"
    access: Literal["open", "form", "private", "unknown"] = "unknown"
    source: str = ""
    citation: str = ""
    verification: Literal["data", "layout", "described"] | None = None
    clips: int | None = None
    speakers: int | None = None
    hours: float | None = None
    traps: tuple[str, ...] = ()
    description: str = ""
    layout: Layout | None = None
    """How the owner's download becomes clips (``serbench corpus prepare``)."""

    @model_validator(mode="after")
    def _layout_says_enough(self) -> CorpusCard:
        if self.layout is not None:
            self.layout.check(verification=self.verification, access=self.access)
        return self

    @field_validator("labels", mode="before")
    @classmethod
    def _raw_labels_are_text(cls, value: Any) -> Any:
        return {str(_text(k)): v for k, v in value.items()} if isinstance(value, dict) else value

    @field_validator("labels")
    @classmethod
    def _known_labels(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        table = label_table()
        for raw, canonical in value.items():
            if canonical is not None and canonical not in table.names:
                raise ValueError(
                    f"raw label {raw!r} is mapped to {canonical!r}, which is no canonical name; {nearest(canonical, table.names)}"
                )
        return value

    @field_validator("scale")
    @classmethod
    def _sound_scale(cls, value: Any) -> Any:
        scales = (
            value if isinstance(value, dict) else {} if value is None else dict.fromkeys(DIMENSIONS, value)
        )
        for dimension, (low, high) in scales.items():
            if dimension not in DIMENSIONS:
                raise ValueError(f"{dimension!r} is no dimension; {nearest(dimension, DIMENSIONS)}")
            if not low < high:
                raise ValueError(f"{dimension}: the scale must run from low to high, found {low} to {high}")
        return value

    @field_validator("languages", "accents")
    @classmethod
    def _language_tags(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for tag in value:
            check_language(tag)
        return value

    @property
    def pool_name(self) -> str:
        """The pool, which is the corpus itself unless the card says otherwise."""
        return self.pool or self.name

    def scale_of(self, dimension: str) -> Scale | None:
        """Return (low, high) of the raw scale of a dimension, or None when the card gives none."""
        return self.scale.get(dimension) if isinstance(self.scale, dict) else self.scale


def check_language(tag: str) -> None:
    """Raise ValueError unless a language tag has the shape of BCP 47 (``ms``, ``en-SG``, ``zh-Hans-TW``, ``qaa``)."""
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", tag):
        raise ValueError(f"{tag!r} is no BCP 47 language tag (expected e.g. ms, en-SG, zh)")


class WeightsSpec(Strict):
    """Where pretrained weights come from: a folder of SERBENCH_WEIGHTS, else the hub at a pinned revision."""

    local: str
    hub: str | None = None
    revision: str | None = None


class FeatureSpec(Strict):
    """A frozen encoder and what is kept of it: the mean of each layer (pooled) or every frame."""

    encoder: str
    params: dict[str, Any] = {}
    pooled: bool = True

    @field_validator("encoder")
    @classmethod
    def _dotted(cls, value: str) -> str:
        split_dotted(value)
        return value


class TrainingCorpus(Strict):
    """A corpus, and the split of it, that a system's weights were trained on."""

    corpus: str
    split: str = "all"


class SystemCard(Strict):
    """One evaluated system with pinned weights.

    Either ``adapter`` names a predictor, or ``features`` and ``probe`` name a frozen encoder and the probe over it.
    ``params`` are the predictor's or the probe's parameters, and part of its identity.
    """

    name: Name
    title: str = ""
    family: Literal["reference", "acoustic", "encoder", "trained", "audio-llm"]
    track: Track
    adapter: str | None = None
    features: FeatureSpec | None = None
    probe: str | None = None
    params: dict[str, Any] = {}
    weights: WeightsSpec | None = None
    server: str | None = None
    """Address of the server an Audio-LLM answers from; null until one is configured."""
    seeds: bool = True
    """False when the system is deterministic: one seed suffices, whatever the matrix says."""
    licence: str = "unknown"
    languages: tuple[str, ...] = ()
    training_corpora: tuple[TrainingCorpus, ...] | Literal["undisclosed"] = "undisclosed"
    parameters: int | None = None
    sampling_rate: int = 16_000
    description: str = ""

    @field_validator("adapter")
    @classmethod
    def _dotted(cls, value: str | None) -> str | None:
        if value is not None:
            split_dotted(value)
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> SystemCard:
        if self.family == "audio-llm":
            return self
        if (self.adapter is None) == (self.probe is None):
            raise ValueError("expected exactly one of 'adapter' (a predictor) and 'probe' (over 'features')")
        if self.probe is not None and self.features is None:
            raise ValueError("a 'probe' needs 'features': the frozen encoder it reads")
        if self.probe is not None and self.features is not None and not self.features.pooled:
            raise ValueError("a 'probe' reads pooled features: set 'pooled: true'")
        return self
