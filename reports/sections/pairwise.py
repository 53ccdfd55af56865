"""Two systems side by side: every planned test, where their confusions differ, and clip by clip who is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.scoring.clip_answers import Agreement, ClipAnswers, TaskAnswers, between, label_codes
from bench.scoring.comparisons import ACROSS_PROTOCOLS
from bench.scoring.equal_fits import on_same_clips
from bench.scoring.pair_results import NO_VERDICT, PairResult
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from bench.statistics.families import CANNOT_SEPARATE
from reports.data.comparisons import TaskComparison, overview_comparisons
from reports.formatting import counted, listed
from reports.sections import tables
from reports.sections.clip_errors import ClipReader

PAGES = 60
"""Pairs within tracks up to which each has a page; pairs that the plan names always have one."""
CLIPS = 15
"""Clips shown of each kind of change."""
CONFUSIONS = 8


@dataclass(frozen=True)
class ChangedClip:
    """A clip that one of the two has right and the other wrong. ``clip`` is None where the corpus is not open."""

    clip: str | None
    truth: str
    first: str
    second: str


@dataclass(frozen=True)
class ChangedClips:
    """Clips of one task by who is right, those with one answer, and the first of those that tell the two apart.

    Where labels are not at hand ``absent`` says so, and ``agreement`` says what tables alone can.
    """

    comparison: TaskComparison
    clips: int = 0
    both: int = 0
    only_first: int = 0
    only_second: int = 0
    same: int = 0
    classes: tuple[tuple[str, int, int, int], ...] = ()
    """Class, its clips, those that only the first has right, those that only the second has."""
    won: tuple[ChangedClip, ...] = ()
    lost: tuple[ChangedClip, ...] = ()
    absent: str = ""
    agreement: Agreement | None = None

    @property
    def neither(self) -> int:
        """Clips that both miss."""
        return self.clips - self.both - self.only_first - self.only_second


@dataclass(frozen=True)
class PairPage:
    """Everything about two systems."""

    first: str
    second: str
    tests: tuple[tuple[TaskComparison, Subject, PairResult], ...]
    confusions: tuple[tuple[TaskComparison, tables.ConfusionDifference], ...]
    clips: tuple[ChangedClips, ...]

    @property
    def clips_told(self) -> bool:
        """Whether anything is known of single clips: what the two answered, or on how many they agree."""
        return any(not c.absent or (c.agreement and c.agreement.share is not None) for c in self.clips)

    @property
    def redrawn(self) -> tuple[PairResult, ...]:
        """Pairings of which it is known what seeds drawn anew would give: no system in them has one seed of many."""
        return tuple(p for _, _, p in self.tests if p.redrawn_low is not None and not p.one_seed)

    @property
    def tally(self) -> str:
        """How often which verdict fell on the first subject of a task, in words; degraded audio is not counted again."""
        plain = {id(c) for c in overview_comparisons([c for c, _, _ in self.tests])}
        found: dict[str, list[str]] = {}
        for comparison, subject, p in self.tests:
            if id(comparison) in plain and subject == comparison.subjects[0]:
                found.setdefault(p.verdict, []).append(comparison.task)
        sentences = [f"{words} on {_tasks(found[v])}" for v, words in self._verdicts.items() if v in found]
        return f"{'. '.join(sentences)}." if sentences else "They met in no planned test."

    @property
    def _verdicts(self) -> Mapping[str, str]:
        return {
            "better": f"{self.first} is better than {self.second}",
            "better, by less than the margin": f"{self.first} is better than {self.second} by less than the margin",
            "worse": f"{self.second} is better than {self.first}",
            "worse, by less than the margin": f"{self.second} is better than {self.first} by less than the margin",
            "equivalent": "The two are equivalent",
            CANNOT_SEPARATE: "They cannot be separated",
            NO_VERDICT: "There is no verdict",
        }


def _tasks(names: Sequence[str]) -> str:
    """A few tasks by name, many by number.

    >>> _tasks(["a.de", "b.id"]), _tasks(["a.de", "b.id", "c.pl", "d.en"])
    ('a.de and b.id', '4 tasks')
    """
    different = list(dict.fromkeys(names))
    return listed(different) if len(different) <= 3 else counted(len(different), "task")


def pairs_to_show(comparisons: Sequence[TaskComparison]) -> list[tuple[str, str]]:
    """Pairs that the plan names and that met; then all pairs of the tracks, where these are not too many."""
    named: dict[tuple[str, str], None] = {}
    inside: dict[tuple[str, str], None] = {}
    for comparison in comparisons:
        systems = {r.system for r in comparison.records}
        named |= {(a, b): None for a, b in comparison.plan.across_tracks if {a, b} <= systems}
        named |= {(p.system_a, p.system_b): None for p in comparison.pairings if p.family == ACROSS_PROTOCOLS}
        for track in comparison.tracks:
            if track != "reference":
                members = sorted(r.system for r in comparison.records if r.facts.track == track)
                inside |= dict.fromkeys(combinations(members, 2))
    return list(named) + ([p for p in inside if p not in named] if len(inside) <= PAGES else [])


def pair_page(comparisons: Sequence[TaskComparison], a: str, b: str, reader: ClipReader) -> PairPage:
    """Put two systems side by side wherever they met.

    Args:
        comparisons: every comparison of the run.
        a: name of the first system: differences are first less second.
        b: name of the second system.
        reader: reads what the two answered clip by clip.

    Returns:
        What their page is filled with.
    """
    met = [c for c in comparisons if {a, b} <= {r.system for r in c.records}]
    tests = []
    for comparison in comparisons:
        for subject in comparison.subjects:
            for p in comparison.tested(subject):
                if {p.system_a, p.system_b} == {a, b}:
                    tests.append((comparison, subject, p if p.system_a == a else p.turned()))
                    break
    confusions, clips = [], []
    for comparison in [c for c in met if c.condition == "clean"]:
        categories = next((s for s in comparison.subjects if s.metric != "ccc"), None)
        if categories is None:
            continue
        first, second = (next(r for r in comparison.records if r.system == s) for s in (a, b))
        if not on_same_clips(first, second):
            continue  # why the two are not tested stands above
        blocks = categories.block(first), categories.block(second)
        if blocks[0] is not None and blocks[1] is not None:
            difference = tables.difference(
                tables.confusion(first, blocks[0]), tables.confusion(second, blocks[1])
            )
            confusions.append((comparison, difference))
            clips.append(_clips(comparison, categories, first, second, reader))
    return PairPage(a, b, tuple(tests), tuple(confusions[:CONFUSIONS]), tuple(clips))


def _clips(
    comparison: TaskComparison, subject: Subject, first: Record, second: Record, reader: ClipReader
) -> ChangedClips:
    answered = reader.answered(comparison, (first, second))
    if isinstance(answered, str):
        return ChangedClips(
            comparison, absent=answered, agreement=between(reader.run, first, reader.run, second)
        )
    block = subject.block(first)
    assert block is not None
    return compared(comparison, subject.view, block.labels, answered)


def compared(
    comparison: TaskComparison, view: str, labels: tuple[str, ...], answered: TaskAnswers
) -> ChangedClips:
    """Count and list the clips on which two systems (the two of ``answered``) part, in a view.

    Args:
        comparison: where the two met.
        view: a view of the labels.
        labels: its classes, in the order of their codes.
        answered: the task and what both answered.

    Returns:
        Counts of clips by who is right, and the first of those that tell the two apart.
    """
    task = answered.task
    truth = label_codes(task.emotions, view, labels)
    rows = np.flatnonzero(truth >= 0)
    predicted = np.stack([s.codes(view, labels) for s in answered.systems])[:, rows]
    right = predicted == truth[rows]
    one, two = right[0] & ~right[1], right[1] & ~right[0]
    named = task.card.access == "open"
    words = [_words(s) for s in answered.systems]

    def listed(which: NDArray[np.bool_]) -> tuple[ChangedClip, ...]:
        return tuple(
            ChangedClip(task.clip_ids[r] if named else None, labels[truth[r]], words[0][r], words[1][r])
            for r in rows[np.flatnonzero(which)][:CLIPS].tolist()
        )

    return ChangedClips(
        comparison,
        len(rows),
        int(right.all(axis=0).sum()),
        int(one.sum()),
        int(two.sum()),
        int((predicted[0] == predicted[1]).sum()),
        tuple(
            (label, int(own.sum()), int((one & own).sum()), int((two & own).sum()))
            for k, label in enumerate(labels)
            if (own := truth[rows] == k).any()
        ),
        listed(one),
        listed(two),
    )


def _words(system: ClipAnswers) -> list[str]:
    """What was answered to each clip, or how it ended."""
    table = system.table
    return [a or s for a, s in zip(table.answers, table.statuses, strict=True)]
