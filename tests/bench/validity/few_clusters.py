"""How often intervals cover and tests err with few speakers: simulated corpora with known truth, as Markdown tables.

    python tests/bench/validity/few_clusters.py --simulations 2000 --seed 7 > tables.md     (about 15 minutes on one core)

A speaker has an ability (a random effect on the logit of every class's recall, or on offset and slope of the ratings) and
one per class; two systems share part of it. The truth is the metric of 200,000 simulated speakers.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.additive import METRICS
from bench.intervals import Method, interval
from bench.significance import Comparison, compare_family

Array = NDArray[np.float64]
Sizes = Literal["equal", "one40", "lognormal"]

CLUSTERS = (8, 10, 20, 40)
METHODS: tuple[Method, ...] = ("jackknife-t", "bootstrap-t", "percentile")
DRAWS = 999
SPEAKERS_OF_TRUTH = 200_000


@dataclass(frozen=True)
class World:
    """What a simulated corpus looks like: the metric, how many classes, how clips spread over speakers, the null."""

    metric: str
    classes: int = 7
    sizes: Sizes = "equal"
    exchangeable: bool = True
    """False: systems equal in metric but not alike (classes' difficulty reversed, or ratings on another scale)."""

    @property
    def title(self) -> str:
        classes = "" if self.metric == "ccc" else f", {self.classes} classes"
        sizes = {
            "equal": "",
            "one40": ", one speaker has 40 %",
            "lognormal": ", log-normal clips per speaker",
        }
        return (
            METRICS[self.metric].title
            + classes
            + sizes[self.sizes]
            + ("" if self.exchangeable else ", unlike")
        )


def draw(world: World, rng: np.random.Generator, clusters: int, gains: tuple[float, ...] = (0.0,)) -> Array:
    """Statistics (systems, clusters, …) of systems whose skill is raised by ``gains`` (logits, or slope)."""
    if METRICS[world.metric].kind == "confusion":
        return _confusions(world, rng, clusters, gains)
    return _moments(world, rng, clusters, gains)


def _clips(world: World, rng: np.random.Generator, clusters: int, mean: float) -> Array:
    expected = np.full((clusters, 1), mean)
    if world.sizes == "one40":
        expected[0] = mean * (clusters - 1) * 0.4 / 0.6
    if world.sizes == "lognormal":
        expected *= np.exp(rng.normal(0, 1, (clusters, 1)))
    return expected


def _confusions(world: World, rng: np.random.Generator, clusters: int, gains: tuple[float, ...]) -> Array:
    k = world.classes
    clips = rng.poisson(np.broadcast_to(_clips(world, rng, clusters, 6.0), (clusters, k)))
    clips[:2] += 1
    difficulty = np.linspace(-0.3, 1.9, k)
    wrong = np.random.default_rng(0).dirichlet(np.full(k + 1, 2.0), size=k)
    wrong[range(k), range(k)] = 0
    wrong /= wrong.sum(axis=1, keepdims=True)
    shared = rng.normal(0, 0.5, (clusters, 1))
    tables = []
    for system, gain in enumerate(gains):
        base = difficulty if world.exchangeable or system % 2 == 0 else difficulty[::-1]
        logit = base + gain + shared + rng.normal(0, 0.4, (clusters, 1)) + rng.normal(0, 0.3, (clusters, k))
        right = 1 / (1 + np.exp(-logit))
        chances = (1 - right)[..., np.newaxis] * wrong
        chances[:, range(k), range(k)] = right
        tables.append(rng.multinomial(clips, chances))
    return np.array(tables, dtype=np.float64)


def _moments(world: World, rng: np.random.Generator, clusters: int, gains: tuple[float, ...]) -> Array:
    clips = rng.poisson(_clips(world, rng, clusters, 25.0)) + 1
    heard = np.arange(clips.max()) < clips
    x = 0.1 * rng.normal(size=(clusters, 1)) + 0.15 * rng.normal(size=heard.shape)
    variance_x = 0.1**2 + 0.15**2
    shared = rng.normal(size=(clusters, 1))
    systems = []
    for system, gain in enumerate(gains):
        concordance = 0.6 + gain
        slope = 1.0 if world.exchangeable or system % 2 == 0 else 0.6
        noise = variance_x * (2 * slope / concordance - 1 - slope**2)
        speaker = np.sqrt(0.3 * noise / 2) * (shared + rng.normal(size=(clusters, 1)))
        y = slope * x + speaker + np.sqrt(0.7 * noise) * rng.normal(size=heard.shape)
        sums = [(column * heard).sum(axis=1) for column in (np.ones_like(x), x, y, x * x, y * y, x * y)]
        systems.append(np.stack(sums, axis=-1))
    return np.array(systems)


@functools.cache
def truth(world: World) -> float:
    """The metric over very many speakers (equal clips: the one with 40 % is a speaker like the others)."""
    rng = np.random.default_rng(99)
    metric = METRICS[world.metric]
    plain = World(world.metric, world.classes, "equal" if world.sizes == "one40" else world.sizes)
    blocks = [draw(plain, rng, 4000)[0].sum(axis=0) for _ in range(SPEAKERS_OF_TRUTH // 4000)]
    return float(metric.strict(metric.components(np.sum(blocks, axis=0))))


def coverage(world: World, clusters: int, simulations: int, seed: int) -> dict[Method, tuple[float, float]]:
    """Share of 95 % intervals that hold the truth, and their mean width, per method."""
    rng = np.random.default_rng([seed, clusters])
    goal = truth(world)
    held: dict[Method, list[bool]] = {method: [] for method in METHODS}
    width: dict[Method, list[float]] = {method: [] for method in METHODS}
    for run in range(simulations):
        statistics = draw(world, rng, clusters)[0]
        for method in METHODS:
            found = interval(world.metric, statistics, n_resamples=DRAWS, seed=run, method=method)
            held[method].append(found.low <= goal <= found.high)
            width[method].append(found.high - found.low)
    return {method: (float(np.mean(held[method])), float(np.mean(width[method]))) for method in METHODS}


Count = Callable[[list[Comparison]], list[float]]


def shares(
    world: World, clusters: int, simulations: int, seed: int, gains: tuple[float, ...], count: Count
) -> list[float]:
    """Mean over simulated comparisons of what ``count`` reads from each family."""
    rng = np.random.default_rng([seed, clusters, 1])
    rows = [
        count(compare_family(world.metric, draw(world, rng, clusters, gains), n_resamples=DRAWS, seed=run))
        for run in range(simulations)
    ]
    return [float(share) for share in np.mean(rows, axis=0)]


def pair_errors(family: list[Comparison]) -> list[float]:
    """One pair with equal metrics: rejected by the swap test? left out by the interval of the difference?"""
    (pair,) = family
    return [pair.p_value <= 0.05, not pair.low <= 0 <= pair.high]


def family_errors(family: list[Comparison]) -> list[float]:
    """System 0 better, others equal: any equal pair rejected, and the share of true differences found; max-T, Holm."""
    equal, real = [c for c in family if c.a != 0], [c for c in family if c.a == 0]
    return [
        any(c.p_adjusted <= 0.05 for c in equal),
        any(c.p_holm <= 0.05 for c in equal),
        float(np.mean([c.p_adjusted <= 0.05 for c in real])),
        float(np.mean([c.p_holm <= 0.05 for c in real])),
    ]


def _table(title: str, columns: list[str], rows: list[list[str]]) -> str:
    lines = [
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(r)} |" for r in rows),
    ]
    return f"### {title}\n\n" + "\n".join(lines) + "\n"


def coverage_table(simulations: int, seed: int) -> str:
    """Coverage (mean width) of the interval methods."""
    worlds = [World("ua", 4), World("ua"), World("wa"), World("macro_f1"), World("ccc")]
    worlds += [World(m, sizes=s) for m in ("ua", "ccc") for s in ("one40", "lognormal")]
    rows = []
    for world in worlds:
        found = [coverage(world, clusters, simulations, seed) for clusters in CLUSTERS]
        for method in METHODS:
            cells = [f"{100 * f[method][0]:.1f} ({f[method][1]:.3f})" for f in found]
            rows.append([world.title, method, *cells])
    heads = ["metric, corpus", "method", *(f"{c} speakers" for c in CLUSTERS)]
    return _table("Coverage of 95 % intervals, % (mean width)", heads, rows)


def error_table(simulations: int, seed: int) -> str:
    """Rejections of a true null by swap test and by interval, one pair."""
    worlds = [World("ua", 4), World("ua", exchangeable=False), World("macro_f1", exchangeable=False)]
    worlds += [World("ccc"), World("ccc", exchangeable=False)]
    worlds += [World(m, sizes=s, exchangeable=False) for m in ("ua", "ccc") for s in ("one40", "lognormal")]
    rows = []
    for world in worlds:
        found = [shares(world, c, simulations, seed, (0.0, 0.0), pair_errors) for c in CLUSTERS]
        rows.append([world.title, *(f"{100 * swap:.1f} / {100 * missed:.1f}" for swap, missed in found)])
    heads = ["metric, systems", *(f"{c} speakers" for c in CLUSTERS)]
    return _table("Rejections of a true null at 5 %, %: swap test / interval of the difference", heads, rows)


def family_table(simulations: int, seed: int) -> str:
    """Family-wise error and power of max-T and Holm, five systems of which one is better."""
    rows = []
    for world, gain in ((World("ua"), 0.5), (World("ccc"), 0.08)):
        for clusters in CLUSTERS:
            gains = (gain, 0.0, 0.0, 0.0, 0.0)
            found = shares(world, clusters, simulations, seed, gains, family_errors)
            rows.append([world.title, str(clusters), *(f"{100 * share:.1f}" for share in found)])
    heads = ["metric", "speakers", "error max-T", "error Holm", "power max-T", "power Holm"]
    return _table("Five systems, one better: family-wise error and power, %", heads, rows)


TABLES = {"coverage": coverage_table, "errors": error_table, "families": family_table}


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", choices=TABLES, help="one table")
    asked = parser.parse_args()
    for name, table in TABLES.items():
        if asked.only not in (None, name):
            continue
        started = time.perf_counter()
        print(table(asked.simulations, asked.seed), flush=True)
        print(
            f"{asked.simulations} simulations, seed {asked.seed}, {time.perf_counter() - started:.0f} s\n",
            flush=True,
        )


if __name__ == "__main__":
    main()
