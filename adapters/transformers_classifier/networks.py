"""From waveforms of one group to the outputs of a head, for each kind of front end.

A clip longer than a network's window goes in windows of near-equal length; the caller averages their answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from adapters.transformers_encoder.networks import (
    HOP,
    MIN_MEL_SAMPLES,
    MIN_SAMPLES,
    WhisperNetwork,
    aligned,
    mask_safe,
)
from bench.protocols import SAMPLE_RATE, Waveform

POOLINGS = ("mean", "sum", "max")


class HeadNetwork(Protocol):
    """A front end, a network and its head."""

    longest: int | None
    """Samples of a window; None where any length goes in whole."""
    shortest: int
    """Samples below which a clip is padded with silence."""

    def group(self, samples: int) -> int:
        """Windows with equal numbers may go through together."""
        ...

    def outputs(self, waveforms: Sequence[Waveform]) -> torch.Tensor:
        """Outputs (windows, outputs) of windows of one group, before any softmax."""
        ...


class WaveformHead:
    """wav2vec 2.0, HuBERT, WavLM and their like; w2v-BERT, which reads log-mel frames of the clip's own.

    Args:
        model: transformers' model with its own head, or a :class:`TwoLayerHead`.
        extractor: the folder's feature extractor.
        device: where it runs.
    """

    longest: int | None = None

    def __init__(self, model: Any, extractor: Any, device: torch.device) -> None:
        self._model, self._extractor, self._device = model, extractor, device
        mel = model.config.model_type == "wav2vec2-bert"
        self._input = "input_features" if mel else "input_values"
        # A group norm sees padding; the two-layer heads were released without a mask, and pool over all frames.
        # A conformer's depthwise convolutions read what they wrote into the padding.
        seen = isinstance(model, TwoLayerHead) or model.config.model_type == "wav2vec2-conformer"
        self._maskable = mask_safe(model.config) and not seen
        squeeze = int(getattr(model.config, "squeeze_factor", 1))
        self.shortest = MIN_MEL_SAMPLES if mel else MIN_SAMPLES + HOP * (squeeze - 1)

    def group(self, samples: int) -> int:
        """What may share a batch, by number."""
        return 0 if self._maskable else samples

    def outputs(self, waveforms: Sequence[Waveform]) -> torch.Tensor:
        """Outputs (windows, outputs)."""
        inputs = self._extractor(
            list(waveforms),
            sampling_rate=SAMPLE_RATE,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._device)
        values = aligned(inputs[self._input]).to(self._model.dtype)
        mask = inputs["attention_mask"] if self._maskable else None
        logits: torch.Tensor = self._model(values, attention_mask=mask).logits
        return logits


class TwoLayerHead(torch.nn.Module):
    """``classifier.dense``, tanh, ``classifier.out_proj`` on pooled frames: not one of transformers' own heads.

    Many emotion models were released with it: audEERING's (Wagner et al., 2023, IEEE TPAMI 45(9), arXiv 2203.07378), and those
    trained by a widely copied notebook. transformers' own class would leave the head unread and answer with random numbers.

    Args:
        backbone: transformers' model without a head.
        tensors: the head's four tensors by name.
        pooling: ``mean``, ``sum`` or ``max`` over frames, as the folder's ``pooling_mode`` says.
    """

    def __init__(self, backbone: Any, tensors: dict[str, torch.Tensor], pooling: str) -> None:
        super().__init__()
        hidden, outputs = (
            tensors["classifier.dense.weight"].shape[0],
            len(tensors["classifier.out_proj.bias"]),
        )
        self.backbone, self.config, self._pooling = backbone, backbone.config, pooling
        self.dense = torch.nn.Linear(int(backbone.config.hidden_size), hidden)
        self.out_proj = torch.nn.Linear(hidden, outputs)
        for part in ("dense", "out_proj"):
            getattr(self, part).load_state_dict(
                {k: tensors[f"classifier.{part}.{k}"] for k in ("weight", "bias")}
            )

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network."""
        found: torch.dtype = self.dense.weight.dtype
        return found

    def forward(self, values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Any:
        """Frames, pooled, through both layers: ``logits`` (clips, outputs), as transformers' own models give them."""
        from transformers.modeling_outputs import SequenceClassifierOutput

        frames = self.backbone(values, attention_mask=attention_mask)[0]
        pooled = frames.amax(dim=1) if self._pooling == "max" else getattr(frames, self._pooling)(dim=1)
        return SequenceClassifierOutput(logits=self.out_proj(torch.tanh(self.dense(pooled))))


class WhisperHead:
    """Whisper's encoder under transformers' classification head.

    Released classifiers were trained on padded 30-s windows and pool over the padding too: so ``padded`` does. On a
    clip's own frames the positional embedding is cut to their number, and the pooling sees them alone: another system.

    Args:
        model: ``WhisperForAudioClassification``.
        extractor: the folder's feature extractor.
        padded: whether clips are padded to the window.
        device: where it runs.
    """

    shortest = MIN_SAMPLES

    def __init__(self, model: Any, extractor: Any, padded: bool, device: torch.device) -> None:
        self._model, self._extractor, self._device = model, extractor, device
        self.longest: int | None = int(model.config.max_source_positions) * HOP
        self._own = None if padded else WhisperNetwork(model.encoder, extractor, False, device)

    def group(self, samples: int) -> int:
        """What may share a batch, by number."""
        return 0 if self._own is None else self._own.group(samples)

    def outputs(self, waveforms: Sequence[Waveform]) -> torch.Tensor:
        """Outputs (windows, outputs)."""
        if self._own is None:
            mel = self._extractor(
                list(waveforms), sampling_rate=SAMPLE_RATE, padding="max_length", return_tensors="np"
            )["input_features"]
            logits: torch.Tensor = self._model(aligned(mel).to(self._device, self._model.dtype)).logits
            return logits
        return torch.stack([self._of_frames(w) for w in waveforms])

    def _of_frames(self, waveform: Waveform) -> torch.Tensor:
        assert self._own is not None
        model, weighted = self._model, bool(self._model.config.use_weighted_layer_sum)
        wanted = range(self._own.n_states) if weighted else [self._own.n_states - 1]
        (states,) = self._own.states([waveform], list(wanted))
        frames = torch.from_numpy(states).to(self._device, model.dtype)
        weights = torch.softmax(model.layer_weights, dim=-1) if weighted else frames.new_ones(1)
        mixed = (frames * weights.view(-1, 1, 1)).sum(dim=0)
        found: torch.Tensor = model.classifier(model.projector(mixed).mean(dim=0))
        return found


class SpectrogramHead:
    """AST: a spectrogram of fixed length, padded with zeros as in its training.

    Args:
        model: ``ASTForAudioClassification``.
        extractor: the folder's feature extractor.
        device: where it runs.
    """

    shortest = MIN_SAMPLES

    def __init__(self, model: Any, extractor: Any, device: torch.device) -> None:
        self._model, self._extractor, self._device = model, extractor, device
        # Kaldi's frames: 25 ms every 10 ms.
        self.longest: int | None = MIN_SAMPLES + SAMPLE_RATE // 100 * (int(extractor.max_length) - 1)

    def group(self, samples: int) -> int:
        """All windows are padded to one length."""
        return 0

    def outputs(self, waveforms: Sequence[Waveform]) -> torch.Tensor:
        """Outputs (windows, outputs)."""
        values = self._extractor(list(waveforms), sampling_rate=SAMPLE_RATE, return_tensors="np")
        stacked = aligned(np.asarray(values["input_values"], dtype=np.float32))
        logits: torch.Tensor = self._model(stacked.to(self._device, self._model.dtype)).logits
        return logits


def windows(waveform: Waveform, longest: int | None, shortest: int) -> list[Waveform]:
    """Cut into windows of near-equal length.

    Args:
        waveform: (samples,).
        longest: samples of a window at most; None: the clip stays whole.
        shortest: samples below which a window is padded with silence.

    Returns:
        One window or more, (samples,) each.

    >>> [len(w) for w in windows(np.zeros(70_000, np.float32), 32_000, 400)]
    [23334, 23333, 23333]
    """
    count = 1 if longest is None else -(-len(waveform) // longest)
    parts = np.array_split(waveform, max(1, count))
    return [np.pad(part, (0, max(0, shortest - len(part)))) for part in parts]
