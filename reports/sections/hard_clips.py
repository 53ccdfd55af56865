"""Which clips are hard: what the systems of a comparison answered to each, and how sure they were of what is wrong.

Hard clips are ordered by the probability that systems gave to their own class. Systems that hear through one frozen
network count as one, and speakers take turns, so that neither one encoder nor one voice fills the list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.protocols import SAMPLE_RATE
from bench.scoring.clip_answers import NOWHERE, ClipAnswers, TaskAnswers, label_codes
from bench.scoring.subject import Subject
from bench.tasks import Task
from reports.data.shared_features import same_hearing
from reports.formatting import listed

CLIPS_SHOWN = 30
OTHER = "other / none"
"""An answer outside the view, or none."""


@dataclass(frozen=True)
class MissedClip:
    """A clip that systems miss. ``clip`` is None where the corpus is not open; ``audio`` is an address for a player."""

    clip: str | None
    truth: str
    seconds: float
    missed: int
    answers: tuple[tuple[str, int], ...]
    votes: str
    audio: str | None


@dataclass(frozen=True)
class MissedClass:
    """A class, its clips, those that every system misses, and how many that would be if misses were independent."""

    label: str
    clips: int
    missed: int
    expected: float


@dataclass(frozen=True)
class Missed:
    """What the systems of a comparison have in common in their errors."""

    systems: tuple[str, ...]
    clips: int
    by_all: int
    by_nobody: int
    expected: float
    classes: tuple[MissedClass, ...]
    hardest: tuple[MissedClip, ...]
    hard: int
    """Clips that more than half of the systems miss; ``hardest`` are the first of them."""
    by_probability: bool
    """Whether any system gave probabilities to order clips by."""
    together: tuple[str, ...]
    """Systems that count as one, in words."""
    spread: bool
    """Whether speakers take turns in the list."""
    tied: int
    """Clips that are not listed and are missed just as the last one that is."""
    named: bool
    players: bool


@dataclass(frozen=True)
class JudgedClips:
    """The clips of a comparison that its view scores, with what each system made of them.

    Args:
        answered: the task's clips and what systems answered.
        view: a view of the labels.
        labels: its classes, in the order of their codes.
    """

    answered: TaskAnswers
    view: str
    labels: tuple[str, ...]

    @property
    def task(self) -> Task:
        """Their task."""
        return self.answered.task

    @property
    def systems(self) -> tuple[ClipAnswers, ...]:
        """Who answered."""
        return self.answered.systems

    @cached_property
    def _codes(self) -> NDArray[np.intp]:
        return label_codes(self.task.emotions, self.view, self.labels)

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """Rows of the task whose label lies in the view, (clips,)."""
        return np.flatnonzero(self._codes >= 0)

    @cached_property
    def truth(self) -> NDArray[np.intp]:
        """Place of each clip's class in ``labels``, (clips,)."""
        return self._codes[self.rows]

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """Place of each answer in ``labels``, (systems, clips); −1 for another answer, and for none."""
        return np.stack([s.codes(self.view, self.labels) for s in self.systems])[:, self.rows]

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """Who misses what, (systems, clips)."""
        return np.asarray(self.predicted != self.truth)

    @cached_property
    def given(self) -> NDArray[np.float64]:
        """Probability given to each clip's own class, (systems, clips); NaN where a system gave none."""
        return np.stack([self._given(s, self.truth) for s in self.systems])

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Probability given to what was answered, (systems, clips); NaN where a system gave none, or no answer."""
        return np.stack([self._given(s, p) for s, p in zip(self.systems, self.predicted, strict=True)])

    def _given(self, system: ClipAnswers, codes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Probability of the classes of ``codes``; of an answer outside the view, of that answer."""
        table, none = system.table, np.full(len(self.rows), np.nan)
        if table.probabilities is None:
            return none
        columns = label_codes(table.labels, self.view, self.labels)
        given = table.probabilities[self.rows]
        place = {label: k for k, label in enumerate(table.labels)}
        own = (columns[np.newaxis, :] == codes[:, np.newaxis]) & (codes[:, np.newaxis] >= 0)
        for j in np.flatnonzero(codes == NOWHERE):
            answer = table.answers[self.rows[j]]
            if answer in place:
                own[j, place[answer]] = True
        known = own.any(axis=1) & np.isfinite(given).all(axis=1)
        none[known] = np.where(own, given, 0.0).sum(axis=1)[known]
        return none

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Systems that hear through one frozen network, by place."""
        return same_hearing([s.record for s in self.systems])

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        """What each system counts, (systems,), summing to 1: a group as much as any other."""
        weights = np.zeros(len(self.systems))
        for own in self.groups:
            weights[list(own)] = 1 / (len(own) * len(self.groups))
        return weights

    @cached_property
    def hard(self) -> NDArray[np.bool_]:
        """Clips that more than half of the systems miss, (clips,), systems that hear alike counting as one."""
        return self._weights @ self.wrong > 0.5 + 1e-9

    @cached_property
    def belief(self) -> NDArray[np.float64]:
        """Mean probability of each clip's own class, (clips,): an answer without probabilities counts 1 where it is right, else 0."""
        known = np.where(np.isfinite(self.given), self.given, (~self.wrong).astype(float))
        mean: NDArray[np.float64] = (self._weights @ known).round(9)
        return mean

    @cached_property
    def rounds(self) -> NDArray[np.intp]:
        """Which clip of its speaker each is, (clips,): 0 for the speaker's hardest. 0 where nobody knows the speaker."""
        found = np.zeros(len(self.rows), dtype=np.intp)
        seen: Counter[tuple[bool, str]] = Counter()
        for j in sorted(range(len(self.rows)), key=self._hardness):
            if speaker := self.task.speakers[self.rows[j]]:
                place = bool(self.hard[j]), speaker
                found[j] = seen[place]
                seen[place] += 1
        return found

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Clips, hardest first: the hard ones before the others, each speaker's first before anybody's second."""
        return tuple(sorted(range(len(self.rows)), key=lambda j: (*self.place(j), self._clip(j))))

    def place(self, j: int) -> tuple[bool, int, float]:
        """Where a clip stands in the order; equals are told apart by name alone."""
        return not self.hard[j], int(self.rounds[j]), float(self.belief[j])

    def _hardness(self, j: int) -> tuple[bool, float, str]:
        return not self.hard[j], float(self.belief[j]), self._clip(j)

    def _clip(self, j: int) -> str:
        return str(self.task.clip_ids[self.rows[j]])

    @property
    def together(self) -> tuple[str, ...]:
        """Systems that count as one, in words."""
        return tuple(
            listed([self.systems[k].record.system for k in own]) for own in self.groups if len(own) > 1
        )


def judged_clips(answered: TaskAnswers, subject: Subject) -> JudgedClips | None:
    """Put answers beside the labels of a view; None where no system has scores in it.

    Args:
        answered: the task's clips and what systems answered.
        subject: its categories.
    """
    block = next((b for s in answered.systems if (b := subject.block(s.record)) is not None), None)
    return None if block is None else JudgedClips(answered, subject.view, block.labels)


def missed_clips(judged: JudgedClips, address: Callable[[str], str | None] | None) -> Missed:
    """Count what systems miss, and list the hardest clips.

    Args:
        judged: the clips with every answer.
        address: where a clip's player finds its file; None for no players.
    """
    misses = judged.wrong.sum(axis=0)
    classes = tuple(_classes(judged, misses))
    hard = [j for j in judged.order if judged.hard[j]]
    hardest, rest = hard[:CLIPS_SHOWN], hard[CLIPS_SHOWN:]
    named = judged.task.card.access == "open" or address is not None
    return Missed(
        systems=tuple(s.record.system for s in judged.systems),
        clips=len(judged.rows),
        by_all=int((misses == len(judged.systems)).sum()),
        by_nobody=int((misses == 0).sum()),
        expected=sum(c.expected for c in classes),
        classes=classes,
        hardest=tuple(_clip(judged, j, int(misses[j]), named, address) for j in hardest),
        hard=len(hard),
        by_probability=bool(np.isfinite(judged.given).any()),
        together=judged.together,
        spread=bool(judged.rounds[hard].any()),
        tied=sum(judged.place(j) == judged.place(hardest[-1]) for j in rest),
        named=named,
        players=address is not None,
    )


def _classes(judged: JudgedClips, misses: NDArray[np.intp]) -> Iterator[MissedClass]:
    for k, label in enumerate(judged.labels):
        own = judged.truth == k
        if own.any():
            independent = float(own.sum() * judged.wrong[:, own].mean(axis=1).prod())
            yield MissedClass(
                label, int(own.sum()), int((misses[own] == len(judged.systems)).sum()), independent
            )


def _clip(
    judged: JudgedClips, j: int, missed: int, named: bool, address: Callable[[str], str | None] | None
) -> MissedClip:
    row, names = int(judged.rows[j]), (*judged.labels, OTHER)
    clip = judged.task.clip_ids[row]
    return MissedClip(
        clip if named else None,
        names[judged.truth[j]],
        judged.task.decoded[row].samples / SAMPLE_RATE,
        missed,
        tuple(Counter(names[c] for c in judged.predicted[:, j]).most_common(3)),
        votes_words(judged.task, row, 3),
        address(clip) if address else None,
    )


def votes_words(task: Task, row: int, most: int) -> str:
    """What listeners said of a clip, commonest first; blank where nobody was asked.

    Args:
        task: the task, with its votes.
        row: place of the clip.
        most: at most so many names.
    """
    commonest = sorted((task.votes[row] or {}).items(), key=lambda v: (-v[1], v[0]))[:most]
    return ", ".join(f"{name or 'another'} {n:g}" for name, n in commonest)
