"""One training on several devices: Accelerate's view of them, and what the processes must tell one another.

Every process draws the same batches and learns from its part of each. Gradients are averaged over processes; so that the
average is the gradient of the whole batch's loss, the cross-entropy is weighed by the process's share of the class
weights, and the CCC is that of all processes' clips.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.meralion_ser.batches import Batch
from adapters.meralion_ser.losses import ConcordanceMemory, HybridWeights, category_mass
from bench.errors import CannotRun
from bench.identity import hash_json
from bench.processes import several


def accelerator_for(
    device: str, precision: str, log: str | None, folder: Path, config: Mapping[str, Any]
) -> Any:
    """Return Accelerate's view of the machine: the device, or one of several processes under its launcher.

    Raises :class:`CannotRun` where the package of the tracker ``log`` is not installed.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    # One process may train several models after another, each in its own precision and on its own device.
    AcceleratorState._reset_state(reset_partial_state=True)
    if log:
        _tracker_at_hand(log)
    with _environment("ACCELERATE_TORCH_DEVICE", None if several() else device):
        accelerator = Accelerator(
            mixed_precision=precision,
            cpu=device == "cpu",
            log_with=log,
            project_dir=str(folder) if log else None,
            # The dimensions' head learns nothing from a batch without dimensions.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
    if log:
        accelerator.init_trackers("serbench", config={k: v for k, v in config.items() if v is not None})
    return accelerator


def memory_for(steps: int, accelerator: Any) -> ConcordanceMemory | None:
    """What the CCC term sees beyond this process's batch: the other processes' clips and ``steps`` earlier batches.

    None when there is neither.
    """
    processes = accelerator.num_processes
    if processes == 1:
        return ConcordanceMemory(steps) if steps else None

    def elsewhere(rows: Tensor) -> Tensor:
        # Padding is of rows whose labels are masked.
        everywhere = accelerator.gather(accelerator.pad_across_processes(rows.float(), dim=0, pad_index=0))
        share = len(everywhere) // processes
        own = accelerator.process_index * share
        return torch.cat([everywhere[:own], everywhere[own + share :]]).to(rows.dtype)

    return ConcordanceMemory(steps, elsewhere, processes)


def weighed(weights: HybridWeights, logits: Tensor, batch: Batch, accelerator: Any) -> HybridWeights:
    """Return the weights with which the mean over processes of their losses is the loss of the whole batch."""
    if accelerator.num_processes == 1:
        return weights
    mass = category_mass(logits, batch.targets.categories, batch.masks.categories, weights.classes).reshape(1)
    total = accelerator.gather(mass).sum()
    share = float(accelerator.num_processes * mass / total) if bool(total > 0) else 1.0
    return weights._replace(category=weights.category * share)


def from_all(value: Any, accelerator: Any) -> list[Any]:
    """Return what every process says, in order of the processes."""
    from accelerate.utils import gather_object

    return [value] if accelerator.num_processes == 1 else list(gather_object([value]))


def from_first(value: Any, accelerator: Any) -> Any:
    """Return what the first process says."""
    from accelerate.utils import broadcast_object_list

    return value if accelerator.num_processes == 1 else broadcast_object_list([value])[0]


def agree_where_to_go_on(epoch: int, folder: Path, accelerator: Any) -> None:
    """Raise :class:`CannotRun` when the processes found different checkpoints."""
    epochs = from_all(epoch, accelerator)
    if len(set(epochs)) > 1:
        raise CannotRun(
            f"the processes found checkpoints of epochs {', '.join(map(str, epochs))} in {folder}; "
            "put --out on a folder that all of them share"
        )


def dropout_of_its_own(fingerprint: str, epoch: int, accelerator: Any) -> None:
    """Give each process its own dropout, the same when the epoch is done again; one process keeps its stream."""
    if accelerator.num_processes > 1:
        torch.manual_seed(int(hash_json([fingerprint, epoch, accelerator.process_index])[:12], 16))


def _tracker_at_hand(log: str) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS
    from accelerate.utils import is_tensorboard_available, is_wandb_available

    packages = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}
    if log not in LOGGER_TYPE_TO_CLASS:
        raise CannotRun(f"log is {log!r}, which is no tracker of Accelerate; use tensorboard or wandb")
    if log in packages and not packages[log]():
        raise CannotRun(
            f"log is {log!r}, and the package {log} is not installed: pip install 'ser-bench[train]', or leave log out"
        )


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    kept = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None:
            if kept is None:
                del os.environ[name]
            else:
                os.environ[name] = kept
