"""Landmarks of a recording: three peaks of its spectrogram each, the same in a cut, a re-encoded or a resampled copy.

The idea of Wang (An industrial-strength audio search algorithm, ISMIR 2003), with triples in place of pairs. Landmarks only
propose; :mod:`bench.corpora.duplicates` compares the samples themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.audio.store import DecodedClip
from bench.protocols import Waveform
from bench.storage.atomic import replacing
from bench.storage.hashing import digest

FINGERPRINT = "peaks-3/1"
"""Version of what follows; part of the stored fingerprints' key."""
HOP = 256
"""Samples between frames: 16 ms."""
_WINDOW = 512
_LOWEST, _HIGHEST = 4, 132
"""Bins looked at, of 31.25 Hz each: 125 to 4,100 Hz, which telephone and low-rate copies keep."""
_REACH_FRAMES, _REACH_BINS = 4, 5
"""A peak is the largest value this far around."""
_FOLLOWERS = 4
"""A peak is joined with pairs of so many that follow it."""
_LONGEST = 63
"""Frames (1 s) that a landmark may span."""
_KEPT = 3
"""One landmark of so many is kept, chosen by its own value: a copy keeps the same ones."""
_SECONDS = 30
"""Only the first half minute of a clip is fingerprinted."""
_FLOOR = 1e-4
"""Peaks below this amplitude (−80 dB of full scale) are silence or dither."""


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of a corpus: ``keys`` (n,), the row of the clip each stands in, and its frame."""

    keys: NDArray[np.uint64]
    clips: NDArray[np.int32]
    frames: NDArray[np.int32]


def landmarks_of(waveform: Waveform) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Landmarks of one clip, 16 kHz: keys (n,) and frames (n,)."""
    samples = waveform[: _SECONDS * 16_000]
    if len(samples) < _WINDOW:
        return np.empty(0, np.uint64), np.empty(0, np.int32)
    framed = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::HOP]
    spectrum = np.abs(np.fft.rfft(framed * _window(), axis=1))[:, _LOWEST:_HIGHEST] / (_WINDOW / 4)
    frame, place = np.nonzero(
        (spectrum >= _widest(_widest(spectrum, _REACH_FRAMES, 0), _REACH_BINS, 1)) & (spectrum > _FLOOR)
    )
    return _triples(frame, place)


@functools.cache
def _window() -> NDArray[np.float32]:
    return np.hanning(_WINDOW).astype(np.float32)


def _widest(values: NDArray[np.floating], reach: int, axis: int) -> NDArray[np.floating]:
    """Largest value within ``reach`` on both sides along an axis."""
    pad = [(0, 0), (0, 0)]
    pad[axis] = (reach, reach)
    padded = np.pad(values, pad)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis).max(axis=-1))


def _triples(
    frame: NDArray[np.intp], place: NDArray[np.intp]
) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    keys, frames = [], []
    for i in range(1, _FOLLOWERS):
        for j in range(i + 1, _FOLLOWERS + 1):
            n = len(frame) - j
            if n <= 0:
                continue
            first, last = frame[i : i + n] - frame[:n], frame[j : j + n] - frame[:n]
            parts = (place[:n], place[i : i + n], place[j : j + n], first, last)
            near = (last > 0) & (last <= _LONGEST)
            key = np.zeros(n, np.uint64)
            for part in parts:
                key = key * np.uint64(128) + part.astype(np.uint64)
            key *= np.uint64(0x9E3779B97F4A7C15)  # spreads the values, so that the choice below is fair
            near &= (key >> np.uint64(40)) % np.uint64(_KEPT) == 0
            keys.append(key[near])
            frames.append(frame[:n][near].astype(np.int32))
    if not keys:
        return np.empty(0, np.uint64), np.empty(0, np.int32)
    return np.concatenate(keys), np.concatenate(frames)


def corpus_landmarks(clips: Sequence[DecodedClip], cache: Path) -> Landmarks:
    """Landmarks of all clips that have audio, computed once and kept under the cache."""
    path = cache / "fingerprints" / f"{digest(FINGERPRINT, *(c.pcm_hash for c in clips))}.npz"
    if path.exists():
        with np.load(path) as stored:
            return Landmarks(stored["keys"], stored["clips"], stored["frames"])
    found = [landmarks_of(c.read()) for c in clips if c.message is None]
    rows = [i for i, c in enumerate(clips) if c.message is None]
    none = (np.empty(0, np.uint64), np.empty(0, np.int32))
    made = Landmarks(
        np.concatenate([none[0], *(k for k, _ in found)]),
        np.repeat(np.array(rows, dtype=np.int32), [len(k) for k, _ in found]),
        np.concatenate([none[1], *(f for _, f in found)]),
    )
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, keys=made.keys, clips=made.clips, frames=made.frames)
    return made
