"""A head that listens to some frames more than to others, stacked along a leading axis of heads.

Softmax layer weights → linear (dims → hidden) → attentive statistics pooling (Okabe, Koshinaka and Shinoda, 2018) →
linear (2 · hidden → outputs): with h_t the projected frames of a clip,

    e_t = vᵀ tanh(A h_t + b),   α = softmax over the clip's own frames,   μ = Σ α_t h_t,   σ² = Σ α_t h_t² − μ²,

and [μ, σ] goes into the last layer. v starts at zero, so training starts from plain mean and deviation.

Trap: s3prl 0.4.18's ``AttentivePooling`` adds its mask (1 for valid frames, 0 for padding) to the scores, so that
padding takes part in the softmax and a clip's answer depends on the longest clip of its batch. Here it cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.probes.training import Lesson, Slope, initial

FLOOR = 1e-6
"""Below σ², so that its root has a gradient on clips of one frame."""
ELEMENTS = 1 << 25
"""Projected values (heads × clips × frames × hidden) taken through the head at a time: 128 MiB in float32."""


@dataclass(frozen=True)
class AttentiveHeads:
    """Parameters (heads, parameters of one head) and sizes: layers, dims, hidden, attention, outputs."""

    theta: Tensor
    shape: tuple[int, int, int, int, int]

    def take(self, chosen: Tensor) -> AttentiveHeads:
        """Some of the heads, copied."""
        return AttentiveHeads(self.theta[chosen], self.shape)

    def layer_weights(self) -> Tensor:
        """(heads, layers), each row sums to one."""
        return torch.softmax(self.theta[:, : self.shape[0]], dim=1)


class Attentive:
    """The head on ``frames``: per clip (layers, frames, dims), read when they are needed.

    ``hidden`` is the projection's width, ``attention`` that of the scores' hidden layer.
    """

    def __init__(
        self,
        frames: Sequence[NDArray[np.float32]],
        hidden: int = 128,
        attention: int = 64,
        device: str | torch.device = "cpu",
    ) -> None:
        self._frames = frames
        self._hidden = hidden
        self._attention = attention
        self._device = torch.device(device)

    @property
    def device(self) -> torch.device:
        """Where the heads train."""
        return self._device

    def begin(self, lessons: Sequence[Lesson], outputs: int) -> AttentiveHeads:
        """Fresh heads, decided by the lessons' seeds; equal layer weights, no attention yet."""
        layers, _, dims = self._frames[0].shape
        hidden, attention = self._hidden, self._attention
        linears = [(dims, hidden), (hidden, attention), (2 * hidden, outputs)]
        theta = initial(lessons, layers + attention, linears).to(self._device)
        return AttentiveHeads(theta, (layers, dims, hidden, attention, outputs))

    def scores(self, heads: AttentiveHeads, rows: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        """Rows (clips,) → (heads, clips, outputs)."""
        theta = heads.theta if chosen is None else heads.theta[list(chosen)]
        order = sorted(range(len(rows)), key=lambda i: self._frames[int(rows[i])].shape[1])
        answers = torch.empty(len(theta), len(rows), heads.shape[-1], device=self._device)
        for part in self._parts([int(rows[i]) for i in order], len(theta)):
            x, valid = self._padded([int(rows[i]) for i in order[part]])
            answers[:, order[part]] = _answer(theta, heads.shape, x, valid)
        return answers

    def _parts(self, rows: Sequence[int], heads: int) -> list[slice]:
        """Cut rows that are sorted by length so that each part, padded, stays within :data:`ELEMENTS`."""
        parts, start = [], 0
        for i, row in enumerate(rows):
            longest = self._frames[row].shape[1]
            if i > start and (i + 1 - start) * longest * heads * self._hidden > ELEMENTS:
                parts.append(slice(start, i))
                start = i
        return [*parts, slice(start, len(rows))] if rows else []

    def differentiate(self, heads: AttentiveHeads, rows: Tensor, slope: Slope, gradient: Tensor) -> None:
        """Write ∂ loss / ∂ parameters; heads with the same minibatch (all learning rates of a fold and seed) share it."""
        batches: dict[tuple[int, ...], list[int]] = {}
        for head, batch in enumerate(rows.tolist()):
            batches.setdefault(tuple(batch), []).append(head)
        leaf = heads.theta.detach().requires_grad_()
        with torch.enable_grad():
            scores: list[Tensor] = [torch.empty(0)] * len(rows)
            for batch, members in batches.items():
                x, valid = self._padded(batch)
                answered = _answer(leaf[members], heads.shape, x, valid)
                for member, answer in zip(members, answered, strict=True):
                    scores[member] = answer
            stacked = torch.stack(scores)
            (found,) = torch.autograd.grad(stacked, leaf, slope(stacked))
        gradient.copy_(found)

    def _padded(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Frames (layers, clips, longest, dims), zeros behind each clip's own, and which are its own (clips, longest)."""
        clips = [self._frames[row] for row in rows]
        lengths = np.array([clip.shape[1] for clip in clips])
        layers, _, dims = clips[0].shape
        x = np.zeros((layers, len(clips), int(lengths.max()), dims), dtype=np.float32)
        for i, clip in enumerate(clips):
            x[:, i, : clip.shape[1]] = clip
        valid = np.arange(x.shape[2]) < lengths[:, None]
        return torch.from_numpy(x).to(self._device), torch.from_numpy(valid).to(self._device)


def _answer(theta: Tensor, shape: tuple[int, int, int, int, int], x: Tensor, valid: Tensor) -> Tensor:
    """Parameters (heads, ·), frames (layers, clips, frames, dims), valid (clips, frames) → (heads, clips, outputs)."""
    layers, dims, hidden, attention, outputs = shape
    sizes = [
        layers, attention, hidden * dims, hidden, attention * hidden, attention, outputs * 2 * hidden, outputs
    ]  # fmt: skip
    a, v, w1, b1, wa, ba, w2, b2 = torch.split_with_sizes(theta, sizes, dim=1)
    heads, (_, clips, frames, _) = len(theta), x.shape
    mixed = (torch.softmax(a, dim=1) @ x.reshape(layers, -1)).view(heads, clips * frames, dims)
    h = torch.baddbmm(b1[:, None], mixed, w1.view(heads, hidden, dims).transpose(1, 2))
    inner = torch.tanh(torch.baddbmm(ba[:, None], h, wa.view(heads, attention, hidden).transpose(1, 2)))
    e = torch.bmm(inner, v[:, :, None]).view(heads, clips, frames)
    alpha = torch.softmax(e.masked_fill(~valid, -torch.inf), dim=2)[..., None]
    h = h.view(heads, clips, frames, hidden)
    mean = (alpha * h).sum(dim=2)
    spread = ((alpha * (h - mean[:, :, None]) ** 2).sum(dim=2) + FLOOR).sqrt()
    pooled = torch.cat([mean, spread], dim=2)
    return torch.baddbmm(b2[:, None], pooled, w2.view(heads, outputs, 2 * hidden).transpose(1, 2))
