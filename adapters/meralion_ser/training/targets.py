"""What the loss can train, of all that the network answers: it depends on the recipe and on the training clips' labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from adapters.meralion_ser.training.batches import LabelledFrames, has_labels
from adapters.meralion_ser.training.recipe import Recipe
from bench.errors import DataError, UsageError
from bench.protocols import DIMENSIONS

FEWEST = 2
"""Ratings, and not the same ones, that a concordance needs: one clip, or one value for all, has no variance."""


@dataclass(frozen=True)
class TrainableTargets:
    """Which answers have training labels that the loss can use.

    With ``dimension_weight`` 0 dimensions are answered all the same, by an output that nothing was asked of:
    ``meralion-ser-dimensions-categories-only`` is there to show what that is worth.

    Args:
        categories: whether their term has a weight and a clip.
        dimensions: of valence, arousal and dominance, whether two clips or more are rated, not all alike, and may meet in a
            batch (or in what ``concordance_steps`` remembers): the concordance with a constant is 0 whatever is answered, and
            teaches nothing.
        judged_dimensions: whether that term has a weight too.
    """

    categories: bool
    dimensions: tuple[bool, ...]
    judged_dimensions: bool

    @classmethod
    def of(cls, clips: LabelledFrames, recipe: Recipe) -> TrainableTargets:
        """Look at what is known of the training clips.

        Raises:
            DataError: no label that the loss could learn from.
            UsageError: batches too small for the only term that is trained.
        """
        if not has_labels(clips):
            raise DataError("no training clip carries a category or a dimension: there is nothing to learn")
        named = bool((clips.categories >= 0).any())
        if clips.soft is not None:
            named = named or bool((~torch.isnan(clips.soft).any(dim=1)).any())
        different = [len(d[~torch.isnan(d)].unique()) for d in clips.dimensions.T]
        meet = recipe.batch >= FEWEST or recipe.concordance_steps > 0
        found = cls(
            recipe.category_weight > 0 and named,
            tuple(meet and count >= FEWEST for count in different),
            recipe.dimension_weight > 0,
        )
        if not found.categories and not (found.judged_dimensions and any(found.dimensions)):
            raise _nothing(recipe, max(different), meet)
        return found

    def answered(self) -> list[str]:
        """Names of the dimensions that are answered."""
        return [name for name, learnt in zip(DIMENSIONS, self.dimensions, strict=True) if learnt]

    def unanswered(self) -> list[str]:
        """Names of the dimensions that are not, since nothing was learnt of them."""
        return [name for name, learnt in zip(DIMENSIONS, self.dimensions, strict=True) if not learnt]

    def judging(self, dev: LabelledFrames) -> LabelledFrames | None:
        """Return the dev clips with the labels that the loss trains on, by which epochs are judged; None without any."""
        trained = torch.tensor(self.dimensions) & self.judged_dimensions
        dimensions = torch.where(trained, dev.dimensions, torch.nan)
        categories = dev.categories if self.categories else torch.full_like(dev.categories, -1)
        rated = (~torch.isnan(dimensions)).sum(dim=0)
        if not bool((categories >= 0).any()) and not bool((rated >= FEWEST).any()):
            return None
        return replace(dev, categories=categories, dimensions=dimensions)


def _nothing(recipe: Recipe, different: int, meet: bool) -> DataError | UsageError:
    """Say why nothing could be learnt, though some label is there."""
    if different == 0:
        return DataError(
            "category_weight is 0 and no training clip carries a dimension: raise category_weight"
        )
    if recipe.dimension_weight == 0:
        return DataError(
            "dimension_weight is 0 and no training clip carries a category: raise dimension_weight"
        )
    if not meet:
        return UsageError(
            "batch is 1 and only dimensions are trained, by a concordance that one clip does not have: "
            "set batch to 2 or more, or concordance_steps to 1 or more"
        )
    return DataError(
        "only dimensions are trained, and none has two different values among the training clips, which a concordance needs: "
        "give more clips with dimensions"
    )
