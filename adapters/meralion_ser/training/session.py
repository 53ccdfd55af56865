"""The state of a running training, written after every epoch, so that a killed fit goes on where it was."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.storage.atomic import replacing

_FILE = "training.pt"

State = dict[str, Tensor]


@dataclass(frozen=True)
class EpochCheckpoint:
    """Trained weights of one epoch, kept for averaging.

    Args:
        epoch: its number, over all stages.
        loss: the dev loss that it was kept for; None when the last epochs are kept.
        state: trained weights by name.
    """

    epoch: int
    loss: float | None
    state: State


@dataclass
class TrainingSession:
    """Where a training stands: epochs done, over all stages, and everything that the next one depends on.

    Args:
        rng: of batches, crops and mixtures.
        epoch: epochs done, over all stages.
        stage: index of the present one.
        epochs_in_stage: epochs done in it.
        stalled: epochs since the best.
        losses: training loss of each epoch.
        dev_losses: dev loss of each epoch, where there is a choice.
        checkpoints: epochs that are kept, the best first.
    """

    rng: np.random.Generator
    epoch: int = 0
    stage: int = 0
    epochs_in_stage: int = 0
    stalled: int = 0
    losses: list[float] = field(default_factory=list)
    dev_losses: list[float] = field(default_factory=list)
    checkpoints: list[EpochCheckpoint] = field(default_factory=list)


def save_session(
    folder: Path, fingerprint: str, session: TrainingSession, weights: State, optimiser: dict[str, Any]
) -> None:
    """Write the session atomically.

    Args:
        folder: where.
        fingerprint: names the fit that may go on from it.
        session: where the training stands.
        weights: the trained weights as they are now.
        optimiser: the optimiser's state.
    """
    state = {
        "fingerprint": fingerprint,
        "rng": json.dumps(session.rng.bit_generator.state),
        "torch_rng": torch.get_rng_state(),
        "counters": [session.epoch, session.stage, session.epochs_in_stage, session.stalled],
        "losses": session.losses,
        "dev_losses": session.dev_losses,
        "kept": [(c.epoch, c.loss, c.state) for c in session.checkpoints],
        "weights": weights,
        "optimiser": optimiser,
    }
    with replacing(folder / _FILE) as temporary:
        torch.save(state, temporary)


def resume_session(
    folder: Path, fingerprint: str, session: TrainingSession
) -> tuple[State, dict[str, Any]] | None:
    """Bring a session to where the fit of this fingerprint stopped.

    The file is read as plain tensors and numbers: a checkpoint cannot run code.

    Args:
        folder: where it was written.
        fingerprint: names the fit.
        session: is changed.

    Returns:
        Its weights and optimiser state; None, and the session untouched, when the folder holds no such fit.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    state = torch.load(path, weights_only=True, map_location="cpu")
    if state["fingerprint"] != fingerprint:
        return None
    session.rng.bit_generator.state = json.loads(state["rng"])
    torch.set_rng_state(state["torch_rng"])
    session.epoch, session.stage, session.epochs_in_stage, session.stalled = state["counters"]
    session.losses, session.dev_losses = state["losses"], state["dev_losses"]
    session.checkpoints = [EpochCheckpoint(*fields) for fields in state["kept"]]
    return state["weights"], state["optimiser"]
