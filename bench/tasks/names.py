"""Names of tasks: ``<corpus>.<language>``, and the split variants behind an ``@``."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from bench.errors import UsageError, nearest

VARIANTS = ("", "loso", "script-disjoint", "official", "clips", "cross-language")
"""Split variants of a task id, written ``<corpus>.<language>@<variant>``: leave one speaker out; test clips that share
neither speaker nor script with training; the split the corpus was published with, leaks and all; segments scored as the clips they were cut from;
test clips whose speakers are heard by nobody who learns, and whose language isn't either: training is in the corpus's other languages."""


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


def training_name(training: str, view: str, train_condition: str) -> str:
    """Say in one word what a system learnt from, blank for the clean audio of the task itself.

    Args:
        training: ``other-pools``, ``other-languages`` or a task's name; blank for the task itself.
        view: label space that is learnt: ``native``, ``seven`` or ``four``.
        train_condition: what is done to the audio that is learnt from.

    >>> training_name("other-pools", "seven", "clean"), training_name("other-pools", "four", "noise-10db")
    ('other-pools', 'other-pools-four-trained-noise-10db')
    """
    parts = (training, "four" if view == "four" else "", f"trained-{train_condition}")
    return "-".join(p for p in parts if p and p != "trained-clean")


def record_stem(system: str, task: str, how: str, condition: str) -> str:
    """Name the files of a record; the ``/`` of ``owner/name`` is written ``~``, which no name of a system holds.

    Args:
        system: its name.
        task: its id.
        how: protocol and what was learnt from, in one word (:func:`regime`).
        condition: what was done to the test audio.

    Returns:
        The stem of ``.json`` and ``.parquet``.

    >>> record_stem("alice/my-model", "indowave.id", "within", "clean")
    'alice~my-model__indowave.id__within__clean'
    """
    return f"{system.replace('/', '~')}__{task}__{how}__{condition}"


def regime(protocol: str, training: str) -> str:
    """Protocol and :func:`training_name` in one word, for file names.

    >>> regime("within", ""), regime("transfer", "other-pools")
    ('within', 'transfer-other-pools')
    """
    return f"{protocol}-{training}" if training else protocol
