"""Describing a prepared corpus: what is in it, how it sounds to the suite, and what its user should beware of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.corpora.confounds import between_share
from bench.corpora.contents import (
    DimensionRange,
    LabelCount,
    Lengths,
    SourceFormat,
    Votes,
    blank_columns,
    counted,
    dimension_ranges,
    distinct,
    format_of,
    label_counts,
    lengths,
    raw_cells,
    same_recordings,
    source_formats,
    vote_range,
)
from bench.corpora.decoded import CorpusTable, decode_missing, open_table
from bench.corpora.draft_card import draft_card
from bench.corpora.duplicates import Duplicate, shared_with_others
from bench.corpora.prepared import COLUMNS, METADATA, PreparedCorpus, card_of, open_corpus
from bench.corpora.soundness import (
    ClipFinding,
    ClipSound,
    examination_path,
    examine,
    in_sentences,
    keep_examination,
)
from bench.corpora.verification import Unreadable, remember_hashes, unlisted_audio
from bench.errors import DataError
from bench.protocols import SAMPLE_RATE
from bench.tasks.building import build_task, one_class
from bench.tasks.corpus_warnings import (
    broken_promises,
    card_and_confound_cautions,
    label_warnings,
    official_leaks,
    sound_warnings,
    speaker_warnings,
)


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
    raw = raw_cells(corpus)
    audible = [c.message is None for c in decoded]
    formats = [format_of(c) for c in decoded]
    seconds = np.array([c.samples / SAMPLE_RATE for c in decoded])
    per_speaker = Counter(s for s in metadata.speakers if s)
    audible_seconds = [
        (float(x), e) for x, e, ok in zip(seconds, metadata.emotions, audible, strict=True) if ok
    ]
    share = between_share(seconds, metadata.emotions)
    labels = label_counts(raw["emotion"], metadata)
    undecodable = tuple(Unreadable(c.clip_id, c.message) for c in decoded if c.message is not None)
    duplicates = same_recordings(decoded)
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
        languages=counted(metadata.languages),
        genders=counted(g for g in metadata.genders if g),
        sessions=distinct(metadata.sessions),
        dialogues=distinct(metadata.dialogues),
        scripts=distinct(metadata.scripts),
        labels=labels,
        unlabelled=sum(e is None for e in metadata.emotions),
        dimensions=dimension_ranges(raw, metadata.dimensions, card),
        votes=vote_range(metadata),
        not_carried=tuple(c for c in COLUMNS if c not in metadata.carried),
        not_known=blank_columns(metadata),
        sources=source_formats(formats),
        lengths=lengths(audible_seconds),
        length_label_share=share,
        undecodable=undecodable,
        findings=tuple(findings),
        duplicates=duplicates,
        shared=tuple(shared),
        unlisted=unlisted,
        tasks=tasks,
        warnings=(
            *broken_promises(card, len(metadata), len(per_speaker)),
            *label_warnings(card, labels),
            *in_sentences(findings, len(decoded)),
            *sound_warnings(undecodable, duplicates, unlisted, metadata),
            *speaker_warnings(metadata),
            *official_leaks(table),
            *sharing,
            *(c.sentence for c in card_and_confound_cautions(table, formats, seconds, len(per_speaker))),
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


def _outlook(table: CorpusTable, name: str) -> TaskOutlook:
    try:
        task = build_task(table, name, "zero-shot")
    except DataError as error:
        return TaskOutlook(name, 0, 0, None, str(error))
    clips, speakers = len(task), distinct(task.speakers)
    if reason := one_class(task.labels, task.has_dimensions):
        return TaskOutlook(name, clips, speakers, None, reason)
    try:
        within = build_task(table, name, "within")
    except DataError as error:
        return TaskOutlook(name, clips, speakers, None, str(error))
    return TaskOutlook(name, clips, speakers, len(within.folds), None, len(within.left_out))
