"""The hybrid loss: weighted cross-entropy with label smoothing, and 1 − CCC per dimension; missing labels masked out.

L = λ_cat · CE + λ_dim · mean over dimensions of (1 − CCC), λ 1.0 and 0.5, smoothing 0.1 (arXiv 2511.04914, section
on training).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bench.errors import DataError


class HybridTargets(NamedTuple):
    """``categories``: class indices (batch,) or soft labels (batch, classes); ``dimensions``: (batch, 3) in 0..1."""

    categories: Tensor
    dimensions: Tensor


class HybridMasks(NamedTuple):
    """What is known: ``categories`` (batch,) and ``dimensions`` (batch, 3), bool. Masked targets may hold anything.

    ``dimensions`` may be (batch,) where a clip has all three or none.
    """

    categories: Tensor
    dimensions: Tensor


class HybridWeights(NamedTuple):
    """Weights of the loss's terms.

    Args:
        classes: of each class (classes,); None: equal.
        category: λ_cat.
        dimension: λ_dim.
        smoothing: ε of label smoothing, 0 to below 1.
        focal: exponent γ of a focal loss (Lin et al. 2017); 0: cross-entropy.
    """

    classes: Tensor | None = None
    category: float = 1.0
    dimension: float = 0.5
    smoothing: float = 0.1
    focal: float = 0.0


class HybridLoss(NamedTuple):
    """A loss and its unweighted parts.

    Args:
        total: λ_cat · categorical + λ_dim · dimensional.
        categorical: None without a clip to learn from.
        dimensional: None without two clips to learn from.
    """

    total: Tensor
    categorical: Tensor | None
    dimensional: Tensor | None


def hybrid_loss(
    logits: Tensor,
    dimensions: Tensor,
    targets: HybridTargets | tuple[Tensor, Tensor],
    masks: HybridMasks | tuple[Tensor, Tensor] | None = None,
    weights: HybridWeights | None = None,
    memory: ConcordanceMemory | None = None,
) -> HybridLoss:
    """Loss of a batch against what is known of the clips: λ_cat · CE + λ_dim · mean of 1 − CCC (arXiv 2511.04914).

    A batch without categories drops the categorical term; a dimension with fewer than two clips (no variance) drops
    out of the mean. The total of nothing is zero, with a gradient of zero. Answers in half precision are taken in single:
    moments of bf16 numbers have two digits.

    Args:
        logits: (batch, classes).
        dimensions: (batch, 3) in 0..1: valence, arousal, dominance.
        targets: class indices (batch,) or soft labels (batch, classes), and true dimensions (batch, 3).
        masks: which of them are known, (batch,) and (batch, 3) or (batch,); None: all.
        weights: of the classes and of the two terms; None: equal classes, λ_cat 1.0, λ_dim 0.5, smoothing 0.1.
        memory: with one, the CCC is that of the batch and of the steps before it.

    Returns:
        The total, and its parts.

    Raises:
        DataError: a known category that is none of the classes, like the −100 that elsewhere means unknown.

    >>> logits, dimensions = torch.zeros(2, 4), torch.full((2, 3), 0.5)
    >>> targets = HybridTargets(torch.tensor([0, 3]), torch.zeros(2, 3))
    >>> nothing = torch.zeros(2, 3, dtype=torch.bool)
    >>> loss = hybrid_loss(logits, dimensions, targets, HybridMasks(torch.tensor([True, True]), nothing))
    >>> round(float(loss.total), 4), loss.dimensional      # log 4, and no dimension to learn
    (1.3863, None)
    """
    chosen = weights or HybridWeights()
    logits, dimensions = _at_least_single(logits), _at_least_single(dimensions)
    categories, truth = targets
    known_category, known_dimension = (m.bool() for m in masks or _everything(logits, truth))
    if known_dimension.dim() == 1:
        known_dimension = known_dimension[:, None].expand_as(truth)
    categorical = categorical_loss(
        logits, categories, known_category, chosen.classes, chosen.smoothing, chosen.focal
    )
    remembered = (dimensions, truth, known_dimension)
    dimensional = concordance_loss(*(remembered if memory is None else memory.joined(*remembered)))
    if dimensional is not None and memory is not None:
        # Only this batch's share of the moments has a gradient: scaled up to what the whole would give it.
        scale = memory.clips / max(1, len(dimensions))
        dimensional = dimensional.detach() + scale * (dimensional - dimensional.detach())
    total = logits.sum() * 0.0
    if categorical is not None:
        total = total + chosen.category * categorical
    if dimensional is not None:
        total = total + chosen.dimension * dimensional
    return HybridLoss(total, categorical, dimensional)


class ConcordanceMemory:
    """What the last steps predicted, without gradient, so that the CCC of a small batch has moments worth the name.

    ``steps``: how many earlier batches stand beside the present one, which is the whole batch of all devices.
    """

    def __init__(self, steps: int) -> None:
        self._past: deque[tuple[Tensor, ...]] = deque(maxlen=steps)
        self.clips = 0

    def joined(self, predicted: Tensor, truth: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the batch, with its gradient, and behind it what is remembered; then remember the batch.

        Args:
            predicted: (batch, 3).
            truth: (batch, 3).
            known: (batch, 3), bool.

        Returns:
            The same three, (clips, 3).
        """
        others = list(self._past)
        self._past.append((predicted.detach(), truth, known))
        columns = zip((predicted, truth, known), *others, strict=True)
        joined = tuple(torch.cat([t.to(predicted.device) for t in column]) for column in columns)
        self.clips = len(joined[0])
        return joined  # type: ignore[return-value]


def categorical_loss(
    logits: Tensor,
    categories: Tensor,
    known: Tensor,
    class_weights: Tensor | None,
    smoothing: float,
    focal: float = 0.0,
) -> Tensor | None:
    """Class-weighted cross-entropy over the known clips, with smoothed, possibly soft, targets.

    Σᵢ Σ_c w_c t̃ᵢc (1 − pᵢc)^γ (−log pᵢc) / Σᵢ Σ_c w_c tᵢc, where t̃ = (1 − ε) t + ε / C and γ is ``focal`` (Lin et
    al. 2017). For class indices and γ = 0 this is ``torch.nn.functional.cross_entropy(weight=…, label_smoothing=…)``.

    Args:
        logits: (batch, classes).
        categories: class indices (batch,), or soft labels (batch, classes).
        known: (batch,), bool.
        class_weights: (classes,); None: equal.
        smoothing: ε.
        focal: γ.

    Returns:
        A number, or None where no clip with a weight is known.
    """
    soft = _soft(categories[known], logits)
    log_p = logits[known].log_softmax(dim=1)
    classes = logits.shape[1]
    w = logits.new_ones(classes) if class_weights is None else class_weights.to(logits)
    mass = (w * soft).sum()
    if len(soft) == 0 or not bool(mass > 0):
        return None
    smoothed = (1.0 - smoothing) * soft + smoothing / classes
    if focal:
        # Below 1 the power's slope at p = 1 is infinite, and times a gradient of 0 it is NaN. The floor lies below the least
        # difference from 1 that p can have.
        floor = torch.finfo(log_p.dtype).eps / 4 if focal < 1 else 0.0
        smoothed = smoothed * (1.0 - log_p.exp()).clamp(min=floor) ** focal
    return -(w * smoothed * log_p).sum() / mass


def concordance_loss(predicted: Tensor, truth: Tensor, known: Tensor) -> Tensor | None:
    """Mean of 1 − CCC over the dimensions that two or more clips of the batch know.

    CCC = 2 cov / (var + var + (mean − mean)²) with 1/N moments (Lin 1989).

    Args:
        predicted: (clips, dimensions).
        truth: (clips, dimensions).
        known: (clips, dimensions), bool.

    Returns:
        A number, or None where no dimension has two clips.
    """
    terms = [
        1.0 - _concordance(predicted[known[:, d], d], truth[known[:, d], d])
        for d in range(predicted.shape[1])
        if int(known[:, d].sum()) >= 2
    ]
    return torch.stack(terms).mean() if terms else None


def class_weights(labels: Sequence[int | None], classes: int) -> Tensor:
    """Inverse-frequency weights (classes,), mean 1 over the training clips; a class without a clip weighs nothing.

    w_c = N / (C' · N_c) with C' classes present: every class then carries the same mass.

    >>> class_weights([0, 0, 0, 1, None], 3).tolist()
    [0.6666666865348816, 2.0, 0.0]
    """
    counts = torch.bincount(
        torch.tensor([x for x in labels if x is not None], dtype=torch.long), minlength=classes
    )
    present = counts > 0
    shares = counts.sum() / (present.sum().clamp(min=1) * counts.clamp(min=1))
    return torch.where(present, shares, torch.zeros(classes))


def _concordance(x: Tensor, y: Tensor) -> Tensor:
    mean_x, mean_y = x.mean(), y.mean()
    covariance = ((x - mean_x) * (y - mean_y)).mean()
    spread = x.var(unbiased=False) + y.var(unbiased=False) + (mean_x - mean_y).square()
    # Two equal constants have no concordance: the floor gives 0 (loss 1) where the formula gives 0 / 0.
    return 2.0 * covariance / spread.clamp(min=1e-8)


def _soft(categories: Tensor, logits: Tensor) -> Tensor:
    if categories.dim() == 2:
        return categories.to(logits)
    classes = logits.shape[1]
    outside = categories[(categories < 0) | (categories >= classes)]
    if len(outside):
        raise DataError(
            f"a clip's category is {int(outside[0])}, of {classes} classes; expected 0 to {classes - 1}, or a mask that says "
            "that it is unknown"
        )
    return torch.nn.functional.one_hot(categories.long(), classes).to(logits)


def _at_least_single(answers: Tensor) -> Tensor:
    return answers.float() if answers.dtype in (torch.float16, torch.bfloat16) else answers


def _everything(logits: Tensor, truth: Tensor) -> HybridMasks:
    return HybridMasks(
        torch.ones(len(logits), dtype=torch.bool, device=logits.device),
        torch.ones_like(truth, dtype=torch.bool),
    )
