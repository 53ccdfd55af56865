"""System cards: one evaluated system with pinned weights, or a model that is several systems, one per mode."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import Field, PrivateAttr, field_serializer, field_validator, model_validator

from bench.cards.probe_names import FRAME_PROBES
from bench.cards.typed_yaml import Strict, SystemName, as_text
from bench.errors import UsageError
from bench.storage.scrubbing import without_login, without_secret_values
from bench.storage.source_code import split_dotted

Track = Literal["reference", "released", "probed", "adapted"]


class WeightsSpec(Strict):
    """Where pretrained weights come from: a folder of SERBENCH_WEIGHTS, an installed package, else the hub at a pinned revision."""

    local: str
    """Name of their folder; with ``package``, a folder inside that package ("." for its own)."""
    package: str | None = None
    """Installed package (its import name) that ships them; hashed there like anywhere else."""
    file: str | None = None
    """The one file (or folder) of ``local`` that holds them, of any kind; with ``package``, its place inside that package."""
    hub: str | None = None
    revision: str | None = None
    pickled: bool = False
    """The weights exist as a pickle alone (``*.pt``, ``*.pth``, ``*.bin``, which can run code when they are read): read and hashed all the same."""
    _card: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _in_package(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("package") and value.get("file") and "local" not in value:
            return {**value, "local": "."}
        return value

    @field_validator("file")
    @classmethod
    def _stays_inside(cls, value: str | None) -> str | None:
        if value is not None and (PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts):
            raise ValueError(f"{value!r} leaves its folder; name a file inside it, like model/weights.pt")
        return value

    def of_card(self, path: Path) -> WeightsSpec:
        """The same weights as a card file of one's own names them: they may lie beside it."""
        spec = self.model_copy()
        spec._card = path.resolve()
        return spec

    @property
    def beside(self) -> tuple[Path, ...]:
        """Where to look first: the folder of the card's file, and the one that folder lies in. Shipped cards have none."""
        return () if self._card is None else (self._card.parent, self._card.parent.parent)


def _code(dotted: str) -> str:
    """The same name of code; a fault is told with its line and key, like every other of a card."""
    try:
        split_dotted(dotted)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return dotted


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
        return _code(value)


class TrainingCorpus(Strict):
    """A corpus, and the split of it, that a system's weights were trained on."""

    corpus: str
    split: str = "all"


class LoraSpec(Strict):
    """A LoRA module that a server must load beside the model, or the model answers without it."""

    name: str
    """Under which the server serves the model with it; requests must name it (``params.model``)."""
    folder: str
    """Within the weights."""
    rank: Annotated[int, Field(gt=0)] = 16
    """Highest rank that the server must make room for."""


class ServerNeeds(Strict):
    """What the environment of a model's server must have, as version ranges (PEP 440); looked at before it is started."""

    vllm: str = ""
    packages: dict[str, str] = {}
    """By distribution name; "" for any version."""
    mend: str = ""
    """The command that builds such an environment, if this project has one."""

    @field_validator("vllm", "packages")
    @classmethod
    def _are_ranges(cls, value: Any) -> Any:
        for text in value.values() if isinstance(value, dict) else (value,):
            try:
                SpecifierSet(text)
            except InvalidSpecifier:
                raise ValueError(f"{text!r} is no range of versions; write it like >=0.12,<0.17") from None
        return value


class ServerSpec(Strict):
    """How a vLLM server for an Audio-LLM is started, and whether that was ever done here."""

    engine: Literal["vllm", "vllm with a plugin", "closed"]
    """Whether vLLM serves the model as it is, with a package installed beside it, or nobody but its owner does."""
    plugin: str | None = None
    model: str | None = None
    """What vLLM loads, where it is not the ``weights``: a hub id or a folder."""
    requires: ServerNeeds = ServerNeeds()
    lora: LoraSpec | None = None
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    ready_minutes: Annotated[float, Field(gt=0)] = 30
    started_here: bool = False
    """False: this project never started it; what the card says comes from its owner's pages."""

    @field_validator("arguments", mode="before")
    @classmethod
    def _arguments_are_text(cls, value: Any) -> Any:
        return [as_text(v) for v in value] if isinstance(value, list) else value

    @field_validator("environment", mode="before")
    @classmethod
    def _environment_is_text(cls, value: Any) -> Any:
        return {str(k): as_text(v) for k, v in value.items()} if isinstance(value, dict) else value

    @field_serializer("environment", when_used="json")
    def _without_secret_values(self, environment: dict[str, str]) -> dict[str, str]:
        """What is written of a card, in a record for one, holds no token that its server was given."""
        return without_secret_values(environment)


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

    name: SystemName
    title: str = ""
    family: Literal["reference", "acoustic", "encoder", "trained", "audio-llm", "service"]
    """``service``: a commercial service, whose model nobody outside knows; such systems are imported."""
    track: Track
    adapter: str | None = None
    features: FeatureSpec | None = None
    probe: str | None = None
    params: dict[str, Any] = {}
    packages: tuple[str, ...] = ()
    """Packages whose arithmetic decides its answers, beside those in every feature's key: their versions are part of its keys."""
    requirements: str | None = None
    """A file of pins beside the card: its adapter or encoder runs in an environment of its own, which holds them."""
    weights: WeightsSpec | None = None
    """On a card, ``weights: none`` says that there are no pretrained weights (kept as ``weightless``)."""
    weightless: bool = False
    parts: dict[str, WeightsSpec] = {}
    """Further pretrained weights that the system is put together from, by the name that its adapter gives them."""
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
    causal: bool | None = None
    """Of a frozen encoder: each frame knows only what came before it (a recurrent network in one direction); null: not said."""
    frames_per_second: Annotated[float, Field(gt=0, le=48_000)] | None = None
    """Of a frozen encoder: how many frames it gives; null: not said. The contract test counts them."""
    sampling_rate: int = 16_000
    encoder: EncoderFacts | None = None
    description: str = ""
    _file: Path | None = PrivateAttr(default=None)
    _python: str | None = PrivateAttr(default=None)

    @field_serializer("server", when_used="json")
    def _without_login(self, server: str | None) -> str | None:
        """What is written of a card, in a record for one, holds no credentials of an address."""
        return server and without_login(server)

    @field_validator("adapter")
    @classmethod
    def _dotted(cls, value: str | None) -> str | None:
        return value if value is None else _code(value)

    @field_validator("requirements")
    @classmethod
    def _beside_the_card(cls, value: str | None) -> str | None:
        place = PurePosixPath(value or "")
        if value is not None and (value == "" or place.is_absolute() or ".." in place.parts):
            raise ValueError(
                f"{value!r} is no file beside the card; put it into the card's folder: requirements.txt"
            )
        return value

    @property
    def file(self) -> Path | None:
        """Where a card with ``requirements`` was read from; None for others, and for the card in a record."""
        return self._file

    @property
    def python(self) -> str | None:
        """The interpreter that a setting names for ``requirements``; no card can, and no record tells it."""
        return self._python

    def located(self, path: Path) -> SystemCard:
        """The same card, which knows where its requirements lie; one without any stays as it is."""
        if self.requirements is None:
            return self
        card = self.model_copy()
        card._file = path.resolve()
        return card

    def run_by(self, python: str) -> SystemCard:
        """The same card, with an interpreter named for its requirements."""
        card = self.model_copy()
        card._python = python
        return card

    @model_validator(mode="before")
    @classmethod
    def _no_weights(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("weights") == "none":
            return {**value, "weights": None, "weightless": True}
        if isinstance(value, dict) and value.get("weightless") and value.get("weights"):
            raise ValueError("says that it has no weights, and names some: keep one of the two")
        return value

    @property
    def unsaid_weights(self) -> str:
        """What to write on the card of an encoder that says nothing of its weights; blank where it does, and for other systems."""
        if self.family != "encoder" or self.weights is not None or self.weightless:
            return ""
        return (
            f"{self.name} is an encoder whose card names no weights: name them under weights (a folder, or package and file for "
            "those inside an installed one), or say weights: none"
        )

    @property
    def trained_here(self) -> bool:
        """Whether an Audio-LLM is put together or trained here, from weights at hand, and served by its own adapter."""
        return self.adapter is not None and "tuning" in self.params

    @property
    def owner(self) -> str:
        """Whose system it is; blank for one of the suite."""
        return self.name.partition("/")[0] if "/" in self.name else ""

    @model_validator(mode="after")
    def _one_kind(self) -> SystemCard:
        if self.requirements is not None and (self.family == "audio-llm" or self.serve is not None):
            raise ValueError(
                "'requirements' are for encoders and predictors; what an Audio-LLM's server needs is said under 'serve'"
            )
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
            overrides = {"pooled": mode.pooled, "every": mode.every}
            changed = {k: v for k, v in overrides.items() if v is not None}
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


class ImportedCard(SystemCard):
    """The card of a system that ran elsewhere: it need not name code of this suite."""

    def _one_kind(self) -> ImportedCard:  # type: ignore[override]  # the parent's validator is what is replaced
        return self
