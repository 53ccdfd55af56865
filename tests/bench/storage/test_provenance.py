"""The sidecar's sums, on sessions simple enough to add up by hand."""

from __future__ import annotations

import pytest

from bench.storage.journal import JobRow
from bench.storage.provenance import harness_share, sidecar


def job(started: float, seconds: float, work: float, *, kind: str = "fit", clips: int = 10) -> JobRow:
    return JobRow("s", kind, kind, kind, clips, seconds, work, started)


def test_time_around_models_and_time_without_any_job_is_the_harness() -> None:
    # Two workers for 10 s: jobs cover 1..9 without a gap; 2 s of nobody working count for both workers.
    jobs = [job(1.0, 4.0, 3.5), job(3.0, 6.0, 6.0)]
    assert harness_share(jobs, wall=10.0, workers=2) == pytest.approx(
        (2 * 2 + 0.5) / (2 * 2 + 10.0), abs=1e-4
    )


def test_waiting_for_the_last_long_fit_is_not_the_harness() -> None:
    jobs = [job(0.0, 2.0, 2.0), job(0.0, 10.0, 10.0)]
    assert harness_share(jobs, wall=10.0, workers=2) == 0.0


def test_a_session_that_was_killed_has_no_share() -> None:
    assert harness_share([job(0.0, 1.0, 1.0)], wall=None, workers=2) is None


def test_the_sidecar_counts_passes_per_kind_of_work() -> None:
    session = {"session": "s", "started": 0.0, "wall_seconds": 3.0, "workers": 1, "facts": '{"cores": 2}'}
    found = sidecar(
        [session], [job(0.0, 1.0, 1.0, kind="decode"), job(1.0, 1.0, 0.5, kind="decode", clips=5)]
    )
    assert found["work"]["decode"] == {
        "jobs": 2,
        "clips": 15,
        "seconds": 2.0,
        "work_seconds": 1.5,
        "failed": 0,
    }
    assert found["sessions"][0]["cores"] == 2
