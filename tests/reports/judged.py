"""Clips with answers, put together by hand: for the tests of what is hard, and of the clip browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.scoring.clip_answers import ClipAnswers, TaskAnswers
from bench.scoring.predictions import PredictionTable
from bench.tasks import Task
from reports.sections.hard_clips import JudgedClips
from tests.adversarial.forged import answered, published

CLASSES = ("happy", "sad", "angry")
STEM = "egemaps-linear__indowave.id__within__clean"


@dataclass(frozen=True)
class Clip:
    """What stands for a decoded clip."""

    clip_id: str
    samples: int = 16_000
    message: str | None = None


def task_of(truth: Sequence[str | None], names: Sequence[str] = (), **values: Any) -> Task:
    """A task of clips with these labels, of nobody known, never played."""
    made = Task.__new__(Task)
    n = len(truth)
    names = names or [f"audio/c{i:04}.wav" for i in range(n)]
    own = {
        "name": "tones.ms", "language": "ms", "emotions": tuple(truth), "decoded": tuple(map(Clip, names)), "votes": (None,) * n,
        "speakers": ("",) * n, "by_clip": False, "card": published("quick", STEM).facts.corpus_card, **values,
    }  # fmt: skip
    for name, value in own.items():
        object.__setattr__(made, name, value)
    return made


def system(
    task: Task,
    name: str,
    said: Sequence[str | None],
    probabilities: np.ndarray | None = None,
    *,
    classes: tuple[str, ...] = CLASSES,
    statuses: Sequence[str] = (),
    dimensions: np.ndarray | None = None,
    **facts: Any,
) -> ClipAnswers:
    """A system that hears through nothing that others use, unless ``facts`` say so, and what it said of each clip."""
    n = len(task)
    table = PredictionTable(
        task.clip_ids, tuple(statuses) or ("ok",) * n, tuple(said), classes, probabilities,
        np.full((n, 3), np.nan) if dimensions is None else dimensions, (None,) * n, {}
    )  # fmt: skip
    counts = np.zeros((2, len(CLASSES), len(CLASSES) + 1))
    counts[:, 0, 1] = 5
    alone = published("quick", STEM).facts.card.model_copy(update={"name": name, "features": None})
    return ClipAnswers(answered(counts, CLASSES, system=name, **{"card": alone, **facts}), table)


def judged(task: Task, *systems: ClipAnswers) -> JudgedClips:
    """Their answers beside the labels."""
    return JudgedClips(TaskAnswers(task, Path("corpus"), systems), "native", CLASSES)


def sure(said: Sequence[str], by: Sequence[float], classes: tuple[str, ...] = CLASSES) -> np.ndarray:
    """Probabilities that give the answer ``by`` and each other class an equal share of the rest."""
    made = np.repeat(
        (1 - np.asarray(by, dtype=float))[:, np.newaxis] / (len(classes) - 1), len(classes), axis=1
    )
    made[np.arange(len(said)), [classes.index(s) for s in said]] = by
    return made


def crowd(clips: int, systems: int, speakers: int = 91) -> JudgedClips:
    """Random answers of many systems to many clips, each with its probability."""
    rng = np.random.default_rng(0)
    truth = rng.choice(CLASSES, clips)
    names = [f"AudioWAV/{1001 + i % speakers}_{i:05}_XX.wav" for i in range(clips)]
    task = task_of(
        truth.tolist(), names, speakers=tuple(f"crema-d/{1001 + i % speakers}" for i in range(clips))
    )
    made = []
    for k in range(systems):
        said = np.where(rng.random(clips) < 0.6, truth, rng.choice(CLASSES, clips)).tolist()
        made.append(system(task, f"system-{k:02}", said, sure(said, rng.uniform(0.34, 1, clips))))
    return judged(task, *made)


def rated_crowd(clips: int, systems: int) -> TaskAnswers:
    """Clips without labels, rated on valence and arousal, and answers that err at random; the last system answers arousal alone."""
    rng = np.random.default_rng(1)
    truth = np.column_stack([rng.random((clips, 2)), np.full(clips, np.nan)]).round(3)
    task = task_of([None] * clips, dimensions=truth, speakers=tuple(f"p/{i % 5}" for i in range(clips)))
    made = []
    for k in range(systems):
        said = np.clip(truth + rng.normal(0, 0.15, truth.shape), 0, 1).round(3)
        if k == systems - 1:
            said[:, 0] = np.nan
        made.append(system(task, f"system-{k:02}", [None] * clips, classes=(), dimensions=said))
    return TaskAnswers(task, Path("corpus"), tuple(made))


def packed_values(found: Mapping[str, Any], key: str) -> list[int]:
    """Numbers of a packed column."""
    values: list[int] = found[key].numbers()
    return values
