"""Describing a prepared corpus: what is in it, how it sounds to the suite, and what its user should beware of."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.audio.store import DecodedClip
from bench.cards.caution import Caution, said_once
from bench.cards.corpus import CorpusCard
from bench.corpora.confounds import between_share, find_confounds
from bench.corpora.decoded import CorpusTable, decode_missing, open_table
from bench.corpora.draft_card import draft_card
from bench.corpora.duplicates import Duplicate, shared_with_others
from bench.corpora.metadata import Metadata, number_of, read_rows
from bench.corpora.prepared import COLUMNS, METADATA, PreparedCorpus, card_of, open_corpus
from bench.corpora.soundness import (
    ClipFinding,
    ClipSound,
    examination_path,
    examine,
    in_sentences,
    keep_examination,
    undecodable_sentences,
)
from bench.corpora.verification import Unreadable, remember_hashes, unlisted_audio
from bench.errors import DataError
from bench.protocols import DIMENSIONS, SAMPLE_RATE, Array
from bench.tasks.building import build_task, few_speakers, one_class
from bench.tasks.splits import official_sides


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


@dataclass(frozen=True)
class TaskOutlook:
    """A task of the corpus: its folds, or why it can have none."""

    name: str
    clips: int
    speakers: int
    folds: int | None
    problem: str | None
    left_out: int = 0
    """Clips that stand in no fold because nobody knows their speaker."""


@dataclass(frozen=True)
class CorpusReport:
    """Everything ``serbench corpus describe`` says."""

    name: str
    folder: str
    card: Literal["own", "shipped", "drafted"]
    clips: int
    minutes: float
    speakers: int
    clips_without_speaker: int
    clips_per_speaker: tuple[int, int] | None
    promised_clips: int | None
    promised_speakers: int | None
    languages: Mapping[str, int]
    genders: Mapping[str, int]
    sessions: int
    dialogues: int
    scripts: int
    labels: tuple[LabelCount, ...]
    unlabelled: int
    dimensions: tuple[DimensionRange, ...]
    votes: Votes | None
    not_carried: tuple[str, ...]
    """Our columns that the table lacks: whether their owner knows more is not said."""
    not_known: tuple[str, ...]
    """Our columns that the table has and leaves blank for every clip."""
    sources: tuple[SourceFormat, ...]
    lengths: tuple[Lengths, ...]
    length_label_share: float | None
    """Share of the variance of log clip length that lies between labels (η², 0..1)."""
    undecodable: tuple[Unreadable, ...]
    findings: tuple[ClipFinding, ...]
    """What is odd about the sound of single clips: destroyed, silent, cut off, far too long."""
    duplicates: tuple[tuple[str, ...], ...]
    """Clip ids that hold one and the same sound."""
    shared: tuple[Duplicate, ...]
    """Recordings that stand twice otherwise: cut or processed within the corpus, or in another corpus at hand."""
    unlisted: tuple[str, ...]
    tasks: tuple[TaskOutlook, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def describe_corpus(
    name_or_dir: str, folders: Sequence[Path], cache: Path, progress: Callable[[int], object] = int
) -> CorpusReport:
    """Read, decode (once, into the cache) and describe a corpus; a folder without a card is read with a drafted one.

    Args:
        name_or_dir: a corpus by its name or folder.
        folders: where prepared corpora lie.
        cache: where decoded audio is kept.
        progress: told of every number of clips that was decoded.

    Raises:
        UsageError, DataError: no such corpus, or metadata that cannot be read; the message names file and line.
    """
    corpus, origin = _open(name_or_dir, folders)
    table = open_table(corpus, cache)
    decode_missing(table, progress, examined=True)
    remember_hashes(table, cache)
    metadata, card, decoded = table.metadata, corpus.card, table.decoded()
    raw = _raw_cells(corpus)
    audible = [c.message is None for c in decoded]
    formats = [_format(c) for c in decoded]
    seconds = np.array([c.samples / SAMPLE_RATE for c in decoded])
    per_speaker = Counter(s for s in metadata.speakers if s)
    audible_seconds = [
        (float(x), e) for x, e, ok in zip(seconds, metadata.emotions, audible, strict=True) if ok
    ]
    share = between_share(seconds, metadata.emotions)
    labels = _labels(raw["emotion"], metadata)
    undecodable = tuple(Unreadable(c.clip_id, c.message) for c in decoded if c.message is not None)
    duplicates = _duplicates(decoded)
    findings = examine([ClipSound.of(c, s) for c, s in zip(decoded, metadata.seconds, strict=True)])
    keep_examination(examination_path(corpus.folder, card.name, cache), card.name, len(decoded), findings)
    tasks = tuple(_outlook(table, name) for name in table.task_names)
    unlisted = unlisted_audio(table)
    shared, sharing = shared_with_others(table, folders, cache)
    return CorpusReport(
        name=card.name,
        folder=str(corpus.folder),
        card=origin,
        clips=len(metadata),
        minutes=round(float(seconds.sum()) / 60, 3),
        speakers=len(per_speaker),
        clips_without_speaker=sum(not s for s in metadata.speakers),
        clips_per_speaker=(min(per_speaker.values()), max(per_speaker.values())) if per_speaker else None,
        promised_clips=card.clips,
        promised_speakers=card.speakers,
        languages=_counted(metadata.languages),
        genders=_counted(g for g in metadata.genders if g),
        sessions=_distinct(metadata.sessions),
        dialogues=_distinct(metadata.dialogues),
        scripts=_distinct(metadata.scripts),
        labels=labels,
        unlabelled=sum(e is None for e in metadata.emotions),
        dimensions=_dimensions(raw, metadata.dimensions, card),
        votes=_votes(metadata),
        not_carried=tuple(c for c in COLUMNS if c not in metadata.carried),
        not_known=_blank_columns(metadata),
        sources=_sources(formats),
        lengths=_lengths(audible_seconds),
        length_label_share=share,
        undecodable=undecodable,
        findings=tuple(findings),
        duplicates=duplicates,
        shared=tuple(shared),
        unlisted=unlisted,
        tasks=tasks,
        warnings=(
            *_broken_promises(card, len(metadata), len(per_speaker)),
            *_label_warnings(card, labels),
            *in_sentences(findings, len(decoded)),
            *_sound_warnings(undecodable, duplicates, unlisted, metadata),
            *_speaker_warnings(metadata),
            *_official_leaks(table),
            *sharing,
            *(c.sentence for c in _cautions(table, formats, seconds, len(per_speaker))),
        ),
    )


def _open(
    name_or_dir: str, folders: Sequence[Path]
) -> tuple[PreparedCorpus, Literal["own", "shipped", "drafted"]]:
    folder = Path(name_or_dir)
    if (folder / METADATA).exists() and card_of(folder) is None:
        return PreparedCorpus(draft_card(folder).card, folder), "drafted"
    corpus = open_corpus(name_or_dir, folders)
    own = [*corpus.folder.glob("*.yaml"), *corpus.folder.glob("*.yml")]
    return corpus, "own" if own else "shipped"


def _raw_cells(corpus: PreparedCorpus) -> dict[str, list[str]]:
    """Cells of the label columns as they are written; "" where the column is not there."""
    columns, rows = read_rows(corpus.folder / METADATA, corpus.card)
    columns_read = ("emotion", *DIMENSIONS)
    return {
        c: [(row[columns[c]] or "").strip() if c in columns else "" for row in rows] for c in columns_read
    }


def _blank_columns(metadata: Metadata) -> tuple[str, ...]:
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


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _distinct(values: Iterable[str]) -> int:
    return len({v for v in values if v})


def _labels(raw: Sequence[str], metadata: Metadata) -> tuple[LabelCount, ...]:
    clips = Counter(zip(raw, metadata.emotions, strict=True))
    speakers: dict[str, set[str]] = defaultdict(set)
    for value, speaker in zip(raw, metadata.speakers, strict=True):
        speakers[value].add(speaker)
    return tuple(
        LabelCount(value, canonical, n, _distinct(speakers[value]))
        for (value, canonical), n in sorted(clips.items(), key=lambda item: (-item[1], item[0][0]))
        if value
    )


def _dimensions(
    raw: Mapping[str, Sequence[str]], values: Array, card: CorpusCard
) -> tuple[DimensionRange, ...]:
    found = []
    for dimension, column in zip(DIMENSIONS, values.T, strict=True):
        known = column[np.isfinite(column)]
        scale = card.scale_of(dimension)
        if known.size and scale is not None:
            numbers = [number_of(c) for c in raw[dimension] if c]
            inside = (round(float(x), 4) for x in (known.min(), known.mean(), known.max()))
            found.append(DimensionRange(dimension, known.size, min(numbers), max(numbers), scale, *inside))
    return tuple(found)


def _votes(metadata: Metadata) -> Votes | None:
    sums = [sum(v.values()) for v in metadata.votes if v is not None]
    return Votes(len(sums), min(sums), max(sums)) if sums else None


def _lengths(audible_seconds: Sequence[tuple[float, str | None]]) -> tuple[Lengths, ...]:
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


def _columns(metadata: Metadata, formats: Sequence[tuple[str, int, int] | None]) -> dict[str, Sequence[str]]:
    """What might tell a label without any emotion being heard."""
    return {
        "speaker": metadata.speakers,
        "session": metadata.sessions,
        "gender": metadata.genders,
        "script": metadata.scripts,
        "file format": [f"{f[0]} {f[1]} Hz, {f[2]} ch" if f else "" for f in formats],
    }


def _sources(formats: Sequence[tuple[str, int, int] | None]) -> tuple[SourceFormat, ...]:
    counted = Counter(f for f in formats if f is not None)
    return tuple(SourceFormat(*key, clips) for key, clips in sorted(counted.items()))


def _format(clip: DecodedClip) -> tuple[str, int, int] | None:
    """Suffix, rate and channels of a clip's file; None where it gives no audio."""
    if clip.message is not None or clip.examined is None:
        return None
    return Path(clip.clip_id).suffix.lower(), clip.examined.rates[0], clip.examined.channels[0]


def _duplicates(decoded: Sequence[DecodedClip]) -> tuple[tuple[str, ...], ...]:
    same: dict[str, list[str]] = defaultdict(list)
    for clip in decoded:
        if clip.message is None:
            same[clip.pcm_hash].append(clip.clip_id)
    return tuple(tuple(ids) for ids in same.values() if len(ids) > 1)


def _outlook(table: CorpusTable, name: str) -> TaskOutlook:
    try:
        task = build_task(table, name, "zero-shot")
    except DataError as error:
        return TaskOutlook(name, 0, 0, None, str(error))
    clips, speakers = len(task), _distinct(task.speakers)
    if reason := one_class(task.labels, task.has_dimensions):
        return TaskOutlook(name, clips, speakers, None, reason)
    try:
        within = build_task(table, name, "within")
    except DataError as error:
        return TaskOutlook(name, clips, speakers, None, str(error))
    return TaskOutlook(name, clips, speakers, len(within.folds), None, len(within.left_out))


def _cautions(
    table: CorpusTable, formats: Sequence[tuple[str, int, int] | None], seconds: Array, speakers: int
) -> tuple[Caution, ...]:
    """What its card warns of and what was measured, each thing once."""
    metadata = table.metadata
    confounds = find_confounds(metadata.emotions, _columns(metadata, formats), seconds, metadata.speakers)
    return said_once([*few_speakers(speakers), *confounds], table.corpus.card.told)


def _official_leaks(table: CorpusTable) -> Iterable[str]:
    """Who stands on several sides of the published split, by name."""
    if official_sides(table.metadata.splits) is None:
        return
    for name in table.task_names:
        try:
            task = build_task(table, f"{name}@official", "within")
        except DataError as error:
            yield str(error)
            continue
        yield from (f"{task.name} leaks and gives no verdict, {leak.sentence}" for leak in task.leaks)


def _broken_promises(card: CorpusCard, clips: int, speakers: int) -> Iterable[str]:
    if card.clips is not None and card.clips != clips:
        yield f"the card promises {card.clips} clips, the folder lists {clips}"
    if card.speakers is not None and card.speakers != speakers:
        yield f"the card promises {card.speakers} speakers, the folder has {speakers}"


def _label_warnings(card: CorpusCard, labels: Sequence[LabelCount]) -> Iterable[str]:
    absent = sorted(set(card.labels) - {x.raw for x in labels})
    if absent:
        yield f"the card maps labels that no clip carries: {', '.join(absent)}"
    left_out = [x for x in labels if x.canonical is None]
    if left_out:
        names = ", ".join(f"{x.raw} ({x.clips})" for x in left_out)
        yield f"labels without a canonical name, whose clips carry no category: {names}"


def _sound_warnings(
    undecodable: Sequence[Unreadable],
    duplicates: Sequence[tuple[str, ...]],
    unlisted: Sequence[str],
    metadata: Metadata,
) -> Iterable[str]:
    yield from undecodable_sentences([(u.clip_id, u.reason) for u in undecodable], len(metadata))
    if duplicates:
        owner = dict(zip(metadata.clip_ids, metadata.speakers, strict=True))
        label = dict(zip(metadata.clip_ids, metadata.emotions, strict=True))
        speakers = sum(len({owner[i] for i in ids}) > 1 for ids in duplicates)
        labels = sum(len({label[i] for i in ids}) > 1 for ids in duplicates)
        yield (
            f"{len(duplicates)} recording(s) stand under several clip ids, {speakers} of them under several speakers, "
            f"{labels} under several labels; first: {', '.join(duplicates[0])}"
        )
    if unlisted:
        yield f"{len(unlisted)} audio file(s) are not listed in {METADATA}, first {unlisted[0]!r}"


def _speaker_warnings(metadata: Metadata) -> Iterable[str]:
    without = sum(not s for s in metadata.speakers)
    if without:
        yield (
            f"{without} of {len(metadata)} clip(s) have no speaker id: they are left out of every split, and serve zero-shot "
            "systems and transfer tests"
        )
    yield from (note.sentence for note in metadata.notes)
