"""Training: stages of epochs, two parameter groups, cosine with warm-up, checkpoints kept for averaging.

Devices, mixed precision, several processes and logs are Accelerate's work; one process in single precision gives the
bytes of a plain loop. Several processes draw the same batches, answer a share of each, and take the loss of the whole
batch: their gradient is that of one process (:mod:`adapters.meralion_ser.training.distributed`).
"""

from __future__ import annotations

import math
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapters.meralion_ser.network.model import MeralionSerOutput
from adapters.meralion_ser.training.augmentation import MixUp
from adapters.meralion_ser.training.batches import LabelledFrames, TrainingBatch, epoch_batches, whole
from adapters.meralion_ser.training.distributed import agreed, answers_of_all, share_of
from adapters.meralion_ser.training.losses import (
    ConcordanceMemory,
    HybridWeights,
    categorical_loss,
    concordance_loss,
    hybrid_loss,
)
from adapters.meralion_ser.training.recipe import Recipe
from adapters.meralion_ser.training.session import (
    EpochCheckpoint,
    State,
    TrainingSession,
    resume_session,
    save_session,
)
from bench.errors import DataError

Forward = Callable[[nn.Module, Tensor, Tensor | None], MeralionSerOutput]
"""The network, frames (batch, frames, dims) and lengths (batch,) or None, to the network's answer."""

SECONDS_AT_RISK = 5.0
"""Epochs that follow each other faster are kept together: a kill then costs these seconds at most."""


@dataclass(frozen=True)
class Stage:
    """Epochs in which some parameters learn.

    Args:
        epochs: how many.
        train: clips that are learnt from.
        dev: clips that epochs are chosen on; None: no choice.
        forward: how their frames go through the network.
        parameters: groups, each with its learning rate and weight decay.
        longest: clips are cropped to so many of the frames that they have in this stage.
    """

    epochs: int
    train: LabelledFrames
    dev: LabelledFrames | None
    forward: Forward
    parameters: Sequence[tuple[Sequence[nn.Parameter], float, float]]
    longest: int


@dataclass(frozen=True)
class TrainingRun:
    """One training: the network, its stages in order, and what surrounds them.

    Args:
        model: the network, on its device.
        stages: one after the other.
        recipe: how to train.
        weights: of the classes and of the terms of the loss.
        classes: number of categories.
        device: as torch names it.
        folder: checkpoints and logs go here.
        fingerprint: names the fit; a checkpoint of another is not gone on from.
        progress: told the epochs done and all epochs, after each.
        log: one of Accelerate's trackers (``tensorboard``, ``wandb``), whose files go below ``folder``.
    """

    model: nn.Module
    stages: Sequence[Stage]
    recipe: Recipe
    weights: HybridWeights
    classes: int
    device: str
    folder: Path
    fingerprint: str
    progress: Callable[[float, float], None]
    log: str | None = None


def train(run: TrainingRun, session: TrainingSession) -> TrainingSession:
    """Train all stages, from wherever the run's folder says that it stopped. Uses torch's global random state."""
    accelerator = accelerator_for(run)
    found = resume_session(run.folder, run.fingerprint, session)
    resumed = None
    if found is not None:
        _load(run.model, found[0])
        resumed = found[1]
    total = sum(stage.epochs for stage in run.stages)
    kept_at = -math.inf
    while session.stage < len(run.stages):
        stage = run.stages[session.stage]
        optimiser = _optimiser(stage)
        if resumed is not None:
            optimiser.load_state_dict(resumed)
            resumed = None
        network, optimiser = accelerator.prepare(run.model, optimiser)
        # In mixed precision Accelerate puts a forward of its own into the model, and leaves it there: epochs would be judged
        # and clips answered in bf16. The step has its own autocast.
        accelerator.unwrap_model(network, keep_fp32_wrapper=False)
        while not _finished(stage, run.recipe, session):
            _epoch(run, stage, accelerator, network, optimiser, session)
            _keep(run, stage, accelerator, session)
            run.progress(session.epoch, total)
            if accelerator.is_main_process and time.monotonic() - kept_at > SECONDS_AT_RISK:
                kept_at = time.monotonic()
                plain = getattr(optimiser, "optimizer", optimiser).state_dict()
                save_session(run.folder, run.fingerprint, session, trained(run.model), plain)
            _log(accelerator, run, session)
        if accelerator.num_processes > 1:
            # Two wrappers of one network would both wait for its gradients.
            network, optimiser = accelerator.free_memory(network, optimiser)
        _next_stage(run, stage, session)
    accelerator.end_training()
    accelerator.free_memory()
    return session


def accelerator_for(run: TrainingRun) -> Any:
    """Return Accelerate's view of the machine: the run's device, or one of several processes under its launcher."""
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    # One process may train several models after another, each in its own precision and on its own device.
    AcceleratorState._reset_state(reset_partial_state=True)
    with _environment("ACCELERATE_TORCH_DEVICE", None if "WORLD_SIZE" in os.environ else run.device):
        accelerator = Accelerator(
            mixed_precision=run.recipe.precision,
            cpu=run.device == "cpu",
            log_with=run.log,
            project_dir=str(run.folder) if run.log else None,
            # The dimensions' head learns nothing from a batch without dimensions.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
    if run.log:
        accelerator.init_trackers(
            "serbench", config={k: v for k, v in asdict(run.recipe).items() if v is not None}
        )
    return accelerator


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before


def _log(accelerator: Any, run: TrainingRun, session: TrainingSession) -> None:
    if run.log:
        curves = {"training loss": session.losses[-1]}
        if session.dev_losses:
            curves["dev loss"] = session.dev_losses[-1]
        accelerator.log(curves, step=session.epoch)


def trained(model: nn.Module) -> State:
    """Return a copy of the parameters that learn, on the CPU."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


def load_checkpoint(model: nn.Module, checkpoint: EpochCheckpoint) -> None:
    """Put one epoch's weights into the network."""
    _load(model, checkpoint.state)


def learning_rate_share(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then half a cosine to 0.

    Args:
        step: counted from 0.
        steps: all of them.
        warmup: share of the steps in which the rate rises, 0..1.

    >>> [round(learning_rate_share(s, 10, 0.2), 2) for s in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _epoch(
    run: TrainingRun,
    stage: Stage,
    accelerator: Any,
    network: nn.Module,
    optimiser: Any,
    session: TrainingSession,
) -> None:
    recipe = run.recipe
    memory = ConcordanceMemory(recipe.concordance_steps) if recipe.concordance_steps else None
    if accelerator.num_processes > 1:
        # Each process drops out its own units, and a fit gone on with has the dropout of one that was never stopped.
        key = f"{run.fingerprint} {session.epoch} {accelerator.process_index}"
        torch.manual_seed(zlib.crc32(key.encode()))
    mixup = MixUp(recipe.mixup, recipe.mixup_alpha)
    per_epoch = math.ceil(len(stage.train) / recipe.batch)
    run.model.train()
    losses = []
    drawn = epoch_batches(stage.train, recipe.batch, stage.longest, session.rng, recipe.sampling)
    for step, whole_batch in enumerate(drawn):
        share = learning_rate_share(
            session.epochs_in_stage * per_epoch + step, stage.epochs * per_epoch, recipe.warmup
        )
        for group, (_, peak, _) in zip(optimiser.param_groups, stage.parameters, strict=True):
            group["lr"] = share * peak
        batch = mixup(whole_batch, run.classes, session.rng)
        losses.append(_step(run, stage, batch, accelerator, network, optimiser, memory))
    session.losses.append(sum(losses) / len(losses))
    session.epoch += 1
    session.epochs_in_stage += 1


def _step(
    run: TrainingRun,
    stage: Stage,
    batch: TrainingBatch,
    accelerator: Any,
    network: nn.Module,
    optimiser: Any,
    memory: ConcordanceMemory | None,
) -> float:
    batch = batch.to(accelerator.device)
    own = share_of(batch, accelerator)
    with accelerator.autocast():
        answer = stage.forward(
            network, batch.frames[own], None if batch.lengths is None else batch.lengths[own]
        )
    logits, dimensions = (
        answers_of_all(x.float(), len(batch.indices), accelerator) for x in (answer.logits, answer.dimensions)
    )
    loss = hybrid_loss(logits, dimensions, batch.targets, batch.masks, run.weights, memory)
    value = float(loss.total.detach())
    if not math.isfinite(value):
        names = ", ".join(stage.train.ids[i] for i in batch.indices)
        raise DataError(
            f"the training loss became {value} on the clips {names}; look at their audio and labels, "
            "or lower head_lr and lora_lr"
        )
    optimiser.zero_grad(set_to_none=True)
    # Gradients are averaged over processes, and each holds its own rows' part of the whole.
    accelerator.backward(loss.total * accelerator.num_processes)
    optimiser.step()
    return value


def _keep(run: TrainingRun, stage: Stage, accelerator: Any, session: TrainingSession) -> None:
    """Keep the last epochs; or, with a dev set, the best."""
    average = run.recipe.average
    if stage.dev is None:
        session.checkpoints = [
            *session.checkpoints,
            EpochCheckpoint(session.epoch, None, trained(run.model)),
        ][-average:]
        return
    loss = agreed(_dev_loss(run, stage, stage.dev), accelerator)
    better = all(loss < earlier for earlier in session.dev_losses)
    session.stalled = 0 if better else session.stalled + 1
    session.dev_losses.append(loss)
    candidates = [*session.checkpoints, EpochCheckpoint(session.epoch, loss, trained(run.model))]
    session.checkpoints = sorted(candidates, key=lambda k: (math.inf if k.loss is None else k.loss, k.epoch))[
        :average
    ]


def _dev_loss(run: TrainingRun, stage: Stage, dev: LabelledFrames) -> float:
    """Categorical loss of the dev clips, pooled, without smoothing; of clips without categories, 1 − CCC.

    The dev clips come without the labels that the loss does not train on (:mod:`adapters.meralion_ser.training.targets`).
    """
    run.model.eval()
    with torch.inference_mode():
        answers = [
            stage.forward(run.model, whole(dev, i, stage.longest).frames.to(_device(run.model)), None)
            for i in range(len(dev))
        ]
    logits = torch.cat([a.logits for a in answers]).cpu()
    dimensions = torch.cat([a.dimensions for a in answers]).cpu()
    sound = torch.isfinite(logits).all(dim=1) & torch.isfinite(dimensions).all(dim=1)
    if not bool(sound.all()):
        names = ", ".join(name for name, fine in zip(dev.ids, sound.tolist(), strict=True) if not fine)
        raise DataError(
            f"the network's answers are no numbers on the dev clips {names}; look at their audio, "
            "or lower head_lr and lora_lr"
        )
    loss = categorical_loss(logits, dev.categories, dev.categories >= 0, run.weights.classes, 0.0)
    if loss is None:
        loss = concordance_loss(dimensions, dev.dimensions, ~torch.isnan(dev.dimensions))
    return math.inf if loss is None else float(loss)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _finished(stage: Stage, recipe: Recipe, session: TrainingSession) -> bool:
    stopped_early = stage.dev is not None and session.stalled >= recipe.patience
    return session.epochs_in_stage >= stage.epochs or stopped_early


def _next_stage(run: TrainingRun, stage: Stage, session: TrainingSession) -> None:
    """Go on to the next stage; with a dev set, from the best epoch so far."""
    session.stage, session.epochs_in_stage, session.stalled = session.stage + 1, 0, 0
    if stage.dev is not None and session.stage < len(run.stages):
        load_checkpoint(run.model, session.checkpoints[0])


def _optimiser(stage: Stage) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        [{"params": list(params), "lr": lr, "weight_decay": decay} for params, lr, decay in stage.parameters],
        fused=True,  # 1 ms a step where the loop over tensors takes 6, of 65–105 in all
    )


def _load(model: nn.Module, state: State) -> None:
    wanted = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in state.items():
            wanted[name].copy_(tensor)
