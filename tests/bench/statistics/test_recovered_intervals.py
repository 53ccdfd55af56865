"""Intervals of means from those of their parts, held against the jackknife that sees the counts."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from bench.scoring.aggregates import Macro, by_language
from bench.scoring.records import read_records
from bench.statistics.recovered_intervals import PartOfMean, interval_of_mean
from reports.data.comparisons import compare_systems
from reports.sections.system_table import ALL_LANGUAGES, system_table
from reports.sections.task_columns import main_columns, task_columns

QUICK = Path(__file__).resolve().parents[3] / "results/quick/records"


def test_one_part_keeps_its_interval_and_none_leaves_the_range() -> None:
    assert interval_of_mean([PartOfMean(0.9, 0.6, 0.95, 1.0, "a")]) == pytest.approx((0.9, 0.6, 0.95))
    rng = np.random.default_rng(0)
    for _ in range(200):
        ends = np.sort(rng.random((5, 3)), axis=1)
        parts = [PartOfMean(e, low, high, 0.2, int(rng.integers(3))) for low, e, high in ends.tolist()]
        mean, low, high = interval_of_mean(parts)
        assert low is not None
        assert high is not None
        assert 0 <= ends[:, 0].mean() - 1e-12 <= low <= mean <= high <= ends[:, 2].mean() + 1e-12 <= 1 + 1e-12


def test_parts_of_one_group_are_no_independent_evidence_and_a_part_without_interval_leaves_none() -> None:
    parts = [PartOfMean(0.5, 0.4, 0.6, 0.25, g) for g in "aabc"]
    _, low, high = interval_of_mean(parts)
    assert (low, high) == pytest.approx(
        (0.5 - 0.1 * np.sqrt(0.25 + 2 / 16), 0.5 + 0.1 * np.sqrt(0.25 + 2 / 16))
    )
    assert interval_of_mean([*parts, PartOfMean(0.5, None, None, 0.0, "d")])[1:] == (None, None)


def test_it_covers_as_often_as_it_says_with_few_clusters() -> None:
    """Three groups of eight clusters each, Student's t in every part."""
    from scipy.stats import t

    rng = np.random.default_rng(1)
    drawn = rng.normal(0, 0.1, (4000, 3, 8))
    means = drawn.mean(axis=2)
    reach = t.ppf(0.975, 7) * drawn.std(axis=2, ddof=1) / np.sqrt(8)
    covered = 0
    for m, r in zip(means, reach, strict=True):
        parts = [
            PartOfMean(x, x - y, x + y, 1 / 3, i)
            for i, (x, y) in enumerate(zip(m.tolist(), r.tolist(), strict=True))
        ]
        _, low, high = interval_of_mean(parts)
        assert low is not None
        assert high is not None
        covered += low <= 0 <= high
    assert 0.945 <= covered / 4000 <= 0.985


def test_a_page_gives_the_means_that_score_gives_and_intervals_close_to_them() -> None:
    records = [r for r in read_records(QUICK) if r.facts.condition == "clean" and "@" not in r.task]
    records = [
        r for r in records if r.system in ("egemaps-svm", "meralion-ser-small", "whisper-tiny.en-superb")
    ]
    columns = task_columns(compare_systems(records, lambda *_: []))
    table = system_table(columns, main_columns(columns), columns, {})
    subject = table.main[0].subject
    jackknife: dict[str, dict[str, Macro]] = defaultdict(dict)
    for m in by_language(records)[0]:
        if (m.view, m.metric, m.dimension) == (subject.view, subject.metric, subject.dimension):
            jackknife[m.system][m.language] = m
    assert len(table.means) == sum(map(len, jackknife.values()))
    for (system, _, language), found in table.means.items():
        known = jackknife[system][language]
        assert found.estimate == pytest.approx(known.estimate, abs=1e-9)
        assert found.tasks == len(known.tasks)
        if language == ALL_LANGUAGES:
            assert found.low == pytest.approx(known.low, abs=0.015)
            assert found.high == pytest.approx(known.high, abs=0.015)
