"""Layers that compute in fewer passes give what peft and transformers give, answers and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapters.audio_lm.tuning.frugal import (
    GROUPED,
    MergedLinear,
    RmsNorm,
    grouped_causal_attention,
    make_frugal,
)


def doubles(*shape: int, seed: int) -> Tensor:
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made.requires_grad_()


def test_gradients_are_those_of_finite_differences() -> None:
    x, a, b = doubles(2, 3, 5, seed=0), doubles(2, 5, seed=1), doubles(4, 2, seed=2)
    weight, bias = doubles(4, 5, seed=3).detach(), doubles(4, seed=4).detach()
    assert torch.autograd.gradcheck(
        lambda *y: MergedLinear.apply(y[0], weight, bias, y[1], y[2], 0.5), (x, a, b)
    )
    assert torch.autograd.gradcheck(lambda y: RmsNorm.apply(y, weight[0], 1e-6), (x,))


def test_grouped_attention_is_that_of_torch() -> None:
    q, k, v = doubles(2, 6, 5, 4, seed=0), doubles(2, 2, 5, 4, seed=1), doubles(2, 2, 5, 4, seed=2)
    found, _ = grouped_causal_attention(nn.Identity(), q, k, v, None, scaling=0.3)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(found, expected.transpose(1, 2))
    weights = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view(found.shape)
    ours = torch.autograd.grad((found * weights).sum(), (q, k, v))
    theirs = torch.autograd.grad((expected.transpose(1, 2) * weights).sum(), (q, k, v))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)
    with pytest.raises(NotImplementedError, match="no mask but the causal one"):
        grouped_causal_attention(nn.Identity(), q, k, v, torch.zeros(1))


def with_lora() -> nn.Module:
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2Model

    config = Qwen2Config(
        vocab_size=10, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )  # fmt: skip
    torch.manual_seed(0)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    return get_peft_model(
        Qwen2Model(config).requires_grad_(False),
        LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False),
    )


def learnt_from(model: nn.Module, heard: Tensor) -> dict[str, Tensor]:
    """The answers, the gradient of what was heard, and those of LoRA by name."""
    x = heard.clone().requires_grad_()
    hidden = model(inputs_embeds=x, use_cache=False).last_hidden_state
    # Of no norm: the last layer gives every row the same one.
    (hidden.float() * torch.linspace(-1, 1, hidden.numel()).view(hidden.shape)).sum().backward()
    assert x.grad is not None
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {"answers": hidden.detach(), "heard": x.grad} | gradients


def test_a_language_model_answers_and_learns_as_with_peft_and_transformers() -> None:
    plain = with_lora()
    frugal = copy.deepcopy(plain)
    make_frugal(frugal)
    heard = torch.randn(2, 7, 32)
    expected, found = learnt_from(plain, heard), learnt_from(frugal, heard)
    assert len(expected) == len(found) == 18
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, atol=1e-4, rtol=1e-4)
        assert values.abs().max() > 0.01, f"{name}: nothing to compare"
    assert frugal.merge_and_unload().layers[0].self_attn.q_proj.weight.shape == (32, 32)


def test_in_bfloat16_it_strays_from_float32_no_further_than_peft_and_transformers_do() -> None:
    exact = with_lora()
    halves = copy.deepcopy(exact)
    for name, p in halves.named_parameters():
        if ".lora_" not in name:
            p.data = p.data.bfloat16()
    frugal = copy.deepcopy(halves)
    make_frugal(frugal)
    assert frugal.config._attn_implementation == GROUPED
    heard = torch.randn(8, 7, 32)
    expected = learnt_from(exact, heard)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = learnt_from(halves, heard.bfloat16())
        ours = learnt_from(frugal, heard.bfloat16())

    def strays(found: dict[str, Tensor], name: str) -> float:
        return float((found[name].float() - expected[name]).norm() / expected[name].norm())

    assert ours.keys() == theirs.keys() == expected.keys()
    for name in expected:
        assert ours[name].dtype == theirs[name].dtype
        assert strays(ours, name) < max(1.3 * strays(theirs, name), 0.01), name
        assert strays(ours, name) < 0.05, name


def test_a_merged_model_has_the_weights_that_were_trained_with() -> None:
    model = with_lora()
    for name, p in model.named_parameters():
        if ".lora_" not in name:
            p.data = p.data.bfloat16()
    make_frugal(model)
    layer = model.base_model.model.layers[0].self_attn.q_proj
    x = torch.randn(3, 32).bfloat16()
    during = layer(x).detach()
    merged = model.merge_and_unload().layers[0].self_attn.q_proj
    assert merged.weight.dtype == torch.bfloat16
    assert torch.equal(merged(x), during)
