"""The same arithmetic in fewer passes over memory, for training on a processor: LoRA layers, RMS norms, attention.

The first two are written with their own gradients. Weights other than LoRA's are frozen, so no gradient of theirs is made. Where
the frozen weights are bfloat16, so are the large products and what lies between the layers; LoRA's weights, what they add to the
frozen ones and the sums of a norm stay float32.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ADAPTER = "default"
"""Name that peft gives to the one LoRA of a model."""
GROUPED = "grouped_causal"
"""Name of :func:`grouped_causal_attention` among transformers' ways to attend."""


class MergedLinear(torch.autograd.Function):
    """y = x·(W + s·B·A)ᵀ + c, with the gradients of x, A and B.

    peft computes x·Wᵀ and s·(x·Aᵀ)·Bᵀ apart and adds them. Added first, the sum costs one product of the rank's width per layer,
    not one per token, and no pass over the tokens. Of a bfloat16 W the sum is rounded to bfloat16, as it is in the merged model that
    is served.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        """Return y (…, out).

        Args:
            ctx: what the backward pass is given.
            x: (…, in).
            weight: W, frozen, of the type of x (out, in).
            bias: c, frozen (out,); None: none.
            a: A, float32 or wider (rank, in).
            b: B, likewise (out, rank).
            scale: s.
        """
        merged = torch.addmm(weight.to(b.dtype), b, a, alpha=scale).to(weight.dtype)
        ctx.save_for_backward(x, merged, a, b)
        ctx.scale = scale
        return F.linear(x, merged, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, A and B."""
        x, merged, a, b = ctx.saved_tensors
        g, rows = gradients[0].reshape(-1, len(merged)), x.reshape(-1, x.shape[-1])
        of_x = (g @ merged).view_as(x) if ctx.needs_input_grad[0] else None
        low_a, low_b = a.to(g.dtype), b.to(g.dtype)
        of_a = ((g @ low_b).t() @ rows).to(a.dtype).mul_(ctx.scale) if ctx.needs_input_grad[3] else None
        of_b = (g.t() @ (rows @ low_a.t())).to(b.dtype).mul_(ctx.scale) if ctx.needs_input_grad[4] else None
        return of_x, None, None, of_a, of_b, None


class RmsNorm(torch.autograd.Function):
    """y = w·x / sqrt(mean(x²) + ε) over the last axis, with the gradient of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Return y, as wide as x.

        Args:
            ctx: what the backward pass is given.
            x: (…, width).
            weight: w, frozen (width,).
            epsilon: ε.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        inverse = (norm.square() / x.shape[-1] + epsilon).rsqrt()
        ctx.save_for_backward(x, weight, inverse)
        found: Tensor = (x * inverse).to(x.dtype).mul_(weight)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of x: (w·g − x·mean(w·g·x)/(mean(x²) + ε)) / sqrt(mean(x²) + ε)."""
        x, weight, inverse = ctx.saved_tensors
        of_y = gradients[0] * weight
        along = torch.linalg.vecdot(of_y, x)[..., None] * inverse**3 / -x.shape[-1]
        return (of_y * inverse).addcmul_(x.to(inverse.dtype), along).to(x.dtype), None, None


def grouped_causal_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_others: Any,
) -> tuple[Tensor, None]:
    """Attend to the positions before and one's own; the heads of a group are rows of one product with the keys that they share.

    torch's fused attention of a processor takes several times as long in bfloat16, most of it backward. Has the interface of
    transformers' ways to attend (``AttentionInterface``).

    Args:
        module: the layer, unused.
        query: (batch, heads, tokens, width).
        key: (batch, groups, tokens, width).
        value: (batch, groups, tokens, width).
        attention_mask: None: nothing is hidden but what comes later.
        scaling: of the scores; None: 1/sqrt(width).
        dropout: 0.

    Returns:
        What each position reads (batch, tokens, heads, width), and None in place of the weights.

    Raises:
        NotImplementedError: a mask, or dropout.
    """
    if attention_mask is not None or dropout:
        raise NotImplementedError("grouped_causal_attention knows no mask but the causal one, and no dropout")
    batch, heads, tokens, width = query.shape
    groups = key.shape[1]
    ahead = query.new_full((tokens, tokens), float("-inf")).triu_(1).repeat(heads // groups, 1)
    rows = query.reshape(batch * groups, heads // groups * tokens, width)
    keys, values = (t.reshape(batch * groups, tokens, width) for t in (key, value))
    scores = torch.baddbmm(ahead, rows, keys.transpose(1, 2), alpha=scaling or width**-0.5)
    read = torch.bmm(scores.softmax(dim=-1), values)
    return read.view(batch, heads, tokens, width).transpose(1, 2).contiguous(), None


def make_frugal(language_model: nn.Module) -> None:
    """Let LoRA layers without dropout, frozen RMS norms and, in bfloat16 on a processor, attention compute as above.

    Args:
        language_model: with LoRA or without, causal; is changed.
    """
    from peft.tuners.lora import Linear as LoraLinear
    from transformers import AttentionInterface

    first = next(language_model.parameters())
    if first.dtype == torch.bfloat16 and first.device.type == "cpu":
        AttentionInterface.register(GROUPED, grouped_causal_attention)
        config: Any = language_model.config
        config._attn_implementation = GROUPED

    for module in language_model.modules():
        if isinstance(module, LoraLinear):
            module.forward = functools.partial(_lora, module)
        elif _is_frozen_norm(module):
            module.forward = functools.partial(_norm, module)


def _is_frozen_norm(module: Any) -> bool:
    """Whether it is the RMS norm of a Llama or a Qwen2, by the name of its settings; Gemma's, which adds 1 to its weight, has others."""
    named = type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")
    return named and not module.weight.requires_grad


def _lora(module: Any, x: Tensor) -> Tensor:
    base = module.get_base_layer()
    a, b = module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight
    scale = module.scaling[ADAPTER]
    found: Tensor = MergedLinear.apply(x, base.weight, base.bias, a, b, scale)  # type: ignore[no-untyped-call]
    return found


def _norm(module: Any, x: Tensor) -> Tensor:
    found: Tensor = RmsNorm.apply(x, module.weight, module.variance_epsilon)  # type: ignore[no-untyped-call]
    return found
