"""What heads minimise: cross-entropy for categories, 1 − CCC for dimensions (Lin, 1989; population moments)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy; ``weights`` (heads, labels) weigh the classes, or None."""

    labels: Tensor
    n_outputs: int
    weights: Tensor | None = None

    def losses(self, scores: Tensor, rows: Tensor, heads: Tensor) -> Tensor:
        """Mean (or weighted mean) cross-entropy of each head's minibatch.

        Args:
            scores: (heads, clips, outputs).
            rows: (heads, clips) rows of the labels.
            heads: (heads,) numbers of the trials.

        Returns:
            (heads,).
        """
        target = self.labels[rows]
        each = -torch.log_softmax(scores, dim=-1).gather(-1, target[..., None])[..., 0]
        if self.weights is None:
            return each.mean(dim=1)
        weight = self.weights[heads].gather(1, target)
        return (each * weight).sum(dim=1) / weight.sum(dim=1)

    def val_loss(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Mean cross-entropy on the validation clips; the mean of the classes' means when classes are weighed."""
        target = self.labels[rows]
        log_probabilities = torch.log_softmax(scores.double(), dim=-1)
        each = -log_probabilities.gather(-1, target.expand(len(scores), -1)[..., None])[..., 0]
        if self.weights is None:
            return each.mean(dim=1)
        return torch.stack([each[:, target == code].mean(dim=1) for code in torch.unique(target)]).mean(dim=0)


@dataclass(frozen=True)
class CccLoss:
    """Mean over the dimensions of 1 − CCC, on sigmoid outputs; ``values`` (clips, 3), NaN where unknown."""

    values: Tensor
    n_outputs: int = 3

    def losses(self, scores: Tensor, rows: Tensor, heads: Tensor) -> Tensor:
        """1 − CCC within each head's minibatch, a dimension with fewer than two known clips left out.

        Args:
            scores: (heads, clips, outputs).
            rows: (heads, clips) rows of the labels.
            heads: (heads,) numbers of the trials.

        Returns:
            (heads,).
        """
        return _one_minus_ccc(torch.sigmoid(scores), self.values[rows])

    def val_loss(self, scores: Tensor, rows: Tensor) -> Tensor:
        """1 − CCC over all validation clips, mean of the dimensions."""
        truth = self.values[rows].double().expand(len(scores), -1, -1)
        return _one_minus_ccc(torch.sigmoid(scores.double()), truth)


def _one_minus_ccc(answer: Tensor, truth: Tensor) -> Tensor:
    """(heads, clips, dimensions) twice → (heads,): mean over dimensions of 1 − CCC, with 1/N moments."""
    known = torch.isfinite(truth)
    count = known.sum(dim=1).clamp(min=1)
    x = torch.where(known, answer, 0.0)
    y = torch.where(known, truth, 0.0)
    mean_x, mean_y = x.sum(dim=1) / count, y.sum(dim=1) / count
    dx = torch.where(known, answer - mean_x[:, None], 0.0)
    dy = torch.where(known, y - mean_y[:, None], 0.0)
    spread = ((dx**2).sum(dim=1) + (dy**2).sum(dim=1)) / count + (mean_x - mean_y) ** 2
    # Lin (1989); the floor only matters where neither side varies, and then the covariance is 0.
    concordance = 2.0 * (dx * dy).sum(dim=1) / count / spread.clamp(min=1e-12)
    usable = (known.sum(dim=1) >= 2).to(answer.dtype)
    return ((1.0 - concordance) * usable).sum(dim=1) / usable.sum(dim=1).clamp(min=1.0)
