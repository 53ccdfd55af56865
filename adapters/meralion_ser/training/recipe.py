"""How to train: the settings of a recipe, their defaults and what they may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from adapters.meralion_ser.network.architecture import Architecture
from adapters.meralion_ser.settings import (
    Amount,
    CheckedSettings,
    FalseIsNo,
    FolderPath,
    FromOne,
    FromZero,
    Rate,
    Share,
    ShareBelowOne,
    Switch,
    split_settings,
)
from bench.errors import UsageError

SEEDS = 2**64
"""Torch takes seeds below this."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe(CheckedSettings):
    """How to train. Learning rates, decays, warm-up, loss weights and MixUp default to the paper's (arXiv 2511.04914).

    Args:
        epochs: train the head on frozen frames; 0: head and LoRA learn together from the start, as in the paper.
        lora_epochs: then train head and LoRA together.
        batch: clips per step.
        head_lr: peak learning rate of the head.
        head_decay: its weight decay.
        lora_lr: peak learning rate of LoRA.
        lora_decay: its weight decay.
        second_stage: the head learns at ``head_lr · second_stage`` beside LoRA.
        warmup: share of the steps in which rates rise, 0..1.
        category_weight: λ_cat of the loss.
        dimension_weight: λ_dim of the loss.
        label_smoothing: ε, 0 to below 1.
        balanced: whether classes weigh by their inverse frequency.
        mixup: share of the batches that are mixed (Zhang et al. 2018), 0..1.
        mixup_alpha: of their Beta distribution.
        crop_seconds: length of random crops, at most.
        dev: ``select`` (keep the ``average`` best epochs by dev categorical loss, or by 1 − CCC where no category is trained,
            stop after ``patience`` epochs without a better one) or ``train`` (learn from dev too, keep the last ``average``
            epochs).
        patience: see ``dev``.
        average: see ``dev``.
        focal: exponent of a focal loss (0: cross-entropy).
        soft_labels: whether listeners' votes are learnt from where there are any.
        concordance_steps: how many earlier batches the CCC term remembers.
        sampling: ``class`` or ``source`` draws clips evenly over classes or over pools of recordings, ``all`` takes each once
            an epoch.
        views: further takes of each clip (speed, noise), which stand in for it in some epochs.
        noise_folder: where their noise is from; None: made here.
        precision: ``no``, ``bf16`` or ``fp16``, which saves memory.
        checkpointing: whether blocks are computed again in the backward pass, which saves memory too.
        match_dimensions: whether predicted dimensions are moved and scaled so that on the training clips they have the mean
            and the variance of the truth.

    Raises:
        UsageError: values that are none, or that leave nothing to train.
    """

    epochs: FromZero = 15
    lora_epochs: FromZero = 0
    batch: FromOne = 32
    head_lr: Rate = 6e-4
    head_decay: Amount = 8e-5
    lora_lr: Rate = 5e-5
    lora_decay: Amount = 4e-5
    second_stage: Amount = 1.0
    warmup: Share = 0.08
    category_weight: Amount = 1.0
    dimension_weight: Amount = 0.5
    label_smoothing: ShareBelowOne = 0.1
    balanced: Switch = True
    mixup: Share = 0.5
    mixup_alpha: Amount = 0.3
    crop_seconds: Rate = 30.0
    dev: Literal["select", "train"] = "select"
    patience: FromOne = 5
    average: FromOne = 4
    focal: Amount = 0.0
    soft_labels: Switch = False
    concordance_steps: FromZero = 0
    sampling: Literal["all", "class", "source"] = "all"
    views: FromZero = 0
    noise_folder: FolderPath | None = None
    precision: Annotated[Literal["no", "bf16", "fp16"], FalseIsNo] = "no"
    checkpointing: Switch = False
    match_dimensions: Switch = False

    def __post_init__(self) -> None:
        if self.epochs + self.lora_epochs < 1:
            raise UsageError("epochs and lora_epochs are both 0; their sum must be at least 1")
        if self.category_weight == 0 and self.dimension_weight == 0:
            raise UsageError(
                "category_weight and dimension_weight are both 0, and nothing would be learnt; raise one of them"
            )


def check_seed(seed: int) -> None:
    """Raise :class:`UsageError` for a seed that numpy or torch would not take."""
    if not 0 <= seed < SEEDS:
        raise UsageError(f"seed is {seed}; expected a whole number from 0 to 2^64 − 1")


def settled(encoder: str, settings: Mapping[str, Any]) -> tuple[Architecture, Recipe]:
    """Tell a card's flat settings apart: the network's and the recipe's.

    Raises:
        UsageError: settings that do not exist or break their rules, all of them in one message; or that contradict
            each other.
    """
    chosen: Architecture
    recipe: Recipe
    chosen, recipe = split_settings({"encoder": encoder, **settings}, Architecture, Recipe)
    if bool(chosen.lora_rank) != bool(recipe.lora_epochs):
        raise UsageError("lora_rank and lora_epochs go together: both above 0, or both 0")
    if recipe.checkpointing and not chosen.has_blocks:
        raise UsageError(
            f"checkpointing recomputes the encoder's blocks, and with encoder {encoder!r} the network has none; leave it out"
        )
    return chosen, recipe
