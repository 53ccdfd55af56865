"""What a record says: the one schema through which records are written, read, checked by the board and shown.

Every part is frozen, strictly typed and bounded, since records come from strangers, and knows all its keys: one that it does
not know is refused. What a record does not say is not written, so a record of an earlier version that is read and written
again says what it said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from bench.cards.analysis_plan import AnalysisPlan
from bench.cards.caution import Caution, caution_in_words
from bench.cards.corpus import CorpusCard, Protocol
from bench.cards.labels import VIEWS, View
from bench.cards.plain_words import expectation, found_words
from bench.cards.system import ImportedCard, SystemCard, Track
from bench.cards.typed_yaml import Strict
from bench.errors import DataError
from bench.storage.hashing import HASH

SCHEMA_VERSION = 5
READABLE = (1, 2, 3, 4, 5)
"""Schema 1 had neither slices nor the sums of votes and calibration. Before schema 3 no record says when its plan was made, which
code answered its cells, what was learnt from, nor how many clips a condition changed; its level of chance is 1/K of the true
classes (``chance``), and its cautions are plain text. Schema 5 added populations and the axis of sentences. What they hold means
the same."""
PLAN_LOGGED_SINCE = 3
"""Schema from which a record of a run says when its plan was first seen."""
KEYED_SINCE = 4
"""Names of clusters and speakers are made under the key of the corpus's audio (:mod:`bench.corpora.naming`); before, guesses
could be tried on them."""

Hash = Annotated[str, Field(pattern=f"^{HASH.pattern}$")]
Word = Annotated[str, Field(max_length=200, pattern=r"^[^/\\\x00-\x1f]+$")]
System = Annotated[str, Field(max_length=200, pattern=r"^([a-z0-9][a-z0-9-]{0,38}/)?[^/\\\x00-\x1f]+$")]
"""A system's name, with its owner before it where it is not one of the suite."""
Text = Annotated[str, Field(max_length=20_000)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]
CodeVersion = Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.+-]{0,60}$")]
Notes = dict[Text, dict[str, Any]]
"""What each fit noted, by its name (``fold 0 seed 1``): JSON of the adapter's own."""


class _Part(BaseModel):
    """A part of a record: frozen, strictly typed, no key it does not know, and no number that is none."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    def as_json(self) -> dict[str, Any]:
        """Return JSON values: what it was given, and nothing else."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class ClusterFold(_Part):
    """A cluster by its name under the corpus's key, and the fold it is tested in."""

    name: Hash
    fold: Word


class BlockDescription(_Part):
    """Which sums a block of the statistics holds; see :class:`bench.scoring.records.Counts`."""

    view: Word
    outside: Literal["wrong", "masked"]
    rows: Literal["all", "ok"]
    target: Word
    labels: Annotated[tuple[Text, ...], Field(max_length=1000)]
    sums: Annotated[tuple[Text, ...], Field(max_length=100)] | None = None
    """None in schema 1, which had the moments of dimensions alone."""
    axis: Text = ""
    group: Text = ""


class StatisticsFile(_Part):
    """The additive statistics beside a record."""

    file: Word
    hash: Hash


class AudioCopy(_Part):
    """The copy of the corpus that was scored: its different sounds, and a hash that only a holder of the same samples can make."""

    clips: Count
    commitment: Hash


class PublishedTable(_Part):
    """All prediction tables of a published record in one file (:mod:`bench.scoring.published_tables`)."""

    file: Word
    hash: Hash


class ScoreRow(_Part):
    """One figure of a record: an estimate over the pooled test clips with its interval by cluster.

    ``fold_mean`` (secondary) is the mean over folds; ``seed_low``, ``seed_high`` the range over seeds. ``method``
    says how the interval was made or why there is none, ``notes`` what its reader should know.
    """

    system: System
    task: Word
    protocol: Protocol
    training: Text = ""
    track: Track
    condition: Word
    view: Word
    outside: Word
    rows: Word
    metric: Word
    dimension: Word | None
    estimate: float
    low: float | None
    high: float | None
    method: Text
    notes: tuple[Text, ...] = ()
    seed_low: float
    seed_high: float
    fold_mean: float | None
    by_speaker: float | None = None
    """Mean over speakers of each speaker's own value (UA alone, over the classes he has): who has few clips weighs as much."""
    by_speaker_low: float | None = None
    by_speaker_high: float | None = None
    population: Text = ""
    """What ``population_low`` to ``population_high`` speak of, where the plan asks for more than speakers: all that is known."""
    population_low: float | None = None
    population_high: float | None = None
    population_lacking: tuple[Text, ...] = ()
    """What the plan asks for beyond that, and why it is not known."""
    clips: Count
    speakers: Count
    clusters: Count
    coverage: Share
    seeds: Count


class SubgroupScore(_Part):
    """The score of one group. ``method`` says how the interval was made, or why there is none."""

    axis: Text
    group: Text
    view: Text
    metric: Text
    dimension: Text | None
    estimate: float
    low: float | None
    high: float | None
    method: Text
    clips: Count
    clusters: Count
    classes: Count | None
    """Classes with a true clip in the group; UA is the mean over these."""


class Gap(_Part):
    """The best and the worst of an axis's groups, and how far apart they are.

    Groups that lack a class (their UA means something else), the unknown ones and those without a value are
    left out, and counted in ``left_out``.
    """

    axis: Text
    view: Text
    metric: Text
    dimension: Text | None
    best: Text
    worst: Text
    best_estimate: float
    worst_estimate: float
    gap: float
    low: float | None
    high: float | None
    method: Text
    groups: Count
    left_out: Count


class ChanceLine(_Part):
    """1/K of the K true classes, and Σ p² of their shares, in a view: schemas 1 and 2, which did not ask what was offered."""

    view: Word
    ua: Share
    wa: Share


class TrainingLabels(_Part):
    """Clips by label on the training side of a test fold, to learn from or to choose on, in the labels on offer."""

    fold: Word
    clips: Annotated[dict[Word, Count], Field(max_length=1000)]


class GuessLevel(_Part):
    """What a rule that hears nothing scores in a view; see :mod:`bench.scoring.reference_levels`."""

    rule: Literal["uniform", "prior", "majority"]
    view: Word
    outside: Literal["wrong", "masked"]
    ua: Share
    wa: Share


class ListenerScore(_Part):
    """What one listener scores against the majority of the others (``perceived``) or the label that was asked for (``intended``)."""

    truth: Word
    view: Word
    metric: Word
    dimension: Word | None
    estimate: float
    low: float | None
    high: float | None
    method: Text
    notes: tuple[Text, ...]
    clips: Count
    clusters: Count


class AxisDescription(_Part):
    """One way in which clips were sorted into groups; ``absent`` says why they were not."""

    axis: Word
    groups: Annotated[tuple[Text, ...], Field(max_length=200_000)]
    edges_seconds: Annotated[tuple[float, ...], Field(max_length=100)]
    absent: Text


class SourceDescription(_Part):
    """A task that was learnt from in transfer: its clips, and those of them that could not be learnt from."""

    task: Word
    clips: Count
    speakers: Count
    left_out: Count


class LeakDescription(_Part):
    """What stands on several sides of a fold: its kind and number, without the offender's name, which stays private."""

    kind: Word
    count: Count
    fold: Text = ""
    sides: tuple[Text, ...] = ()


class VariantScore(_Part):
    """One way of prompting an Audio-LLM: UA in the corpus's own classes (None: undefined) and the share of ok answers."""

    name: Text
    prompt: Text
    language: Text
    order: Text
    repeat: Text
    ua: float | None
    coverage: Share


class LayerPoint(_Part):
    """One layer of an encoder alone: UA (categories) or CCC (a dimension) with its interval; None where it is undefined."""

    layer: Count
    ua: float | None = None
    ccc: float | None = None
    low: float | None
    high: float | None


class ImportOrigin(_Part):
    """The table that predictions made elsewhere were imported from."""

    table: Text
    hash: Hash
    rows: Count


class PlanChange(_Part):
    """What was changed of a plan, and after how many finished cells of how many there were to be.

    ``what`` is a field of the analysis plan, ``systems added``, ``systems left out`` or ``seeds of SYSTEM``; the last three
    are those of the record's own comparison family.
    """

    what: Text
    old: Text
    new: Text
    cells: Count
    of: Count


class PlanSeen(_Part):
    """When the plan that judges a record was first seen in its run, counted in cells: times stand in the log alone."""

    plan_hash: Hash
    cells: Count
    """Cells that were finished in the run when this analysis plan was first seen."""
    of: Count
    """Those cells and the ones that the plan still asked for."""
    logged_from: Count
    """Cells that were finished when the run's log began: 0 unless the log was begun late."""
    changes: Annotated[tuple[PlanChange, ...], Field(max_length=10_000)] = ()
    """What was changed once there were finished cells, oldest first."""


class CountedFacts(_Part):
    """Who answered what under which plan, and what was counted: everything that figures are computed from, and what explains them."""

    schema_version: Annotated[int, Field(validation_alias="schema", serialization_alias="schema", ge=1, le=SCHEMA_VERSION)]  # fmt: skip
    system: System
    task: Word
    protocol: Protocol
    training: Text = ""
    """What was learnt from, in one word; blank for the clean audio of the task itself."""
    learnt_view: View = "native"
    track: Track
    condition: Word
    train_condition: Word = "clean"
    sources: Annotated[tuple[SourceDescription, ...], Field(max_length=10_000)] = ()
    title: Text
    family: Word
    corpus: Word
    pool: Word
    language: Word
    synthetic: bool
    limited: bool
    seeds: Annotated[tuple[int, ...], Field(min_length=1, max_length=1000)]
    folds: Annotated[int, Field(ge=1, le=100_000)]
    clips: Count
    speakers: Count
    cluster: Literal["speaker", "session", "dialogue", "clip"]
    """What is taken as independent; ``clip`` only where somebody asked what that would say, and never on disk."""
    clusters: Annotated[tuple[ClusterFold, ...], Field(min_length=1, max_length=200_000)]
    speaker_names: Annotated[tuple[Text, ...], Field(max_length=200_000)] = ()
    """Names of speakers under the corpus's key, where they are not the clusters."""
    audio: AudioCopy | None = None
    """None in records of earlier schemas."""
    sentence_names: Annotated[tuple[Hash, ...], Field(max_length=200_000)] = ()
    """Names of sentences under the corpus's key, where clusters say the same ones."""
    sentence_cells: Annotated[tuple[tuple[Count, Count], ...], Field(max_length=1_000_000)] = ()
    """Cells of the axis sentence: places of a cluster and of a sentence."""
    sentences_absent: Text = ""
    """Why clips were not sorted by sentence."""
    axes: Annotated[tuple[AxisDescription, ...], Field(max_length=100)] = ()
    statuses: dict[Word, Count]
    coverage: Share
    labels_offered: Annotated[tuple[Word, ...], Field(max_length=1000)]
    publishable: bool
    obstacles: tuple[Text, ...]
    contamination: Word
    warnings: Annotated[tuple[Caution | Text, ...], Field(max_length=1000)]
    """Plain text in schemas 1 and 2, which did not say for which protocols one holds."""
    training_labels: Annotated[tuple[TrainingLabels, ...], Field(max_length=100_000)] = ()
    changed_clips: Count | None = None
    """Clips whose samples the condition changed; None where that was not looked at (clean audio, earlier schemas)."""
    badges: Annotated[tuple[Word, ...], Field(max_length=20)] = ()
    leaks: Annotated[tuple[LeakDescription, ...], Field(max_length=10_000)] = ()
    matrix: Word
    matrix_hash: Hash
    plan: AnalysisPlan
    plan_seen: PlanSeen | None = None
    """None where nothing was logged: before schema 3, and outside a run."""
    cells_code: Annotated[tuple[CodeVersion, ...], Field(max_length=1000)] = ()
    """Versions of the code that answered its cells; nothing before schema 3."""
    imported: ImportOrigin | None = None
    card: SystemCard
    """An :class:`ImportedCard` where the predictions were imported and it names no code of this suite."""
    corpus_card: CorpusCard
    system_identity: Hash
    weights_hash: Hash | None
    code_version: CodeVersion
    folds_hash: Hash
    content_hash: Hash
    figures_code: Hash | None = None
    notes: Notes = {}
    variants: Annotated[tuple[VariantScore, ...], Field(max_length=10_000)] = ()
    ua_by_prompt: dict[Text, float] = {}
    ua_by_language: dict[Text, float] = {}
    ua_by_order: dict[Text, float] = {}
    ua_by_repeat: dict[Text, float] = {}
    ua_range_over_prompts: tuple[float, float] | None = None
    ua_range_over_languages: tuple[float, float] | None = None
    ua_range_over_orders: tuple[float, float] | None = None
    ua_range_over_repeats: tuple[float, float] | None = None
    layer_curve: Annotated[tuple[LayerPoint, ...], Field(max_length=10_000)] = ()
    layer_curve_valence: Annotated[tuple[LayerPoint, ...], Field(max_length=10_000)] = ()
    layer_curve_arousal: Annotated[tuple[LayerPoint, ...], Field(max_length=10_000)] = ()
    layer_curve_dominance: Annotated[tuple[LayerPoint, ...], Field(max_length=10_000)] = ()

    @field_validator("card", mode="wrap")
    @classmethod
    def _either_kind_of_card(cls, value: object, as_system: ValidatorFunctionWrapHandler) -> SystemCard:
        """A system that ran elsewhere need not name code of this suite."""
        try:
            return as_system(value)  # type: ignore[no-any-return]  # what the field says
        except ValidationError:
            try:
                return ImportedCard.model_validate(value)
            except ValidationError:
                pass  # as a card of a system it is wrong in fewer places
            raise

    @model_validator(mode="after")
    def _cells_have_their_places(self) -> Self:
        clusters, sentences = len(self.clusters), len(self.sentence_names)
        wrong = next((c for c in self.sentence_cells if c[0] >= clusters or c[1] >= sentences), None)
        if wrong is not None:
            raise ValueError(
                f"sentence_cells: {list(wrong)} names no cluster and sentence; there are {clusters} and {sentences}"
            )
        if len(set(self.sentence_cells)) < len(self.sentence_cells):
            raise ValueError("sentence_cells: a cell stands in it twice")
        return self

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """Everything that a reader of these scores is warned of; sentences of earlier schemas by what they are about."""
        return tuple(
            w if isinstance(w, Caution) else caution_in_words(w)
            for w in self.warnings
            if isinstance(w, Caution) or w.strip()
        )

    @property
    def cautions_here(self) -> tuple[Caution, ...]:
        """Those that hold for this record's protocol and split."""
        shared = any(leak.kind in ("speaker", "session") for leak in self.leaks)
        return tuple(c for c in self.cautions if c.holds_for(self.protocol, shares_speakers=shared))

    @property
    def main_view(self) -> View:
        """The plan's primary view, or the finest one that a record of transfer was learnt in, where that is coarser."""
        return max(self.plan.primary_view, self.learnt_view, key=VIEWS.index)

    def cluster_names(self, axis: str = "") -> tuple[str, ...]:
        """Names of the clusters of a block on this axis, in the order of its statistics."""
        if axis == "sentence":
            # Cells have no names of their own: a place in ``sentence_cells``.
            return tuple(str(i) for i in range(len(self.sentence_cells)))
        return self.speaker_names if axis == "speaker" else tuple(c.name for c in self.clusters)


class ScoredFacts(CountedFacts):
    """What was counted with the figures that follow from it (:class:`bench.scoring.figures.Figures`)."""

    scores: Annotated[tuple[ScoreRow, ...], Field(max_length=20_000)]
    scores_hash: Hash
    slices: Annotated[tuple[SubgroupScore, ...], Field(max_length=200_000)] = ()
    gaps: Annotated[tuple[Gap, ...], Field(max_length=10_000)] = ()
    chance: Annotated[tuple[ChanceLine, ...], Field(max_length=20)] = ()
    """Schemas 1 and 2 alone."""
    reference_levels: Annotated[tuple[GuessLevel, ...], Field(max_length=100)] = ()
    human: Annotated[tuple[ListenerScore, ...], Field(max_length=1000)] = ()
    tables: Annotated[dict[Hash, Hash], Field(min_length=1, max_length=100_000)] = {}
    """Hash of each prediction table, by its cell, in a run and in what was published before schema 4."""
    table: PublishedTable | None = None
    """The one table of a published record, from schema 4 on; None in a run, or where it was not published."""
    inputs_hash: Hash | None = None


class RecordFacts(ScoredFacts):
    """A record's JSON as it lies on disk, beside the statistics that it describes."""

    blocks: Annotated[tuple[BlockDescription, ...], Field(max_length=20_000)]
    statistics: StatisticsFile


CardKind = TypeVar("CardKind", bound=Strict)
_CARDS = ("card", "corpus_card", "plan")


def written_out(card: CardKind) -> CardKind:
    """The same card with its defaults written out, as a record keeps it: a later version may have others."""
    return type(card).model_validate(card.model_dump(by_alias=True))


def parse_facts(path: Path, text: bytes) -> RecordFacts:
    """Read a record's JSON.

    Args:
        path: where it lies, for the sentences.
        text: its bytes.

    Returns:
        What it says.

    Raises:
        DataError: not a record, a schema of the future, or the first thing about it that is not as it must be.
    """
    try:
        facts = RecordFacts.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{path}: {_fault(error.errors(include_url=False))}") from None
    if facts.imported is None and isinstance(facts.card, ImportedCard):
        try:
            SystemCard.model_validate(facts.card.model_dump(by_alias=True))
        except ValidationError as error:
            raise DataError(f"{path}: {_other_card(_message(error.errors()[0]))}") from None
    return facts


def _other_card(message: str) -> str:
    return f"a card or the plan inside is not one of this version ({message})"


def _message(error: ErrorDetails) -> str:
    """What is wrong with a value: a check's own sentence, or what it should have been."""
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "extra_forbidden":
        return f"has {str(error['loc'][-1])[:80]!r}, which no such card has"
    own = error["type"] in ("value_error", "assertion_error")
    return expectation(error) if own else f"expected {expectation(error)}"


def _fault(errors: list[ErrorDetails]) -> str:
    """Say what is wrong first of all: that it is no record at all, then its version, then whatever stands first."""
    first = next((e for e in errors if e["loc"] == ("schema",)), errors[0])
    kind, where = first["type"], ".".join(str(p) for p in first["loc"])
    message = _message(first)
    if not where or (where == "schema" and kind != "less_than_equal"):
        return f"not a record of this suite ({'schema: ' if where else ''}{message})"
    if where == "schema":
        return f"record schema {first['input']}, this version reads up to {SCHEMA_VERSION}; update ser-bench"
    if first["loc"][0] in _CARDS and kind != "missing":
        return _other_card(message)
    if kind == "missing":
        return f"says nothing of {where!r}; score the run again with this version and publish it"
    if kind == "extra_forbidden":
        return f"says {where!r}, which no record of this version has; remove it, or update ser-bench"
    return f"{where}: {message}, found {found_words(first['input'])}"
