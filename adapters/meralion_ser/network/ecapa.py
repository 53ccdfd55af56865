"""The head over encoder frames: projection, ECAPA blocks, aggregation, pooling, embedding.

Names and shapes follow the released checkpoint (ARCHITECTURE.md): after Desplanques et al., ECAPA-TDNN (2020),
with group norms in place of batch norms. Tensors between convolutions are (batch, channels, frames).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adapters.meralion_ser.network.configuration import MeralionSerConfig
from adapters.meralion_ser.network.masking import MaskedGroupNorm, masked_mean, silenced
from adapters.meralion_ser.network.pooling import POOLINGS


class Res2(nn.Module):
    """Hierarchical dilated convolutions over a split of the channels (Res2Net)."""

    def __init__(self, config: MeralionSerConfig, dilation: int) -> None:
        super().__init__()
        width = config.channels // config.res2_scale
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
            for _ in range(config.res2_scale - 1)
        )
        self.norm = MaskedGroupNorm(config.group_count, config.channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Keep the shape (batch, channels, frames)."""
        first, *parts = silenced(x, mask).chunk(len(self.convs) + 1, dim=1)
        outputs = [first]
        for index, (conv, part) in enumerate(zip(self.convs, parts, strict=True)):
            # Every convolution's input must be silent outside the clip: its bias has filled the padding.
            outputs.append(silenced(conv(part if index == 0 else part + outputs[-1]), mask))
        return F.relu(self.norm(torch.cat(outputs, dim=1), mask))


class SqueezeExcitation(nn.Module):
    """Scale each channel by what the clip's mean over time says."""

    def __init__(self, config: MeralionSerConfig) -> None:
        super().__init__()
        hidden = max(8, config.channels // config.se_reduction)
        self.fc = nn.Sequential(
            nn.Conv1d(config.channels, hidden, 1, bias=False),
            nn.ReLU(),
            nn.Conv1d(hidden, config.channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Keep the shape (batch, channels, frames)."""
        # On one frame a convolution is a product, which a convolution's library takes ten times as long for.
        narrow, widen = cast(nn.Conv1d, self.fc[0]), cast(nn.Conv1d, self.fc[2])
        said = F.linear(F.relu(F.linear(masked_mean(x, mask), narrow.weight[:, :, 0])), widen.weight[:, :, 0])
        return x * torch.sigmoid(said)[:, :, None]


class EcapaBlock(nn.Module):
    """Pointwise, Res2, squeeze-excitation, pointwise, with a residual connection."""

    def __init__(self, config: MeralionSerConfig, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(config.channels, config.channels, 1)
        self.norm1 = MaskedGroupNorm(config.group_count, config.channels)
        self.res2 = Res2(config, dilation)
        self.se = SqueezeExcitation(config)
        self.conv2 = nn.Conv1d(config.channels, config.channels, 1)
        self.norm2 = MaskedGroupNorm(config.group_count, config.channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Keep the shape (batch, channels, frames)."""
        y = F.relu(self.norm1(self.conv1(x), mask))
        y = self.se(self.res2(y, mask), mask)
        y = self.norm2(self.conv2(y), mask)
        return F.relu(y + x)


class EmotionEcapa(nn.Module):
    """Frames (batch, frames, dims) → one embedding per clip (batch, embedding)."""

    def __init__(self, config: MeralionSerConfig, input_dim: int) -> None:
        super().__init__()
        channels, embedding = config.channels, int(config.embedding or 0)
        self.proj_in = nn.Sequential(
            nn.Linear(input_dim, channels), nn.LayerNorm(channels), nn.GELU(), nn.Dropout(config.dropout)
        )
        self.blocks = nn.ModuleList(EcapaBlock(config, dilation) for dilation in config.dilations)
        self.mfa = nn.Sequential(
            nn.Conv1d((len(config.dilations) + 1) * channels, channels, 1),
            MaskedGroupNorm(config.group_count, channels),
            nn.GELU(),
        )
        self.pooling = POOLINGS[config.pooling](config)
        self.embed = nn.Sequential(
            nn.Linear(channels, channels),
            nn.LayerNorm(channels),
            nn.GELU(),
            nn.Dropout(config.embedding_dropout),
            nn.Linear(channels, embedding),
            nn.LayerNorm(embedding),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` is (batch, 1, frames), or None when every frame counts."""
        maps = [self.proj_in(frames).transpose(1, 2)]
        for block in self.blocks:
            maps.append(block(maps[-1], mask))
        convolve, norm, activate = self.mfa
        aggregated = activate(norm(convolve(torch.cat(maps, dim=1)), mask))
        return self.embed(self.pooling(aggregated, mask))  # type: ignore[no-any-return]
