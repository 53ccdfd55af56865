"""Clip by clip, where a run's tables and labels are at hand: what everybody misses, and where valence and arousal land."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.protocols import DIMENSIONS, SAMPLE_RATE
from bench.scoring.clip_answers import ClipAnswers, TaskAnswers, label_codes, task_answers
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from bench.tasks import Task
from bench.tasks.rebuilding import RebuiltTasks
from reports.charts.chart import Chart, unit_scale
from reports.data.comparisons import TaskComparison
from reports.formatting import counted, number
from reports.sections.folds import NAMED

SYSTEMS_READ = 24
"""Systems whose answers are read clip by clip, the best of each track first."""
CLIPS_SHOWN = 30
PLANES = 8
DOTS = 400
"""Dots drawn in one plane, evenly chosen."""
PLANE = (0, 1)
"""Valence and arousal among the dimensions."""


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
    """Whether equals are ordered by how little probability their class was given, as far as systems gave any."""
    tied: int
    """Clips that are not listed and are missed just as the last one that is."""
    named: bool
    players: bool


@dataclass(frozen=True)
class PlaneRow:
    """A class: clips, mean valence and arousal as labelled and as answered."""

    label: str
    clips: int
    truth: tuple[float, float]
    answered: tuple[float, float]


@dataclass(frozen=True)
class Plane:
    """Where one system puts the clips on the plane of valence and arousal."""

    record: Record
    chart: Chart | None
    ccc: tuple[str, ...]
    rows: tuple[PlaneRow, ...]
    drawn: int
    clips: int


@dataclass(frozen=True)
class Clipwise:
    """Both, for one comparison; ``absent`` says why there is neither, ``left_out`` counts systems that were not read."""

    missed: Missed | None
    planes: tuple[Plane, ...]
    absent: str
    left_out: int
    who: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Names of the clusters that each fold tests, where the corpus is open."""


class ClipReader:
    """Reads comparisons clip by clip.

    Args:
        run: where the prediction tables lie.
        data: folders with prepared corpora.
        out: the report's folder.
        audio: whether clips have players, whose addresses are relative to ``out``.
        absent: why nothing is read, where nothing is to be: pages that must be the same on every machine.

    Raises:
        BenchError: a folder of ``data`` is none, or holds no prepared corpus.
    """

    def __init__(self, run: Path, data: Sequence[Path], out: Path, *, audio: bool, absent: str = "") -> None:
        self.run, self._out, self._audio = run, out, audio
        self._tasks: RebuiltTasks | None = None
        self._held: dict[tuple[str, str, str], dict[str, TaskAnswers]] = {}
        self._why = absent
        if absent:
            return
        try:
            self._tasks = RebuiltTasks.of_run(run, data, decode=False)
        except BenchError:
            if data:
                raise
            self._why = "SERBENCH_DATA names no folder with prepared corpora"

    def read(
        self, comparison: TaskComparison, ordered: Sequence[Record], subject: Subject | None
    ) -> Clipwise:
        """Lay out a comparison's clips.

        Args:
            comparison: a task under one protocol and condition.
            ordered: its records, best first.
            subject: its categories, if any.

        Returns:
            Clips missed and planes of valence and arousal, or why there is neither.
        """
        competing = [r for r in ordered if r.facts.track != "reference"]
        chosen = competing[:SYSTEMS_READ]
        left_out = len(competing) - len(chosen)
        if not chosen:
            return Clipwise(None, (), "no system competes here", 0)
        answered = self.answered(comparison, chosen)
        if isinstance(answered, str):
            return Clipwise(None, (), answered, left_out)
        missed = self._missed(answered, subject) if subject is not None else None
        return Clipwise(missed, tuple(_planes(answered, subject)), "", left_out, _who(answered.task))

    def answered(self, comparison: TaskComparison, records: Sequence[Record]) -> TaskAnswers | str:
        """Read what systems of a comparison answered to each clip, once, or say why that cannot be shown."""
        if self._tasks is None:
            return self._why
        place = (comparison.task, comparison.protocol, comparison.condition)
        held = self._held.setdefault(place, {})
        try:
            if new := [r for r in records if r.system not in held]:
                found = task_answers(self.run, new, self._tasks)
                held.update({s.record.system: replace(found, systems=(s,)) for s in found.systems})
        except BenchError as error:
            return _reason(error, comparison)
        chosen = [held[r.system] for r in records]
        return replace(chosen[0], systems=tuple(s for a in chosen for s in a.systems))

    def _missed(self, answered: TaskAnswers, subject: Subject) -> Missed | None:
        block = next((b for s in answered.systems if (b := subject.block(s.record)) is not None), None)
        if block is None:
            return None
        task, labels = answered.task, block.labels
        truth = label_codes(task.emotions, subject.view, labels)
        rows = np.flatnonzero(truth >= 0)
        predicted = np.stack([s.codes(subject.view, labels) for s in answered.systems])
        wrong = predicted[:, rows] != truth[rows]
        misses = wrong.sum(axis=0)
        classes = []
        for k, label in enumerate(labels):
            own = truth[rows] == k
            if own.any():
                independent = float(own.sum() * wrong[:, own].mean(axis=1).prod())
                everyone = int((misses[own] == len(predicted)).sum())
                classes.append(MissedClass(label, int(own.sum()), everyone, independent))
        sure = _probability_of_truth(answered.systems, subject.view, labels, truth)[rows]
        place = [(-int(misses[j]), float(sure[j])) for j in range(len(rows))]
        order = sorted(range(len(rows)), key=lambda j: (*place[j], task.clip_ids[rows[j]]))
        hard = [j for j in order if misses[j] > len(predicted) / 2]
        hardest, rest = hard[:CLIPS_SHOWN], hard[CLIPS_SHOWN:]
        named = task.card.access == "open"
        return Missed(
            systems=tuple(s.record.system for s in answered.systems),
            clips=len(rows),
            by_all=int((misses == len(predicted)).sum()),
            by_nobody=int((misses == 0).sum()),
            expected=sum(c.expected for c in classes),
            classes=tuple(classes),
            hardest=tuple(
                self._clip(answered, int(rows[j]), labels, truth, predicted, int(misses[j]), named=named)
                for j in hardest
            ),
            hard=len(hard),
            by_probability=bool(np.ptp(sure[hard]) > 0) if hard else False,
            tied=sum(place[j] == place[hardest[-1]] for j in rest),
            named=named or self._audio,
            players=self._audio,
        )

    def _clip(
        self,
        answered: TaskAnswers,
        row: int,
        labels: tuple[str, ...],
        truth: NDArray[np.intp],
        predicted: NDArray[np.intp],
        missed: int,
        *,
        named: bool,
    ) -> MissedClip:
        task, names = answered.task, (*labels, "other / none")
        answers = Counter(names[c] for c in predicted[:, row])
        votes = task.votes[row] or {}
        commonest = sorted(votes.items(), key=lambda v: (-v[1], v[0]))[:3]
        clip = task.clip_ids[row]
        return MissedClip(
            clip if named or self._audio else None,
            labels[truth[row]],
            task.decoded[row].samples / SAMPLE_RATE,
            missed,
            tuple(answers.most_common(3)),
            ", ".join(f"{name or 'another'} {n:g}" for name, n in commonest),
            self._address(answered.folder, clip) if self._audio else None,
        )

    def _address(self, folder: Path, clip: str) -> str | None:
        """Address a clip's file from the report's folder; none where it is gone. Colons are quoted, so no scheme can begin it."""
        path = folder.absolute() / clip
        return quote(os.path.relpath(path, self._out.absolute())) if path.is_file() else None


def _probability_of_truth(
    systems: Sequence[ClipAnswers], view: str, labels: tuple[str, ...], truth: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Mean probability of each clip's own class over the systems that gave any, (clips,); one value where none did."""
    given = []
    for system in systems:
        table = system.table
        if table.probabilities is None:
            continue
        columns = label_codes(table.labels, view, labels)
        own = (columns[np.newaxis, :] == truth[:, np.newaxis]) & (truth[:, np.newaxis] >= 0)
        given.append(np.where(own, np.nan_to_num(table.probabilities), 0.0).sum(axis=1))
    if not given:
        return np.zeros(len(truth))
    mean: NDArray[np.float64] = np.stack(given).mean(axis=0).round(9)
    return mean


def _who(task: Task) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if task.card.access != "open":
        return ()
    return tuple(
        (f.name, tuple(sorted({task.clusters[i] for i in f.test.tolist()}))[:NAMED]) for f in task.folds
    )


def _reason(error: BenchError, comparison: TaskComparison) -> str:
    """Say why labels or tables are not at hand, without the paths of this machine."""
    message = str(error)
    for found, words in (
        (
            "is not decoded yet",
            "the audio of its corpus was never decoded on this machine; serbench score RUN --from tables does that",
        ),
        (
            "no prepared folder of it is at hand",
            f"the labels of {comparison.facts.corpus} are not at hand; name its folder with --data or SERBENCH_DATA",
        ),
        (
            "was scored on other",
            f"the prepared folder of {comparison.facts.corpus} is not the one that was scored",
        ),
        ("missing, though", "the prediction tables of this run are not at hand"),
        ("changed since", "prediction tables of this run were changed after they were scored"),
    ):
        if found in message:
            return words
    return "its tables or labels cannot be read; serbench score RUN --from tables says why"


def _planes(answered: TaskAnswers, subject: Subject | None) -> list[Plane]:
    """One plane per system that answers valence and arousal, where the task has both."""
    true = answered.task.dimensions[:, PLANE]
    if not np.isfinite(true).all(axis=1).any():
        return []
    found: list[Plane] = []
    for system in answered.systems:
        given = system.dimensions[:, PLANE]
        both = np.asarray(np.isfinite(np.hstack([true, given])).all(axis=1))
        if both.any():
            found.append(_plane(answered, system, subject, both, drawn=len(found) < PLANES))
    return found


def _plane(
    answered: TaskAnswers,
    system: ClipAnswers,
    subject: Subject | None,
    both: NDArray[np.bool_],
    *,
    drawn: bool,
) -> Plane:
    true, given = answered.task.dimensions[:, PLANE], system.dimensions[:, PLANE]
    rows = [_plane_row(label, own, true, given) for label, own in _classes(answered, system, subject, both)]
    usable = np.flatnonzero(both)
    shown = usable[np.linspace(0, len(usable) - 1, min(len(usable), DOTS)).round().astype(int)]
    ccc = tuple(
        f"{d} {number(row.estimate, percent=False)}"
        for d in (DIMENSIONS[i] for i in PLANE)
        if (row := Subject("dimensions", "wrong", "ccc", d).row(system.record)) is not None
    )
    chart = _plane_chart(system, rows, given[shown], true[shown], ccc) if drawn else None
    return Plane(system.record, chart, ccc, tuple(rows), len(shown), int(both.sum()))


def _classes(
    answered: TaskAnswers, system: ClipAnswers, subject: Subject | None, both: NDArray[np.bool_]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Clips of each class; all clips as one where the task has no categories."""
    block = subject.block(system.record) if subject is not None else None
    if subject is None or block is None:
        return [("all clips", both)]
    truth = label_codes(answered.task.emotions, subject.view, block.labels)
    return [(label, own) for k, label in enumerate(block.labels) if (own := both & (truth == k)).any()]


def _plane_row(
    label: str, own: NDArray[np.bool_], true: NDArray[np.float64], given: NDArray[np.float64]
) -> PlaneRow:
    at, put = true[own].mean(axis=0), given[own].mean(axis=0)
    return PlaneRow(label, int(own.sum()), (float(at[0]), float(at[1])), (float(put[0]), float(put[1])))


def _plane_chart(
    system: ClipAnswers,
    rows: Sequence[PlaneRow],
    given: NDArray[np.float64],
    true: NDArray[np.float64],
    ccc: Sequence[str],
) -> Chart:
    alt = (
        f"Valence and arousal by {system.record.system}: {counted(len(given), 'clip')} as answered, as labelled in the background, and for "
        f"each class an arrow from its mean label to its mean answer. CCC {', '.join(ccc) or 'none'}."
    )
    chart = Chart(alt, unit_scale("valence"), unit_scale("arousal"), width=300, height=290)
    chart.dots("cloud truth", _distinct(true))
    chart.dots("cloud", _distinct(given))
    for r in rows:
        chart.arrow("arrow", r.truth, r.answered)
        chart.dots("anchor", [r.truth])
    for r in rows:
        chart.word(*r.truth, r.label, anchor="end" if r.truth[0] > 0.7 else "start", style="name", up=6)
    return chart


def _distinct(points: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Points of a plane, those that would fall on one pixel once."""
    return [(float(x), float(y)) for x, y in dict.fromkeys(map(tuple, points.round(3).tolist()))]
