"""The hybrid loss against the library, an independent CCC, and finite differences; MixUp's bookkeeping."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from adapters.meralion_ser import hybrid_loss
from adapters.meralion_ser.training.augmentation import MixUp
from adapters.meralion_ser.training.batches import TrainingBatch
from adapters.meralion_ser.training.losses import HybridMasks, HybridTargets, HybridWeights, class_weights
from bench.errors import DataError

CLIPS, CLASSES = 6, 4


def a_batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, HybridTargets, HybridMasks]:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(CLIPS, CLASSES, generator=g, dtype=torch.float64)
    dimensions = torch.rand(CLIPS, 3, generator=g, dtype=torch.float64)
    targets = HybridTargets(
        torch.randint(0, CLASSES, (CLIPS,), generator=g),
        torch.rand(CLIPS, 3, generator=g, dtype=torch.float64),
    )
    masks = HybridMasks(torch.ones(CLIPS, dtype=torch.bool), torch.ones(CLIPS, 3, dtype=torch.bool))
    return logits, dimensions, targets, masks


def lin_ccc(x: np.ndarray, y: np.ndarray) -> float:
    """Lin (1989), from Pearson's r: an independent route to the same number."""
    r, sx, sy = np.corrcoef(x, y)[0, 1], x.std(), y.std()
    return float(2 * r * sx * sy / (sx**2 + sy**2 + (x.mean() - y.mean()) ** 2))


def test_total_is_the_papers_sum_of_weighted_terms() -> None:
    logits, dimensions, targets, masks = a_batch()
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    loss = hybrid_loss(logits, dimensions, targets, masks, HybridWeights(weights))
    ce = F.cross_entropy(logits, targets.categories, weight=weights, label_smoothing=0.1)
    ccc = np.mean([lin_ccc(dimensions[:, d].numpy(), targets.dimensions[:, d].numpy()) for d in range(3)])
    assert loss.categorical is not None
    assert loss.dimensional is not None
    assert float(loss.categorical) == pytest.approx(float(ce), abs=1e-12)
    assert float(loss.dimensional) == pytest.approx(1 - ccc, abs=1e-12)
    assert float(loss.total) == pytest.approx(float(ce) + 0.5 * (1 - ccc), abs=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    logits, dimensions, targets, masks = a_batch(1)
    masks.categories[2], masks.dimensions[0, 1] = False, False
    targets.dimensions[0, 1] = torch.nan
    weights = HybridWeights(torch.tensor([0.5, 1.0, 2.0, 0.0], dtype=torch.float64))

    def total(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return hybrid_loss(a, b, targets, masks, weights).total

    assert torch.autograd.gradcheck(total, (logits.requires_grad_(), dimensions.requires_grad_()))


def test_masked_labels_change_nothing_whatever_they_hold() -> None:
    logits, dimensions, targets, masks = a_batch()
    masks.categories[0], masks.dimensions[1, 2] = False, False
    first = hybrid_loss(logits, dimensions, targets, masks)
    targets.categories[0], targets.dimensions[1, 2] = -100, torch.nan
    again = hybrid_loss(logits, dimensions, targets, masks)
    assert torch.equal(first.total, again.total)
    rest = F.cross_entropy(logits[1:], targets.categories[1:], label_smoothing=0.1)
    assert float(again.categorical or 0.0) == pytest.approx(float(rest), abs=1e-12)


def test_a_term_without_clips_is_dropped_and_not_imputed() -> None:
    logits, dimensions, targets, masks = a_batch()
    masks.dimensions[1:] = False  # one clip alone has no variance
    loss = hybrid_loss(logits, dimensions, targets, masks)
    assert loss.dimensional is None
    assert loss.categorical is not None
    assert torch.equal(loss.total, loss.categorical)
    masks.categories[:] = False
    nothing = hybrid_loss(logits.requires_grad_(), dimensions, targets, masks)
    nothing.total.backward()  # type: ignore[no-untyped-call]
    assert nothing.total.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_constant_answer_has_a_finite_gradient() -> None:
    logits, _, targets, masks = a_batch()
    constant = torch.full((CLIPS, 3), 0.5, dtype=torch.float64, requires_grad=True)
    targets.dimensions[:, 0] = 0.5
    loss = hybrid_loss(logits, constant, targets, masks)
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert loss.dimensional is not None
    assert loss.dimensional.item() == pytest.approx(1.0)
    assert constant.grad is not None
    assert torch.isfinite(constant.grad).all()


def test_soft_targets_agree_with_indices_and_average_between_them() -> None:
    logits, dimensions, targets, masks = a_batch()
    weights = HybridWeights(torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64))
    soft = F.one_hot(targets.categories, CLASSES).double()
    hard = hybrid_loss(logits, dimensions, targets, masks, weights)
    same = hybrid_loss(logits, dimensions, (soft, targets.dimensions), masks, weights)
    assert float(same.total) == pytest.approx(float(hard.total), abs=1e-12)
    one = HybridMasks(torch.tensor([True] + [False] * 5), torch.zeros(CLIPS, 3, dtype=torch.bool))
    flat = torch.full((CLIPS, CLASSES), 0.25, dtype=torch.float64)
    mixed = hybrid_loss(logits, dimensions, (flat, targets.dimensions), one).total
    each = [
        hybrid_loss(
            logits, dimensions, (F.one_hot(torch.full((CLIPS,), c), CLASSES), targets.dimensions), one
        ).total
        for c in range(CLASSES)
    ]
    assert float(mixed) == pytest.approx(float(torch.stack(each).mean()), abs=1e-12)


def test_class_weights_balance_the_classes_of_the_fold() -> None:
    labels = [0] * 6 + [1] * 3 + [3, None]
    weights = class_weights(labels, 4)
    mass = [float(weights[c]) * labels.count(c) for c in range(4)]
    assert mass == pytest.approx([10 / 3, 10 / 3, 0, 10 / 3])


def labelled_batch(lengths: torch.Tensor | None = None) -> TrainingBatch:
    g = torch.Generator().manual_seed(3)
    dimensions = torch.rand(4, 3, generator=g)
    dimensions[1, 0] = torch.nan
    return TrainingBatch(
        (0, 1, 2, 3),
        torch.randn(4, 5, 2, generator=g),
        lengths,
        HybridTargets(torch.tensor([0, 1, 2, -1]), dimensions),
        HybridMasks(torch.tensor([True, True, True, False]), ~torch.isnan(dimensions)),
    )


def test_mixup_mixes_labels_dimensions_and_masks_as_it_mixes_frames() -> None:
    batch = labelled_batch(torch.tensor([5, 2, 3, 4]))
    mixed = MixUp(probability=1.0, alpha=0.3)(batch, 3, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    rng.random()
    share, partner = rng.beta(0.3, 0.3), rng.permutation(4)
    assert 0.0 < share < 1.0
    assert mixed.lengths is not None
    soft = F.one_hot(batch.targets.categories.clamp(min=0), 3).float()
    for i, j in enumerate(partner):
        torch.testing.assert_close(mixed.frames[i], share * batch.frames[i] + (1 - share) * batch.frames[j])
        torch.testing.assert_close(mixed.targets.categories[i], share * soft[i] + (1 - share) * soft[j])
        assert int(mixed.lengths[i]) == max([5, 2, 3, 4][i], [5, 2, 3, 4][j])
        assert bool(mixed.masks.categories[i]) == (3 not in (i, j))
        assert bool(mixed.masks.dimensions[i, 0]) == (1 not in (i, j))
        if mixed.masks.dimensions[i, 0]:
            expected = share * batch.targets.dimensions[i, 0] + (1 - share) * batch.targets.dimensions[j, 0]
            torch.testing.assert_close(mixed.targets.dimensions[i, 0], expected)


def test_mixup_leaves_its_share_of_batches_alone() -> None:
    batch, rng = labelled_batch(), np.random.default_rng(0)
    untouched = sum(MixUp(probability=0.3)(batch, 3, rng) is batch for _ in range(500))
    assert 300 < untouched < 400
    assert MixUp(probability=0.0)(batch, 3, rng) is batch


def test_half_precision_answers_are_judged_in_single() -> None:
    """Of answers within 0.1 of each other, moments taken in bf16 would be noise."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(32, CLASSES, generator=g).bfloat16()
    dimensions = (0.45 + 0.1 * torch.rand(32, 3, generator=g)).bfloat16()
    targets = HybridTargets(torch.randint(0, CLASSES, (32,), generator=g), torch.rand(32, 3, generator=g))
    half = hybrid_loss(logits, dimensions, targets)
    single = hybrid_loss(logits.float(), dimensions.float(), targets)
    assert [float(part) for part in half if part is not None] == [
        float(part) for part in single if part is not None
    ]


@pytest.mark.parametrize("index", [-1, -100, CLASSES])
def test_a_known_category_that_is_no_class_is_refused_and_an_unknown_one_may_be_any(index: int) -> None:
    """Not taken for the nearest class, which would be learnt without a word."""
    logits, dimensions, targets, masks = a_batch()
    targets.categories[2] = index
    with pytest.raises(DataError, match=f"a clip's category is {index}, of 4 classes"):
        hybrid_loss(logits, dimensions, targets)
    masks.categories[2] = False
    assert torch.isfinite(hybrid_loss(logits, dimensions, targets, masks).total)


def test_masks_and_indices_come_as_numbers_of_any_kind_and_clips_as_wholes() -> None:
    logits, dimensions, targets, masks = a_batch()
    masks.categories[1], masks.dimensions[4] = False, False
    expected = hybrid_loss(logits, dimensions, targets, masks).total
    numbers = HybridTargets(targets.categories.int(), targets.dimensions)
    by_clip = (masks.categories.float(), masks.dimensions.all(dim=1).int())
    assert torch.equal(hybrid_loss(logits, dimensions, numbers, by_clip).total, expected)
