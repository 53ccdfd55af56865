"""A head that listens to some frames more than to others, stacked along a leading axis of heads.

Softmax layer weights → linear (dims → hidden) → attentive statistics pooling (Okabe, Koshinaka and Shinoda, 2018) →
linear (2 · hidden → outputs): with h_t the projected frames of a clip,

    e_t = vᵀ tanh(A h_t + b),   α = softmax over the clip's own frames,   μ = Σ α_t h_t,   σ² = Σ α_t h_t² − μ²,

and [μ, σ] goes into the last layer. v starts at zero, so training starts from plain mean and deviation.

Clips of a minibatch lie end to end, without padding: beside clips of a second or two, one of a minute made a step twenty
times as long. Attention is a matrix of clips × frames, zero on the frames of others.

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

from bench.features.probes import IntArray
from bench.features.probes.batched_adam import HeadBatch, Objective, ScoreGradient, Trial, initial_parameters

FLOOR = 1e-6
"""Below σ², so that its root has a gradient on clips of one frame."""
CLIPS_PER_PART = 32
"""Clips of a minibatch, for the estimate of how many heads go together; and at most so many are answered at a time."""
MAX_PROJECTED_VALUES = 1 << 25
"""Projected values (heads × frames × hidden) taken through the head at a time: 128 MiB in float32."""


@dataclass(frozen=True)
class AttentiveHeads:
    """Parameters (heads, parameters of one head) and sizes: layers, dims, hidden, attention, outputs.

    ``scales`` (scalings, 2, layers, dims) are means and 1/deviations of frames, ``scaled_by`` (heads,) which of them a
    head's frames are scaled by; heads that are fitted to the same rows share one.
    """

    theta: Tensor
    shape: tuple[int, int, int, int, int]
    scales: Tensor
    scaled_by: tuple[int, ...]

    def take(self, chosen: Tensor) -> AttentiveHeads:
        """Some of the heads, copied."""
        scaled_by = tuple(self.scaled_by[i] for i in chosen.tolist())
        return AttentiveHeads(self.theta[chosen], self.shape, self.scales, scaled_by)

    def layer_weights(self) -> Tensor:
        """(heads, layers), each row sums to one."""
        return torch.softmax(self.theta[:, : self.shape[0]], dim=1)


class AttentiveHead:
    """The head on ``frames``: per clip (layers, frames, dims), read when they are needed.

    Args:
        frames: (layers, frames, dims) float32 per clip.
        hidden: width of the projection.
        attention: width of the scores' hidden layer.
        standardise: whether features are scaled by the frames of the fitted rows.
        device: where the heads train.
    """

    def __init__(
        self,
        frames: Sequence[NDArray[np.float32]],
        hidden: int = 128,
        attention: int = 64,
        *,
        standardise: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        self._frames = frames
        self._standardise = standardise
        self._hidden = hidden
        self._attention = attention
        self._device = torch.device(device)

    @property
    def device(self) -> torch.device:
        """Where the heads train."""
        return self._device

    def fresh_heads(self, trials: Sequence[Trial], outputs: int) -> AttentiveHeads:
        """Fresh heads, decided by the trials' seeds; equal layer weights, no attention yet."""
        layers, _, dims = self._frames[0].shape
        hidden, attention = self._hidden, self._attention
        linears = [(dims, hidden), (hidden, attention), (2 * hidden, outputs)]
        theta = initial_parameters(trials, layers + attention, linears).to(self._device)
        distinct = {trial.train_rows.tobytes(): trial.train_rows for trial in trials}
        places = {key: i for i, key in enumerate(distinct)}
        scales = torch.stack([self._scale(rows) for rows in distinct.values()]).to(self._device)
        scaled_by = tuple(places[trial.train_rows.tobytes()] for trial in trials)
        return AttentiveHeads(theta, (layers, dims, hidden, attention, outputs), scales, scaled_by)

    def _scale(self, rows: IntArray) -> Tensor:
        """(2, layers, dims): mean and 1/deviation over all frames of some rows; constants are scaled to 0."""
        layers, _, dims = self._frames[0].shape
        if not self._standardise:
            return torch.stack([torch.zeros(layers, dims), torch.ones(layers, dims)])
        count = sum(self._frames[int(i)].shape[1] for i in rows)
        mean = sum(self._frames[int(i)].sum(axis=1, dtype=np.float64) for i in rows) / count
        squares = (((self._frames[int(i)] - mean[:, None]) ** 2).sum(axis=1) for i in rows)
        deviation = np.sqrt(sum(squares) / count)
        steady = deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))
        inverse = np.where(steady, 0.0, 1.0 / np.where(steady, 1.0, deviation))
        return torch.from_numpy(np.stack([mean, inverse]).astype(np.float32))

    def scores(self, heads: AttentiveHeads, rows: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        """Rows (clips,) → (heads, clips, outputs).

        Args:
            heads: the stack.
            rows: (clips,) rows of the features.
            chosen: positions of heads in the stack; None for all.

        Returns:
            (heads, clips, outputs).
        """
        requested = list(range(len(heads.theta))) if chosen is None else list(chosen)
        wanted = [int(row) for row in rows]
        answers = torch.empty(len(requested), len(wanted), heads.shape[-1], device=self._device)
        for part in self._parts(wanted, len(requested)):
            x, own = self._joined_frames(wanted[part])
            for scale in sorted({heads.scaled_by[head] for head in requested}):
                places = [place for place, head in enumerate(requested) if heads.scaled_by[head] == scale]
                theta = heads.theta[[requested[place] for place in places]]
                answers[places, part] = _head_scores(theta, heads.shape, _scaled(x, heads.scales[scale]), own)
        return answers

    def _parts(self, rows: Sequence[int], heads: int) -> list[slice]:
        """Cut rows so that the frames of each part stay within :data:`MAX_PROJECTED_VALUES`, and its clips within :data:`CLIPS_PER_PART`."""
        parts, start, frames = [], 0, 0
        for i, row in enumerate(rows):
            own = self._frames[row].shape[1]
            if i > start and (
                (frames + own) * heads * self._hidden > MAX_PROJECTED_VALUES or i - start == CLIPS_PER_PART
            ):
                parts.append(slice(start, i))
                start, frames = i, 0
            frames += own
        return [*parts, slice(start, len(rows))] if rows else []

    def step_kernel(self, objective: Objective) -> None:
        """Frames go through torch: their products are large enough to need nothing else."""

    def concatenated(self, stacks: Sequence[AttentiveHeads]) -> AttentiveHeads:
        """One stack of the heads of several."""
        starts = np.cumsum([0, *(len(s.scales) for s in stacks)])
        return AttentiveHeads(
            torch.cat([s.theta for s in stacks]),
            stacks[0].shape,
            torch.cat([s.scales for s in stacks]),
            tuple(int(start) + i for s, start in zip(stacks, starts, strict=False) for i in s.scaled_by),
        )

    def max_parallel(self) -> int:
        """Frames weigh more than parameters here: as many as a minibatch of the longest clips leaves room for."""
        longest = sorted(int(clip.shape[1]) for clip in self._frames)[-CLIPS_PER_PART:]
        return max(1, MAX_PROJECTED_VALUES // (sum(longest) * self._hidden))

    def backward(
        self,
        heads: AttentiveHeads,
        batches: Sequence[HeadBatch],
        score_gradient: ScoreGradient,
        gradient: Tensor,
    ) -> None:
        """Write ∂ loss / ∂ parameters; heads with the same minibatch share its frames.

        Args:
            heads: the stack; every head is in one of ``batches``.
            batches: minibatches with the positions of the heads that learn from them, all of one size.
            score_gradient: scores (heads, clips, outputs) → ∂ loss / ∂ scores, same shape.
            gradient: (heads, parameters of one head), overwritten.
        """
        leaf = heads.theta.detach().requires_grad_()
        with torch.enable_grad():
            scores: list[Tensor] = [torch.empty(0)] * len(leaf)
            for batch in batches:
                x, own = self._joined_frames(batch.rows.tolist())
                scale = heads.scales[heads.scaled_by[batch.heads[0]]]
                answered = _head_scores(leaf[batch.heads], heads.shape, _scaled(x, scale), own)
                for member, answer in zip(batch.heads, answered, strict=True):
                    scores[member] = answer
            stacked = torch.stack(scores)
            (found,) = torch.autograd.grad(stacked, leaf, score_gradient(stacked))
        gradient.copy_(found)

    def _joined_frames(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Frames (layers, frames of all clips, dims), clips end to end, and whose is whose (clips, frames of all clips)."""
        clips = [self._frames[row] for row in rows]
        whose = np.repeat(np.arange(len(clips)), [clip.shape[1] for clip in clips])
        own = torch.from_numpy(whose == np.arange(len(clips))[:, None])
        return torch.from_numpy(np.concatenate(clips, axis=1)).to(self._device), own.to(self._device)


def _scaled(x: Tensor, scale: Tensor) -> Tensor:
    """Frames (layers, frames, dims) by (2, layers, dims)."""
    mean, inverse = scale[:, :, None].unbind()
    return (x - mean) * inverse


def _head_scores(theta: Tensor, shape: tuple[int, int, int, int, int], x: Tensor, own: Tensor) -> Tensor:
    """Parameters (heads, ·), frames (layers, frames, dims), whose they are (clips, frames) → (heads, clips, outputs)."""
    layers, dims, hidden, attention, outputs = shape
    sizes = [
        layers, attention, hidden * dims, hidden, attention * hidden, attention, outputs * 2 * hidden, outputs
    ]  # fmt: skip
    a, v, w1, b1, wa, ba, w2, b2 = torch.split_with_sizes(theta, sizes, dim=1)
    heads, frames = len(theta), x.shape[1]
    mixed = (torch.softmax(a, dim=1) @ x.reshape(layers, -1)).view(heads, frames, dims)
    h = torch.baddbmm(b1[:, None], mixed, w1.view(heads, hidden, dims).transpose(1, 2))
    inner = torch.tanh(torch.baddbmm(ba[:, None], h, wa.view(heads, attention, hidden).transpose(1, 2)))
    e = (inner @ v[:, :, None]).transpose(1, 2)
    alpha = torch.softmax(torch.where(own, e, -torch.inf), dim=2)
    mean = alpha @ h
    centred = h - mean[:, own.int().argmax(dim=0)]
    spread = (alpha @ centred**2 + FLOOR).sqrt()
    pooled = torch.cat([mean, spread], dim=2)
    return torch.baddbmm(b2[:, None], pooled, w2.view(heads, outputs, 2 * hidden).transpose(1, 2))
