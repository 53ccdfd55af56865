"""Training clips and the batches drawn from them: random crops of clips of near-equal length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adapters.meralion_ser.losses import HybridMasks, HybridTargets

_BUCKET = 8
"""Batches that are sorted by length together."""


@dataclass(frozen=True)
class LabelledFrames:
    """Clips to learn from: frames (frames, dims) each, class indices (−1: none), dimensions (clips, 3) with NaN."""

    ids: tuple[str, ...]
    frames: tuple[Tensor, ...]
    categories: Tensor
    dimensions: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def with_frames(self, frames: Sequence[Tensor]) -> LabelledFrames:
        """Return the same clips seen through other frames."""
        return LabelledFrames(self.ids, tuple(frames), self.categories, self.dimensions)


@dataclass(frozen=True)
class Batch:
    """Frames (batch, frames, dims) with lengths (batch,), None when all are full; what is known of the clips."""

    indices: tuple[int, ...]
    frames: Tensor
    lengths: Tensor | None
    targets: HybridTargets
    masks: HybridMasks

    def to(self, device: str) -> Batch:
        """Return the batch on another device."""
        return Batch(
            self.indices,
            self.frames.to(device),
            None if self.lengths is None else self.lengths.to(device),
            HybridTargets(*(t.to(device) for t in self.targets)),
            HybridMasks(*(m.to(device) for m in self.masks)),
        )


def epoch_batches(
    clips: LabelledFrames, size: int, longest: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield every clip once, in random batches of near-equal length, cropped at random to the batch's shortest.

    A clip below half the batch's median length is padded and masked, not allowed to cut the others short.
    """
    for chosen in _grouped([len(f) for f in clips.frames], size, rng):
        yield _cropped(clips, chosen, longest, rng)


def whole(clips: LabelledFrames, index: int, longest: int) -> Batch:
    """Return one clip as a batch of one, cut to its first ``longest`` frames."""
    frames = clips.frames[index][:longest]
    return Batch((index,), frames[None], None, *_labels(clips, [index]))


def _grouped(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[list[int]]:
    order = rng.permutation(len(lengths))
    groups: list[list[int]] = []
    for start in range(0, len(order), size * _BUCKET):
        bucket = sorted(order[start : start + size * _BUCKET].tolist(), key=lambda i: lengths[i])
        groups += [bucket[i : i + size] for i in range(0, len(bucket), size)]
    return [groups[i] for i in rng.permutation(len(groups))]


def _cropped(clips: LabelledFrames, chosen: list[int], longest: int, rng: np.random.Generator) -> Batch:
    lengths = [len(clips.frames[i]) for i in chosen]
    length = min(longest, max(min(lengths), int(np.median(lengths)) // 2))
    frames = torch.zeros(len(chosen), length, clips.frames[chosen[0]].shape[1])
    for row, index in enumerate(chosen):
        start = int(rng.integers(0, max(0, lengths[row] - length) + 1))
        crop = clips.frames[index][start : start + length]
        frames[row, : len(crop)] = crop
    short = min(lengths) < length
    return Batch(
        tuple(chosen),
        frames,
        torch.tensor(lengths).clamp(max=length) if short else None,
        *_labels(clips, chosen),
    )


def _labels(clips: LabelledFrames, chosen: list[int]) -> tuple[HybridTargets, HybridMasks]:
    categories, dimensions = clips.categories[chosen], clips.dimensions[chosen]
    return (
        HybridTargets(categories, torch.nan_to_num(dimensions)),
        HybridMasks(categories >= 0, ~torch.isnan(dimensions)),
    )
