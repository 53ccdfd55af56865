"""The tasks there are: those of prepared corpora, counted, and those that the corpus cards at hand promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.cards.caution import TRAP, Caution, said_once
from bench.cards.contamination import Contamination, contamination
from bench.cards.corpus import CorpusCard
from bench.cards.labels import label_table
from bench.cards.registry import corpus_cards, load_system, system_names
from bench.corpora.confounds import find_confounds
from bench.corpora.decoded import open_table
from bench.corpora.metadata import Metadata, read_metadata
from bench.corpora.prepared import PreparedCorpus, data_folders, find_corpora
from bench.errors import BenchError
from bench.protocols import SAMPLE_RATE, Array
from bench.tasks.building import few_speakers, nameless_cautions, one_class, spelling_caution
from bench.tasks.splits import no_within, official_sides, too_few_speakers


@dataclass(frozen=True)
class CatalogueEntry:
    """A task of the catalogue. Counts are those found where the corpus is prepared, else what the card promises, or None."""

    name: str
    title: str
    language: str
    pool: str
    clips: int | None
    speakers: int | None
    labels: tuple[str, ...]
    dimensions: bool
    votes: bool
    truth: str
    elicitation: str
    folds: int | str
    cluster: str
    within: str
    """"yes"; else "no: " and why, so that zero-shot and transfer remain; or "when prepared" where a card cannot tell."""
    variants: tuple[str, ...]
    """Split variants that the manifest allows for; none where the corpus is not prepared."""
    licence: str
    access: str
    verification: str | None
    prepared: bool
    synthetic: bool
    contamination: Mapping[str, Contamination]
    """By system, on the task's own folds; empty where it was not asked for."""
    cautions: tuple[Caution, ...]
    """What a reader of scores on the task must know, and for which protocols."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """The cautions in sentences, with their protocol and share of clips."""
        return tuple(c.sentence for c in self.cautions)

    @property
    def badges(self) -> tuple[str, ...]:
        """The words that stand beside scores on the task, also those that hold for one protocol or split alone."""
        return tuple(dict.fromkeys(c.badge for c in self.cautions if c.badge != TRAP))

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        own = {k: v for k, v in vars(self).items() if k != "cautions"}
        return {
            **own,
            "contamination": dict(self.contamination),
            "warnings": list(self.warnings),
            "badges": list(self.badges),
            "cautions": [c.model_dump(mode="json") for c in self.cautions],
        }


def catalogue(
    data: Sequence[Path] = (),
    *,
    shipped_only: bool = False,
    cache: Path | None = None,
    with_contamination: bool = True,
    faults: list[str] | None = None,
) -> list[CatalogueEntry]:
    """List the tasks of all prepared corpora in the data folders and of all shipped cards, sorted by name.

    Args:
        data: folders of prepared corpora; SERBENCH_DATA when empty.
        shipped_only: look at no data folder.
        cache: where decoded audio is kept: clip lengths count in the warnings of corpora that are decoded.
        with_contamination: read every system's card and say what it had met of each corpus.
        faults: gets a sentence for each corpus whose table cannot be read, which is then listed by its card alone; None: it is raised.
    """
    folders = [] if shipped_only else data_folders(data)
    found = {c.card.name: c for c in find_corpora(folders)[0]} if folders else {}
    shipped = corpus_cards()
    cards = {**shipped, **{name: c.card for name, c in found.items()}}
    systems = [load_system(name) for name in system_names()] if with_contamination else []
    entries = []
    for name, card in cards.items():
        seen = {s.name: contamination(s, card, known=cards) for s in systems}
        metadata = _metadata(found[name], faults) if name in found else None
        if metadata is not None:
            seconds = _seconds(found[name], cache) if cache else np.zeros(len(metadata))
            entries += [_counted(card, metadata, x, seen, seconds) for x in sorted(set(metadata.languages))]
        else:
            entries += [_promised(card, x, seen) for x in card.languages]
    return sorted(entries, key=lambda e: e.name)


def _metadata(corpus: PreparedCorpus, faults: list[str] | None) -> Metadata | None:
    """The table of a corpus; None, and a sentence among ``faults``, where it cannot be read."""
    try:
        return read_metadata(corpus)
    except BenchError as error:
        if faults is None:
            raise
        faults.append(str(error))
        return None


def _seconds(corpus: PreparedCorpus, cache: Path) -> Array:
    """Clip lengths (clips,) where the corpus is decoded, else zeros."""
    table = open_table(corpus, cache)
    return np.array([c.samples / SAMPLE_RATE for c in table.decoded(forecast=True)])


def _counted(
    card: CorpusCard, metadata: Metadata, language: str, seen: Mapping[str, Contamination], seconds: Array
) -> CatalogueEntry:
    """A task whose corpus is prepared."""
    rows = [i for i, x in enumerate(metadata.languages) if x == language]

    def pick(column: Sequence[Any]) -> list[Any]:
        return [column[i] for i in rows]

    emotions, speakers, scripts = pick(metadata.emotions), pick(metadata.speakers), pick(metadata.scripts)
    columns = {"speaker": speakers, "gender": pick(metadata.genders), "script": scripts}
    variants = []
    identities = {
        "speaker": speakers,
        "session": pick(metadata.sessions),
        "dialogue": pick(metadata.dialogues),
    }
    rated = bool(np.isfinite(metadata.dimensions[rows]).any())
    labels = label_table().ordered(e for e in emotions if e)
    refused = no_within(identities) or one_class(labels, rated)
    if refused is None:
        variants.append("loso")
        if len(set(metadata.languages)) > 1:
            variants.append("cross-language")
        if all(scripts) and len(set(scripts)) > 1:
            variants.append("script-disjoint")
    if official_sides(splits := pick(metadata.splits)) or ("split" in card.columns and any(splits)):
        variants.append("official")
    return _entry(
        card,
        language,
        seen,
        clips=len(rows),
        speakers=len(set(speakers) - {""}),
        labels=labels,
        dimensions=rated,
        votes=any(pick(metadata.votes)),
        within="yes" if refused is None else f"no: {refused}",
        variants=tuple(variants),
        prepared=True,
        cautions=said_once(
            [
                *few_speakers(len(set(speakers) - {""})),
                *(nameless_cautions(sum(not s for s in speakers), len(rows)) if refused is None else ()),
                *(spelling_caution(note, len(metadata)) for note in metadata.notes),
                *find_confounds(emotions, columns, seconds[rows], speakers),
            ],
            card.told,
        ),
    )


def _promised(card: CorpusCard, language: str, seen: Mapping[str, Contamination]) -> CatalogueEntry:
    """A task whose corpus is not at hand."""
    alone = len(card.languages) == 1
    return _entry(
        card,
        language,
        seen,
        clips=card.clips if alone else None,
        speakers=card.speakers if alone else None,
        labels=label_table().ordered(x for x in card.labels.values() if x),
        dimensions=card.scale is not None,
        votes=False,
        within=_within_promised(card),
        variants=(),
        prepared=card.synthetic,
        cautions=said_once(few_speakers(card.speakers or 0) if alone else [], card.told),
    )


def _within_promised(card: CorpusCard) -> str:
    """What a card alone tells: dialogues may tie any speakers together, and languages share them out."""
    if card.synthetic:
        return "yes"
    if card.speakers is not None and (reason := too_few_speakers(card.speakers)):
        return f"no: {reason}"
    return "when prepared"


def _entry(
    card: CorpusCard, language: str, seen: Mapping[str, Contamination], **counted: Any
) -> CatalogueEntry:
    return CatalogueEntry(
        name=f"{card.name}.{language}",
        title=card.title or card.name,
        language=language,
        pool=card.pool_name,
        truth=card.truth,
        elicitation=card.elicitation,
        folds=card.split.folds,
        cluster=card.cluster,
        licence=card.licence,
        access=card.access,
        verification=card.verification,
        synthetic=card.synthetic,
        contamination=seen,
        **counted,
    )
