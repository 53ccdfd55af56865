"""The committed study of a tuned Audio-LLM: whose plan it is, and that a page says each planned pair once."""

from __future__ import annotations

from pathlib import Path

from bench.execution.planning.matrix import load_matrix
from bench.leaderboard.claims.verdicts import planned_verdicts
from bench.scoring.records import read_records

ROOT = Path(__file__).resolve().parent.parent
RECORDS = read_records(ROOT / "results/studies/audio_lm/records")
LATER = read_records(ROOT / "results/studies/audio_lm_emodb/records")


def test_the_records_are_of_registered_plans_and_the_later_ones_of_the_shipped_matrix() -> None:
    (earlier,) = {r.facts.matrix_hash for r in RECORDS}
    (later,) = {r.facts.matrix_hash for r in LATER}
    assert later == load_matrix("audio_lm")[0].hash != earlier
    for matrix_hash in (earlier, later):
        assert (ROOT / f"results/plans/audio_lm-{matrix_hash}.json").is_file()


def test_a_pair_of_one_track_that_the_plan_names_is_said_once_and_by_the_stricter_family() -> None:
    asked = RECORDS[0].facts.plan.across_tracks
    said = planned_verdicts(RECORDS)
    assert [(p.system_a, p.system_b) for p in said] == list(asked)
    (one,) = (p for p in said if p.system_a == "meralion-ser-small-base")
    assert one.track_a == one.track_b
    assert one.family_size > sum(p.track_a == p.track_b == "adapted" for p in said)
