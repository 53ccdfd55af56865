"""Training clips and the batches drawn from them: random crops of clips of near-equal length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adapters.meralion_ser.network.frames import silence
from adapters.meralion_ser.training.losses import HybridMasks, HybridTargets
from bench.storage.hashing import digest

_BUCKET = 8
"""Batches that are sorted by length together."""


@dataclass(frozen=True)
class LabelledFrames:
    """Clips to learn from.

    Args:
        ids: clip ids.
        frames: (frames, dims) of each clip.
        categories: class indices (clips,), −1: none.
        dimensions: (clips, 3) in 0..1, NaN where not rated.
        views: further takes of each clip's frames (noise, another speed), one of which stands for the clip in an epoch.
        soft: shares of listeners' votes (clips, classes), NaN where nobody voted.
        sources: the pool of recordings that each clip is from.
        silence: behind the end of a clip in a longer batch stands its silence, as log-mel frames for an encoder that sees the
            padding need it, and not zero.
    """

    ids: tuple[str, ...]
    frames: tuple[Tensor, ...]
    categories: Tensor
    dimensions: Tensor
    views: tuple[tuple[Tensor, ...], ...] = ()
    soft: Tensor | None = None
    sources: tuple[str, ...] = ()
    silence: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def with_frames(self, frames: Sequence[Tensor]) -> LabelledFrames:
        """Return the same clips seen through other frames."""
        return replace(self, frames=tuple(frames))

    def through(self, see: Callable[[Tensor], Tensor]) -> LabelledFrames:
        """Return the same clips with ``see`` applied to their frames and to each of their views."""
        return replace(
            self,
            frames=tuple(map(see, self.frames)),
            views=tuple(tuple(map(see, takes)) for takes in self.views),
        )

    def taken(self, rng: np.random.Generator) -> LabelledFrames:
        """Return the clips of one epoch: each by its own frames or by one of its views, drawn evenly."""
        if not self.views:
            return self
        drawn = [
            (own, *takes)[int(rng.integers(1 + len(takes)))]
            for own, takes in zip(self.frames, self.views, strict=True)
        ]
        return self.with_frames(drawn)


@dataclass(frozen=True)
class TrainingBatch:
    """Some clips, cropped to one length, and what is known of them.

    Args:
        indices: their rows among the training clips.
        frames: (batch, frames, dims).
        lengths: each clip's own frames (batch,); None: all are full.
        targets: categories and dimensions.
        masks: which of them are known.
    """

    indices: tuple[int, ...]
    frames: Tensor
    lengths: Tensor | None
    targets: HybridTargets
    masks: HybridMasks

    def to(self, device: str) -> TrainingBatch:
        """Return the batch on another device."""
        return TrainingBatch(
            self.indices,
            self.frames.to(device),
            None if self.lengths is None else self.lengths.to(device),
            HybridTargets(*(t.to(device) for t in self.targets)),
            HybridMasks(*(m.to(device) for m in self.masks)),
        )


def epoch_batches(
    clips: LabelledFrames, size: int, longest: int, rng: np.random.Generator, sampling: str = "all"
) -> Iterator[TrainingBatch]:
    """Yield random batches of clips of near-equal length, cropped at random to the batch's shortest.

    A clip below half the batch's median length is padded and masked, not allowed to cut the others short.

    Args:
        clips: all training clips.
        size: clips per batch.
        longest: frames of a crop at most.
        rng: of every draw.
        sampling: ``all`` takes every clip once; ``class`` and ``source`` draw as many clips with replacement, each class (each
            pool of recordings) as often as any other.
    """
    clips = clips.taken(rng)
    rows = np.arange(len(clips)) if sampling == "all" else _balanced(clips, sampling, rng)
    lengths = [len(clips.frames[i]) for i in rows]
    for chosen in _grouped(lengths, size, rng):
        yield _cropped(clips, [int(rows[i]) for i in chosen], longest, rng)


def _balanced(clips: LabelledFrames, sampling: str, rng: np.random.Generator) -> NDArray[np.intp]:
    groups = clips.categories.numpy() if sampling == "class" else np.array(clips.sources)
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    share = 1.0 / counts[codes]
    drawn: NDArray[np.intp] = rng.choice(len(clips), size=len(clips), p=share / share.sum())
    return drawn


def whole(clips: LabelledFrames, index: int, longest: int) -> TrainingBatch:
    """Return one clip as a batch of one.

    Args:
        clips: of which one is taken.
        index: which.
        longest: it is cut to its first so many frames.
    """
    frames = clips.frames[index][:longest]
    return TrainingBatch((index,), frames[None], None, *_labels(clips, [index]))


def _grouped(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[list[int]]:
    order = rng.permutation(len(lengths))
    groups: list[list[int]] = []
    for start in range(0, len(order), size * _BUCKET):
        bucket = sorted(order[start : start + size * _BUCKET].tolist(), key=lambda i: lengths[i])
        groups += [bucket[i : i + size] for i in range(0, len(bucket), size)]
    return [groups[i] for i in rng.permutation(len(groups))]


def _cropped(
    clips: LabelledFrames, chosen: list[int], longest: int, rng: np.random.Generator
) -> TrainingBatch:
    lengths = [len(clips.frames[i]) for i in chosen]
    length = min(longest, max(min(lengths), int(np.median(lengths)) // 2))
    frames = torch.zeros(len(chosen), length, clips.frames[chosen[0]].shape[1])
    for row, index in enumerate(chosen):
        start = int(rng.integers(0, max(0, lengths[row] - length) + 1))
        crop = clips.frames[index][start : start + length]
        frames[row, : len(crop)] = crop
        if clips.silence and len(crop) < length:
            frames[row, len(crop) :] = silence(crop)
    short = min(lengths) < length
    return TrainingBatch(
        tuple(chosen),
        frames,
        torch.tensor(lengths).clamp(max=length) if short else None,
        *_labels(clips, chosen),
    )


def _labels(clips: LabelledFrames, chosen: list[int]) -> tuple[HybridTargets, HybridMasks]:
    categories, dimensions = clips.categories[chosen], clips.dimensions[chosen]
    targets, known = categories, categories >= 0
    if clips.soft is not None:
        shares = clips.soft[chosen]
        voted = ~torch.isnan(shares).any(dim=1)
        hard = torch.nn.functional.one_hot(categories.clamp(min=0), shares.shape[1]).to(shares)
        targets, known = torch.where(voted[:, None], shares, hard), known | voted
    return (
        HybridTargets(targets, torch.nan_to_num(dimensions)),
        HybridMasks(known, ~torch.isnan(dimensions)),
    )


def has_labels(clips: LabelledFrames) -> bool:
    """Whether a category or a dimension of any clip is known."""
    return bool((clips.categories >= 0).any()) or bool((~torch.isnan(clips.dimensions)).any())


def joined(first: LabelledFrames, second: LabelledFrames) -> LabelledFrames:
    """Return the clips of both, without views."""
    return LabelledFrames(
        first.ids + second.ids,
        first.frames + second.frames,
        torch.cat([first.categories, second.categories]),
        torch.cat([first.dimensions, second.dimensions]),
        soft=None if first.soft is None or second.soft is None else torch.cat([first.soft, second.soft]),
        sources=first.sources + second.sources,
        silence=first.silence,
    )


def described(clips: LabelledFrames) -> list[object]:
    """What tells these clips from others: ids, labels, and the content of each clip's frames and of its views."""
    return [
        clips.ids,
        clips.categories.tolist(),
        torch.nan_to_num(clips.dimensions, nan=-1.0).tolist(),
        None if clips.soft is None else torch.nan_to_num(clips.soft, nan=-1.0).tolist(),
        clips.sources,
        *(_content(f) for f in clips.frames),
        *([_content(f) for f in takes] for takes in clips.views),
    ]


def _content(frames: Tensor) -> list[object]:
    return [list(frames.shape), digest(frames.contiguous().numpy().tobytes())]
