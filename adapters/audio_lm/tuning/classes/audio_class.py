"""What the suite must know of a class of Audio-LLMs to train it and to have it served: one object per class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from adapters.audio_lm.tuning.wording import ChatWords


@dataclass(frozen=True)
class AudioClass:
    """A class of Audio-LLMs: a Whisper-like tower, a projector, a language model.

    Args:
        model_type: in the folder's ``config.json``.
        title: for sentences.
        network: its class in transformers.
        width: values per row that the projector reads, from the configuration.
        rows_per_second: audio tokens of a second.
        window_rows: audio tokens of a whole window of 30 s.
        whole_windows: whether a clip takes the tokens of whole windows, however short it is.
        words: how its prompts are put together.
        lora_served: whether vLLM's class loads LoRA beside it; otherwise it is served merged.
        projector_tensors: parameters of the projector in transformers → how their names end in the files that servers load.
        served_files: patterns of files of weights that a server must find.
        text_prefix: before names of the language model's layers, as vLLM's class names them.
    """

    model_type: str
    title: str
    network: str
    width: Callable[[Any], int]
    rows_per_second: float
    window_rows: int
    words: type[ChatWords]
    whole_windows: bool = False
    lora_served: bool = False
    projector_tensors: Mapping[str, tuple[str, ...]] | None = None
    served_files: str = "*.safetensors"
    text_prefix: str = "language_model.model."

    def rows(self, seconds: float) -> float:
        """Audio tokens of a clip of so many seconds, about; of one longer than a window, those of a window."""
        return (
            float(self.window_rows)
            if self.whole_windows
            else min(self.window_rows, self.rows_per_second * seconds)
        )

    def load(self, folder: Any, dtype: torch.dtype | Literal["auto"]) -> tuple[Any, Mapping[str, Any]]:
        """Load the network from a folder; return it and transformers' report of what was missing."""
        import transformers

        made = getattr(transformers, self.network)
        model, report = made.from_pretrained(folder, dtype=dtype, output_loading_info=True)
        return model, report
