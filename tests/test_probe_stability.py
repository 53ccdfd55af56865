"""The committed measurement of what last bits decide says what was measured, and that less is decided without a chosen stop."""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from bench.features.probes.superb import SuperbProbe
from tests.bench.features.test_probes import make_task, one_fold
from tests.probe_stability import CONSTANT, FALLING, RELATIVE, TASKS, Stability, answered, moved, report

FOLDER = Path(__file__).resolve().parent.parent / "results" / "probe_stability"


@pytest.fixture(scope="module")
def found() -> list[Stability]:
    facts = json.loads((FOLDER / "figures.json").read_text(encoding="utf-8"))
    return [Stability(**one) for one in facts["ways"]]


def test_the_report_of_stability_is_written_from_its_figures(found: list[Stability]) -> None:
    assert (FOLDER / "report.md").read_text(encoding="utf-8") == report(found)


def test_fewer_answers_hang_on_last_bits_and_no_accuracy_is_lost(found: list[Stability]) -> None:
    by_way = {(one.task, one.way): one for one in found}
    assert by_way.keys() == {(task, way) for task in TASKS for way in (FALLING, CONSTANT)}
    for task in TASKS:
        falling, constant = by_way[task, FALLING], by_way[task, CONSTANT]
        assert len(falling.moved) == len(constant.moved) >= 20
        assert sum(falling.changed) < sum(constant.changed) / 4
        assert statistics.mean(falling.moved) >= statistics.mean(constant.moved)


def test_features_are_moved_by_a_millionth_and_answers_by_little() -> None:
    task = one_fold(make_task(clips=60, dims=8), dimensions=np.full((60, 3), np.nan))
    nudged = moved(task, 1)
    share = np.abs(nudged.features / task.features - 1.0)
    assert 0.3 * RELATIVE < share.mean() < 3 * RELATIVE
    probe = SuperbProbe([1e-3, 1e-2], hidden=16, max_steps=60)
    outcomes = [probe.run(each, lambda done, total: None)[0, 0] for each in (task, nudged)]
    assert outcomes[0].notes["category"]["learning_rate"] == outcomes[1].notes["category"]["learning_rate"]
    np.testing.assert_allclose(outcomes[0].probabilities, outcomes[1].probabilities, atol=1e-3)  # type: ignore[arg-type]
    ua, answers = answered(probe, dataclasses.replace(task, seeds=(0,)))
    assert ua > 0.5
    assert len(answers) == len(task.folds[0].test)
