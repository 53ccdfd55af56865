"""Speech encoders in Hugging Face format, frozen: Whisper, and the wav2vec 2.0 family (HuBERT, WavLM, …).

**Hidden states** are numbered as transformers numbers them: 0 is the input of the first block (for Whisper after the
positional embedding), k the output of block k, and the last one is what the model returns, so for encoders that end
in a layer norm (Whisper, and the wav2vec 2.0 models with ``do_stable_layer_norm``) it is taken after that norm.

**Whisper, input ``own``:** the log-mel frames of the clip alone, the positional embedding cut to their number. Whisper
was trained on 30-s windows; for probes on tiny.en either way is as good, and this one costs 0.027 s of CPU for a clip
of 2.5 s against 0.34 s.
Whisper's log-mel is clamped to 8 below its maximum over all frames; that maximum is a clip's own loudest frame with
or without padding, so only frames near the clip's end differ. **Input ``30s``:** the clip padded to 30 s as in
Whisper's own use, hidden states cut to the clip. Both keep max(1, samples // 320) frames. A longer clip is cut
into 30-s windows whose frames are put end to end, so that a mean over frames is exact over the whole clip.

**Batching never changes the answer.** Only inputs of equal length go through together: equal log-mel frames for Whisper;
equal sample counts for the wav2vec 2.0 models whose first convolution has a group norm, since its statistics see
padding; the others (``feat_extract_norm: layer``) are padded under their attention mask. On the CPU clips go one at a
time unless ``batch`` says otherwise, so that stored features do not depend, in their last bits, on which clips were
missing; it costs 0.027 s a clip against 0.021 in batches of 16.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bench.errors import CannotRun, DataError, UsageError
from bench.protocols import SAMPLE_RATE, Waveform, Weights

HOP = 320
"""Samples per frame of Whisper's encoder and of every wav2vec 2.0 model: 50 frames per second."""
MIN_SAMPLES = 400
"""25 ms: one window of Whisper's log-mel, and the receptive field of one wav2vec 2.0 frame."""
DEFAULT_BATCH = 16
FloatArray = NDArray[np.float32]


class _Network(Protocol):
    """A front end and a stack of blocks: knows what may share a batch, and gives frames without padding."""

    n_states: int

    def group(self, samples: int) -> int:
        """Clips with equal numbers may go through together."""
        ...

    def states(self, waveforms: Sequence[Waveform], wanted: Sequence[int]) -> list[FloatArray]:
        """Hidden states (wanted, frames, dims) of waveforms of one group."""
        ...

    longest: int | None


class TransformersEncoder:
    """A frozen encoder from a local folder in Hugging Face format.

    ``input`` is ``own`` or ``30s`` (Whisper only: the others have no window); ``layers`` selects hidden states by
    index, negative from the end (None: all); ``batch`` is the number of clips that may share a forward pass
    (None: 1 on the CPU, 16 elsewhere). Weights stored in half precision are computed in float32.
    """

    def __init__(
        self,
        weights: Weights,
        input: Literal["own", "30s"] = "own",  # noqa: A002 - the name on system cards
        layers: Sequence[int] | None = None,
        batch: int | None = None,
        device: str = "cpu",
    ) -> None:
        if input not in ("own", "30s"):
            raise UsageError(
                f"input is {input!r}; expected 'own' (the clip's frames alone) or '30s' (padded window)."
            )
        self._network = _load(weights, input, torch.device(device))
        self._wanted = _layer_indices(layers, self._network.n_states)
        self._batch = batch if batch is not None else (1 if device == "cpu" else DEFAULT_BATCH)
        if self._batch < 1:
            raise UsageError(f"batch is {batch}; expected a number of clips from 1 on.")

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
            for start in range(0, len(members), self._batch):
                chosen = members[start : start + self._batch]
                with torch.inference_mode():
                    states = self._network.states([windows[i] for i in chosen], self._wanted)
                outputs.update(zip(chosen, states, strict=True))
        return [outputs[i] for i in range(len(windows))]


class _WhisperNetwork:
    """Whisper's encoder on any number of frames up to its window, stopping at the last block that is wanted."""

    def __init__(self, encoder: Any, extractor: Any, padded: bool, device: torch.device) -> None:
        self._encoder = encoder
        self._extractor = extractor
        self._padded = padded
        self._device = device
        self.n_states = len(encoder.layers) + 1
        self.longest: int | None = int(encoder.config.max_source_positions) * HOP

    def group(self, samples: int) -> int:
        return 0 if self._padded else _frames(samples)

    def states(self, waveforms: Sequence[Waveform], wanted: Sequence[int]) -> list[FloatArray]:
        mel = torch.from_numpy(np.stack([self._log_mel(waveform) for waveform in waveforms])).to(self._device)
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
        x = torch.nn.functional.gelu(net.conv1(mel))
        x = torch.nn.functional.gelu(net.conv2(x)).transpose(1, 2)
        x = x + net.embed_positions.weight[: x.shape[1]]
        kept = {0: x}
        for number, block in enumerate(net.layers[: max(wanted)], start=1):
            out = block(x, None)
            x = out[0] if isinstance(out, tuple) else out
            if number in wanted:
                kept[number] = net.layer_norm(x) if number == self.n_states - 1 else x
        return torch.stack([kept[i] for i in wanted])


class _WaveformNetwork:
    """A wav2vec 2.0 style model: samples in, frames of 20 ms out."""

    longest: int | None = None

    def __init__(self, model: Any, extractor: Any, device: torch.device) -> None:
        self._model = model
        self._extractor = extractor
        self._device = device
        self._maskable = model.config.feat_extract_norm == "layer"
        self.n_states = int(model.config.num_hidden_layers) + 1

    def group(self, samples: int) -> int:
        return 0 if self._maskable else samples

    def states(self, waveforms: Sequence[Waveform], wanted: Sequence[int]) -> list[FloatArray]:
        inputs = self._extractor(
            list(waveforms),
            sampling_rate=SAMPLE_RATE,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._device)
        # Without padding a mask says nothing; group-norm models were trained without one.
        mask = inputs["attention_mask"] if self._maskable else None
        states = self._model(
            inputs["input_values"], attention_mask=mask, output_hidden_states=True
        ).hidden_states
        stacked = torch.stack([states[i] for i in wanted]).float().cpu().numpy()
        lengths = [int(self._model._get_feat_extract_output_lengths(len(w))) for w in waveforms]
        return [stacked[:, i, :length].copy() for i, length in enumerate(lengths)]


def _load(weights: Weights, input_mode: str, device: torch.device) -> _Network:
    from transformers import AutoConfig, AutoFeatureExtractor

    folder = weights.folder
    try:
        config = AutoConfig.from_pretrained(folder)
        extractor = AutoFeatureExtractor.from_pretrained(folder)
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise CannotRun(
            f"{folder} is not a Hugging Face speech encoder: it needs config.json and preprocessor_config.json "
            f"({error})"
        ) from error
    if config.model_type == "whisper":
        return _WhisperNetwork(_whisper(folder, device), extractor, input_mode == "30s", device)
    if input_mode != "own":
        raise UsageError(f"input '30s' is Whisper's; {config.model_type} encoders take input 'own'.")
    if not hasattr(config, "feat_extract_norm"):
        raise CannotRun(
            f"{folder} holds a {config.model_type!r} model; this adapter knows Whisper and the wav2vec 2.0 family "
            "(wav2vec2, hubert, wavlm, unispeech-sat, data2vec-audio). Write an adapter: serbench new adapter NAME"
        )
    return _WaveformNetwork(_pretrained("AutoModel", folder, device), extractor, device)


def _whisper(folder: Any, device: torch.device) -> Any:
    """Load the encoder alone, from a folder that holds the encoder or the whole model."""
    from transformers import AutoConfig

    architectures = AutoConfig.from_pretrained(folder).architectures or []
    if architectures == ["WhisperEncoder"]:
        return _pretrained("WhisperEncoder", folder, device)
    return _pretrained("WhisperModel", folder, device).encoder


def _pretrained(class_name: str, folder: Any, device: torch.device) -> Any:
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    cls = WhisperEncoder if class_name == "WhisperEncoder" else getattr(transformers, class_name)
    try:
        with _no_progress_bar():
            model, report = cls.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise CannotRun(f"The weights in {folder} could not be read: {error}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise CannotRun(
            f"The weights in {folder} lack {len(missing)} tensors, {missing[0]} among them, and would be used with "
            "random values instead. Fetch the whole checkpoint."
        )
    return model.eval().requires_grad_(False).to(device)


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Workers share the terminal with the run's own progress bar."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _layer_indices(layers: Sequence[int] | None, n_states: int) -> tuple[int, ...]:
    if layers is None:
        return tuple(range(n_states))
    if not layers or any(not -n_states <= i < n_states for i in layers):
        raise UsageError(f"layers is {list(layers)}; this encoder has hidden states 0 to {n_states - 1}.")
    return tuple(i % n_states for i in layers)


def _frames(samples: int) -> int:
    return max(1, samples // HOP)


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
