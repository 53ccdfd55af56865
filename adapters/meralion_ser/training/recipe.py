"""How to train: the settings of a recipe, their defaults and what they may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.meralion_ser.network import architecture
from adapters.meralion_ser.network.architecture import Architecture
from adapters.meralion_ser.network.rules import (
    Number,
    OneOf,
    OrNull,
    Rule,
    Switch,
    Text,
    Whole,
    broken,
    refuse,
    settle,
)
from bench.errors import UsageError, nearest

PRECISIONS = ("no", "bf16", "fp16")
SAMPLINGS = ("all", "class", "source")
DEV_USES = ("select", "train")
SEEDS = 2**64
"""Torch takes seeds below this."""

_RATE, _AMOUNT, _SHARE = Number(0.0, least_too=False), Number(0.0), Number(0.0, 1.0)
RULES: Mapping[str, Rule] = {
    "epochs": Whole(0),
    "lora_epochs": Whole(0),
    "batch": Whole(1),
    "head_lr": _RATE,
    "head_decay": _AMOUNT,
    "lora_lr": _RATE,
    "lora_decay": _AMOUNT,
    "second_stage": _AMOUNT,
    "warmup": _SHARE,
    "category_weight": _AMOUNT,
    "dimension_weight": _AMOUNT,
    "label_smoothing": Number(0.0, 1.0, most_too=False),
    "balanced": Switch(),
    "mixup": _SHARE,
    "mixup_alpha": _AMOUNT,
    "crop_seconds": Number(0.0, least_too=False),
    "dev": OneOf(DEV_USES),
    "patience": Whole(1),
    "average": Whole(1),
    "focal": _AMOUNT,
    "soft_labels": Switch(),
    "concordance_steps": Whole(0),
    "sampling": OneOf(SAMPLINGS),
    "views": Whole(0),
    "noise_folder": OrNull(Text("the path of a folder")),
    "precision": OneOf(PRECISIONS, off="no"),
    "checkpointing": Switch(),
    "match_dimensions": Switch(),
}


@dataclass(frozen=True)
class Recipe:
    """How to train. Learning rates, decays, warm-up, loss weights and MixUp default to the paper's (arXiv 2511.04914).

    ``epochs`` train the head on frozen frames; ``lora_epochs`` then train head and LoRA together, the head at
    ``head_lr · second_stage``; with ``epochs`` 0 both learn together from the start, as in the paper. ``dev`` is
    ``select`` (keep the ``average`` best epochs by dev categorical loss, or by 1 − CCC where no category is trained, stop
    after ``patience`` epochs without a better one) or ``train`` (learn from dev too, keep the last ``average`` epochs).

    ``focal`` is the exponent of a focal loss (0: cross-entropy), ``soft_labels`` learns from listeners' votes where there
    are any, ``concordance_steps`` is how many earlier batches the CCC term remembers. ``sampling`` draws clips evenly over
    classes or over sources (pools of recordings), ``all`` takes each once an epoch. ``views`` further takes of each clip
    (speed, noise; ``noise_folder``) stand in for it in some epochs. ``precision`` and ``checkpointing`` (recompute blocks
    in the backward pass) save memory. ``match_dimensions`` moves and scales the predicted dimensions so that on the
    training clips they have the mean and the variance of the truth.
    """

    epochs: int = 15
    lora_epochs: int = 0
    batch: int = 32
    head_lr: float = 6e-4
    head_decay: float = 8e-5
    lora_lr: float = 5e-5
    lora_decay: float = 4e-5
    second_stage: float = 1.0
    warmup: float = 0.08
    category_weight: float = 1.0
    dimension_weight: float = 0.5
    label_smoothing: float = 0.1
    balanced: bool = True
    mixup: float = 0.5
    mixup_alpha: float = 0.3
    crop_seconds: float = 30.0
    dev: str = "select"
    patience: int = 5
    average: int = 4
    focal: float = 0.0
    soft_labels: bool = False
    concordance_steps: int = 0
    sampling: str = "all"
    views: int = 0
    noise_folder: str | None = None
    precision: str = "no"
    checkpointing: bool = False
    match_dimensions: bool = False

    def __post_init__(self) -> None:
        settle(self, RULES)
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
    given = {"encoder": encoder, **settings}
    fields = {kind: [f.name for f in dataclasses.fields(kind)] for kind in (Architecture, Recipe)}
    known = [name for names in fields.values() for name in names]
    unknown = [f"no parameter {name!r}; {nearest(name, known)}" for name in settings if name not in known]
    refuse([*unknown, *broken(given, architecture.RULES), *broken(given, RULES)])
    chosen = Architecture(**{name: given[name] for name in fields[Architecture] if name in given})
    recipe = Recipe(**{name: given[name] for name in fields[Recipe] if name in given})
    if bool(chosen.lora_rank) != bool(recipe.lora_epochs):
        raise UsageError("lora_rank and lora_epochs go together: both above 0, or both 0")
    if recipe.checkpointing and not chosen.has_blocks:
        raise UsageError(
            f"checkpointing recomputes the encoder's blocks, and with encoder {encoder!r} the network has none; leave it out"
        )
    return chosen, recipe
