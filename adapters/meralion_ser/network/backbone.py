"""Encoders of the wav2vec 2.0 family under the head: their blocks from any hidden state on, and LoRA in them.

HuBERT, WavLM, wav2vec 2.0, UniSpeech-SAT and data2vec audio as transformers builds them. Their convolutional front end
stays frozen, as usual, and its output (hidden state 0) or any later one is read from the feature store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from adapters.meralion_ser.network.masking import frame_mask
from bench.errors import CannotRun, UsageError

PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def build(fields: dict[str, Any]) -> Any:
    """Build an encoder, randomly initialised, from the fields of its transformers config (``model_type`` among them)."""
    from transformers import AutoConfig, AutoModel

    given = dict(fields)
    kind = given.pop("model_type", None)
    if kind is None:
        raise UsageError("MeralionSerConfig: backbone names no model_type, like 'wavlm'")
    model = AutoModel.from_config(AutoConfig.for_model(kind, **given))
    if not hasattr(getattr(model, "encoder", None), "layers"):
        raise UsageError(
            f"MeralionSerConfig: backbone {kind!r} is not of the wav2vec 2.0 family; "
            "give its stored frames to encoder 'features'"
        )
    return model


def fields_of(folder: Path) -> dict[str, Any]:
    """Read what :func:`build` needs from a folder's ``config.json``."""
    from transformers import AutoConfig

    try:
        described: dict[str, Any] = AutoConfig.from_pretrained(folder).to_diff_dict()
    except (OSError, ValueError) as error:
        raise CannotRun(f"{folder} is not a Hugging Face speech encoder: {error}") from error
    unread = ("transformers_version", "architectures", "dtype", "torch_dtype")
    return {name: value for name, value in described.items() if name not in unread}


def blocks(model: Any, hidden: Tensor, lengths: Tensor | None, *, first: int, last: int) -> Tensor:
    """Take hidden state ``first`` to ``last``, counted as transformers does.

    As in transformers' hidden states, the one after the final block is given before the closing layer norm that some models
    have (``do_stable_layer_norm``).

    Args:
        model: the encoder, as transformers builds it.
        hidden: (batch, frames, dims).
        lengths: each clip's own frames (batch,), which hide the padding from attention; None: all count.
        first: number of the state that comes in.
        last: number of the state that is wanted.

    Returns:
        (batch, frames, dims).
    """
    encoder, config = model.encoder, model.config
    inside = None if lengths is None else frame_mask(lengths, hidden.shape[1])
    if config.model_type in ("wavlm",):
        hidden = _wavlm_blocks(encoder, hidden, inside, first, last)
    else:
        bias = None
        if inside is not None:
            bias = torch.zeros_like(inside, dtype=hidden.dtype)[:, None, None].masked_fill(
                ~inside[:, None, None], torch.finfo(hidden.dtype).min
            )
            bias = bias.expand(-1, 1, hidden.shape[1], -1)
        for layer in encoder.layers[first:last]:
            hidden = _state(layer(hidden, attention_mask=bias))
    return hidden


def add_lora(model: Any, numbers: list[int], rank: int, alpha: float) -> int:
    """Freeze the encoder and adapt q, k, v of some blocks; return the adapters' parameter count.

    As a parametrisation of the weights: WavLM reads its projections' weights itself and would pass by a wrapped layer.

    Args:
        model: the encoder, as transformers builds it.
        numbers: blocks, counted from 1.
        rank: r of LoRA (Hu et al. 2021).
        alpha: the low-rank path is scaled by alpha / r.

    Raises:
        UsageError: a block without q, k and v projections.
    """
    model.requires_grad_(False)
    for number in numbers:
        adapted = [
            (name, m)
            for name, m in model.encoder.layers[number - 1].named_modules()
            if name.rpartition(".")[2] in PROJECTIONS and isinstance(m, nn.Linear)
        ]
        if len(adapted) != len(PROJECTIONS):
            raise UsageError(
                f"block {number} of a {model.config.model_type} has no q_proj, k_proj and v_proj to adapt with LoRA"
            )
        for _, linear in adapted:
            low_rank = LowRank(linear.weight, rank, alpha)
            parametrize.register_parametrization(linear, "weight", low_rank)
            linear.register_forward_hook(low_rank.drop_inputs)
    return sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name)


def set_dropout(model: Any, rate: float) -> None:
    """Drop inputs of the adapters of :func:`add_lora` at this rate while training.

    Raises :class:`UsageError` for WavLM: it multiplies with its projections' weights itself, and no input of theirs can
    be told from the rest.
    """
    if rate and model.config.model_type == "wavlm":
        raise UsageError(
            f"lora_dropout is {rate}, which does not reach WavLM: it reads its projections' weights itself; set lora_dropout to 0"
        )
    for module in model.modules():
        if isinstance(module, LowRank):
            module.dropout = rate


class LowRank(nn.Module):
    """W + (alpha / rank) · B A, B starting at zero (Hu et al. 2021).

    With ``dropout``, while training, B A sees dropped-out inputs, and W whole ones, as with peft.

    Args:
        weight: the projection's weight (rows, columns).
        rank: r.
        alpha: scale of the low-rank path, as alpha / r.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.scale = alpha / rank
        self.dropout = 0.0
        self.lora_A = nn.Parameter(weight.new_empty(rank, columns))
        self.lora_B = nn.Parameter(weight.new_zeros(rows, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """Adapted weight, of the same shape."""
        return weight + self.scale * (self.lora_B @ self.lora_A)

    def drop_inputs(self, linear: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """Forward hook of the adapted projection: what dropout makes of the input, through the low-rank path alone.

        Args:
            linear: the adapted projection.
            inputs: what it was given; the first is (…, columns).
            output: what it answered, (…, rows).

        Returns:
            The output with dropout in the low-rank path, or None where there is none.
        """
        if not (self.dropout and linear.training):
            return None
        changed = F.dropout(inputs[0], self.dropout) - inputs[0]
        return output + self.scale * F.linear(F.linear(changed, self.lora_A), self.lora_B)


def _wavlm_blocks(encoder: Any, hidden: Tensor, inside: Tensor | None, first: int, last: int) -> Tensor:
    """WavLM's blocks share one table of relative positions, which its first block holds."""
    attention = encoder.layers[0].attention
    frames = hidden.shape[1]
    bias = attention.compute_bias(frames, frames)
    bias = bias.unsqueeze(0).repeat(len(hidden), 1, 1, 1).view(-1, frames, frames)
    for number, layer in enumerate(encoder.layers[first:last], start=first):
        hidden = _state(layer(hidden, attention_mask=inside, position_bias=bias, index=number))
    return hidden


def _state(output: Any) -> Tensor:
    state: Tensor = output[0] if isinstance(output, tuple) else output
    return state
