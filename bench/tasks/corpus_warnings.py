"""What the user of a corpus should beware of, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.cards.caution import Caution, said_once
from bench.cards.corpus import CorpusCard
from bench.corpora.confounds import find_confounds
from bench.corpora.contents import LabelCount
from bench.corpora.decoded import CorpusTable
from bench.corpora.metadata import Metadata
from bench.corpora.prepared import METADATA
from bench.corpora.soundness import undecodable_sentences
from bench.corpora.verification import Unreadable
from bench.errors import DataError
from bench.protocols import Array
from bench.tasks.building import build_task, few_speakers
from bench.tasks.splits import official_sides


def broken_promises(card: CorpusCard, clips: int, speakers: int) -> Iterable[str]:
    """What the folder holds otherwise than its card says.

    Args:
        card: the corpus's.
        clips: how many the folder lists.
        speakers: how many of them are known.
    """
    if card.clips is not None and card.clips != clips:
        yield f"the card promises {card.clips} clips, the folder lists {clips}"
    if card.speakers is not None and card.speakers != speakers:
        yield f"the card promises {card.speakers} speakers, the folder has {speakers}"


def label_warnings(card: CorpusCard, labels: Sequence[LabelCount]) -> Iterable[str]:
    """Labels that the card knows and no clip has, and the other way round."""
    absent = sorted(set(card.labels) - {x.raw for x in labels})
    if absent:
        yield f"the card maps labels that no clip carries: {', '.join(absent)}"
    left_out = [x for x in labels if x.canonical is None]
    if left_out:
        names = ", ".join(f"{x.raw} ({x.clips})" for x in left_out)
        yield f"labels without a canonical name, whose clips carry no category: {names}"


def sound_warnings(
    undecodable: Sequence[Unreadable],
    duplicates: Sequence[tuple[str, ...]],
    unlisted: Sequence[str],
    metadata: Metadata,
) -> Iterable[str]:
    """Files without audio, recordings under several ids, files that nobody lists.

    Args:
        undecodable: clips whose file gives no audio, with the reason.
        duplicates: ids of one and the same sound.
        unlisted: audio files of the folder that the table does not name.
        metadata: the table, which says whose clips they are.
    """
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


def speaker_warnings(metadata: Metadata) -> Iterable[str]:
    """Clips of nobody, and what was noted while the table was read."""
    without = sum(not s for s in metadata.speakers)
    if without:
        yield (
            f"{without} of {len(metadata)} clip(s) have no speaker id: they are left out of every split, and serve zero-shot "
            "systems and transfer tests"
        )
    yield from (note.sentence for note in metadata.notes)


def official_leaks(table: CorpusTable) -> Iterable[str]:
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


def card_and_confound_cautions(
    table: CorpusTable, formats: Sequence[tuple[str, int, int] | None], seconds: Array, speakers: int
) -> tuple[Caution, ...]:
    """What its card warns of and what was measured, each thing once.

    Args:
        table: the decoded corpus.
        formats: suffix, rate and channels of each clip's file (:func:`bench.corpora.contents.format_of`).
        seconds: length of each clip.
        speakers: how many are known.
    """
    metadata = table.metadata
    confounds = find_confounds(metadata.emotions, _columns(metadata, formats), seconds, metadata.speakers)
    return said_once([*few_speakers(speakers), *confounds], table.corpus.card.told)


def _columns(metadata: Metadata, formats: Sequence[tuple[str, int, int] | None]) -> dict[str, Sequence[str]]:
    """What might tell a label without any emotion being heard."""
    return {
        "speaker": metadata.speakers,
        "session": metadata.sessions,
        "gender": metadata.genders,
        "script": metadata.scripts,
        "file format": [f"{f[0]} {f[1]} Hz, {f[2]} ch" if f else "" for f in formats],
    }
