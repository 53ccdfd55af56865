"""Building a task from a decoded corpus: rows chosen, folds made and checked, everything hashed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.audio.store import DecodedClip
from bench.cards.caution import Caution, said_once
from bench.cards.corpus import CorpusCard, Protocol
from bench.cards.labels import label_table
from bench.corpora.confounds import find_confounds
from bench.corpora.decoded import NOT_YET, CorpusTable
from bench.corpora.identities import IdentityNote
from bench.corpora.metadata import Metadata
from bench.corpora.soundness import ClipSound, examine, in_sentences, undecodable_sentences
from bench.errors import DataError, UsageError, nearest
from bench.protocols import DIMENSIONS, SAMPLE_RATE
from bench.storage.hashing import digest, hash_json
from bench.tasks.folds import folds_hash
from bench.tasks.names import split_task_name
from bench.tasks.script_folds import same_sentences
from bench.tasks.splits import SplitRows, official_sides, split_rows
from bench.tasks.task import Task

FEW_SPEAKERS = 20
_Cell = TypeVar("_Cell")


def build_task(
    table: CorpusTable, name: str, protocol: Protocol, *, limit: int | None = None, forecast: bool = False
) -> Task:
    """Build a task from a decoded corpus; its folds are checked.

    Args:
        table: the corpus: its metadata, and its decoded audio.
        name: ``<corpus>.<language>``, with a split variant behind ``@`` where one is meant.
        protocol: ``within`` has folds to learn from; ``zero-shot`` and ``transfer`` test all clips.
        limit: at most so many clips, spread evenly over speakers and labels.
        forecast: build it also where audio is not decoded yet.

    Returns:
        The task: rows in the order of ``metadata.csv``, without those that carry neither a category nor a dimension.

    Raises:
        UsageError: no such task in this corpus.
        DataError: too few speakers, or a split that leaks and is not the official one (offenders named).
    """
    corpus_name, language, variant = split_task_name(name)
    metadata, card = table.metadata, table.corpus.card
    if corpus_name != card.name or f"{corpus_name}.{language}" not in table.task_names:
        raise UsageError(f"no task {name!r}; {nearest(name, table.task_names)}")
    decoded = table.decoded(forecast=forecast)
    labelled = np.isfinite(metadata.dimensions).any(axis=1) | np.array(
        [e is not None for e in metadata.emotions]
    )
    spoken = np.array([x == language for x in metadata.languages])
    rows = np.flatnonzero(labelled & spoken)
    if rows.size == 0:
        raise DataError(f"{name}: none of its clips carries a category or a dimension")
    crossing = variant == "cross-language" and protocol == "within"
    if crossing:
        rows = np.flatnonzero(labelled)
    left_out: list[int] = []
    if protocol == "within":
        rows, left_out = without_nameless(rows, metadata, official=variant == "official")
    if limit is not None and limit < rows.size:
        rows = _limited(rows, metadata, limit)
    if variant == "clips" and not any(metadata.parents[i] for i in rows):
        raise DataError(
            f"{name}: its corpus has no column parent that names the clip each segment was cut from, so there is nothing to put together; use {corpus_name}.{language}"
        )
    chosen: list[int] = rows.tolist()

    def pick(column: Sequence[_Cell]) -> tuple[_Cell, ...]:
        return tuple(map(column.__getitem__, chosen))

    speakers, emotions, clips = pick(metadata.speakers), pick(metadata.emotions), pick(decoded)
    clip_ids, scripts, splits = pick(metadata.clip_ids), pick(metadata.scripts), pick(metadata.splits)
    genders, transcripts = pick(metadata.genders), pick(metadata.transcripts)
    if variant == "script-disjoint":
        scripts = same_sentences(scripts, transcripts)
    identities = {
        "speaker": speakers,
        "session": pick(metadata.sessions),
        "dialogue": pick(metadata.dialogues),
        "recording": tuple(c.pcm_hash for c in clips),
    }
    audible = np.array([c.message is None for c in clips])
    split = split_rows(
        name,
        protocol,
        card,
        variant,
        SplitRows(
            clip_ids=clip_ids,
            identities=identities,
            emotions=emotions,
            genders=genders,
            scripts=scripts,
            splits=splits,
            audible=audible,
            foreign=np.array([metadata.languages[i] != language for i in chosen]) if crossing else None,
        ),
    )
    dimensions = metadata.dimensions[rows]
    votes = pick(metadata.votes)
    clusters = _clusters(card, identities, clip_ids)
    confounds = find_confounds(
        emotions,
        {"speaker": speakers, "session": identities["session"], "gender": genders, "script": scripts},
        [c.samples / SAMPLE_RATE for c in clips],
        speakers,
    )
    languages = pick(metadata.languages) if crossing else (language,) * len(clips)
    nameless = tuple(metadata.clip_ids[i] for i in left_out)
    badges = split.badges
    if nameless and variant == "official":
        badges = (*badges, f"without {len(nameless)} clips of unknown speakers")
    if crossing:
        badges = (*badges, f"learnt in {', '.join(sorted(set(languages) - {language}))}")
    content = digest(
        hash_json([clip_ids, identities["recording"], speakers, emotions, transcripts]),
        np.where(np.isnan(dimensions), -1.0, dimensions).astype("<f8").tobytes(),
        *([hash_json([v and sorted(v.items()) for v in votes])] if any(votes) else []),
        *([hash_json(languages)] if crossing else []),
        *([hash_json(["left out", nameless, [decoded[i].pcm_hash for i in left_out]])] if nameless else []),
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
        genders=genders,
        transcripts=transcripts,
        decoded=clips,
        folds=split.folds,
        folds_hash=folds_hash(clip_ids, split.folds),
        content_hash=content,
        warnings=said_once(
            [
                *split.warnings,
                *nameless_cautions(len(nameless), len(nameless) + len(rows)),
                *(spelling_caution(note, len(rows)) for note in metadata.notes),
                *_warnings(card, clips, speakers, clusters),
                *confounds,
            ],
            card.told,
        ),
        languages=languages,
        sessions=identities["session"],
        dialogues=identities["dialogue"],
        scripts=scripts,
        splits=splits,
        votes=votes,
        ratings=pick(metadata.ratings),
        parents=pick(metadata.parents),
        by_clip=variant == "clips",
        badges=badges,
        leaks=split.leaks,
        left_out=nameless,
        sliced=pick(metadata.sliced),
        carried=metadata.carried,
        limited=limit is not None,
        audio_names=None if forecast else table.names[language],
    )


def one_class(labels: Sequence[str], has_dimensions: bool) -> str | None:
    """Say why a task of so many classes cannot be scored; None where it can.

    Args:
        labels: its classes.
        has_dimensions: whether any dimension is rated.

    >>> one_class(["sad"], False)[:40], one_class(["sad", "happy"], False), one_class([], True)
    ("all its labelled clips are 'sad', and no", None, None)
    """
    if has_dimensions or len(labels) > 1:
        return None
    found = f"all its labelled clips are {labels[0]!r}" if labels else "none of its clips carries a category"
    return (
        f"{found}, and no dimension is rated: with fewer than two classes there is nothing to tell apart. Map the other labels "
        "on the card under 'labels:' (classes that the label table does not have stand under 'classes:')"
    )


def without_nameless(
    rows: NDArray[np.intp], metadata: Metadata, *, official: bool
) -> tuple[NDArray[np.intp], list[int]]:
    """Leave out of a split the clips whose speaker nobody knows: any of the others may be heard in them.

    Where no speaker is known, or an official split would lose a side, nothing is left out, and the split itself says what it lacks.

    Args:
        rows: of the task.
        metadata: with their speakers, and sides of the official split.
        official: whether it is the published split.

    Returns:
        The rows that stay, and those that are left out.
    """
    named = np.array([bool(metadata.speakers[i]) for i in rows.tolist()], dtype=bool)
    if named.all() or not named.any():
        return rows, []
    if official:
        sides = official_sides([metadata.splits[i] for i in rows.tolist()])
        kept = {side for side, stays in zip(sides or (), named.tolist(), strict=bool(sides)) if stays}
        if sides is None or not {"train", "test"} <= kept:
            return rows, []
    return rows[named], rows[~named].tolist()


def nameless_cautions(left_out: int, clips: int) -> list[Caution]:
    """Say how many of a task's clips name no speaker and are left out of its folds; nothing where none is."""
    if not left_out:
        return []
    text = (
        f"{left_out} of {clips} clips name no speaker and are left out of the folds: anybody may be heard in them. They "
        "serve zero-shot and transfer tests"
    )
    return [Caution(text=text, badge="unknown speakers", holds="within", share=left_out / clips)]


def spelling_caution(note: IdentityNote, clips: int) -> Caution:
    """Say how names were read otherwise than written, without the names.

    >>> spelling_caution(IdentityNote("speaker", "spelling", ("1", "1.0"), 1, 4), 8).share
    0.5
    """
    return Caution(text=note.nameless, badge="spelling of names", share=min(note.clips / clips, 1.0))


def _sound_cautions(clips: Sequence[DecodedClip]) -> list[Caution]:
    """What gives no sound, and what is odd about the rest; nothing of clips that are yet to be decoded."""
    known = [c for c in clips if c.message != NOT_YET]
    failed = [(c.clip_id, c.message) for c in known if c.message is not None]
    found = examine([ClipSound.of(c) for c in known])
    cautions = [
        Caution(text=text, badge="undecodable clips", share=len(failed) / len(clips))
        for text in undecodable_sentences(failed, len(known))
    ]
    share = len({f.clip for f in found}) / len(clips)
    return cautions + [
        Caution(text=t, badge="odd sound", share=share) for t in in_sentences(found, len(known))
    ]


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
) -> list[Caution]:
    found = []
    if (finer := split_speakers(speakers, clusters)) > 0:
        found.append(
            Caution(
                text=f"{finer} speaker(s) are cut into several clusters ({card.cluster}): intervals are too narrow, and say "
                "nothing about other speakers",
                badge="cut speakers",
            )
        )
    found += _sound_cautions(clips)
    copies = Counter(c.pcm_hash for c in clips if c.message is None)
    twice = {h for h, n in copies.items() if n > 1}
    if twice:
        owners: dict[str, set[str]] = defaultdict(set)
        for clip, speaker in zip(clips, speakers, strict=True):
            if clip.pcm_hash in twice:
                owners[clip.pcm_hash].add(speaker)
        across = sum(len(names) > 1 for names in owners.values())
        found.append(
            Caution(
                text=f"{len(twice)} recording(s) stand under several clip ids, {across} of them under several speakers",
                badge="copies",
                share=sum(copies[h] for h in twice) / len(clips),
            )
        )
    found += few_speakers(len(set(speakers) - {""}))
    unit = [d for d in DIMENSIONS if card.scale_of(d)]
    if card.synthetic and unit:
        found.append(
            Caution(
                text="synthetic sounds: results say how the suite works, nothing about speech",
                badge="synthetic",
            )
        )
    return found


def few_speakers(speakers: int) -> list[Caution]:
    """Warn of so few speakers that hardly any difference can be shown.

    >>> [c.badge for c in few_speakers(8)], few_speakers(40)
    (['few speakers'], [])
    """
    if not 0 < speakers < FEW_SPEAKERS:
        return []
    text = f"only {speakers} speaker{'s' if speakers > 1 else ''}: intervals are wide and few differences can be told apart"
    return [Caution(text=text, badge="few speakers")]
