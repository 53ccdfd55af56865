"""Training: epochs of lessons drawn anew, one loss per clip, the best epoch kept, a killed fit gone on with."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adapters.audio_lm.tuning.budget import Products, epoch_products, products_per_second, seconds_of
from adapters.audio_lm.tuning.lessons import Lesson, Teacher
from adapters.audio_lm.tuning.network import LessonBatch, TunedNetwork
from adapters.audio_lm.tuning.processes import ALONE, Processes
from adapters.audio_lm.tuning.recipe import TuningRecipe
from adapters.meralion_ser.training.session import (
    EpochCheckpoint,
    TrainingSession,
    resume_session,
    save_session,
)
from bench.errors import DataError

BATCHES_SORTED = 8
"""Batches whose clips are put together by length, so that little is padded; their order is drawn."""


@dataclass(frozen=True)
class TaughtClips:
    """Clips that are learnt from or judged on.

    Args:
        ids: of the clips.
        labels: of each, one of those on offer.
        languages: of each.
        rows: the tower's output of each (audio tokens, width).
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    languages: tuple[str, ...]
    rows: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class TuningRun:
    """One training.

    Args:
        network: what learns.
        teacher: writes the lessons.
        recipe: how.
        train: clips that are learnt from.
        dev: clips that epochs are judged on; None: no choice.
        device: where the network runs.
        folder: of the checkpoint.
        fingerprint: names the fit; a checkpoint of another is not gone on from.
        progress: told the epochs done, in fractions, and all epochs.
        processes: that share the batches.
    """

    network: TunedNetwork
    teacher: Teacher
    recipe: TuningRecipe
    train: TaughtClips
    dev: TaughtClips | None
    device: str
    folder: Path
    fingerprint: str
    progress: Callable[[float, float], None]
    processes: Processes = ALONE


def tune(run: TuningRun, seed: int) -> TrainingSession:
    """Train from wherever the run's folder says that it stopped; leave the kept epoch in the network.

    Uses torch's global random state.

    Args:
        run: the network, its lessons, and what surrounds them.
        seed: of every draw.

    Raises:
        DataError: a loss that is no number; the clips are named.
    """
    recipe, network = run.recipe, run.network
    session = TrainingSession(np.random.default_rng(seed))
    if not recipe.epochs:
        return session
    optimiser = torch.optim.AdamW(network.groups())
    found = resume_session(run.folder, run.fingerprint, session)
    if found is not None:
        network.take(found[0])
        optimiser.load_state_dict(found[1])
    while session.epoch < recipe.epochs and not (run.dev is not None and session.stalled >= recipe.patience):
        _epoch(run, session, optimiser)
        _keep(run, session)
        if run.processes.first:
            save_session(run.folder, run.fingerprint, session, network.learnt(), optimiser.state_dict())
    network.take(session.checkpoints[0].state)
    return session


def class_weights(labels: Sequence[str]) -> dict[str, float]:
    """Return inverse frequencies whose mean over the clips is 1.

    >>> class_weights(["sad", "sad", "sad", "angry"])
    {'angry': 2.0, 'sad': 0.6666666666666666}
    """
    counts = {label: labels.count(label) for label in sorted(set(labels))}
    return {label: len(labels) / (len(counts) * n) for label, n in counts.items()}


def rate_share(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then half a cosine to 0.

    Args:
        step: counted from 0.
        steps: all of them.
        warmup: share of the steps in which the rate rises, 0..1.

    >>> [round(rate_share(s, 10, 0.2), 2) for s in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def updates_per_epoch(clips: int, batch: int) -> int:
    """How many updates an epoch has."""
    return math.ceil(clips / batch)


def _epoch(run: TuningRun, session: TrainingSession, optimiser: torch.optim.Optimizer) -> None:
    recipe, network = run.recipe, run.network
    weights = class_weights(run.train.labels) if recipe.class_weights else None
    per_epoch = updates_per_epoch(len(run.train), recipe.batch)
    peaks = [group["lr"] for group in network.groups()]
    network.train()
    network.model.model.audio_tower.eval()
    if run.processes.count > 1:  # what dropout draws differs between them, and is the same after a kill
        torch.manual_seed(1_000_003 * session.epoch + run.processes.index)
    started, products, losses = seconds_of(run.device), Products(), []
    for step, chosen in enumerate(_batches(run, session.rng)):
        lessons = [_lesson(run, i, session.rng) for i in chosen]
        share = rate_share(session.epoch * per_epoch + step, recipe.epochs * per_epoch, recipe.warmup)
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = share * peak
        losses.append(_update(run, chosen, lessons, weights, optimiser))
        own = lessons[run.processes.share(len(lessons))]
        products += epoch_products(network.model, [lesson for lesson, _ in own], recipe)
        run.progress(session.epoch + (step + 1) / per_epoch, recipe.epochs)
    session.losses.append(sum(losses) / len(losses))
    session.epoch += 1
    session.epochs_in_stage += 1
    if run.processes.first:
        _tell(run, session, seconds_of(run.device) - started, products)


def _tell(run: TuningRun, session: TrainingSession, seconds: float, products: Products) -> None:
    """Say what the epoch cost beside its matrix products alone, at the rate of this machine, measured now."""
    unit = " of processor time" if run.device == "cpu" else ""
    bound = products.forward_backward / products_per_second(run.network.model, run.device)
    print(
        f"epoch {session.epoch}: loss {session.losses[-1]:.4f}, {seconds:.1f} s{unit}; its matrix products alone, "
        f"{products.forward_backward / 1e12:.2f} TFLOP, take {bound:.1f} s here: {seconds / bound:.2f} times",
        file=sys.stderr,
        flush=True,
    )


def _update(
    run: TuningRun,
    chosen: Sequence[int],
    lessons: Sequence[tuple[Lesson, Tensor]],
    weights: dict[str, float] | None,
    optimiser: torch.optim.Optimizer,
) -> float:
    learning = [p for group in optimiser.param_groups for p in group["params"]]
    clip_weights = torch.tensor([1.0 if weights is None else weights[run.train.labels[i]] for i in chosen])
    optimiser.zero_grad(set_to_none=True)
    own = run.processes.share(len(lessons))
    value = 0.0
    if own.stop > own.start:
        batch = LessonBatch.of([x for x, _ in lessons[own]], [r for _, r in lessons[own]], run.device)
        with autocast(run):
            losses = run.network.answer_losses(batch)
        loss = (clip_weights[own].to(losses) * losses).sum() / clip_weights.sum().to(losses)
        value = float(loss.detach())
    (value,) = run.processes.added([value], run.device)
    if not math.isfinite(value):
        names = ", ".join(run.train.ids[i] for i in chosen)
        raise DataError(
            f"the training loss became {value} on the clips {names}; look at their audio, or lower projector_lr and lora_lr"
        )
    if own.stop > own.start:
        loss.backward()  # type: ignore[no-untyped-call]
    run.processes.add_gradients(learning)
    if run.recipe.clip_norm:
        torch.nn.utils.clip_grad_norm_(learning, run.recipe.clip_norm)
    optimiser.step()
    return value


def autocast(run: TuningRun) -> torch.autocast:
    """The arithmetic of a forward pass: as the recipe's precision says."""
    return torch.autocast(
        run.device.partition(":")[0], torch.bfloat16, enabled=run.recipe.precision == "bf16"
    )


def _lesson(run: TuningRun, index: int, rng: np.random.Generator) -> tuple[Lesson, Tensor]:
    rows = run.train.rows[index]
    # Of a clip longer than a window, one window is drawn in each epoch.
    parts = math.ceil(len(rows) / run.network.audio_class.window_rows)
    if parts > 1:
        rows = torch.tensor_split(rows, parts)[int(rng.integers(parts))]
    lesson = run.teacher.lesson(run.train.labels[index], run.train.languages[index], len(rows), rng)
    return lesson, rows


def _batches(run: TuningRun, rng: np.random.Generator) -> Iterator[list[int]]:
    """An epoch's clips in batches of near-equal length, in a drawn order."""
    batch, clips = run.recipe.batch, len(run.train)
    order = rng.permutation(clips)
    if run.recipe.sampling == "class":
        shares = class_weights(run.train.labels)
        p = np.array([shares[label] for label in run.train.labels])
        order = rng.choice(clips, size=clips, p=p / p.sum())
    batches = []
    for start in range(0, clips, batch * BATCHES_SORTED):
        part = sorted(
            (int(i) for i in order[start : start + batch * BATCHES_SORTED]),
            key=lambda i: len(run.train.rows[i]),
        )
        batches += [part[i : i + batch] for i in range(0, len(part), batch)]
    for place in rng.permutation(len(batches)):
        yield batches[int(place)]


def _keep(run: TuningRun, session: TrainingSession) -> None:
    """Keep the last epoch; or, with dev speakers, the best."""
    if run.dev is None:
        session.checkpoints = [EpochCheckpoint(session.epoch, None, run.network.learnt())]
        return
    loss = dev_loss(run, run.dev)
    better = all(loss < earlier for earlier in session.dev_losses)
    session.stalled = 0 if better else session.stalled + 1
    session.dev_losses.append(loss)
    if better:
        session.checkpoints = [EpochCheckpoint(session.epoch, loss, run.network.learnt())]


def dev_loss(run: TuningRun, dev: TaughtClips) -> float:
    """Return the mean over classes of the mean −log p(answer | question) of the dev clips, as asked first.

    Args:
        run: the network and its teacher.
        dev: clips of speakers that are not learnt from.

    Raises:
        DataError: a loss that is no number; the clips are named.
    """
    run.network.eval()
    order = sorted(range(len(dev)), key=lambda i: len(dev.rows[i]))
    labels = sorted(set(dev.labels))
    sums, odd = dict.fromkeys(labels, 0.0), ""
    starts = range(0, len(order), run.recipe.batch)
    for start in starts[run.processes.index :: run.processes.count]:
        chosen = order[start : start + run.recipe.batch]
        rows = [dev.rows[i][: run.network.audio_class.window_rows] for i in chosen]
        lessons = [
            run.teacher.judged(dev.labels[i], dev.languages[i], len(r))
            for i, r in zip(chosen, rows, strict=True)
        ]
        with torch.inference_mode(), autocast(run):
            losses = run.network.answer_losses(LessonBatch.of(lessons, rows, run.device))
        if not bool(torch.isfinite(losses).all()):
            odd = ", ".join(dev.ids[i] for i in chosen)
        for i, loss in zip(chosen, losses.tolist(), strict=True):
            sums[dev.labels[i]] += loss
    added = run.processes.added(list(sums.values()), run.device)
    if not all(map(math.isfinite, added)):
        raise DataError(
            f"the loss is no number on the dev clips {odd or 'of another process'}; look at their audio, or lower projector_lr and lora_lr"
        )
    return sum(x / dev.labels.count(label) for label, x in zip(labels, added, strict=True)) / len(labels)
