"""Mistral's conversations as tokens: its folders hold a tokenizer (``tekken.json``) and no chat template.

A turn is ``<s>[INST]…[/INST]`` with ``[BEGIN_AUDIO][AUDIO]…`` where the clip stands: the format v7 of the package mistral-common,
which vLLM writes with. Each part of a message is tokenized by itself, and marks in a text are plain letters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters.audio_lm.requests.questions import AUDIO
from adapters.audio_lm.tuning.wording import Message
from bench.errors import CannotRun

FILE, VERSION = "tekken.json", "v7"
START, END = "<s>", "</s>"
BEFORE_TURN, AFTER_TURN = "[INST]", "[/INST]"
BEFORE_AUDIO, AUDIO_MARK = "[BEGIN_AUDIO]", "[AUDIO]"


class TekkenWords:
    """By the ``tekken.json`` of a folder. A :class:`~adapters.audio_lm.tuning.wording.ChatWords`.

    Args:
        folder: of the model.

    Raises:
        CannotRun: no such file, one of another version, or without a mark that a turn needs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        known = _read(folder / FILE)
        if (version := known["config"].get("version")) != VERSION:
            raise CannotRun(
                f"{folder / FILE}: writes conversations in the format {version}, and {VERSION} is what is known here"
            )
        self.tokenizer: Any = _tokenizer(folder)
        marks = (START, END, BEFORE_TURN, AFTER_TURN, BEFORE_AUDIO, AUDIO_MARK)
        lacking = [mark for mark in marks if mark not in self.tokenizer.get_vocab()]
        if lacking:
            raise CannotRun(
                f"{folder / FILE}: lacks the tokens {', '.join(lacking)}, without which a clip cannot be asked about"
            )
        self.audio_token, self.end = self._mark(AUDIO_MARK), self._mark(END)

    def around_audio(self, asked: Sequence[Message]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """See :meth:`~adapters.audio_lm.tuning.wording.ChatWords.around_audio`."""
        if any(message["role"] != "user" for message in asked):
            raise CannotRun(
                f"{self._folder}: Mistral's format {VERSION} takes no system prompt beside audio; leave system_prompt out"
            )
        tokens = [self._mark(START)]
        for message in asked:
            tokens.append(self._mark(BEFORE_TURN))
            for part in message["content"]:
                tokens += self._part(part)
            tokens.append(self._mark(AFTER_TURN))
        place = tokens.index(self.audio_token)
        return tuple(tokens[:place]), tuple(tokens[place + 1 :])

    def _part(self, part: Message) -> list[int]:
        if part["type"] == AUDIO:
            return [self._mark(BEFORE_AUDIO), self.audio_token]
        found: list[int] = self.tokenizer(part["text"], add_special_tokens=False)["input_ids"]
        return found

    def _mark(self, mark: str) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(mark))


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        known["config"].get("version")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CannotRun(
            f"{path}: cannot be read as Mistral's tokenizer ({type(error).__name__}: {error}); copy the whole repository of the weights"
        ) from None
    return dict(known)


def _tokenizer(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, mistral_format=False)
    tokenizer.split_special_tokens = True  # as Mistral does: a mark in a text is no mark
    return tokenizer
