"""What a model is taught: the words that it will be asked with, and the answer, as tokens.

The prompt is put together as the model's class does it (:mod:`adapters.audio_lm.tuning.wording`) from the message that the client
sends, with one audio token per row of the tower's output: token for token what the server makes of the same request.
"""

from __future__ import annotations

import functools
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapters.audio_lm.requests.prompts import (
    TEXT_SLOT,
    Form,
    PromptText,
    label_word,
    prompt,
    prompt_languages,
    prompts,
    render,
)
from adapters.audio_lm.requests.questions import messages
from adapters.audio_lm.tuning.classes import class_of
from adapters.audio_lm.tuning.recipe import OWN_LANGUAGE, TuningRecipe
from bench.errors import DataError

PAPER = "paper"


@dataclass(frozen=True)
class Lesson:
    """One question with its answer.

    Args:
        prompt: tokens of all that comes before the answer, audio tokens included.
        answer: tokens of the answer, and the one that ends it.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def prompt_for(name: str, language: str) -> PromptText:
    """Return a prompt by its name, or for ``own`` the first one in a language, or the paper's where it has none.

    >>> prompt_for("own", "id").name, prompt_for("own", "de").name, prompt_for("en-2", "id").name
    ('id-0', 'paper', 'en-2')
    """
    if name != OWN_LANGUAGE:
        return prompt(name)
    spoken = language.partition("-")[0]
    return next(iter(prompts(spoken).values())) if spoken in prompt_languages() else prompt(PAPER)


class Teacher:
    """Writes lessons for one model and one task.

    Args:
        folder: of the model: its tokenizer and chat template.
        labels: on offer, in the table's order.
        recipe: which prompts and forms.
        audio_first: whether audio stands before the text, as the client sends it.
        system_prompt: put before the question; None: none.
        template: what the question is wrapped in.

    Raises:
        CannotRun: the folder is of a class that is not known here, or its tokenizer or chat template cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        labels: Sequence[str],
        recipe: TuningRecipe,
        *,
        audio_first: bool = True,
        system_prompt: str | None = None,
        template: str = TEXT_SLOT,
    ) -> None:
        self._folder, self._labels, self._recipe = folder, tuple(labels), recipe
        self._words = class_of(folder).words(folder)
        self._tokenizer: Any = self._words.tokenizer
        self._audio_first, self._system_prompt, self._template = audio_first, system_prompt, template
        self.audio_token: int = self._words.audio_token

    def lesson(self, label: str, language: str, rows: int, rng: np.random.Generator) -> Lesson:
        """Write a lesson with the prompt, the form and the order of the options drawn.

        Args:
            label: the right answer.
            language: of the clip.
            rows: audio tokens of the clip.
            rng: draws.
        """
        name = self._recipe.prompts[int(rng.integers(len(self._recipe.prompts)))]
        form = self._recipe.forms[int(rng.integers(len(self._recipe.forms)))]
        order = tuple(self._labels[i] for i in rng.permutation(len(self._labels)))
        return self.fixed(label, prompt_for(name, language), form, order, rows)

    def judged(self, label: str, language: str, rows: int) -> Lesson:
        """The lesson on which epochs are judged: the first prompt and form, options in the table's order.

        Args:
            label: the right answer.
            language: of the clip.
            rows: audio tokens of the clip.
        """
        first = prompt_for(self._recipe.prompts[0], language)
        return self.fixed(label, first, self._recipe.forms[0], self._labels, rows)

    def fixed(self, label: str, asked: PromptText, form: Form, order: Sequence[str], rows: int) -> Lesson:
        """Write a lesson as it is said.

        Args:
            label: the right answer.
            asked: the wording.
            form: ``plain`` or ``lettered``.
            order: the options as they are shown.
            rows: audio tokens of the clip.
        """
        word = (
            string.ascii_uppercase[list(order).index(label)]
            if form == "lettered"
            else label_word(label, asked)
        )
        return Lesson(self.prompt_tokens(asked, form, tuple(order), rows), self.answer_tokens(word))

    def require_answers(self, languages: Sequence[str]) -> None:
        """Write every label's answer in every prompt, so that one that cannot be said is told before anything is trained.

        Args:
            languages: of the clips.

        Raises:
            DataError: a label without tokens, or with more than the recipe's limit.
            UsageError: a label that has no name in the language of a prompt.
        """
        for name in self._recipe.prompts:
            for language in dict.fromkeys(languages):
                asked = prompt_for(name, language)
                for label in self._labels:
                    self.answer_tokens(label_word(label, asked))

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - a teacher lives as long as its fit
    def answer_tokens(self, word: str) -> tuple[int, ...]:
        """Return the tokens of an answer and of its end.

        Raises:
            DataError: the tokenizer has none for it, or more than the recipe's limit.
        """
        tokens = self._tokenizer(word, add_special_tokens=False)["input_ids"]
        unknown = self._tokenizer.unk_token_id
        if not tokens or (
            unknown is not None and unknown in tokens and self._tokenizer.unk_token not in word
        ):
            raise DataError(
                f"{self._folder}: its tokenizer has no tokens for the answer {word!r}; prompt in another language"
            )
        limit = self._recipe.longest_answer
        if len(tokens) + 1 > limit:
            raise DataError(
                f"the answer {word!r} is {len(tokens)} tokens and its end, and longest_answer is {limit}; raise it, or prompt in "
                "another language"
            )
        return (*tokens, self._words.end)

    def prompt_tokens(
        self, asked: PromptText, form: Form, order: tuple[str, ...], rows: int
    ) -> tuple[int, ...]:
        """Return the tokens before the answer, with ``rows`` audio tokens.

        Args:
            asked: the wording.
            form: ``plain`` or ``lettered``.
            order: the options as they are shown.
            rows: audio tokens of the clip.
        """
        text = render(asked, self._labels, order, form=form).text
        before, after = self._around_audio(text)
        return (*before, *([self.audio_token] * rows), *after)

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - a teacher lives as long as its fit
    def _around_audio(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        asked = messages(
            self._template.replace(TEXT_SLOT, text),
            system=self._system_prompt,
            sounds=1,
            audio_first=self._audio_first,
        )
        return self._words.around_audio(asked)
