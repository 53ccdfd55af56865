"""From a folder in Hugging Face format to the network in it, or a sentence that says what is wrong with the folder."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from adapters.transformers_encoder.networks import MelNetwork, Network, WaveformNetwork, WhisperNetwork
from bench.errors import CannotRun, UsageError
from bench.protocols import SAMPLE_RATE, Weights

FAMILIES = (
    "wav2vec2", "hubert", "wavlm", "data2vec-audio", "wav2vec2-bert", "wav2vec2-conformer", "unispeech",
    "unispeech-sat", "sew", "sew-d",
)  # fmt: skip
"""``model_type`` of what loads beside Whisper; XLS-R and MMS are wav2vec2."""
UNREADABLE = (
    OSError, ValueError, RuntimeError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError,
    SafetensorError, StrictDataclassError,
)  # fmt: skip
"""What transformers raises at a folder that is cut off, or whose numbers do not fit together."""
MERALION_TENSORS = frozenset({"whisper.encoder.conv1.weight", "emotion_classification_layer.2.weight"})
"""What a MERaLiON-SER folder holds, and no folder that transformers itself reads."""


def load_network(weights: Weights, input_mode: str, device: torch.device, dtype: torch.dtype) -> Network:
    """Load the network of a folder.

    Args:
        weights: the folder, in Hugging Face format.
        input_mode: ``own`` or ``30s``.
        device: where the network runs.
        dtype: precision of its weights, whatever they are stored in.

    Raises:
        CannotRun: the folder holds no encoder that this adapter knows, or its weights are not whole.
        UsageError: ``input_mode`` is not one that this kind of network takes.
    """
    from transformers import AutoConfig, AutoFeatureExtractor

    folder = weights.folder
    _refuse_meralion(folder)
    try:
        config = AutoConfig.from_pretrained(folder)
        extractor = AutoFeatureExtractor.from_pretrained(folder)
    except UNREADABLE as error:
        raise CannotRun(
            f"{folder} is not a Hugging Face speech encoder: it needs config.json and preprocessor_config.json "
            f"({error})"
        ) from error
    require_rate(folder, extractor.sampling_rate)
    if config.model_type == "whisper":
        return WhisperNetwork(_whisper(folder, device, dtype), extractor, input_mode == "30s", device)
    if input_mode != "own":
        raise UsageError(f"input '30s' is Whisper's; {config.model_type} encoders take input 'own'.")
    if config.model_type not in FAMILIES:
        raise CannotRun(
            f"{folder} holds a {config.model_type!r} model; this adapter knows whisper, {', '.join(FAMILIES)}. "
            "Write an adapter: serbench new adapter NAME"
        )
    model = _pretrained("AutoModel", folder, device, dtype)
    network = MelNetwork if config.model_type == "wav2vec2-bert" else WaveformNetwork
    return network(model, extractor, device)


def _refuse_meralion(folder: Path) -> None:
    """Name the adapter that reads a MERaLiON-SER folder: version 0.1.0 read it here, and a user's card may still ask for that."""
    path = folder / "model.safetensors"
    if not path.is_file():
        return
    try:
        with safe_open(path, framework="np") as handle:
            names = set(handle.keys())
    except (SafetensorError, OSError):  # whoever reads the weights says so
        return
    if names >= MERALION_TENSORS:
        raise CannotRun(
            f"{folder} holds a MERaLiON-SER network, whose encoder has an adapter of its own: on the card, write "
            "encoder: adapters.meralion_ser.encoder:MeralionEncoder, with the same params"
        )


def require_rate(folder: Path, rate: int) -> None:
    """Refuse a front end for audio of another rate.

    Raises:
        CannotRun: ``rate`` is not the suite's own.
    """
    if rate != SAMPLE_RATE:
        raise CannotRun(
            f"{folder} hears audio at {rate} Hz; the suite decodes everything at {SAMPLE_RATE} Hz. "
            "Choose weights of that rate, or write an adapter that resamples: serbench new adapter NAME"
        )


def require_whole(class_name: str, folder: Path) -> torch.dtype:
    """Refuse a folder that lacks tensors of a transformers model; return the type its tensors are stored in.

    Names alone are compared, by transformers itself, which knows the older names of tensors; no weights are read.

    Raises:
        CannotRun: tensors are missing, or the folder cannot be read.
    """
    model, report = _read(class_name, folder, device_map="meta")
    _require_tensors(folder, report)
    dtype: torch.dtype = model.dtype
    return dtype


def _whisper(folder: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the encoder alone, from a folder that holds the encoder, the whole model or a classifier on the encoder."""
    from transformers import AutoConfig

    architectures = AutoConfig.from_pretrained(folder).architectures or []
    if architectures == ["WhisperEncoder"]:
        return _pretrained("WhisperEncoder", folder, device, dtype)
    # A classifier has no decoder, and of a whole model only the encoder is used.
    return _pretrained("WhisperModel", folder, device, dtype, needed="encoder.").encoder


def _pretrained(
    class_name: str, folder: Any, device: torch.device, dtype: torch.dtype, needed: str = ""
) -> Any:
    """Load a model whose tensors (those whose names begin with ``needed``) are all in the folder."""
    model, report = _read(class_name, folder, dtype=dtype)
    _require_tensors(folder, report, needed)
    return model.eval().requires_grad_(False).to(device)


def _read(class_name: str, folder: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Read a model with transformers, and its report on what the folder holds.

    From safetensors where there are some; else from ``pytorch_model.bin``, of which torch's ``weights_only`` reader takes
    tensors alone: a pickle that would run code is refused.
    """
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    cls = WhisperEncoder if class_name == "WhisperEncoder" else getattr(transformers, class_name)
    try:
        with _no_words():
            model, report = cls.from_pretrained(
                folder, output_loading_info=True, weights_only=True, ignore_mismatched_sizes=True, **options
            )
    except pickle.UnpicklingError as error:
        raise CannotRun(
            f"The weights in {folder} are a pickle that is cut off or holds more than tensors, and was not read. Fetch them "
            "again, or a model.safetensors in their place."
        ) from error
    except UNREADABLE as error:
        raise CannotRun(f"The weights in {folder} could not be read: {error}") from error
    return model, report


def _require_tensors(folder: Any, report: dict[str, Any], needed: str = "") -> None:
    for name, stored, built in sorted(report["mismatched_keys"]):
        if name.startswith(needed):
            raise CannotRun(
                f"The weights in {folder} do not fit its config.json: {name} is {_shape(stored)} in the file and "
                f"{_shape(built)} by the configuration. Fetch both from one place."
            )
    # A mask embedding is training's alone, and several releases leave it out.
    missing = sorted(
        name
        for name in report["missing_keys"]
        if name.startswith(needed) and not name.endswith("masked_spec_embed")
    )
    if missing:
        raise CannotRun(
            f"The weights in {folder} lack {len(missing)} tensors, {missing[0]} among them, and would be used with "
            "random values instead. Fetch the whole checkpoint."
        )


def _shape(size: Any) -> str:
    return " × ".join(map(str, size)) or "one number"


@contextlib.contextmanager
def _no_words() -> Iterator[None]:
    """Keep transformers quiet: workers share the terminal with the run's progress bar, and what matters is raised."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
