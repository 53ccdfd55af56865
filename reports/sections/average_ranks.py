"""Average ranks over pools of recordings, for the tracks of a run that were scored on enough of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import CannotSeparate
from bench.scoring.subject import Subject
from bench.statistics.additive import METRICS
from bench.statistics.ranking import AcrossPools, TaskScore, rank_across_pools
from reports.charts.critical_difference import critical_difference_svg, in_words
from reports.data.comparisons import TaskComparison


@dataclass(frozen=True)
class TrackRanking:
    """One track under one protocol and condition, in one metric, ranked over pools; with its diagram and its sentence."""

    track: str
    protocol: str
    condition: str
    metric: str
    found: AcrossPools
    drawing: str
    words: str


def rankings_across_pools(shown: Sequence[tuple[TaskComparison, Subject]]) -> list[TrackRanking]:
    """Rank each track's systems over pools by their scores for the subjects shown; tracks with too little are left out."""
    scores: dict[tuple[str, str, str, str], list[TaskScore]] = defaultdict(list)
    level = {}
    for comparison, subject in shown:
        for record in comparison.records:
            row, track = subject.row(record), str(record.facts.track)
            if row is None or track == "reference":
                continue  # reference systems do not compete
            key = (track, comparison.protocol, comparison.condition, subject.metric)
            level[key] = comparison.plan.level
            pool = record.facts.pool
            scores[key].append(TaskScore(pool, comparison.task, record.system, row.estimate))
    made = []
    for key, own in scores.items():
        try:
            found = rank_across_pools(
                own, level=level[key], higher_is_better=METRICS[key[3]].higher_is_better
            )
        except CannotSeparate:
            continue
        made.append(TrackRanking(*key, found, critical_difference_svg(found), in_words(found)))
    return made
