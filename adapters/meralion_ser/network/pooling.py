"""Hybrid pooling of frames into one vector: several resolutions and three levels of attention.

Names and shapes follow the released checkpoint (ARCHITECTURE.md); masks are this project's addition.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adapters.meralion_ser.network.configuration import MeralionSerConfig
from adapters.meralion_ser.network.masking import (
    frame_mask,
    mask_lengths,
    masked_mean,
    masked_softmax,
    silenced,
)


class MultiResolutionPooling(nn.Module):
    """Attention pooling after grouped convolutions of several kernel lengths, weighted by the clip's own mean."""

    def __init__(self, config: MeralionSerConfig) -> None:
        super().__init__()
        channels = config.channels
        groups = channels // config.pooling_channels_per_group
        self._kernels = tuple(config.kernel_sizes)
        self.resolution_convs = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=groups)
            for kernel in config.kernel_sizes
        )
        self.resolution_attentions = nn.ModuleList(nn.Linear(channels, 1) for _ in config.kernel_sizes)
        self.resolution_weight_net = nn.Sequential(
            nn.Linear(channels, channels // 2),
            nn.ReLU(),
            nn.Linear(channels // 2, len(config.kernel_sizes)),
            nn.Softmax(dim=-1),
        )
        self.final_proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, channels, frames) → (batch, channels); ``x`` is silent outside the mask."""
        weights = self.resolution_weight_net(masked_mean(x, mask))
        pooled = [
            _attend(conv(x), attention, _after_convolution(mask, kernel))
            for conv, attention, kernel in zip(
                self.resolution_convs, self.resolution_attentions, self._kernels, strict=True
            )
        ]
        mixed = torch.einsum("br,brc->bc", weights, torch.stack(pooled, dim=1))
        return self.final_proj(mixed)  # type: ignore[no-any-return]


class HierarchicalPooling(nn.Module):
    """Attention pooling of the frames, of their pairs' means, and of those pairs' means."""

    def __init__(self, config: MeralionSerConfig) -> None:
        super().__init__()
        self.level_attentions = nn.ModuleList(
            nn.Linear(config.channels, 1) for _ in range(config.segment_levels)
        )
        self.combiner = nn.Linear(config.segment_levels * config.channels, config.channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, channels, frames) → (batch, channels); ``x`` is silent outside the mask."""
        levels = []
        for index, attention in enumerate(self.level_attentions):
            if index:
                x, mask = _halved(x, mask)
            levels.append(_attend(x, attention, mask))
        return self.combiner(torch.cat(levels, dim=1))  # type: ignore[no-any-return]


class HybridPooling(nn.Module):
    """Both poolings, joined."""

    def __init__(self, config: MeralionSerConfig) -> None:
        super().__init__()
        self.multiscale = MultiResolutionPooling(config)
        self.segment = HierarchicalPooling(config)
        self.combiner = nn.Linear(2 * config.channels, config.channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) → (batch, channels)."""
        x = silenced(x, mask)
        return self.combiner(torch.cat([self.multiscale(x, mask), self.segment(x, mask)], dim=1))  # type: ignore[no-any-return]


class AttentivePooling(nn.Module):
    """One softmax over the frames: the plainest attention pooling, for ablations."""

    def __init__(self, config: MeralionSerConfig) -> None:
        super().__init__()
        self.attention = nn.Linear(config.channels, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) → (batch, channels)."""
        return _attend(silenced(x, mask), self.attention, mask)


class MeanPooling(nn.Module):
    """Mean over the clip's frames, for ablations."""

    def __init__(self, config: MeralionSerConfig) -> None:
        super().__init__()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) → (batch, channels)."""
        return masked_mean(x, mask)


POOLINGS: dict[str, type[nn.Module]] = {
    "hybrid": HybridPooling,
    "attentive": AttentivePooling,
    "mean": MeanPooling,
}


def _attend(x: Tensor, attention: nn.Module, mask: Tensor | None) -> Tensor:
    scores = attention(x.transpose(1, 2)).transpose(1, 2)
    return (x * masked_softmax(scores, mask)).sum(dim=2)


def _after_convolution(mask: Tensor | None, kernel: int) -> Tensor | None:
    """Mask after a convolution padded by kernel // 2: an even kernel lengthens the clip by one frame."""
    if mask is None or kernel % 2:
        return mask
    return frame_mask(mask_lengths(mask) + 1, mask.shape[2] + 1)


def _halved(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Mean of each pair of frames; an odd last frame stands for itself, so that one frame is enough.

    The released network always has 1500 frames, where this is ``avg_pool1d(x, 2, 2)``.
    """
    if mask is None:
        return F.avg_pool1d(x, 2, 2, ceil_mode=True), None
    lengths = mask_lengths(mask)
    odd = x.shape[2] % 2
    pairs = F.pad(x, (0, odd)).unfold(2, 2, 2).sum(dim=3)
    counts = F.pad(mask.to(x.dtype), (0, odd)).unfold(2, 2, 2).sum(dim=3).clamp(min=1)
    return pairs / counts, frame_mask((lengths + 1) // 2, pairs.shape[2])
