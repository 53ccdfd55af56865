"""The SUPERB emotion head on pooled features, stacked along a leading axis of heads.

One head is softmax layer weights → linear (dims → hidden) → mean over time → linear (hidden → outputs), as in
s3prl 0.4.18 (``downstream/emotion``: projector 256, mean pooling, Adam, batches of 32, gradient norm clipped at 1).
Nothing nonlinear precedes the mean, so with h̄_l the mean of layer l over a clip's frames

    z = (W₂ W₁) Σ_l w_l h̄_l + (W₂ b₁ + b₂),   w = softmax(a),

and the two matrices can be multiplied before they meet the data. Gradients are written out rather than recorded,
so that all parameters of a head lie in one row of one matrix (:mod:`bench.features.probes.batched_adam`). On a CPU the steps are compiled
(:mod:`bench.features.probes.cpu_kernels`); what is written here in torch's terms trains on other devices.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.features.probes.batched_adam import (
    BETA_1,
    BETA_2,
    EPSILON,
    HeadBatch,
    Objective,
    ScoreGradient,
    StepBlock,
    StepKernel,
    Trial,
    as_slice,
    initial_parameters,
)
from bench.features.probes.losses import CccLoss, CrossEntropy

HELD_PARAMETERS = 10_500_000
"""Parameters of the heads that a CPU holds at a time: with Adam's moments and the best so far 170 MB."""
RESIDENT_PARAMETERS = 200_000_000
"""The same on a GPU, where heads train beside each other."""


class PooledHeads:
    """A stack of heads: parameters (heads, parameters of one head) and what standardises each head's features.

    Args:
        theta: (heads, parameters of one head): layer weights, W₁, b₁, W₂, b₂.
        layers: layers of the encoder.
        dims: features of a layer.
        hidden: width of the projection.
        outputs: scores per clip.
        scaling: (heads, 2, layers, dims), mean and 1/deviation; None for none.
    """

    def __init__(
        self, theta: Tensor, layers: int, dims: int, hidden: int, outputs: int, scaling: Tensor | None
    ):
        self.theta = theta
        self.shape = (layers, dims, hidden, outputs)
        self.scaling = scaling

    def split(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Views of a (heads, parameters) matrix: a (·, L), W₁ (·, H, D), b₁ (·, H), W₂ (·, K, H), b₂ (·, K)."""
        layers, dims, hidden, outputs = self.shape
        sizes = [layers, hidden * dims, hidden, outputs * hidden, outputs]
        a, w1, b1, w2, b2 = torch.split_with_sizes(flat, sizes, dim=1)
        return a, w1.view(-1, hidden, dims), b1, w2.view(-1, outputs, hidden), b2

    def layer_weights(self) -> Tensor:
        """(heads, layers), each row sums to one."""
        return torch.softmax(self.split(self.theta)[0], dim=1)

    def collapsed(self) -> tuple[Tensor, Tensor]:
        """The product of the two linear layers: (heads, outputs, dims) and (heads, outputs)."""
        _, w1, b1, w2, b2 = self.split(self.theta)
        return torch.bmm(w2, w1), torch.bmm(w2, b1[:, :, None])[:, :, 0] + b2

    def scores(self, pooled: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        """Pooled (clips, layers, dims) → (heads, clips, outputs), for all heads or the chosen ones."""
        heads = self if chosen is None else self.take(torch.as_tensor(chosen, device=self.theta.device))
        weight, bias = heads.collapsed()
        mix = heads.layer_weights()
        answers = []
        for i in range(len(weight)):
            x = pooled if heads.scaling is None else _scaled(pooled, heads.scaling[i])
            answers.append(torch.einsum("l,nld->nd", mix[i], x) @ weight[i].T + bias[i])
        return torch.stack(answers)

    def take(self, chosen: Tensor) -> PooledHeads:
        """Some of the heads, copied."""
        scaling = None if self.scaling is None else self.scaling[chosen]
        return PooledHeads(self.theta[chosen], *self.shape, scaling)


class PooledHead:
    """The SUPERB head on pooled ``features`` (clips, layers, dims), on the device to train on.

    Args:
        features: (clips, layers, dims) float32.
        hidden: width of the projection.
        standardise: whether each feature is scaled by the rows that a head is fitted to.
    """

    def __init__(self, features: Tensor, hidden: int = 256, *, standardise: bool = False) -> None:
        self.features = features
        self.hidden = hidden
        self.standardise = standardise

    @property
    def device(self) -> torch.device:
        """Where the features lie."""
        return self.features.device

    def fresh_heads(self, trials: Sequence[Trial], outputs: int) -> PooledHeads:
        """Parameters as torch's Linear draws them, uniform in ±1/√inputs; equal layer weights. Decided by the seed."""
        _, layers, dims = self.features.shape
        theta = initial_parameters(trials, layers, [(dims, self.hidden), (self.hidden, outputs)]).to(
            self.device
        )
        scaling = _scaling_of_trials(self.features, trials) if self.standardise else None
        return PooledHeads(theta, layers, dims, self.hidden, outputs, scaling)

    def scores(self, heads: PooledHeads, rows: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        """Rows (clips,) → (heads, clips, outputs).

        Args:
            heads: the stack.
            rows: (clips,) rows of the features.
            chosen: positions of heads in the stack; None for all.

        Returns:
            (heads, clips, outputs).
        """
        return heads.scores(self.features[rows], chosen)

    def concatenated(self, stacks: Sequence[PooledHeads]) -> PooledHeads:
        """One stack of the heads of several."""
        scaling = (
            torch.cat([s.scaling for s in stacks if s.scaling is not None]) if self.standardise else None
        )
        return PooledHeads(torch.cat([s.theta for s in stacks]), *stacks[0].shape, scaling)

    def max_parallel(self) -> int:
        """As many heads as fit into a part of the memory."""
        parameters = self.features.shape[2] * self.hidden
        budget = HELD_PARAMETERS if self.device.type == "cpu" else RESIDENT_PARAMETERS
        return max(1, budget // parameters)

    def step_kernel(self, objective: Objective) -> StepKernel | None:
        """On a CPU, for the two objectives that there are."""
        if self.device.type != "cpu" or not isinstance(objective, CrossEntropy | CccLoss):
            return None
        return functools.partial(_take_compiled_steps, self.features, objective)

    def backward(
        self,
        heads: PooledHeads,
        batches: Sequence[HeadBatch],
        score_gradient: ScoreGradient,
        gradient: Tensor,
    ) -> None:
        """Write the gradient by hand: layers are mixed, and the linear layers multiplied, before they meet.

        Args:
            heads: the stack; every head is in one of ``batches``.
            batches: minibatches with the positions of the heads that learn from them, all of one size.
            score_gradient: scores (heads, clips, outputs) → ∂ loss / ∂ scores, same shape.
            gradient: (heads, parameters of one head), overwritten.
        """
        layers, dims, _, _ = heads.shape
        _, w1, b1, w2, _ = heads.split(heads.theta)
        weight, bias = heads.collapsed()
        mix = heads.layer_weights()
        size = len(batches[0].rows)
        mixed = torch.empty(len(mix), size * dims, dtype=mix.dtype, device=mix.device)
        standardised = []
        for batch in batches:
            x = self.features.index_select(0, batch.rows)
            if heads.scaling is not None:
                x = _scaled(x, heads.scaling[batch.heads[0]])
            standardised.append(x.transpose(0, 1).reshape(layers, size * dims))
            mixed[as_slice(batch.heads)] = mix[as_slice(batch.heads)] @ standardised[-1]
        clips = mixed.view(-1, size, dims)
        d_scores = score_gradient(torch.baddbmm(bias[:, None], clips, weight.transpose(1, 2)))
        d_clips = torch.bmm(d_scores, weight).view(-1, size * dims)
        d_mix = torch.empty_like(mix)
        for batch, x in zip(batches, standardised, strict=True):
            d_mix[as_slice(batch.heads)] = d_clips[as_slice(batch.heads)] @ x.T
        d_weight = torch.bmm(d_scores.transpose(1, 2), clips)
        d_bias = d_scores.sum(dim=1)
        g_a, g_w1, g_b1, g_w2, g_b2 = heads.split(gradient)
        g_a.copy_(mix * (d_mix - (mix * d_mix).sum(dim=1, keepdim=True)))
        torch.bmm(w2.transpose(1, 2), d_weight, out=g_w1)
        torch.add(torch.bmm(d_weight, w1.transpose(1, 2)), d_bias[:, :, None] * b1[:, None], out=g_w2)
        g_b1.copy_(torch.bmm(d_bias[:, None], w2)[:, 0])
        g_b2.copy_(d_bias)


def _take_compiled_steps(
    features: Tensor,
    objective: CrossEntropy | CccLoss,
    heads: PooledHeads,
    first: Tensor,
    second: Tensor,
    block: StepBlock,
) -> None:
    """A share of the heads per thread of torch's; how many there are changes no bit of any head."""
    from bench.features.probes.cpu_kernels import take_steps

    x = features.numpy()
    labels, weights = np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=x.dtype)
    values = np.zeros((0, 0), dtype=x.dtype)
    if isinstance(objective, CccLoss):
        values = objective.values.numpy().astype(x.dtype, copy=False)
    else:
        labels = objective.labels.numpy()
        if objective.weights is not None:
            weights = objective.weights.numpy()[block.trial_indices].astype(x.dtype, copy=False)
    layers, dims, _, _ = heads.shape
    scaling = (
        np.zeros((0, 2, layers, dims), dtype=x.dtype) if heads.scaling is None else heads.scaling.numpy()
    )
    clip = 0.0 if block.clip is None else block.clip
    adam = np.array([BETA_1, BETA_2, EPSILON], dtype=x.dtype)

    def share(some: NDArray[np.int64]) -> None:
        take_steps(
            some, heads.theta.numpy(), first.numpy(), second.numpy(), block.steps_taken, block.rates, x, scaling,
            block.streams, block.rows, labels, weights, values, heads.shape, clip, adam,
        )  # fmt: skip

    shares = np.array_split(np.arange(len(first)), min(torch.get_num_threads(), len(first)))
    if len(shares) == 1:
        share(shares[0])
        return
    with ThreadPoolExecutor(len(shares)) as threads:
        list(threads.map(share, shares))


def _scaling_of_trials(features: Tensor, trials: Sequence[Trial]) -> Tensor:
    """(heads, 2, layers, dims): mean and 1/deviation of each head's fitted rows; constants are scaled to 0."""
    by_rows: dict[int, Tensor] = {}
    for trial in trials:
        if id(trial.train_rows) not in by_rows:
            rows = features[torch.from_numpy(trial.train_rows).to(features.device)].double()
            deviation, mean = torch.std_mean(rows, dim=0, correction=0)
            inverse = torch.where(deviation > 1e-12 * mean.abs().clamp(min=1.0), 1.0 / deviation, 0.0)
            by_rows[id(trial.train_rows)] = torch.stack([mean, inverse]).float()
    return torch.stack([by_rows[id(trial.train_rows)] for trial in trials])


def _scaled(x: Tensor, scaling: Tensor) -> Tensor:
    mean, inverse = scaling.unbind(dim=-3 if scaling.ndim == 3 else 1)
    return (x - mean) * inverse
