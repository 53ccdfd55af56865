"""The same arithmetic in fewer passes over memory, for training in float32 on a processor: LoRA layers and RMS norms.

Both are written with their own gradients. Weights other than LoRA's are frozen, so no gradient of theirs is made.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ADAPTER = "default"
"""Name that peft gives to the one LoRA of a model."""


class MergedLinear(torch.autograd.Function):
    """y = x·(W + s·B·A)ᵀ + c, with the gradients of x, A and B.

    peft computes x·Wᵀ and s·(x·Aᵀ)·Bᵀ apart and adds them. Added first, the sum costs one product of the rank's width per layer,
    not one per token, and no pass over the tokens.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        """Return y (…, out).

        Args:
            ctx: what the backward pass is given.
            x: (…, in).
            weight: W, frozen (out, in).
            bias: c, frozen (out,); None: none.
            a: A (rank, in).
            b: B (out, rank).
            scale: s.
        """
        merged = torch.addmm(weight, b, a, alpha=scale)
        ctx.save_for_backward(x, merged, a, b)
        ctx.scale = scale
        return F.linear(x, merged, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, A and B."""
        x, merged, a, b = ctx.saved_tensors
        g, rows = gradients[0].reshape(-1, len(merged)), x.reshape(-1, x.shape[-1])
        of_x = (g @ merged).view_as(x) if ctx.needs_input_grad[0] else None
        of_a = ((g @ b).t() @ rows).mul_(ctx.scale) if ctx.needs_input_grad[3] else None
        of_b = (g.t() @ (rows @ a.t())).mul_(ctx.scale) if ctx.needs_input_grad[4] else None
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
        inverse = (torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1] + epsilon).rsqrt()
        ctx.save_for_backward(x, weight, inverse)
        found: Tensor = (x * inverse).mul_(weight)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of x: (w·g − x·mean(w·g·x)/(mean(x²) + ε)) / sqrt(mean(x²) + ε)."""
        x, weight, inverse = ctx.saved_tensors
        of_y = gradients[0] * weight
        along = torch.linalg.vecdot(of_y, x)[..., None] * inverse**3 / -x.shape[-1]
        return of_y.mul_(inverse).addcmul_(x, along), None, None


def make_frugal(language_model: nn.Module) -> None:
    """Let LoRA layers without dropout and frozen RMS norms of a model compute as above.

    Args:
        language_model: with LoRA or without; is changed.
    """
    from peft.tuners.lora import Linear as LoraLinear

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
