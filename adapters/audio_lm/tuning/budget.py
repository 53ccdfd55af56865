"""What a training costs: its matrix products, and the memory that it takes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
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
    beside = (
        0 if recipe.frugal else adapted
    )  # added to the frozen weights, LoRA costs no product of its own forward
    total = Products()
    for lesson in lessons:
        tokens, answers = len(lesson), len(lesson.answer)
        audio = lesson.prompt.count(int(model.config.audio_token_id))
        attention = (
            2.0 * layers * tokens * tokens * queries
        )  # two products of 2·t·t·q, of which the mask leaves half
        said = 2.0 * answers * hidden * text.vocab_size
        forward = 2.0 * tokens * (frozen + beside) + 2.0 * audio * projector + attention + said
        backward = 2.0 * tokens * (frozen + 2 * adapted) + 2.0 * audio * projector + 2 * attention + said
        total += Products(forward, backward)
    return total


def products_per_second(model: Any, device: str) -> float:
    """Return the rate of products of the language model's own sizes on this machine now: operations a second, best of five."""
    text = model.config.text_config
    dtype = model.lm_head.weight.dtype
    return _rate(text.hidden_size, text.intermediate_size, dtype, device, time.monotonic() // 600)


PROMPT_TOKENS = 80
"""Tokens of a question with its options and of the answer, about: for forecasts, where no tokenizer is at hand."""
H200_PRODUCTS = 4e14
"""bf16 operations a second of one 80-GiB GPU or larger, at 40 % of an H100's 989 TFLOP/s: what such a training may reach, not
measured here."""
GIB = 2.0**30


def forecast(
    recipe: TuningRecipe,
    parameters: int,
    seconds: Sequence[float],
    dev_seconds: Sequence[float],
    *,
    rows: Callable[[float], float],
    gpus: int = 1,
) -> dict[str, Any]:
    """Say what a training will take, from the number of parameters alone: before weights are at hand.

    A decoder of width h with h/128 layers has about 12·h²·h/128 parameters (Kaplan et al. 2020); a token's activations take about
    34·h bytes a layer in 16 bits without recomputing (Korthikanti et al. 2022), and 2·h with.

    Args:
        recipe: how it is trained.
        parameters: of the model.
        seconds: length of each clip that is learnt from.
        dev_seconds: of those that epochs are judged on.
        rows: audio tokens of a clip of so many seconds.
        gpus: that share every batch; each holds the whole model.

    Returns:
        Clips, updates, tokens, operations, memory in GiB of one GPU and hours; all of it about.
    """
    width = (parameters * 128 / 12) ** (1 / 3)
    layers = width / 128
    tokens = sum(PROMPT_TOKENS + rows(s) for s in seconds)
    longest = PROMPT_TOKENS + rows(max(seconds, default=0.0))
    judged = sum(PROMPT_TOKENS + rows(s) for s in dev_seconds)
    bytes_each = 2 if recipe.precision == "bf16" else 4
    learning = layers * 2 * width * recipe.lora_rank * len(recipe.lora_targets) + 2e3 * width
    per_token = (2 if recipe.checkpointing else 34) * width * layers * bytes_each / 2
    passes = 5 if recipe.checkpointing else 4
    operations = recipe.epochs * parameters * (passes * tokens + 2 * judged)
    return {
        "gpus": gpus,
        "clips": len(seconds),
        "epochs": recipe.epochs,
        "updates": recipe.epochs * -(-len(seconds) // recipe.batch),
        "tokens_per_clip": round(tokens / max(1, len(seconds))),
        "learning_parameters": round(learning),
        "petaflop": round(operations / 1e15, 3),
        "gib_weights": round(parameters * bytes_each / GIB, 1),
        "gib_learning": round(learning * 16 / GIB, 2),
        "gib_activations": round(-(-recipe.batch // gpus) * longest * per_token / GIB, 1),
        "hours_at_400_tflops": round(operations / H200_PRODUCTS / 3600 / gpus, 3),
    }


def seconds_of(device: str) -> float:
    """A clock: of the processor on a CPU, where other work takes its share of the wall's; of the wall on a GPU."""
    return time.process_time() if device == "cpu" else time.perf_counter()


@functools.lru_cache(maxsize=8)
def _rate(hidden: int, inner: int, dtype: torch.dtype, device: str, _every_ten_minutes: float) -> float:
    rows = 1024
    x = torch.ones(rows, hidden, dtype=dtype, device=device)
    w = torch.ones(inner, hidden, dtype=dtype, device=device)
    times = []
    for _ in range(6):
        start = seconds_of(device)
        for _ in range(4):
            torch.nn.functional.linear(x, w)
        if device != "cpu":
            torch.cuda.synchronize(device)
        times.append((seconds_of(device) - start) / 4)
    return 2.0 * rows * hidden * inner / min(times[1:])
