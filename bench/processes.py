"""Several processes of one command, as torchrun starts them: who speaks, who waits, on which device each works."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

_PATIENCE = timedelta(hours=24)
"""The others wait this long while the first process encodes a corpus; NCCL would give up after ten minutes."""


def several() -> bool:
    """Whether a launcher started this process as one of several.

    >>> several()
    False
    """
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process is the one that prints and writes."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Meet the other processes, where there are any; yields the device of this one, and parts when the work is done."""
    if not several():
        yield device
        return
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
    # Accelerate numbers even the CPU.
    yield device if state.device.type == "cpu" else str(state.device)
    state.wait_for_everyone()
    torch.distributed.destroy_process_group()
    PartialState._reset_state()


@contextmanager
def first_goes_ahead() -> Iterator[None]:
    """Let the first process do what is inside, and the others after it, when its files lie there."""
    if not several():
        yield
        return
    from accelerate import PartialState

    with PartialState().main_process_first():
        yield
