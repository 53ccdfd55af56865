"""The strip of languages on a first page: measured, only catalogued, or nothing; and what measuring one would take."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.errors import BenchError
from bench.scoring.designs import task_spreads
from bench.statistics.power import Design, speakers_needed
from bench.tasks.catalogue import CatalogueEntry
from reports import formatting
from reports.sections.task_columns import ASKED_FIRST, TaskColumn, primary_tag

DIFFERENCE = 0.05
"""Between two systems, of unweighted accuracy: what an unmeasured language is planned for."""
POWER = 0.8


@dataclass(frozen=True)
class LanguageCoverage:
    """One language; ``state`` is ``measured``, ``catalogued`` or ``nothing``."""

    tag: str
    name: str
    tasks: tuple[str, ...]
    speakers: int
    catalogued: tuple[CatalogueEntry, ...]

    @property
    def state(self) -> str:
        """How far it is covered."""
        return "measured" if self.tasks else "catalogued" if self.catalogued else "nothing"

    @property
    def words(self) -> str:
        """How far it is covered, in words."""
        if self.tasks:
            return f"{formatting.counted(len(self.tasks), 'task')}, {formatting.counted(self.speakers, 'speaker')}"
        if self.catalogued:
            return f"{formatting.counted(len(self.catalogued), 'corpus', 'corpora')}, none measured"
        return "no corpus known"


@dataclass(frozen=True)
class Needs:
    """Speakers that would show a difference, by what the measured tasks show of how speakers differ."""

    fewest: int
    middle: int
    most: int
    tasks: int
    clips_fewest: int
    clips_most: int

    @property
    def words(self) -> str:
        """The estimate in one sentence."""
        speakers = (
            f"{self.fewest} to {self.most} speakers (median {self.middle})"
            if self.fewest != self.most
            else formatting.counted(self.fewest, "speaker")
        )
        clips = (
            f"{self.clips_fewest} to {self.clips_most}"
            if self.clips_fewest != self.clips_most
            else str(self.clips_most)
        )
        return (
            f"To find a difference of {100 * DIFFERENCE:g} points between two systems with a probability of {POWER:g}, "
            f"{speakers} with {clips} clips each, judged by how speakers differ on {formatting.counted(self.tasks, 'measured task')}."
        )


def language_strip(
    columns: Sequence[TaskColumn], catalogued: Sequence[CatalogueEntry]
) -> tuple[list[LanguageCoverage], list[LanguageCoverage]]:
    """Say of each language how far it is covered.

    Args:
        columns: what was scored.
        catalogued: tasks of the shipped corpus cards.

    Returns:
        The languages that the suite is about, in its order; all others that were measured or are catalogued, measured first.
    """
    tasks: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
    for c in columns:
        if not c.facts.synthetic:
            tasks[c.language][c.task.partition("@")[0]] = (c.facts.pool, c.facts.speakers)
    known: dict[str, list[CatalogueEntry]] = defaultdict(list)
    for e in catalogued:
        if not e.synthetic and e.language != "mul":
            known[primary_tag(e.language)].append(e)

    def covered(tag: str) -> LanguageCoverage:
        own = tasks.get(tag, {})
        speakers: dict[str, int] = {}
        for pool, n in own.values():
            speakers[pool] = max(n, speakers.get(pool, 0))
        entries = tuple(e for e in known.get(tag, ()) if e.name not in own)
        return LanguageCoverage(
            tag, formatting.language_name(tag), tuple(sorted(own)), sum(speakers.values()), entries
        )

    others = [covered(t) for t in {*tasks, *known} if t not in ASKED_FIRST]
    return [covered(t) for t in ASKED_FIRST], sorted(others, key=lambda c: (c.state != "measured", c.name))


def what_it_takes(main: Sequence[TaskColumn]) -> Needs | None:
    """Plan for a language that nobody measured: speakers that tell two systems apart, from the two best of a track on each task.

    Args:
        main: the columns that means are taken over, in unweighted accuracy.

    Returns:
        Fewest, median and most over the tasks; None where no two systems met, or the metric is another.
    """
    needed, clips = [], []
    for column in main:
        if column.subject.metric != "ua" or column.facts.synthetic:
            continue
        pair = _two_best(column)
        if pair is None:
            continue
        try:
            (found,) = task_spreads([column.records[s] for s in pair], "ua", pair=pair)
            # For the weights at hand: trainings would ask for seeds, not for speakers.
            spread = replace(found.typical, training=0.0)
            speakers = speakers_needed(spread, Design(2, found.clips), DIFFERENCE, power=POWER)
        except (BenchError, ValueError):
            continue
        if speakers is not None:
            needed.append(speakers)
            clips.append(round(found.clips))
    if not needed:
        return None
    middle = round(statistics.median(needed))
    return Needs(min(needed), middle, max(needed), len(needed), min(clips), max(clips))


def _two_best(column: TaskColumn) -> tuple[str, str] | None:
    for comparison in column.comparisons:
        for track in comparison.tracks:
            members = comparison.members(column.subject, track)
            if track != "reference" and len(members) > 1:
                return members[0].system, members[1].system
    return None
