"""What an encoder computes: from waveforms of one group to hidden states, for each kind of front end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bench.protocols import SAMPLE_RATE, Waveform

HOP = 320
"""Samples per frame of Whisper's encoder and of every wav2vec 2.0 model: 50 frames per second."""
MIN_SAMPLES = 400
"""25 ms: one window of Whisper's log-mel, and the receptive field of one wav2vec 2.0 frame."""
MIN_MEL_SAMPLES = 720
"""45 ms: three windows of w2v-BERT's log-mel; it normalises over them and takes them in pairs."""
WINDOW = 30 * SAMPLE_RATE
"""Longer clips are encoded in windows of 30 s, put end to end."""
NEVER_PADDED = ("data2vec-audio", "sew", "sew-d")
FloatArray = NDArray[np.float32]


class Network(Protocol):
    """A front end and a stack of blocks: knows what may share a batch, and gives frames without padding."""

    n_states: int

    def group(self, samples: int) -> int:
        """Clips with equal numbers may go through together."""
        ...

    def states(self, waveforms: Sequence[Waveform], wanted: Sequence[int]) -> list[FloatArray]:
        """Hidden states (wanted, frames, dims) of waveforms of one group."""
        ...

    longest: int | None


def aligned(values: FloatArray | torch.Tensor) -> torch.Tensor:
    """Copy what goes into a network to memory of torch's own, which begins on a 64-byte boundary.

    Where an array begins decides in which order MKL adds up (its developer guide, "Obtaining Numerically Reproducible
    Results"), and numpy's begin on any multiple of 16 bytes, as the allocations before them have it.
    """
    return torch.as_tensor(values).clone()


class WhisperNetwork:
    """Whisper's encoder on any number of frames up to its window, stopping at the last block that is wanted.

    Args:
        encoder: transformers' ``WhisperEncoder``.
        extractor: its feature extractor.
        padded: whether clips are padded to the window.
        device: where it runs.
    """

    def __init__(self, encoder: Any, extractor: Any, padded: bool, device: torch.device) -> None:
        self._encoder = encoder
        self._extractor = extractor
        self._padded = padded
        self._device = device
        self.n_states = len(encoder.layers) + 1
        self.longest: int | None = int(encoder.config.max_source_positions) * HOP

    def group(self, samples: int) -> int:
        """What may share a batch, by number."""
        return 0 if self._padded else _frames(samples)

    def states(self, waveforms: Sequence[Waveform], wanted: Sequence[int]) -> list[FloatArray]:
        """Hidden states (wanted, frames, dims) per waveform."""
        mel = aligned(np.stack([self._log_mel(waveform) for waveform in waveforms])).to(self._device)
        stacked = self._forward(mel, wanted).float().cpu().numpy()
        return [stacked[:, i, : _frames(len(w))].copy() for i, w in enumerate(waveforms)]

    def _log_mel(self, waveform: Waveform) -> FloatArray:
        """(mel bins, 2 × frames): the second convolution halves, so an odd last frame is left out."""
        padding = "max_length" if self._padded else "do_not_pad"
        features = self._extractor(
            waveform, sampling_rate=SAMPLE_RATE, padding=padding, truncation=False, return_tensors="np"
        )["input_features"][0]
        mel: FloatArray = features if self._padded else features[:, : 2 * _frames(len(waveform))]
        return mel.astype(np.float32)

    def _forward(self, mel: torch.Tensor, wanted: Sequence[int]) -> torch.Tensor:
        """(clips, bins, 2 × frames) → (wanted, clips, frames, dims); equal to WhisperEncoder.forward on 30 s."""
        net = self._encoder
        x = torch.nn.functional.gelu(net.conv1(mel.to(net.conv1.weight.dtype)))
        x = torch.nn.functional.gelu(net.conv2(x)).transpose(1, 2)
        x = x + net.embed_positions.weight[: x.shape[1]]
        states = {0: x}
        for number, block in enumerate(net.layers[: max(wanted)], start=1):
            out = block(x, None)
            x = out[0] if isinstance(out, tuple) else out
            if number in wanted:
                states[number] = net.layer_norm(x) if number == self.n_states - 1 else x
        return torch.stack([states[i] for i in wanted])


class WaveformNetwork:
    """A wav2vec 2.0 style model: samples in, frames of 20 ms out (SEW: of 40 ms, as its blocks see them).

    Args:
        model: as transformers builds it.
        extractor: its feature extractor.
        device: where it runs.
    """

    longest: int | None = WINDOW

    def __init__(self, model: Any, extractor: Any, device: torch.device) -> None:
        self._model = model
        self._extractor = extractor
        self._device = device
        self._maskable = mask_safe(model.config)
        self._squeeze = int(getattr(model.config, "squeeze_factor", 1))
        self._shortest = MIN_SAMPLES + HOP * (self._squeeze - 1)
        self.n_states = int(model.config.num_hidden_layers) + 1

    def group(self, samples: int) -> int:
        """What may share a batch, by number."""
        return 0 if self._maskable else max(samples, self._shortest)

    def states(self, waveforms: Sequence[Waveform], wanted: Sequence[int]) -> list[FloatArray]:
        """Hidden states (wanted, frames, dims) per waveform."""
        waveforms = [np.pad(w, (0, max(0, self._shortest - len(w)))) for w in waveforms]
        inputs = self._extractor(
            waveforms,
            sampling_rate=SAMPLE_RATE,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._device)
        # Without padding a mask says nothing; group-norm models were trained without one.
        mask = inputs["attention_mask"] if self._maskable else None
        values = aligned(inputs["input_values"]).to(self._model.dtype)
        states = self._model(values, attention_mask=mask, output_hidden_states=True).hidden_states
        stacked = _stack(states, wanted, self._squeeze)
        lengths = [max(1, conv_frames(self._model.config, len(w)) // self._squeeze) for w in waveforms]
        return [stacked[:, i, :length].copy() for i, length in enumerate(lengths)]


class MelNetwork:
    """w2v-BERT 2: log-mel frames, stacked in pairs and normalised per clip, in; frames of 20 ms out.

    Args:
        model: as transformers builds it.
        extractor: its feature extractor.
        device: where it runs.
    """

    longest: int | None = WINDOW

    def __init__(self, model: Any, extractor: Any, device: torch.device) -> None:
        self._model = model
        self._extractor = extractor
        self._device = device
        self.n_states = int(model.config.num_hidden_layers) + 1

    def group(self, samples: int) -> int:
        """What may share a batch, by number."""
        return 0

    def states(self, waveforms: Sequence[Waveform], wanted: Sequence[int]) -> list[FloatArray]:
        """Hidden states (wanted, frames, dims) per waveform."""
        padded = [np.pad(w, (0, max(0, MIN_MEL_SAMPLES - len(w)))) for w in waveforms]
        inputs = self._extractor(
            padded, sampling_rate=SAMPLE_RATE, padding=True, return_attention_mask=True, return_tensors="pt"
        ).to(self._device)
        mask = inputs["attention_mask"]
        features = aligned(inputs["input_features"]).to(self._model.dtype)
        states = self._model(features, attention_mask=mask, output_hidden_states=True).hidden_states
        stacked = _stack(states, wanted)
        lengths = [max(1, int(n)) for n in mask.sum(dim=1).tolist()]
        return [stacked[:, i, :length].copy() for i, length in enumerate(lengths)]


def mask_safe(config: Any) -> bool:
    """Whether clips of a model may be padded to one length under a mask without changing their frames.

    Not so: a group norm over time (``feat_extract_norm: group``: its statistics see the padding); SEW, which averages
    pairs of frames across a clip's end; data2vec, whose positions come from a stack of convolutions of which the
    second sees what the first wrote into the padding.
    """
    if config.model_type in NEVER_PADDED:
        return False
    return bool(getattr(config, "feat_extract_norm", "layer") == "layer")


def conv_frames(config: Any, samples: int) -> int:
    """Frames that the convolutions of a wav2vec 2.0 model make of a clip: those of every hidden state.

    Trap: transformers' own ``_get_feat_extract_output_lengths`` goes on to what is left after an adapter
    (``add_adapter``: an eighth with three strided layers), and no hidden state has been through the adapter.

    >>> from types import SimpleNamespace
    >>> base = SimpleNamespace(conv_kernel=(10, 3, 3, 3, 3, 2, 2), conv_stride=(5, 2, 2, 2, 2, 2, 2))
    >>> conv_frames(base, 48_000)
    149
    """
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def _stack(states: Sequence[torch.Tensor], wanted: Sequence[int], squeeze: int = 1) -> FloatArray:
    """(wanted, clips, frames, dims) in float32. SEW stretches its last state again: that is undone."""
    frames = min(state.shape[1] for state in states)
    chosen = [states[i] if states[i].shape[1] == frames else _squeezed(states[i], squeeze) for i in wanted]
    stacked: FloatArray = torch.stack([state[:, :frames].float() for state in chosen]).cpu().numpy()
    return stacked


def _squeezed(state: torch.Tensor, squeeze: int) -> torch.Tensor:
    return torch.nn.functional.avg_pool1d(state.transpose(1, 2), squeeze).transpose(1, 2)


def _frames(samples: int) -> int:
    return max(1, samples // HOP)
