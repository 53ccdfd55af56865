"""A job that runs out of memory is done in smaller parts, then once more with all memory given back, then it fails alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.cards.system import SystemCard
from bench.execution.in_process import JobFailed, evaluate, load_task
from bench.execution.out_of_memory import answers_in_parts, probe_in_parts
from bench.execution.worker import Runner, failure
from bench.features.out_of_memory import ran_out_of_memory
from bench.features.probes import ProbeFold, ProbeOutcome, ProbeTask
from bench.protocols import Answers, Clips
from bench.scoring.records import Record
from tests.conftest import write_tone_corpus

GPU_FULL = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    ("error", "so"),
    [
        (GPU_FULL, True),
        (MemoryError("Unable to allocate 3 GiB"), True),
        (RuntimeError("CUDA error: out of memory\nCompile with"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("the dictionary is out of memory of its authors"), False),
        (ValueError("CUDA error: out of memory"), False),
        (OSError("No space left on device"), False),
    ],
)
def test_memory_that_ran_out_is_told_from_other_faults(error: Exception, so: bool) -> None:
    assert ran_out_of_memory(error) is so


class SmallCard:
    """Answers by a clip's first sample, for so many clips at a time."""

    def __init__(self, room: int) -> None:
        self.room, self.asked = room, []  # type: ignore[var-annotated]

    def fit(self, *_: Any) -> None: ...

    def predict(self, clips: Clips) -> Answers:
        self.asked.append(len(clips))
        if len(clips) > self.room:
            raise GPU_FULL
        p = np.array([[w[0], 1 - w[0]] for w in clips.waveforms()], dtype=float)
        answers = Answers(
            ("ok",) * len(clips), tuple("ab"[int(x < 0.5)] for x in p[:, 0]), p, notes={"of": 1, "n": len(p)}
        )
        return Answers(**{**vars(answers), "variants": {"again": answers}})


def clips_of(values: Sequence[float]) -> Clips:
    n = len(values)
    return Clips(
        tuple(f"{i}" for i in range(n)),
        tuple(f"h{i}" for i in range(n)),
        np.ones(n),
        ("en",) * n,
        lambda i: np.full(4, values[i], dtype=np.float32),
        tuple(f"t{i}" for i in range(n)),
    )


def test_a_predictor_is_asked_for_fewer_clips_at_a_time() -> None:
    clips = clips_of([0.1, 0.9, 0.2, 0.8, 0.7])
    whole, small = SmallCard(5).predict(clips), SmallCard(2)
    parts = answers_in_parts(small, clips)
    assert small.asked == [5, 2, 3, 1, 2]
    assert (parts.statuses, parts.labels) == (whole.statuses, whole.labels)
    np.testing.assert_array_equal(parts.probabilities, whole.probabilities)
    np.testing.assert_array_equal(
        parts.variants["again"].probabilities, whole.variants["again"].probabilities
    )
    assert parts.dimensions is None
    assert parts.replies is None
    assert parts.notes == {"of": 1}, "what the parts do not agree on is not said of all"
    with pytest.raises(torch.cuda.OutOfMemoryError):
        answers_in_parts(SmallCard(0), clips)


def small_task(seeds: tuple[int, ...]) -> ProbeTask:
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 2
    features = rng.standard_normal((48, 1, 4)).astype(np.float32)
    features[:, 0, 0] += 2 * labels
    role = np.arange(48) // 2 % 4
    folds = [ProbeFold(*(np.flatnonzero(np.isin((role + k) % 4, r)) for r in ((0, 1), (2,), (3,)))) for k in range(4)]  # fmt: skip
    speakers = tuple(f"p/{r}" for r in role)
    return ProbeTask(
        features, labels.astype(np.int64), 2, np.full((48, 3), np.nan), speakers, tuple(folds), seeds
    )


def means(task: ProbeTask) -> dict[tuple[int, int], ProbeOutcome]:
    """A probe that says how often each class was trained on, and the seed."""
    shares = [np.bincount(task.labels[f.train], minlength=2) / len(f.train) for f in task.folds]
    return {
        (i, seed): ProbeOutcome(
            np.tile(share, (len(f.test), 1)), None, {"seed": seed, "first": int(f.test[0])}
        )
        for i, (f, share) in enumerate(zip(task.folds, shares, strict=True))
        for seed in task.seeds
    }


def test_a_probe_trains_fewer_heads_at_a_time_and_answers_the_same() -> None:
    task = small_task(seeds=(0, 1, 2))
    seen: list[tuple[int, int]] = []

    class Small:
        def run(self, task: ProbeTask, progress: Any) -> dict[tuple[int, int], ProbeOutcome]:
            seen.append((len(task.folds), len(task.seeds)))
            if len(task.folds) * len(task.seeds) > 2:
                raise GPU_FULL
            return means(task)

    whole, parts = means(task), probe_in_parts(Small(), task, lambda *_: None)
    assert seen == [(4, 3), (4, 1), (2, 1), (2, 1), (4, 2), (4, 1), (2, 1), (2, 1), (4, 1), (2, 1), (2, 1)]
    assert set(parts) == set(whole)
    for key, outcome in whole.items():
        np.testing.assert_array_equal(parts[key].probabilities, outcome.probabilities)
        assert parts[key].notes == outcome.notes, "each fold's own, under its own number"


ADAPTER = '''
import numpy as np
import torch
from bench.protocols import Answers

FULL = {"fits": 0, "clips": 99}

class Hungry:
    """Learns nothing; out of memory as often as it is told, or for more clips than fit."""
    def __init__(self, batch_size=8):
        pass
    def fit(self, train, dev, context):
        self.labels = context.labels
        if FULL["fits"]:
            FULL["fits"] -= 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    def predict(self, clips):
        if len(clips) > FULL["clips"]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return Answers(("ok",) * len(clips), (self.labels[0],) * len(clips))
'''


def counts(record: Record) -> list[Any]:
    return [block.values.tolist() for block in record.blocks]


def test_a_fit_is_tried_once_more_and_fails_alone_in_one_sentence(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    (tmp_path / "hungry_adapter.py").write_text(ADAPTER)
    monkeypatch.syspath_prepend(str(tmp_path))
    full = importlib.import_module("hungry_adapter").FULL
    card = SystemCard(
        name="hungry", family="trained", track="adapted", adapter="hungry_adapter:Hungry",
        params={"batch_size": 8}, seeds=False,
    )  # fmt: skip
    task = load_task("tones.ms", data=[write_tone_corpus(tmp_path / "tones", speakers=3, clips=1)])
    whole = counts(evaluate(card, task))
    dropped: list[bool] = []
    let_go = Runner._let_go
    monkeypatch.setattr(Runner, "_let_go", lambda self: (dropped.append(True), let_go(self)))
    full |= {"fits": 1, "clips": 1}
    assert counts(evaluate(card, task)) == whole, (
        "what went through in parts, or at the second try, is the same"
    )
    assert dropped == [True]
    full |= {"fits": 2, "clips": 99}
    with pytest.raises(
        JobFailed, match=r"out of memory, also with all else let go of; run with fewer"
    ) as failed:
        evaluate(card, task)
    assert "--set hungry:batch_size=" in failed.value.reason
    assert "Traceback" not in failed.value.reason
    assert full["fits"] == 0


def test_what_a_gpu_that_is_full_says_and_that_another_time_may_do() -> None:
    outcome = failure(GPU_FULL, started=0.0, device="cuda:0")
    assert outcome.error is not None
    assert outcome.error.startswith("out of GPU memory on cuda:0; run fewer workers on a GPU (--workers)")
    assert outcome.transient
    assert "Tried to allocate 2.00 GiB" in str(outcome.trace), "torch's own words are kept for the log"
