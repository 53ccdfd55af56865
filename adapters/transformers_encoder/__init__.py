"""Speech encoders in Hugging Face format, frozen: Whisper, and the wav2vec 2.0 family (HuBERT, WavLM, …).

**Hidden states** are numbered as transformers numbers them: 0 is the input of the first block (for Whisper after the
positional embedding), k the output of block k. Whisper's last one is taken after the layer norm that closes its encoder, as the model
returns it. The wav2vec 2.0 models with ``do_stable_layer_norm`` (the large ones) close with a norm too, and transformers 5
lists their last state before it: so it is here.

**Whisper, input ``own``:** the log-mel frames of the clip alone, the positional embedding cut to their number. Whisper
was trained on 30-s windows; for probes on tiny.en either way is as good, and this one costs 0.027 s of CPU for a clip
of 2.5 s against 0.34 s.
Whisper's log-mel is clamped to 8 below its maximum over all frames; that maximum is a clip's own loudest frame with
or without padding, so only frames near the clip's end differ. **Input ``30s``:** the clip padded to 30 s as in
Whisper's own use, hidden states cut to the clip. Both keep max(1, samples // 320) frames. A longer clip is cut
into 30-s windows whose frames are put end to end, so that a mean over frames is exact over the whole clip.

**Batching changes no answer but by rounding** (:data:`bench.execution.contract.BATCH_TOLERANCE`). Only inputs of equal length go through together: equal log-mel frames for Whisper;
equal sample counts for the wav2vec 2.0 models whose first convolution has a group norm, since its statistics see
padding, and for SEW and data2vec (:func:`mask_safe` says why); the others (``feat_extract_norm: layer``, w2v-BERT 2) are
padded under their attention mask. Running out of memory halves the batch, for good. On the CPU clips go one at a time unless ``batch`` says otherwise, so that stored features do not depend, in their last bits, on which clips were
missing; it costs 0.027 s a clip against 0.021 in batches of 16.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from adapters.transformers_encoder.loading import FAMILIES, load_network
from adapters.transformers_encoder.networks import HOP, MIN_SAMPLES, FloatArray, Network, mask_safe
from bench.errors import DataError, UsageError, nearest
from bench.protocols import SAMPLE_RATE, Waveform, Weights

__all__ = ["FAMILIES", "HOP", "RandomEncoder", "TransformersEncoder", "mask_safe"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TransformersEncoder:
    """A frozen encoder from a local folder in Hugging Face format.

    Args:
        weights: the folder.
        input: ``own`` or ``30s`` (Whisper only: the others have no window).
        layers: hidden states by index, negative from the end; None: all.
        batch: how many clips may share a forward pass; None: 1 on the CPU, all that are given elsewhere.
        dtype: ``float32``, ``bfloat16`` or ``float16``: precision of the network, whatever the weights are stored in; hidden
            states are float32, so pooling is.
        device: as torch names it.

    Raises:
        UsageError: a parameter that this encoder does not take.
        CannotRun: the folder holds no encoder that this adapter knows, or its weights are not whole.
    """

    def __init__(
        self,
        weights: Weights,
        input: Literal["own", "30s"] = "own",  # noqa: A002 - the name on system cards
        layers: Sequence[int] | None = None,
        batch: int | None = None,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        if input not in ("own", "30s"):
            raise UsageError(
                f"input is {input!r}; expected 'own' (the clip's frames alone) or '30s' (padded window)."
            )
        if dtype not in DTYPES:
            raise UsageError(f"dtype is {dtype!r}; {nearest(dtype, DTYPES)}")
        self._network = self._load(weights, input, torch.device(device), DTYPES[dtype])
        self._wanted = _layer_indices(layers, self._network.n_states)
        if batch is not None and batch < 1:
            raise UsageError(f"batch is {batch}; expected a number of clips from 1 on.")
        self._batch = batch if batch is not None else (1 if device == "cpu" else sys.maxsize)
        self._seconds = float("inf")

    def _load(self, weights: Weights, input_mode: str, device: torch.device, dtype: torch.dtype) -> Network:
        """Where the network comes from; an encoder of another layout of folder says so here."""
        return load_network(weights, input_mode, device, dtype)

    def encode(self, waveforms: Sequence[Waveform]) -> list[FloatArray]:
        """One (layers, frames, dims) array per waveform; clips below 25 ms are padded with silence to 25 ms.

        Raises:
            DataError: a clip without samples.
        """
        windows = [_windows(waveform, self._network.longest) for waveform in waveforms]
        flat = [window for parts in windows for window in parts]
        encoded = iter(self._encode_windows(flat))
        outputs = [[next(encoded) for _ in parts] for parts in windows]
        return [parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1) for parts in outputs]

    def _encode_windows(self, windows: Sequence[Waveform]) -> list[FloatArray]:
        groups: dict[int, list[int]] = defaultdict(list)
        for i, window in enumerate(windows):
            groups[self._network.group(len(window))].append(i)
        outputs: dict[int, FloatArray] = {}
        for members in groups.values():
            waiting = sorted(members, key=lambda i: (len(windows[i]), i))
            while waiting:
                chosen = self._fitting(waiting, windows)
                try:
                    with torch.inference_mode():
                        states = self._network.states([windows[i] for i in chosen], self._wanted)
                except torch.OutOfMemoryError:
                    if len(chosen) == 1:
                        raise
                    # What padding makes of the batch, halved: shorter clips may still go through in numbers.
                    self._seconds = len(chosen) * len(windows[chosen[-1]]) / SAMPLE_RATE / 2
                    if torch.cuda.is_available():
                        torch.cuda.empty_cache()
                    continue
                outputs.update(zip(chosen, states, strict=True))
                waiting = waiting[len(chosen) :]
        return [outputs[i] for i in range(len(windows))]

    def _fitting(self, waiting: Sequence[int], windows: Sequence[Waveform]) -> Sequence[int]:
        """Return the first of the waiting windows (shortest first) that one pass takes: one at least."""
        count = 1
        while count < min(len(waiting), self._batch):
            if (count + 1) * len(windows[waiting[count]]) / SAMPLE_RATE > self._seconds:
                break
            count += 1
        return waiting[:count]


class RandomEncoder(TransformersEncoder):
    """A network of the wav2vec 2.0 kind that nobody trained: what the architecture alone gives; needs no download.

    Args:
        model_type: transformers' own name of the kind.
        config: sizes, as transformers' configuration of that kind takes them.
        seed: of the weights.
        dtype: see :class:`TransformersEncoder`.
        device: see :class:`TransformersEncoder`.

    Raises:
        UsageError: a ``model_type`` that is not of that kind.
    """

    def __init__(
        self, model_type: str, config: dict[str, Any], seed: int, dtype: str = "float32", device: str = "cpu"
    ) -> None:
        from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

        if model_type not in FAMILIES or model_type == "wav2vec2-bert":
            raise UsageError(f"model_type is {model_type!r}; {nearest(model_type, FAMILIES)}")
        with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(seed)
            AutoModel.from_config(AutoConfig.for_model(model_type, **config)).save_pretrained(folder)
            Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
            super().__init__(Weights(Path(folder), f"seed {seed}"), dtype=dtype, device=device)


def _layer_indices(layers: Sequence[int] | None, n_states: int) -> tuple[int, ...]:
    if layers is None:
        return tuple(range(n_states))
    if not layers or any(not -n_states <= i < n_states for i in layers):
        raise UsageError(f"layers is {list(layers)}; this encoder has hidden states 0 to {n_states - 1}.")
    return tuple(i % n_states for i in layers)


def _windows(waveform: Waveform, longest: int | None) -> list[Waveform]:
    """Cut into windows of at most ``longest`` samples, none below the front end's minimum.

    A remainder of the last window shorter than one frame is dropped: it has no frame of its own.
    """
    if not len(waveform):
        raise DataError("A clip has no samples: an encoder needs audio. Remove the clip or repair its file.")
    if len(waveform) < MIN_SAMPLES:
        return [np.pad(waveform, (0, MIN_SAMPLES - len(waveform)))]
    if longest is None or len(waveform) <= longest:
        return [waveform]
    starts = range(0, len(waveform), longest)
    parts = [waveform[start : start + longest] for start in starts if len(waveform) - start >= HOP]
    return [np.pad(part, (0, max(0, MIN_SAMPLES - len(part)))) for part in parts]
