"""Frames of clips: where they come from, their statistics, and how a long clip is cut into windows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import CannotRun, DataError, UsageError
from bench.protocols import SAMPLE_RATE, Clips, FeatureReader, Waveform

MELS = 80
_FFT, _HOP = 400, 160
_FLOOR = 1e-7
"""Mel energies are cut off here: the noise of 16-bit rounding, so that digital silence is no outlier."""


def log_mel(waveform: Waveform) -> Tensor:
    """Log-mel spectrogram (frames, 80): 25-ms Hann windows every 10 ms, Slaney mel filters, log10.

    Unlike Whisper's it keeps the clip's loudness: levels differ between emotions.
    """
    audio = torch.as_tensor(np.asarray(waveform, dtype=np.float32))
    if len(audio) <= _FFT:
        audio = torch.nn.functional.pad(audio, (0, _FFT + 1 - len(audio)))
    spectrum = torch.stft(audio, _FFT, _HOP, window=torch.hann_window(_FFT), return_complex=True)
    power = spectrum.abs().square()[:, : max(1, len(audio) // _HOP)]
    return (_mel_filters().T @ power).clamp(min=_FLOOR).log10().T.contiguous()


@functools.cache
def _mel_filters() -> Tensor:
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        _FFT // 2 + 1, MELS, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    # Copied, here and below: memory of torch's own begins on a 64-byte boundary. Elsewhere MKL may add up in another order.
    return torch.tensor(np.asarray(filters, dtype=np.float32))


def clip_frames(clips: Clips, index: int, features: FeatureReader) -> Tensor | None:
    """Stored frames (frames, dims) of one clip; None where the frozen encoder could not take it.

    Several stored layers lie side by side in each frame (frames, layers · dims).

    Args:
        clips: of which one is read.
        index: which.
        features: stored frames by PCM hash, each (layers, frames, dims).

    Raises:
        UsageError: the store holds pooled vectors.
        DataError: frames that are no numbers.
    """
    pcm_hash = clips.pcm_hashes[index]
    if pcm_hash not in features:
        return None
    return checked(stored_frames(features[pcm_hash]), clips.ids[index])


def checked(frames: Tensor, clip: str) -> Tensor:
    """Return frames that are numbers; raise :class:`DataError` naming the clip for others."""
    if not bool(torch.isfinite(frames).all()):
        raise DataError(
            f"clip {clip}: its frames hold NaN or infinity; listen to it, and leave it out or re-encode it"
        )
    return frames


class WhisperMel:
    """Whisper's own log-mel of a clip, (frames, mels), 100 frames a second, by transformers' feature extractor."""

    def __init__(self, extract: Any) -> None:
        self._extract = extract

    @classmethod
    def of(cls, folder: Path) -> WhisperMel:
        """Read the feature extractor of a folder."""
        from transformers import WhisperFeatureExtractor

        try:
            return cls(WhisperFeatureExtractor.from_pretrained(folder))
        except (OSError, ValueError) as error:
            raise CannotRun(f"{folder}: no preprocessor_config.json of Whisper's in it ({error})") from error

    def __call__(self, waveform: Waveform) -> Tensor:
        """Return the clip's own frames, without padding."""
        audio = np.pad(waveform, (0, max(0, _FFT - len(waveform))))
        found = self._extract(
            audio, sampling_rate=SAMPLE_RATE, padding="do_not_pad", truncation=False, return_tensors="np"
        )["input_features"][0]
        return torch.tensor(found.T[: max(2, len(audio) // _HOP)], dtype=torch.float32)


def padded_mel(frames: Tensor, length: int) -> Tensor:
    """Pad Whisper's log-mel (batch, frames, mels) to ``length`` frames with each clip's silence."""
    missing = length - frames.shape[1]
    if missing <= 0:
        return frames
    return torch.cat([frames, silence(frames).expand(-1, missing, frames.shape[2])], dim=1)


def silence(frames: Tensor) -> Tensor:
    """What Whisper's log-mel makes of silence behind each clip of (…, frames, mels): (…, 1, 1).

    It keeps a clip's energies within 8 decades of its largest and then scales, so silence lies 2 below the clip's
    maximum, and nowhere below the −1.5 of its smallest energy. That is the least value of a clean clip, not of a noisy one.
    """
    return (frames.amax(dim=(-2, -1), keepdim=True) - 2.0).clamp(min=-1.5)


def stored_frames(stored: NDArray[np.float32]) -> Tensor:
    """Return stored (layers, frames, dims) as (frames, layers · dims)."""
    if stored.ndim != 3:
        raise UsageError(
            f"stored features have the shape {stored.shape}, expected (layers, frames, dims): "
            "the card's features section needs pooled: false"
        )
    layers, frames, dims = stored.shape
    side_by_side = np.array(stored, dtype=np.float32).transpose(1, 0, 2).reshape(frames, layers * dims)
    return torch.tensor(side_by_side)


def frame_statistics(frames: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (dims,) over all frames of all clips; a constant feature has deviation 1."""
    count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for clip in frames:
        exact = clip.double()
        count += len(exact)
        total = total + exact.sum(dim=0)
        squares = squares + exact.square().sum(dim=0)
    if count == 0:
        raise CannotRun("no training frames to take statistics of: the training set is empty")
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)).float()


def windows(frames: Tensor, longest: int) -> Sequence[Tensor]:
    """Cut (frames, dims) into the fewest windows of near-equal length, none above ``longest`` frames.

    >>> [len(part) for part in windows(torch.zeros(7, 2), 3)]
    [3, 2, 2]
    """
    return torch.tensor_split(frames, max(1, -(-len(frames) // longest)))
