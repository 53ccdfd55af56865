"""Clip by clip, where a run's tables and labels are at hand: what everybody misses, and where valence and arousal land."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from bench.cards.corpus import CorpusCard
from bench.errors import BenchError
from bench.protocols import DIMENSIONS
from bench.scoring.clip_answers import ClipAnswers, TaskAnswers, label_codes, task_answers
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from bench.tasks import Task
from bench.tasks.rebuilding import RebuiltTasks
from reports.charts.chart import Chart, unit_scale
from reports.data.comparisons import TaskComparison
from reports.formatting import counted, number
from reports.sections.clip_rows import ClipRows, Sound, clip_rows, rated_rows
from reports.sections.folds import NAMED
from reports.sections.hard_clips import Missed, judged_clips, missed_clips
from reports.sections.rated_clips import rated_clips
from reports.sections.sound_pictures import SoundPictures

SYSTEMS_READ = 24
"""Systems whose answers are read clip by clip, the best of each track first."""
PLANES = 8
DOTS = 400
"""Dots drawn in one plane, evenly chosen."""
PLANE = (0, 1)
"""Valence and arousal among the dimensions."""


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
    """Both, for one comparison; ``absent`` says why there is neither, ``left_out`` counts systems that were not read.

    ``rows`` is what the clip browser shows: labels first, then each dimension; ``not_browsed`` says why there is nothing.
    """

    missed: Missed | None
    planes: tuple[Plane, ...]
    absent: str
    left_out: int
    who: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Names of the clusters that each fold tests, where the corpus is open."""
    rows: tuple[ClipRows, ...] = ()
    not_browsed: str = ""


class ClipReader:
    """Reads comparisons clip by clip.

    Args:
        run: where the prediction tables lie.
        data: folders with prepared corpora.
        out: the report's folder.
        audio: whether clips have players, whose addresses are relative to ``out``.
        absent: why nothing is read, where nothing is to be: pages that must be the same on every machine.
        browsed: whether clips go into a browser of their own.

    Raises:
        BenchError: a folder of ``data`` is none, or holds no prepared corpus.
    """

    def __init__(
        self,
        run: Path,
        data: Sequence[Path],
        out: Path,
        *,
        audio: bool,
        absent: str = "",
        browsed: bool = True,
    ) -> None:
        self.run, self._out, self._audio, self._browsed = run, out, audio, browsed
        self.pictures = SoundPictures()
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
        planes, who = tuple(_planes(answered, subject)), _who(answered.task)
        judged = judged_clips(answered, subject) if subject is not None else None
        sound, refused = self._sound(answered), self._refusal(answered.task.card)
        missed = missed_clips(judged, sound.address if sound else None) if judged is not None else None
        if refused:
            return Clipwise(missed, planes, "", left_out, who, (), refused)
        place = comparison.protocol, comparison.condition
        rows = [] if judged is None else [clip_rows(judged, *place, sound, left_out)]
        rows += [rated_rows(rated, *place, sound, left_out) for rated in rated_clips(answered)]
        return Clipwise(missed, planes, "", left_out, who, tuple(rows))

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

    def _refusal(self, card: CorpusCard) -> str:
        """Why clips are not listed one by one; blank where they may be."""
        if not self._browsed:
            return "this report is one file"
        if card.access == "open" or self._audio:
            return ""
        return (
            f"the card says access: {card.access}, so clips are not listed one by one; serbench report --audio lists and plays them on "
            "pages for this machine"
        )

    def _sound(self, answered: TaskAnswers) -> Sound | None:
        if not self._audio:
            return None
        folder = os.path.relpath(answered.folder.absolute(), self._out.absolute())
        number = self.pictures.numbers(answered.task)
        return Sound(
            address=lambda clip: self._address(answered.folder, clip),
            folder=f"{quote(folder)}/",
            picture=lambda row: None if number is None else number[row],
        )

    def _address(self, folder: Path, clip: str) -> str | None:
        """Address a clip's file from the report's folder; none where it is gone. Colons are quoted, so no scheme can begin it."""
        path = folder.absolute() / clip
        return quote(os.path.relpath(path, self._out.absolute())) if path.is_file() else None


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
