"""Hybrid pooling of frames into one vector: several resolutions and three levels of attention.

Names and shapes follow the released checkpoint (ARCHITECTURE.md); masks are this project's addition.
"""

from __future__ import annotations

from typing import cast

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
        """(batch, frames, channels) → (batch, channels); ``x`` is silent outside the mask.

        The convolved frames are never made. Score and weighted sum are linear in what a convolution gives, and it is linear in the
        frames: the attentions' weights go through the kernels first, scores are then one product with the frames for all taps of all
        kernels, and the kernels meet the sums over time at each of their taps. A grouped convolution of 8 channels takes many times
        the time of its arithmetic on a CPU.
        """
        convolutions = [cast(nn.Conv1d, m) for m in self.resolution_convs]
        attentions = [cast(nn.Linear, m) for m in self.resolution_attentions]
        kernels = torch.cat([_by_group(c) for c in convolutions], dim=3)  # (groups, outputs, inputs, taps)
        biases = torch.stack([_bias(c) for c in convolutions])
        directions = torch.cat([a.weight for a in attentions])  # (resolutions, channels)
        constants = (directions * biases).sum(dim=1) + torch.cat([a.bias for a in attentions])
        owner = torch.tensor(
            [i for i, kernel in enumerate(self._kernels) for _ in range(kernel)], device=x.device
        )
        by_group = directions[owner].T.unflatten(0, kernels.shape[:2])
        taps = (by_group[:, :, None] * kernels).sum(dim=1).flatten(0, 1)
        products = torch.matmul(x, taps).transpose(1, 2)  # (batch, taps, frames)
        shares = [
            _tap_shares(product, constant, mask)
            for product, constant in zip(products.split(list(self._kernels), 1), constants, strict=True)
        ]
        heard = torch.bmm(torch.cat(shares, dim=1), x)  # (batch, taps, channels)
        weights = self.resolution_weight_net(masked_mean(x, mask))  # (batch, resolutions)
        weighed = (heard * weights[:, owner, None]).unflatten(2, (kernels.shape[0], -1))
        mixed = torch.einsum("goit,btgi->bgo", kernels, weighed).flatten(1) + weights @ biases
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
        """(batch, frames, channels) → (batch, channels); ``x`` is silent outside the mask."""
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
        """(batch, frames, channels) → (batch, channels)."""
        x = silenced(x, mask)
        return self.combiner(torch.cat([self.multiscale(x, mask), self.segment(x, mask)], dim=1))  # type: ignore[no-any-return]


class AttentivePooling(nn.Module):
    """One softmax over the frames: the plainest attention pooling, for ablations."""

    def __init__(self, config: MeralionSerConfig) -> None:
        super().__init__()
        self.attention = nn.Linear(config.channels, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, frames, channels) → (batch, channels)."""
        return _attend(silenced(x, mask), self.attention, mask)


class MeanPooling(nn.Module):
    """Mean over the clip's frames, for ablations."""

    def __init__(self, config: MeralionSerConfig) -> None:
        super().__init__()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, frames, channels) → (batch, channels)."""
        return masked_mean(x, mask)


POOLINGS: dict[str, type[nn.Module]] = {
    "hybrid": HybridPooling,
    "attentive": AttentivePooling,
    "mean": MeanPooling,
}


def _attend(x: Tensor, attention: nn.Module, mask: Tensor | None) -> Tensor:
    share = masked_softmax(attention(x)[:, :, 0], mask)
    return torch.bmm(share[:, None], x)[:, 0]


def _tap_shares(products: Tensor, constant: Tensor, mask: Tensor | None) -> Tensor:
    """How much of each frame an attention takes through each tap of its kernel.

    Args:
        products: of the frames with each tap, (batch, taps, frames).
        constant: what the convolution's bias adds to each score.
        mask: of the clips' frames.

    Returns:
        (batch, taps, frames).
    """
    kernel, frames = products.shape[1:]
    before, after, even = kernel // 2, kernel - 1 - kernel // 2, 1 - kernel % 2
    scores = _skewed(F.pad(products, (before, before)), frames + even).sum(dim=1) + constant
    share = masked_softmax(scores, _after_convolution(mask, kernel))
    padded = F.pad(share, (after, before - even))
    return _skewed(padded[:, None].expand(-1, kernel, -1), frames).flip(1)


def _skewed(rows: Tensor, frames: int) -> Tensor:
    """Start row j at its frame j: (batch, rows, frames + rows − 1) → (batch, rows, frames)."""
    batch, count, length = rows.shape
    # One more value a row moves each by one against the one before.
    return F.pad(rows.flatten(1), (0, count)).view(batch, count, length + 1)[:, :, :frames]


def _by_group(convolution: nn.Conv1d) -> Tensor:
    """Weights (groups, outputs of a group, inputs of a group, kernel)."""
    return convolution.weight.view(convolution.groups, -1, *convolution.weight.shape[1:])


def _bias(convolution: nn.Conv1d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


def _after_convolution(mask: Tensor | None, kernel: int) -> Tensor | None:
    """Mask after a convolution padded by kernel // 2: an even kernel lengthens the clip by one frame."""
    if mask is None or kernel % 2:
        return mask
    return frame_mask(mask_lengths(mask) + 1, mask.shape[1] + 1)


def _halved(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Mean of each pair of frames; an odd last frame stands for itself, so that one frame is enough.

    The released network always has 1500 frames, where this is ``avg_pool1d(x, 2, 2)``.
    """
    if mask is None:
        whole = x.shape[1] // 2 * 2
        pairs = (x[:, 0:whole:2] + x[:, 1:whole:2]) * 0.5
        return torch.cat([pairs, x[:, whole:]], dim=1) if whole < x.shape[1] else pairs, None
    lengths, odd = mask_lengths(mask), x.shape[1] % 2
    pairs = F.pad(x, (0, 0, 0, odd)).unflatten(1, (-1, 2)).sum(dim=2)
    counts = F.pad(mask, (0, odd)).unflatten(1, (-1, 2)).sum(dim=2).clamp(min=1)
    return pairs / counts[:, :, None], frame_mask((lengths + 1) // 2, pairs.shape[1])
