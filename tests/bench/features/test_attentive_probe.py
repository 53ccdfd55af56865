"""Heads that need frames: what attention hears, how frames are kept, and that one pass serves frames and means."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.cards.system import SystemFile
from bench.errors import DataError, UsageError
from bench.execution.driver import run_matrix
from bench.execution.prepared_run import RunSettings
from bench.execution.progress import Reporter
from bench.features.disk_budget import require_room
from bench.features.probes import ProbeTask, attention_head
from bench.features.probes.attention_head import AttentiveHead
from bench.features.probes.attentive import AttentiveProbe
from bench.features.probes.batched_adam import (
    Schedule,
    Trial,
    _MinibatchStream,
    initial_parameters,
    train_heads,
)
from bench.features.probes.learning_rate_search import NO_ROWS
from bench.features.probes.losses import CrossEntropy
from bench.features.store import FeatureStore, Keep, feature_key
from bench.storage.journal import Journal
from tests.bench.features.test_probes import ignore, make_task, one_fold
from tests.conftest import write_tone_corpus


def ragged(clips: int, layers: int = 2, dims: int = 6) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(4)
    return [
        random.standard_normal((layers, int(n), dims)).astype(np.float32)
        for n in random.integers(1, 14, size=clips)
    ]


class Alone(torch.nn.Module):
    """The head as torch would write it: one head, one clip, no padding."""

    def __init__(
        self, theta: torch.Tensor, layers: int, dims: int, hidden: int, attention_head: int, outputs: int
    ):
        super().__init__()
        self.mix = torch.nn.Parameter(torch.zeros(layers))
        self.v = torch.nn.Parameter(torch.zeros(attention_head))
        self.first = torch.nn.Linear(dims, hidden)
        self.score = torch.nn.Linear(hidden, attention_head)
        self.last = torch.nn.Linear(2 * hidden, outputs)
        torch.nn.utils.vector_to_parameters(theta.clone(), self.parameters())

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        h = self.first(torch.einsum("l,ltd->td", torch.softmax(self.mix, dim=0), frames))
        alpha = torch.softmax(torch.tanh(self.score(h)) @ self.v, dim=0)
        mean = alpha @ h
        spread = torch.sqrt(alpha @ (h - mean) ** 2 + 1e-6)
        return self.last(torch.cat([mean, spread]))


@pytest.mark.parametrize("standardise", [False, True])
def test_heads_trained_together_on_ragged_clips_equal_each_trained_alone_clip_by_clip(
    standardise: bool,
) -> None:
    frames, labels = ragged(40), torch.arange(40) % 3
    rows = np.arange(30)
    other = np.arange(10, 40)
    trials = [
        Trial(rows, NO_ROWS, 1e-2, 0, 12),
        Trial(rows, NO_ROWS, 3e-2, 0, 9),
        Trial(other, NO_ROWS, 1e-2, 5, 12),
    ]
    family = AttentiveHead(frames, hidden=8, attention=4, standardise=standardise)
    trained = train_heads(family, trials, CrossEntropy(labels, 3), Schedule(batch_size=8))
    answers = family.scores(trained.heads, torch.arange(40))
    for i, trial in enumerate(trials):
        alone = Alone(initial_parameters([trial], 2 + 4, [(6, 8), (8, 4), (16, 3)])[0], 2, 6, 8, 4, 3)
        optimizer = torch.optim.Adam(alone.parameters(), lr=trial.learning_rate)
        stream = _MinibatchStream(trial.train_rows, trial.seed)
        fitted_frames = np.concatenate([frames[j] for j in trial.train_rows], axis=1)
        mean, deviation = fitted_frames.mean(axis=1, keepdims=True), fitted_frames.std(axis=1, keepdims=True)
        clips = [torch.from_numpy((f - mean) / deviation if standardise else f) for f in frames]
        for _ in range(trial.steps):
            batch = stream.take(8)
            optimizer.zero_grad()
            scores = torch.stack([alone(clips[j]) for j in batch])
            torch.nn.functional.cross_entropy(scores, labels[torch.from_numpy(batch)]).backward()
            torch.nn.utils.clip_grad_norm_(alone.parameters(), 1.0)
            optimizer.step()
        with torch.no_grad():
            expected = torch.stack([alone(clip) for clip in clips])
        torch.testing.assert_close(answers[i], expected, rtol=1e-4, atol=1e-4)


def test_a_clip_of_a_minute_costs_its_own_frames_and_not_as_many_for_each_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Padded to the longest, a step on 63 clips of a second and one of 71 s took twenty times as long."""
    frames = [np.ones((2, n, 6), dtype=np.float32) for n in (*([3] * 31), 600)]
    taken: list[int] = []
    head_scores = attention_head._head_scores

    def counted(theta: torch.Tensor, shape: Any, x: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        taken.append(x.shape[1])
        return head_scores(theta, shape, x, own)

    monkeypatch.setattr(attention_head, "_head_scores", counted)
    rows = np.arange(32)
    family = AttentiveHead(frames, hidden=8, attention=4)
    trained = train_heads(
        family,
        [Trial(rows, NO_ROWS, 1e-2, 0, 1)],
        CrossEntropy(torch.arange(32) % 2, 2),
        Schedule(batch_size=32),
    )
    family.scores(trained.heads, torch.arange(32))
    assert taken == [31 * 3 + 600] * 2


def test_answers_on_many_clips_do_not_depend_on_how_they_are_cut_into_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = ragged(25)
    family = AttentiveHead(frames, hidden=8, attention=4)
    heads = family.fresh_heads([Trial(NO_ROWS, NO_ROWS, 1e-3, seed, 1) for seed in (0, 1)], 3)
    whole = family.scores(heads, torch.arange(25))
    monkeypatch.setattr("bench.features.probes.attention_head.MAX_PROJECTED_VALUES", 300)
    torch.testing.assert_close(family.scores(heads, torch.arange(25)), whole, rtol=0, atol=1e-6)


def moment_task(clips: int = 144) -> ProbeTask:
    """The class is told by three frames in a row of one loud channel; the mean over frames says next to nothing."""
    base = make_task(clips=clips)
    random = np.random.default_rng(0)
    frames = []
    for label in base.labels:
        clip = random.standard_normal((1, 40, 6)).astype(np.float32)
        clip[0, :, :3] -= clip[0, :, :3].mean(axis=0)
        at = int(random.integers(0, 37))
        clip[0, at : at + 3, 3] = 9.0
        clip[0, at : at + 3, :3] = 6.0 * np.eye(3)[label]
        clip[0, :, :3] -= clip[0, :, :3].mean(axis=0)
        frames.append(clip)
    pooled = np.stack([f.mean(axis=1) for f in frames])
    return one_fold(
        dataclasses.replace(base, features=pooled, frames=frames, dimensions=np.full((clips, 3), np.nan))
    )


def test_it_hears_what_the_mean_over_frames_does_not_hold() -> None:
    from bench.features.probes.superb import SuperbProbe
    from bench.metrics import unweighted_accuracy

    task = moment_task()
    test = task.folds[0].test
    ua = {}
    for name, probe in (
        ("attentive", AttentiveProbe([1e-2], hidden=16, attention=8, max_steps=150)),
        ("superb", SuperbProbe([1e-2], hidden=16, max_steps=150)),
    ):
        outcome = probe.run(task, ignore)[0, 0]
        assert outcome.probabilities is not None
        np.testing.assert_allclose(outcome.probabilities.sum(axis=1), 1.0, atol=1e-12)
        ua[name] = unweighted_accuracy(
            task.labels[test].tolist(), outcome.probabilities.argmax(axis=1).tolist()
        )
    assert ua["attentive"] > 0.85
    assert ua["superb"] < 0.6


def test_runs_repeat_bit_for_bit_and_do_not_see_test_labels() -> None:
    task = moment_task(48)
    labels = task.labels.copy()
    labels[task.folds[0].test] = -1
    probe = AttentiveProbe([1e-2], hidden=8, attention=4, max_steps=20)
    a, b = probe.run(task, ignore)[0, 0], probe.run(dataclasses.replace(task, labels=labels), ignore)[0, 0]
    assert a.notes == b.notes
    assert np.array_equal(a.probabilities, b.probabilities)  # type: ignore[arg-type]


def test_a_card_that_keeps_means_for_it_is_told_what_to_change() -> None:
    with pytest.raises(UsageError, match="pooled: false"):
        AttentiveProbe().run(make_task(clips=48), ignore)
    base = {"name": "x", "family": "encoder", "track": "probed"}
    for probe, features, message in (
        ("attentive", {"encoder": "m:E", "pooled": True}, "reads frames"),
        ("superb", {"encoder": "m:E", "pooled": False}, "reads pooled features"),
        ("superb", {"encoder": "m:E", "every": 5}, "needs 'pooled: false'"),
    ):
        with pytest.raises(ValueError, match=message):
            SystemFile.model_validate({**base, "probe": probe, "features": features})


def test_frames_are_averaged_in_groups_and_nothing_is_left_out() -> None:
    output = np.random.default_rng(0).standard_normal((2, 13, 3)).astype(np.float32)
    kept = Keep(False, 5).of(output)
    expected = np.stack([output[:, a:b].mean(axis=1) for a, b in ((0, 5), (5, 10), (10, 13))], axis=1)
    np.testing.assert_allclose(kept, expected, rtol=1e-5)
    np.testing.assert_allclose((kept * [[[5], [5], [3]]]).sum(axis=1) / 13, Keep(True).of(output), atol=1e-6)
    keys = {feature_key("m:E", "s", {}, None, False, every=every) for every in (1, 5)}
    assert len(keys) == 2
    assert feature_key("m:E", "s", {}, None, False) in keys


ENCODER = '''
from pathlib import Path
import numpy as np

class Counting:
    """Two layers of spectra of 20-ms frames; notes every clip it hears."""
    def __init__(self, log, device="cpu"):
        self.log = log
    def encode(self, waveforms):
        with Path(self.log).open("a") as log:
            log.write("".join(f"{float(abs(w).sum()):.6f}\\n" for w in waveforms))
        spectra = [np.abs(np.fft.rfft(w[: len(w) // 320 * 320].reshape(-1, 320)))[:, 1:9] for w in waveforms]
        return [np.stack([s, s**2]).astype(np.float32) for s in spectra]
'''
CARD = """
name: counting
family: encoder
track: probed
features: {{encoder: "counting_encoder:Counting", params: {{log: "{log}"}}}}
modes:
  superb: {{probe: superb, params: {{learning_rates: [0.01], hidden: 8, max_steps: 20}}}}
  attentive: {{probe: attentive, pooled: false, every: 2, params: {{learning_rates: [0.01], hidden: 8, max_steps: 20}}}}
training_corpora: []
"""
MATRIX = """
name: passes
synthetic: never
entries:
  - {systems: ["counting.yaml:superb", "counting.yaml:attentive"]}
plan: {resamples: 1000, permutations: 1000}
"""


@pytest.fixture
def counting(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> RunSettings:
    write_tone_corpus(tmp_path / "data" / "tones")
    (tmp_path / "counting_encoder.py").write_text(ENCODER)
    (tmp_path / "counting.yaml").write_text(CARD.format(log=tmp_path / "heard.txt"))
    (tmp_path / "passes.yaml").write_text(MATRIX)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.syspath_prepend(str(tmp_path))
    return RunSettings(
        str(tmp_path / "passes.yaml"), data=(tmp_path / "data",), out=tmp_path / "run", workers=1
    )


def test_one_pass_over_the_audio_serves_frames_and_means(
    counting: RunSettings, tmp_path: Path, cache: Path
) -> None:
    summary = run_matrix(counting, Reporter())
    assert summary.failed == ()
    heard = (tmp_path / "heard.txt").read_text().splitlines()
    assert len(heard) == len(set(heard)) == 36
    store = FeatureStore(cache / "features")
    pooled, frames = sorted(store.stored_keys(), key=store.frame_bytes)
    assert store.frame_bytes(pooled) == 0
    means, kept = store.reader(pooled), store.reader(frames)
    clip = next(h for path in store.shards(frames) for h in _clips_of(path))
    assert kept[clip].shape == (2, 10, 8), "0.4 s in frames of 40 ms"
    np.testing.assert_allclose(kept[clip].mean(axis=1), means[clip], rtol=1e-5)
    with Journal(summary.folder.journal) as journal:
        assert sum(j.clips for j in journal.jobs() if j.kind == "encode") == 36


def _clips_of(path: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as shard:
        return list(shard.keys())


def test_frames_beyond_the_bound_are_refused_in_words_and_means_go_on(
    counting: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERBENCH_FRAMES_GIB", "0.0000001")
    store = FeatureStore(Path(str(counting.out)))
    with pytest.raises(DataError, match=r"over the bound .*serbench features gc"):
        require_room(store, 1 << 20)
    monkeypatch.setenv("SERBENCH_FRAMES_GIB", "many")
    with pytest.raises(UsageError, match="SERBENCH_FRAMES_GIB=200"):
        require_room(store, 1)
    monkeypatch.setenv("SERBENCH_FRAMES_GIB", "0.0000001")
    summary = run_matrix(counting, Reporter())
    assert {row.system for row in summary.failed} == {"counting-attentive"}
    assert any("over the bound" in str(json.dumps(row.error)) for row in summary.failed)
