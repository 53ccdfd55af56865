"""What a training costs: its matrix products, and the memory that it takes."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from adapters.audio_lm.tuning.lessons import Lesson
from adapters.audio_lm.tuning.recipe import TuningRecipe


@dataclass(frozen=True)
class Products:
    """Floating-point operations of matrix products: of the forward passes, and of what the gradients need beside them."""

    forward: float = 0.0
    backward: float = 0.0

    def __add__(self, other: Products) -> Products:
        return Products(self.forward + other.forward, self.backward + other.backward)

    @property
    def forward_backward(self) -> float:
        """Both together."""
        return self.forward + self.backward


def epoch_products(model: Any, lessons: Sequence[Lesson], recipe: TuningRecipe) -> Products:
    """Count the products of lessons, each at its own length: 2·m·n·k per product, padding not counted.

    A frozen layer costs one product forward and one for the gradient of its input; what learns costs a second one. Attention
    costs two products of tokens × tokens forward and four backward, halved for the causal mask.

    Args:
        model: the Audio-LLM.
        lessons: what is taught.
        recipe: how.
    """
    text = model.config.text_config
    hidden, layers, inner = text.hidden_size, text.num_hidden_layers, text.intermediate_size
    head = getattr(text, "head_dim", None) or hidden // text.num_attention_heads
    queries, keys = text.num_attention_heads * head, text.num_key_value_heads * head
    sizes = {
        "q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys), "o_proj": (queries, hidden),
        "gate_proj": (hidden, inner), "up_proj": (hidden, inner), "down_proj": (inner, hidden),
    }  # fmt: skip
    frozen = layers * sum(m * n for m, n in sizes.values())
    adapted = layers * sum(
        recipe.lora_rank * sum(sizes[name]) for name in recipe.lora_targets if name in sizes
    )
    projector = sum(p.numel() for p in model.model.multi_modal_projector.parameters() if p.ndim == 2)
    total = Products()
    for lesson in lessons:
        tokens, answers = len(lesson), len(lesson.answer)
        audio = lesson.prompt.count(int(model.config.audio_token_id))
        attention = (
            2.0 * layers * tokens * tokens * queries
        )  # two products of 2·t·t·q, of which the mask leaves half
        said = 2.0 * answers * hidden * text.vocab_size
        forward = 2.0 * tokens * (frozen + adapted) + 2.0 * audio * projector + attention + said
        backward = 2.0 * tokens * (frozen + 2 * adapted) + 2.0 * audio * projector + 2 * attention + said
        total += Products(forward, backward)
    return total


def products_per_second(model: Any, device: str) -> float:
    """Return the rate of products of the model's own sizes on this machine now: operations a second, best of five."""
    text = model.config.text_config
    dtype = model.dtype
    return _rate(text.hidden_size, text.intermediate_size, dtype, device, time.monotonic() // 600)


@functools.lru_cache(maxsize=8)
def _rate(hidden: int, inner: int, dtype: torch.dtype, device: str, _every_ten_minutes: float) -> float:
    rows = 1024
    x = torch.ones(rows, hidden, dtype=dtype, device=device)
    w = torch.ones(inner, hidden, dtype=dtype, device=device)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        for _ in range(4):
            torch.nn.functional.linear(x, w)
        if device != "cpu":
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - start) / 4)
    return 2.0 * rows * hidden * inner / min(times[1:])
