"""Typed cards: what a corpus is, what a system is. YAML on disk, validated and frozen in memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from bench.errors import nearest
from bench.labels import label_table
from bench.preparation.layout import Layout
from bench.probes import FRAME_PROBES
from bench.protocols import DIMENSIONS
from bench.storage.source_code import split_dotted
from bench.typed_yaml import Strict

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$", max_length=80)]
Scale = tuple[float, float]
Track = Literal["reference", "released", "probed", "adapted"]
Protocol = Literal["within", "transfer", "zero-shot"]


def training_name(training: str, view: str, train_condition: str) -> str:
    """Say in one word what a system learnt from, blank for the clean audio of the task itself.

    >>> training_name("other-pools", "seven", "clean"), training_name("other-pools", "four", "noise-10db")
    ('other-pools', 'other-pools-four-trained-noise-10db')
    """
    parts = (training, "four" if view == "four" else "", f"trained-{train_condition}")
    return "-".join(p for p in parts if p and p != "trained-clean")


def regime(protocol: str, training: str) -> str:
    """Protocol and :func:`training_name` in one word, for file names.

    >>> regime("within", ""), regime("transfer", "other-pools")
    ('within', 'transfer-other-pools')
    """
    return f"{protocol}-{training}" if training else protocol


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
    """Corpora, or pools, whose recordings this collection holds copies of: it shares their speakers."""
    elicitation: Literal["acted", "evoked", "natural", "generated", "unknown"] = "unknown"
    truth: Literal["intended", "perceived", "unknown"] = "unknown"
    """What the label is: the emotion the speaker was asked for, or what listeners heard."""
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
    clips: Annotated[int, Field(ge=0, le=10**9)] | None = None
    speakers: Annotated[int, Field(ge=0, le=10**9)] | None = None
    hours: Annotated[float, Field(ge=0, le=10**7, allow_inf_nan=False)] | None = None
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
    pickled: bool = False
    """The weights exist as a pickle alone (``*.pt``, ``*.pth``, ``*.bin``, which can run code when they are read): read and hashed all the same."""
    _card: Path | None = PrivateAttr(default=None)

    def of_card(self, path: Path) -> WeightsSpec:
        """The same weights as a card file of one's own names them: they may lie beside it."""
        spec = self.model_copy()
        spec._card = path.resolve()
        return spec

    @property
    def beside(self) -> tuple[Path, ...]:
        """Where to look first: the folder of the card's file, and the one that folder lies in. Shipped cards have none."""
        return () if self._card is None else (self._card.parent, self._card.parent.parent)


class FeatureSpec(Strict):
    """A frozen encoder and what is kept of it: the mean of each layer (pooled) or frames."""

    encoder: str
    params: dict[str, Any] = {}
    pooled: bool = True
    every: Annotated[int, Field(ge=1, le=1000)] = 1
    """Of frames: how many in a row are averaged into one before they are kept."""

    @field_validator("encoder")
    @classmethod
    def _dotted(cls, value: str) -> str:
        split_dotted(value)
        return value


class TrainingCorpus(Strict):
    """A corpus, and the split of it, that a system's weights were trained on."""

    corpus: str
    split: str = "all"


class ServerSpec(Strict):
    """How a vLLM server for an Audio-LLM is started, and whether that was ever done here."""

    engine: Literal["vllm", "vllm with a plugin", "closed"]
    """Whether vLLM serves the model as it is, with a package installed beside it, or nobody but its owner does."""
    plugin: str | None = None
    model: str | None = None
    """What vLLM loads, where it is not the ``weights``: a hub id or a folder."""
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    ready_minutes: Annotated[float, Field(gt=0)] = 30
    started_here: bool = False
    """False: this project never started it; what the card says comes from its owner's pages."""

    @field_validator("arguments", mode="before")
    @classmethod
    def _arguments_are_text(cls, value: Any) -> Any:
        return [_text(v) for v in value] if isinstance(value, list) else value

    @field_validator("environment", mode="before")
    @classmethod
    def _environment_is_text(cls, value: Any) -> Any:
        return {str(k): _text(v) for k, v in value.items()} if isinstance(value, dict) else value


class EncoderFacts(Strict):
    """What a reader has to know of a frozen encoder before trusting its features."""

    architecture: str
    """The class of transformers that its weights belong to, or ``s3prl <upstream>``."""
    normalisation: str
    """What is done to a clip's samples or frames before the network."""
    padding: Literal["masked", "exact length", "window", "one at a time"]
    """How clips share a pass: padded under a mask, only with clips of their length, in equal windows, or not at all."""
    loaded_here: bool = False
    """False: this project never loaded these weights; what the card says comes from their owner's pages."""


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
    packages: tuple[str, ...] = ()
    """Packages whose arithmetic decides its answers, beside those in every feature's key: their versions are part of its keys."""
    weights: WeightsSpec | None = None
    server: str | None = None
    """Address of the server an Audio-LLM answers from; null where the suite starts one, or none is known."""
    serve: ServerSpec | None = None
    seeds: bool = True
    """False when the system is deterministic: one seed suffices, whatever the matrix says."""
    licence: str = "unknown"
    languages: tuple[str, ...] = ()
    training_corpora: tuple[TrainingCorpus, ...] | Literal["undisclosed"] = "undisclosed"
    also_undisclosed: bool = False
    """Whether it met more than ``training_corpora`` names, and nobody tells what: a trained system of an undisclosed base."""
    parameters: Annotated[int, Field(ge=0, le=10**15)] | None = None
    sampling_rate: int = 16_000
    encoder: EncoderFacts | None = None
    description: str = ""

    @field_validator("adapter")
    @classmethod
    def _dotted(cls, value: str | None) -> str | None:
        if value is not None:
            split_dotted(value)
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> SystemCard:
        if self.family == "audio-llm" and self.adapter is None and self.probe is None:
            return self  # planned: its cells stand as "cannot run here"
        if (self.adapter is None) == (self.probe is None):
            raise ValueError("expected exactly one of 'adapter' (a predictor) and 'probe' (over 'features')")
        if self.probe is not None and self.features is None:
            raise ValueError("a 'probe' needs 'features': the frozen encoder it reads")
        if self.probe is not None and self.features is not None:
            if self.features.pooled and self.probe in FRAME_PROBES:
                raise ValueError(f"the probe '{self.probe}' reads frames: set 'pooled: false'")
            if not self.features.pooled and self.probe not in FRAME_PROBES:
                raise ValueError(f"the probe '{self.probe}' reads pooled features: set 'pooled: true'")
        if self.features is not None and self.features.pooled and self.features.every != 1:
            raise ValueError("'every' averages frames in groups, and needs 'pooled: false'")
        return self


class Mode(Strict):
    """In what one system of a model's file differs from the others."""

    params: dict[str, Any] = {}
    feature_params: dict[str, Any] = {}
    pooled: bool | None = None
    every: int | None = None
    probe: str | None = None
    seeds: bool | None = None
    track: Track | None = None


class SystemFile(SystemCard):
    """A card file: one system, or one model that is several systems, each named ``<name>-<mode>``.

    A frozen encoder has a mode per probe, an Audio-LLM one per way to answer.
    """

    modes: dict[str, Mode] = {}

    @model_validator(mode="after")
    def _one_kind(self) -> SystemFile:
        if not self.modes:
            super()._one_kind()  # type: ignore[operator]  # pydantic wraps the method, and the wrapper can be called
        for mode in self.modes.values():
            SystemCard.model_validate(self._with(self.name, mode))
        return self

    def _with(self, name: str, mode: Mode) -> dict[str, Any]:
        fields = {k: getattr(self, k) for k in SystemCard.model_fields}
        features = self.features
        if features is not None:
            kept = {"pooled": mode.pooled, "every": mode.every}
            changed = {k: v for k, v in kept.items() if v is not None}
            features = FeatureSpec.model_validate(
                features.model_dump() | changed | {"params": features.params | mode.feature_params}
            )
        return fields | {
            "name": name,
            "params": self.params | mode.params,
            "features": features,
            "probe": mode.probe or self.probe,
            "seeds": self.seeds if mode.seeds is None else mode.seeds,
            "track": mode.track or self.track,
        }

    def cards(self) -> dict[str, SystemCard]:
        """Return the systems this file describes, by name."""
        if not self.modes:
            return {self.name: SystemCard.model_validate(self._with(self.name, Mode()))}
        found = {}
        for key, mode in self.modes.items():
            name = f"{self.name}-{key}"
            title = {"title": f"{self.title or self.name}, {key}"}
            found[name] = SystemCard.model_validate(self._with(name, mode) | title)
        return found
