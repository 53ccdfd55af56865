"""Prepared corpora: finding them, and reading their ``metadata.csv`` into typed columns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cards.corpus import CorpusCard
from bench.cards.registry import corpus_cards, corpus_faults
from bench.cards.typed_yaml import read_typed
from bench.errors import DataError, UsageError, nearest
from bench.protocols import DIMENSIONS

METADATA = "metadata.csv"
COLUMNS = (
    "file_name", "speaker", "emotion", *DIMENSIONS, "language", "transcript", "gender", "soft_votes",
    "session", "dialogue", "script", "parent", "split", "ratings",
)  # fmt: skip


@dataclass(frozen=True)
class PreparedCorpus:
    """A corpus found on disk: its card and the folder that holds ``metadata.csv`` and the audio."""

    card: CorpusCard
    folder: Path


def data_folders(given: Sequence[Path]) -> list[Path]:
    """Return the folders named by ``--data``, else by SERBENCH_DATA; each must exist."""
    folders = list(given) or [Path(p) for p in os.environ.get("SERBENCH_DATA", "").split(os.pathsep) if p]
    for folder in folders:
        if not folder.is_dir():
            origin = "--data" if given else "SERBENCH_DATA"
            raise UsageError(
                f"{folder}: no such folder ({origin} must name folders that hold prepared corpora)"
            )
    return folders


def find_corpora(folders: Sequence[Path]) -> tuple[list[PreparedCorpus], list[str]]:
    """Find every prepared corpus in the folders (each one itself, or its sub-folders).

    Returns the corpora sorted by name, and one sentence for each prepared folder that has no card, or one that cannot be read.

    Raises:
        UsageError: two folders with one corpus, or none that has a card which can be read.
        DataError: a folder without any prepared corpus.
    """
    found = _look_into(folders)
    if found.faults and not found.corpora:
        raise UsageError(next(iter(found.faults.values())))
    left_out = [f"{folder} is left out: {fault}" for folder, fault in found.faults.items()]
    return [found.corpora[name] for name in sorted(found.corpora)], [*found.notes, *left_out]


def faulty_cards(folders: Sequence[Path]) -> list[str]:
    """Say, one sentence each, which cards of prepared folders, and which shipped ones, cannot be read."""
    return list(dict.fromkeys([*corpus_faults().values(), *_look_into(folders).faults.values()]))


@dataclass(frozen=True)
class _Found:
    """What lies in data folders: corpora by name, notes on folders without a card, and what is wrong with cards, by folder."""

    corpora: dict[str, PreparedCorpus]
    notes: list[str]
    faults: dict[Path, str]


def _look_into(folders: Sequence[Path]) -> _Found:
    found = _Found({}, [], {})
    for root in folders:
        candidates = (
            [root] if (root / METADATA).exists() else sorted(p.parent for p in root.glob(f"*/{METADATA}"))
        )
        if not candidates:
            raise DataError(
                f"{root}: holds no prepared corpus (expected a {METADATA} in it or in its sub-folders)"
            )
        for folder in candidates:
            try:
                card = card_of(folder)
            except UsageError as error:
                found.faults[folder] = str(error)
                continue
            if card is None:
                found.notes.append(
                    f"{folder}: has no card; draft one with: serbench corpus describe {folder} --new-card"
                )
                continue
            other = found.corpora.setdefault(card.name, PreparedCorpus(card, folder))
            if other.folder.resolve() != folder.resolve():
                raise UsageError(
                    f"two folders hold the corpus {card.name!r}: {other.folder} and {folder}; leave one out"
                )
    return found


def card_of(folder: Path) -> CorpusCard | None:
    """Return a prepared folder's card: the one YAML file in it, else the shipped card of the folder's name."""
    own = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    if len(own) > 1:
        raise UsageError(
            f"{folder}: holds {len(own)} YAML files ({', '.join(p.name for p in own)}); keep the one that is its card"
        )
    if own:
        return read_typed(own[0], CorpusCard)
    if (fault := corpus_faults().get(folder.resolve().name)) is not None:
        raise UsageError(fault)
    return corpus_cards().get(folder.resolve().name)


def open_corpus(name_or_dir: str, folders: Sequence[Path]) -> PreparedCorpus:
    """Find one corpus by its name among the data folders, or take a prepared folder as it is."""
    if (Path(name_or_dir) / METADATA).exists():
        folder = Path(name_or_dir)
        return PreparedCorpus(card_of(folder) or CorpusCard(name=folder_name(folder)), folder)
    if Path(name_or_dir).is_file():
        raise UsageError(
            f"{name_or_dir}: is a file; name a corpus, or the prepared folder that holds {METADATA}"
        )
    if Path(name_or_dir).is_dir():
        raise DataError(f"{name_or_dir}: has no {METADATA} (columns: {', '.join(COLUMNS)})")
    found = _look_into(folders)
    if name_or_dir in found.corpora:
        return found.corpora[name_or_dir]
    faults = {**corpus_faults(), **{folder.name: fault for folder, fault in found.faults.items()}}
    if name_or_dir in faults:
        raise UsageError(faults[name_or_dir])
    known = set(found.corpora) | set(corpus_cards())
    if name_or_dir in known:
        raise DataError(
            f"the corpus {name_or_dir!r} has a card but no prepared folder among the data folders; name it with --data or SERBENCH_DATA"
        )
    raise UsageError(f"no corpus {name_or_dir!r}; {nearest(name_or_dir, known)}")


def folder_name(folder: Path) -> str:
    """Turn a folder's name into a valid corpus name."""
    name = "".join(c if c.isalnum() and c.isascii() else "-" for c in folder.resolve().name.lower()).strip(
        "-"
    )
    return name or "corpus"
