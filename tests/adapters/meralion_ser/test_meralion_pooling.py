"""The pooling over several resolutions never makes the convolved frames; it equals the one that does, answers and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from adapters.meralion_ser.network.configuration import MeralionSerConfig
from adapters.meralion_ser.network.masking import frame_mask, masked_mean
from adapters.meralion_ser.network.pooling import (
    MultiResolutionPooling,
    _after_convolution,
    _attend,
    _halved,
)


def by_convolution(
    pooling: MultiResolutionPooling, x: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """As the released network's description has it: convolve, attend, mix."""
    weights = pooling.resolution_weight_net(masked_mean(x, mask))
    kinds = zip(pooling.resolution_convs, pooling.resolution_attentions, pooling._kernels, strict=True)
    pooled = [
        _attend(conv(x.transpose(1, 2)).transpose(1, 2), attention, _after_convolution(mask, kernel))
        for conv, attention, kernel in kinds
    ]
    mixed: torch.Tensor = pooling.final_proj(torch.einsum("br,brc->bc", weights, torch.stack(pooled, dim=1)))
    return mixed


@pytest.mark.parametrize("frames", [1, 2, 7, 40])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kernels", [(1, 2, 6, 16), (3, 5)])
def test_pooling_without_convolved_frames_equals_pooling_of_convolved_frames(
    frames: int, masked: bool, kernels: tuple[int, ...]
) -> None:
    torch.manual_seed(frames)
    config = MeralionSerConfig(encoder="none", input_dim=80, channels=32, kernel_sizes=kernels)
    pooling = MultiResolutionPooling(config).double()
    x = torch.randn(3, frames, 32, dtype=torch.float64)
    mask = None
    if masked:
        mask = frame_mask(torch.tensor([frames, max(1, frames // 2), max(1, frames - 1)]), frames)
        x = x * mask[:, :, None]
    x.requires_grad_()
    towards = torch.randn(3, 32, dtype=torch.float64)
    found = []
    for answer in (pooling(x, mask), by_convolution(pooling, x, mask)):
        gradients = torch.autograd.grad(answer, [x, *pooling.parameters()], towards)
        found.append([answer.detach(), *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    pairs = F.avg_pool1d(x.transpose(1, 2), 2, 2, ceil_mode=True).transpose(1, 2)
    torch.testing.assert_close(_halved(x, None)[0], pairs)
