"""emotion2vec through FunASR, with a small fake of the one call that is made of it (funasr is not installed here)."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from adapters.emotion2vec import Emotion2vecClassifier, Emotion2vecEncoder, scores_by_label
from bench.cards.labels import label_table
from bench.cards.registry import load_system, with_settings
from bench.cards.weights import folder_hash
from bench.errors import CannotRun, DataError
from bench.execution.contract import check_system
from bench.protocols import Clips, Encoder, Examples, FitContext, Predictor, Weights

NINE = ["生气/angry", "厌恶/disgusted", "恐惧/fearful", "开心/happy", "中立/neutral", "其他/other", "难过/sad", "吃惊/surprised", "<unk>"]  # fmt: skip


class FakeAutoModel:
    """Answers as FunASR 1.4.16's ``Emotion2vec.inference`` does: key, labels, scores, feats."""

    def __init__(self, **settings: Any) -> None:
        assert settings["disable_update"]

    def generate(self, samples: Any, *, granularity: str, **options: Any) -> list[dict[str, Any]]:
        frames = np.outer(np.arange(len(samples) // 320), np.ones(8))
        scores = [0.05, 0.05, 0.05, 0.3, 0.1, 0.35 if samples[0] > 0.5 else 0.0, 0.05, 0.05, 0.0]
        feats = frames if granularity == "frame" else frames.mean(axis=0)
        return [{"key": "x", "labels": NINE, "scores": scores, "feats": feats}]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    funasr = ModuleType("funasr")
    funasr.AutoModel = FakeAutoModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "funasr", funasr)
    return Weights(tmp_path, "hash of a test folder")


def context(labels: tuple[str, ...], folder: Path) -> FitContext:
    return FitContext(labels=labels, dimensions=False, seed=0, workdir=folder)


def clips_of(*waveforms: np.ndarray[Any, Any]) -> Clips:
    n = len(waveforms)
    return Clips(
        ids=tuple(map(str, range(n))),
        pcm_hashes=tuple(map(str, range(n))),
        seconds=np.array([len(w) / 16_000 for w in waveforms]),
        languages=("en",) * n,
        read=lambda i: waveforms[i],
    )


def test_the_encoder_gives_one_layer_of_frames(weights: Weights) -> None:
    encoder = Emotion2vecEncoder(weights)
    assert isinstance(encoder, Encoder)
    long, short = encoder.encode([np.zeros(3_200, np.float32), np.zeros(7, np.float32)])
    assert (long.shape, short.shape) == ((1, 10, 8), (1, 1, 8))
    assert long.dtype == np.float32
    # Frames of the fake count from 0: windows of 30 s are put end to end, and a remainder below a frame has none.
    (minute,) = encoder.encode([np.zeros(70 * 16_000 + 5, np.float32)])
    assert minute.shape == (1, 3_500, 8)
    assert minute[0, [1_499, 1_500, 2_999, 3_000], 0].tolist() == [1_499, 0, 1_499, 0]
    (edge,) = encoder.encode([np.zeros(30 * 16_000 + 5, np.float32)])
    assert edge.shape == (1, 1_500, 8)
    with pytest.raises(DataError, match="no samples"):
        encoder.encode([np.zeros(0, np.float32)])


def test_other_on_top_is_no_answer_or_the_best_label_on_offer(weights: Weights, tmp_path: Path) -> None:
    sure, other = np.zeros(3_200, np.float32), np.ones(3_200, np.float32)
    clips = clips_of(sure, other, np.zeros(0, np.float32))
    labels = ("neutral", "happy", "sad", "angry")
    nothing = Examples(clips_of(), labels=(), dimensions=np.zeros((0, 3)), speakers=())
    for outside, expected in (("wrong", None), ("masked", "happy")):
        system = Emotion2vecClassifier(weights, outside=outside)  # type: ignore[arg-type]
        assert isinstance(system, Predictor)
        system.fit(nothing, nothing, context(labels, tmp_path))
        answers = system.predict(clips)
        assert answers.statuses == ("ok", "ok", "undecodable")
        assert answers.labels == ("happy", expected, None)
        assert answers.probabilities is not None
        np.testing.assert_allclose(answers.probabilities[0], [0.2, 0.6, 0.1, 0.1])


@pytest.mark.parametrize("outside", ["wrong", "masked"])
def test_it_keeps_the_contract_also_where_other_is_on_top(
    outside: str, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``serbench check`` called an answer that is none of the labels on offer a fault, on the suite's own card."""
    first = FakeAutoModel.generate

    def other(self: FakeAutoModel, samples: Any, **options: Any) -> list[dict[str, Any]]:
        return first(self, np.ones_like(samples), **options)

    monkeypatch.setattr(FakeAutoModel, "generate", other)
    (tmp_path / "emotion2vec_plus_seed").mkdir()
    (tmp_path / "emotion2vec_plus_seed" / "model.pt").write_bytes(b"weights")
    monkeypatch.setenv("SERBENCH_WEIGHTS", str(tmp_path))
    report = check_system(with_settings(load_system("emotion2vec-plus-seed-released"), {"outside": outside}))
    assert [(c.name, c.seen) for c in report.checks if not c.passed] == []


def test_the_nine_classes_are_the_seven_of_the_view_and_two_that_are_no_emotion() -> None:
    named = set(scores_by_label(NINE, [0.1] * 9))
    assert named - {"other", "<unk>"} == set(label_table().view_labels("seven", label_table().names))
    with pytest.raises(DataError, match="does not know"):
        scores_by_label(["困/zzz"], [1.0])


def test_without_funasr_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "funasr", None)
    with pytest.raises(CannotRun, match=r"pip install 'ser-bench\[emotion2vec\]'"):
        Emotion2vecEncoder(Weights(tmp_path, "x"))


class TalkingAutoModel(FakeAutoModel):
    """Does to its surroundings what FunASR 1.4.16 does: threads, the root logger, stdout."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        torch.set_num_threads(settings.get("ncpu", 4))
        logging.basicConfig(level=getattr(logging, settings.get("log_level", "INFO")))
        logging.warning("trust_remote_code: False")
        print("rtf_avg: 0.1")

    def generate(self, samples: Any, **options: Any) -> list[dict[str, Any]]:
        logging.getLogger().warning("decoding")
        print("rtf_avg: 0.1")
        return super().generate(samples, **options)


def test_funasr_changes_neither_threads_nor_log(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It set four threads where the worker has one, and its lines stood in run.log (`make funasr` looks at the real one)."""
    monkeypatch.setattr(sys.modules["funasr"], "AutoModel", TalkingAutoModel)
    root = logging.getLogger()
    before = torch.get_num_threads(), root.level, root.handlers[:], root.manager.disable
    Emotion2vecEncoder(weights).encode([np.zeros(3_200, np.float32)])
    assert (torch.get_num_threads(), root.level, root.handlers[:], root.manager.disable) == before
    said = capfd.readouterr()
    assert said.out + said.err == ""


def test_weights_that_funasr_did_not_find_are_not_replaced_by_random_ones(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def printing(**settings: Any) -> FakeAutoModel:
        print("error, init_param does not exist!: model.pt")
        return FakeAutoModel(**settings)

    monkeypatch.setattr(sys.modules["funasr"], "AutoModel", printing)
    with pytest.raises(CannotRun, match="random"):
        Emotion2vecEncoder(weights)


def test_its_pickle_is_read_because_the_card_says_so(tmp_path: Path) -> None:
    card = load_system("emotion2vec-plus-large-released")
    assert card.weights is not None
    assert card.weights.pickled
    (tmp_path / "model.pt").write_bytes(b"weights")
    with pytest.raises(CannotRun, match="pickled"):
        folder_hash(tmp_path)
    before = folder_hash(tmp_path, pickled=True)
    (tmp_path / "model.pt").write_bytes(b"other weights")
    assert folder_hash(tmp_path, pickled=True) != before
