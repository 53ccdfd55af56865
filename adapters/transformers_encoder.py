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
padding, and for SEW and data2vec (:func:`mask_safe` says why); the others (``feat_extract_norm: layer``, w2v-BERT 2) are
padded under their attention mask. Running out of memory halves the batch, for good. On the CPU clips go one at a time unless ``batch`` says otherwise, so that stored features do not depend, in their last bits, on which clips were
missing; it costs 0.027 s a clip against 0.021 in batches of 16.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bench.errors import CannotRun, DataError, UsageError, nearest
from bench.protocols import SAMPLE_RATE, Waveform, Weights

HOP = 320
"""Samples per frame of Whisper's encoder and of every wav2vec 2.0 model: 50 frames per second."""
MIN_SAMPLES = 400
"""25 ms: one window of Whisper's log-mel, and the receptive field of one wav2vec 2.0 frame."""
MIN_MEL_SAMPLES = 720
"""45 ms: three windows of w2v-BERT's log-mel; it normalises over them and takes them in pairs."""
WINDOW = 30 * SAMPLE_RATE
"""Longer clips are encoded in windows of 30 s, put end to end."""
FAMILIES = (
    "wav2vec2", "hubert", "wavlm", "data2vec-audio", "wav2vec2-bert", "wav2vec2-conformer", "unispeech",
    "unispeech-sat", "sew", "sew-d",
)  # fmt: skip
"""``model_type`` of what loads beside Whisper; XLS-R and MMS are wav2vec2."""
NEVER_PADDED = ("data2vec-audio", "sew", "sew-d")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
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
    (None: 1 on the CPU, all that are given elsewhere). ``dtype`` (``float32``, ``bfloat16``, ``float16``) is the precision of
    the network, whatever the weights are stored in; hidden states are float32, so pooling is.
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
        self._network = _load(weights, input, torch.device(device), DTYPES[dtype])
        self._wanted = _layer_indices(layers, self._network.n_states)
        if batch is not None and batch < 1:
            raise UsageError(f"batch is {batch}; expected a number of clips from 1 on.")
        self._batch = batch if batch is not None else (1 if device == "cpu" else sys.maxsize)
        self._seconds = float("inf")

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
    """A network of the wav2vec 2.0 kind that nobody trained: weights drawn from ``seed``, sizes from ``config``.

    What the architecture alone gives; needs no download. ``model_type`` and ``config`` are transformers' own.
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
        x = torch.nn.functional.gelu(net.conv1(mel.to(net.conv1.weight.dtype)))
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
    """A wav2vec 2.0 style model: samples in, frames of 20 ms out (SEW: of 40 ms, as its blocks see them)."""

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
        return 0 if self._maskable else max(samples, self._shortest)

    def states(self, waveforms: Sequence[Waveform], wanted: Sequence[int]) -> list[FloatArray]:
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
        values = inputs["input_values"].to(self._model.dtype)
        states = self._model(values, attention_mask=mask, output_hidden_states=True).hidden_states
        stacked = _stack(states, wanted, self._squeeze)
        lengths = [
            max(1, int(self._model._get_feat_extract_output_lengths(len(w))) // self._squeeze)
            for w in waveforms
        ]
        return [stacked[:, i, :length].copy() for i, length in enumerate(lengths)]


class _MelNetwork:
    """w2v-BERT 2: log-mel frames, stacked in pairs and normalised per clip, in; frames of 20 ms out."""

    longest: int | None = WINDOW

    def __init__(self, model: Any, extractor: Any, device: torch.device) -> None:
        self._model = model
        self._extractor = extractor
        self._device = device
        self.n_states = int(model.config.num_hidden_layers) + 1

    def group(self, samples: int) -> int:
        return 0

    def states(self, waveforms: Sequence[Waveform], wanted: Sequence[int]) -> list[FloatArray]:
        padded = [np.pad(w, (0, max(0, MIN_MEL_SAMPLES - len(w)))) for w in waveforms]
        inputs = self._extractor(
            padded, sampling_rate=SAMPLE_RATE, padding=True, return_attention_mask=True, return_tensors="pt"
        ).to(self._device)
        mask = inputs["attention_mask"]
        features = inputs["input_features"].to(self._model.dtype)
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


def _stack(states: Sequence[torch.Tensor], wanted: Sequence[int], squeeze: int = 1) -> FloatArray:
    """(wanted, clips, frames, dims) in float32. SEW stretches its last state again: that is undone."""
    frames = min(state.shape[1] for state in states)
    chosen = [states[i] if states[i].shape[1] == frames else _squeezed(states[i], squeeze) for i in wanted]
    stacked: FloatArray = torch.stack([state[:, :frames].float() for state in chosen]).cpu().numpy()
    return stacked


def _squeezed(state: torch.Tensor, squeeze: int) -> torch.Tensor:
    return torch.nn.functional.avg_pool1d(state.transpose(1, 2), squeeze).transpose(1, 2)


def _load(weights: Weights, input_mode: str, device: torch.device, dtype: torch.dtype) -> _Network:
    from transformers import AutoConfig, AutoFeatureExtractor

    folder = weights.folder
    if _is_released_meralion(folder):
        encoder, extractor = _meralion(folder, device, dtype)
        return _WhisperNetwork(encoder, extractor, input_mode == "30s", device)
    try:
        config = AutoConfig.from_pretrained(folder)
        extractor = AutoFeatureExtractor.from_pretrained(folder)
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise CannotRun(
            f"{folder} is not a Hugging Face speech encoder: it needs config.json and preprocessor_config.json "
            f"({error})"
        ) from error
    if extractor.sampling_rate != SAMPLE_RATE:
        raise CannotRun(
            f"{folder} hears audio at {extractor.sampling_rate} Hz; the suite decodes everything at {SAMPLE_RATE} Hz. "
            "Choose weights of that rate, or write an adapter that resamples: serbench new adapter NAME"
        )
    if config.model_type == "whisper":
        return _WhisperNetwork(_whisper(folder, device, dtype), extractor, input_mode == "30s", device)
    if input_mode != "own":
        raise UsageError(f"input '30s' is Whisper's; {config.model_type} encoders take input 'own'.")
    if config.model_type not in FAMILIES:
        raise CannotRun(
            f"{folder} holds a {config.model_type!r} model; this adapter knows whisper, {', '.join(FAMILIES)}. "
            "Write an adapter: serbench new adapter NAME"
        )
    model = _pretrained("AutoModel", folder, device, dtype)
    network = _MelNetwork if config.model_type == "wav2vec2-bert" else _WaveformNetwork
    return network(model, extractor, device)


def _whisper(folder: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the encoder alone, from a folder that holds the encoder or the whole model."""
    from transformers import AutoConfig

    architectures = AutoConfig.from_pretrained(folder).architectures or []
    if architectures == ["WhisperEncoder"]:
        return _pretrained("WhisperEncoder", folder, device, dtype)
    return _pretrained("WhisperModel", folder, device, dtype).encoder


def _is_released_meralion(folder: Path) -> bool:
    """Whether a folder has the layout of MERaLiON/MERaLiON-SER-v1, told by the names of its tensors."""
    from safetensors import safe_open

    path = folder / "model.safetensors"
    if not path.is_file():
        return False
    with safe_open(path, framework="np") as handle:
        names = set(handle.keys())
    return "whisper.encoder.conv1.weight" in names and "emotion_classification_layer.2.weight" in names


def _meralion(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """Take the Whisper encoder (LoRA merged) out of a released checkpoint, with Whisper's own log-mel."""
    from transformers import WhisperFeatureExtractor

    from adapters.meralion_ser import MeralionSer

    encoder = MeralionSer.from_released(folder).whisper.encoder
    window = int(encoder.config.max_source_positions) * HOP // SAMPLE_RATE
    extractor = WhisperFeatureExtractor(
        feature_size=int(encoder.config.num_mel_bins), chunk_length=max(1, window)
    )
    return encoder.eval().requires_grad_(False).to(device=device, dtype=dtype), extractor


def _pretrained(class_name: str, folder: Any, device: torch.device, dtype: torch.dtype) -> Any:
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    cls = WhisperEncoder if class_name == "WhisperEncoder" else getattr(transformers, class_name)
    try:
        with _no_progress_bar():
            model, report = cls.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise CannotRun(f"The weights in {folder} could not be read: {error}") from error
    # A mask embedding is training's alone, and several releases leave it out.
    missing = sorted(name for name in report["missing_keys"] if not name.endswith("masked_spec_embed"))
    if missing:
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
