"""How a class of Audio-LLMs writes a conversation as tokens: by the chat template in its folder, or by a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from adapters.audio_lm.requests.questions import AUDIO
from bench.errors import CannotRun, UsageError

Message = Mapping[str, Any]


class ChatWords(Protocol):
    """Writes prompts and answers of one model as tokens."""

    tokenizer: Any
    """What turns text into tokens."""
    audio_token: int
    """Stands once for every row of the tower's output."""
    end: int
    """Ends an answer: what the server stops at."""

    def __init__(self, folder: Path) -> None: ...

    def around_audio(self, asked: Sequence[Message]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the tokens before and after the audio tokens of a conversation that the model is to answer.

        Args:
            asked: messages as the client sends them, with one audio part.

        Raises:
            CannotRun: the model's own template cannot be filled, or shows no single place for audio.
        """
        ...


class TemplateWords:
    """By the chat template of a folder, as the server fills it.

    Args:
        folder: of the model.

    Raises:
        CannotRun: its tokenizer or front end cannot be read.
        UsageError: neither tokenizer nor configuration names the token that ends an answer.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoConfig, AutoProcessor

        try:
            self._processor = AutoProcessor.from_pretrained(folder)
            config = AutoConfig.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise CannotRun(f"{folder}: its tokenizer and front end cannot be read ({error})") from None
        self._folder = folder
        self.tokenizer: Any = self._processor.tokenizer
        self.audio_token = int(config.audio_token_id)
        self.end = _end_token(folder, self.tokenizer, config)

    def around_audio(self, asked: Sequence[Message]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """See :meth:`ChatWords.around_audio`."""
        try:
            # As the server: the front end's template, or else the tokenizer's.
            filled = self._processor if self._processor.chat_template else self.tokenizer
            written = filled.apply_chat_template(
                [_with_sound(message) for message in asked], tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # noqa: BLE001 - a template is a program of the model's owner
            raise CannotRun(f"{self._folder}: its chat template cannot be filled ({error})") from None
        tokens = self.tokenizer(written, add_special_tokens=False)["input_ids"]
        count = tokens.count(self.audio_token)
        if count != 1:
            name = self.tokenizer.convert_ids_to_tokens(self.audio_token)
            raise CannotRun(
                f"{self._folder}: its chat template puts {count} audio tokens {name} where one clip is asked about; expected one"
            )
        place = tokens.index(self.audio_token)
        return tuple(tokens[:place]), tuple(tokens[place + 1 :])


def _with_sound(message: Message) -> Message:
    """The message as templates read it: an audio part names a clip, which nobody opens."""
    if not isinstance(message["content"], list):
        return message
    parts = [{"type": "audio", "audio_url": "clip"} if p["type"] == AUDIO else p for p in message["content"]]
    return {**message, "content": parts}


def _end_token(folder: Path, tokenizer: Any, config: Any) -> int:
    text = getattr(config, "text_config", config)
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else text.eos_token_id
    if end is None:
        raise UsageError(f"{folder}: neither tokenizer nor configuration names the token that ends an answer")
    return int(end[0] if isinstance(end, list) else end)
