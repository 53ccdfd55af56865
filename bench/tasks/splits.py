"""From a corpus's rows to folds, by protocol and split variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.cards.caution import Caution
from bench.cards.corpus import CorpusCard, Protocol
from bench.corpora.identities import without_zeros
from bench.errors import DataError
from bench.storage.hashing import digest
from bench.tasks.folds import (
    MIN_GROUPS,
    REMAINS,
    Fold,
    Leak,
    assemble_folds,
    build_folds,
    check_disjoint,
    deal,
    find_leaks,
    groups_of,
    numbered_by_name,
    unsplittable,
    value_counts,
)
from bench.tasks.names import split_task_name
from bench.tasks.script_folds import build_crossed_folds, check_scripts
from bench.tasks.task import Task

OFFICIAL_SIDES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "development", "val", "valid", "validation", "eval", "evaluation"), "dev"),
    "test": "test",
}
"""What publishers call the sides; ``test1``, ``test-2`` … are parts of one test set (ESD's "evaluation" is its validation)."""
OWN_DEV_FOLDS = 5
"""An official split without a validation part gives a fifth of its training groups to it."""


@dataclass(frozen=True)
class SplitRows:
    """What decides a split, one entry per clip; ``identities`` by kind (speaker, session, dialogue, recording)."""

    clip_ids: Sequence[str]
    identities: Mapping[str, Sequence[str]]
    emotions: Sequence[str | None]
    genders: Sequence[str]
    scripts: Sequence[str]
    splits: Sequence[str]
    audible: NDArray[np.bool_]
    foreign: NDArray[np.bool_] | None = None
    """Clips in another language than the task's, which alone are learnt from in ``cross-language``; None elsewhere."""

    @property
    def groups(self) -> NDArray[np.intp]:
        """Clips that must stay together, numbered independently of the order of rows; so do speakers ``03`` and ``3``."""
        plain = {name: without_zeros(name) for name in set(self.identities["speaker"])}
        columns = [*self.identities.values(), [plain[name] for name in self.identities["speaker"]]]
        return numbered_by_name(groups_of(columns), self.clip_ids)

    @property
    def usable(self) -> NDArray[np.bool_] | None:
        """Rows that can be learnt from; None before any audio is decoded."""
        if self.foreign is not None:
            return self.foreign & self.audible if self.audible.any() else self.foreign
        return self.audible if self.audible.any() else None


@dataclass(frozen=True)
class Splitting:
    """Folds, what leaks in them (only an official split may), and what must be said of them."""

    folds: tuple[Fold, ...]
    leaks: tuple[Leak, ...] = ()
    badges: tuple[str, ...] = ()
    warnings: tuple[Caution, ...] = ()


def split_rows(name: str, protocol: Protocol, card: CorpusCard, variant: str, rows: SplitRows) -> Splitting:
    """Split a task's rows as its protocol and variant say; every split is checked.

    Args:
        name: of the task, for errors.
        protocol: only ``within`` is split, and the official split.
        card: says how many folds, and whether a column names them.
        variant: of the split, blank for the usual one; see :data:`VARIANTS`.
        rows: what decides a split, an entry per clip.

    Raises:
        DataError: too few speakers, no such split, or one that leaks and is not the official one (offenders named).
    """
    everything = np.arange(len(rows.clip_ids))
    if protocol != "within" and variant != "official":
        return Splitting((Fold("all", everything[:0], everything[:0], everything),))
    if variant == "official":
        return _official(name, protocol, card, rows)
    if reason := speakers_lack(rows.identities["speaker"]):
        raise DataError(f"{name}: {reason}")
    if rows.foreign is not None:
        return Splitting(_across_languages(name, card, rows, rows.foreign))
    folds = _disjoint(name, card, variant, rows)
    check_disjoint(folds, rows.identities, what=name)
    return Splitting(tuple(folds))


def _across_languages(
    name: str, card: CorpusCard, rows: SplitRows, foreign: NDArray[np.bool_]
) -> tuple[Fold, ...]:
    """Speaker folds of which each tests its clips in one language, and learns from other speakers in the other languages."""
    if not foreign.any():
        raise DataError(
            f"{name}: the corpus holds one language only; ask for the task without @cross-language"
        )
    balanced = [rows.emotions, rows.genders, ["foreign" if f else "" for f in foreign.tolist()]]
    whole = build_folds(rows.groups, balanced, card.split.folds, what=name, usable=rows.usable)
    folds = [
        Fold(f.name, f.train[foreign[f.train]], f.dev[foreign[f.dev]], f.test[~foreign[f.test]])
        for f in whole
    ]
    folds = [f for f in folds if len(f.test)]
    for fold in folds:
        if not (len(fold.train) and len(fold.dev)):
            raise DataError(
                f"{name}: fold {fold.name} would have no clip of other speakers in another language to learn from or to choose on; "
                "ask for the task without @cross-language"
            )
    check_crossing(folds, rows.identities, foreign, what=name)
    return tuple(folds)


def check_crossing(
    folds: Sequence[Fold], identities: Mapping[str, Sequence[str]], foreign: NDArray[np.bool_], *, what: str
) -> None:
    """Check that folds share nobody, test each clip of the task's language once, and learn from none of it.

    Args:
        folds: to be checked.
        identities: by kind, a value per clip.
        foreign: whether a clip is in another language (clips,).
        what: name of the task, for errors.

    Raises:
        DataError: they do not.
    """
    for leak in find_leaks(folds, identities):
        raise DataError(f"{what}, {leak.sentence}; every {leak.kind} must stay on one side")
    tested = np.bincount(np.concatenate([f.test for f in folds]), minlength=len(foreign))
    learnt = np.concatenate([r for f in folds for r in (f.train, f.dev)])
    if (tested != ~foreign).any() or not foreign[learnt].all():
        raise DataError(
            f"{what}: a clip of the language that is tested is learnt from, or is tested twice or never"
        )


def speakers_lack(speakers: Sequence[str]) -> str | None:
    """Say why clips of these speakers cannot be split; None where they can, as far as speakers go.

    Clips without a speaker are left out of a split, so only those with one count.

    >>> speakers_lack(["a", "b", "c", ""]), speakers_lack(["", ""])[:28]
    (None, '2 clips have no speaker id, ')
    """
    named = {s for s in speakers if s}
    if not named:
        return f"{len(speakers)} clips have no speaker id, so no speaker-disjoint split exists. {REMAINS}"
    return too_few_speakers(len(named))


def too_few_speakers(speakers: int) -> str | None:
    """Say why so many speakers make no split; None where they do."""
    if speakers >= MIN_GROUPS:
        return None
    return (
        f"{speakers} speaker(s), and a split needs at least {MIN_GROUPS} groups: one each to train, to choose and to test on. "
        f"{REMAINS}"
    )


def no_within(identities: Mapping[str, Sequence[str]]) -> str | None:
    """Say why the protocol ``within`` does not exist for clips with these identities; None where it does.

    >>> no_within({"speaker": ["a", "b", "c"], "dialogue": ["1", "1", "1"]})[:22]
    'its clips form 1 group'
    """
    if reason := speakers_lack(identities["speaker"]):
        return reason
    named = [i for i, speaker in enumerate(identities["speaker"]) if speaker]
    return unsplittable(groups_of([[column[i] for i in named] for column in identities.values()]))


def recheck(task: Task) -> None:
    """Check a task's folds once more, before its prediction tables are believed.

    Raises:
        DataError: something stands on several sides of a fold and the task does not say so, or a clip is tested twice.
    """
    variant = split_task_name(task.name)[2]
    if variant == "cross-language" and task.protocol == "within":
        foreign = np.array([x != task.language for x in task.languages])
        check_crossing(task.folds, task.identities, foreign, what=task.name)
    elif variant != "official":
        check_disjoint(task.folds, task.identities, what=task.name)
    elif not task.leaks and (leaks := find_leaks(task.folds, task.identities)):
        raise DataError(f"{task.name}, {leaks[0].sentence}, and the task does not say so")
    if variant == "script-disjoint":
        check_scripts(task.folds, task.scripts, what=task.name)


def _disjoint(name: str, card: CorpusCard, variant: str, rows: SplitRows) -> list[Fold]:
    if variant == "script-disjoint":
        return build_crossed_folds(
            rows.groups,
            rows.scripts,
            rows.emotions,
            rows.genders,
            card.split.folds,
            what=name,
            usable=rows.usable,
        )
    if "split" in card.columns and variant in ("", "clips") and official_sides(rows.splits) is None:
        return _named_folds(name, rows)
    folds = "loso" if variant == "loso" else card.split.folds
    return build_folds(rows.groups, [rows.emotions, rows.genders], folds, what=name, usable=rows.usable)


def _named_folds(name: str, rows: SplitRows) -> list[Fold]:
    """Folds as the card's ``split`` column gives them: each value is one test fold."""
    names = sorted(set(rows.splits))
    if "" in names or len(names) < 3:
        raise DataError(
            f"{name}: the split column must name at least three folds and leave no clip out; found {', '.join(map(repr, names[:6]))}"
        )
    return assemble_folds(rows.groups, np.array([names.index(s) for s in rows.splits]), names, rows.usable)


def official_sides(splits: Sequence[str]) -> list[str] | None:
    """Read a split column as train, dev and test ("" where blank); None when it does not name these sides.

    >>> official_sides(["Train", "valid", "test_2", ""])
    ['train', 'dev', 'test', '']
    """
    side: dict[str, str | None] = {"": ""}
    for value in set(splits) - {""}:
        word = value.casefold()
        side[value] = OFFICIAL_SIDES.get(word, OFFICIAL_SIDES.get(word.rstrip("0123456789").rstrip("-_ ")))
    if None in side.values() or not {"train", "test"} <= set(side.values()):
        return None
    return [side[value] or "" for value in splits]


def _official(name: str, protocol: Protocol, card: CorpusCard, rows: SplitRows) -> Splitting:
    """The published split: train, validation and test, or a test fold per value; built even where it leaks."""
    sides = official_sides(rows.splits)
    warnings: list[Caution] = []
    if sides is None:
        if "split" not in card.columns:
            values = sorted(set(rows.splits) - {""})
            found = f"holds {', '.join(map(repr, values[:6]))}" if values else "is blank"
            raise DataError(
                f"{name}: the corpus has no official split: its split column {found}, expected train and test, or folds that "
                "the card names under columns: split. Ask for the task without @official"
            )
        folds = _named_folds(name, rows)
        if protocol != "within":
            folds = [Fold(f.name, f.train[:0], f.dev[:0], f.test) for f in folds]
    else:
        blank = sides.count("")
        if blank:
            text = f"{blank} clip(s) stand on no side of the official split and are left out"
            warnings.append(Caution(text=text, badge="clips left out", share=blank / len(sides)))
        folds = [_published(np.array(sides), protocol, rows)]
    if protocol != "within":
        return Splitting(tuple(folds), (), ("official split",), tuple(warnings))
    leaks = find_leaks(folds, rows.identities)
    if without := sum(not s for s in rows.identities["speaker"]):
        leaks.append(Leak("speaker", "", without, "", ()))
    badges = ["official split"]
    if leaks:
        badges.append("leaks " + ", ".join(dict.fromkeys(f"{leak.kind}s" for leak in leaks)))
    warnings += [
        Caution(text=f"the official split leaks, so no verdict rests on it: {leak.nameless}", badge="leaks")
        for leak in leaks
    ]
    return Splitting(tuple(folds), tuple(leaks), tuple(badges), tuple(warnings))


def _published(sides: NDArray[np.str_], protocol: Protocol, rows: SplitRows) -> Fold:
    """One fold from the named sides; a missing validation part is taken from training, by groups where there are two."""
    train, dev, test = (np.flatnonzero(sides == s) for s in ("train", "dev", "test"))
    if protocol != "within":
        return Fold("official", train[:0], train[:0], test)
    if not len(dev):
        groups = rows.groups[train]
        names, own = np.unique(groups, return_inverse=True)
        if len(names) > 1:
            counts = value_counts(own, [rows.emotions[i] for i in train.tolist()], len(names))
            chosen = deal(counts, min(OWN_DEV_FOLDS, len(names)))[own] == 0
        else:
            chosen = np.array([int(digest(rows.clip_ids[i]), 16) % 10 == 0 for i in train.tolist()])
        train, dev = train[~chosen], train[chosen]
    return Fold("official", train, dev, test)
