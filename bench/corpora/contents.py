"""What a prepared corpus holds, counted: labels, lengths, ratings, votes, formats of its files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.audio.store import DecodedClip
from bench.cards.corpus import CorpusCard
from bench.corpora.metadata import Metadata, number_of, read_rows
from bench.corpora.prepared import METADATA, PreparedCorpus
from bench.protocols import DIMENSIONS, Array


@dataclass(frozen=True)
class LabelCount:
    """A raw label, the canonical name it is mapped to (None: left out), its clips and speakers."""

    raw: str
    canonical: str | None
    clips: int
    speakers: int


@dataclass(frozen=True)
class Lengths:
    """Quantiles of clip length in seconds; ``label`` is a canonical name, or None for all clips."""

    label: str | None
    clips: int
    shortest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    longest: float


@dataclass(frozen=True)
class DimensionRange:
    """A dimension: raw range found, the scale it is read with, and where that puts it in 0..1."""

    dimension: str
    clips: int
    raw_low: float
    raw_high: float
    scale: tuple[float, float]
    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class Votes:
    """Listener votes: clips that have some, and the fewest and most votes on such a clip."""

    clips: int
    fewest: float
    most: float


@dataclass(frozen=True)
class SourceFormat:
    """Rate in hertz and channels of audio files as they lie on the disk, before decoding."""

    suffix: str
    rate: int
    channels: int
    clips: int


def raw_cells(corpus: PreparedCorpus) -> dict[str, list[str]]:
    """Cells of the label columns as they are written; "" where the column is not there."""
    columns, rows = read_rows(corpus.folder / METADATA, corpus.card)
    columns_read = ("emotion", *DIMENSIONS)
    return {
        c: [(row[columns[c]] or "").strip() if c in columns else "" for row in rows] for c in columns_read
    }


def blank_columns(metadata: Metadata) -> tuple[str, ...]:
    """Columns that are there and tell nothing of any clip; labels and languages have lines of their own."""
    columns: dict[str, Sequence[object]] = {
        "speaker": metadata.speakers,
        **{d: np.isfinite(x).tolist() for d, x in zip(DIMENSIONS, metadata.dimensions.T, strict=True)},
        "transcript": metadata.transcripts,
        "gender": metadata.genders,
        "soft_votes": metadata.votes,
        "session": metadata.sessions,
        "dialogue": metadata.dialogues,
        "script": metadata.scripts,
        "parent": metadata.parents,
        "split": metadata.splits,
        "ratings": metadata.ratings,
    }
    return tuple(c for c, values in columns.items() if c in metadata.carried and not any(values))


def counted(values: Iterable[str]) -> dict[str, int]:
    """How often each value stands there, in the order of the values."""
    return dict(sorted(Counter(values).items()))


def distinct(values: Iterable[str]) -> int:
    """How many different values there are, blanks left out."""
    return len({v for v in values if v})


def label_counts(raw: Sequence[str], metadata: Metadata) -> tuple[LabelCount, ...]:
    """Count clips and speakers of each label as it is written (:func:`raw_cells`), the most frequent first."""
    clips = Counter(zip(raw, metadata.emotions, strict=True))
    speakers: dict[str, set[str]] = defaultdict(set)
    for value, speaker in zip(raw, metadata.speakers, strict=True):
        speakers[value].add(speaker)
    return tuple(
        LabelCount(value, canonical, n, distinct(speakers[value]))
        for (value, canonical), n in sorted(clips.items(), key=lambda item: (-item[1], item[0][0]))
        if value
    )


def dimension_ranges(
    raw: Mapping[str, Sequence[str]], values: Array, card: CorpusCard
) -> tuple[DimensionRange, ...]:
    """Ranges of the rated dimensions.

    Args:
        raw: cells as they are written (:func:`raw_cells`).
        values: what they were read as, 0..1 (clips, 3); NaN where nobody rated.
        card: says on which scale they were rated.
    """
    found = []
    for dimension, column in zip(DIMENSIONS, values.T, strict=True):
        known = column[np.isfinite(column)]
        scale = card.scale_of(dimension)
        if known.size and scale is not None:
            numbers = [number_of(c) for c in raw[dimension] if c]
            inside = (round(float(x), 4) for x in (known.min(), known.mean(), known.max()))
            found.append(DimensionRange(dimension, known.size, min(numbers), max(numbers), scale, *inside))
    return tuple(found)


def vote_range(metadata: Metadata) -> Votes | None:
    """How many listeners voted on a clip; None where no votes are known."""
    sums = [sum(v.values()) for v in metadata.votes if v is not None]
    return Votes(len(sums), min(sums), max(sums)) if sums else None


def lengths(audible_seconds: Sequence[tuple[float, str | None]]) -> tuple[Lengths, ...]:
    """Quantiles over all audible clips, then per label in the order of the names."""
    groups: dict[str | None, list[float]] = {None: [x for x, _ in audible_seconds]}
    for name in sorted({e for _, e in audible_seconds if e is not None}):
        groups[name] = [x for x, e in audible_seconds if e == name]
    rows = []
    for label, values in groups.items():
        if values:
            quantiles = (round(float(q), 3) for q in np.quantile(values, (0, 0.25, 0.5, 0.75, 1)))
            rows.append(Lengths(label, len(values), *quantiles))
    return tuple(rows)


def format_of(clip: DecodedClip) -> tuple[str, int, int] | None:
    """Suffix, rate and channels of a clip's file; None where it gives no audio."""
    if clip.message is not None or clip.examined is None:
        return None
    return Path(clip.clip_id).suffix.lower(), clip.examined.rates[0], clip.examined.channels[0]


def source_formats(formats: Sequence[tuple[str, int, int] | None]) -> tuple[SourceFormat, ...]:
    """Count clips of each format (:func:`format_of`)."""
    clips = Counter(f for f in formats if f is not None)
    return tuple(SourceFormat(*key, n) for key, n in sorted(clips.items()))


def same_recordings(decoded: Sequence[DecodedClip]) -> tuple[tuple[str, ...], ...]:
    """Ids of clips that hold the same samples, group by group."""
    same: dict[str, list[str]] = defaultdict(list)
    for clip in decoded:
        if clip.message is None:
            same[clip.pcm_hash].append(clip.clip_id)
    return tuple(tuple(ids) for ids in same.values() if len(ids) > 1)
