"""emotion2vec and emotion2vec+ (Ma et al., 2024, arXiv 2312.15185) through FunASR, an optional extra.

As a frozen encoder it gives one layer of frames at 50 per second; as a classifier (emotion2vec+ alone) nine classes,
of which seven are emotions. ``other`` and ``<unk>`` are no answer in any label space: they are left out, and the rest is
renormalised over the labels on offer (``masked``), or the clip counts as answered outside them (``wrong``).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bench.cards.labels import label_table
from bench.errors import CannotRun, DataError, UsageError
from bench.protocols import SAMPLE_RATE, Answers, Clips, Examples, FitContext, Waveform, Weights

MIN_SAMPLES = 400
FRAME = 320
"""Samples per frame: 50 frames per second."""
WINDOW = 30 * SAMPLE_RATE
"""Longer clips are encoded in windows of 30 s put end to end, so that attention over a long one fits into memory."""
NO_EMOTION = ("other", "<unk>", "unk", "unknown")


def load_funasr(weights: Weights, device: str) -> Any:
    """Build FunASR's model from a local folder, without asking its servers for anything.

    The number of threads stays as it is (FunASR would set it to four), and what FunASR logs or prints goes nowhere.

    Raises:
        CannotRun: funasr is not installed, or cannot read the folder.
    """
    with _unheard() as said:
        try:
            funasr: Any = importlib.import_module("funasr")  # an optional extra: mypy knows nothing of it
        except ImportError as error:
            raise CannotRun(
                f"emotion2vec needs funasr ({error}): pip install 'ser-bench[emotion2vec]'"
            ) from error
        try:
            model = funasr.AutoModel(
                model=str(weights.folder),
                device=device,
                ncpu=torch.get_num_threads(),
                log_level="ERROR",
                disable_update=True,
                disable_pbar=True,
                disable_log=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, AssertionError) as error:
            raise CannotRun(
                f"funasr could not load {weights.folder}: {type(error).__name__}: {error}"
            ) from error
    if "init_param does not exist" in said.getvalue():
        raise CannotRun(
            f"funasr found no weights in {weights.folder} and would go on with random ones; expected the file that its "
            "configuration names (model.pt)"
        )
    return model


@contextlib.contextmanager
def _unheard() -> Iterator[io.StringIO]:
    """Collect what is printed, keep the log below errors silent, and leave the root logger as it was found.

    FunASR configures the root logger, whose lines would stand in the run's log.
    """
    root = logging.getLogger()
    level, handlers, disabled = root.level, root.handlers[:], root.manager.disable
    said = io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(said):
            yield said
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        root.handlers[:] = handlers


class Emotion2vecEncoder:
    """Frames of emotion2vec, frozen: one layer, (1, frames, dims). Clips go one at a time."""

    def __init__(self, weights: Weights, device: str = "cpu") -> None:
        self._model = load_funasr(weights, device)

    def encode(self, waveforms: Sequence[Waveform]) -> list[NDArray[np.float32]]:
        """One (1, frames, dims) array per waveform; clips below 25 ms are padded with silence to 25 ms.

        Raises:
            DataError: a clip without samples.
        """
        return [self._encode_one(waveform) for waveform in waveforms]

    def _encode_one(self, waveform: Waveform) -> NDArray[np.float32]:
        starts = range(0, len(waveform), WINDOW) or range(1)
        parts = [waveform[start : start + WINDOW] for start in starts]
        # A remainder below one frame has none of its own.
        long_enough = [part for i, part in enumerate(parts) if i == 0 or len(part) >= FRAME]
        frames = [_generate(self._model, part, "frame")["feats"] for part in long_enough]
        return np.concatenate(frames, axis=0, dtype=np.float32)[None]


class Emotion2vecClassifier:
    """emotion2vec+ as it was released: nine scores per clip, nothing learnt here.

    Args:
        weights: the local folder.
        outside: what an ``other`` or ``<unk>`` on top means: ``wrong`` (no answer) or ``masked`` (the best label on offer).
        device: where it runs, unless the context says.

    Raises:
        UsageError: an ``outside`` that is neither.
    """

    def __init__(
        self, weights: Weights, outside: Literal["wrong", "masked"] = "wrong", device: str = "cpu"
    ) -> None:
        if outside not in ("wrong", "masked"):
            raise UsageError(f"outside is {outside!r}; expected 'wrong' or 'masked'")
        self._weights, self._outside, self._device = weights, outside, device
        self._model: Any = None

    def fit(self, train: Examples, dev: Examples, context: FitContext) -> None:
        """Remember the labels on offer; nothing is trained.

        Args:
            train: left alone.
            dev: left alone.
            context: the labels on offer.

        Raises:
            CannotRun: funasr is not installed, or cannot read the folder.
        """
        self._labels = context.labels
        self._model = self._model or load_funasr(self._weights, context.device or self._device)

    def predict(self, clips: Clips) -> Answers:
        """Score each clip; a clip that cannot be read is ``undecodable``, one whose scores are not numbers ``failed``."""
        rows = [self._answer(clips, i) for i in range(len(clips))]
        return Answers(
            statuses=tuple(status for status, _, _ in rows),
            labels=tuple(label for _, label, _ in rows),
            probabilities=np.stack([shares for _, _, shares in rows])
            if rows
            else np.zeros((0, len(self._labels))),
        )

    def _answer(self, clips: Clips, i: int) -> tuple[str, str | None, NDArray[np.float64]]:
        nothing = np.full(len(self._labels), np.nan)
        try:
            result = _generate(self._model, clips.read(i), "utterance")
        except DataError:
            return "undecodable", None, nothing
        scores = scores_by_label(result["labels"], result["scores"])
        shares = np.array([scores.get(label, 0.0) for label in self._labels])
        if not np.isfinite(shares).all() or not shares.sum():
            return "failed", None, nothing
        shares = shares / shares.sum()
        best = max(scores, key=lambda name: scores[name])
        if best in self._labels or self._outside == "masked":
            return "ok", self._labels[int(np.argmax(shares))], shares
        return "ok", None, shares


def scores_by_label(labels: Sequence[str], scores: Sequence[float]) -> dict[str, float]:
    """Map FunASR's labels (``生气/angry``, ``<unk>``) to canonical names; what is no emotion keeps its own name.

    >>> scores_by_label(["生气/angry", "其他/other", "<unk>"], [0.5, 0.3, 0.2])
    {'angry': 0.5, 'other': 0.3, '<unk>': 0.2}
    """
    found: dict[str, float] = {}
    for raw, score in zip(labels, scores, strict=True):
        name = raw.split("/")[-1].strip().lower()
        canonical = None if name in NO_EMOTION else label_table().canonical(name)
        if canonical is None and name not in NO_EMOTION:
            raise DataError(
                f"emotion2vec answered with the class {raw!r}, which the label table does not know"
            )
        found[canonical or name] = float(score)
    return found


def _generate(model: Any, waveform: Waveform, granularity: str) -> dict[str, Any]:
    if not len(waveform):
        raise DataError("A clip has no samples: an encoder needs audio. Remove the clip or repair its file.")
    padded = np.pad(waveform, (0, max(0, MIN_SAMPLES - len(waveform)))).astype(np.float32)
    with _unheard():
        (result,) = model.generate(padded, fs=SAMPLE_RATE, granularity=granularity, extract_embedding=True)
    answer: dict[str, Any] = result
    return answer
