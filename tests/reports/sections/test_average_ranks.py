"""Ranks over pools in the report: shown from six pools on, each track by itself, reference systems left out."""

from __future__ import annotations

import pytest

from bench.cards.analysis_plan import AnalysisPlan
from bench.scoring.record_schema import RecordFacts, ScoreRow
from bench.scoring.records import Record
from bench.scoring.subject import Subject
from reports.data.comparisons import TaskComparison
from reports.sections.average_ranks import rankings_across_pools

SUBJECT = Subject("native", "wrong", "ua")


def record(task: int, system: str, track: str, estimate: float) -> Record:
    """A record that holds what ranks are made of."""
    score = ScoreRow.model_construct(
        view="native", outside="wrong", metric="ua", dimension=None, rows="all", estimate=estimate
    )
    facts = RecordFacts.model_construct(
        system=system, task=f"corpus{task}.en", track=track, pool=f"pool{task // 2}", scores=(score,), protocol="within",
        condition="clean",
    )  # fmt: skip
    return Record(facts, ())


def comparison(task: int) -> TaskComparison:
    skill = {"good": 0.8, "fair": 0.7, "poor": 0.6}
    records = [record(task, s, "probed", v + 0.001 * task) for s, v in skill.items()]
    records += [record(task, "majority", "reference", 0.9), record(task, "alone", "adapted", 0.95)]
    return TaskComparison(
        f"corpus{task}.en", "within", "clean", AnalysisPlan(), tuple(records), (SUBJECT,), (), ()
    )


@pytest.mark.parametrize("tasks", [10, 12])
def test_six_pools_are_needed_and_two_tasks_of_a_pool_count_once(tasks: int) -> None:
    found = rankings_across_pools([(comparison(t), SUBJECT) for t in range(tasks)])
    if tasks == 10:
        assert found == []
        return
    (ranking,) = found
    assert (ranking.track, ranking.metric) == ("probed", "ua")
    assert ranking.found.systems == ("good", "fair", "poor")
    assert ranking.found.average_ranks == (1, 2, 3)
    assert len(ranking.found.pools) == 6
    assert "majority" not in ranking.drawing
    assert "good" in ranking.drawing
    assert "good 1.00, fair 2.00, poor 3.00" in ranking.words
