"""Folds whose test clips share neither speaker nor script with training: speaker folds crossed with groups of scripts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.statistics.validation import coded
from bench.tasks.folds import Fold, build_folds, deal, find_leaks, groups_of, numbered_by_name, value_counts

MOST_SCRIPT_GROUPS = 3


def build_crossed_folds(
    groups: NDArray[np.intp],
    scripts: Sequence[str],
    labels: Sequence[str | None],
    genders: Sequence[str],
    folds: int | Literal["loso"],
    *,
    what: str,
    usable: NDArray[np.bool_] | None = None,
) -> list[Fold]:
    """Cross speaker folds with script groups: one fit per block, tested on that block's clips.

    With S speaker folds and K script groups there are S·K fits (15 for the usual 5 × 3), and a fit learns from and
    chooses on about (1 − 1/S)(1 − 1/K) of the clips (53 %, where speaker folds alone leave 80 %): a lower score than
    the default task's has two causes, new sentences and less training data. Each clip is tested once. Validation shares
    no speaker with training, but may share scripts with it. Fewer groups are made when three would leave a class of
    the test block unlearnt.

    Args:
        groups: number of the speaker group of each clip (clips,).
        scripts: what each clip says, by name.
        labels: category of each clip, or None.
        genders: of each clip, to be spread evenly.
        folds: how many speaker folds; ``loso``: one per group.
        what: name of the task, for errors.
        usable: clips that can be learnt from (clips,); None: all.

    Returns:
        A fold per block that has clips, named ``<speaker fold>x<script group>``.

    Raises:
        DataError: a clip without a script, fewer than two scripts, or scripts so bound to labels that some class could
            not be learnt.
    """
    blank = sum(not s for s in scripts)
    codes, names = coded(scripts)
    if blank or len(names) < 2:
        found = f"{blank} clips have no script" if blank else f"all clips speak one script, {names[0]!r}"
        raise DataError(
            f"{what}: {found}, so no script-disjoint split exists; ask for the task without @script-disjoint"
        )
    codes = numbered_by_name(codes, scripts)
    by_speaker = build_folds(groups, [labels, genders], folds, what=what, usable=usable)
    for k in range(min(MOST_SCRIPT_GROUPS, len(names)), 1, -1):
        part = deal(value_counts(codes, labels, len(names)), k)[codes]
        made = [block for fold in by_speaker for block in _blocks(fold, part, k)]
        missing = next((m for fold in made if (m := _unlearnt(fold, labels, usable))), "")
        if not missing:
            check_scripts(made, scripts, what=what)
            return made
    raise DataError(
        f"{what}: scripts are bound to labels, so that with some scripts left out {missing}; no script-disjoint split "
        "exists. Ask for the task without @script-disjoint"
    )


def same_sentences(scripts: Sequence[str], transcripts: Sequence[str]) -> tuple[str, ...]:
    """Give clips of one sentence one script: scripts and transcripts that differ only in case, quotes and punctuation are one.

    Clips that share a script or a transcript belong together, however one of the two is written; each group is called by its first
    script in alphabetical order. Blank stays blank.

    Args:
        scripts: per clip, (clips,), blank where unknown.
        transcripts: per clip, (clips,), blank where unknown.

    >>> same_sentences(["1", "2", "3"], ["It’s late.", "it's late", "Go!"])
    ('1', '1', '3')
    """
    plain_script = {s: _plain_script(s) for s in set(scripts)}
    plain_text = {t: _plain_text(t) for t in set(transcripts)}
    known = [plain_text[t] if s else "" for s, t in zip(scripts, transcripts, strict=True)]
    groups = groups_of([[plain_script[s] for s in scripts], known])
    names: dict[int, str] = {}
    for group, script in zip(groups.tolist(), scripts, strict=True):
        if script and script < names.get(group, script + "\0"):
            names[group] = script
    return tuple(names[g] if s else "" for g, s in zip(groups.tolist(), scripts, strict=True))


def _plain_script(script: str) -> str:
    """A code less its case; a sentence less its punctuation."""
    code = re.fullmatch(r"[A-Za-z0-9_.\-]*", script)
    return script.casefold() if code else _plain_text(script)


def _plain_text(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(
        c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " if c.isspace() else "" for c in folded
    )
    return " ".join(kept.split()) or text.strip()


def _blocks(fold: Fold, part: NDArray[np.intp], k: int) -> list[Fold]:
    """The blocks of one speaker fold, in order of script groups; a group its speakers never speak gives none."""
    return [
        Fold(
            f"{fold.name}x{j}",
            fold.train[part[fold.train] != j],
            fold.dev[part[fold.dev] != j],
            fold.test[part[fold.test] == j],
        )
        for j in range(k)
        if (part[fold.test] == j).any()
    ]


def _unlearnt(fold: Fold, labels: Sequence[str | None], usable: NDArray[np.bool_] | None) -> str:
    """Say what a fit could not learn, or ""."""
    learnable = fold.train if usable is None else fold.train[usable[fold.train]]
    train_labels = {labels[i] for i in learnable.tolist()}
    if not len(learnable) or not len(fold.dev):
        return f"fold {fold.name} would have no clip to train or to choose on"
    lacking = sorted({labels[i] or "" for i in fold.test.tolist()} - {x or "" for x in train_labels} - {""})
    return f"no training clip of fold {fold.name} shows {lacking[0]}, which it tests" if lacking else ""


def check_scripts(folds: Sequence[Fold], scripts: Sequence[str], *, what: str) -> None:
    """Check that no script is both learnt (or chosen on) and tested.

    Args:
        folds: to be checked.
        scripts: what each clip says, by name.
        what: name of the task, for errors.

    Raises:
        DataError: a script stands on two sides.
    """
    for side in ("train", "dev"):
        for leak in find_leaks(folds, {"script": scripts}, (side, "test")):
            raise DataError(f"{what}, {leak.sentence}")
