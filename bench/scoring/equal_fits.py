"""Whether two records of a system may be subtracted: the same fits, on the same clips, in the same folds.

A difference means something only where one thing was changed. Two records that carry one name may come from other code, other weights,
other seeds or other training: then both scores stand, and no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.scoring.paired_differences import PairedDifference, paired_difference
from bench.scoring.records import Record
from bench.scoring.subject import Subject

FIT: Mapping[str, str] = {
    "system_identity": "the system (its card and the code of its adapter)",
    "weights_hash": "weights",
    "protocol": "protocol",
    "training": "what was learnt from",
    "train_condition": "audio that was learnt from",
    "sources": "sources of the transfer",
    "learnt_view": "label space that was learnt",
    "labels_offered": "labels offered",
    "seeds": "seeds",
}
"""What a record states of how its fits were made, in words, the weightiest first."""
TESTED: Mapping[str, str] = {
    "task": "task",
    "content_hash": "clips, labels or speakers",
    "folds_hash": "folds",
    "clusters": "clusters",
}
"""What it states of what the fits were tested on, whatever the condition of the audio."""
CODE: Mapping[str, str] = {
    "code_version": "version of the suite",
    "cells_code": "version of the code that answered",
}
"""Which code scored it, and which answered its cells (nothing before schema 3)."""
ANOTHER_FIT = "another fit"
"""What is said in place of a difference."""


@dataclass(frozen=True)
class Less:
    """A score less another: the difference where both come from the same fits, else what is not the same."""

    difference: PairedDifference | None
    differs: tuple[str, ...]

    @property
    def words(self) -> str:
        """Why there is no difference; blank where there is one.

        >>> Less(None, ("weights", "seeds")).words
        'another fit: weights, seeds'
        """
        if self.difference is not None:
            return ""
        return f"{ANOTHER_FIT}: {', '.join(self.differs)}" if self.differs else "no value to subtract"


def what_differs(a: Record, b: Record, *, code: bool = True) -> tuple[str, ...]:
    """Say what is not the same of two records, as far as a difference between them would hide it.

    Conditions are not looked at: what changed the test audio is what a difference is about.

    Args:
        a: a record.
        b: the record that would be subtracted.
        code: whether both must come from one version of the suite. Code of adapter and probe is part of the system
            either way.

    Returns:
        In words, the weightiest first; nothing where the two come from the same fits on the same clips.
    """
    facts = {**FIT, **TESTED, **(CODE if code else {})}
    return tuple(
        words for name, words in facts.items() if getattr(a.facts, name, None) != getattr(b.facts, name, None)
    )


def on_same_clips(a: Record, b: Record) -> bool:
    """Whether two systems answered one question: the same clips in the same clusters and folds, with the same labels on offer."""
    names = (*TESTED, "labels_offered")
    return all(getattr(a.facts, name, None) == getattr(b.facts, name, None) for name in names)


def less(subject: Subject, a: Record, b: Record, level: float, *, code: bool = True) -> Less:
    """Subtract the score of ``b`` from that of ``a`` where both come from the same fits.

    Args:
        subject: metric, view or dimension.
        a: a record.
        b: the record that is subtracted.
        level: coverage of the interval, 0..1.
        code: as in :func:`what_differs`.
    """
    differs = what_differs(a, b, code=code)
    here, there = subject.block(a), subject.block(b)
    if differs or here is None or there is None:
        return Less(None, differs)
    return Less(paired_difference(subject.metric, here, there, level), ())
