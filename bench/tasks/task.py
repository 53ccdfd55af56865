"""What a task is: its clips, their true labels, its folds, and what its user should beware of."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.audio.store import DecodedClip
from bench.cards.caution import Caution
from bench.cards.corpus import CorpusCard, Protocol
from bench.cards.labels import View
from bench.corpora.naming import CorpusNames
from bench.protocols import Array
from bench.tasks.folds import Fold, Leak


@dataclass(frozen=True)
class Task:
    """Clips of one corpus and language with true labels, clusters and folds. Only the engine sees this.

    Row order is that of ``metadata.csv``. ``labels`` are the corpus's own classes by canonical name (empty when it has
    none); ``dimensions`` is (clips, 3) in 0..1 with NaN; ``decoded[i].message`` says why a clip has no audio.
    ``votes`` are listeners' counts by canonical name ("" for any other answer), None for a clip without; ``ratings`` are
    listeners' values in 0..1 by dimension. Identifiers are "" where unknown.

    ``leaks`` says what stands on several sides of an official split: such a task builds, and no verdict may
    rest on it. ``badges`` are the words that must stand beside its scores.
    """

    name: str
    card: CorpusCard
    language: str
    protocol: Protocol
    labels: tuple[str, ...]
    emotions: tuple[str | None, ...]
    dimensions: Array
    speakers: tuple[str, ...]
    clusters: tuple[str, ...]
    genders: tuple[str, ...]
    transcripts: tuple[str, ...]
    decoded: tuple[DecodedClip, ...]
    folds: tuple[Fold, ...]
    folds_hash: str
    content_hash: str
    warnings: tuple[Caution, ...]
    """What a reader of scores on it must know; :meth:`holds` says which of it matters for this task's protocol."""
    languages: tuple[str, ...]
    sessions: tuple[str, ...]
    dialogues: tuple[str, ...]
    scripts: tuple[str, ...]
    splits: tuple[str, ...]
    votes: tuple[Mapping[str, float] | None, ...]
    ratings: tuple[Mapping[str, tuple[float, ...]] | None, ...]
    parents: tuple[str, ...] = ()
    """Clip that a segment was cut from, "" where none: the rows that ``@clips`` puts together."""
    by_clip: bool = False
    """Whether answers to segments are put together before they are scored."""
    badges: tuple[str, ...] = ()
    leaks: tuple[Leak, ...] = ()
    limited: bool = False
    audio_names: CorpusNames | None = field(default=None, repr=False)
    """Names under the key of the whole corpus in this language; None only in tasks that were put together by hand."""
    left_out: tuple[str, ...] = ()
    """Clip ids that stand in no fold because nobody knows their speaker; part of ``content_hash``."""
    sliced: tuple[tuple[str, ...], ...] = ()
    """Per clip its groups by the card's ``slices``, in their order; "" where unknown."""
    carried: frozenset[str] = frozenset()
    """Columns that the corpus's table has: what it lacks is not carried, what it leaves blank is not known."""
    view: View = "native"
    """Finest label space that answers are given and scored in; ``seven`` or ``four`` in transfer."""
    offered: tuple[str, ...] = ()
    """Labels on offer where they are not the corpus's own: in transfer, the classes of ``view`` that were learnt."""

    @functools.cached_property
    def names(self) -> CorpusNames:
        """What clips, clusters and speakers are called where they are published."""
        return self.audio_names or CorpusNames.of_audio([d.pcm_hash for d in self.decoded])

    @property
    def corpus_language(self) -> str:
        """``<corpus>.<language>``: what the key of :attr:`names` belongs to, whatever the split variant."""
        return f"{self.card.name}.{self.language}"

    @property
    def offered_labels(self) -> tuple[str, ...]:
        """Labels that systems choose from, in order."""
        return self.labels if self.view == "native" else self.offered

    def __len__(self) -> int:
        return len(self.decoded)

    @functools.cached_property
    def clip_ids(self) -> tuple[str, ...]:
        """Clip ids in row order."""
        return tuple(d.clip_id for d in self.decoded)

    @property
    def has_dimensions(self) -> bool:
        """Whether any clip carries a dimension."""
        return bool(np.isfinite(self.dimensions).any())

    @property
    def vote_counts(self) -> Array:
        """Listeners' votes (clips, labels + 1), last column "another name"; zeros where a clip has none."""
        counts = np.zeros((len(self), len(self.labels) + 1))
        place = {label: i for i, label in enumerate(self.labels)}
        for i, votes in enumerate(self.votes):
            for name, n in (votes or {}).items():
                counts[i, place.get(name, -1)] += n
        return counts

    @functools.cached_property
    def soft_labels(self) -> Array | None:
        """Shares of listeners' votes (clips, labels) over the task's labels, NaN where nobody voted for one of them.

        None where no clip has votes.
        """
        if not any(self.votes):
            return None
        counts = self.vote_counts[:, :-1]
        total = counts.sum(axis=1, keepdims=True)
        shares: Array = np.where(total > 0, counts / np.maximum(total, 1e-12), np.nan)
        return shares

    @property
    def identities(self) -> dict[str, tuple[str, ...]]:
        """What must stay on one side of a fold, by kind: speakers, sessions, dialogues, recordings (equal samples)."""
        return {
            "speaker": self.speakers,
            "session": self.sessions,
            "dialogue": self.dialogues,
            "recording": tuple(d.pcm_hash for d in self.decoded),
        }

    @functools.cached_property
    def tested(self) -> Task:
        """The rows that some fold tests, as a task to be scored: all of them, but for an official split.

        Hashes stay those of the whole task; training and validation rows are gone.
        """
        rows = np.sort(np.concatenate([f.test for f in self.folds]))
        if len(rows) == len(self):
            return self
        place = np.full(len(self), -1, dtype=np.intp)
        place[rows] = np.arange(len(rows))
        none = np.empty(0, dtype=np.intp)
        tested_rows = rows.tolist()
        columns: dict[str, Any] = {
            name: tuple(getattr(self, name)[i] for i in tested_rows) for name in ROW_COLUMNS
        }
        folds = tuple(Fold(f.name, none, none, place[f.test]) for f in self.folds)
        return replace(self, dimensions=self.dimensions[rows], folds=folds, **columns)

    @property
    def audible(self) -> NDArray[np.bool_]:
        """Which rows have audio."""
        return np.array([d.message is None for d in self.decoded])


ROW_COLUMNS = (
    "emotions", "speakers", "clusters", "genders", "transcripts", "decoded", "languages", "sessions", "dialogues",
    "scripts", "splits", "votes", "ratings", "parents", "sliced",
)  # fmt: skip
"""Fields of a task that hold one entry per clip, beside ``dimensions``."""
