"""Augmentation: MixUp of training batches, and further views of a clip's audio (noise, speed)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adapters.meralion_ser.training.batches import TrainingBatch
from adapters.meralion_ser.training.losses import HybridMasks, HybridTargets
from bench.audio.decoding import decode, to_float
from bench.errors import DataError
from bench.protocols import SAMPLE_RATE, Waveform
from bench.storage.hashing import digest


@dataclass(frozen=True)
class MixUp:
    """MixUp (Zhang et al. 2018) of frames and labels, for a share of the batches.

    λ ~ Beta(alpha, alpha), one per batch; each clip is mixed with another of its batch as λ x + (1 − λ) x'. The paper:
    probability 0.5, alpha 0.3.
    """

    probability: float = 0.5
    alpha: float = 0.3

    def __call__(self, batch: TrainingBatch, classes: int, rng: np.random.Generator) -> TrainingBatch:
        """Mix frames, soft categories (batch, classes), dimensions and masks.

        A mixture of a known and an unknown label is unknown: half of its truth is missing. It is as long as the
        longer of its two clips.
        """
        mixes = self.alpha > 0 and rng.random() < self.probability
        if not mixes or len(batch.frames) < 2:
            return batch
        share = float(rng.beta(self.alpha, self.alpha))
        partner = torch.from_numpy(rng.permutation(len(batch.frames)))

        def mixed(x: Tensor) -> Tensor:
            return share * x + (1.0 - share) * x[partner]

        known = batch.masks
        given = batch.targets.categories
        soft = given if given.dim() == 2 else F.one_hot(given.clamp(min=0), classes).float()
        lengths = batch.lengths
        return TrainingBatch(
            batch.indices,
            mixed(batch.frames),
            None if lengths is None else torch.maximum(lengths, lengths[partner]),
            # NaN marks a missing dimension and would survive any mixture.
            HybridTargets(mixed(soft), mixed(torch.nan_to_num(batch.targets.dimensions))),
            HybridMasks(
                known.categories & known.categories[partner], known.dimensions & known.dimensions[partner]
            ),
        )


@dataclass(frozen=True)
class AudioViews:
    """Further takes of a clip: at another speed, and with noise.

    Seeded by the clip's samples, so that a view is the same in every fold, epoch and process.

    Args:
        count: takes per clip.
        seed: of all draws.
        noise_folder: excerpts are from here (MUSAN, or any folder of audio files); None: noise of a spectrum between white and
            brown.
        speeds: each take is at one of these, drawn evenly.
        snr_db: lowest and highest ratio of signal to noise.
    """

    count: int
    seed: int = 0
    noise_folder: str | None = None
    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    snr_db: tuple[float, float] = (5.0, 20.0)

    def __call__(self, waveform: Waveform, pcm_hash: str) -> list[Waveform]:
        """Return the takes of one waveform (samples,)."""
        return [
            self._take(waveform, np.random.default_rng((self.seed, view, int(digest(pcm_hash)[:12], 16))))
            for view in range(self.count)
        ]

    def _take(self, waveform: Waveform, rng: np.random.Generator) -> Waveform:
        import soxr

        speed = float(rng.choice(self.speeds))
        changed = np.asarray(waveform, dtype=np.float32)
        if speed != 1.0:
            changed = soxr.resample(changed, SAMPLE_RATE * speed, SAMPLE_RATE)
        noise = self._noise(len(changed), rng)
        power, floor = float(np.mean(changed**2)), float(np.mean(noise**2))
        if power == 0 or floor == 0:
            return changed
        gain = np.sqrt(power / floor / 10 ** (rng.uniform(*self.snr_db) / 10))
        return np.asarray(changed + gain * noise, dtype=np.float32)

    @functools.cached_property
    def _files(self) -> tuple[Path, ...]:
        return _noise_files(str(self.noise_folder))

    def _noise(self, samples: int, rng: np.random.Generator) -> Waveform:
        if self.noise_folder is not None:
            path = self._files[int(rng.integers(len(self._files)))]
            state = path.stat()
            excerpt = _read_noise(path, (state.st_mtime_ns, state.st_size))
            start = int(rng.integers(len(excerpt)))
            return np.resize(np.roll(excerpt, -start), samples)
        spectrum = np.fft.rfft(rng.standard_normal(samples))
        frequencies = np.maximum(np.arange(len(spectrum)), 1)
        return np.asarray(
            np.fft.irfft(spectrum / frequencies ** rng.uniform(0.0, 1.0), samples), dtype=np.float32
        )


def _noise_files(folder: str) -> tuple[Path, ...]:
    found = tuple(sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".wav", ".flac")))
    if not found:
        raise DataError(
            f"noise_folder {folder}: no .wav or .flac file in it; give MUSAN's folder, or leave it out"
        )
    return found


@functools.lru_cache(maxsize=64)
def _read_noise(path: Path, _state: tuple[int, int]) -> Waveform:
    """Decode a file; one that was changed since (``_state``: its time and size) is read anew."""
    return to_float(decode(path))
