"""A task: one corpus in one language, decoded, with folds, ready to be fitted, predicted and scored."""

from __future__ import annotations

import fnmatch
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.audio_store import AudioShard, DecodedClip, decode_shard, plan_shards, read_shard
from bench.cards import CorpusCard, Protocol
from bench.corpora import Metadata, PreparedCorpus, read_metadata
from bench.errors import DataError, UsageError, nearest
from bench.folds import Fold, assemble_folds, build_folds, check_disjoint, folds_hash, groups_of
from bench.identity import digest, hash_json
from bench.labels import View, label_table
from bench.protocols import DIMENSIONS, SAMPLE_RATE, Array, Clips, Examples

VARIANTS = ("", "loso")
"""Split variants of a task id, written ``<corpus>.<language>@<variant>``."""


@dataclass(frozen=True)
class Task:
    """Clips of one corpus and language with true labels, clusters and folds. Only the engine sees this.

    Row order is that of ``metadata.csv``. ``labels`` are the corpus's own classes by canonical name (empty when it has
    none); ``dimensions`` is (clips, 3) in 0..1 with NaN; ``decoded[i].message`` says why a clip has no audio.
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
    warnings: tuple[str, ...]
    limited: bool = False
    view: View = "native"
    """Finest label space that answers are given and scored in; ``seven`` or ``four`` in transfer."""
    offered: tuple[str, ...] = ()
    """Labels on offer where they are not the corpus's own (in transfer, the classes of ``view`` that were learnt)."""

    @property
    def offered_labels(self) -> tuple[str, ...]:
        """Labels that systems choose from, in order."""
        return self.labels if self.view == "native" else self.offered

    def __len__(self) -> int:
        return len(self.decoded)

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """Clip ids in row order."""
        return tuple(d.clip_id for d in self.decoded)

    @property
    def has_dimensions(self) -> bool:
        """Whether any clip carries a dimension."""
        return bool(np.isfinite(self.dimensions).any())

    @property
    def audible(self) -> NDArray[np.bool_]:
        """Which rows have audio."""
        return np.array([d.message is None for d in self.decoded])

    def clips(self, rows: NDArray[np.intp]) -> Clips:
        """What an adapter may see of these rows: audio and no labels."""
        decoded = [self.decoded[i] for i in rows]
        return Clips(
            ids=tuple(d.clip_id for d in decoded),
            pcm_hashes=tuple(d.pcm_hash for d in decoded),
            seconds=np.array([d.samples / SAMPLE_RATE for d in decoded]),
            languages=(self.language,) * len(decoded),
            read=lambda i: decoded[i].read(),
            transcripts=tuple(self.transcripts[i] for i in rows),
        )

    def examples(self, rows: NDArray[np.intp]) -> Examples:
        """What a learner may see of these rows; rows without audio are left out."""
        rows = rows[self.audible[rows]]
        return Examples(
            clips=self.clips(rows),
            labels=tuple(self.emotions[i] for i in rows),
            dimensions=self.dimensions[rows].copy(),
            speakers=tuple(self.speakers[i] for i in rows),
        )


def split_task_name(name: str) -> tuple[str, str, str]:
    """Split ``corpus.language@variant`` into its parts.

    >>> split_task_name("indowave.id@loso")
    ('indowave', 'id', 'loso')
    """
    base, _, variant = name.partition("@")
    corpus, dot, language = base.rpartition(".")
    if not (corpus and dot and language):
        raise UsageError(f"{name!r} is no task id: expected <corpus>.<language>, like indowave.id")
    if variant not in VARIANTS:
        raise UsageError(f"{name!r}: unknown split variant {variant!r}; {nearest(variant, VARIANTS[1:])}")
    return corpus, language, variant


def match_tasks(pattern: str, known: Sequence[str]) -> list[str]:
    """Return the task names a matrix's pattern means (``*``, ``emodb-*``, ``indowave.id@loso``), keeping its variant."""
    base, at, variant = pattern.partition("@")
    return [name + at + variant for name in known if fnmatch.fnmatchcase(name, base)]


@dataclass(frozen=True)
class CorpusTable:
    """A prepared corpus, read: metadata and the shards its decoded audio lies in."""

    corpus: PreparedCorpus
    metadata: Metadata
    shards: tuple[AudioShard, ...]

    @property
    def task_names(self) -> list[str]:
        """One task per language of the corpus."""
        return [f"{self.corpus.card.name}.{language}" for language in sorted(set(self.metadata.languages))]

    def missing_shards(self) -> list[AudioShard]:
        """Shards that are yet to be decoded."""
        return [s for s in self.shards if read_shard(s) is None]

    def decoded(self, *, forecast: bool = False) -> list[DecodedClip]:
        """Return the decoded clips in row order; every shard must be there.

        With ``forecast``, clips that are yet to be decoded are stood in for by silent ones.
        """
        clips: list[DecodedClip] = []
        for shard in self.shards:
            read = read_shard(shard)
            if read is None and forecast:
                read = [
                    DecodedClip(i, "", 0, 0, shard.samples_path, "not decoded yet") for i in shard.clip_ids
                ]
            if read is None:
                raise DataError(
                    f"{self.corpus.folder}: its audio is not decoded yet, or the cache was removed meanwhile; run again"
                )
            clips += read
        return clips


def open_table(corpus: PreparedCorpus, cache: Path) -> CorpusTable:
    """Read a corpus's metadata and plan where its decoded audio lies under the cache."""
    metadata = read_metadata(corpus)
    return CorpusTable(
        corpus, metadata, tuple(plan_shards(corpus.folder, metadata.clip_ids, cache / "audio"))
    )


def decode_missing(table: CorpusTable, progress: Callable[[int], object] = int) -> int:
    """Decode what is missing, in this process. Returns how many files were read."""
    total = 0
    for shard in table.missing_shards():
        total += (done := decode_shard(shard))
        progress(done)
    return total


def build_task(
    table: CorpusTable, name: str, protocol: Protocol, *, limit: int | None = None, forecast: bool = False
) -> Task:
    """Build a task from a decoded corpus (``forecast``: also from one that is not); its folds are checked.

    Raises:
        DataError: too few speakers, or a split of the card's own that leaks (offenders named).
    """
    corpus_name, language, variant = split_task_name(name)
    metadata, card = table.metadata, table.corpus.card
    if corpus_name != card.name or f"{corpus_name}.{language}" not in table.task_names:
        raise UsageError(f"no task {name!r}; {nearest(name, table.task_names)}")
    decoded = table.decoded(forecast=forecast)
    labelled = np.isfinite(metadata.dimensions).any(axis=1) | np.array(
        [e is not None for e in metadata.emotions]
    )
    rows = np.flatnonzero(labelled & np.array([x == language for x in metadata.languages]))
    if rows.size == 0:
        raise DataError(f"{name}: none of its clips carries a category or a dimension")
    if limit is not None and limit < rows.size:
        rows = _limited(rows, metadata, limit)

    chosen: list[int] = rows.tolist()

    def pick(column: Sequence[str]) -> tuple[str, ...]:
        return tuple(column[i] for i in chosen)

    speakers, emotions = pick(metadata.speakers), tuple(metadata.emotions[i] for i in chosen)
    identities = {
        "speaker": speakers,
        "session": pick(metadata.sessions),
        "dialogue": pick(metadata.dialogues),
    }
    clips = tuple(decoded[i] for i in chosen)
    folds = _folds(
        name,
        protocol,
        card,
        variant,
        identities,
        emotions,
        pick(metadata.genders),
        pick(metadata.splits),
        np.array([c.message is None for c in clips]),
    )
    clip_ids = tuple(c.clip_id for c in clips)
    dimensions = metadata.dimensions[rows]
    clusters = _clusters(card, identities, clip_ids)
    content = hash_json(
        [
            [c.clip_id, c.pcm_hash, s, e, [None if np.isnan(x) else x for x in d]]
            for c, s, e, d in zip(clips, speakers, emotions, dimensions.tolist(), strict=True)
        ]
    )
    return Task(
        name=name,
        card=card,
        language=language,
        protocol=protocol,
        labels=label_table().ordered(e for e in emotions if e),
        emotions=emotions,
        dimensions=dimensions,
        speakers=speakers,
        clusters=clusters,
        genders=pick(metadata.genders),
        transcripts=pick(metadata.transcripts),
        decoded=clips,
        folds=tuple(folds),
        folds_hash=folds_hash(clip_ids, folds),
        content_hash=content,
        warnings=tuple(_warnings(card, clips, speakers, clusters)),
        limited=limit is not None,
    )


def _folds(
    name: str,
    protocol: Protocol,
    card: CorpusCard,
    variant: str,
    identities: Mapping[str, Sequence[str]],
    emotions: Sequence[str | None],
    genders: Sequence[str],
    splits: Sequence[str],
    audible: NDArray[np.bool_],
) -> list[Fold]:
    everything = np.arange(len(emotions))
    if protocol != "within":
        return [Fold("all", everything[:0], everything[:0], everything)]
    without = sum(not s for s in identities["speaker"])
    if without:
        raise DataError(
            f"{name}: {without} clips have no speaker id, so no speaker-disjoint split exists; it can serve zero-shot systems only"
        )
    groups = groups_of(list(identities.values()))
    usable = audible if audible.any() else None
    if "split" in card.columns and variant != "loso":
        folds = _own_folds(name, groups, splits, usable)
    else:
        folds = build_folds(
            groups,
            [emotions, genders],
            "loso" if variant == "loso" else card.split.folds,
            what=name,
            usable=usable,
        )
    check_disjoint(folds, dict(identities), what=name)
    return folds


def _own_folds(
    name: str, groups: NDArray[np.intp], splits: Sequence[str], usable: NDArray[np.bool_] | None
) -> list[Fold]:
    """Folds as the card's ``split`` column gives them: each value is one test fold."""
    names = sorted(set(splits))
    if "" in names or len(names) < 3:
        raise DataError(
            f"{name}: the split column must name at least three folds and leave no clip out; found {', '.join(map(repr, names[:6]))}"
        )
    return assemble_folds(groups, np.array([names.index(s) for s in splits]), names, usable)


def _clusters(
    card: CorpusCard, identities: Mapping[str, Sequence[str]], clip_ids: Sequence[str]
) -> tuple[str, ...]:
    """What is resampled: the card's cluster, else the speaker; a clip with neither is a cluster of its own."""
    columns = zip(identities[card.cluster], identities["speaker"], clip_ids, strict=True)
    return tuple(value or speaker or f"clip/{clip}" for value, speaker, clip in columns)


def split_speakers(speakers: Sequence[str], clusters: Sequence[str]) -> int:
    """Count the speakers whose clips stand in more than one cluster."""
    owned: dict[str, set[str]] = defaultdict(set)
    for speaker, cluster in zip(speakers, clusters, strict=True):
        if speaker:
            owned[speaker].add(cluster)
    return sum(len(c) > 1 for c in owned.values())


def _limited(rows: NDArray[np.intp], metadata: Metadata, limit: int) -> NDArray[np.intp]:
    """Choose ``limit`` rows evenly over speakers and labels, the same ones every time."""
    ranked: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for i in sorted(rows.tolist(), key=lambda i: digest(metadata.clip_ids[i])):
        ranked[metadata.speakers[i], metadata.emotions[i]].append(i)
    turns = sorted(
        (turn, digest(metadata.clip_ids[i]), i) for group in ranked.values() for turn, i in enumerate(group)
    )
    return np.array(sorted(i for _, _, i in turns[:limit]), dtype=np.intp)


def _warnings(
    card: CorpusCard, clips: Sequence[DecodedClip], speakers: Sequence[str], clusters: Sequence[str]
) -> list[str]:
    found = list(card.traps)
    if (finer := split_speakers(speakers, clusters)) > 0:
        found.append(
            f"{finer} speaker(s) are cut into several clusters ({card.cluster}): intervals are too narrow, and say "
            "nothing about other speakers"
        )
    silent = [c for c in clips if c.message is not None]
    if silent:
        found.append(
            f"{len(silent)} clip(s) cannot be decoded, first {silent[0].clip_id!r}: {silent[0].message}"
        )
    heard = Counter(c.pcm_hash for c in clips if c.message is None)
    owners: dict[str, set[str]] = defaultdict(set)
    for clip, speaker in zip(clips, speakers, strict=True):
        owners[clip.pcm_hash].add(speaker)
    twice = [h for h, n in heard.items() if n > 1]
    if twice:
        across = sum(len(owners[h]) > 1 for h in twice)
        found.append(
            f"{len(twice)} recording(s) stand under several clip ids, {across} of them under several speakers"
        )
    n_speakers = len(set(speakers))
    if 0 < n_speakers < 20:
        found.append(f"only {n_speakers} speakers: intervals are wide and few differences can be told apart")
    unit = [d for d in DIMENSIONS if card.scale_of(d)]
    if card.synthetic and unit:
        found.append("synthetic sounds: results say how the suite works, nothing about speech")
    return found
