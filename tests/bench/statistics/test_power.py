"""Power by arithmetic: against scipy's non-central t, simulated corpora, and records that were published."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import nct
from scipy.stats import t as student
from typer.testing import CliRunner

from bench.cli.app import app
from bench.errors import UsageError
from bench.scoring.designs import TYPICAL, median_spread, task_spreads
from bench.scoring.records import read_record
from bench.statistics.paired_tests import compare_family
from bench.statistics.power import (
    Design,
    DifferenceSpread,
    design_error,
    difference_seen,
    power_of,
    speakers_needed,
    spread_of,
)
from bench.statistics.two_way import CrossedTable
from tests.bench.statistics.validity.worlds import World, simulate

RESULTS = Path(__file__).resolve().parents[3] / "results"


@pytest.mark.parametrize("speakers", [6, 10, 40, 200])
def test_power_is_that_of_the_non_central_t(speakers: int) -> None:
    spread, design = DifferenceSpread(0.1, 0.6), Design(speakers, 42)
    shift = 0.05 / np.sqrt((0.1**2 + 0.6**2 / 42) / speakers)
    bar = student.ppf(0.975, speakers - 1)
    exact = nct.sf(bar, speakers - 1, shift) + nct.cdf(-bar, speakers - 1, shift)
    assert power_of(spread, design, 0.05) == pytest.approx(exact, abs=2e-3)


def test_power_agrees_with_what_the_test_finds_in_simulated_corpora() -> None:
    """UA, 20 speakers, 5 points: within 5 points of power and the Monte-Carlo error of 400 corpora."""
    world = World("ua", offsets=(0.07, 0.0))
    pilot = next(simulate(world, 1000, 1, (7,), clips=False)).statistics[0]
    first, second = (CrossedTable(s[np.newaxis], np.arange(1000), seeded=False) for s in pilot)
    spread = spread_of("ua", first, second)
    found = [
        compare_family("ua", own, n_resamples=499)[0].p_value <= 0.05 + 1e-12
        for block in simulate(world, 20, 400, (8,), clips=False)
        for own in block.statistics
    ]
    assert power_of(spread, Design(20, 42), 0.07) == pytest.approx(np.mean(found), abs=0.05 + 0.05)


def test_at_the_design_at_hand_the_error_is_the_comparisons_own() -> None:
    statistics = next(simulate(World("ua", offsets=(0.05, 0.0)), 20, 1, (1,), clips=False)).statistics[0]
    tables = [CrossedTable(s[np.newaxis], np.arange(20), seeded=False) for s in statistics]
    spread = spread_of("ua", *tables)
    error, degrees = design_error(spread, Design(20, statistics[0].sum() / 20))
    assert error == pytest.approx(compare_family("ua", statistics)[0].standard_error)
    assert degrees == 19


def test_more_of_anything_is_never_less_power_and_needs_are_met() -> None:
    spread = DifferenceSpread(0.08, 0.6, 0.01)
    powers = [power_of(spread, Design(g, 40, 3), 0.06) for g in range(2, 400)]
    assert np.all(np.diff(powers) >= -1e-12)
    assert powers[:4] == [0, 0, 0, 0], "five speakers have no pattern of swaps rarer than 1 in 16"
    needed = speakers_needed(spread, Design(2, 40, 3), 0.06)
    assert needed is not None
    assert powers[needed - 2] >= 0.8 > powers[needed - 3]
    seen = difference_seen(spread, Design(needed, 40, 3))
    assert seen is not None
    assert 0.055 < seen <= 0.0601
    assert speakers_needed(spread, Design(2, 40, 1), 0.06) is None, "one training says nothing of others"
    assert difference_seen(spread, Design(5, 40, 3)) is None


def test_what_matrices_are_planned_with_is_near_what_was_published() -> None:
    records = [read_record(p) for p in sorted((RESULTS / "quick" / "records").glob("*within__clean.json"))]
    found = median_spread([t.typical for t in task_spreads(records)])
    assert found.between == pytest.approx(TYPICAL.between, abs=0.03)
    assert found.within == pytest.approx(TYPICAL.within, abs=0.12)


def test_the_command_plans_from_records_and_from_given_numbers(tmp_path: Path) -> None:
    run = CliRunner().invoke
    plot = tmp_path / "power.svg"
    asked = [
        "power",
        str(RESULTS / "quick"),
        "--task",
        "indowave.id",
        "--clips",
        "30",
        "--json",
        "--plot",
        str(plot),
    ]
    done = run(app, asked)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert {t["task"] for t in said["tasks"]} == {"indowave.id"}
    assert said["needed"][0]["clips"] == 30
    assert plot.read_text().startswith("<?xml")
    given = run(app, ["power", "--between", "5", "--within", "50", "--difference", "5", "--pairs", "10"])
    assert given.exit_code == 0, given.output
    assert "one of 10 pairs" in given.output


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--between", "5"], "give both --between and --within"),
        (["--between", "-1", "--within", "5"], "expected points, 0 or more"),
        (["--difference", "0"], "expected points above 0"),
        (["--power", "100"], "expected per cent"),
        ([str(RESULTS / "quick"), "--task", "nothing.xx"], "no two systems of one track met"),
        ([str(RESULTS / "no-such-folder")], "holds no records"),
        (["--plot", "power.png"], "ends in .svg"),
    ],
)
def test_odd_questions_get_one_sentence(asked: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["power", *asked])
    assert done.exit_code != 0
    said = done.output + str(done.exception)
    assert words in said


def test_a_design_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="two speakers or more"):
        Design(1, 10)
