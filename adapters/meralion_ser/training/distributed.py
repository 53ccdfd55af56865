"""Several processes, one batch: each answers its rows, all see the loss of the whole.

Averaging the losses of shares is not the loss of the batch: class weights are normalised, and concordance takes its moments,
over all of its clips. So answers are gathered, each process's own with their gradient and the others' as constants; the
loss is then the same number everywhere, and the sum of the processes' gradients is the gradient of one process.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adapters.meralion_ser.training.batches import TrainingBatch


def share_of(batch: TrainingBatch, accelerator: Any) -> slice:
    """Rows of the batch that this process answers; with fewer clips than processes, the first, to no effect."""
    if accelerator.num_processes == 1:
        return slice(None)
    first, last = _bounds(len(batch.indices), accelerator)[accelerator.process_index]
    return slice(first, last) if last > first else slice(0, 1)


def answers_of_all(own: Tensor, clips: int, accelerator: Any) -> Tensor:
    """Answers of every process, in the batch's order; own rows carry their gradient.

    Args:
        own: this process's answers (own rows, values).
        clips: rows of the whole batch.
        accelerator: Accelerate's view of the processes.

    Returns:
        (clips, values).
    """
    if accelerator.num_processes == 1:
        return own
    bounds = _bounds(clips, accelerator)
    most = max(1, *(last - first for first, last in bounds))
    padded = own.new_zeros(most, own.shape[1])
    padded[: len(own)] = own.detach()
    gathered = accelerator.gather(padded).view(accelerator.num_processes, most, own.shape[1])
    parts = [gathered[p, : last - first] for p, (first, last) in enumerate(bounds)]
    first, last = bounds[accelerator.process_index]
    parts[accelerator.process_index] = own[: last - first]
    # A process without rows takes part in the backward pass all the same, or the others would wait for it.
    return torch.cat(parts) + 0.0 * own.sum()


def agreed(value: float, accelerator: Any) -> float:
    """The first process's value, in all of them: decisions that rest on it cannot differ."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast

    shared: Tensor = broadcast(torch.tensor([value], dtype=torch.float32, device=accelerator.device))
    return float(shared[0])


def _bounds(clips: int, accelerator: Any) -> list[tuple[int, int]]:
    """First and last row of each process, as even as can be."""
    shares = torch.arange(clips).tensor_split(accelerator.num_processes)
    ends = torch.tensor([len(s) for s in shares]).cumsum(0).tolist()
    return [(end - len(s), end) for s, end in zip(shares, ends, strict=True)]
