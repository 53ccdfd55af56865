"""The classes of Audio-LLMs that can be tuned: a module each, found by the ``model_type`` of a folder's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters.audio_lm.tuning.classes.audio_class import AudioClass
from adapters.audio_lm.tuning.classes.audio_flamingo_3 import AUDIO_FLAMINGO_3
from adapters.audio_lm.tuning.classes.qwen2_audio import QWEN2_AUDIO
from adapters.audio_lm.tuning.classes.voxtral import VOXTRAL
from bench.errors import CannotRun, UsageError

CLASSES = {x.model_type: x for x in (QWEN2_AUDIO, VOXTRAL, AUDIO_FLAMINGO_3)}
"""By ``model_type``."""


def class_of(folder: Path) -> AudioClass:
    """Return the class of a model's folder.

    Raises:
        CannotRun: no configuration that transformers reads, or a class that is not known here.
    """
    return _known(configuration(folder).model_type, folder)


def class_named(model_type: str) -> AudioClass:
    """Return a class by its ``model_type``, before weights are at hand.

    Raises:
        UsageError: it is not known here.
    """
    if model_type not in CLASSES:
        raise UsageError(f"model_type is {model_type!r}; tuned here: {', '.join(CLASSES)}")
    return CLASSES[model_type]


def configuration(folder: Path) -> Any:
    """Read a folder's configuration.

    Raises:
        CannotRun: transformers cannot.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise CannotRun(f"{folder}: holds no configuration that transformers reads ({error})") from None


def _known(model_type: str, folder: Path) -> AudioClass:
    if model_type not in CLASSES:
        raise CannotRun(f"{folder} holds a {model_type!r} model; tuned here: {', '.join(CLASSES)}")
    return CLASSES[model_type]


__all__ = ["CLASSES", "AudioClass", "class_named", "class_of", "configuration"]
