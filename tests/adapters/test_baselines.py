"""The yardsticks where nothing is trained: chance draws from what is on offer, majority answers one label."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import evaluate, load_task

PRIMARY = ("ua", "native", "wrong", "all")


@pytest.fixture
def untrained(tone_corpus: Path, cache: Path) -> object:
    return load_task("tones.ms", data=[tone_corpus], protocol="zero-shot")


def test_chance_without_training_clips_draws_from_the_labels_on_offer(untrained: object) -> None:
    record = evaluate("chance", untrained, seeds=range(8))  # type: ignore[arg-type]
    (ua,) = [s for s in record.scores if (s.metric, s.view, s.outside, s.rows) == PRIMARY]
    assert ua.coverage == 1.0
    assert 0.2 < ua.estimate < 0.5, "three classes, eight draws of 36 clips"


def test_majority_without_training_clips_answers_one_label_and_scores_one_in_three(untrained: object) -> None:
    record = evaluate("majority", untrained)  # type: ignore[arg-type]
    (ua,) = [s for s in record.scores if (s.metric, s.view, s.outside, s.rows) == PRIMARY]
    assert (ua.coverage, ua.estimate) == (1.0, pytest.approx(1 / 3))
