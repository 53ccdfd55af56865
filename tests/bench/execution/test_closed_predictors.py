"""A predictor that holds something of its own, such as a server, is told when its fit is over, before the next is built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.cards.system import SystemCard
from bench.execution.in_process import JobFailed, evaluate, load_task
from bench.protocols import Answers, Clips, Examples, FitContext
from tests.conftest import write_tone_corpus

OPEN: list[int] = []
MOST = [0, 0]


class Holds:
    """Opens something at each fit; notes how many were open at most, and how many there were."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Open it."""
        self.labels = context.labels
        OPEN.append(id(self))
        MOST[:] = [max(MOST[0], len(OPEN)), MOST[1] + 1]

    def predict(self, clips: Clips) -> Answers:
        """Answer, or fail."""
        if self.fails:
            raise ValueError("no answer")
        shares = np.full((len(clips), len(self.labels)), 1 / len(self.labels))
        return Answers(("ok",) * len(clips), (self.labels[0],) * len(clips), shares)

    def close(self) -> None:
        """Close it."""
        OPEN.remove(id(self))


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_predictor_holds_ends_with_its_fit(tmp_path: Path, cache: Path, fails: bool) -> None:
    MOST[:] = [0, 0]
    card = SystemCard(
        name="holds", family="trained", track="adapted", adapter=f"{__name__}:Holds", params={"fails": fails}, seeds=False
    )  # fmt: skip
    task = load_task("tones.ms", data=[write_tone_corpus(tmp_path / "tones", speakers=3, clips=1)])
    if fails:
        with pytest.raises(JobFailed, match="no answer"):
            evaluate(card, task)
    else:
        evaluate(card, task)
        assert MOST[1] > 1, "a fit for each fold"
    assert MOST[0] == 1
    assert not OPEN
