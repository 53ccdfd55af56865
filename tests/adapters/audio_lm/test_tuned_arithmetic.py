"""Layers that compute in fewer passes give what peft and transformers give, answers and gradients."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from adapters.audio_lm.tuning.frugal import MergedLinear, RmsNorm, make_frugal


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


def test_a_language_model_answers_and_learns_as_with_peft_and_transformers() -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2Model

    config = Qwen2Config(
        vocab_size=10, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )  # fmt: skip
    torch.manual_seed(0)
    plain = get_peft_model(
        Qwen2Model(config).requires_grad_(False),
        LoraConfig(
            r=4,
            lora_alpha=8,
            target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
            init_lora_weights=False,
        ),
    )
    frugal = copy.deepcopy(plain)
    make_frugal(frugal)
    heard = torch.randn(2, 7, 32)
    found = []
    for model in (plain, frugal):
        x = heard.clone().requires_grad_()
        hidden = model(inputs_embeds=x, use_cache=False).last_hidden_state
        hidden.square().mean().backward()
        learnt = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        found.append((hidden.detach(), x.grad, learnt))
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-6, rtol=1e-4)
    assert len(found[0][2]) == 16
    for name, gradient in found[0][2].items():
        torch.testing.assert_close(found[1][2][name], gradient, atol=1e-6, rtol=1e-4)
    assert frugal.merge_and_unload().layers[0].self_attn.q_proj.weight.shape == (32, 32)
