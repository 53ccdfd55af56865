"""How an Audio-LLM is trained: the settings of a card's ``tuning``, their defaults and what they may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from adapters.audio_lm.requests.prompts import prompt
from adapters.meralion_ser.settings import (
    Amount,
    CheckedSettings,
    FalseIsNo,
    FromOne,
    FromZero,
    Rate,
    Share,
    ShareBelowOne,
    Switch,
    split_settings,
)
from bench.errors import UsageError

OWN_LANGUAGE = "own"
"""In place of a prompt's name: the first wording in the clip's language, or the paper's where there is none."""

Names = Annotated[tuple[str, ...], Field(min_length=1, description="a list of names")]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TuningRecipe(CheckedSettings):
    """Supervised fine-tuning: the audio tower frozen, the projector and LoRA on the language model trained.

    Args:
        epochs: at most; 0: nothing is trained, and the model answers as it was put together or published.
        batch: clips per update.
        projector_lr: peak learning rate of the projector; 0: it stays as it is.
        projector_decay: its weight decay.
        lora_lr: peak learning rate of LoRA.
        lora_decay: its weight decay.
        lora_rank: of LoRA; 0: none.
        lora_alpha: its scale is ``lora_alpha / lora_rank``.
        lora_dropout: on the input of the low-rank path, 0 to below 1.
        lora_targets: names of the linear layers of the language model that get it.
        warmup: share of the updates in which rates rise, 0..1; then half a cosine to 0.
        clip_norm: gradients are scaled down to this norm; 0: never.
        standardise: whether the projector reads the tower's output standardised on the training clips (folded into its
            weights afterwards): for a projector that starts from nothing.
        projector_start: ``as_is``, or ``answers``: a projector of one linear layer begins at the ridge regression from clips to the
            embeddings of their answers (:mod:`adapters.audio_lm.tuning.projector_start`).
        class_weights: whether clips weigh by the inverse frequency of their class.
        sampling: ``all`` takes each clip once an epoch, ``class`` as many, drawn evenly over classes.
        prompts: wordings that are taught, drawn anew for every clip and epoch; ``own``: that of the clip's language.
        forms: ``plain`` (the answer is the label's name), ``lettered`` (its letter), or both, drawn likewise.
        longest_answer: tokens of an answer, its end included.
        dev: ``select`` (keep the epoch with the best loss on the dev speakers, stop after ``patience`` without a better one)
            or ``train`` (learn from them too, keep the last).
        patience: see ``dev``.
        precision: ``no`` (float32) or ``bf16``: of the language model's frozen weights and of the arithmetic; what learns is float32.
        checkpointing: whether blocks are computed again in the backward pass, which saves memory.

    Raises:
        UsageError: values that are none, or that leave nothing to train.
    """

    epochs: FromZero = 5
    batch: FromOne = 8
    projector_lr: Amount = 1e-3
    projector_decay: Amount = 0.0
    lora_lr: Rate = 2e-4
    lora_decay: Amount = 0.0
    lora_rank: FromZero = 16
    lora_alpha: Rate = 32.0
    lora_dropout: ShareBelowOne = 0.05
    lora_targets: Names = ("q_proj", "k_proj", "v_proj", "o_proj")
    warmup: Share = 0.1
    clip_norm: Amount = 1.0
    standardise: Switch = False
    projector_start: Literal["as_is", "answers"] = "as_is"
    class_weights: Switch = True
    sampling: Literal["all", "class"] = "all"
    prompts: Names = (OWN_LANGUAGE,)
    forms: Annotated[tuple[Literal["plain", "lettered"], ...], Field(min_length=1)] = ("plain",)
    longest_answer: FromOne = 16
    dev: Literal["select", "train"] = "select"
    patience: FromOne = 2
    precision: Annotated[Literal["no", "bf16"], FalseIsNo] = "no"
    checkpointing: Switch = False

    @property
    def frugal(self) -> bool:
        """Whether LoRA can be added to the frozen weights before the product: without dropout on its own path."""
        return not self.lora_dropout

    def __post_init__(self) -> None:
        if self.epochs and not self.projector_lr and not self.lora_rank:
            raise UsageError(
                "projector_lr and lora_rank are both 0, and nothing would be learnt; raise one of them"
            )
        if not set(self.forms) <= {"plain", "lettered"}:
            raise UsageError(f"forms is {list(self.forms)}; use plain, lettered or both")
        for name in self.prompts:
            if name != OWN_LANGUAGE:
                prompt(name)


def recipe_of(settings: Mapping[str, Any]) -> TuningRecipe:
    """Read a card's ``tuning``.

    Raises:
        UsageError: settings that do not exist or break their rules, all of them in one message.
    """
    try:
        recipe: TuningRecipe
        (recipe,) = split_settings(settings, TuningRecipe)
    except UsageError as error:
        raise UsageError(f"tuning: {error}") from None
    return recipe
