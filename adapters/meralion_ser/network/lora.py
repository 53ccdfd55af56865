"""LoRA (Hu et al. 2021) on the encoder's q, k and v, through peft."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from adapters.meralion_ser.network.configuration import MeralionSerConfig
from bench.errors import UsageError

PARAMETRISED = ".parametrizations.weight.original"
"""How torch names the weight under an adapter of :mod:`adapters.meralion_ser.network.backbone`."""


def inject(encoder: nn.Module, config: MeralionSerConfig, top_layer: int) -> int:
    """Freeze ``encoder`` and put adapters on q, k, v of the config's blocks; return the adapters' parameter count.

    Blocks are counted from 1, as the hidden states they give. A fresh adapter adds nothing (B = 0).

    Args:
        encoder: a Whisper encoder.
        config: rank, alpha, dropout and blocks.
        top_layer: the last layer that the head sees.

    Raises:
        UsageError: a rank below 1, or blocks outside of 1..top_layer.
    """
    from peft import LoraConfig, inject_adapter_in_model

    numbers = config.lora_layers or list(range(1, top_layer + 1))
    if config.lora_rank < 1 or not all(1 <= number <= top_layer for number in numbers):
        raise UsageError(
            f"LoRA of rank {config.lora_rank} on blocks {numbers}: the rank must be at least 1 and the blocks "
            f"within 1..{top_layer}, the layers that the head sees"
        )
    encoder.requires_grad_(False)
    chosen = "|".join(str(number - 1) for number in numbers)
    adapter = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=rf"layers\.({chosen})\.self_attn\.(q_proj|k_proj|v_proj)",
    )
    inject_adapter_in_model(adapter, encoder)
    return sum(p.numel() for name, p in encoder.named_parameters() if ".lora_" in name)


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """State of the model with every adapter added to the weight it adapts: W + (alpha / r) · B A. Leaves it be."""
    adapted = _adapted(model)
    state = {}
    for name, tensor in model.state_dict().items():
        if ".lora_" in name:
            continue
        if name.endswith(PARAMETRISED):
            owner = name.removesuffix(PARAMETRISED)
            adapted_weight: Tensor = getattr(model.get_submodule(owner), "weight")  # noqa: B009 - a parametrised one
            state[f"{owner}.weight"] = adapted_weight.detach()
            continue
        plain = name.replace(".base_layer.", ".")
        owner = plain.rpartition(".")[0]
        if owner in adapted and plain.endswith(".weight"):
            tensor = tensor + adapted[owner].get_delta_weight("default").detach()
        state[plain] = tensor
    return state


def _adapted(model: nn.Module) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}
