"""Runs that take as long as a test wants: a tiny corpus, an adapter that waits, fails or dies when told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.execution.prepared_run import RunSettings
from tests.conftest import write_tone_corpus

SLOW = '''
import os, time
import numpy as np
from bench.protocols import Answers

class Slow:
    """Answers by loudness of the first sample; takes its time, fails or dies when told to."""
    def __init__(self, wait=0.0, fail_fold_of="", die_for=""):
        self.wait, self.fail, self.die = wait, fail_fold_of, die_for
    def fit(self, train, dev, context):
        self.labels = context.labels
        rng = np.random.default_rng(context.seed)
        self.order = rng.permutation(len(self.labels))
        time.sleep(self.wait)
    def predict(self, clips):
        if self.fail and any(self.fail in i for i in clips.ids):
            raise RuntimeError("the model is unhappy")
        if self.die and any(self.die in i for i in clips.ids):
            os._exit(9)
        picks = [self.order[int(1e4 * abs(w[100])) % len(self.order)] for w in clips.waveforms()]
        p = np.full((len(clips), len(self.labels)), 0.1 / (len(self.labels) - 1))
        p[np.arange(len(clips)), picks] = 0.9
        return Answers(("ok",) * len(clips), tuple(self.labels[i] for i in picks), p)
'''
CARD = "name: slow\nfamily: trained\ntrack: adapted\nadapter: slow_adapter:Slow\nparams: {{wait: {wait}, fail_fold_of: '{fail}', die_for: '{die}'}}\n"
MATRIX = "name: kill\nentries:\n  - systems: [./slow.yaml, majority]\n    seeds: [0, 1]\nplan: {resamples: 1000, permutations: 1000}\n"


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fill a folder with a slow adapter, its card, a matrix and a tiny corpus."""
    write_slow_bench(folder)
    monkeypatch.setenv("SERBENCH_CACHE", str(folder / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.delenv("SERBENCH_DATA", raising=False)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def write_slow_bench(folder: Path) -> None:
    (folder / "slow_adapter.py").write_text(SLOW)
    (folder / "kill.yaml").write_text(MATRIX)
    write_tone_corpus(folder / "data" / "tones")
    write_card(folder)


def write_card(folder: Path, *, wait: float = 0.0, fail: str = "", die: str = "") -> None:
    (folder / "slow.yaml").write_text(CARD.format(wait=wait, fail=fail, die=die))


def records(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (folder / "records").iterdir()}


def tables(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (folder / "tables").iterdir()}


def settings(folder: Path, out: str, **changes: object) -> RunSettings:
    return RunSettings(
        matrix=str(folder / "kill.yaml"), data=(folder / "data",), out=folder / out, workers=2, **changes
    )  # type: ignore[arg-type]
