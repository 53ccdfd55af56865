"""Several processes, one training: each reads its share of a batch's lessons, and gradients are added up.

A lesson's loss counts with its clip's weight over the weights of the whole batch, so the sum of the processes' gradients is the
gradient of one process. All draw the same lessons from the same seed and take the same steps; the first alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """The processes that a launcher (torchrun) started, seen from one of them.

    Args:
        index: of this one, from 0.
        count: of all.
    """

    index: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one speaks and writes."""
        return self.index == 0

    def share(self, items: int) -> slice:
        """Places of a batch that this process reads, as even as can be; may be none."""
        bounds = [items * i // self.count for i in range(self.count + 1)]
        return slice(bounds[self.index], bounds[self.index + 1])

    def added(self, values: Sequence[float], device: str) -> list[float]:
        """Return numbers added up over all processes.

        Args:
            values: of this one; as many in each.
            device: of the computation.
        """
        if self.count == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(together)
        return [float(x) for x in together]

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Give every parameter the sum of the processes' gradients; one without a gradient counts as zero."""
        if self.count == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        together = torch.cat([g.flatten() for g in gradients])
        torch.distributed.all_reduce(together)
        start = 0
        for p in parameters:
            p.grad = together[start : start + p.numel()].view_as(p)
            start += p.numel()

    def wait(self) -> None:
        """Go on when all are here."""
        if self.count > 1:
            torch.distributed.barrier()


ALONE = Processes()
"""One process, which does all."""


def launched_count() -> int:
    """How many processes the launcher that started this one says there are; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched(device: str) -> Processes:
    """Return the processes of this training: one, or those of the launcher that started this one.

    Args:
        device: ``cpu`` or ``cuda…``, for how they talk to each other.
    """
    if launched_count() == 1:
        return ALONE
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu")
    return Processes(int(state.process_index), int(state.num_processes))


def own_device(device: str) -> str:
    """Return the device of this process: under a launcher, the GPU of its number on this machine."""
    if not device.startswith("cuda") or launched_count() == 1:
        return device
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
