"""How much an update of an Audio-LLM's training costs beside its matrix products, and beside peft and transformers as they come.

A language model of SmolLM2-135M's shape with random weights (values do not change the work), LoRA on q, k, v and o, batches of
four lessons of 148 tokens; without embedding and ``lm_head``, which few tokens pass. Forward and backward, CPU seconds of one
thread, in turn within each repeat. The floor is counted, not timed: the products of an update over the rate at which this core
multiplies matrices of these sizes in that precision.
"""

from __future__ import annotations

import copy
import time
from types import SimpleNamespace
from typing import Any

import torch

from adapters.audio_lm.tuning.budget import epoch_products, products_per_second
from adapters.audio_lm.tuning.frugal import make_frugal
from adapters.audio_lm.tuning.lessons import Lesson
from adapters.audio_lm.tuning.recipe import recipe_of
from bench.execution.worker import quiet_single_thread

LESSONS, TOKENS, HIDDEN, REPEATS = 4, 148, 576, 5
RECIPE = recipe_of({"lora_rank": 16, "lora_dropout": 0})
Row = tuple[str, tuple[float, ...], str, str]


def language_model(dtype: torch.dtype) -> Any:
    """SmolLM2-135M's blocks as Qwen2's, with LoRA in float32."""
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2Model

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=8, hidden_size=HIDDEN, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        head_dim=64,
    )  # fmt: skip
    targets = list(RECIPE.lora_targets)
    model = get_peft_model(
        Qwen2Model(config).requires_grad_(False), LoraConfig(r=16, lora_alpha=32, target_modules=targets)
    )
    for name, parameter in model.named_parameters():
        if ".lora_" not in name:
            parameter.data = parameter.data.to(dtype)
    return model


def update_seconds(model: Any, heard: torch.Tensor) -> float:
    """CPU seconds of one forward and one backward pass."""
    began = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=heard.dtype == torch.bfloat16):
        hidden = model(inputs_embeds=heard, use_cache=False).last_hidden_state
    hidden[:, -3:].float().sum().backward()
    return time.process_time() - began


def measure() -> list[Row]:
    """Rows for ``make perf``: name, one value per repeat, unit, target."""
    rows: list[Row] = []
    for title, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        plain = language_model(dtype)
        frugal = copy.deepcopy(plain)
        make_frugal(frugal)
        heard = torch.randn(LESSONS, TOKENS, HIDDEN, dtype=dtype).requires_grad_()
        taken = []
        for _ in range(REPEATS + 1):
            taken.append((update_seconds(plain, heard), update_seconds(frugal, heard)))
        text = SimpleNamespace(**plain.config.to_dict())
        shell: Any = SimpleNamespace(
            config=SimpleNamespace(text_config=text, audio_token_id=-1),
            model=SimpleNamespace(multi_modal_projector=torch.nn.Identity()),
            lm_head=SimpleNamespace(weight=torch.zeros(1, dtype=dtype)),
        )
        lessons = [Lesson((0,) * (TOKENS - 3), (0, 0, 0))] * LESSONS
        floor = epoch_products(shell, lessons, RECIPE).forward_backward / products_per_second(shell, "cpu")
        name = f"update of a tuned Audio-LLM, {title}"
        rows += [
            (f"{name}: suite / peft and transformers", tuple(b / a for a, b in taken[1:]), "×", "below 1"),
            (f"{name}: suite / its matrix products", tuple(b / floor for _, b in taken[1:]), "×", "at most 1.3"),
            (f"{name}: a lesson", tuple(b / LESSONS for _, b in taken[1:]), "s", ""),
        ]  # fmt: skip
    return rows


if __name__ == "__main__":
    quiet_single_thread()
    for what, values, unit, target in measure():
        print(f"{what}: {', '.join(f'{v:.3g}' for v in values)} {unit} ({target or 'no target'})")
