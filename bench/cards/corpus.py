"""Corpus cards: what a corpus is. YAML on disk, validated and frozen in memory."""

from __future__ import annotations

import itertools
import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from bench.cards.caution import Caution
from bench.cards.corpus_layout import Layout
from bench.cards.labels import label_table
from bench.cards.typed_yaml import Name, Strict, as_text
from bench.errors import nearest
from bench.protocols import DIMENSIONS

Scale = tuple[float, float]
Protocol = Literal["within", "transfer", "zero-shot"]

OPEN_LICENCES = ("cc0", "cc-by", "odbl", "pddl", "mit", "apache-2.0")
"""How licences begin that let everybody pass on what they cover."""
OTHER_AXES = frozenset(
    {"gender", "duration", "emotion", "speaker", "sentence", "listener", "language", "condition"}
)
"""What scores are sliced by without being asked, or by other means: no further column may be called so."""
MOST_GROUPS = 20
"""How many groups a further column may sort clips into."""


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
    classes: tuple[Name, ...] = ()
    """The corpus's own classes that the label table does not have: scored natively, outside the views seven and four."""
    labels: dict[str, str | None] = {}
    """Raw label → canonical name; null leaves such clips out of the categories."""
    scale: Scale | dict[str, Scale] | None = None
    """Lowest and highest value of the raw dimension scale, for all three or by dimension."""
    columns: dict[str, str] = {}
    """Our column → the column of ``metadata.csv`` that holds it, e.g. ``script: sentence_id``."""
    slices: dict[str, tuple[float, ...]] = {}
    """Further columns of ``metadata.csv`` to score groups of clips by: edges of bands for numbers, none for a group per value."""
    cluster: Literal["speaker", "session", "dialogue"] = "speaker"
    split: Split = Split()
    licence: str = "unknown"
    access: Literal["open", "form", "private", "unknown"] = "unknown"
    clip_names: Literal["keyed", "open"] = "keyed"
    """What clips are called in published tables: a name that holders of the audio alone can make, or the file's own, which often
    spells speaker and label and so needs a licence that lets everybody have it."""
    source: str = ""
    citation: str = ""
    verification: Literal["data", "layout", "described"] | None = None
    clips: Annotated[int, Field(ge=0, le=10**9)] | None = None
    speakers: Annotated[int, Field(ge=0, le=10**9)] | None = None
    hours: Annotated[float, Field(ge=0, le=10**7, allow_inf_nan=False)] | None = None
    traps: tuple[str, ...] = ()
    met: tuple[str, ...] = ()
    """Dated notes of real files that met the layout elsewhere, and what was found in them; the level of verification stays."""
    cautions: tuple[Caution, ...] = ()
    """Traps that name their badge, the protocols they hold for and the share of clips they are about."""
    description: str = ""
    layout: Layout | None = None
    """How the owner's download becomes clips (``serbench corpus prepare``)."""

    @model_validator(mode="after")
    def _layout_says_enough(self) -> CorpusCard:
        if self.layout is not None:
            self.layout.check(verification=self.verification, access=self.access)
        return self

    @model_validator(mode="after")
    def _open_names_need_an_open_licence(self) -> CorpusCard:
        stated = self.licence.strip().lower()
        if self.clip_names == "open" and (self.access != "open" or not stated.startswith(OPEN_LICENCES)):
            raise ValueError(
                f"clip_names: open publishes the files' own names, so access must be open (it is {self.access}) and the licence one that "
                f"lets everybody pass them on ({', '.join(OPEN_LICENCES)} …; it is {self.licence!r}); leave clip_names: keyed"
            )
        return self

    @field_validator("labels", mode="before")
    @classmethod
    def _raw_labels_are_text(cls, value: Any) -> Any:
        return {str(as_text(k)): v for k, v in value.items()} if isinstance(value, dict) else value

    @field_validator("classes")
    @classmethod
    def _new_classes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if (known := label_table().canonical(name)) is not None:
                raise ValueError(
                    f"{name!r} is in the label table already (as {known!r}); leave it out and use that name under 'labels'"
                )
        return value

    @field_validator("labels")
    @classmethod
    def _known_labels(cls, value: dict[str, str | None], info: ValidationInfo) -> dict[str, str | None]:
        table, own = label_table(), info.data.get("classes", ())
        for raw, canonical in value.items():
            if canonical is not None and canonical not in (*table.names, *own):
                raise ValueError(
                    f"raw label {raw!r} is mapped to {canonical!r}, which is no canonical name; {table.near(canonical, own)} "
                    "(a class that only this corpus has stands under 'classes')"
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

    @field_validator("slices")
    @classmethod
    def _sound_slices(cls, value: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        for column, edges in value.items():
            if not re.fullmatch(r"[^\W\d][\w -]{0,59}", column) or column.casefold() in OTHER_AXES:
                raise ValueError(
                    f"{column!r} cannot be sliced by: name a further column of metadata.csv, of letters, digits, '_', '-' and spaces, "
                    f"other than {', '.join(sorted(OTHER_AXES))}"
                )
            ascending = all(a < b for a, b in itertools.pairwise(edges))
            if not ascending or not all(map(math.isfinite, edges)) or len(edges) >= MOST_GROUPS:
                raise ValueError(
                    f"{column}: edges of bands must be fewer than {MOST_GROUPS} numbers that rise, like [30, 45, 60]; found "
                    f"{', '.join(f'{e:g}' for e in edges[:MOST_GROUPS])}"
                )
        return value

    @field_validator("languages", "accents")
    @classmethod
    def _language_tags(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for tag in value:
            check_language(tag)
        return value

    @property
    def told(self) -> tuple[Caution, ...]:
        """Everything that the card warns of."""
        return (*self.cautions, *(Caution(text=t[:20_000]) for t in self.traps if t.strip()))

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
