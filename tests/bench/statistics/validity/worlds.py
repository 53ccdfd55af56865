"""Simulated corpora with known truth, many at a time: who speaks how much, and how two systems answer.

A speaker has an ability that all systems feel, one of its own per system, and one per system and emotion (normal
effects on the logit of being right); for ratings, an offset and a slope. The truth is the metric over the
*population* of speakers, with the systems' weights given: it is computed, not simulated, since expected counts under a
normal effect are a Gauss–Hermite sum, and expected moments are a formula.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit, stdtrit

from bench.statistics.additive import value

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

CORPORA_AT_ONCE = 50
SHARED, OWN, OWN_PER_CLASS = 0.5, 0.4, 0.3
"""Standard deviations, in logits, of a speaker's ability: for all systems, for one, for one and an emotion."""
SCRIPT = 0.6
"""The same of a sentence's difficulty."""
SCRIPTS = 6
BETWEEN, WITHIN = 0.1, 0.15
"""Standard deviations of true ratings between speakers and within one."""
SLOPES = 0.15
OFFSET = 0.3
"""Share of a rating system's error that is a speaker's offset."""
ONE_IN = 0.1
"""Share of speakers of another kind, where there is one."""
NOT_UNDERSTOOD = -6.0
"""Logits that such a speaker loses: no more than one answer in 100 is right."""
TAIL = 1.0
"""Scale of the long tail of hard speakers, logits."""


@dataclass(frozen=True)
class World:
    """One kind of corpus; the defaults are the base case. ``offsets`` are the systems' true metrics less that of a
    plain system."""

    metric: str
    name: str = "base"
    offsets: tuple[float, ...] = (0.0,)
    classes: int = 7
    ratio: float = 1.0
    """How many times as many clips one emotion has as the next."""
    sizes: Literal["equal", "one40", "lognormal"] = "equal"
    scripts: Literal["none", "fixed", "population", "own"] = "none"
    """Six sentences, each spoken by everybody. The truth is over these sentences, or over all; ``own``: a sentence is
    hard for one system and not for the other, and the truth is over all."""
    lacking: bool = False
    """Each speaker lacks each emotion with probability one half."""
    rare: int = 0
    """Clips of the first emotion in the whole corpus."""
    unlike: bool = False
    """Every other system finds the hard emotions easy and confuses others, or rates on another scale."""
    alike: float = 0.0
    """Share of the answers (or of the error's variance) that systems have in common beyond the speaker."""
    easy: bool = False
    skewed: bool = False
    """True ratings crowd at one end of the scale."""
    abilities: Literal["normal", "bimodal", "skewed", "heavy", "failing"] = "normal"
    """How speakers' abilities for all systems lie: one in ten not understood by any system; a long tail of hard speakers; Student's t on
    3 degrees; ``failing``: one speaker in ten has no right answer, others for each system."""
    top: float = 0.0
    """UA of a plain system, all emotions made easier alike; 0: as they come."""
    held: int = 0
    """Clips of each of the first emotions in the whole corpus, all of them said by few speakers."""
    holders: int = 2
    held_classes: int = 1
    """How many speakers say them, and of how many emotions."""
    crowding: float = 0.0
    """Intraclass correlation of errors: a speaker's share of them is beta-distributed around 1 − ``top``, for each system anew."""
    shifts: bool = False
    """Ratings that shift and compress by speaker: 70 % of the error a speaker's offset, slopes of 0.6 that vary by 0.3."""
    sentences: int = SCRIPTS
    """Sentences of the cell-by-cell corpora (:mod:`tests.bench.statistics.validity.crossed`)."""
    said: float = 1.0
    """Share of their cells that were recorded."""
    folds: int = 1
    """Fits of a cross-validated system, each with a training of its own."""
    seeds: int = 1
    """Trainings of each system; more than one is an axis of the statistics, after the systems."""
    training: float = 0.0
    """Standard deviation of what one training brings: logits, per emotion and for all; for ratings, of the slope."""

    @property
    def confusion(self) -> bool:
        """Whether the metric counts labels (else it sums ratings)."""
        return self.metric in ("ua", "wa", "macro_f1")


@dataclass(frozen=True)
class Corpora:
    """Simulated corpora: statistics (corpora, systems, [seeds,] speakers, …), a plain system's true metric (corpora,), clips if asked.

    ``clips`` holds, per corpus, the statistics (systems, clips, …) with every clip for itself.
    """

    statistics: Array
    truth: Array
    clips: tuple[Array, ...] = ()


def simulate(
    world: World, speakers: int, corpora: int, seed: tuple[int, ...], *, clips: bool
) -> Iterator[Corpora]:
    """Blocks of simulated corpora; the same seed gives the same corpora."""
    rng = np.random.default_rng(seed)
    draw = _labelled if world.confusion else _rated
    for start in range(0, corpora, CORPORA_AT_ONCE):
        yield draw(world, rng, min(CORPORA_AT_ONCE, corpora - start), speakers, clips)


# Labels


def _labelled(world: World, rng: np.random.Generator, corpora: int, speakers: int, clips: bool) -> Corpora:
    n = _clips_per_class(world, rng, corpora, speakers)
    shared = _shared(world, rng, (corpora, speakers, 1))
    sentences = rng.normal(0, SCRIPT, (corpora, 1, 1, SCRIPTS))
    copied, common = np.zeros_like(n), np.zeros((*n.shape, world.classes + 1), dtype=np.int64)
    if world.alike:
        copied = rng.binomial(n, world.alike)
        common = _tables(world, rng, copied, _ability(world, rng, shared, 0, 0.0), 0, sentences)
    tables = []
    for system, gain in enumerate(_gains(world, speakers)):
        if world.scripts == "own":
            sentences = rng.normal(0, SCRIPT, sentences.shape)
        ability = _ability(world, rng, shared, system, gain)
        if world.seeds == 1:
            tables.append(common + _tables(world, rng, n - copied, ability, system, sentences))
            continue
        runs = [ability + _training(world, rng, corpora) for _ in range(world.seeds)]
        tables.append(np.stack([_tables(world, rng, n, run, system, sentences) for run in runs], axis=1))
    statistics = np.stack(tables, axis=1).astype(np.float64)
    fixed = world.scripts == "fixed"
    shift = sentences[:, 0] if fixed else np.zeros((1, 1, 1))
    truth = value(world.metric, _expected(world, speakers, 0, 0.0, shift))
    apart = tuple(_one_by_one(own, rng) for own in np.stack(tables, axis=1)) if clips else ()
    return Corpora(statistics, np.broadcast_to(truth, corpora), apart)


def _ability(world: World, rng: np.random.Generator, shared: Array, system: int, gain: float) -> Array:
    corpora, speakers, _ = shared.shape
    if world.crowding:
        size = (1 - world.crowding) / world.crowding
        wrong = rng.beta((1 - world.top) * size, world.top * size, (corpora, speakers, 1))
        return np.asarray(np.broadcast_to(logit(1 - wrong), (corpora, speakers, world.classes)))
    own = rng.normal(0, OWN, (corpora, speakers, 1)) + rng.normal(
        0, OWN_PER_CLASS, (corpora, speakers, world.classes)
    )
    if world.abilities == "failing":
        own = np.where(rng.random((corpora, speakers, 1)) < ONE_IN, NOT_UNDERSTOOD, own)
    return _difficulty(world, system) + gain + shared + own


def _shared(world: World, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Speakers' abilities for all systems, logits."""
    if world.abilities == "skewed":
        return np.asarray(TAIL * (1 - rng.exponential(size=shape)))
    if world.abilities == "heavy":
        return np.asarray(SHARED * rng.standard_t(3, size=shape))
    ability = rng.normal(0, SHARED, shape)
    if world.abilities == "bimodal":
        ability = np.where(rng.random(shape) < ONE_IN, NOT_UNDERSTOOD, ability)
    return np.asarray(ability)


def _training(world: World, rng: np.random.Generator, corpora: int) -> Array:
    """What one training of a system brings, (corpora, 1, K) logits."""
    own = rng.normal(0, world.training, (corpora, 1, 1)) + rng.normal(
        0, world.training, (corpora, 1, world.classes)
    )
    return np.asarray(own)


def _tables(
    world: World, rng: np.random.Generator, n: Counts, ability: Array, system: int, sentences: Array
) -> Counts:
    """Confusion counts (corpora, speakers, K, K + 1) for n (corpora, speakers, K) clips."""
    k = world.classes
    if world.scripts == "none":
        right = rng.binomial(n, expit(ability))
    else:
        right = (rng.random((*n.shape, SCRIPTS)) < expit(ability[..., np.newaxis] + sentences)).sum(axis=-1)
    tables = rng.multinomial(n - right, _confused(k, system if world.unlike else 0))
    tables[..., range(k), range(k)] += right
    return np.asarray(tables, dtype=np.int64)


def _clips_per_class(world: World, rng: np.random.Generator, corpora: int, speakers: int) -> Counts:
    if world.scripts != "none":
        return np.full((corpora, speakers, world.classes), SCRIPTS)
    n = rng.poisson(_talk(world, rng, corpora, speakers)[..., np.newaxis] * _expected_clips(world, speakers))
    if world.lacking:
        kept = rng.random(n.shape) < 0.5
        # Nobody lacks everything, no emotion is lacking everywhere, and none is favoured.
        steps = np.arange(max(speakers, world.classes))
        first = rng.integers(world.classes, size=(corpora, 1))
        kept[np.arange(corpora)[:, np.newaxis], steps % speakers, (steps + first) % world.classes] = True
        n = np.where(kept, np.maximum(n, 1), 0)
    if world.held:
        n[..., : world.held_classes] = 0
        n[:, : world.holders, : world.held_classes] = world.held // world.holders
    if world.rare:
        n[..., 0] = rng.multinomial(world.rare, np.full(speakers, 1 / speakers), size=corpora)
    return n


def _talk(world: World, rng: np.random.Generator, corpora: int, speakers: int) -> Array:
    """How much each speaker says, (corpora, speakers), 1 on average but for the one with 40 % of all clips."""
    talk = np.ones((corpora, speakers))
    if world.sizes == "one40":
        talk[:, 0] = (speakers - 1) * 0.4 / 0.6
    if world.sizes == "lognormal":
        talk = np.exp(rng.normal(-0.5, 1, talk.shape))
    return talk


def _expected_clips(world: World, speakers: int) -> Array:
    share = world.ratio ** -np.arange(world.classes, dtype=np.float64)
    expected = 6 * world.classes * share / share.sum()
    if world.rare or world.held:
        expected[: world.held_classes] = (world.rare or world.held) / speakers
    return np.asarray(expected)


def _difficulty(world: World, system: int) -> Array:
    logits = np.linspace(2.2, 3.6, world.classes) if world.easy else np.linspace(-0.3, 1.9, world.classes)
    if world.top and not world.crowding:
        logits = logits + _lift(replace(world, top=0.0), world.top)
    return logits[::-1] if world.unlike and system % 2 else logits


@functools.cache
def _lift(world: World, top: float) -> float:
    """Logits by which all emotions must be easier for a UA of ``top``."""
    none = np.zeros((1, 1))

    def off(logits: float) -> float:
        return float(value("ua", _expected(world, 10, 0, logits, none))) - top

    return float(brentq(off, -2, 20, xtol=1e-10))


@functools.cache
def _confused(classes: int, system: int) -> Array:
    """What a wrong answer is, (K, K + 1): anything but the truth; the last column is no answer."""
    wrong = np.random.default_rng(system % 2).dirichlet(np.full(classes + 1, 2.0), size=classes)
    wrong[range(classes), range(classes)] = 0
    return np.asarray(wrong / wrong.sum(axis=1, keepdims=True))


def _expected(world: World, speakers: int, system: int, gain: float, shift: Array) -> Array:
    """Expected confusion counts (…, K, K + 1) over the population of speakers; shift (…, 1 or K, sentences), in logits."""
    effects, weights = _effects(world)
    logits = (_difficulty(world, system) + gain)[:, np.newaxis] + shift
    right = (expit(logits[..., np.newaxis] + effects) @ weights).mean(axis=-1)
    k = world.classes
    if world.crowding:
        right = np.full_like(right, world.top)
    chances = (1 - right)[..., np.newaxis] * _confused(k, system if world.unlike else 0)
    chances[..., range(k), range(k)] = right
    return np.asarray(chances * _expected_clips(world, speakers)[:, np.newaxis])


@functools.cache
def _effects(world: World) -> tuple[Array, Array]:
    """What speakers (and sentences, where the truth is over all of them) add to the logit of being right: nodes and weights."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    own = OWN**2 + OWN_PER_CLASS**2 + (SCRIPT**2 if world.scripts in ("population", "own") else 0)
    whole = np.sqrt(SHARED**2 + own)
    if world.abilities == "bimodal":
        rest = NOT_UNDERSTOOD + np.sqrt(own) * nodes
        return np.append(whole * nodes, rest), np.append((1 - ONE_IN) * weights, ONE_IN * weights)
    if world.abilities == "failing":
        rest = NOT_UNDERSTOOD + SHARED * nodes
        return np.append(whole * nodes, rest), np.append((1 - ONE_IN) * weights, ONE_IN * weights)
    if world.abilities in ("skewed", "heavy"):
        tail = (np.arange(4000) + 0.5) / 4000
        drawn = TAIL * (1 + np.log(tail)) if world.abilities == "skewed" else SHARED * stdtrit(3, tail)
        effects = drawn[:, np.newaxis] + np.sqrt(own) * nodes
        return effects.ravel(), np.broadcast_to(weights / len(tail), effects.shape).ravel()
    return np.asarray(whole * nodes), np.asarray(weights)


@functools.cache
def _gains(world: World, speakers: int) -> tuple[float, ...]:
    """Logits that give every system its offset from a plain one's metric."""
    none = np.zeros((1, 1))
    plain = float(value(world.metric, _expected(world, speakers, 0, 0.0, none)))

    def gain(system: int, offset: float) -> float:
        if offset == 0 and not (world.unlike and system % 2):
            return 0.0

        def off(logits: float) -> float:
            return (
                float(value(world.metric, _expected(world, speakers, system, logits, none))) - plain - offset
            )

        return float(brentq(off, -4, 4, xtol=1e-12))

    return tuple(gain(system, offset) for system, offset in enumerate(world.offsets))


def _one_by_one(tables: Counts, rng: np.random.Generator) -> Array:
    """Counts (systems, speakers, K, K + 1) as one clip per cluster: (systems, clips, K, K + 1), answers in random order."""
    systems, _, k, columns = tables.shape
    cells = np.repeat(np.arange(tables.shape[1] * k), tables[0].sum(axis=-1).ravel())
    apart = np.zeros((systems, len(cells), k, columns))
    for system, own in enumerate(tables):
        said = np.repeat(np.tile(np.arange(columns), tables.shape[1] * k), own.ravel())
        said = said[np.lexsort((rng.random(len(cells)), cells))]
        apart[system, np.arange(len(cells)), cells % k, said] = 1
    return apart


# Ratings


def _rated(world: World, rng: np.random.Generator, corpora: int, speakers: int, clips: bool) -> Corpora:
    if world.scripts == "none":
        n = rng.poisson(25 * _talk(world, rng, corpora, speakers)) + 1
    else:
        n = np.full((corpora, speakers), 4 * SCRIPTS)
    speaker = np.repeat(np.arange(corpora * speakers), n.ravel())
    starts = np.concatenate([[0], np.cumsum(n.ravel())[:-1]])

    def per_speaker() -> Array:
        return rng.normal(size=corpora * speakers)[speaker]

    spread = rng.exponential(size=len(speaker)) - 1 if world.skewed else rng.normal(size=len(speaker))
    x = BETWEEN * per_speaker() + WITHIN * spread
    corpus = speaker // speakers
    sentence = corpus * SCRIPTS + (np.arange(len(speaker)) - starts[speaker]) % SCRIPTS
    sentences = rng.normal(size=corpora * SCRIPTS)
    offset, error = per_speaker(), rng.normal(size=len(speaker))
    statistics, apart, truth = [], [], np.zeros(corpora)
    for system, difference in enumerate(world.offsets):
        slope, parts = _recipe(world, system, difference)
        if world.scripts == "own":
            sentences = rng.normal(size=corpora * SCRIPTS)
        y = (slope + _slopes(world) * per_speaker()) * x + parts.sentences * sentences[sentence]
        y += parts.offsets * _mixed(offset, per_speaker(), max(0.5, world.alike))
        runs = []
        for _ in range(world.seeds):
            run = y + parts.errors * _mixed(error, rng.normal(size=len(speaker)), world.alike)
            if world.training:
                run += world.training * rng.normal(size=corpora)[corpus] * x
            columns = np.stack([np.ones_like(x), x, run, x * x, run * run, x * run], axis=-1)
            runs.append(np.add.reduceat(columns, starts).reshape(corpora, speakers, 6))
        statistics.append(runs[0] if world.seeds == 1 else np.stack(runs, axis=1))
        apart.append(columns)
        if system == 0:
            truth = _concordance(world, *_recipe(world, 0, 0.0), sentences.reshape(corpora, SCRIPTS))
    ends = np.searchsorted(corpus, np.arange(1, corpora))
    one_by_one = tuple(np.split(np.stack(apart), ends, axis=1)) if clips else ()
    return Corpora(np.stack(statistics, axis=1), truth, one_by_one)


@dataclass(frozen=True)
class _Errors:
    """Standard deviations of what makes a rating wrong."""

    offsets: float
    errors: float
    sentences: float


def _recipe(world: World, system: int, difference: float) -> tuple[float, _Errors]:
    """Slope and errors that give the system a concordance of 0.6 (easy: 0.9) plus the difference over the population."""
    goal = (0.9 if world.easy else 0.6) + difference
    slope = 0.6 if world.shifts or (world.unlike and system % 2) else 1.0
    spread = BETWEEN**2 + WITHIN**2
    # goal = 2 slope spread / (spread + (slope² + SLOPES²) spread + variance), solved for the variance.
    variance = spread * (2 * slope / goal - 1 - slope**2 - _slopes(world) ** 2)
    script = 0.15 if world.scripts != "none" else 0.0
    rest = 1 - script
    offset = 0.7 if world.shifts else OFFSET
    return slope, _Errors(
        *np.sqrt([offset * rest * variance, (1 - offset) * rest * variance, script * variance])
    )


def _slopes(world: World) -> float:
    """Standard deviation of speakers' slopes."""
    return 0.3 if world.shifts else SLOPES


def _mixed(common: Array, own: Array, share: float) -> Array:
    return np.asarray(np.sqrt(share) * common + np.sqrt(1 - share) * own)


def _concordance(world: World, slope: float, parts: _Errors, sentences: Array) -> Array:
    """Concordance over the population of speakers, (corpora,): over these sentences (corpora, 6), or over all."""
    spread = BETWEEN**2 + WITHIN**2
    error = parts.offsets**2 + parts.errors**2 + (slope**2 + _slopes(world) ** 2) * spread
    if world.scripts == "fixed":
        script = parts.sentences**2 * (sentences**2).mean(axis=1)
    else:
        script = np.full(len(sentences), parts.sentences**2)
    # The mean difference is the sentences' mean; squared and added to their variance it is their mean square.
    return np.asarray(2 * slope * spread / (spread + error + script))
