"""How much the training loop of the proposed model costs beside its arithmetic.

The small configuration on frames of made-up clips (random weights of Whisper tiny.en's shape: values do not change the work).
The suite's epoch is timed against a bare PyTorch loop over the very same batches, made beforehand: forward, loss, backward,
optimiser. CPU seconds of one thread, so that what else runs on the machine weighs less; ratios within one repeat.
The floor is counted, not timed: operations of an epoch over the rate at which this core multiplies matrices.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from adapters.meralion_ser import MeralionSerPredictor, predictor
from adapters.meralion_ser.training import loop
from adapters.meralion_ser.training.augmentation import MixUp
from adapters.meralion_ser.training.batches import TrainingBatch, epoch_batches
from adapters.meralion_ser.training.losses import hybrid_loss
from adapters.meralion_ser.training.session import TrainingSession
from bench.cards.registry import load_system
from bench.protocols import Clips, Examples, FitContext, Weights

CLIPS, FRAMES, LABELS = 160, (60, 180), ("neutral", "happy", "sad", "angry")
EPOCHS, REPEATS = 8, 3
Row = tuple[str, tuple[float, ...], str, str]


class Caught(Exception):
    """The run that was about to be trained."""

    def __init__(self, run: loop.TrainingRun) -> None:
        self.run = run


class Store:
    """Stored frames (1, frames, 384) of clips that nobody ever heard."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._frames = {
            str(i): rng.standard_normal((1, int(rng.integers(*FRAMES)), 384)).astype(np.float32)
            for i in range(CLIPS)
        }

    def __getitem__(self, key: str) -> Any:
        return self._frames[key]

    def waveform(self, index: int) -> Any:
        """Noise as long as these frames of 20 ms."""
        frames = self._frames[str(index)].shape[1]
        return np.random.default_rng(index).standard_normal(320 * frames).astype(np.float32)

    def __contains__(self, key: str) -> bool:
        return key in self._frames


def whisper(folder: Path) -> Weights:
    """An encoder of Whisper tiny.en's shape with random weights."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(0)
    shape = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
    small = {"decoder_layers": 1, "decoder_attention_heads": 6, "decoder_ffn_dim": 8, "vocab_size": 60000}
    WhisperModel(WhisperConfig(**shape, **small)).encoder.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return Weights(folder, "random")


def caught_run(
    folder: Path,
    weights: Weights,
    *,
    card: str = "meralion-ser-small",
    clips: int = CLIPS,
    device: str = "cpu",
    **changed: Any,
) -> loop.TrainingRun:
    """The stages of a configuration, as the predictor would train them on clips made up."""
    store = Store()
    system = MeralionSerPredictor(**(load_system(card).params | changed), weights=weights)
    ids = tuple(map(str, range(clips)))
    made_up = Clips(ids, ids, np.ones(clips), ("qaa",) * clips, store.waveform)
    labels = tuple(LABELS[i % len(LABELS)] for i in range(clips))
    speakers = tuple(f"made/{i % 8}" for i in range(clips))
    examples = Examples(made_up, labels, np.full((clips, 3), np.nan), speakers)
    nobody = Examples(Clips((), (), np.zeros(0), (), made_up.read), (), np.zeros((0, 3)), ())
    context = FitContext(
        labels=LABELS, dimensions=False, seed=0, workdir=folder, device=device, features=store
    )

    def catch(run: loop.TrainingRun, session: TrainingSession) -> TrainingSession:
        raise Caught(run)

    with patch.object(predictor, "train", catch):
        try:
            system.fit(examples, nobody, context)
        except Caught as found:
            return found.run
    raise AssertionError("the predictor trained nothing")


def batches_of(run: loop.TrainingRun, stage: loop.Stage) -> list[TrainingBatch]:
    """The batches that ``EPOCHS`` epochs of a stage draw from seed 0."""
    rng, made = np.random.default_rng(0), []
    mixup = MixUp(run.recipe.mixup, run.recipe.mixup_alpha)
    for _ in range(EPOCHS):
        for batch in epoch_batches(stage.train, run.recipe.batch, stage.longest, rng, run.recipe.sampling):
            made.append(mixup(batch, run.classes, rng))
    return made


def cpu_seconds(action: Callable[[], object]) -> float:
    """CPU seconds of an action."""
    started = time.process_time()
    action()
    return time.process_time() - started


def suite(run: loop.TrainingRun, stage: loop.Stage) -> None:
    """Train one stage with the suite's loop: batches drawn, crops, MixUp, schedules, epochs kept, checkpoints written."""
    (run.folder / "training.pt").unlink(missing_ok=True)
    loop.train(
        replace(run, stages=[replace(stage, epochs=EPOCHS)]), TrainingSession(np.random.default_rng(0))
    )


def bare(run: loop.TrainingRun, stage: loop.Stage, batches: list[TrainingBatch]) -> None:
    """Train one stage with nothing but forward, loss, backward and optimiser, on batches that lie ready."""
    optimiser = torch.optim.AdamW(
        [{"params": list(p), "lr": lr, "weight_decay": decay} for p, lr, decay in stage.parameters],
        fused=True,
    )
    run.model.train()
    for batch in batches:
        answer = stage.forward(run.model, batch.frames, batch.lengths)
        loss = hybrid_loss(answer.logits, answer.dimensions, batch.targets, batch.masks, run.weights)
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        optimiser.step()


def operations(run: loop.TrainingRun, stage: loop.Stage, batches: list[TrainingBatch]) -> int:
    """Floating-point operations of these batches, forward and backward, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        bare(run, stage, batches)
    return int(counter.get_total_flops())


def multiplied_per_second(size: int = 384, rows: int = 1600) -> float:
    """Operations a second of this core in one matrix product of the encoder's size."""
    a, b = torch.randn(rows, size), torch.randn(size, 4 * size)
    times = 40

    def product() -> None:
        for _ in range(times):
            a @ b

    product()
    return times * 2 * rows * size * 4 * size / min(cpu_seconds(product) for _ in range(5))


def measure() -> list[Row]:
    """The figures of both stages."""
    from bench.execution.worker import quiet_single_thread

    quiet_single_thread()
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = whisper(Path(folder) / "whisper")
        run = caught_run(Path(folder), weights)
        rate = multiplied_per_second()
        for stage, name in zip(run.stages, ("head on cached frames", "head and LoRA"), strict=True):
            batches = batches_of(run, stage)
            floor = operations(run, stage, batches) / rate
            ours, over = [], []
            for _ in range(REPEATS):
                taken = cpu_seconds(lambda stage=stage: suite(run, stage))  # type: ignore[misc]
                alone = cpu_seconds(lambda stage=stage, batches=batches: bare(run, stage, batches))  # type: ignore[misc]
                ours.append(taken / floor)
                over.append(100 * (taken / alone - 1))
            rows += [
                (f"training, {name}: suite over a bare loop on ready batches", tuple(over), "% more", "under 10 %"),
                (
                    f"training, {name}: an epoch over its {floor / EPOCHS:.2g} s of matrix products at {rate / 1e9:.0f} GFLOP/s",
                    tuple(ours), "×", "1.1",
                ),
            ]  # fmt: skip
        rows.append(prefix_figure(run, caught_run(Path(folder), weights, stored_layer=None)))
    return rows


def prefix_figure(cached: loop.TrainingRun, from_audio: loop.TrainingRun) -> Row:
    """Epochs of head and LoRA from the stored layer, against what the operations that are left should take.

    The bound is the time of the same epochs from log-mel, whole encoder and all, times the share of operations left.
    """
    counted, taken = [], []
    for run in (cached, from_audio):
        stage = run.stages[-1]
        batches = batches_of(run, stage)[: -(-CLIPS // run.recipe.batch)]
        counted.append(operations(run, stage, batches))
        taken.append(
            [cpu_seconds(lambda s=stage, r=run, b=batches: bare(r, s, b)) for _ in range(REPEATS)]  # type: ignore[misc]
        )
    share = counted[0] / counted[1]
    return (
        f"training, cached prefix: an epoch over its bound ({100 * share:.0f} % of the operations of one from log-mel)",
        tuple(a / (b * share) for a, b in zip(*taken, strict=True)),
        "×",
        "1.1",
    )


def main() -> None:
    """Measure and print."""
    for what, values, unit, target in measure():
        print(
            f"{what}: {sorted(values)[len(values) // 2]:.3g} {unit} ({min(values):.3g} – {max(values):.3g}; {target})"
        )


if __name__ == "__main__":
    main()
