"""Seeds as a second source of chance: the interval with seeds drawn anew, and what a verdict says of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from bench.protocols import Array
from bench.scoring.comparisons import compare_pair
from bench.scoring.pair_results import PairResult, sentence
from bench.scoring.records import read_records
from bench.statistics.paired_tests import compare_family
from bench.statistics.seed_variance import redrawn_interval, seed_variance


def tables(recalls: Array, clips: int = 60) -> Array:
    """Confusion counts (seeds, clusters, 2, 3) of two classes, each with ``clips`` clips per cluster; recalls (seeds, clusters, 2)."""
    right = np.rint(recalls * clips)
    counts = np.zeros((*recalls.shape, 3))
    for k in range(2):
        counts[..., k, k] = right[..., k]
        counts[..., k, 1 - k] = clips - right[..., k]
    return counts


def redrawn(metric: str, first: Array, second: Array) -> tuple[float, float] | None:
    (pair,) = compare_family(metric, np.stack([first.mean(axis=0), second.mean(axis=0)]))
    return redrawn_interval(pair, seed_variance(metric, first), seed_variance(metric, second))


def drawn(rng: np.random.Generator, seeds: int, clusters: int, spread: float) -> Array:
    ability = rng.normal(0, 0.08, (1, clusters, 1)) + rng.normal(0, spread, (seeds, 1, 1))
    return tables(np.clip(0.6 + ability + rng.normal(0, 0.02, (seeds, clusters, 2)), 0, 1))


def test_it_is_the_two_way_variance_computed_another_way() -> None:
    """With equal clusters UA is a plain mean, so every part of the variance is one of an analysis of variance."""
    rng = np.random.default_rng(4)
    first, second = drawn(rng, 3, 12, 0.05), drawn(rng, 5, 12, 0.03)

    def recalls(counts: Array) -> Array:
        return np.asarray(np.einsum("sgkk->sg", counts[..., :2]) / counts.sum(axis=(2, 3)))

    a, b = recalls(first), recalls(second)
    gaps = a.mean(axis=0) - b.mean(axis=0)
    parts = [(gaps.var(ddof=1) / 12, 11)]
    for own in (a, b):
        n = len(own)
        total = own.mean(axis=1).var(ddof=1) / n
        rest = own - own.mean(axis=0) - own.mean(axis=1, keepdims=True) + own.mean()
        # Mean square of what is neither the seed's nor the cluster's, per mean over clusters and seeds.
        parts.append((max(0.0, total - (rest**2).sum() / (n - 1) / 12 / 12 / n), n - 1))
    variance = sum(v for v, _ in parts)
    degrees = variance**2 / sum(v**2 / df for v, df in parts)
    half = t.ppf(0.975, degrees) * math.sqrt(variance)
    found = redrawn("ua", first, second)
    assert found == pytest.approx((gaps.mean() - half, gaps.mean() + half), rel=1e-9)


def test_seeds_that_agree_leave_the_interval_over_clusters() -> None:
    rng = np.random.default_rng(1)
    one, other = drawn(rng, 1, 10, 0.0), drawn(rng, 1, 10, 0.0)
    held = compare_family("ua", np.stack([one[0], other[0]]))[0]
    again = redrawn("ua", np.repeat(one, 3, axis=0), np.repeat(other, 2, axis=0))
    # The interval over clusters also holds what two more discordant clips of 400 would bring.
    assert again == pytest.approx((held.low, held.high), rel=2e-3)


def test_one_seed_counts_as_fixed_and_two_such_systems_have_no_interval() -> None:
    rng = np.random.default_rng(2)
    one, three = drawn(rng, 1, 10, 0.0), drawn(rng, 3, 10, 0.1)
    assert redrawn("ua", one, one) is None
    wide = redrawn("ua", one, three)
    (narrow,) = compare_family("ua", np.stack([one[0], three.mean(axis=0)]))
    assert wide is not None
    assert wide[1] - wide[0] > 1.5 * (narrow.high - narrow.low)


def test_an_undefined_seed_leaves_none() -> None:
    sums = np.array([[10.0, 5.0, 5.0, 3.0, 3.0, 2.8], [10.0, 4.0, 5.0, 2.0, 3.0, 2.2]])
    constant = np.array([[10.0, 5.0, 5.0, 2.5, 2.5, 2.5], [10.0, 5.0, 5.0, 2.5, 2.5, 2.5]])
    of_seeds = seed_variance("ccc", np.stack([sums, constant]))
    assert of_seeds is not None
    assert math.isnan(of_seeds.variance)
    (pair,) = compare_family("ccc", np.stack([sums, sums]))
    assert redrawn_interval(pair, of_seeds, None) is None


def pairing(**given: object) -> PairResult:
    plain = PairResult(
        "a", "b", "t", "within", "", "clean", "adapted", "probed", "within", "within", "v", "wrong", "all", "ua", None,
        0.1, 0.05, 0.15, 0.01, 0.01, 0.01, 0.001, "better", "", "f", 1, 12, 0.95, 0.06, 0.14, None, 3, 3, -0.02, 0.22, (),
        "clusters", (),
    )  # fmt: skip
    return replace(plain, **given)  # type: ignore[arg-type]


def test_a_verdict_that_seeds_may_turn_says_so_from_both_sides() -> None:
    p = pairing()
    assert p.rests_on_seeds
    words = "for these seeds only: were they drawn anew, the interval would be −2.0 to 22.0"
    assert words in sentence(p)
    turned = p.turned()
    assert (turned.redrawn_low, turned.redrawn_high) == (-0.22, 0.02)
    assert "a beats b" in turned.sentence
    assert words in turned.sentence


@pytest.mark.parametrize(
    "given",
    [
        {"redrawn_low": 0.01},
        {"redrawn_low": None, "redrawn_high": None},
        {"verdict": "this corpus cannot separate them"},
        {"verdict": "equivalent"},
    ],
)
def test_a_verdict_that_seeds_do_not_turn_says_nothing_of_them(given: dict[str, object]) -> None:
    p = pairing(**given)
    assert not p.rests_on_seeds
    assert "seeds" not in sentence(p)


@pytest.mark.parametrize("verdict", ["better", "equivalent"])
def test_a_verdict_on_a_system_with_one_seed_says_that_others_are_not_known(verdict: str) -> None:
    p = pairing(verdict=verdict, redrawn_low=None, redrawn_high=None, seeds_a=1, one_seed=("a",))
    for said in (sentence(p), p.turned().sentence):
        assert "Of a one seed is known, and not what others would give" in said
    assert p.as_json()["one_seed"] == ["a"]
    assert "seed" not in sentence(replace(p, verdict="this corpus cannot separate them"))


def test_a_system_has_one_seed_where_its_card_says_that_seeds_matter() -> None:
    quick = Path(__file__).parents[3] / "results/studies/quick_of_november/records"
    name = "meralion-ser-small"
    (probe,) = [p for p in compare_pair(read_records(quick), name, "whisper-tiny.en-superb", "indowave.id")
                if (p.view, p.metric, p.outside) == ("native", "ua", "wrong")]  # fmt: skip
    assert (probe.seeds_a, probe.seeds_b, probe.one_seed) == (1, 3, (name,))
    (against,) = [p for p in compare_pair(read_records(quick), "egemaps-svm", "egemaps-linear", "indowave.id")
                  if (p.view, p.metric, p.outside) == ("native", "ua", "wrong")]  # fmt: skip
    assert (against.seeds_a, against.one_seed) == (1, ()), "deterministic: there are no other seeds"
