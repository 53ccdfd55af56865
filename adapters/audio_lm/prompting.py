"""How one task is put to one model: what its questions, and the reading of their replies, have in common."""

from __future__ import annotations

import functools
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adapters.audio_lm.dimensions import Scale, digits
from adapters.audio_lm.requests.option_orders import option_orders
from adapters.audio_lm.requests.prompts import PromptText, label_word
from adapters.audio_lm.requests.questions import Variant
from adapters.audio_lm.settings import Settings
from bench.protocols import FitContext

LETTERS = string.ascii_uppercase


@dataclass(frozen=True)
class Prompting:
    """One task and one model: the settings, the labels, and every variant in which a clip is asked about.

    Args:
        settings: the card's parameters.
        prompts: the wordings, by name.
        labels: canonical names on offer, in the table's order.
        orders: the labels as each order of options shows them.
        scale: lowest and highest rating of the dimensions; None: they are not asked.
        tokens: the model's token ids of letters, digits or label words, where the mode needs them.
    """

    settings: Settings
    prompts: Mapping[str, PromptText]
    labels: Sequence[str]
    orders: Sequence[tuple[str, ...]]
    scale: Scale | None
    tokens: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, prompts: Mapping[str, PromptText], context: FitContext) -> Prompting:
        """Put the task of a context as the card says.

        Args:
            settings: the card's parameters.
            prompts: the wordings that they name.
            context: labels on offer, whether the task has dimensions, and the seed of the options' orders.
        """
        orders = option_orders(context.labels, settings.orders, seed=context.seed)
        scale = settings.dimensions if context.dimensions else None
        return cls(settings, prompts, context.labels, orders, scale)

    @functools.cached_property
    def variants(self) -> list[Variant]:
        """Every prompt in every order, as often as it is repeated."""
        return [
            Variant(name, order, repeat)
            for name in self.settings.prompts
            for order in range(len(self.orders))
            for repeat in range(self.settings.repeats)
        ]

    @property
    def scored_labels(self) -> Sequence[str]:
        """Labels that are asked about one by one; the empty one where all are on offer in one question."""
        return self.labels if self.settings.mode == "likelihood-sum" else ("",)

    def tokenised_texts(self) -> list[str]:
        """Answers whose tokens the mode needs: letters or label words, and the digits of the scale."""
        match self.settings.mode:
            case "likelihood":
                texts = list(LETTERS[: len(self.labels)])
            case "likelihood-sum":
                texts = sorted({label_word(x, p) for x in self.labels for p in self.prompts.values()})
            case _:
                return []
        return texts + (digits(self.scale) if self.scale else [])

    def must_be_one_token(self, text: str) -> bool:
        """Whether the mode compares this answer by its first token alone: a letter, or a digit of the scale."""
        return text in {*LETTERS, *digits(self.scale or (0, 0))}
