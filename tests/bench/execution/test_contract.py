"""The contract test passes sound adapters and names, for each kind of broken one, the demand it breaks."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bench.cards.registry import load_system
from bench.cards.system import FeatureSpec, SystemCard
from bench.errors import CannotRun, UsageError
from bench.execution.contract import TestBed, check_system, encoder_checks
from bench.execution.contract_demands import odd_audio
from bench.execution.planning.systems import resolve_system
from bench.protocols import Answers, Clips, Examples, FitContext


class Sound:
    """Answers by loudness, as it should."""

    spin = 0

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        self.labels = context.labels
        self.mean = np.nanmean(train.dimensions, axis=0)

    def predict(self, clips: Clips) -> Answers:
        loud = np.array([np.abs(w).mean() for w in clips.waveforms()])
        p = np.stack([loud, 1 - loud], axis=1)
        labels = tuple(self.labels[i] for i in p.argmax(axis=1))
        return Answers(("ok",) * len(clips), labels, p, np.tile(self.mean, (len(clips), 1)))


class DropsSilence(Sound):
    def predict(self, clips: Clips) -> Answers:
        a = super().predict(clips)
        return Answers(a.statuses[1:], a.labels[1:], a.probabilities[1:], a.dimensions[1:])  # type: ignore[index]


class OwnWords(Sound):
    def predict(self, clips: Clips) -> Answers:
        return Answers(("ok",) * len(clips), ("furious",) * len(clips))


class Speechless(Sound):
    def predict(self, clips: Clips) -> Answers:
        return Answers(("ok",) * len(clips), (None,) * len(clips))


class OwnStatus(Sound):
    def predict(self, clips: Clips) -> Answers:
        return Answers(("fine",) * len(clips), (self.labels[0],) * len(clips))


class Logits(Sound):
    def predict(self, clips: Clips) -> Answers:
        a = super().predict(clips)
        return Answers(a.statuses, a.labels, 3 * a.probabilities, a.dimensions)  # type: ignore[operator]


class RawScale(Sound):
    def predict(self, clips: Clips) -> Answers:
        a = super().predict(clips)
        return Answers(a.statuses, a.labels, a.probabilities, 1 + 6 * a.dimensions)  # type: ignore[operator]


class Moody(Sound):
    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        super().fit(train, dev, context)
        Moody.spin += 1
        self.mean = self.mean * 0.9**Moody.spin


class Forgetful(Sound):
    def predict(self, clips: Clips) -> Answers:
        self.mean = self.mean * 0.9
        return super().predict(clips)


class BatchNorm(Sound):
    """What it says of a clip depends on its company: the first clip sets the level."""

    def predict(self, clips: Clips) -> Answers:
        a = super().predict(clips)
        assert a.probabilities is not None
        p = a.probabilities * [a.probabilities[0, 0], 1]
        return Answers(a.statuses, a.labels, p / p.sum(axis=1, keepdims=True), a.dimensions)


class Scribbler(Sound):
    def predict(self, clips: Clips) -> Answers:
        answers = super().predict(clips)
        for w in clips.waveforms():
            w -= w.mean() + 0.1
        return answers


class NeedsOneSecond(Sound):
    def predict(self, clips: Clips) -> Answers:
        if any(len(w) < 4000 for w in clips.waveforms()):
            raise ValueError("Kernel size can't be greater than actual input size")
        return super().predict(clips)


class Chatty(Sound):
    def predict(self, clips: Clips) -> Answers:
        a = super().predict(clips)
        return Answers(a.statuses, a.labels, notes={"model": self})


class Energy:
    """A sound encoder: three layers of frame energies."""

    dims = 2

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def encode(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        return [self.one(w) for w in waveforms]

    def one(self, waveform: np.ndarray) -> np.ndarray:
        frames = np.resize(waveform, (max(1, len(waveform) // 400), 400))
        energy = np.stack([(frames**2).mean(axis=1), np.abs(frames).mean(axis=1)], axis=1)
        return np.stack([energy, 2 * energy, 3 * energy]).astype(np.float32)


class Padded(Energy):
    """Pads to the longest clip and forgets to cut: company changes the answer."""

    def encode(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        longest = max(map(len, waveforms))
        return [self.one(np.pad(w, (0, longest - len(w)))) for w in waveforms]


class Flat(Energy):
    def one(self, waveform: np.ndarray) -> np.ndarray:
        return super().one(waveform).mean(axis=1)


class Remembers(Energy):
    """A recurrent encoder in one direction that is slow to forget: a late sound moves it little."""

    kept, ahead = 1.0, 0

    def one(self, waveform: np.ndarray) -> np.ndarray:
        states = super().one(waveform)
        memory = np.cumsum(states, axis=1) / np.sqrt(1 + np.arange(states.shape[1]))[None, :, None]
        later = np.concatenate([memory[:, self.ahead :], memory[:, memory.shape[1] - self.ahead :]], axis=1)
        return later[:, : max(1, int(self.kept * states.shape[1]))].astype(np.float32)


class RemembersTheBeginning(Remembers):
    kept = 0.85


class LooksAhead(Remembers):
    ahead = 40


class Dithered(Energy):
    def one(self, waveform: np.ndarray) -> np.ndarray:
        return super().one(waveform) + np.float32(np.random.default_rng().normal(0, 1e-3))


class Hasty(Energy):
    """Keeps the first eighth of its frames, each of which knows the level of the whole clip."""

    def one(self, waveform: np.ndarray) -> np.ndarray:
        states = super().one(waveform / max(1e-6, float(waveform.std())))
        return states[:, : 1 + states.shape[1] // 8]


class Deaf(Energy):
    def one(self, waveform: np.ndarray) -> np.ndarray:
        return np.ones_like(super().one(waveform))


class Impatient(Energy):
    """Dies, with an error that is nobody's clip's fault, on a clip it cannot take."""

    def one(self, waveform: np.ndarray) -> np.ndarray:
        if len(waveform) > 30 * 16_000:
            raise KeyError("position 1500")
        return super().one(waveform)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """These classes as a module that a card can name."""
    module = ModuleType("contract_cases")
    vars(module).update({k: v for k, v in globals().items() if isinstance(v, type)})
    module.__spec__ = sys.modules[__name__].__spec__
    monkeypatch.setitem(sys.modules, "contract_cases", module)


def predictor(kind: type) -> SystemCard:
    return SystemCard(
        name="case", family="acoustic", track="probed", adapter=f"contract_cases:{kind.__name__}"
    )


def probed(kind: type) -> SystemCard:
    features = FeatureSpec(encoder=f"contract_cases:{kind.__name__}")
    return SystemCard(name="case", family="encoder", track="probed", probe="linear", features=features)


def failed(card: SystemCard) -> set[str]:
    return {c.name for c in check_system(card).checks if not c.passed}


def test_a_sound_predictor_passes_every_check() -> None:
    report = check_system(predictor(Sound))
    assert report.passed, [c for c in report.checks if not c.passed]
    assert {"runs", "rows", "order", "odd audio", "test labels", "determinism"} <= {
        c.name for c in report.checks
    }


def test_a_sound_encoder_passes_every_check() -> None:
    report = check_system(probed(Energy))
    assert report.passed, [c for c in report.checks if not c.passed]
    assert sum(c.name.startswith("encoder: ") for c in report.checks) == 6


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (DropsSilence, "rows"),
        (OwnWords, "labels"),
        (Speechless, "labels"),
        (OwnStatus, "statuses"),
        (Logits, "probabilities"),
        (RawScale, "dimensions"),
        (Moody, "determinism"),
        (Forgetful, "predicts again"),
        (BatchNorm, "order"),
        (Scribbler, "inputs"),
        (NeedsOneSecond, "odd audio"),
        (Chatty, "notes"),
    ],
)
def test_a_broken_predictor_fails_the_check_that_is_about_it(kind: type, broken: str) -> None:
    assert broken in failed(predictor(kind))


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (Padded, "encoder: batch"),
        (Flat, "encoder: shapes"),
        (Dithered, "encoder: determinism"),
        (Hasty, "encoder: end of clip"),
        (Deaf, "encoder: end of clip"),
        (Impatient, "encoder: odd audio"),
    ],
)
def test_a_broken_encoder_fails_the_check_that_is_about_it(kind: type, broken: str, tmp_path: Path) -> None:
    checks = encoder_checks(TestBed(resolve_system(probed(kind)), tmp_path))
    assert broken in {c.name for c in checks if not c.passed}


def end_of_clip(bed: TestBed, kind: type, **said: object) -> tuple[bool, str]:
    bed.system = resolve_system(probed(kind).model_copy(update=said))
    check = next(c for c in encoder_checks(bed) if c.name == "encoder: end of clip")
    return check.passed, check.seen


def test_a_causal_encoder_passes_where_its_card_says_so_and_a_cut_one_does_not(tmp_path: Path) -> None:
    bed = TestBed(resolve_system(probed(Remembers)), tmp_path)
    assert not end_of_clip(bed, Remembers)[0]
    passed, seen = end_of_clip(bed, Remembers, causal=True)
    assert passed, seen
    assert "begins at 88% of a clip first moves frame 141 of 160" in seen
    assert end_of_clip(bed, Remembers, frames_per_second=40.0)[0]
    for kind, said, why in (
        (RemembersTheBeginning, {"causal": True}, "are late frames left out"),
        (
            RemembersTheBeginning,
            {"frames_per_second": 40.0},
            "136 frames for 4 s, where 40 per second make 160",
        ),
        (LooksAhead, {"causal": True}, "so this is not causal"),
        (Remembers, {"frames_per_second": 50.0}, "where 50 per second make 200"),
        (Deaf, {"causal": True}, "leaves a layer as it is"),
        (Deaf, {"frames_per_second": 40.0}, "leave the features of a layer as they are"),
    ):
        passed, seen = end_of_clip(bed, kind, **said)
        assert not passed
        assert why in seen


def test_code_beside_a_card_needs_no_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_it.py").write_text("class Mine:\n    pass\n")
    text = "name: mine\nfamily: trained\ntrack: released\nadapter: {}:Mine\nseeds: false\n"
    (tmp_path / "mine.yaml").write_text(text.format("beside_it"))
    assert resolve_system(load_system(str(tmp_path / "mine.yaml"))).identity
    (tmp_path / "package_beside/systems").mkdir(parents=True)
    (tmp_path / "package_beside/__init__.py").write_text("class Mine:\n    pass\n")
    (tmp_path / "package_beside/systems/mine.yaml").write_text(text.format("package_beside"))
    assert resolve_system(load_system(str(tmp_path / "package_beside/systems/mine.yaml"))).identity
    (tmp_path / "json.py").touch()
    (tmp_path / "hidden.yaml").write_text(text.format("json"))
    with pytest.raises(
        UsageError, match=r"'json', which lies beside it and is hidden by .*json.*: give it another name"
    ):
        load_system(str(tmp_path / "hidden.yaml"))


def test_a_probe_that_peeks_at_test_labels_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.features.probes import linear

    honest = linear.LinearProbe.run

    def peeking(self: linear.LinearProbe, task: object, progress: object) -> object:
        outcomes = honest(self, task, progress)  # type: ignore[arg-type]
        for (fold, _), outcome in outcomes.items():
            truth = task.labels[task.folds[fold].test]  # type: ignore[attr-defined]
            outcome.probabilities[:] = 0.0  # type: ignore[index]
            outcome.probabilities[np.arange(len(truth)), truth] = 1.0  # type: ignore[index]
        return outcomes

    monkeypatch.setattr(linear.LinearProbe, "run", peeking)
    assert "test labels" in failed(probed(Energy))


def test_an_adapter_that_raises_fails_with_its_own_words_and_the_rest_is_left_out() -> None:
    class_that_raises = type("Raises", (Sound,), {"fit": lambda self, *_: 1 / 0})
    sys.modules["contract_cases"].Raises = class_that_raises  # type: ignore[attr-defined]
    report = check_system(predictor(class_that_raises))
    (only,) = report.checks
    assert not only.passed
    assert only.seen == "raises ZeroDivisionError: division by zero"


def test_parameters_the_code_does_not_take_are_the_cards_fault() -> None:
    card = predictor(Sound).model_copy(update={"params": {"depth": 3}})
    with pytest.raises(UsageError, match="depth"):
        check_system(card)


def test_a_system_without_its_server_says_so() -> None:
    with pytest.raises(CannotRun, match="needs a server"):
        check_system(load_system("qwen2-audio-7b-instruct-choice"))


def test_the_reference_systems_keep_the_contract() -> None:
    for name in ("majority", "chance"):
        assert check_system(load_system(name)).passed


def test_odd_clips_are_what_they_say() -> None:
    clips = odd_audio()
    assert dict(zip(clips.ids, clips.seconds.tolist(), strict=True)) == {
        "0.05 s": 0.05, "silence": 1.0, "clipping": 1.0, "31 s": 31.0,
    }  # fmt: skip
    assert not clips.read(1).any()
    assert (np.abs(clips.read(2)) > 0.999).mean() > 0.5


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    check_system(predictor(Sound))
    assert not list(tmp_path.iterdir())
