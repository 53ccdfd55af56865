"""The head over encoder frames: projection, ECAPA blocks, aggregation, pooling, embedding.

Names and shapes follow the released checkpoint (ARCHITECTURE.md): after Desplanques et al., ECAPA-TDNN (2020),
with group norms in place of batch norms. Tensors are (batch, frames, channels) throughout: a pointwise convolution is then one
matrix product, and a dilated one a product with its three frames laid side by side, which on a CPU take less time than a
convolution's library does for so few channels.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adapters.meralion_ser.network.configuration import MeralionSerConfig
from adapters.meralion_ser.network.masking import MaskedGroupNorm, masked_mean, silenced
from adapters.meralion_ser.network.pooling import POOLINGS


def pointwise(convolution: nn.Conv1d, x: Tensor) -> Tensor:
    """A convolution of one frame: (batch, frames, inputs) → (batch, frames, outputs)."""
    return F.linear(x, convolution.weight[:, :, 0], convolution.bias)


def dilated(convolution: nn.Conv1d, x: Tensor) -> Tensor:
    """A convolution that keeps the number of frames: (batch, frames, inputs) → (batch, frames, outputs)."""
    (step,), (size,), frames = convolution.dilation, convolution.kernel_size, x.shape[1]
    reach = step * (size // 2)
    padded = F.pad(x, (0, 0, reach, reach))
    taps = torch.cat([padded[:, step * j : step * j + frames] for j in range(size)], dim=2)
    return F.linear(taps, convolution.weight.transpose(1, 2).flatten(1), convolution.bias)


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
        """Keep the shape (batch, frames, channels)."""
        first, *parts = silenced(x, mask).chunk(len(self.convs) + 1, dim=2)
        outputs = [first]
        for index, (conv, part) in enumerate(zip(self.convs, parts, strict=True)):
            heard = part if index == 0 else part + outputs[-1]
            # Every convolution's input must be silent outside the clip: its bias has filled the padding.
            outputs.append(silenced(dilated(cast(nn.Conv1d, conv), heard), mask))
        return F.relu(self.norm(torch.cat(outputs, dim=2), mask))


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
        """Keep the shape (batch, frames, channels)."""
        narrow, widen = cast(nn.Conv1d, self.fc[0]), cast(nn.Conv1d, self.fc[2])
        said = pointwise(widen, F.relu(pointwise(narrow, masked_mean(x, mask)[:, None])))
        return x * torch.sigmoid(said)


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
        """Keep the shape (batch, frames, channels)."""
        y = F.relu(self.norm1(pointwise(self.conv1, x), mask))
        y = self.se(self.res2(y, mask), mask)
        y = self.norm2(pointwise(self.conv2, y), mask)
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
        """``mask`` is (batch, frames), or None when every frame counts."""
        maps = [self.proj_in(frames)]
        for block in self.blocks:
            maps.append(block(maps[-1], mask))
        convolve, norm, activate = self.mfa
        joined = pointwise(cast(nn.Conv1d, convolve), torch.cat(maps, dim=2))
        aggregated = activate(norm(joined, mask))
        return self.embed(self.pooling(aggregated, mask))  # type: ignore[no-any-return]
