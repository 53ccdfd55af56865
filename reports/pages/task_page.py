"""What a task's page shows beside boards and verdicts, gathered for its template."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.scoring.pair_results import SUPERVISION, PairResult, sentence
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports.data.comparisons import TaskComparison
from reports.sections import tables
from reports.sections.clip_errors import ClipReader, Clipwise
from reports.sections.folds import FoldTable, fold_table
from reports.sections.reference_levels import ReferenceLevel, absent_listeners, reference_levels
from reports.sections.subgroups import SliceTable, slice_tables


@dataclass(frozen=True)
class Lead:
    """Who leads a track, in words, and the test against the second."""

    track: str
    text: str
    second: PairResult | None
    moved: tuple[str, ...] = ()
    """Of its verdicts on the others, those whose sign depends on the version, in words."""


@dataclass(frozen=True)
class AcrossSaid:
    """Pairs across tracks in sentences: where and of whom they speak, each pair, and which systems had which supervision.

    ``opening`` and ``supervision`` are blank where every sentence says its own.
    """

    opening: str
    pairs: tuple[tuple[str, PairResult], ...]
    supervision: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class TaskVerdict:
    """What the tests say of one comparison: who leads each track, then the planned pairs across tracks."""

    comparison: TaskComparison
    leads: tuple[Lead, ...]
    across: tuple[PairResult, ...]

    @property
    def across_said(self) -> AcrossSaid:
        """The pairs across tracks in sentences, what all of them share said once."""
        each = AcrossSaid("", tuple((p.sentence, p) for p in self.across), ())
        # What was learnt elsewhere has other words for its supervision, of which each sentence knows.
        if len(self.across) < 2 or any(
            p.protocol_a != p.protocol_b or p.protocol_a == "transfer" for p in self.across
        ):
            return each
        parted = [sentence(replace(p, track_b=p.track_a)).partition("), ") for p in self.across]
        if len({opening for opening, _, _ in parted}) != 1:
            return each
        had: dict[str, dict[str, None]] = defaultdict(dict)
        for p in self.across:
            had[SUPERVISION[p.track_a]][p.system_a] = None
            had[SUPERVISION[p.track_b]][p.system_b] = None
        rests = [re.sub(r"^this corpus\b", "This corpus", rest) for _, _, rest in parted]
        return AcrossSaid(
            f"{parted[0][0]}).",
            tuple(zip(rests, self.across, strict=True)),
            tuple((words, tuple(systems)) for words, systems in had.items()),
        )


@dataclass(frozen=True)
class TaskSections:
    """One comparison of a task. Sequences go with the comparison's subjects where they say so."""

    folds: FoldTable
    reference_levels: tuple[tuple[Subject, tuple[ReferenceLevel, ...], str], ...]
    """By subject: what scores are held against, and why there is no human line, blank where there is one."""
    slices: tuple[SliceTable, ...]
    slices_absent: tuple[str, ...]
    confusions: tuple[tables.Confusion, ...]
    confusions_left_out: int
    differences: tuple[tables.ConfusionDifference, ...]
    clips: Clipwise


def task_sections(
    comparison: TaskComparison, ordered: Sequence[Record], reader: ClipReader | None
) -> TaskSections:
    """Gather what a comparison has to show.

    Args:
        comparison: a task under one protocol and condition.
        ordered: its records, best of each track first.
        reader: reads what systems answered; without one, nothing is shown clip by clip.

    Returns:
        What the sections of its page are filled with.
    """
    categorical = next((s for s in comparison.subjects if s.metric != "ccc"), None)
    sliced = [slice_tables(ordered, s) for s in comparison.subjects]
    confusions: list[tables.Confusion] = []
    if categorical is not None:
        confusions = [tables.confusion(r, b) for r in ordered if (b := categorical.block(r)) is not None]
    return TaskSections(
        folds=fold_table(comparison),
        reference_levels=tuple(
            (s, tuple(reference_levels(comparison, s)), absent_listeners(comparison, s))
            for s in comparison.subjects
        ),
        slices=tuple(t for own, _ in sliced for t in own),
        slices_absent=tuple(dict.fromkeys(a for _, absent in sliced for a in absent)),
        confusions=tuple(confusions[: tables.CONFUSIONS]),
        confusions_left_out=max(0, len(confusions) - tables.CONFUSIONS),
        differences=tuple(tables.differences(comparison, categorical, confusions)) if categorical else (),
        clips=reader.read(comparison, ordered, categorical)
        if reader
        else Clipwise(None, (), "boards only", 0),
    )
