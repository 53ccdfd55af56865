"""Scores by language: pools of recordings count once, and a big corpus does not drown a small language."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from bench.cards.analysis_plan import AnalysisPlan
from bench.scoring.aggregates import ALL_LANGUAGES, Macro, by_condition, by_language, rankings
from bench.scoring.record_schema import ClusterFold, RecordFacts
from bench.scoring.records import Counts, Record
from bench.statistics.additive import value
from bench.statistics.intervals import interval
from tests.bench.scoring.test_subgroups import world

PLAN = AnalysisPlan()


def made(
    task: str, language: str, pool: str, counts: np.ndarray, *, condition: str = "clean", system: str = "s"
) -> Record:
    facts = RecordFacts.model_construct(
        system=system, task=task, language=language, pool=pool, track="probed", protocol="within", condition=condition,
        plan=PLAN, cluster="speaker",
        clusters=tuple(ClusterFold.model_construct(name=f"{task} {i}", fold="0") for i in range(len(counts))),
    )  # fmt: skip
    block = Counts("native", "wrong", "all", "category", ("happy", "sad"), counts[np.newaxis])
    return Record(facts, (block,))


def find(rows: list[Macro], language: str) -> Macro:
    (row,) = [r for r in rows if (r.language, r.view, r.metric) == (language, "native", "ua")]
    return row


def ua(counts: np.ndarray) -> float:
    return float(value("ua", counts.sum(axis=0)))


def test_a_big_corpus_does_not_drown_a_small_language() -> None:
    rng = np.random.default_rng(0)
    big, small = world(rng, 60, 0.9, clips=40), world(rng, 8, 0.6, clips=4)
    rows, _ = by_language([made("big.en", "en", "big", big), made("small.ms", "ms", "small", small)])
    assert find(rows, ALL_LANGUAGES).estimate == pytest.approx((ua(big) + ua(small)) / 2, abs=1e-12)
    pooled = (big.sum(axis=0) + small.sum(axis=0)) / 1.0
    assert abs(float(value("ua", pooled)) - ua(big)) < 0.02, (
        "pooling clips would have said what the big corpus says"
    )


def test_two_corpora_of_one_pool_count_once_and_variants_of_english_are_english() -> None:
    rng = np.random.default_rng(1)
    whole, cut, other, malay = (world(rng, 10, a) for a in (0.9, 0.8, 0.6, 0.7))
    rows, _ = by_language(
        [
            made("p-whole.en", "en", "p", whole),
            made("p-cut.en", "en", "p", cut),
            made("q.en-SG", "en-SG", "q", other),
            made("q.en-SG@loso", "en-SG", "q", whole),
            made("r.ms", "ms", "r", malay),
        ]
    )
    english = ((ua(whole) + ua(cut)) / 2 + ua(other)) / 2
    assert find(rows, "en").estimate == pytest.approx(english, abs=1e-12)
    assert (find(rows, "en").pools, find(rows, "en").tasks) == (2, ("p-cut.en", "p-whole.en", "q.en-SG"))
    overall = find(rows, ALL_LANGUAGES)
    assert overall.estimate == pytest.approx((english + ua(malay)) / 2, abs=1e-12)
    assert (overall.languages, overall.pools) == (2, 3)


def test_the_interval_follows_its_formula() -> None:
    rng = np.random.default_rng(2)
    tables = {"en": world(rng, 12, 0.8), "ms": world(rng, 9, 0.7), "ta": world(rng, 15, 0.6)}
    rows, gaps = by_language([made(f"{k}.{k}", k, k, v) for k, v in tables.items()])
    errors = {k: interval("ua", v).standard_error for k, v in tables.items()}
    degrees = {"en": 11, "ms": 8, "ta": 14}
    variance = sum(e**2 for e in errors.values()) / 9
    df = variance**2 / sum((e / 3) ** 4 / degrees[k] for k, e in errors.items())
    half = student.ppf(0.975, df) * np.sqrt(variance)
    overall = find(rows, ALL_LANGUAGES)
    assert (overall.low, overall.high) == pytest.approx(
        (overall.estimate - half, overall.estimate + half), abs=1e-12
    )
    (gap,) = [g.gap for g in gaps if g.gap.metric == "ua"]
    assert (gap.axis, gap.best, gap.worst, gap.groups) == ("language", "en", "ta", 3)
    assert gap.low is not None
    assert gap.high is not None
    assert 0 <= gap.low < gap.gap < gap.high


def test_a_language_whose_corpus_has_one_speaker_has_a_score_and_no_interval() -> None:
    rng = np.random.default_rng(3)
    rows, _ = by_language(
        [made("a.en", "en", "a", world(rng, 9, 0.8)), made("b.ms", "ms", "b", world(rng, 1, 0.7))]
    )
    assert find(rows, "ms").low is None
    assert find(rows, ALL_LANGUAGES).method == "none: b.ms has no interval of its own"


def test_conditions_are_compared_on_the_same_speakers() -> None:
    rng = np.random.default_rng(4)
    clean = world(rng, 12, 0.85)
    noisy = clean.copy()
    noisy[:, 0, 0] -= 2
    noisy[:, 0, 1] += 2
    (gap,) = [
        g
        for g in by_condition(
            [made("a.en", "en", "a", clean), made("a.en", "en", "a", noisy, condition="noise-0db")]
        )
        if g.gap.metric == "ua"
    ]
    assert (gap.task, gap.gap.best, gap.gap.worst) == ("a.en", "clean", "noise-0db")
    assert gap.gap.gap == pytest.approx(2 / 6 / 2)
    # Every speaker loses the same two clips: paired, nothing is left but what one more clip on either side would bring.
    assert gap.gap.low is not None
    assert gap.gap.gap - 0.04 < gap.gap.low < gap.gap.gap


def test_systems_are_ranked_over_pools_from_six_on() -> None:
    rng = np.random.default_rng(5)
    records = [
        made(f"c{p}-{part}.en", "en", f"c{p}", world(rng, 6, accuracy), system=system)
        for p in range(6)
        for part in range(1 + p % 2)
        for system, accuracy in (("good", 0.95), ("fair", 0.75), ("poor", 0.55))
    ]
    (found,) = rankings(records)
    assert not isinstance(found.ranks, str)
    assert found.ranks.systems == ("good", "fair", "poor")
    assert (found.pools, found.ranks.average_ranks) == (6, (1.0, 2.0, 3.0))
    assert found.ranks.p_value < 0.01
    (few,) = rankings([r for r in records if r.facts.pool != "c0"])
    assert few.ranks == (
        "There are 5 pool(s) of recordings (c1, c2, c3, c4, c5); ranks are compared across tasks from 6 on."
    )
