"""The Whisper encoder over any number of frames up to its window, from any of its layers to any other.

``WhisperEncoder.forward`` insists on 30 s; a clip's own frames cost a fifth of that and probe as well (research
notes). The encoder's own modules do the work here; only the padding is ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from adapters.meralion_ser.network.masking import frame_mask
from bench.errors import DataError


def frames_after_stem(mel_frames: Tensor) -> Tensor:
    """Number of encoder frames (20 ms) of clips with ``mel_frames`` (10 ms): the stem's second stride is 2.

    >>> frames_after_stem(torch.tensor([1, 2, 3, 3000]))
    tensor([   1,    1,    2, 1500])
    """
    return (mel_frames + 1) // 2


def stem(encoder: WhisperEncoder, features: Tensor, lengths: Tensor | None) -> Tensor:
    """Take log-mel to hidden state 0.

    Args:
        encoder: Whisper's.
        features: log-mel (batch, mels, frames), 10 ms each.
        lengths: each clip's own mel frames (batch,): what lies behind its end is hidden from both convolutions; None: all count.

    Returns:
        (batch, frames // 2, dims), 20 ms each.

    Raises:
        DataError: more frames than the encoder has positions.
    """
    positions = int(encoder.config.max_source_positions)
    if features.shape[2] > 2 * positions:
        raise DataError(
            f"a clip of {features.shape[2]} log-mel frames is longer than the Whisper window of {2 * positions}; "
            "cut it into windows and average the answers"
        )
    inside = None if lengths is None else frame_mask(lengths, features.shape[2])[:, None]
    if inside is not None:
        features = features * inside
    hidden = F.gelu(encoder.conv1(features))
    if inside is not None:
        hidden = hidden * inside
    hidden = F.gelu(encoder.conv2(hidden)).transpose(1, 2)
    positions_used: Tensor = encoder.embed_positions.weight[: hidden.shape[1]]
    return hidden + positions_used


def blocks(
    encoder: WhisperEncoder, hidden: Tensor, lengths: Tensor | None, *, first: int, last: int
) -> Tensor:
    """Take hidden state ``first`` to hidden state ``last``, counted as transformers does.

    The state after the final block is given after the encoder's closing layer norm.

    Args:
        encoder: Whisper's.
        hidden: (batch, frames, dims).
        lengths: each clip's own encoder frames (batch,), which hide the padding from attention; None: all count.
        first: number of the state that comes in.
        last: number of the state that is wanted.

    Returns:
        (batch, frames, dims).
    """
    bias = None if lengths is None else _attention_bias(lengths, hidden)
    for layer in encoder.layers[first:last]:
        hidden = layer(hidden, bias)
    if first < last == len(encoder.layers):
        hidden = encoder.layer_norm(hidden)
    return hidden


def _attention_bias(lengths: Tensor, hidden: Tensor) -> Tensor:
    inside = frame_mask(lengths, hidden.shape[1])[:, None, None]
    bias = torch.zeros(inside.shape, dtype=hidden.dtype, device=hidden.device)
    return bias.masked_fill(~inside, torch.finfo(hidden.dtype).min)
